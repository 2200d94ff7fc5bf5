//! CredentialService: key pairs that are managed while the gateway serves.

use crate::harness::{AUDITOR, FINANCE, ORDERS, World, bearing, invalid, refused, succeeded};
use faceid_gateway::{
    grpc::pb::{
        CreateCredentialRequest, Credential, CredentialSource, DeleteCredentialRequest, DisableCredentialRequest,
        KeyPair, ListCredentialsRequest, RotateCredentialRequest, TestCredentialRequest,
        credential_service_client::CredentialServiceClient,
    },
    simulator::{self, SimulatorConfig},
};
use prost::Message;
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, Response, Status, transport::Channel};

pub const NEW_ID: &str = "AKIDnewpair0000000000000000000f00d";
pub const NEW_KEY: &str = "new-secret-key-of-the-account-00";

fn client(world: &World) -> CredentialServiceClient<Channel> {
    CredentialServiceClient::new(world.channel.clone())
}

fn pair(secret_id: &str, secret_key: &str) -> Option<KeyPair> {
    Some(KeyPair { secret_id: secret_id.into(), secret_key: secret_key.into() })
}

/// The vendor's console makes a second key.
pub async fn make_new_key(world: &World) {
    world.control("keys", json!({"secret_id": NEW_ID, "secret_key": NEW_KEY})).await;
}

pub async fn set_disabled(world: &World, secret_id: &str, disabled: bool) {
    world.control(&format!("keys/{secret_id}"), json!({ "disabled": disabled })).await;
}

pub async fn rotate(world: &World, name: &str, secret_id: &str, secret_key: &str) -> Result<Credential, Status> {
    let request = RotateCredentialRequest { name: name.into(), key_pair: pair(secret_id, secret_key) };
    let rotated = client(world).rotate_credential(bearing(FINANCE, request)).await;
    rotated.map(|answer| answer.into_inner().credential.expect("a credential"))
}

pub async fn disable(world: &World, name: &str, key_pair_id: &str) -> Result<Credential, Status> {
    let request = DisableCredentialRequest { name: name.into(), key_pair_id: key_pair_id.into() };
    let disabled = client(world).disable_credential(bearing(FINANCE, request)).await;
    disabled.map(|answer| answer.into_inner().credential.expect("a credential"))
}

async fn list(world: &World) -> Vec<Credential> {
    let listed = client(world).list_credentials(bearing(FINANCE, ListCredentialsRequest {})).await;
    succeeded(listed).into_inner().credentials
}

pub async fn delete(world: &World, name: &str) -> Result<(), Status> {
    let request = DeleteCredentialRequest { name: name.into() };
    client(world).delete_credential(bearing(FINANCE, request)).await.map(|_| ())
}

fn masked(credential: &Credential) -> Vec<&str> {
    credential.key_pairs.iter().map(|pair| pair.masked_secret_id.as_str()).collect()
}

fn masked_id(secret_id: &str) -> String {
    format!("{}…{}", &secret_id[..4], &secret_id[secret_id.len() - 4..])
}

async fn fallbacks(world: &World) -> u64 {
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    let line = metrics.lines().find(|line| line.starts_with("faceid_credential_fallback_total"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_credential_lives_from_create_to_delete_and_never_shows_its_secrets() {
    let world = World::start().await;
    make_new_key(&world).await;
    let request = CreateCredentialRequest { name: "spare".into(), key_pair: pair(NEW_ID, NEW_KEY) };
    let created = succeeded(client(&world).create_credential(bearing(FINANCE, request.clone())).await).into_inner();
    let credential = created.credential.expect("a credential");
    assert!(credential.name == "spare" && credential.source() == CredentialSource::Api);
    assert_eq!(masked(&credential), ["AKID…f00d"]);
    let test = credential.key_pairs[0].last_test.clone().expect("a test");
    assert!(test.passed && test.code == "OK" && test.test_time.is_some());
    assert!(credential.key_pairs[0].create_time.is_some() && credential.key_pairs[0].last_use_time.is_none());

    let again = refused(client(&world).create_credential(bearing(FINANCE, request)).await);
    assert_eq!((again.code, again.reason.as_str()), (Code::AlreadyExists, "CREDENTIAL_EXISTS"));

    world.created().await;
    let listed = list(&world).await;
    let names: Vec<&str> = listed.iter().map(|credential| credential.name.as_str()).collect();
    assert_eq!(names, ["main", "spare"]);
    assert!(listed[0].source() == CredentialSource::Configuration);
    assert!(listed[0].flows.contains(&"onboarding".to_owned()) && listed[1].flows.is_empty());
    assert!(listed[0].key_pairs[0].last_use_time.is_some(), "a verification was created with it");
    for credential in &listed {
        let bytes = credential.encode_to_vec();
        let secrets = [NEW_ID, NEW_KEY, world.simulator.secret_id(), world.simulator.secret_key()];
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "a secret was told");
        }
    }

    succeeded(delete(&world, "spare").await);
    assert_eq!(list(&world).await.len(), 1);
    let gone = refused(delete(&world, "spare").await);
    assert_eq!((gone.code, gone.reason.as_str()), (Code::NotFound, "CREDENTIAL_NOT_FOUND"));
}

#[tokio::test]
async fn only_the_right_admin_reaches_credentials() {
    let world = World::start().await;
    for token in [ORDERS, AUDITOR] {
        let mut client = client(&world);
        let name = || "main".to_owned();
        let refusals = [
            refused(client.list_credentials(bearing(token, ListCredentialsRequest {})).await.map(Response::into_inner)),
            refused(
                client
                    .create_credential(bearing(
                        token,
                        CreateCredentialRequest { name: name(), key_pair: pair("a", "b") },
                    ))
                    .await,
            ),
            refused(
                client
                    .rotate_credential(bearing(
                        token,
                        RotateCredentialRequest { name: name(), key_pair: pair("a", "b") },
                    ))
                    .await,
            ),
            refused(
                client
                    .test_credential(bearing(token, TestCredentialRequest { name: name(), ..Default::default() }))
                    .await,
            ),
            refused(
                client
                    .disable_credential(bearing(token, DisableCredentialRequest { name: name(), ..Default::default() }))
                    .await,
            ),
            refused(client.delete_credential(bearing(token, DeleteCredentialRequest { name: name() })).await),
        ];
        for refusal in refusals {
            assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "RIGHT_MISSING"));
        }
    }
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 0);
}

#[tokio::test]
async fn every_bad_field_is_named() {
    let world = World::start().await;
    let mut client = client(&world);
    let mut create = async |name: &str, key_pair| {
        let request = CreateCredentialRequest { name: name.into(), key_pair };
        refused(client.create_credential(bearing(FINANCE, request)).await)
    };
    assert_eq!(create("a b", pair("", "密钥")).await, invalid(&["name", "secret_id", "secret_key"]));
    assert_eq!(create("ok", None).await, invalid(&["key_pair"]));
}

#[tokio::test]
async fn a_new_pair_that_the_vendor_refuses_changes_nothing() {
    let world = World::start().await;
    make_new_key(&world).await;
    let before = list(&world).await;
    for (secret_id, secret_key) in [("AKIDunknown000000000000", NEW_KEY), (NEW_ID, "wrong")] {
        let refusal = refused(rotate(&world, "main", secret_id, secret_key).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_REFUSED"));
    }
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "http_status", "status": 502, "times": 9})).await;
    let refusal = refused(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    assert_eq!(refusal.code, Code::Unavailable, "what could not be tested is not put first");
    assert!(list(&world).await == before);
    let missing = refused(rotate(&world, "nobody", NEW_ID, NEW_KEY).await);
    assert_eq!(missing.code, Code::NotFound);
    world.created().await;
}

#[tokio::test]
async fn the_second_pair_serves_while_the_first_is_refused() {
    let world = World::start().await;
    make_new_key(&world).await;
    let old = masked_id(world.simulator.secret_id());
    let rotated = succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    assert_eq!(masked(&rotated), ["AKID…f00d", old.as_str()]);

    let before = fallbacks(&world).await;
    set_disabled(&world, NEW_ID, true).await;
    world.created().await;
    assert!(fallbacks(&world).await > before, "the metric rises");
    let calls = world.vendor_calls("DetectAuth").await;
    assert_eq!(calls, 2, "one refused, one taken");
    world.created().await;
    assert_eq!(world.vendor_calls("DetectAuth").await, calls + 1, "a refused pair is not tried each time");

    set_disabled(&world, NEW_ID, false).await;
    world.advance(61).await;
    set_disabled(&world, world.simulator.secret_id(), true).await;
    world.created().await;
    assert_eq!(world.vendor_calls("DetectAuth").await, calls + 2, "the first is first again");

    set_disabled(&world, NEW_ID, true).await;
    let refusal = refused(world.create(world.request()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_REFUSED"));
}

#[tokio::test]
async fn a_rotation_under_load_fails_no_call() {
    let world = World::start().await;
    make_new_key(&world).await;
    let old_id = world.simulator.secret_id().to_owned();
    let stop = tokio_util::sync::CancellationToken::new();
    let load = async {
        let mut served = 0;
        while !stop.is_cancelled() {
            let created = world.created().await;
            succeeded(world.result(&created.id).await);
            served += 1;
        }
        served
    };
    let rotation = async {
        let rotated = succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
        set_disabled(&world, &old_id, true).await;
        let created = world.vendor_calls("DetectAuth").await;
        world.until("calls with the new pair", async || world.vendor_calls("DetectAuth").await > created + 5).await;
        let left = succeeded(disable(&world, "main", &rotated.key_pairs[1].key_pair_id).await);
        assert_eq!(masked(&left), ["AKID…f00d"]);
        let created = world.vendor_calls("DetectAuth").await;
        world.until("calls with it alone", async || world.vendor_calls("DetectAuth").await > created + 5).await;
        stop.cancel();
    };
    let (served, ()) = tokio::join!(load, rotation);
    assert!(served > 10, "{served} served");
}

#[tokio::test]
async fn rotating_twice_keeps_two_pairs_and_repeating_a_rotation_changes_nothing() {
    let world = World::start().await;
    make_new_key(&world).await;
    world.control("keys", json!({"secret_id": "AKIDthird0000000000000000cafe", "secret_key": "third"})).await;
    succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    let third = succeeded(rotate(&world, "main", "AKIDthird0000000000000000cafe", "third").await);
    assert_eq!(masked(&third), ["AKID…cafe", "AKID…f00d"]);
    let repeated = succeeded(rotate(&world, "main", "AKIDthird0000000000000000cafe", "third").await);
    assert_eq!(masked(&repeated), ["AKID…cafe", "AKID…f00d"]);
    let back = succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    assert_eq!(masked(&back), ["AKID…f00d", "AKID…cafe"]);
}

#[tokio::test]
async fn a_test_tells_which_pair_the_vendor_takes() {
    let world = World::start().await;
    make_new_key(&world).await;
    succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    set_disabled(&world, NEW_ID, true).await;
    let test = async |key_pair_id: &str| {
        let request = TestCredentialRequest { name: "main".into(), key_pair_id: key_pair_id.into() };
        let tested = client(&world).test_credential(bearing(FINANCE, request)).await;
        tested.map(|answer| answer.into_inner().credential.expect("a credential"))
    };
    let tested = succeeded(test("").await);
    let codes: Vec<(bool, &str)> = tested
        .key_pairs
        .iter()
        .map(|pair| pair.last_test.as_ref().map(|test| (test.passed, test.code.as_str())).expect("a test"))
        .collect();
    assert_eq!(codes, [(false, "AuthFailure.SecretIdNotFound"), (true, "OK")]);
    set_disabled(&world, NEW_ID, false).await;
    let first = tested.key_pairs[0].key_pair_id.clone();
    let tested = succeeded(test(&first).await);
    assert!(tested.key_pairs[0].last_test.as_ref().expect("a test").passed);
    assert_eq!(refused(test("main.nothing").await).code, Code::NotFound);
    assert_eq!(world.rows("attempts"), 0, "a test is no attempt");
}

#[tokio::test]
async fn a_disabled_credential_serves_nobody_until_it_is_rotated() {
    let world = World::start().await;
    make_new_key(&world).await;
    let only = list(&world).await[0].key_pairs[0].key_pair_id.clone();
    let refusal = refused(disable(&world, "main", &only).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_IN_USE"));

    let disabled = succeeded(disable(&world, "main", "").await);
    assert!(disabled.disable_time.is_some());
    let calls = world.vendor_calls("DetectAuth").await;
    let refusal = refused(world.create(world.request()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_DISABLED"));
    assert_eq!(world.vendor_calls("DetectAuth").await, calls);
    assert_eq!(succeeded(disable(&world, "main", "").await).disable_time, disabled.disable_time);

    // The configuration's pair must not come back by a restart, nor by the rotation.
    let (simulator, folder) = world.stop_gateway().await;
    let world = World::start_with(simulator, folder).await;
    assert_eq!(refused(world.create(world.request()).await).reason, "CREDENTIAL_DISABLED");
    let rotated = succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    assert_eq!((masked(&rotated), rotated.disable_time), (vec!["AKID…f00d"], None));
    world.created().await;
}

#[tokio::test]
async fn a_credential_in_use_is_not_deleted() {
    let world = World::start().await;
    let refusal = refused(delete(&world, "main").await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_IN_USE"));
    world.created().await;
    let (simulator, folder) = world.stop_gateway().await;
    // The flows have moved to another credential; the verification has not.
    let keys = (simulator.secret_id().to_owned(), simulator.secret_key().to_owned());
    let world = World::start_edited(simulator, folder, |toml| {
        let other =
            format!("[[credentials]]\nname = \"other\"\nsecret_id = \"{}\"\nsecret_key = \"{}\"\n", keys.0, keys.1);
        format!("{}\n{other}", toml.replace("credential = \"main\"", "credential = \"other\""))
    })
    .await;
    let status = delete(&world, "main").await.expect_err("a verification needs it");
    assert!(status.message().contains("1 verification(s)"), "{}", status.message());
    world.advance(7201).await;
    world.until("the last look", async || world.settle_jobs() == 0).await;
    succeeded(delete(&world, "main").await);
}

#[tokio::test]
async fn what_the_vault_has_goes_before_the_configuration() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let right = simulator.secret_key().to_owned();
    let world = World::start_with(simulator, TempDir::new().expect("temporary folder")).await;
    world.created().await;
    let (simulator, folder) = world.stop_gateway().await;
    let world = World::start_edited(simulator, folder, |toml| toml.replace(&right, "another-key-in-the-file")).await;
    world.created().await;
    let listed = list(&world).await;
    assert_eq!(listed[0].key_pairs.len(), 1, "the configuration's pair was added: {}", listed[0].key_pairs.len());
}

#[tokio::test]
async fn every_change_is_in_the_audit_trail() {
    let world = World::start().await;
    make_new_key(&world).await;
    let rotated = succeeded(rotate(&world, "main", NEW_ID, NEW_KEY).await);
    succeeded(disable(&world, "main", &rotated.key_pairs[1].key_pair_id).await);
    succeeded(disable(&world, "main", "").await);
    let request = CreateCredentialRequest { name: "spare".into(), key_pair: pair(NEW_ID, NEW_KEY) };
    succeeded(client(&world).create_credential(bearing(FINANCE, request)).await);
    let request = TestCredentialRequest { name: "spare".into(), ..Default::default() };
    succeeded(client(&world).test_credential(bearing(FINANCE, request)).await);
    succeeded(delete(&world, "spare").await);
    let trail: Vec<String> = crate::auditing::all(&world)
        .await
        .into_iter()
        .map(|event| format!("{} {} {}", event.actor, event.action, event.credential))
        .collect();
    assert_eq!(
        trail,
        [
            "finance credential_deleted spare",
            "finance credential_tested spare",
            "finance credential_created spare",
            "finance credential_disabled main",
            "finance key_pair_disabled main",
            "finance credential_rotated main",
            "configuration credential_created main",
        ]
    );
}

#[tokio::test]
async fn the_command_line_takes_secrets_from_files_and_standard_input() {
    use std::process::{Command, Stdio};
    let world = World::start().await;
    make_new_key(&world).await;
    let file = |name: &str, text: &str| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let (token, id, key) = (file("token", FINANCE), file("id", NEW_ID), file("key", &format!("{NEW_KEY}\n")));
    let run = async |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faceid-gateway"));
        command.arg("credential").args(arguments).arg("--token-file").arg(&token);
        command.arg("--grpc").arg(format!("http://{}", world.gateway.grpc_addr));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut child = command.spawn().expect("the command starts");
            // A command that needs no input may be gone by now.
            let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
            child.wait_with_output().expect("the command ends")
        })
        .await
        .expect("no panic");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("text"))
    };
    let (id, key) = (id.to_str().expect("a path"), key.to_str().expect("a path"));
    let (done, shown) = run(&["rotate", "main", "--secret-id-file", id, "--secret-key-file", key], "").await;
    assert!(done && shown.contains("1. AKID…f00d") && shown.contains("2. AKID"), "{shown}");
    let (done, shown) = run(&["add", "spare"], &format!("{NEW_ID} \n\u{FEFF}{NEW_KEY}\n")).await;
    let places = ["U+0020 (blank) as character", "U+FEFF (byte order mark) as character 1"];
    assert!(!done && places.iter().all(|place| shown.contains(place)), "{shown}");
    let (done, shown) = run(&["add", "spare"], &format!("{NEW_ID}\n{NEW_KEY}\n")).await;
    assert!(done && shown.starts_with("spare (from: api; flows: none)"), "{shown}");
    let (done, shown) = run(&["list"], "").await;
    assert!(done && shown.contains("main (from: configuration; flows: ") && shown.contains("spare"), "{shown}");
    assert!(!shown.contains(NEW_ID) && !shown.contains(NEW_KEY));
    set_disabled(&world, NEW_ID, true).await;
    let (done, shown) = run(&["test", "spare"], "").await;
    assert!(!done && shown.contains("AuthFailure.SecretIdNotFound"), "{shown}");
    let (done, shown) = run(&["disable", "spare"], "").await;
    assert!(done && shown.contains("disabled"), "{shown}");
    let (done, _) = run(&["delete", "spare"], "").await;
    assert!(done);
    let (done, shown) = run(&["delete", "main"], "").await;
    assert!(!done && shown.contains("is used by flow"), "{shown}");
}

#[tokio::test]
async fn a_pair_that_the_vendor_never_accepted_gives_way_to_the_mended_configuration() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let right = simulator.secret_key().to_owned();
    let mistyped = |toml: String| toml.replace(&right, "mistyped-in-the-file-00000000000");
    let world = World::start_edited(simulator, folder, mistyped).await;
    assert_eq!(refused(world.create(world.request()).await).code, Code::FailedPrecondition);

    let (simulator, folder) = world.stop_gateway().await;
    let world = World::start_edited(simulator, folder, |toml| toml).await;
    succeeded(world.create(world.request()).await);
    assert_eq!(list(&world).await[0].key_pairs.len(), 2);

    // Accepted now: what the file says later changes nothing.
    let (simulator, folder) = world.stop_gateway().await;
    let world = World::start_edited(simulator, folder, mistyped).await;
    succeeded(world.create(world.request()).await);
    assert_eq!(list(&world).await[0].key_pairs.len(), 2);
}
