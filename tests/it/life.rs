//! The life of a verification: DESIGN's states as a caller sees them.

use crate::harness::{Created, ID_NUMBER, ORDERS, World, by_id, state_name, succeeded};
use faceid_gateway::grpc::pb::{
    Advice, CreateVerificationRequest, GetResultRequest, IntentionQuestion, IntentionScript, NodScript, QuestionScript,
    ReadAloudScript, ResultView, Subject, intention_script::Mode,
};
use serde_json::json;

#[tokio::test]
async fn passes_and_the_browser_is_sent_to_the_success_page() {
    let world = World::start().await;
    let created = world.created().await;
    assert_eq!(world.state(&created.id).await, "PENDING");

    let redirect = world.attempt(&created, 0).await;
    let (status, _, location) = world.get(&redirect).await;
    assert_eq!(status, 303);
    assert_eq!(location, format!("{}?faceid_verification_id={}", world.shop("welcome"), created.id));
    assert_eq!(world.state(&created.id).await, "PASSED");
    assert_eq!(world.audit(&created.id).await, ["orders created"]);
}

#[tokio::test]
async fn a_failed_attempt_leaves_it_pending_and_a_retry_passes() {
    let world = World::start().await;
    let created = world.created().await;

    let redirect = world.attempt(&created, 2016).await;
    let (status, _, location) = world.get(&redirect).await;
    assert_eq!(status, 303);
    assert!(location.starts_with(&world.shop("sorry")), "{location}");
    let verification = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert_eq!(state_name(&verification), "PENDING");
    assert!(verification.settle_time.is_none());
    let attempt = verification.last_attempt.expect("an attempt");
    assert_eq!((attempt.code(), attempt.advice().as_str_name()), (2016, Advice::RejectOrRetry.as_str_name()));
    assert!(attempt.attempt_time.is_some());

    let redirect = world.attempt(&created, 0).await;
    assert!(world.get(&redirect).await.2.starts_with(&world.shop("welcome")));
    assert_eq!(world.state(&created.id).await, "PASSED");
}

#[tokio::test]
async fn after_the_tokens_end_it_is_failed_or_expired_and_stays_so() {
    let world = World::start().await;
    let (tried, untouched) = (world.created().await, world.created().await);
    world.attempt(&tried, 1004).await;
    world.advance(7195).await;
    assert_eq!(world.state(&tried.id).await, "PENDING");
    world.advance(10).await;
    assert_eq!(world.state(&tried.id).await, "FAILED");
    assert_eq!(world.state(&untouched.id).await, "EXPIRED");

    let calls = world.vendor_calls("GetDetectInfoEnhanced").await;
    world.advance(4 * 24 * 3600).await;
    assert_eq!(world.state(&tried.id).await, "FAILED");
    assert_eq!(world.state(&untouched.id).await, "EXPIRED");
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, calls, "a final state is not asked about");
}

#[tokio::test]
async fn a_flow_that_is_not_finished_is_only_pending() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "result_code", "code": 17})).await;
    let verification = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert_eq!(state_name(&verification), "PENDING");
    assert_eq!(world.state(&created.id).await, "PASSED");
}

#[tokio::test]
async fn used_up_attempts_are_told() {
    let world = World::start().await;
    let created = world.created().await;
    for _ in 0..5 {
        world.attempt(&created, 2015).await;
    }
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "result_code", "code": 16})).await;
    let verification = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert!(verification.attempts_exhausted);
    assert_eq!(state_name(&verification), "PENDING");
}

#[tokio::test]
async fn the_callers_own_page_takes_the_callback() {
    let world = World::start().await;
    let request = CreateVerificationRequest {
        return_url: format!("{}?order=7", world.shop("back")),
        // As long as it may be, for it comes back at nine characters for each of these.
        extra: "订单".repeat(400),
        ..world.request()
    };
    let created = Created::of(succeeded(world.create(request).await));
    let redirect = world.attempt(&created, 0).await;
    assert!(redirect.starts_with(&format!("{}?order=7&", world.shop("back"))), "{redirect}");

    for _replay in 0..2 {
        let outcome = succeeded(world.callback(&redirect).await);
        assert_eq!(state_name(&outcome.verification.expect("a verification")), "PASSED");
        assert!(outcome.redirect_url.starts_with(&world.shop("welcome")), "{}", outcome.redirect_url);
    }
    let query = redirect.split_once('?').expect("a query").1;
    assert!(succeeded(world.callback(query).await).verification.is_some());
}

#[tokio::test]
async fn the_uploaded_photo_is_compared_with() {
    let world = World::start().await;
    let request = CreateVerificationRequest {
        flow: "photo".into(),
        subject: None,
        reference_photo: [&[0xFF, 0xD8, 0xFF, 0xE0][..], &[7; 1000], &[0xFF, 0xD9]].concat(),
        ..world.request()
    };
    let created = Created::of(succeeded(world.create(request).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
}

#[tokio::test]
async fn with_the_intention_step_the_face_alone_does_not_pass() {
    let world = World::start().await;
    let question = IntentionQuestion { question: "您是否同意开户？".into(), answers: vec!["同意".into()] };
    let scripts = [
        ("read-aloud", Mode::ReadAloud(ReadAloudScript { text: "我同意开户".into() })),
        ("questions", Mode::Questions(QuestionScript { questions: vec![question], ..QuestionScript::default() })),
        ("nods", Mode::Nods(NodScript { statements: vec!["请点头确认".into()], speech_speed: Some(1) })),
    ];
    for (flow, mode) in scripts {
        let request = CreateVerificationRequest {
            flow: flow.into(),
            intention: Some(IntentionScript { mode: Some(mode) }),
            ..world.request()
        };
        let created = Created::of(succeeded(world.create(request).await));
        let attempts = format!("tokens/{}/attempts", created.token);
        world.control(&attempts, json!({"code": 0, "intention_code": -301})).await;
        let refused = succeeded(world.result(&created.id).await);
        let verification = refused.verification.expect("a verification");
        assert_eq!(state_name(&verification), "PENDING", "{flow}");
        assert_eq!(verification.last_attempt.expect("an attempt").code(), -301, "{flow}");
        assert_eq!(refused.result.expect("a result").intention.expect("an intention").code, Some(-301), "{flow}");

        world.control(&attempts, json!({"code": 0, "intention_code": 0})).await;
        assert_eq!(world.state(&created.id).await, "PASSED", "{flow}");
    }
}

#[tokio::test]
async fn an_intention_step_that_only_the_console_knows_of_is_asked_for() {
    let world = World::start().await;
    let request = CreateVerificationRequest { flow: "console-intention".into(), ..world.request() };
    let created = Created::of(succeeded(world.create(request).await));
    let attempts = format!("tokens/{}/attempts", created.token);
    world.control(&attempts, json!({"code": 0, "intention_code": -301})).await;
    assert_eq!(world.state(&created.id).await, "PENDING");
    world.control(&attempts, json!({"code": 0, "intention_code": 0})).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
}

#[tokio::test]
async fn a_clock_that_was_set_back_hides_no_success() {
    let world = World::start().await;
    let created = world.created().await;
    world.skew(200);
    assert_eq!(world.state(&created.id).await, "PENDING");
    world.skew(-200);
    world.attempt(&created, 0).await;
    let told = succeeded(world.result_as(ORDERS, by_id(&created.id)).await);
    assert_eq!(state_name(&told.verification.expect("a verification")), "PASSED");
}

#[tokio::test]
async fn an_answer_while_the_vendor_was_asked_just_now_costs_no_call() {
    let world = World::start().await;
    let created = world.created().await;
    let poll = || world.result_as(ORDERS, by_id(&created.id));
    succeeded(poll().await);
    let calls = world.vendor_calls("GetDetectInfoEnhanced").await;
    succeeded(poll().await);
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, calls);
    world.advance(3).await;
    succeeded(poll().await);
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, calls + 1);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let world = World::start().await;
    let (pending, passed) = (world.created().await, world.created().await);
    world.attempt(&passed, 0).await;
    assert_eq!(world.state(&passed.id).await, "PASSED");

    let (simulator, folder) = world.stop_gateway().await;
    let world = World::start_with(simulator, folder).await;
    assert_eq!(world.state(&passed.id).await, "PASSED");
    assert_eq!(world.state(&pending.id).await, "PENDING");
    world.attempt(&pending, 0).await;
    assert_eq!(world.state(&pending.id).await, "PASSED");
}

#[tokio::test]
async fn names_and_numbers_reach_the_vendor_unchanged() {
    let world = World::start().await;
    let request = CreateVerificationRequest {
        subject: Some(Subject { name: "阿卜杜拉·𠮷".into(), id_number: ID_NUMBER.into() }),
        ..world.request()
    };
    let created = Created::of(succeeded(world.create(request).await));
    world.attempt(&created, 0).await;
    let full = GetResultRequest { view: ResultView::Full.into(), ..by_id(&created.id) };
    let result = succeeded(world.result_as(ORDERS, full).await).result.expect("a result");
    let identity = result.identity.expect("an identity");
    assert_eq!(identity.name.as_deref(), Some("阿卜杜拉·𠮷"));
    assert_eq!(identity.id_number.as_deref(), Some(ID_NUMBER));
}
