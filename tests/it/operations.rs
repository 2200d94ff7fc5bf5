//! What operators see: health, readiness, metrics, and a stop that loses nothing.

use crate::{
    credentials,
    harness::{ORDERS, World, bearing, refused, succeeded},
};
use faceid_gateway::grpc::pb::CreateVerificationRequest;
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

#[tokio::test]
async fn metrics_count_rpcs_and_vendor_calls_without_secrets() {
    let world = World::start().await;
    let created = world.created().await;
    let redirect = world.attempt(&created, 0).await;
    world.get(&redirect).await;
    refused(world.create(CreateVerificationRequest { flow: "nope".into(), ..world.request() }).await);

    let (status, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    assert_eq!(status, 200);
    for line in [
        r#"faceid_rpcs_total{method="faceid.v1.VerificationService/CreateVerification",code="OK"}"#,
        r#"faceid_rpcs_total{method="faceid.v1.VerificationService/CreateVerification",code="INVALID_ARGUMENT"}"#,
        r#"faceid_rpc_duration_seconds_bucket{method="faceid.v1.VerificationService/CreateVerification","#,
        r#"faceid_vendor_calls_total{action="DetectAuth",code="ok"}"#,
        r#"faceid_vendor_call_duration_seconds_bucket{action="GetDetectInfoEnhanced","#,
        r#"faceid_verifications_settled_total{flow="onboarding",outcome="passed"}"#,
        r#"faceid_browser_callbacks_total{status="303"}"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    for secret in [&created.id, &created.token, world.simulator.secret_id(), world.simulator.secret_key()] {
        assert!(!metrics.contains(secret));
    }
}

#[tokio::test]
async fn paths_that_do_not_exist_are_one_metric() {
    let world = World::start().await;
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    for i in 0..3 {
        client.ready().await.expect("connected");
        let path = format!("/faceid.v1.VerificationService/Junk{i}").parse().expect("a path");
        let codec = tonic_prost::ProstCodec::<CreateVerificationRequest, CreateVerificationRequest>::default();
        let answer = client.unary(tonic::Request::new(world.request()), path, codec).await;
        assert!(answer.is_err());
    }
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    assert!(!metrics.contains("Junk"));
    assert!(metrics.contains(r#"faceid_rpcs_total{method="unknown",code="UNAUTHENTICATED"}"#), "{metrics}");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_stop() {
    use tokio::io::AsyncWriteExt;
    let world = World::start().await;
    let mut half_sent = tokio::net::TcpStream::connect(world.gateway.http_addr).await.expect("connected");
    half_sent.write_all(b"GET /callb").await.expect("sent");
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
    let _stream = succeeded(reflection.server_reflection_info(futures_util::stream::pending()).await);
    let _simulator_and_folder = world.stop_gateway().await;
}

#[tokio::test]
async fn health_and_probes_say_serving() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.channel.clone());
    for service in ["", "faceid.v1.VerificationService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await;
        assert_eq!(succeeded(answer).into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(world.get(&world.admin_url("/livez")).await.0, 200);
    assert_eq!(world.get(&world.admin_url("/readyz")).await.0, 200);
    assert_eq!(world.get(&world.http_url("/nothing")).await.0, 404);
}

async fn health_of(world: &World, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    succeeded(HealthClient::new(world.channel.clone()).check(request).await).into_inner().status()
}

#[tokio::test]
async fn without_a_key_pair_only_what_can_mend_it_serves() {
    let world = World::start().await;
    credentials::disable(&world, "main", "").await.expect("disabled");
    world.until("NOT_SERVING", async || health_of(&world, "").await == ServingStatus::NotServing).await;
    assert_eq!(health_of(&world, "faceid.v1.VerificationService").await, ServingStatus::NotServing);
    assert_eq!(
        health_of(&world, "faceid.v1.CredentialService").await,
        ServingStatus::Serving,
        "else nobody could mend it"
    );
    let (status, body, _) = world.get(&world.admin_url("/readyz")).await;
    assert_eq!(status, 503);
    assert!(body.contains("credential main is disabled"), "{body}");

    let (secret_id, secret_key) = (world.simulator.secret_id().to_owned(), world.simulator.secret_key().to_owned());
    credentials::rotate(&world, "main", &secret_id, &secret_key).await.expect("rotated");
    world.until("SERVING", async || health_of(&world, "").await == ServingStatus::Serving).await;
    assert_eq!(world.get(&world.admin_url("/readyz")).await.0, 200);
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    for to in ["SERVING", "NOT_SERVING"] {
        let line = format!(r#"faceid_health_transitions_total{{service="overall",to="{to}"}} "#);
        let count = metrics.lines().find_map(|found| found.strip_prefix(&line)).and_then(|count| count.parse().ok());
        assert!(count.unwrap_or(0) >= 1, "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_vendor_that_is_down_leaves_the_gateway_ready() {
    let world = World::start().await;
    world.fault(json!({"action": "DetectAuth", "kind": "http_status", "status": 500, "times": 1000})).await;
    for _ in 0..12 {
        refused(world.create(world.request()).await);
    }
    assert_eq!(world.get(&world.admin_url("/readyz")).await.0, 200);
    assert_eq!(health_of(&world, "faceid.v1.VerificationService").await, ServingStatus::Serving);
}

#[tokio::test]
async fn a_stop_is_told_to_health_watches_and_waits_for_calls_in_flight() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.channel.clone());
    let request = HealthCheckRequest { service: "faceid.v1.VerificationService".into() };
    let mut watch = succeeded(health.watch(request).await).into_inner();
    let first = succeeded(watch.message().await).expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);

    world.fault(json!({"action": "DetectAuth", "kind": "delay", "ms": 300})).await;
    let (mut client, request) = (world.client(), world.request());
    let call = tokio::spawn(async move { client.create_verification(bearing(ORDERS, request)).await });
    while world.vendor_calls("DetectAuth").await == 0 {
        tokio::task::yield_now().await;
    }
    let (_simulator, folder) = world.stop_gateway().await;
    assert!(succeeded(call.await.expect("no panic")).into_inner().verification.is_some());
    assert_eq!(crate::harness::count(&folder, "SELECT count(*) FROM verifications"), 1);

    let told = succeeded(watch.message().await).expect("a status");
    assert_eq!(told.status(), ServingStatus::NotServing);
}
