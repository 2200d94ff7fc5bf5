//! How much a caller may call, and how often one ID card may be used.

use crate::harness::{Created, LOANS, ORDERS, World, bearing, by_id, config_text, endpoint, refused, succeeded};
use faceid_gateway::{
    config::Config,
    grpc::pb::{CancelVerificationRequest, CreateVerificationRequest, RedactVerificationRequest, Subject},
    simulator::{self, Simulator, SimulatorConfig},
};
use std::iter;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const OTHER_ID_NUMBER: &str = "110101199003074610";
const KNOWN_CARDS: &str = "SELECT count(*) FROM verifications WHERE id_card_hash IS NOT NULL";

async fn new_simulator() -> Simulator {
    simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts")
}

async fn world(simulator: Simulator, folder: TempDir, lines_of_orders: &str, per_minute: u32, per_day: u32) -> World {
    let text = config_text(&simulator, &folder, lines_of_orders)
        .replace("per_minute = 0", &format!("per_minute = {per_minute}"))
        .replace("per_day = 0", &format!("per_day = {per_day}"));
    let config = Config::from_toml(&text, "quotas", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    World::start_with_config(simulator, folder, config, endpoint).await
}

async fn with_card_limits(per_minute: u32, per_day: u32) -> World {
    world(new_simulator().await, TempDir::new().expect("temporary folder"), "", per_minute, per_day).await
}

/// Reason, what QuotaFailure names, and the seconds of RetryInfo.
#[track_caller]
fn over_quota<T>(result: Result<T, Status>) -> (String, String, u64) {
    let Err(status) = result else { panic!("the call succeeded") };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    let violation = &details.quota_failure().expect("QuotaFailure").violations[0];
    let retry = details.retry_info().expect("RetryInfo").retry_delay.expect("a delay");
    (details.error_info().expect("ErrorInfo").reason.clone(), violation.subject.clone(), retry.as_secs())
}

#[tokio::test]
async fn a_callers_quota_is_its_own() {
    let simulator = new_simulator().await;
    let lines = "creates_per_minute = 2\nrequests_per_minute = 5\n";
    let world = world(simulator, TempDir::new().expect("temporary folder"), lines, 0, 0).await;
    let created = world.created().await;
    world.created().await;
    let (reason, subject, retry_s) = over_quota(world.create(world.request()).await);
    assert_eq!((reason.as_str(), subject.as_str()), ("CALLER_QUOTA_EXCEEDED", "caller:orders"));
    assert!(retry_s <= 30, "{retry_s}");
    assert_eq!(world.vendor_calls("DetectAuth").await, 2, "the third was not sent");

    // A create that was refused has used up a request all the same.
    for _ in 0..2 {
        succeeded(world.result_as(ORDERS, by_id(&created.id)).await);
    }
    let (reason, _, retry_s) = over_quota(world.result_as(ORDERS, by_id(&created.id)).await);
    assert!(reason == "CALLER_QUOTA_EXCEEDED" && retry_s <= 12, "{reason} {retry_s}");
    succeeded(world.create_as(LOANS, world.request()).await);
    assert_eq!(refused(world.create_as("wrong", world.request()).await).code, Code::Unauthenticated);
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    let counted = r#"faceid_caller_quota_refusals_total{caller="orders",setting="creates_per_minute"}"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_person_must_wait_before_the_vendor_says_so() {
    let simulator = new_simulator().await;
    let world = world(simulator, TempDir::new().expect("temporary folder"), "", 0, 3).await;
    let first = Created::of(succeeded(
        world.create(CreateVerificationRequest { request_id: "first".into(), ..world.request() }).await,
    ));
    world.created().await;
    // Two attempts are two uses, as soon as the vendor has told of them.
    for code in [2016, 2016] {
        world.attempt(&first, code).await;
    }
    assert_eq!(world.state(&first.id).await, "PENDING");

    let (reason, subject, retry_s) = over_quota(world.create(world.request()).await);
    assert_eq!((reason.as_str(), subject.as_str()), ("PERSON_LIMIT_REACHED", "id-card"));
    assert!((86_300..=86_400).contains(&retry_s), "{retry_s}");
    assert_eq!(world.vendor_calls("DetectAuth").await, 2, "nothing was sent for a person who must wait");
    // Attempts count for everybody; what one caller has not finished bars no other.
    succeeded(world.create_as(LOANS, world.request()).await);
    let (reason, _, retry_s) = over_quota(world.create_as(LOANS, world.request()).await);
    assert!(
        reason == "PERSON_LIMIT_REACHED" && retry_s % 3600 == 0,
        "no time of another's attempts is told: {retry_s}"
    );
    let again = CreateVerificationRequest { request_id: "first".into(), ..world.request() };
    assert_eq!(Created::of(succeeded(world.create(again).await)).id, first.id, "a retry is no new use");
    let other = Some(Subject { name: "李四".into(), id_number: OTHER_ID_NUMBER.into() });
    succeeded(world.create(CreateVerificationRequest { subject: other, ..world.request() }).await);

    // The count is the store's: another process goes on with it.
    let (simulator, folder) = world.stop_gateway().await;
    let world = self::world(simulator, folder, "", 0, 3).await;
    assert_eq!(over_quota(world.create(world.request()).await).0, "PERSON_LIMIT_REACHED");

    world.skew(26 * 3600);
    assert_eq!(world.count(KNOWN_CARDS), 4);
    assert_eq!(world.gateway.app.forget_id_cards().await.expect("store"), 4);
    assert_eq!(world.count(KNOWN_CARDS), 0);
    // The vendor's clock too, or it would refuse our signature.
    world.control("clock", serde_json::json!({ "advance_s": 26 * 3600 })).await;
    succeeded(world.create(world.request()).await);
}

#[tokio::test]
async fn a_minute_later_the_card_has_rested() {
    let world = with_card_limits(2, 30).await;
    world.created().await;
    world.created().await;
    let (reason, _, retry_s) = over_quota(world.create(world.request()).await);
    assert!(reason == "PERSON_LIMIT_REACHED" && retry_s <= 60, "{reason} {retry_s}");
    world.advance(61).await;
    world.created().await;
}

#[tokio::test]
async fn an_attempt_counts_for_a_day_however_old_its_verification_is() {
    let world = with_card_limits(0, 1).await;
    let created = world.created().await;
    world.advance(7000).await;
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.advance(23 * 3600).await;
    world.gateway.app.forget_id_cards().await.expect("store");
    let (reason, _, retry_s) = over_quota(world.create(world.request()).await);
    assert!(reason == "PERSON_LIMIT_REACHED" && retry_s <= 3600, "{reason} {retry_s}");
    world.advance(3601).await;
    world.created().await;
}

#[tokio::test]
async fn a_stranger_cannot_bar_a_person_by_opening_verifications() {
    let world = with_card_limits(0, 3).await;
    for _ in 0..3 {
        succeeded(world.create_as(LOANS, world.request()).await);
    }
    assert_eq!(over_quota(world.create_as(LOANS, world.request()).await).0, "PERSON_LIMIT_REACHED");
    world.created().await;
}

#[tokio::test]
async fn what_ended_without_an_attempt_counts_nothing() {
    let world = with_card_limits(0, 1).await;
    let created = world.created().await;
    assert_eq!(over_quota(world.create(world.request()).await).0, "PERSON_LIMIT_REACHED");
    world.advance(7300).await;
    assert_eq!(world.state(&created.id).await, "EXPIRED");
    world.created().await;
}

#[tokio::test]
async fn redaction_forgets_the_card_too() {
    let world = with_card_limits(0, 30).await;
    let created = world.created().await;
    assert_eq!(world.count(KNOWN_CARDS), 1);
    let id = || created.id.clone();
    succeeded(
        world.client().cancel_verification(bearing(ORDERS, CancelVerificationRequest { verification_id: id() })).await,
    );
    succeeded(
        world.client().redact_verification(bearing(ORDERS, RedactVerificationRequest { verification_id: id() })).await,
    );
    assert_eq!(world.count(KNOWN_CARDS), 0);
}
