//! Callers: who they are, and that they see only what is theirs.

use crate::harness::{LOANS, ORDERS, STRANGER, World, by_id, invalid, refused, succeeded};
use faceid_gateway::grpc::pb::{
    CallbackTokens, CreateVerificationRequest, GetResultRequest, ResultView, get_result_request::Key,
    handle_callback_request::Source,
};
use tonic::Code;

#[tokio::test]
async fn without_a_valid_token_nothing_is_served() {
    let world = World::start().await;
    let refusal = refused(world.create_as("wrong", world.request()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
    let refusal = refused(world.client().get_result(by_id("x")).await);
    assert_eq!(refusal.code, Code::Unauthenticated);
    assert_eq!(world.vendor_calls("DetectAuth").await, 0);
}

#[tokio::test]
async fn a_flow_that_was_not_granted_is_refused() {
    let world = World::start().await;
    let refusal = refused(world.create_as(STRANGER, world.request()).await);
    assert_eq!(refusal, invalid(&["flow"]));
    assert_eq!(world.vendor_calls("DetectAuth").await, 0);
}

#[tokio::test]
async fn the_verification_of_another_is_not_found_by_any_key() {
    let world = World::start().await;
    let created = world.created().await;
    let redirect = world.attempt(&created, 0).await;

    let by_token = GetResultRequest { key: Some(Key::BizToken(created.token.clone())), ..GetResultRequest::default() };
    let tokens = CallbackTokens { verification_id: created.id.clone(), biz_token: created.token.clone() };
    for refusal in [
        refused(world.result_as(LOANS, by_id(&created.id)).await),
        refused(world.result_as(LOANS, by_token.clone()).await),
        refused(world.callback_as(LOANS, Source::Tokens(tokens.clone())).await),
        refused(world.callback_as(LOANS, Source::CallbackUrl(redirect)).await),
    ] {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "VERIFICATION_NOT_FOUND"));
    }
    // Two attempts on the callback, one line: a flood is counted, not written down.
    assert_eq!(world.audit(&created.id).await, ["orders created", "loans callback_refused"]);

    assert!(succeeded(world.result_as(ORDERS, by_token).await).verification.is_some());
    assert!(succeeded(world.callback_as(ORDERS, Source::Tokens(tokens)).await).verification.is_some());
}

#[tokio::test]
async fn the_full_view_needs_its_right_and_is_audited() {
    let world = World::start().await;
    let created = world.created().await;
    let full = || GetResultRequest { view: ResultView::Full.into(), ..by_id(&created.id) };
    let refusal = refused(world.result_as(LOANS, full()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "RIGHT_MISSING"));
    succeeded(world.result_as(ORDERS, full()).await);
    assert_eq!(world.audit(&created.id).await, ["orders created", "orders viewed_full"]);
}

#[tokio::test]
async fn two_callers_may_use_the_same_request_id() {
    let world = World::start().await;
    let request = || CreateVerificationRequest { request_id: "same".into(), ..world.request() };
    let id = |answer: faceid_gateway::grpc::pb::CreateVerificationResponse| {
        answer.verification.expect("a verification").verification_id
    };
    let orders = id(succeeded(world.create_as(ORDERS, request()).await));
    let loans = id(succeeded(world.create_as(LOANS, request()).await));
    assert_ne!(orders, loans);
}
