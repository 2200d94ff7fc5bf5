//! The vendor's bad days, as callers see them: retried, put right, gone around, or said clearly.

use crate::harness::{Created, ORDERS, World, bearing, by_id, refused, succeeded};
use faceid_gateway::{
    grpc::pb::GetResultRequest,
    simulator::{self, SimulatorConfig},
};
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A metadata value of the error's `ErrorInfo`.
fn told<T>(result: &Result<T, Status>, key: &str) -> String {
    let Err(status) = result else { panic!("the call succeeded") };
    let details = status.get_error_details();
    details.error_info().expect("ErrorInfo").metadata.get(key).cloned().unwrap_or_default()
}

#[tokio::test]
async fn what_fails_once_is_not_noticed() {
    for fault in [
        json!({"kind": "reset"}),
        json!({"kind": "http_status", "status": 502}),
        json!({"kind": "html_200"}),
        json!({"kind": "cut_json"}),
        json!({"kind": "reset_mid_body"}),
        json!({"kind": "error_code", "code": "InternalError"}),
        json!({"kind": "error_code", "code": "RequestLimitExceeded"}),
    ] {
        let world = World::start().await;
        world.fault(fault.clone()).await;
        let created = world.created().await;
        world.attempt(&created, 0).await;
        world.fault(fault.clone()).await;
        assert_eq!(world.state(&created.id).await, "PASSED", "{fault}");
        assert_eq!(world.vendor_calls("DetectAuth").await, 2, "{fault}");
        assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 2, "{fault}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_its_request_is_read_is_not_noticed() {
    for fault in ["reset_unread", "close_reused"] {
        let world = World::start().await;
        world.created().await;
        world.fault(json!({ "kind": fault })).await;
        world.created().await;
        assert_eq!(world.faults_left().await, 0, "{fault} was met");
    }
}

#[tokio::test]
async fn what_goes_on_failing_tells_the_vendors_word_and_how_often_it_was_asked() {
    let world = World::start().await;
    world.fault(json!({"kind": "error_code", "code": "InternalError", "times": 3})).await;
    world.fault(json!({"kind": "reset"})).await;
    let result = world.create(world.request()).await;
    assert_eq!(told(&result, "tries"), "4");
    assert_eq!(told(&result, "vendor_code"), "InternalError", "the last that the vendor said");
    assert!(!told(&result, "vendor_request_id").is_empty());
    let refusal = refused(result);
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retry), (Code::Unavailable, "VENDOR_UNAVAILABLE", true));
}

#[tokio::test]
async fn what_the_vendor_refuses_for_good_is_asked_once() {
    let world = World::start().await;
    world.fault(json!({"kind": "error_code", "code": "UnauthorizedOperation.Arrears"})).await;
    let result = world.create(world.request()).await;
    assert_eq!(told(&result, "tries"), "1");
    assert_eq!(refused(result).reason, "VENDOR_ACCOUNT_BLOCKED");
    assert_eq!(world.vendor_calls("DetectAuth").await, 1);
}

#[tokio::test]
async fn a_clock_that_is_off_is_put_right() {
    for off_by in [600, -600] {
        let world = World::start().await;
        world.skew(off_by);
        world.created().await;
        assert_eq!(world.vendor_calls("DetectAuth").await, 2, "refused once");
        let created = world.created().await;
        assert_eq!(world.vendor_calls("DetectAuth").await, 3, "and remembered");
        world.attempt(&created, 0).await;
        assert_eq!(world.state(&created.id).await, "PASSED");
        let metrics = world.get(&world.admin_url("/metrics")).await.1;
        assert!(metrics.contains("faceid_vendor_clock_offset_seconds"), "it is told");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_is_put_right_for_all_who_call() {
    let world = World::start_with_tencent("quotas.detect_auth = 1000\nquotas.get_detect_info_enhanced = 1000").await;
    world.control("quota", json!({ "per_second": 1000 })).await;
    // All of them leave before the first refusal is there.
    world.fault(json!({"action": "DetectAuth", "kind": "delay", "ms": 1000, "times": 200})).await;
    world.skew(600);
    let creates = join_all((0..200).map(|_| world.create(world.photo_request()))).await;
    let refusals: Vec<_> = creates.into_iter().filter(Result::is_err).map(refused).collect();
    assert!(refusals.is_empty(), "{} of 200, the first: {:?}", refusals.len(), refusals[0]);
}

#[tokio::test]
async fn a_backup_takes_over_and_is_given_up_again() {
    let world =
        World::start_with_tencent("endpoint = \"http://127.0.0.1:7\"\nbackup_endpoints = [\"SIMULATOR\"]").await;
    for calls in 1..=8 {
        world.created().await;
        assert_eq!(world.vendor_calls("DetectAuth").await, calls, "no try is lost at the endpoint that is up");
    }
    let metrics = world.get(&world.admin_url("/metrics")).await.1;
    let state = metrics.lines().find(|line| line.starts_with("faceid_vendor_breaker_state{endpoint=\"127.0.0.1:7\"}"));
    assert!(state.is_some_and(|line| line.ends_with(" 2")), "left alone: {state:?}");
}

#[tokio::test]
async fn all_who_fell_silent_with_the_first_endpoint_are_served_by_the_backup() {
    // Connections are opened, and nobody ever answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("a port");
    let world = World::start_with_tencent(&format!(
        "endpoint = \"http://{address}\"\nbackup_endpoints = [\"SIMULATOR\"]\n\
         first_byte_timeout_ms = 1000\nquotas.detect_auth = 1000\nquotas.get_detect_info_enhanced = 1000"
    ))
    .await;
    world.control("quota", json!({ "per_second": 1000 })).await;
    // More than the retries that one endpoint is given.
    let creates = join_all((0..200).map(|_| world.create(world.photo_request()))).await;
    let refusals: Vec<_> = creates.into_iter().filter(Result::is_err).map(refused).collect();
    assert!(refusals.is_empty(), "{} of 200, the first: {:?}", refusals.len(), refusals[0]);
    drop(silent);
}

#[tokio::test]
async fn while_nothing_answers_callers_are_told_at_once() {
    let world = World::start_with_tencent("endpoint = \"http://127.0.0.1:9\"").await;
    let mut last = None;
    for _ in 0..4 {
        last = Some(world.create(world.request()).await);
    }
    let last = last.expect("calls");
    assert_eq!(told(&last, "tries"), "0", "nobody was asked");
    let refusal = refused(last);
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retry), (Code::Unavailable, "VENDOR_UNAVAILABLE", true));
}

#[tokio::test]
async fn beyond_the_quota_who_cannot_wait_is_told_when_to_come_back() {
    let world = World::start_with_tencent("quotas.detect_auth = 1\nquotas.get_detect_info_enhanced = 1").await;
    world.created().await;
    let mut request = bearing(ORDERS, world.request());
    request.set_timeout(Duration::from_millis(500));
    let refusal = refused(world.client().create_verification(request).await);
    assert_eq!(
        (refusal.code, refusal.reason.as_str(), refusal.retry),
        (Code::ResourceExhausted, "VENDOR_QUOTA_EXHAUSTED", true)
    );
    world.created().await;
    assert_eq!(world.vendor_calls("DetectAuth").await, 2, "who can wait is served");
}

#[tokio::test]
async fn a_vendor_that_throttles_early_is_asked_less() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = tempfile::TempDir::new().expect("temporary folder");
    // Under a name of its own: metrics are the process's, and so of all tests in it.
    let world = World::start_edited(simulator, folder, |toml| toml.replace("\"main\"", "\"throttled\"")).await;
    world.created().await;
    world.fault(json!({"action": "DetectAuth", "kind": "error_code", "code": "RequestLimitExceeded"})).await;
    world.created().await;
    let metrics = world.get(&world.admin_url("/metrics")).await.1;
    let allowed = metrics.lines().find_map(|line| {
        let of = "faceid_vendor_quota_per_second{credential=\"throttled\",action=\"DetectAuth\"} ";
        line.strip_prefix(of)?.parse::<f64>().ok()
    });
    assert!(allowed.is_some_and(|allowed| allowed < 100.0), "{allowed:?}");
}

#[tokio::test]
async fn a_slow_vendor_fills_the_places_and_no_more() {
    let world = World::start_with_tencent("max_in_flight = 4").await;
    world.fault(json!({"action": "DetectAuth", "kind": "delay", "ms": 500, "times": 100})).await;
    let creates = join_all((0..12).map(|_| world.create(world.request()))).await;
    let (served, shed): (Vec<_>, Vec<_>) = creates.into_iter().partition(Result::is_ok);
    assert_eq!((served.len(), shed.len()), (4, 8));
    for refusal in shed.into_iter().map(refused) {
        assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retry), (Code::Unavailable, "OVERLOADED", true));
    }
}

#[tokio::test]
async fn who_asks_about_the_same_at_once_shares_one_call() {
    let world = World::start().await;
    let created: Created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "delay", "ms": 500})).await;
    let fresh = || world.result_as(ORDERS, GetResultRequest { fresh: true, ..by_id(&created.id) });
    for told in join_all((0..20).map(|_| fresh())).await {
        let verification = succeeded(told).verification.expect("a verification");
        assert_eq!(crate::harness::state_name(&verification), "PASSED");
    }
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 1);
}

#[tokio::test]
async fn a_browser_that_returns_during_a_question_is_not_answered_from_before() {
    let world = World::start().await;
    let created = world.created().await;
    // The vendor answers at once, while the user is not done, and the answer takes a second to
    // arrive.
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "drip", "bytes_per_second": 4000})).await;
    let (_, (status, _, location)) = tokio::join!(world.result(&created.id), async {
        world.until("the question", async || world.faults_left().await == 0).await;
        let redirect = world.attempt(&created, 0).await;
        world.get(&redirect).await
    });
    assert_eq!(status, 303);
    assert!(location.contains("/shop/welcome"), "{location}");
}

#[tokio::test]
async fn the_reconciler_leaves_alone_a_vendor_that_is_down() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(json!({"kind": "http_status", "status": 503, "for_ms": 600_000})).await;
    world
        .until("a breaker that is open", async || {
            refused(world.create(world.request()).await);
            world.gateway.app.vendor_is_down()
        })
        .await;
    world.clear_faults().await;
    let when_due = || world.count("SELECT coalesce(max(due_at_ms), 0) FROM jobs WHERE kind = 'settle'");
    let due = when_due();
    world.advance(121).await;
    world
        .until("the end of the pause", async || {
            // It is due, and looked for every half second: not rescheduled, over and over, but left
            // where it is.
            let now = when_due();
            let is_down = world.gateway.app.vendor_is_down();
            assert!(now == due || !is_down, "it was rescheduled by {} ms", now - due);
            !is_down
        })
        .await;
    world.until("the look", async || world.stored_state(&created.id).await == "passed").await;
    let metrics = world.get(&world.admin_url("/metrics")).await.1;
    assert!(metrics.contains("faceid_vendor_tries_per_call_bucket{action=\"DetectAuth\",le=\"4\"}"), "{metrics}");
}

#[tokio::test]
async fn who_is_in_a_hurry_does_not_give_up_for_the_others() {
    let world = World::start().await;
    // The hasty one has no time for a second try, more often than not.
    for _ in 0..8 {
        let created = world.created().await;
        world.attempt(&created, 0).await;
        let fault = json!({"action": "GetDetectInfoEnhanced", "kind": "http_status", "status": 503, "times": 2});
        world.fault(fault).await;
        let mut hasty = bearing(ORDERS, GetResultRequest { fresh: true, ..by_id(&created.id) });
        hasty.set_timeout(Duration::from_millis(30));
        let mut client = world.client();
        let (_, told) = tokio::join!(client.get_result(hasty), world.result(&created.id));
        assert_eq!(crate::harness::state_name(&succeeded(told).verification.expect("one")), "PASSED");
        world.clear_faults().await;
    }
}

#[tokio::test]
async fn who_hangs_up_does_not_take_the_answer_from_the_others() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "delay", "ms": 800})).await;
    let mut hasty = bearing(ORDERS, GetResultRequest { fresh: true, ..by_id(&created.id) });
    hasty.set_timeout(Duration::from_millis(200));
    let mut client = world.client();
    let (hung_up, told) = tokio::join!(client.get_result(hasty), world.result(&created.id));
    // Told by the gateway or by the client's own timer, whichever was quicker.
    assert!(hung_up.is_err());
    assert_eq!(crate::harness::state_name(&succeeded(told).verification.expect("one")), "PASSED");
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 1);
}
