//! Flows whose personal data is encrypted inside of the TLS connection.

use crate::harness::{Created, ID_NUMBER, Refusal, World, by_id, refused, state_name, succeeded};
use faceid_gateway::{
    grpc::pb::{CreateVerificationRequest, GetResultRequest, ResultView},
    simulator::{self, Simulator, SimulatorConfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

/// The token of the caller `bank`, whose flows are encrypted.
const BANK: &str = "bank-token";

/// Flows by name, with the vendor's name of the algorithm.
const FLOWS: [(&str, &str); 4] =
    [("aes-fields", "AES-256-CBC"), ("sm4-fields", "SM4-GCM"), ("aes-whole", "AES-256-CBC"), ("sm4-whole", "SM4-GCM")];

/// It has an intention step that only the console knows of.
const WITH_INTENTION: &str = "aes-whole";

async fn start() -> World {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let tables = tables(&simulator, &simulator);
    World::start_with_webhook(simulator, TempDir::new().expect("temporary folder"), &tables).await
}

/// The caller `bank` and its flows. `key_owner` has the private keys that fit.
fn tables(simulator: &Simulator, key_owner: &Simulator) -> String {
    let flow = |(name, vendor_name): (&str, &str)| {
        let (algorithm, key) = match vendor_name {
            "AES-256-CBC" => ("aes_256_cbc", key_owner.rsa_public_key()),
            _ => ("sm4_gcm", key_owner.sm2_public_key()),
        };
        let whole = name.ends_with("whole");
        format!(
            r#"
            [[flows]]
            name = "{name}"
            rule_id = "{}"
            credential = "main"
            access_mode = "wechat_h5_normal"
            comparison = "authority"
            requires = ["name", "id_number"]
            evidence = ["best_frame", "id_card"]
            redirect_allow = ["http://{}/shop/"]
            [flows.encryption]
            algorithm = "{algorithm}"
            public_key = """{key}"""
            whole_response = {whole}
            "#,
            if name == WITH_INTENTION { 3 } else { 1 },
            simulator.api_addr()
        )
    };
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(BANK));
    let names = FLOWS.map(|(name, _)| name);
    let bank = format!(
        r#"
        [[callers]]
        name = "bank"
        token_sha256 = ["{hash}"]
        flows = {names:?}
        rights = ["full_view", "evidence"]
        "#
    );
    FLOWS.map(flow).concat() + &bank
}

fn request(world: &World, flow: &str) -> CreateVerificationRequest {
    CreateVerificationRequest { flow: flow.into(), ..world.request() }
}

async fn created(world: &World, flow: &str) -> Created {
    Created::of(succeeded(world.create_as(BANK, request(world, flow)).await))
}

/// What the simulator remembers of a token.
async fn token(world: &World, biz_token: &str) -> Value {
    let (_, text, _) = world.get(&format!("http://{}/tokens", world.simulator.control_addr())).await;
    let tokens: Vec<Value> = serde_json::from_str(&text).expect("tokens are JSON");
    tokens.into_iter().find(|token| token["biz_token"] == biz_token).expect("the token")
}

async fn state(world: &World, id: &str) -> Result<&'static str, tonic::Status> {
    let answer = world.result_as(BANK, GetResultRequest { fresh: true, ..by_id(id) }).await?;
    Ok(state_name(&answer.verification.expect("a verification")))
}

async fn pass(world: &World, created: &Created, flow: &str) {
    let outcome = if flow == WITH_INTENTION { json!({"code": 0, "intention_code": 0}) } else { json!({"code": 0}) };
    world.control(&format!("tokens/{}/attempts", created.token), outcome).await;
}

#[tokio::test]
async fn no_one_between_gateway_and_vendor_reads_who_it_is() {
    let world = start().await;
    for (flow, algorithm) in FLOWS {
        let created = created(&world, flow).await;
        let sent = token(&world, &created.token).await;
        assert_eq!((&sent["encryption"], &sent["identity_legible"]), (&json!(algorithm), &json!(false)), "{flow}");

        assert_eq!(succeeded(state(&world, &created.id).await), "PENDING", "{flow}");
        pass(&world, &created, flow).await;
        assert_eq!(succeeded(state(&world, &created.id).await), "PASSED", "{flow}");
        let full = GetResultRequest { view: ResultView::Full.into(), ..by_id(&created.id) };
        let result = succeeded(world.result_as(BANK, full).await).result.expect("a result");
        assert_eq!(result.code, Some(0), "{flow}");
        let identity = result.identity.expect("an identity");
        assert_eq!(
            (identity.name.as_deref(), identity.id_number.as_deref()),
            (Some("张三"), Some(ID_NUMBER)),
            "{flow}"
        );
        let card = result.id_card.expect("an ID card");
        assert_eq!((card.name.as_deref(), card.id_number.as_deref()), (Some("张三"), Some(ID_NUMBER)), "{flow}");
        assert!(!result.vendor_request_id.is_empty(), "{flow}");
        assert!(result.vendor_raw.is_empty(), "{flow}: {:?}", result.vendor_raw.keys());

        // The evidence comes as it is, and without the text beside it.
        world.until("the evidence", async || !evidence(&world, &created.id).await.is_empty()).await;
        assert_eq!(token(&world, &created.token).await["clear_answers"], 0, "{flow}");
    }
    // A flow without encryption, to see that the simulator can tell.
    let created = world.created().await;
    let sent = token(&world, &created.token).await;
    assert_eq!((&sent["encryption"], &sent["identity_legible"]), (&json!(null), &json!(true)));
    world.state(&created.id).await;
    assert_eq!(token(&world, &created.token).await["clear_answers"], 1);
}

async fn evidence(world: &World, id: &str) -> Vec<String> {
    let answer = succeeded(world.result_as(BANK, by_id(id)).await);
    answer.evidence.into_iter().map(|evidence| evidence.evidence_id).collect()
}

fn flow_misconfigured() -> Refusal {
    Refusal { code: Code::FailedPrecondition, reason: "FLOW_MISCONFIGURED".into(), fields: vec![], retry: false }
}

#[tokio::test]
async fn answers_that_are_not_encrypted_as_asked_for_are_refused_and_decide_nothing() {
    let world = start().await;
    for (flow, _) in FLOWS {
        let created = created(&world, flow).await;
        pass(&world, &created, flow).await;
        for kind in ["unencrypted", "bad_ciphertext"] {
            let fault = json!({"action": "GetDetectInfoEnhanced", "biz_token": created.token, "kind": kind});
            world.fault(fault).await;
            let refusal = state(&world, &created.id).await;
            let text = format!("{:?}", refusal.as_ref().err());
            assert!(!text.contains("张三") && !text.contains(ID_NUMBER), "{flow}, {kind}: {text}");
            assert_eq!(refused(refusal), flow_misconfigured(), "{flow}, {kind}");
            assert_eq!(world.stored_state(&created.id).await, "pending", "{flow}, {kind}");
        }
        assert_eq!(succeeded(state(&world, &created.id).await), "PASSED", "{flow}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_vendors_makes_no_verification() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let another = simulator::start(SimulatorConfig::loopback()).await.expect("another starts");
    let tables = tables(&simulator, &another);
    let world = World::start_with_webhook(simulator, TempDir::new().expect("temporary folder"), &tables).await;
    for (flow, _) in FLOWS {
        let refusal = refused(world.create_as(BANK, request(&world, flow)).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "VENDOR_REFUSED"), "{flow}");
    }
    assert_eq!(world.rows("verifications"), 0);
    another.shutdown().await;
}
