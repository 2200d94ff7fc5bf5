//! What verifications cost, by our ledger and by the vendor's.

use crate::harness::{FINANCE, LOANS, ORDERS, World, bearing, invalid, refused, succeeded};
use crate::scripted_vendor::ScriptedVendor;
use faceid_gateway::grpc::pb::{
    GetUsageRequest, ReconcileUsageRequest, ReconcileUsageResponse, UsageRow, usage_service_client::UsageServiceClient,
};
use serde_json::json;
use tonic::{Code, Response, Status};

async fn usage(world: &World, token: &str, request: GetUsageRequest) -> Result<Vec<UsageRow>, Status> {
    let mut client = UsageServiceClient::new(world.channel.clone());
    Ok(client.get_usage(bearing(token, request)).await?.into_inner().rows)
}

fn today(world: &World) -> String {
    let beijing = world.now() + jiff::SignedDuration::from_hours(8);
    beijing.strftime("%Y-%m-%d").to_string()
}

fn day(world: &World) -> GetUsageRequest {
    GetUsageRequest { first_date: today(world), last_date: today(world), ..GetUsageRequest::default() }
}

#[tokio::test]
async fn every_attempt_is_in_the_ledger_once_with_its_price() {
    let world = World::start().await;
    let created = world.created().await;
    for code in [1004, 2016, 0] {
        world.attempt(&created, code).await;
        world.state(&created.id).await;
        world.state(&created.id).await;
    }
    let told = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert_eq!(told.charged_attempts, 2);
    assert_eq!(world.rows("attempts"), 3);
    let rows = succeeded(usage(&world, ORDERS, day(&world)).await);
    let row = &rows[0];
    assert_eq!((row.caller.as_str(), row.flow.as_str()), ("orders", "onboarding"));
    assert_eq!((row.verifications, row.attempts, row.charged_attempts), (1, 3, 2));
}

#[tokio::test]
async fn a_caller_sees_its_own_usage_and_admin_sees_all() {
    let world = World::start().await;
    world.created().await;
    succeeded(world.create_as(LOANS, world.request()).await);
    let callers = |rows: Vec<UsageRow>| rows.into_iter().map(|row| row.caller).collect::<Vec<_>>();
    assert_eq!(callers(succeeded(usage(&world, LOANS, day(&world)).await)), ["loans"]);
    assert_eq!(callers(succeeded(usage(&world, FINANCE, day(&world)).await)), ["loans", "orders"]);
    let of_orders = GetUsageRequest { caller: "orders".into(), ..day(&world) };
    assert_eq!(callers(succeeded(usage(&world, FINANCE, of_orders.clone()).await)), ["orders"]);
    assert_eq!(refused(usage(&world, LOANS, of_orders).await).code, Code::PermissionDenied);
}

#[tokio::test]
async fn dates_that_are_none_are_named() {
    let world = World::start().await;
    let bad = GetUsageRequest { first_date: "2026-2-30".into(), ..GetUsageRequest::default() };
    assert_eq!(refused(usage(&world, ORDERS, bad).await), invalid(&["first_date", "last_date"]));
    let backwards = GetUsageRequest {
        first_date: "2026-03-02".into(),
        last_date: "2026-03-01".into(),
        ..GetUsageRequest::default()
    };
    assert_eq!(refused(usage(&world, ORDERS, backwards).await), invalid(&["last_date"]));
}

async fn reconcile(world: &World, token: &str, date: &str, flow: &str) -> Result<ReconcileUsageResponse, Status> {
    let request = ReconcileUsageRequest { date: date.into(), flow: flow.into() };
    let mut client = UsageServiceClient::new(world.channel.clone());
    client.reconcile_usage(bearing(token, request)).await.map(Response::into_inner)
}

#[tokio::test]
async fn the_two_ledgers_are_compared_token_by_token() {
    let world = World::start().await;
    let date = today(&world);
    let mut made = Vec::new();
    for _ in 0..5 {
        let created = world.created().await;
        world.attempt(&created, 2016).await;
        world.attempt(&created, 0).await;
        assert_eq!(world.state(&created.id).await, "PASSED");
        made.push(created);
    }
    world.control("bill", json!({"page_size": 2, "extra_token": {"rule_id": "1", "charges": 3}})).await;
    world.control(&format!("bill/{}", made[0].token), json!({"drop": true})).await;
    world.control(&format!("bill/{}", made[1].token), json!({"extra_charges": 1})).await;

    let refusal = refused(reconcile(&world, FINANCE, &date, "onboarding").await);
    assert_eq!(refusal.code, Code::Unavailable, "today's ledger is not ready");
    world.advance(2 * 24 * 3600).await;
    let compared = succeeded(reconcile(&world, FINANCE, &date, "onboarding").await);
    assert_eq!((compared.our_charges, compared.vendor_charges, compared.agreeing), (10, 8 + 1 + 3, 3));
    let mut differences: Vec<(String, u64, u64)> = compared
        .differences
        .into_iter()
        .map(|difference| (difference.verification_id, difference.our_charges, difference.vendor_charges))
        .collect();
    differences.sort();
    let mut expected = [(String::new(), 0, 3), (made[0].id.clone(), 2, 0), (made[1].id.clone(), 2, 3)];
    expected.sort();
    assert_eq!(differences, expected);
}

#[tokio::test]
async fn reconciling_needs_the_right_admin_and_a_flow() {
    let world = World::start().await;
    assert_eq!(refused(reconcile(&world, ORDERS, "2026-03-01", "onboarding").await).code, Code::PermissionDenied);
    assert_eq!(refused(reconcile(&world, FINANCE, "yesterday", "nope").await), invalid(&["date", "flow"]));
}

#[tokio::test]
async fn the_same_number_of_other_charges_is_a_difference() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let date = today(&world);
    let created = world.created().await;
    vendor.finds(json!({
        "Text": { "ErrCode": 0, "LivenessDetail": [{ "Seq": "seq-1", "Errcode": 0, "IsNeedCharge": true }] },
        "IsVerifyIntention": false,
    }));
    assert_eq!(world.state(&created.id).await, "PASSED");
    let bill = |seq: &str| {
        json!({ "HasNextPage": false, "WeChatBillDetails": [
            { "BizToken": created.token, "ChargeCount": "1", "ChargeDetails": [{ "Seq": seq, "ErrorCode": "0" }] },
        ] })
    };
    vendor.says("GetWeChatBillDetails", bill("seq-1"));
    assert_eq!(succeeded(reconcile(&world, FINANCE, &date, "onboarding").await).agreeing, 1);

    vendor.says("GetWeChatBillDetails", bill("seq-2"));
    let compared = succeeded(reconcile(&world, FINANCE, &date, "onboarding").await);
    assert_eq!((compared.our_charges, compared.vendor_charges, compared.agreeing), (1, 1, 0));
    let [difference] = &compared.differences[..] else { panic!("{}", compared.differences.len()) };
    assert_eq!(difference.verification_id, created.id);
    assert_eq!(difference.only_ours, ["seq-1"]);
    assert_eq!(difference.only_vendors, ["seq-2"]);
    assert_eq!(compared.differing, 1);

    let strangers: Vec<_> = (0..1_100)
        .map(|i| {
            let entries: Vec<_> = (0..30).map(|seq| json!({ "Seq": seq.to_string(), "ErrorCode": "0" })).collect();
            json!({ "BizToken": format!("STRANGER-{i}"), "ChargeCount": "30", "ChargeDetails": entries })
        })
        .collect();
    vendor.says("GetWeChatBillDetails", json!({ "HasNextPage": false, "WeChatBillDetails": strangers }));
    let compared = succeeded(reconcile(&world, FINANCE, &date, "onboarding").await);
    assert_eq!((compared.vendor_charges, compared.differing, compared.differences.len()), (33_000, 1_101, 1_000));
    assert_eq!(compared.differences[0].only_vendors.len(), 20);
}
