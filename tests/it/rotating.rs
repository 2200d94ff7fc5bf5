//! What callers show is changed while they call, and no call fails.

use crate::{
    authority::{Authority, tls_section},
    harness::{World, bearing, config_text, endpoint},
    issuer::{IssuerKey, KeyServer, jwt_section, key_set},
};
use faceid_gateway::{
    config::Config,
    grpc::pb::{ListVerificationsRequest, verification_service_client::VerificationServiceClient},
    simulator::{self, SimulatorConfig},
};
use serde_json::json;
use std::{
    fs, iter,
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

/// A caller that calls without a pause, by a new connection each time, with the credentials of the moment.
struct SteadyCaller {
    uses: Arc<Mutex<(Endpoint, String)>>,
    served: Arc<AtomicU64>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl SteadyCaller {
    fn start(endpoint: Endpoint, token: String) -> Self {
        let (uses, served) = (Arc::new(Mutex::new((endpoint, token))), Arc::new(AtomicU64::new(0)));
        let stop = CancellationToken::new();
        let (used, counted, stopped) = (Arc::clone(&uses), Arc::clone(&served), stop.clone());
        let task = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.is_cancelled() {
                let (endpoint, token) = used.lock().expect("no panic").clone();
                let called = match endpoint.connect().await {
                    Ok(channel) => call(&channel, &token).await.map_err(|status| status.to_string()),
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

#[tokio::test]
async fn token_jwt_key_and_certificate_under_steady_load() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let (old_ca, new_ca) = (Authority::new("old"), Authority::new("new"));
    old_ca.server().write(folder.path());
    let (old_key, new_key) = (IssuerKey::new("2026-a"), IssuerKey::new("2026-b"));
    let keys = KeyServer::start(key_set(&[&old_key])).await;
    let base = [
        config_text(&simulator, &folder, ""),
        tls_section(folder.path(), None),
        "[auth]\nmode = [\"tokens\", \"jwt\"]\n".into(),
        jwt_section(&format!("jwks_url = \"http://{}/jwks\"\nrefresh_s = 3600", keys.address)),
    ]
    .concat();
    let file = folder.path().join("gateway.toml");
    let write = |tokens: &[&str]| {
        let hashes: Vec<String> = tokens.iter().map(|token| format!("\"{}\"", sha256(token))).collect();
        let caller = format!(
            "[[callers]]\nname = \"steady\"\ntoken_sha256 = [{}]\njwt_subject = \"steady\"\n",
            hashes.join(", ")
        );
        fs::write(&file, base.clone() + &caller).expect("a file");
    };
    write(&["first"]);
    let config = Config::load(&file, iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let world = World::start_with_config(simulator, folder, config, |address| old_ca.endpoint(address, None)).await;
    let address = world.gateway.grpc_addr;
    let steady = SteadyCaller::start(old_ca.endpoint(address, None), "first".into());

    // The token: both live, then the new one alone.
    write(&["first", "second"]);
    world.until("the second token", async || call(&world.channel, "second").await.is_ok()).await;
    steady.changes(&world, |(_, token)| *token = "second".into()).await;
    write(&["second"]);
    world.until("the end of the first", async || call(&world.channel, "first").await.is_err()).await;

    // The JWT's key: a token with a key that was just published is served at once, though the next fetch is an hour away.
    let now_s = world.gateway.app.clock.now().as_second();
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
        let (_, metrics, _) = world.get(&world.http_url("/metrics")).await;
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
    let now_s = world.gateway.app.clock.now().as_second();
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
    assert!(call(&world.channel, &token).await.is_ok(), "the keys from before count");
}
