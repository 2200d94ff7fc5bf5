//! What callers and operators look up: flows, the server, stored states, other callers'
//! verifications.

use crate::engine;
use crate::harness::{
    Created, FINANCE, LOANS, ORDERS, STRANGER, World, bearing, by_id, invalid, refused, state_name, succeeded,
};
use faceid_gateway::grpc::pb::{
    AccessMode, BatchGetResultsRequest, ComparisonSource, CreateVerificationRequest, Flow, GetResultRequest,
    GetServerInfoRequest, ListFlowsRequest, ListVerificationsRequest, Product, ReopenVerificationRequest, ResultView,
    Vendor, WatchVerificationsRequest, batch_outcome::Outcome, flow_service_client::FlowServiceClient,
    server_service_client::ServerServiceClient,
};
use serde_json::json;
use tonic::{Code, Response};

fn basic(id: &str) -> GetResultRequest {
    GetResultRequest { view: ResultView::Basic.into(), ..by_id(id) }
}

async fn flows(world: &World, token: &str) -> Vec<Flow> {
    let mut client = FlowServiceClient::new(world.channel.clone());
    succeeded(client.list_flows(bearing(token, ListFlowsRequest {})).await).into_inner().flows
}

#[tokio::test]
async fn a_caller_sees_its_flows_and_what_each_demands() {
    let world = World::start().await;
    let listed = flows(&world, ORDERS).await;
    let onboarding = listed.iter().find(|flow| flow.flow == "onboarding").expect("the caller's flow");
    assert!(onboarding.product() == Product::H5);
    assert!(onboarding.comparison() == ComparisonSource::Authority);
    assert!(onboarding.access_mode() != AccessMode::Unspecified);
    assert!(onboarding.requires_name && onboarding.requires_id_number);
    assert!(onboarding.redirect_targets.iter().any(|target| world.shop("return").starts_with(target)));
    assert!(onboarding.result_retention.as_ref().is_some_and(|kept| kept.seconds == 180 * 86_400));
    assert!(flows(&world, STRANGER).await.is_empty());
}

#[tokio::test]
async fn a_flow_that_is_not_there_and_one_of_another_read_alike_and_the_own_ones_are_named() {
    let world = World::start().await;
    let named = |flow: &str| CreateVerificationRequest { flow: flow.into(), ..world.request() };
    let of_orders = world.create(named("onbording")).await.err().expect("a typo");
    assert!(of_orders.message().contains("onboarding"), "{}", of_orders.message());
    let [there, nowhere] = ["onboarding", "onbording"].map(|flow| world.create_as(STRANGER, named(flow)));
    let (there, nowhere) = (there.await.err().expect("refused"), nowhere.await.err().expect("refused"));
    assert_eq!((there.code(), there.message()), (nowhere.code(), nowhere.message()));

    let list = ListVerificationsRequest { flow: "onbording".into(), ..ListVerificationsRequest::default() };
    assert_eq!(refused(world.client().list_verifications(bearing(ORDERS, list)).await), invalid(&["flow"]));
    let watch = WatchVerificationsRequest { flow: "onbording".into(), ..WatchVerificationsRequest::default() };
    assert_eq!(refused(world.client().watch_verifications(bearing(ORDERS, watch)).await.map(drop)), invalid(&["flow"]));
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let world = World::start().await;
    let mut client = ServerServiceClient::new(world.channel.clone());
    let told = succeeded(client.get_server_info(bearing(ORDERS, GetServerInfoRequest {})).await).into_inner();
    assert_eq!((told.version.as_str(), told.contract.as_str()), (env!("CARGO_PKG_VERSION"), "faceid.v1"));
    assert!(told.vendor() == Vendor::Other && told.store_engine == engine::name());
    assert!(world.get(&world.admin_url("/metrics")).await.1.contains("faceid_build_info{"));
}

#[tokio::test]
async fn an_outage_of_the_vendor_hides_nothing_that_is_stored() {
    let world = World::start().await;
    let created = world.created().await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "reset", "times": 1000})).await;
    let asked = world.vendor_calls("GetDetectInfoEnhanced").await;
    let cached = GetResultRequest { cached: true, ..by_id(&created.id) };
    let told = succeeded(world.result_as(ORDERS, cached.clone()).await);
    assert_eq!(state_name(&told.verification.expect("a verification")), "PENDING");
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, asked, "cached asks nobody");

    let told = succeeded(world.result_as(ORDERS, basic(&created.id)).await);
    assert_eq!(state_name(&told.verification.expect("a verification")), "PENDING");
    assert_eq!(refused(world.result(&created.id).await).code, Code::Unavailable);
    let fresh = GetResultRequest { fresh: true, ..basic(&created.id) };
    assert_eq!(refused(world.result_as(ORDERS, fresh).await).code, Code::Unavailable);
    let both = GetResultRequest { fresh: true, ..cached };
    assert_eq!(refused(world.result_as(ORDERS, both).await), invalid(&["cached"]));
}

#[tokio::test]
async fn an_admin_reads_the_state_of_any_callers_verification_and_no_more() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    let told = succeeded(world.result_as(FINANCE, basic(&created.id)).await);
    assert_eq!(state_name(told.verification.as_ref().expect("a verification")), "PASSED");
    assert!(told.result.is_none() && told.evidence.is_empty());
    for view in [ResultView::Unspecified, ResultView::Masked] {
        let more = GetResultRequest { view: view.into(), ..by_id(&created.id) };
        assert_eq!(refused(world.result_as(FINANCE, more).await).code, Code::NotFound);
    }
    assert_eq!(refused(world.result_as(LOANS, basic(&created.id)).await).code, Code::NotFound);

    let of_orders = ListVerificationsRequest { caller: "orders".into(), ..ListVerificationsRequest::default() };
    let list = async |token: &str| world.client().list_verifications(bearing(token, of_orders.clone())).await;
    let page = succeeded(list(FINANCE).await).into_inner();
    assert_eq!(page.verifications.iter().map(|one| one.verification_id.as_str()).collect::<Vec<_>>(), [&created.id]);
    assert_eq!(refused(list(LOANS).await.map(drop)).reason, "RIGHT_MISSING");
    assert_eq!(succeeded(list(ORDERS).await).into_inner().verifications.len(), 1, "its own");
    let audited = |action: &str| world.count(&format!("SELECT count(*) FROM audit_events WHERE action = '{action}'"));
    assert_eq!((audited("viewed_by_admin"), audited("listed_by_admin")), (1, 1));
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_each_id() {
    let world = World::start().await;
    let passed = world.created().await;
    world.attempt(&passed, 0).await;
    assert_eq!(world.state(&passed.id).await, "PASSED");
    let pending = world.created().await;
    let of_another = Created::of(succeeded(world.create_as(LOANS, world.request()).await));
    let ids = [&passed.id, &of_another.id, &pending.id].map(Clone::clone).to_vec();
    let asked = world.vendor_calls("GetDetectInfoEnhanced").await;
    let batch = async |verification_ids: Vec<String>, view: ResultView| {
        let request = BatchGetResultsRequest { verification_ids, view: view.into() };
        world.client().batch_get_results(bearing(ORDERS, request)).await.map(Response::into_inner)
    };
    let outcomes = succeeded(batch(ids.clone(), ResultView::Masked).await).outcomes;
    assert_eq!(outcomes.iter().map(|outcome| outcome.verification_id.clone()).collect::<Vec<_>>(), ids);
    let told: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| match outcome.outcome.expect("an outcome") {
            Outcome::Found(found) => {
                let state = state_name(found.verification.as_ref().expect("a verification"));
                format!("{state} {}", found.result.is_some())
            }
            Outcome::Error(error) => format!("{} {}", error.code, error.reason),
        })
        .collect();
    assert_eq!(told, ["PASSED true", "5 VERIFICATION_NOT_FOUND", "PENDING false"]);
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, asked);

    let bad = vec![passed.id.clone(), passed.id.clone(), "x".into()];
    let expected = invalid(&["view", "verification_ids[1]", "verification_ids[2]"]);
    assert_eq!(refused(batch(bad, ResultView::Full).await), expected);
    for count in [0, 101] {
        let many = (0..count).map(|i| format!("01a20c39-f179-7714-bb52-{i:012}")).collect();
        assert_eq!(refused(batch(many, ResultView::Basic).await), invalid(&["verification_ids"]));
    }
}

#[tokio::test]
async fn a_caller_that_lost_url_and_token_gets_them_again_while_they_work() {
    let world = World::start().await;
    let created = succeeded(world.create(world.request()).await);
    let (url, token) = (created.url.clone(), created.biz_token.clone());
    let created = Created::of(created);
    let reopen = async |caller: &str| {
        let request = ReopenVerificationRequest { verification_id: created.id.clone() };
        world.client().reopen_verification(bearing(caller, request)).await.map(Response::into_inner)
    };
    let reopened = succeeded(reopen(ORDERS).await);
    assert_eq!((reopened.url, reopened.biz_token), (url, token));
    assert_ne!(reopened.access_mode, 0);
    assert_eq!(world.audit(&created.id).await, ["orders created", "orders reopened"]);
    assert_eq!(refused(reopen(LOANS).await).code, Code::NotFound);
    world.advance(7201).await;
    assert_eq!(refused(reopen(ORDERS).await).reason, "TOKEN_ENDED");
    world.until("its end", async || world.stored_state(&created.id).await == "expired").await;
    assert_eq!(refused(reopen(ORDERS).await).reason, "ALREADY_FINAL");
}
