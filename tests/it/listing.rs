//! ListVerifications: filters, pages, and tokens that go nowhere else.

use crate::engine;
use crate::harness::{Created, LOANS, ORDERS, World, bearing, invalid, refused, succeeded};
use faceid_gateway::grpc::pb::{
    CreateVerificationRequest, ListVerificationsRequest, ListVerificationsResponse, VerificationState,
};
use tonic::{Response, Status};

async fn list(
    world: &World,
    token: &str,
    request: ListVerificationsRequest,
) -> Result<ListVerificationsResponse, Status> {
    world.client().list_verifications(bearing(token, request)).await.map(Response::into_inner)
}

fn ids(page: &ListVerificationsResponse) -> Vec<&str> {
    page.verifications.iter().map(|verification| verification.verification_id.as_str()).collect()
}

#[tokio::test]
async fn pages_have_everything_once_whatever_is_written_meanwhile() {
    let world = World::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.created().await.id);
    }
    let first_page = || ListVerificationsRequest { page_size: 2, ..ListVerificationsRequest::default() };
    let mut page = succeeded(list(&world, ORDERS, first_page()).await);
    let mut seen: Vec<String> = ids(&page).into_iter().map(Into::into).collect();
    while !page.next_page_token.is_empty() {
        world.created().await;
        page = succeeded(
            list(&world, ORDERS, ListVerificationsRequest { page_token: page.next_page_token, ..first_page() }).await,
        );
        seen.extend(ids(&page).into_iter().map(Into::into));
    }
    seen.sort();
    made.sort();
    assert_eq!(seen, made);
}

#[tokio::test]
async fn filters_narrow() {
    let world = World::start().await;
    let (passed, pending) = (world.created().await, world.created().await);
    let named = CreateVerificationRequest { reference: "order-7".into(), ..world.request() };
    let named = Created::of(succeeded(world.create(named).await));
    world.attempt(&passed, 0).await;
    world.advance(121).await;
    world.until("settled", async || world.stored_state(&passed.id).await == "passed").await;

    let all = ListVerificationsRequest { oldest_first: true, ..ListVerificationsRequest::default() };
    let passed_only = ListVerificationsRequest {
        states: vec![VerificationState::Passed.into()],
        ..ListVerificationsRequest::default()
    };
    let by_reference = ListVerificationsRequest { reference: "order-7".into(), ..ListVerificationsRequest::default() };
    let never_fetched = ListVerificationsRequest { never_fetched: true, ..ListVerificationsRequest::default() };
    assert_eq!(ids(&succeeded(list(&world, ORDERS, all.clone()).await)), [&*passed.id, &*pending.id, &*named.id]);
    assert_eq!(ids(&succeeded(list(&world, ORDERS, passed_only).await)), [&*passed.id]);
    assert_eq!(ids(&succeeded(list(&world, ORDERS, by_reference).await)), [&*named.id]);
    assert_eq!(ids(&succeeded(list(&world, ORDERS, never_fetched.clone()).await)), [&*passed.id]);
    assert_eq!(world.state(&passed.id).await, "PASSED");
    assert!(ids(&succeeded(list(&world, ORDERS, never_fetched).await)).is_empty());
    assert!(ids(&succeeded(list(&world, LOANS, all).await)).is_empty(), "another caller sees its own only");
}

#[tokio::test]
async fn a_page_token_is_for_its_caller_and_filter_only() {
    let world = World::start().await;
    for _ in 0..2 {
        world.created().await;
    }
    let page = |page_token: &str, flow: &str| ListVerificationsRequest {
        page_size: 1,
        page_token: page_token.into(),
        flow: flow.into(),
        ..ListVerificationsRequest::default()
    };
    let token = succeeded(list(&world, ORDERS, page("", "")).await).next_page_token;
    let mut edited = token.clone().into_bytes();
    edited[3] ^= 1;
    let edited = String::from_utf8(edited).expect("still text");
    assert_eq!(refused(list(&world, LOANS, page(&token, "")).await), invalid(&["page_token"]));
    assert_eq!(refused(list(&world, ORDERS, page(&token, "onboarding")).await), invalid(&["page_token"]));
    assert_eq!(refused(list(&world, ORDERS, page(&edited, "")).await), invalid(&["page_token"]));
    let bad = ListVerificationsRequest { page_size: -1, page_token: "x".into(), ..ListVerificationsRequest::default() };
    assert_eq!(refused(list(&world, ORDERS, bad).await), invalid(&["page_size", "page_token"]));
    let bad = ListVerificationsRequest { states: vec![1, 0, 99], ..ListVerificationsRequest::default() };
    assert_eq!(refused(list(&world, ORDERS, bad).await), invalid(&["states[1]", "states[2]"]));
}

#[tokio::test]
async fn a_damaged_row_is_named_and_hides_no_other() {
    let world = World::start().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(world.created().await.id);
    }
    let damage = format!("UPDATE verifications SET sealed_subject = sealed_session WHERE id = '{}'", made[1]);
    assert_eq!(engine::execute(world.folder.path(), &damage), 1);
    let all = ListVerificationsRequest::default();
    let page = succeeded(list(&world, ORDERS, all).await);
    assert_eq!(ids(&page), [&*made[2], &*made[0]]);
    assert_eq!(page.unreadable_verification_ids, [&*made[1]]);
    let refusal = refused(world.result(&made[1]).await);
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.retry), (tonic::Code::Internal, "INTERNAL", false));
}
