//! The browser's return, a caller that waits, and a caller that cancels, where the vendor knows
//! more than it has told yet.

use crate::harness::{Created, ORDERS, World, bearing, by_id, refused, state_name, succeeded};
use crate::scripted_vendor::ScriptedVendor;
use faceid_gateway::grpc::pb::{CancelVerificationRequest, GetResultRequest};
use serde_json::json;
use tonic::Code;

fn passed() -> serde_json::Value {
    json!({ "Text": { "ErrCode": 0 }, "IsVerifyIntention": false })
}

fn unfinished() -> serde_json::Value {
    json!({ "Text": { "ErrCode": null }, "IsVerifyIntention": false })
}

async fn return_url(world: &World, vendor: &ScriptedVendor, created: &Created) -> String {
    let bound = vendor.asked("DetectAuth").pop().expect("a DetectAuth")["RedirectUrl"].clone();
    let bound = bound.as_str().expect("a RedirectUrl").to_owned();
    assert!(bound.starts_with(&format!("http://{}/callback?", world.gateway.http_addr)), "{bound}");
    format!("{bound}&BizToken={}", created.token)
}

#[tokio::test]
async fn a_browser_that_comes_before_the_vendors_answer_is_not_sent_to_the_failure_page() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let created = world.created().await;
    let url = return_url(&world, &vendor, &created).await;
    vendor.finds(unfinished());
    let (answer, ()) = tokio::join!(world.get(&url), async {
        world.until("the first question", async || vendor.asked("GetDetectInfoEnhanced").len() == 1).await;
        vendor.finds(passed());
    });
    assert_eq!(answer.0, 303);
    assert!(answer.2.starts_with(&world.shop("welcome")), "{}", answer.2);
}

#[tokio::test]
async fn a_person_who_passed_unseen_is_not_canceled() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let created = world.created().await;
    vendor.finds(passed());
    let request = CancelVerificationRequest { verification_id: created.id.clone() };
    let refusal = refused(world.client().cancel_verification(bearing(ORDERS, request)).await);
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert_eq!(world.stored_state(&created.id).await, "passed");
}

#[tokio::test]
async fn while_the_vendor_cannot_be_asked_nothing_is_canceled() {
    let world = World::start().await;
    let created = world.created().await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "http_status", "status": 502, "times": 1000})).await;
    let request = || CancelVerificationRequest { verification_id: created.id.clone() };
    let refusal = refused(world.client().cancel_verification(bearing(ORDERS, request())).await);
    assert_eq!(refusal.code, Code::Unavailable);
    assert_eq!(world.stored_state(&created.id).await, "pending");
}

#[tokio::test]
async fn a_waiting_caller_hears_of_a_person_whose_browser_never_returns() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let created = world.created().await;
    vendor.finds(unfinished());
    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let (told, ()) = tokio::join!(world.result_as(ORDERS, GetResultRequest { wait, ..by_id(&created.id) }), async {
        world.until("the first question", async || vendor.asked("GetDetectInfoEnhanced").len() == 1).await;
        vendor.finds(passed());
    });
    let verification = succeeded(told).verification.expect("a verification");
    assert_eq!(state_name(&verification), "PASSED");
}

#[tokio::test]
async fn at_the_end_of_a_wait_the_vendor_is_asked_once_more() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let created = world.created().await;
    vendor.finds(unfinished());
    let wait = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let (told, ()) = tokio::join!(world.result_as(ORDERS, GetResultRequest { wait, ..by_id(&created.id) }), async {
        world.until("the first question", async || vendor.asked("GetDetectInfoEnhanced").len() == 1).await;
        vendor.finds(passed());
    });
    let verification = succeeded(told).verification.expect("a verification");
    assert_eq!(state_name(&verification), "PASSED");
}
