//! Webhooks: signed, in order per verification, at least once, and parked when nobody takes them.

use crate::harness::{World, by_id, config_text, endpoint, succeeded};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use faceid_gateway::{
    config::Config,
    simulator::{self, SimulatorConfig},
};
use serde_json::Value;
use std::{
    fs, iter,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

const SECRETS: [&str; 2] =
    ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="];

/// A caller's server: answers with the planned statuses, then 204, and keeps what it took.
#[derive(Clone, Default)]
struct Receiver {
    taken: Arc<Mutex<Vec<Value>>>,
    planned: Arc<Mutex<Vec<StatusCode>>>,
    refused: Arc<Mutex<u32>>,
}

impl Receiver {
    async fn start(planned: &[StatusCode]) -> (Self, World) {
        let (receiver, webhook) = Self::listen(planned).await;
        let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
        let folder = TempDir::new().expect("temporary folder");
        (receiver, World::start_with_webhook(simulator, folder, &webhook).await)
    }

    /// With the lines of a caller who wants its events there.
    async fn listen(planned: &[StatusCode]) -> (Self, String) {
        let receiver = Self::default();
        receiver.planned.lock().expect("lock").extend(planned.iter().rev());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/events", listener.local_addr().expect("its address"));
        let router = Router::new().route("/events", post(take)).with_state(receiver.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        let webhook = format!(
            "webhook_url = \"{url}\"\nwebhook_allow_private = true\nwebhook_secrets = \"\"\"\n{}\n{}\"\"\"\n",
            SECRETS[0], SECRETS[1]
        );
        (receiver, webhook)
    }

    fn taken(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("lock");
        taken
            .iter()
            .map(|body| format!("{} {}", body["type"].as_str().expect("a type"), body["data"]["state"]))
            .collect()
    }

    fn refused(&self) -> u32 {
        *self.refused.lock().expect("lock")
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(status) = receiver.planned.lock().expect("lock").pop() {
        *receiver.refused.lock().expect("lock") += 1;
        return status;
    }
    // By the outside library, with either secret: they overlap while one replaces the other.
    for secret in SECRETS {
        let judge = standardwebhooks::Webhook::new(secret).expect("a secret");
        if judge.verify(&body, &headers).is_err() {
            return StatusCode::UNAUTHORIZED;
        }
    }
    receiver.taken.lock().expect("lock").push(serde_json::from_slice(&body).expect("JSON"));
    StatusCode::NO_CONTENT
}

const LIFE: [&str; 3] =
    ["verification.created \"pending\"", "verification.attempted \"pending\"", "verification.settled \"passed\""];

async fn live(world: &World) -> String {
    let created = world.created().await;
    world.attempt(&created, 2016).await;
    assert_eq!(world.state(&created.id).await, "PENDING");
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    created.id
}

#[tokio::test]
async fn a_life_is_told_in_order_and_signed() {
    let (receiver, world) = Receiver::start(&[]).await;
    let id = live(&world).await;
    world.until("three webhooks", async || receiver.taken().len() == 3).await;
    assert_eq!(receiver.taken(), LIFE);
    let taken = receiver.taken.lock().expect("lock").clone();
    assert!(taken.iter().all(|body| body["data"]["verification_id"] == id.as_str()));
    assert_eq!(taken[1]["data"]["last_attempt_code"], 2016);
    let text = serde_json::to_string(&taken).expect("JSON");
    assert!(!text.contains("张三") && !text.contains(crate::harness::ID_NUMBER));
}

#[tokio::test]
async fn what_fails_is_tried_again_before_what_comes_after() {
    let (receiver, world) = Receiver::start(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY]).await;
    live(&world).await;
    for refused in 1..=2 {
        world.until("a refusal", async || receiver.refused() == refused && world.leased_jobs() == 0).await;
        world.advance(60).await;
    }
    world.until("three webhooks", async || receiver.taken().len() == 3).await;
    assert_eq!(receiver.taken(), LIFE);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_parked_at_once_and_a_failing_one_after_a_day() {
    let gone = Receiver::start(&[StatusCode::GONE]).await;
    let failing = Receiver::start(&[StatusCode::INTERNAL_SERVER_ERROR; 2]).await;
    let parked = |world: &World| {
        let store = Arc::clone(&world.gateway.store);
        async move { store.parked_webhooks().await.expect("store") == 1 }
    };
    gone.1.created().await;
    gone.1.until("parked", async || parked(&gone.1).await).await;

    let created = failing.1.created().await;
    failing.1.until("a refusal", async || failing.0.refused() == 1 && failing.1.leased_jobs() == 0).await;
    failing.1.advance(25 * 3600).await;
    failing.1.until("parked", async || parked(&failing.1).await).await;
    assert!(succeeded(failing.1.result_as(crate::harness::ORDERS, by_id(&created.id)).await).verification.is_some());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_replaced_while_the_gateway_serves() {
    let (gone, to_gone) = Receiver::listen(&[StatusCode::GONE]).await;
    let (new, to_new) = Receiver::listen(&[]).await;
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("gateway.toml");
    let text = config_text(&simulator, &folder, "# here\n");
    let with = |webhook: &str| fs::write(&file, text.replace("# here\n", webhook)).expect("a file");
    with(&to_gone);
    let config = Config::load(&file, iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let world = World::start_with_config(simulator, folder, config, endpoint).await;

    live(&world).await;
    world.until("the refusal", async || gone.refused() == 1).await;
    with(&to_new);
    world
        .until("an event at the new receiver", async || {
            world.created().await;
            !new.taken().is_empty()
        })
        .await;
    assert_eq!(gone.refused(), 1, "after 410 nothing was sent there");
}
