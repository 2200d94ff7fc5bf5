//! The vault's keys: changed while the gateway serves, and never lost unnoticed.

use crate::engine;
use crate::harness::{Created, FINANCE, ORDERS, VAULT_KEY, World, bearing, by_id, refused, state_name, succeeded};
use faceid_gateway::grpc::pb::{
    CreateVerificationRequest, DownloadEvidenceRequest, GetResultRequest, ListVaultKeysRequest, ListVaultKeysResponse,
    RedactVerificationRequest, ResultView, RewrapVaultRequest, get_result_request::Key,
    vault_service_client::VaultServiceClient,
};
use faceid_gateway::{domain::job::JobKind, store::row::NewJob};
use tonic::Code;

pub const NEW_KEY: &str = "new:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn keys(toml: String, keys: &[&str]) -> String {
    toml.replace(VAULT_KEY, &keys.join("\n"))
}

async fn with_keys(world: World, keyring: &[&str]) -> World {
    let (simulator, folder) = world.stop_gateway().await;
    World::start_edited(simulator, folder, |toml| keys(toml, keyring)).await
}

pub async fn vault(world: &World) -> ListVaultKeysResponse {
    let mut client = VaultServiceClient::new(world.channel.clone());
    succeeded(client.list_vault_keys(bearing(FINANCE, ListVaultKeysRequest {})).await).into_inner()
}

pub async fn rewrap(world: &World) -> u64 {
    let mut client = VaultServiceClient::new(world.channel.clone());
    succeeded(client.rewrap_vault(bearing(FINANCE, RewrapVaultRequest {})).await).into_inner().remaining_values
}

pub async fn rewrapped(world: &World) {
    world.until("the end of the rewrap", async || !vault(world).await.rewrapping).await;
    assert_eq!(vault(world).await.remaining_values, 0);
}

/// A passed verification with evidence.
async fn passed(world: &World) -> Created {
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    world.until("the evidence", async || !succeeded(world.result(&created.id).await).evidence.is_empty()).await;
    created
}

/// Everything that is sealed for a verification can be read: by its token too.
async fn reads_all(world: &World, created: &Created) {
    let key = Some(Key::BizToken(created.token.clone()));
    let request = GetResultRequest { key, view: ResultView::Full.into(), ..GetResultRequest::default() };
    let told = succeeded(world.result_as(ORDERS, request).await);
    assert_eq!(state_name(told.verification.as_ref().expect("a verification")), "PASSED");
    assert!(told.result.expect("a result").identity.is_some());
    let request = DownloadEvidenceRequest {
        verification_id: created.id.clone(),
        evidence_id: told.evidence[0].evidence_id.clone(),
    };
    let mut stream = succeeded(world.client().download_evidence(bearing(ORDERS, request)).await).into_inner();
    let mut bytes = 0;
    while let Some(part) = succeeded(stream.message().await) {
        bytes += prost::Message::encoded_len(&part);
    }
    assert!(bytes > 1000);
}

#[tokio::test]
async fn a_rewrap_moves_everything_so_that_the_old_key_can_go() {
    let world = World::start().await;
    let kept = passed(&world).await;
    let redacted = world.created().await;
    world.attempt(&redacted, 0).await;
    assert_eq!(world.state(&redacted.id).await, "PASSED");
    let request = RedactVerificationRequest { verification_id: redacted.id.clone() };
    succeeded(world.client().redact_verification(bearing(ORDERS, request)).await);

    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    reads_all(&world, &kept).await;
    let before = vault(&world).await;
    let told: Vec<(&str, bool, bool)> =
        before.keys.iter().map(|key| (key.key_id.as_str(), key.encrypts, key.in_keyring)).collect();
    assert_eq!(told, [("new", true, true), ("test", false, true)]);
    assert_eq!(before.keys[1].sealed_values, before.remaining_values);
    for column in ["verifications.sealed_session", "verifications.sealed_result", "evidence.sealed_key", "key_pairs"] {
        assert!(before.keys[1].sealed_in.contains(column), "{}", before.keys[1].sealed_in);
    }
    assert_eq!(before.keys[1].token_hashes, 2);

    assert_eq!(rewrap(&world).await, before.remaining_values);
    rewrapped(&world).await;
    let after = vault(&world).await;
    assert_eq!((after.keys[1].sealed_values, after.keys[1].sealed_in.as_str()), (0, ""));
    assert_eq!(after.keys[1].token_hashes, 1, "the redacted one's token is gone: its hash cannot move");
    assert!(after.keys[1].newest_use_time.is_some());
    reads_all(&world, &kept).await;

    let world = with_keys(world, &[NEW_KEY]).await;
    reads_all(&world, &kept).await;
    world.created().await;
    let told = succeeded(world.result_as(ORDERS, by_id(&redacted.id)).await);
    assert_eq!(state_name(&told.verification.expect("a verification")), "PASSED");
    assert_eq!(rewrap(&world).await, 0, "nothing left, and nothing wrong with asking again");
}

#[tokio::test]
async fn a_value_that_does_not_open_stops_no_other() {
    let world = World::start().await;
    let (kept, broken) = (passed(&world).await, passed(&world).await);
    let (simulator, folder) = world.stop_gateway().await;
    // The key of another blob does not open here.
    let damage = format!(
        "UPDATE evidence SET sealed_key = (SELECT sealed_key FROM evidence WHERE verification_id = '{}' LIMIT 1) \
         WHERE verification_id = '{}'",
        kept.id, broken.id
    );
    assert!(engine::execute(folder.path(), &damage) > 0);
    let world = World::start_edited(simulator, folder, |toml| keys(toml, &[NEW_KEY, VAULT_KEY])).await;
    rewrap(&world).await;
    world.until("the end of the rewrap", async || !vault(&world).await.rewrapping).await;
    let left = vault(&world).await;
    assert_eq!(left.keys[1].sealed_in, format!("{} evidence.sealed_key", left.remaining_values));
    reads_all(&world, &kept).await;
}

#[tokio::test]
async fn the_command_line_rotates_to_the_end() {
    let world = World::start().await;
    world.created().await;
    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    let token = world.folder.path().join("token");
    std::fs::write(&token, FINANCE).expect("a file");
    let command = async |world: &World, action: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_faceid-gateway"));
        command.args(["vault", action, "--grpc", &format!("http://{}", world.gateway.grpc_addr), "--token-file"]);
        command.arg(&token);
        let output = tokio::task::spawn_blocking(move || command.output().expect("the command runs")).await;
        let output = output.expect("no panic");
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let (done, shown) = command(&world, "rewrap").await;
    assert!(
        done && shown.contains("test decrypts; seals nothing") && shown.contains("new encrypts; seals "),
        "{shown}"
    );
    let (simulator, folder) = world.stop_gateway().await;
    let world = World::start_edited(simulator, folder, |toml| keys(toml, &[NEW_KEY])).await;
    let (done, shown) = command(&world, "keys").await;
    assert!(done && shown.contains("test is gone; seals nothing"), "{shown}");
}

#[tokio::test]
async fn a_key_that_is_still_needed_cannot_be_dropped() {
    let world = World::start().await;
    world.created().await;
    let (simulator, folder) = world.stop_gateway().await;
    let told = World::refuses_to_start(&simulator, &folder, |toml| keys(toml, &[NEW_KEY])).await;
    for part in [
        r#"lacks key "test""#,
        "1 verifications.sealed_session, 1 verifications.sealed_subject, 1 verifications.mac, 1 key_pairs.sealed_key_pair",
        "vault rewrap",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let world = World::start_with(simulator, folder).await;
    world.created().await;
}

#[tokio::test]
async fn another_key_under_a_known_id_is_refused() {
    let world = World::start().await;
    let (simulator, folder) = world.stop_gateway().await;
    let other = NEW_KEY.replace("new:", "test:");
    let told = World::refuses_to_start(&simulator, &folder, |toml| keys(toml, &[&other])).await;
    assert!(told.contains(r#"another key under the id "test""#), "{told}");
    // Also of a key that only decrypts.
    let told = World::refuses_to_start(&simulator, &folder, |toml| keys(toml, &[NEW_KEY, &other])).await;
    assert!(told.contains(r#"another key under the id "test""#), "{told}");
    drop(World::start_with(simulator, folder).await);
}

#[tokio::test]
async fn a_rewrap_serves_meanwhile_and_goes_on_after_a_stop() {
    let world = World::start().await;
    let mut made = Vec::new();
    for _ in 0..120 {
        made.push(world.created().await);
    }
    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    let remaining = rewrap(&world).await;
    assert!(remaining > 240, "{remaining}");
    // Stopped at once, wherever it is.
    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    assert!(vault(&world).await.rewrapping || vault(&world).await.remaining_values == 0);
    for (i, created) in made.iter().enumerate().take(20) {
        if i % 2 == 0 {
            world.attempt(created, 0).await;
            assert_eq!(world.state(&created.id).await, "PASSED");
        } else {
            world.created().await;
        }
    }
    rewrapped(&world).await;
    let world = with_keys(world, &[NEW_KEY]).await;
    for created in &made {
        succeeded(world.result_as(ORDERS, by_id(&created.id)).await);
    }
}

/// By key id: how many values it seals.
async fn sealed(world: &World) -> Vec<(String, u64)> {
    vault(world).await.keys.into_iter().map(|key| (key.key_id, key.sealed_values)).collect()
}

#[tokio::test]
async fn a_rewrap_is_not_undone_by_a_replica_that_has_another_key_first() {
    let world = World::start().await;
    world.created().await;
    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    rewrap(&world).await;
    rewrapped(&world).await;
    let moved = sealed(&world).await;
    assert_eq!((moved[0].0.as_str(), moved[1].1), ("new", 0));
    // A replica from before the roll-out, while the job is there: it comes upon it first.
    let world = with_keys(world, &[VAULT_KEY, NEW_KEY]).await;
    let now_ms = world.now().as_millisecond();
    let job = NewJob { kind: JobKind::Rewrap, subject: "new".into(), due_at_ms: now_ms, rank_ms: now_ms };
    world.gateway.store.add_job(job).await.expect("store");
    let due_at_ms = "SELECT coalesce(max(due_at_ms), 0) FROM jobs WHERE kind = 'rewrap'";
    world.until("the job to be given back", async || world.count(due_at_ms) != now_ms).await;
    assert!(vault(&world).await.rewrapping);
    assert_eq!(sealed(&world).await.iter().find(|(id, _)| id == "new"), moved.first(), "sealed with the old key again");
    // Then one that has the key first.
    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    world.advance(60).await;
    rewrapped(&world).await;
    // Who has the old key first, and says so, gets it: the last word counts.
    let world = with_keys(world, &[VAULT_KEY, NEW_KEY]).await;
    let job = NewJob { kind: JobKind::Rewrap, subject: "new".into(), due_at_ms: i64::MAX, rank_ms: 0 };
    world.gateway.store.add_job(job).await.expect("store");
    rewrap(&world).await;
    rewrapped(&world).await;
    assert_eq!(sealed(&world).await[1], ("new".to_owned(), 0));
}

#[tokio::test]
async fn a_repeated_request_id_is_known_while_its_key_is_there() {
    let world = World::start().await;
    let request = CreateVerificationRequest { request_id: "r-1".into(), ..world.request() };
    let first = Created::of(succeeded(world.create(request.clone()).await));
    let world = with_keys(world, &[NEW_KEY, VAULT_KEY]).await;
    rewrap(&world).await;
    rewrapped(&world).await;
    // The shop's URL is the same: the simulator is.
    assert_eq!(Created::of(succeeded(world.create(request.clone()).await)).id, first.id);
    let world = with_keys(world, &[NEW_KEY]).await;
    assert_eq!(refused(world.create(request).await).code, Code::AlreadyExists, "refused, and never made twice");
}

#[tokio::test]
async fn only_the_right_admin_reaches_the_vault() {
    let world = World::start().await;
    let mut client = VaultServiceClient::new(world.channel.clone());
    for refusal in [
        refused(client.rewrap_vault(bearing(ORDERS, RewrapVaultRequest {})).await),
        refused(client.list_vault_keys(bearing(ORDERS, ListVaultKeysRequest {})).await),
    ] {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "RIGHT_MISSING"));
    }
}
