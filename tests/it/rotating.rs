//! What callers show is changed while they call, and no call fails.

use crate::{
    authority::{Authority, tls_section},
    credentials,
    harness::{VAULT_KEY, World, bearing, by_id, config_text, endpoint, succeeded},
    issuer::{IssuerKey, KeyServer, jwt_section, key_set},
    vault,
};
use faceid_gateway::{
    config::Config,
    grpc::pb::{
        CreateVerificationRequest, ListVerificationsRequest, verification_service_client::VerificationServiceClient,
    },
    simulator::{self, Simulator, SimulatorConfig},
};
use serde_json::json;
use std::{
    fs, iter, mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

async fn call(channel: &Channel, token: &str) -> Result<(), Status> {
    let mut client = VerificationServiceClient::new(channel.clone());
    client.list_verifications(bearing(token, ListVerificationsRequest::default())).await.map(drop)
}

/// What needs all of it: the caller's proof, the vault to seal and open with, and a key pair for
/// the vendor.
async fn create_and_read(channel: &Channel, token: &str, request: CreateVerificationRequest) -> Result<(), Status> {
    let mut client = VerificationServiceClient::new(channel.clone());
    let created = client.create_verification(bearing(token, request)).await?.into_inner();
    let id = created.verification.expect("a verification").verification_id;
    client.get_result(bearing(token, by_id(&id))).await.map(drop)
}

/// A caller that calls without a pause, by a new connection each time, with the credentials of the
/// moment.
struct SteadyCaller {
    uses: Arc<Mutex<(Endpoint, String)>>,
    served: Arc<AtomicU64>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl SteadyCaller {
    fn start(endpoint: Endpoint, token: String, request: CreateVerificationRequest) -> Self {
        let (uses, served) = (Arc::new(Mutex::new((endpoint, token))), Arc::new(AtomicU64::new(0)));
        let stop = CancellationToken::new();
        let (used, counted, stopped) = (Arc::clone(&uses), Arc::clone(&served), stop.clone());
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.is_cancelled() {
                let (endpoint, token) = used.lock().expect("no panic").clone();
                let called = match endpoint.connect().await {
                    Ok(channel) => {
                        create_and_read(&channel, &token, request.clone()).await.map_err(|status| status.to_string())
                    }
                    Err(error) => Err(format!("{error:?}")),
                };
                match called {
                    Ok(()) => drop(counted.fetch_add(1, Ordering::SeqCst)),
                    Err(failure) => failures.push(failure),
                }
            }
            failures
        });
        Self { uses, served, stop, task }
    }

    /// Changes what it shows, and waits until it has called with that.
    async fn changes(&self, world: &World, change: impl FnOnce(&mut (Endpoint, String))) {
        change(&mut self.uses.lock().expect("no panic"));
        let before = self.served.load(Ordering::SeqCst);
        world.until("calls with the new one", async || self.served.load(Ordering::SeqCst) > before + 2).await;
    }

    async fn ends_without_a_failure(self) {
        self.stop.cancel();
        let failures = self.task.await.expect("no panic");
        assert!(self.served.load(Ordering::SeqCst) > 4);
        assert_eq!(failures, Vec::<String>::new());
    }
}

fn sha256(token: &str) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(token.as_bytes()))
}

/// The next replica of a rolling update, with this keyring: the caller goes over to it, and the one
/// before stops.
async fn roll_out(world: &mut World, steady: &SteadyCaller, ca: &Authority, config: &str, keyring: &[&str]) {
    let config = Config::from_toml(&config.replace(VAULT_KEY, &keyring.join("\n")), "replica", iter::empty());
    let next = world.gateway_with(config.unwrap_or_else(|error| panic!("{error}"))).await;
    let endpoint = ca.endpoint(next.grpc_addr, None);
    world.channel = endpoint.connect().await.expect("the next replica is reached");
    steady.changes(world, |(used, _)| *used = endpoint).await;
    let before = mem::replace(&mut world.gateway, next);
    before.stop().await.expect("the replica before stops");
}

#[tokio::test]
async fn all_five_are_rotated_one_after_the_other_under_steady_load() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let (old_ca, new_ca) = (Authority::new("old"), Authority::new("new"));
    old_ca.server().write(folder.path());
    let (old_key, new_key) = (IssuerKey::new("2026-a"), IssuerKey::new("2026-b"));
    let keys = KeyServer::start(key_set(&[&old_key])).await;
    let config = |simulator: &Simulator, folder: &TempDir, tokens: &[&str]| {
        let hashes: Vec<String> = tokens.iter().map(|token| format!("\"{}\"", sha256(token))).collect();
        [
            config_text(simulator, folder, ""),
            tls_section(folder.path(), None),
            "[auth]\nmode = [\"tokens\", \"jwt\"]\n".into(),
            jwt_section(&format!("jwks_url = \"http://{}/jwks\"\nrefresh_s = 3600", keys.address)),
            "[[callers]]\nname = \"steady\"\njwt_subject = \"steady\"\nflows = [\"onboarding\"]\n".into(),
            format!("token_sha256 = [{}]\n", hashes.join(", ")),
        ]
        .concat()
    };
    let file = folder.path().join("gateway.toml");
    fs::write(&file, config(&simulator, &folder, &["first"])).expect("a file");
    let started = Config::load(&file, iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let mut world =
        World::start_with_config(simulator, folder, started, |address| old_ca.endpoint(address, None)).await;
    let address = world.gateway.grpc_addr;
    let steady = SteadyCaller::start(old_ca.endpoint(address, None), "first".into(), world.request());

    // The caller's token: both live, then the new one alone.
    fs::write(&file, config(&world.simulator, &world.folder, &["first", "second"])).expect("a file");
    world.until("the second token", async || call(&world.channel, "second").await.is_ok()).await;
    steady.changes(&world, |(_, token)| *token = "second".into()).await;
    fs::write(&file, config(&world.simulator, &world.folder, &["second"])).expect("a file");
    world.until("the end of the first", async || call(&world.channel, "first").await.is_err()).await;

    // The JWT's key: a token with a key that was just published is served at once, though the next
    // fetch is an hour away.
    let now_s = world.now().as_second();
    steady.changes(&world, |(_, token)| *token = old_key.token("steady", now_s, json!({}))).await;
    let asked = keys.asked();
    keys.publish(key_set(&[&old_key, &new_key]));
    steady.changes(&world, |(_, token)| *token = new_key.token("steady", now_s, json!({}))).await;
    assert_eq!(keys.asked(), asked + 1, "one fetch for all");

    // The certificate: clients trust both authorities first, as they must.
    let both = |address| {
        use tonic::transport::{Certificate, ClientTlsConfig};
        let roots = [&old_ca, &new_ca].map(|ca| Certificate::from_pem(ca.root()));
        let tls = ClientTlsConfig::new().ca_certificates(roots).domain_name(crate::authority::SERVER_NAME);
        Channel::from_shared(format!("https://{address}")).expect("a URI").tls_config(tls).expect("TLS of the client")
    };
    steady.changes(&world, |(endpoint, _)| *endpoint = both(address)).await;
    new_ca.server().write(world.folder.path());
    world.until("the new certificate", async || new_ca.endpoint(address, None).connect().await.is_ok()).await;
    steady.changes(&world, |(endpoint, _)| *endpoint = new_ca.endpoint(address, None)).await;

    // Tencent's key pair: both live, then the new one alone, which is when the vendor refuses the
    // old.
    credentials::make_new_key(&world).await;
    let old_id = world.simulator.secret_id().to_owned();
    let rotated = succeeded(credentials::rotate(&world, "main", credentials::NEW_ID, credentials::NEW_KEY).await);
    steady.changes(&world, |_| ()).await;
    credentials::set_disabled(&world, &old_id, true).await;
    succeeded(credentials::disable(&world, "main", &rotated.key_pairs[1].key_pair_id).await);
    steady.changes(&world, |_| ()).await;

    // The vault's key, in three rolling updates: second, first and everything sealed with it,
    // alone.
    let text = |world: &World| config(&world.simulator, &world.folder, &["second"]);
    for keyring in [&[VAULT_KEY, vault::NEW_KEY][..], &[vault::NEW_KEY, VAULT_KEY]] {
        let text = text(&world);
        roll_out(&mut world, &steady, &new_ca, &text, keyring).await;
    }
    assert!(vault::rewrap(&world).await > 0);
    vault::rewrapped(&world).await;
    let text = text(&world);
    roll_out(&mut world, &steady, &new_ca, &text, &[vault::NEW_KEY]).await;
    let keys = vault::vault(&world).await.keys;
    let told: Vec<_> = keys.iter().map(|key| (key.key_id.as_str(), key.in_keyring, key.sealed_values > 0)).collect();
    assert_eq!(told, [("new", true, true), ("test", false, false)], "key, in the keyring, in use");
    steady.ends_without_a_failure().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_leaves_the_callers_as_they_are() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let base = config_text(&simulator, &folder, "");
    let file = folder.path().join("gateway.toml");
    let caller = |token: &str| format!("[[callers]]\nname = \"extra\"\ntoken_sha256 = [\"{}\"]\n", sha256(token));
    fs::write(&file, base.clone() + &caller("first")).expect("a file");
    let config = Config::load(&file, iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let world = World::start_with_config(simulator, folder, config, endpoint).await;
    let failures = async || {
        let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("faceid_config_reload_failures_total "));
        line.map_or(0, |count| count.parse::<u64>().expect("a count"))
    };
    let before = failures().await;
    fs::write(&file, base.clone() + &caller("second") + "flows = [\"no such flow\"]\n").expect("a file");
    world.until("the failure", async || failures().await > before).await;
    assert!(call(&world.channel, "first").await.is_ok());
    let refused = call(&world.channel, "second").await.expect_err("not yet");
    assert_eq!(refused.code(), Code::Unauthenticated);
    fs::write(&file, base.clone() + &caller("second")).expect("a file");
    world.until("the second token", async || call(&world.channel, "second").await.is_ok()).await;
    assert!(call(&world.channel, "first").await.is_err());
}

#[tokio::test]
async fn a_configuration_is_taken_whole_or_not_at_all() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("gateway.toml");
    let base = config_text(&simulator, &folder, "");
    fs::write(&file, &base).expect("a file");
    let config = Config::load(&file, iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let world = World::start_with_config(simulator, folder, config, endpoint).await;
    let begun = world.created().await;

    // Another flow and its caller; once with a credential that nobody has.
    let with_extra = |credential: &str| {
        format!(
            "{base}\n[[callers]]\nname = \"extra\"\nflows = [\"extra\"]\ntoken_sha256 = [\"{}\"]\n\
             [[flows]]\nname = \"extra\"\nrule_id = \"1\"\ncredential = \"{credential}\"\ncomparison = \"authority\"\n\
             access_mode = \"wechat_h5_native_overlay\"\nredirect_allow = [\"{}\"]\n",
            sha256("extra token"),
            world.shop("")
        )
    };
    let request = || CreateVerificationRequest { flow: "extra".into(), ..world.request() };
    fs::write(&file, with_extra("nobody's")).expect("a file");
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    let failures = |metrics: &str| {
        let count = metrics.lines().find_map(|line| line.strip_prefix("faceid_config_reload_failures_total "));
        count.map_or(0, |count| count.parse::<u64>().expect("a count"))
    };
    let before = failures(&metrics);
    world.until("the failure", async || failures(&world.get(&world.admin_url("/metrics")).await.1) > before).await;
    let refused = call(&world.channel, "extra token").await.expect_err("its flow cannot be served");
    assert_eq!(refused.code(), Code::Unauthenticated);

    fs::write(&file, with_extra("main")).expect("a file");
    world.until("the caller", async || call(&world.channel, "extra token").await.is_ok()).await;
    let created = world.create_as("extra token", request()).await.expect("the flow is served");
    let of_extra = created.verification.expect("a verification").verification_id;

    // What a flow that is gone has begun is settled; it begins nothing more.
    let caller = format!("\n[[callers]]\nname = \"extra\"\ntoken_sha256 = [\"{}\"]\n", sha256("extra token"));
    fs::write(&file, base.clone() + &caller).expect("a file");
    let is_refused = async || {
        let refused = world.create_as("extra token", request()).await;
        refused.is_err_and(|status| status.code() == Code::InvalidArgument)
    };
    world.until("the flow to be gone", is_refused).await;
    world.attempt(&begun, 0).await;
    assert_eq!(world.state(&begun.id).await, "PASSED");
    let read = world.result_as("extra token", by_id(&of_extra)).await.expect("it is still the caller's");
    assert_eq!(read.verification.expect("a verification").flow, "extra");
}

#[tokio::test]
async fn an_issuer_that_is_away_stops_nobody_it_was_asked_before() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let key = IssuerKey::new("k1");
    let keys = KeyServer::start("out of order".into()).await;
    let text = [
        config_text(&simulator, &folder, ""),
        "[auth]\nmode = \"jwt\"\n".into(),
        jwt_section(&format!("jwks_url = \"http://{}/jwks\"\nrefresh_s = 10", keys.address)),
    ]
    .concat()
    .replace("token_sha256", "jwt_subject");
    let config = Config::from_toml(&text, "jwt", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let world = World::start_with_config(simulator, folder, config, endpoint).await;
    let now_s = world.now().as_second();
    let subject = sha256(crate::harness::ORDERS);
    let token = key.token(&subject, now_s, json!({}));
    let status = call(&world.channel, &token).await.expect_err("no keys yet");
    assert_eq!(status.code(), Code::Unavailable, "not the caller's fault: {status:?}");
    assert!(status.message().contains("try again"), "{status:?}");

    keys.publish(key_set(&[&key]));
    world.until("the keys", async || call(&world.channel, &token).await.is_ok()).await;
    keys.publish("{\"keys\": []}".into());
    // Made-up key ids have the issuer asked, now and then, and change nothing.
    let asked = keys.asked();
    let made_up = IssuerKey::new("made-up").token(&subject, now_s, json!({}));
    world
        .until("the issuer to be asked", async || {
            let status = call(&world.channel, &made_up).await.expect_err("unknown key");
            assert_eq!(status.code(), Code::Unauthenticated);
            keys.asked() > asked
        })
        .await;
    let asked = keys.asked();
    for _ in 0..20 {
        call(&world.channel, &made_up).await.expect_err("unknown key");
    }
    assert!(keys.asked() <= asked + 1, "a flood of made-up key ids is not passed on");
    // Nor does it line up behind an issuer that has fallen silent: all wait for the one question,
    // which ends after 5 s.
    keys.fall_silent();
    let asked = keys.asked();
    world
        .until("a flood that has the issuer asked", async || {
            let flood = (0..20).map(|_| call(&world.channel, &made_up));
            for answer in futures_util::future::join_all(flood).await {
                assert_eq!(answer.expect_err("unknown key").code(), Code::Unauthenticated);
            }
            keys.asked() > asked
        })
        .await;
    assert!(keys.asked() <= asked + 2, "the flood's question, and a regular one: {}", keys.asked() - asked);
    assert!(call(&world.channel, &token).await.is_ok(), "the keys from before count");
}
