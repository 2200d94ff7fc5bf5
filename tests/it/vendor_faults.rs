//! What the vendor can do to us: never a panic, never a verdict, never a lost verification.

use crate::harness::{ORDERS, World, by_id, refused, state_name, succeeded};
use faceid_gateway::grpc::pb::{CreateVerificationRequest, GetResultRequest, ResultView};
use serde_json::{Value, json};
use tonic::Code;

/// How often the vendor is asked at most for one call.
const TRIES: u64 = 4;

/// Faults after which the vendor could not be asked.
fn outages() -> Vec<Value> {
    vec![
        json!({"kind": "not_json"}),
        json!({"kind": "cut_json"}),
        json!({"kind": "html_200"}),
        json!({"kind": "http_status", "status": 502}),
        json!({"kind": "huge"}),
        json!({"kind": "huge", "content_length": true}),
        json!({"kind": "reset"}),
        json!({"kind": "reset_mid_body"}),
        json!({"kind": "black_hole"}),
        json!({"kind": "drip", "bytes_per_second": 1}),
        json!({"kind": "delay", "ms": 4500}),
        json!({"kind": "error_code", "code": "InternalError"}),
    ]
}

/// For all tries of one call.
fn on(action: &str, mut fault: Value) -> Value {
    fault["action"] = action.into();
    fault["times"] = TRIES.into();
    fault
}

fn once(mut fault: Value) -> Value {
    fault["times"] = 1.into();
    fault
}

#[tokio::test]
async fn a_result_that_cannot_be_read_is_no_verdict() {
    for fault in outages() {
        // Of its own, since a vendor that fails again and again is left alone.
        let world = World::start().await;
        let created = world.created().await;
        world.attempt(&created, 0).await;
        world.fault(on("GetDetectInfoEnhanced", fault.clone())).await;
        let refusal = refused(world.result(&created.id).await);
        assert_eq!(
            (refusal.code, refusal.reason.as_str(), refusal.retry),
            (Code::Unavailable, "VENDOR_UNAVAILABLE", true),
            "{fault}"
        );
        assert_eq!(world.stored_state(&created.id).await, "pending", "{fault}");
    }
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    for kind in ["nulls", "deep_nulls"] {
        world.fault(once(on("GetDetectInfoEnhanced", json!({ "kind": kind })))).await;
        let fresh = GetResultRequest { fresh: true, ..by_id(&created.id) };
        let told = succeeded(world.result_as(ORDERS, fresh).await).verification.expect("a verification");
        assert_eq!((state_name(&told), told.last_attempt.is_some()), ("PENDING", false), "{kind}");
    }
    world.advance(7300).await;
    world.fault(once(on("GetDetectInfoEnhanced", json!({"kind": "nulls"})))).await;
    assert_eq!(world.state(&created.id).await, "PENDING", "nothing was learnt, so nothing has expired");
    assert_eq!(world.state(&created.id).await, "PASSED", "after all that the truth is still told");
}

#[tokio::test]
async fn a_create_that_the_vendor_spoils_stores_nothing() {
    for fault in outages().into_iter().chain([json!({"kind": "nulls"}), json!({"kind": "deep_nulls"})]) {
        let world = World::start().await;
        world.fault(on("DetectAuth", fault.clone())).await;
        let refusal = refused(world.create(world.request()).await);
        assert_eq!((refusal.code, refusal.retry), (Code::Unavailable, true), "{fault}");
        assert_eq!(world.rows("verifications"), 0);
    }
}

#[tokio::test]
async fn unknown_fields_reach_the_caller() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(on("GetDetectInfoEnhanced", json!({"kind": "unknown_fields"}))).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    let full = GetResultRequest { view: ResultView::Full.into(), ..by_id(&created.id) };
    let raw = succeeded(world.result_as(ORDERS, full).await).result.expect("a result").vendor_raw;
    for place in ["", "Text.", "Text.LivenessDetail[0]."] {
        let found = raw.keys().any(|path| path.strip_prefix(place).is_some_and(|name| !name.contains('.')));
        assert!(found, "nothing under {place:?} in {:?}", raw.keys());
    }
}

#[tokio::test]
async fn refusals_become_what_the_caller_can_act_on() {
    let world = World::start().await;
    for (vendor_code, code, reason) in [
        ("RequestLimitExceeded", Code::ResourceExhausted, "VENDOR_THROTTLED"),
        ("UnauthorizedOperation.Arrears", Code::FailedPrecondition, "VENDOR_ACCOUNT_BLOCKED"),
        ("AuthFailure.SecretIdNotFound", Code::FailedPrecondition, "CREDENTIAL_REFUSED"),
        ("Nobody.KnowsThis", Code::FailedPrecondition, "VENDOR_REFUSED"),
    ] {
        world.fault(on("DetectAuth", json!({"kind": "error_code", "code": vendor_code}))).await;
        let refusal = refused(world.create(world.request()).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{vendor_code}");
        world.clear_faults().await;
    }
    let unapproved = CreateVerificationRequest { flow: "unapproved".into(), ..world.request() };
    let refusal = refused(world.create(unapproved).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "FLOW_MISCONFIGURED"));
    assert_eq!(world.rows("verifications"), 0);
}

#[tokio::test]
async fn a_browser_that_comes_back_during_an_outage_waits_and_is_sent_on() {
    let world = World::start().await;
    let created = world.created().await;
    let redirect = world.attempt(&created, 0).await;
    world.fault(on("GetDetectInfoEnhanced", json!({"kind": "http_status", "status": 503}))).await;
    let (status, page, location) = world.get(&redirect).await;
    assert_eq!((status, location.as_str()), (503, ""));
    assert!(page.contains("http-equiv=\"refresh\""), "{page}");
    world.clear_faults().await;
    assert_eq!(world.get(&redirect).await.0, 303);
}
