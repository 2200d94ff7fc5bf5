//! AuditService: who reads the trail, and what is in it.

use crate::harness::{
    AUDITOR, Created, FINANCE, LOANS, ORDERS, World, bearing, by_id, invalid, refused, state_name, succeeded,
};
use faceid_gateway::grpc::pb::{
    AuditEvent, CreateVerificationRequest, DownloadEvidenceRequest, GetResultRequest, ListAuditEventsRequest,
    ListAuditEventsResponse, ResultView, audit_service_client::AuditServiceClient,
};
use tonic::{Code, Response, Status};

async fn ask(world: &World, token: &str, request: ListAuditEventsRequest) -> Result<ListAuditEventsResponse, Status> {
    let mut client = AuditServiceClient::new(world.channel.clone());
    client.list_audit_events(bearing(token, request)).await.map(Response::into_inner)
}

/// The whole trail, newest first.
pub async fn all(world: &World) -> Vec<AuditEvent> {
    succeeded(ask(world, AUDITOR, ListAuditEventsRequest::default()).await).events
}

async fn found(world: &World, request: ListAuditEventsRequest) -> Vec<String> {
    let answer = succeeded(ask(world, AUDITOR, request).await);
    answer.events.iter().map(|event| format!("{} {}", event.actor, event.action)).collect()
}

#[tokio::test]
async fn the_trail_needs_its_own_right() {
    let world = World::start().await;
    for token in [ORDERS, LOANS, FINANCE] {
        let refusal = refused(ask(&world, token, ListAuditEventsRequest::default()).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "RIGHT_MISSING"));
    }
}

#[tokio::test]
async fn every_full_read_and_every_download_is_in_it_and_no_other_read() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    let result = world.result(&created.id).await;
    assert_eq!(state_name(&succeeded(result).verification.expect("a verification")), "PASSED");
    let mut evidence = Vec::new();
    world
        .until("the evidence", async || {
            evidence = succeeded(world.result(&created.id).await).evidence;
            !evidence.is_empty()
        })
        .await;
    for view in [ResultView::Basic, ResultView::Masked, ResultView::Full, ResultView::Full] {
        succeeded(world.result_as(ORDERS, GetResultRequest { view: view.into(), ..by_id(&created.id) }).await);
    }
    let request =
        DownloadEvidenceRequest { verification_id: created.id.clone(), evidence_id: evidence[0].evidence_id.clone() };
    succeeded(world.client().download_evidence(bearing(ORDERS, request)).await);
    // Refused reads are none.
    refused(world.result_as(LOANS, GetResultRequest { view: ResultView::Full.into(), ..by_id(&created.id) }).await);
    let about = ListAuditEventsRequest { verification_id: created.id.clone(), ..Default::default() };
    assert_eq!(
        found(&world, about).await,
        ["orders evidence_downloaded", "orders viewed_full", "orders viewed_full", "orders created"]
    );
}

#[tokio::test]
async fn filters_and_pages() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for token in [ORDERS, LOANS, ORDERS] {
        let created = Created::of(succeeded(world.create_as(token, world.request()).await));
        world.advance(10).await;
        ids.push(created.id);
    }
    let filter = |actor: &str, action: &str| ListAuditEventsRequest {
        actor: actor.into(),
        action: action.into(),
        ..Default::default()
    };
    assert_eq!(found(&world, filter("loans", "")).await, ["loans created"]);
    assert_eq!(found(&world, filter("", "created")).await.len(), 3);
    assert_eq!(found(&world, filter("orders", "canceled")).await.len(), 0);
    let credential = ListAuditEventsRequest { credential: "main".into(), ..Default::default() };
    assert_eq!(found(&world, credential).await, ["configuration credential_created"]);

    let mut events = all(&world).await;
    assert!(events.is_sorted_by(|newer, older| newer.sequence > older.sequence));
    assert_eq!(events.iter().filter(|event| event.actor == "auditor" && event.action == "audit_read").count(), 4);
    events.retain(|event| event.action == "created");
    let second = events[1].clone();
    assert_eq!(second.verification_id, ids[1]);
    let from = ListAuditEventsRequest { event_time_from: second.event_time, ..filter("", "created") };
    assert_eq!(found(&world, from).await, ["orders created", "loans created"]);
    let before = ListAuditEventsRequest { event_time_before: second.event_time, ..Default::default() };
    assert_eq!(found(&world, before).await, ["orders created", "configuration credential_created"]);

    let page = |page_token: String| ListAuditEventsRequest { page_size: 2, page_token, ..filter("", "created") };
    let first = succeeded(ask(&world, AUDITOR, page(String::new())).await);
    world.create(world.request()).await.expect("another event, which moves no page");
    let second = succeeded(ask(&world, AUDITOR, page(first.next_page_token.clone())).await);
    assert!([first.events.clone(), second.events].concat() == events);
    assert!(second.next_page_token.is_empty());

    let edited = ListAuditEventsRequest { actor: "orders".into(), ..page(first.next_page_token) };
    assert_eq!(refused(ask(&world, AUDITOR, edited).await), invalid(&["page_token"]));
    let bad = ListAuditEventsRequest {
        verification_id: "x".into(),
        action: "stolen".into(),
        page_size: -1,
        ..Default::default()
    };
    assert_eq!(refused(ask(&world, AUDITOR, bad).await), invalid(&["page_size", "verification_id", "action"]));
}

#[tokio::test]
async fn it_holds_no_personal_data() {
    let world = World::start().await;
    let request = CreateVerificationRequest { reference: "order-7".into(), ..world.request() };
    let created = Created::of(succeeded(world.create(request).await));
    let events = format!("{:?}", all(&world).await.iter().map(prost::Message::encode_to_vec).collect::<Vec<_>>());
    for personal in ["张三", crate::harness::ID_NUMBER, "order-7", created.token.as_str()] {
        assert!(!events.contains(&format!("{:?}", personal.as_bytes()).trim_matches(['[', ']']).to_owned()));
    }
}
