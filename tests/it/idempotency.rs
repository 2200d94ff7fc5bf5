//! CreateVerification, repeated.

use crate::harness::{Created, ORDERS, World, bearing, refused, succeeded};
use faceid_gateway::grpc::pb::{CreateVerificationRequest, CreateVerificationResponse};
use serde_json::json;
use std::time::Duration;
use tonic::{Code, Status};

fn with_request_id(world: &World, request_id: &str) -> CreateVerificationRequest {
    CreateVerificationRequest {
        request_id: request_id.into(),
        labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        ..world.request()
    }
}

#[tokio::test]
async fn same_id_and_body_give_the_same_answer() {
    let world = World::start().await;
    let first = Created::of(succeeded(world.create(with_request_id(&world, "r-1")).await));
    let again = Created::of(succeeded(world.create(with_request_id(&world, "r-1")).await));
    assert_eq!((&first.id, &first.token, &first.url), (&again.id, &again.token, &again.url));
    assert_eq!(world.vendor_calls("DetectAuth").await, 1);
    assert_eq!(world.rows("verifications"), 1);
}

#[tokio::test]
async fn the_same_answer_is_given_when_the_flow_has_changed() {
    let world = World::start().await;
    let first = succeeded(world.create(with_request_id(&world, "r-1")).await);
    let (simulator, folder) = world.stop_gateway().await;
    let changed = |toml: String| toml.replace("wechat_h5_native_overlay", "wechat_h5_normal");
    let world = World::start_edited(simulator, folder, changed).await;
    let again = succeeded(world.create(with_request_id(&world, "r-1")).await);
    assert_eq!(again.access_mode, first.access_mode);
    let new = succeeded(world.create(world.request()).await);
    assert_ne!(new.access_mode, first.access_mode);
}

#[tokio::test]
async fn same_id_and_another_body_is_refused() {
    let world = World::start().await;
    succeeded(world.create(with_request_id(&world, "r-1")).await);
    let other = CreateVerificationRequest { extra: "other".into(), ..with_request_id(&world, "r-1") };
    let refusal = refused(world.create(other).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    assert_eq!(world.rows("verifications"), 1);
}

#[tokio::test]
async fn without_a_request_id_every_call_opens_another() {
    let world = World::start().await;
    assert_ne!(world.created().await.id, world.created().await.id);
    assert_eq!(world.rows("verifications"), 2);
}

#[tokio::test]
async fn many_at_once_give_one_verification() {
    let world = World::start().await;
    let calls = (0..20).map(|_| world.create(with_request_id(&world, "r-1")));
    let answers: Vec<Result<CreateVerificationResponse, Status>> = futures_util::future::join_all(calls).await;
    let mut ids: Vec<String> = answers.into_iter().map(|answer| Created::of(succeeded(answer)).id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.rows("verifications"), 1);
    assert_eq!(world.audited(), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_loses_nothing() {
    let world = World::start().await;
    world.fault(json!({"action": "DetectAuth", "kind": "delay", "ms": 600})).await;
    let mut request = bearing(ORDERS, with_request_id(&world, "r-1"));
    request.set_timeout(Duration::from_millis(150));
    assert!(world.client().create_verification(request).await.is_err(), "answered in time");
    assert_eq!(world.rows("verifications"), 0, "the vendor has not answered yet");

    while world.rows("verifications") == 0 {
        tokio::task::yield_now().await;
    }
    let found = Created::of(succeeded(world.create(with_request_id(&world, "r-1")).await));
    assert_eq!(world.vendor_calls("DetectAuth").await, 1);
    assert_eq!(world.state(&found.id).await, "PENDING");
}
