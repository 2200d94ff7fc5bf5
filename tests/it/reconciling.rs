//! Verifications that nobody asks about are settled all the same.

use crate::harness::{ORDERS, World, bearing, by_id, config_text, count, parse, refused, state_name, succeeded};
use faceid_gateway::{
    grpc::pb::{CancelVerificationRequest, GetResultRequest, GetResultResponse},
    simulator::{self, SimulatorConfig},
};
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;
use tonic::{Code, Response, Status};

async fn cancel(world: &World, token: &str, id: &str) -> Result<&'static str, Status> {
    let request = CancelVerificationRequest { verification_id: id.to_owned() };
    let answer = world.client().cancel_verification(bearing(token, request)).await.map(Response::into_inner)?;
    Ok(state_name(&answer.verification.expect("a verification")))
}

#[tokio::test]
async fn a_user_whose_browser_never_returns_is_settled_within_minutes() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.advance(121).await;
    world.until("the look after 2 minutes", async || world.stored_state(&created.id).await == "passed").await;
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 1);
}

#[tokio::test]
async fn at_the_tokens_end_every_verification_is_settled() {
    let world = World::start().await;
    let (untouched, failed) = (world.created().await, world.created().await);
    world.attempt(&failed, 2016).await;
    world.advance(7203).await;
    world.until("the last look", async || world.stored_state(&untouched.id).await == "expired").await;
    world.until("the last look", async || world.stored_state(&failed.id).await == "failed").await;
    world.until("the end of the jobs", async || world.settle_jobs() == 0).await;
    assert_eq!(world.rows("attempts"), 1);
}

#[tokio::test]
async fn each_look_is_taken_once_and_then_no_more() {
    let world = World::start().await;
    let created = world.created().await;
    for (minutes, looks) in [(2, 1), (3, 2), (10, 3), (15, 4), (30, 5), (62, 6)] {
        world.advance(minutes * 60 + 1).await;
        world.until("the next look", async || world.vendor_calls("GetDetectInfoEnhanced").await == looks).await;
        // Time goes on only once it is rescheduled again.
        world.until("the end of the look", async || world.leased_jobs() == 0).await;
    }
    assert_eq!(world.stored_state(&created.id).await, "expired");
    assert_eq!(world.settle_jobs(), 0);
}

#[tokio::test]
async fn an_outage_is_caught_up_with_and_loses_nothing() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "http_status", "status": 503, "times": 4})).await;
    world.advance(121).await;
    for tries in 1..=4 {
        world.until("a try", async || world.vendor_calls("GetDetectInfoEnhanced").await >= tries).await;
        world.advance(16 * 60).await;
    }
    world.until("the vendor is back", async || world.stored_state(&created.id).await == "passed").await;
}

/// 2,000 with `FACEID_TEST_VERIFICATIONS=2000`; prints what it cost.
#[tokio::test]
async fn a_crowd_that_never_comes_back_is_settled_under_the_vendors_quota() {
    let count: u64 = std::env::var("FACEID_TEST_VERIFICATIONS").map_or(200, |text| text.parse().expect("a number"));
    let world = World::start().await;
    for i in 0..count {
        let created = world.created().await;
        if i % 2 == 0 {
            world.attempt(&created, 2016).await;
        }
    }
    world.control("quota", json!({ "per_second": 100 })).await;
    let before = world.now();
    world.advance(7203).await;
    while world.settle_jobs() > 0 {
        // Lets those come due that the quota has rescheduled.
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.advance(20).await;
    }
    let took = world.now().duration_since(before);
    let calls = world.vendor_calls("GetDetectInfoEnhanced").await;
    println!("{count} settled in {took:#} of moved time with {calls} calls");
    assert!(took < jiff::SignedDuration::from_hours(24), "{took}");
    assert_eq!(
        world.count("SELECT count(*) FROM verifications WHERE state = 'failed'"),
        i64::try_from(count / 2).expect("few")
    );
    assert_eq!(
        world.count("SELECT count(*) FROM verifications WHERE state = 'expired'"),
        i64::try_from(count / 2).expect("few")
    );
    assert_eq!(world.count("SELECT count(*) FROM attempts"), i64::try_from(count / 2).expect("few"));
}

#[tokio::test]
async fn what_the_vendor_forgot_is_told_as_lost() {
    let world = World::start().await;
    let (unknown, failed) = (world.created().await, world.created().await);
    world.attempt(&unknown, 0).await;
    world.attempt(&failed, 2016).await;
    assert_eq!(world.state(&failed.id).await, "PENDING");
    world.advance(3 * 24 * 3600 + 60).await;
    world.until("the end of the jobs", async || world.settle_jobs() == 0).await;
    for (created, state) in [(&unknown, "EXPIRED"), (&failed, "FAILED")] {
        let told = succeeded(world.result(&created.id).await).verification.expect("a verification");
        assert_eq!((state_name(&told), told.result_lost), (state, true));
    }
}

#[tokio::test]
async fn an_outage_of_a_day_loses_nothing() {
    let world = World::start().await;
    let (passed, untouched) = (world.created().await, world.created().await);
    world.attempt(&passed, 0).await;
    let fault = json!({"action": "GetDetectInfoEnhanced", "kind": "http_status", "status": 503, "times": 1_000_000});
    world.fault(fault).await;
    for _ in 0..24 {
        world.advance(3600).await;
        world.until("looks that failed", async || world.leased_jobs() == 0).await;
    }
    assert_eq!(world.stored_state(&passed.id).await, "pending");
    world.clear_faults().await;
    world.advance(16 * 60).await;
    world.until("the first look after it", async || world.stored_state(&passed.id).await == "passed").await;
    world.until("the first look after it", async || world.stored_state(&untouched.id).await == "expired").await;
    world.until("the end of the jobs", async || world.settle_jobs() == 0).await;
}

/// Past the token's end, too: an answer that tells nothing is no verdict.
#[tokio::test]
async fn two_hours_of_answers_that_tell_nothing_are_no_verdict() {
    for fault in [json!({"kind": "result_code", "code": 17}), json!({"kind": "nulls"})] {
        let world = World::start().await;
        let (passed, failed, untouched) = (world.created().await, world.created().await, world.created().await);
        world.attempt(&passed, 0).await;
        world.attempt(&failed, 2016).await;
        let mut planned = json!({"action": "GetDetectInfoEnhanced", "times": 1_000_000});
        planned.as_object_mut().expect("an object").extend(fault.as_object().expect("an object").clone());
        world.fault(planned).await;
        for _ in 0..13 {
            world.advance(10 * 60).await;
            assert_eq!(world.state(&passed.id).await, "PENDING", "{fault}");
        }
        // Three looks past the token's end, which is when an answer that tells something would be
        // final.
        let rescheduled = format!("SELECT count(*) FROM jobs WHERE subject = '{}' AND failures >= 3", passed.id);
        world
            .until("looks past the token's end", async || {
                world.advance(60).await;
                world.count(&rescheduled) == 1
            })
            .await;
        assert_eq!(world.stored_state(&passed.id).await, "pending", "{fault}");
        world.clear_faults().await;
        world
            .until("the last looks", async || {
                world.advance(60).await;
                world.settle_jobs() == 0
            })
            .await;
        for (created, state) in [(&passed, "passed"), (&failed, "failed"), (&untouched, "expired")] {
            assert_eq!(world.stored_state(&created.id).await, state, "{fault}");
        }
        assert_eq!(world.rows("attempts"), 2);
    }
}

#[tokio::test]
async fn two_reconcilers_on_one_store_share_the_looks() {
    let world = World::start().await;
    let another = world.another_gateway().await;
    let mut made = Vec::new();
    for _ in 0..60 {
        let created = world.created().await;
        world.attempt(&created, 0).await;
        made.push(created);
    }
    world.advance(121).await;
    world.until("the end of the jobs", async || world.settle_jobs() == 0).await;
    for created in &made {
        assert_eq!(world.stored_state(&created.id).await, "passed");
    }
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 60, "each is asked about by one of the two");
    assert_eq!(world.rows("attempts"), 60);
    assert_eq!(world.count("SELECT count(*) FROM events WHERE kind = 'settled'"), 60);
    another.stop().await.expect("another gateway stops");
}

#[tokio::test]
async fn a_lease_that_ends_under_its_holder_does_no_harm() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    // A gateway that still waits for the vendor has no slot left, so the second claim is the other
    // one's.
    let one_at_once = |toml: String| toml + "[reconcile]\nconcurrency = 1\n";
    let world = World::start_edited(simulator, TempDir::new().expect("temporary folder"), one_at_once).await;
    let text = config_text(&world.simulator, &world.folder, "");
    let another = world.gateway_with(parse(&one_at_once(text))).await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "delay", "ms": 1500})).await;
    world.advance(121).await;
    world.until("the first claim", async || world.lease_token().is_some()).await;
    world.until("its call", async || world.faults_left().await == 0).await;
    let first_claim = world.lease_token();
    // Over the lease, while the first holder still waits for the vendor.
    world.advance(13 * 60).await;
    world.until("the second claim", async || world.lease_token() != first_claim).await;
    world.until("the end of the looks", async || world.settle_jobs() == 0).await;
    world.until("the late answer", async || world.vendor_calls("GetDetectInfoEnhanced").await >= 2).await;
    another.stop().await.expect("another gateway stops");
    let (_simulator, folder) = world.stop_gateway().await;
    for (count, of) in
        [(1, "attempts"), (1, "verifications WHERE state = 'passed'"), (1, "events WHERE kind = 'settled'")]
    {
        assert_eq!(crate::harness::count(&folder, &format!("SELECT count(*) FROM {of}")), count, "{of}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_days_ahead_loses_nothing() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    // By that clock the vendor has forgotten it; the vendor's own time is what counts.
    world.skew(4 * 24 * 3600);
    world.until("the look", async || world.stored_state(&created.id).await == "passed").await;
    assert_eq!(world.count("SELECT count(*) FROM verifications WHERE result_lost"), 0);
    world.skew(-4 * 24 * 3600);
    assert_eq!(world.state(&created.id).await, "PASSED");
}

#[tokio::test]
async fn a_clock_that_jumps_hours_ahead_ends_no_looks_early() {
    let world = World::start().await;
    let (pending, canceled) = (world.created().await, world.created().await);
    succeeded(cancel(&world, ORDERS, &canceled.id).await);
    world.skew(3 * 3600);
    world.until("the looks", async || world.vendor_calls("GetDetectInfoEnhanced").await >= 2).await;
    world.until("their end", async || world.leased_jobs() == 0).await;
    assert_eq!(world.settle_jobs(), 2, "by the vendor's clock the users may still make attempts");
    for created in [&pending, &canceled] {
        world.attempt(created, 0).await;
    }
    world.advance(7203).await;
    world.until("the end of the jobs", async || world.settle_jobs() == 0).await;
    assert_eq!(world.stored_state(&pending.id).await, "passed");
    assert_eq!(world.rows("attempts"), 2, "both are billed");
}

#[tokio::test]
async fn a_canceled_verification_still_learns_what_is_billed() {
    let world = World::start().await;
    let created = world.created().await;
    assert_eq!(succeeded(cancel(&world, ORDERS, &created.id).await), "CANCELED");
    assert_eq!(succeeded(cancel(&world, ORDERS, &created.id).await), "CANCELED", "twice is once");
    world.attempt(&created, 0).await;
    world.advance(7203).await;
    world.until("the end of the jobs", async || world.settle_jobs() == 0).await;
    let told = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert_eq!((state_name(&told), told.charged_attempts), ("CANCELED", 1));
    assert_eq!(world.audit(&created.id).await, ["orders created", "orders canceled"]);
}

#[tokio::test]
async fn only_a_pending_verification_of_ones_own_is_canceled() {
    let world = World::start().await;
    let created = world.created().await;
    assert_eq!(refused(cancel(&world, crate::harness::LOANS, &created.id).await).code, Code::NotFound);
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    let refusal = refused(cancel(&world, ORDERS, &created.id).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "ALREADY_FINAL"));
    assert_eq!(refused(cancel(&world, ORDERS, "7").await).fields, ["verification_id"]);
}

async fn wait(world: &World, id: &str, seconds: i64) -> Result<GetResultResponse, Status> {
    let wait = Some(prost_types::Duration { seconds, nanos: 0 });
    world.result_as(ORDERS, GetResultRequest { wait, ..by_id(id) }).await
}

#[tokio::test]
async fn a_waiting_caller_is_answered_when_the_browser_returns() {
    let world = World::start().await;
    let created = world.created().await;
    let redirect = world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "result_code", "code": 17})).await;
    let (told, _) = tokio::join!(wait(&world, &created.id, 30), async {
        world.until("the wait", async || world.vendor_calls("GetDetectInfoEnhanced").await == 1).await;
        world.get(&redirect).await
    });
    assert_eq!(state_name(&succeeded(told).verification.expect("a verification")), "PASSED");
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 2, "waiting asks nobody");
}

#[tokio::test]
async fn a_wait_ends_with_its_time_or_just_before_the_deadline() {
    let world = World::start().await;
    let created = world.created().await;
    assert_eq!(refused(wait(&world, &created.id, 61).await).fields, ["wait"]);
    let mut request = bearing(
        ORDERS,
        GetResultRequest { wait: Some(prost_types::Duration { seconds: 30, nanos: 0 }), ..by_id(&created.id) },
    );
    request.set_timeout(Duration::from_millis(600));
    let told = succeeded(world.client().get_result(request).await).into_inner();
    assert_eq!(state_name(&told.verification.expect("a verification")), "PENDING");
}

#[tokio::test]
async fn a_stop_gives_back_the_work_that_outlasts_it() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let world = World::start_edited(simulator, folder, |text| text + "\n[drain]\ntimeout_s = 2\n").await;
    world.created().await;
    world.fault(json!({ "action": "GetDetectInfoEnhanced", "kind": "delay", "ms": 60_000 })).await;
    world.advance(121).await;
    world.until("the look to reach the vendor", async || world.faults_left().await == 0).await;
    assert_eq!(world.leased_jobs(), 1);
    let (_simulator, folder) = world.stop_gateway().await;
    let jobs =
        |condition: &str| count(&folder, &format!("SELECT count(*) FROM jobs WHERE kind = 'settle' AND {condition}"));
    assert_eq!((jobs("lease_token IS NULL"), jobs("lease_token IS NOT NULL")), (1, 0));
}
