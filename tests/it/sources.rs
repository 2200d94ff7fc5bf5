//! Credentials whose key pairs come from elsewhere: the environment, a file, STS, the machine's
//! metadata.

use crate::{
    credentials,
    harness::{FINANCE, World, bearing, refused, succeeded},
};
use faceid_gateway::{
    grpc::pb::{
        CreateCredentialRequest, Credential, CredentialSource, DeleteCredentialRequest, DisableCredentialRequest,
        KeyPair, ListCredentialsRequest, RotateCredentialRequest, TestCredentialRequest,
        credential_service_client::CredentialServiceClient,
    },
    simulator::{self, Simulator, SimulatorConfig},
};
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, transport::Channel};

const ROLE: &str = "qcs::cam::uin/100000000001:roleName/faceid";

/// The flows use credential `role`, which is of this source; `main` stays what it is.
async fn start(source: &str, environment: &[(&str, &str)]) -> World {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    start_on(simulator, TempDir::new().expect("temporary folder"), source, environment).await
}

async fn start_on(simulator: Simulator, folder: TempDir, source: &str, environment: &[(&str, &str)]) -> World {
    let vendor = simulator.api_addr();
    let edit = |toml: String| with_source(&toml, &vendor.to_string(), source);
    World::start_in_environment(simulator, folder, edit, environment).await
}

fn with_source(toml: &str, vendor: &str, source: &str) -> String {
    let toml = with_endpoints(toml, vendor).replace("credential = \"main\"", "credential = \"role\"");
    format!("{toml}\n[[credentials]]\nname = \"role\"\n{source}\n")
}

fn with_endpoints(toml: &str, vendor: &str) -> String {
    let endpoints = format!("[tencent]\nsts_endpoint = \"http://{vendor}\"\nmetadata_endpoint = \"http://{vendor}\"\n");
    toml.replace("[tencent]\n", &endpoints)
}

async fn role(world: &World) -> Credential {
    let mut client = CredentialServiceClient::new(world.channel.clone());
    let listed = succeeded(client.list_credentials(bearing(FINANCE, ListCredentialsRequest {})).await).into_inner();
    let names: Vec<&str> = listed.credentials.iter().map(|credential| credential.name.as_str()).collect();
    assert_eq!(names, ["main", "role"]);
    listed.credentials.into_iter().nth(1).expect("a credential")
}

async fn sts(world: &World, down: bool, revoke: bool) {
    world.control("sts", json!({ "down": down, "revoke": revoke })).await;
}

fn masked(credential: &Credential) -> String {
    credential.key_pairs[0].masked_secret_id.clone()
}

#[tokio::test]
async fn an_assumed_role_is_renewed_ahead_of_its_end() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    let created = world.created().await;
    assert_eq!(world.state(&created.id).await, "PENDING");
    assert_eq!(world.vendor_calls("AssumeRole").await, 1, "one pair serves many calls");
    let first = role(&world).await;
    assert!(first.source() == CredentialSource::External && first.flows.contains(&"onboarding".to_owned()));
    assert!(first.key_pairs[0].expire_time.is_some() && first.key_pairs[0].last_use_time.is_some());

    world.advance(3600 - 1200 + 1).await;
    world.until("the renewal", async || world.vendor_calls("AssumeRole").await == 2).await;
    world.until("the new pair", async || masked(&role(&world).await) != masked(&first)).await;
    world.created().await;
    assert_eq!(world.vendor_calls("AssumeRole").await, 2);
}

#[tokio::test]
async fn a_renewal_that_fails_keeps_the_pair_until_it_really_ends() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    sts(&world, true, false).await;
    world.advance(3600 - 60).await;
    world.until("a renewal that fails", async || world.vendor_calls("AssumeRole").await >= 2).await;
    world.created().await;
    world.advance(61).await;
    let refusal = refused(world.create(world.request()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "CREDENTIAL_UNAVAILABLE"));
    assert!(role(&world).await.key_pairs.is_empty());
    sts(&world, false, false).await;
    world.created().await;
}

#[tokio::test]
async fn many_callers_ask_the_source_once() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    sts(&world, true, false).await;
    world.advance(3601).await;
    refused(world.create(world.request()).await);
    sts(&world, false, false).await;
    let before = world.vendor_calls("AssumeRole").await;
    let calls = (0..20).map(|_| world.create(world.request()));
    for answer in futures_util::future::join_all(calls).await {
        succeeded(answer);
    }
    assert_eq!(world.vendor_calls("AssumeRole").await, before + 1);
}

#[tokio::test]
async fn a_source_that_fails_slowly_fails_once_for_all_who_wait() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    world.advance(3601).await;
    world.until("a pair that has not ended", async || !role(&world).await.key_pairs.is_empty()).await;
    sts(&world, true, false).await;
    world.advance(3601).await;
    // The renewal ahead of anyone's call is over, and the next is 15 s away.
    refused(world.create(world.request()).await);
    world.fault(json!({"action": "*", "kind": "delay", "ms": 800, "times": 100})).await;
    let before = world.vendor_calls("AssumeRole").await;
    for answer in futures_util::future::join_all((0..20).map(|_| world.create(world.request()))).await {
        assert_eq!(refused(answer).reason, "CREDENTIAL_UNAVAILABLE");
    }
    assert_eq!(world.vendor_calls("AssumeRole").await, before + 1);
}

#[tokio::test]
async fn a_role_is_taken_on_though_the_clock_is_off() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    // Only this machine's: the pair seems to have ended, and the signature for another is of the
    // wrong time.
    world.skew(4000);
    world.created().await;
    assert_eq!(world.vendor_calls("AssumeRole").await, 3, "at the start, with the wrong time, and with the right one");
}

#[tokio::test]
async fn a_role_is_taken_on_with_the_second_pair_while_the_first_is_refused() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    credentials::make_new_key(&world).await;
    succeeded(credentials::rotate(&world, "main", credentials::NEW_ID, credentials::NEW_KEY).await);
    credentials::set_disabled(&world, credentials::NEW_ID, true).await;
    world.advance(3601).await;
    world.created().await;

    let refusal = credentials::delete(&world, "main").await.expect_err("the role needs it");
    assert!(refusal.message().contains("credential role"), "{}", refusal.message());
}

#[tokio::test]
async fn a_role_that_is_refused_is_an_operators_matter() {
    let source = format!("source = \"sts_assume_role\"\nrole_arn = \"{ROLE}\"\nbased_on = \"main\"\nduration_s = 3600");
    let world = start(&source, &[]).await;
    credentials::set_disabled(&world, world.simulator.secret_id(), true).await;
    world.advance(3601).await;
    let refusal = refused(world.create(world.request()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_REFUSED"));
    credentials::set_disabled(&world, world.simulator.secret_id(), false).await;
    world.until("the role", async || world.create(world.request()).await.is_ok()).await;
}

#[tokio::test]
async fn a_pair_in_the_vault_that_a_source_hides_can_be_erased() {
    let world = World::start().await;
    world.created().await;
    let (simulator, folder) = world.stop_gateway().await;
    let vendor = simulator.api_addr().to_string();
    let hidden = |toml: String| {
        let (before, after) = toml.split_once("name = \"main\"").expect("a credential");
        let after = after.lines().filter(|line| !line.contains("secret_")).collect::<Vec<_>>().join("\n");
        with_endpoints(&format!("{before}name = \"main\"\nsource = \"cvm_role\"{after}"), &vendor)
    };
    let world = World::start_edited(simulator, folder, hidden).await;
    world.created().await;
    assert_eq!(world.rows("key_pairs"), 1);
    succeeded(credentials::delete(&world, "main").await);
    assert_eq!(world.rows("key_pairs"), 0);
    world.created().await;
    let refusal = refused(credentials::delete(&world, "main").await);
    assert_eq!(refusal.reason, "CREDENTIAL_EXTERNAL");
}

#[tokio::test]
async fn a_pair_that_is_refused_before_its_end_is_asked_for_anew() {
    let world = start("source = \"cvm_role\"", &[]).await;
    world.created().await;
    sts(&world, false, true).await;
    world.advance(60).await;
    let refusal = refused(world.create(world.request()).await);
    assert_eq!(refusal.reason, "CREDENTIAL_REFUSED");
    world.until("a new pair", async || world.create(world.request()).await.is_ok()).await;
}

#[tokio::test]
async fn a_pod_of_tke_takes_on_its_role() {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "web-identity-token-of-a-pod\n").expect("a file");
    let environment = [
        ("TKE_REGION", "ap-guangzhou"),
        ("TKE_PROVIDER_ID", "cls-12345678"),
        ("TKE_WEB_IDENTITY_TOKEN_FILE", file.to_str().expect("a path")),
        ("TKE_ROLE_ARN", ROLE),
    ];
    let world = start("source = \"tke_oidc\"", &environment).await;
    world.created().await;
    assert_eq!(world.vendor_calls("AssumeRoleWithWebIdentity").await, 1);
    // Kubernetes has put another token there, and it is not the right one: the pair serves on.
    std::fs::write(&file, "another").expect("a file");
    world.advance(7200 - 600).await;
    world.until("a renewal", async || world.vendor_calls("AssumeRoleWithWebIdentity").await >= 2).await;
    world.created().await;
}

#[tokio::test]
async fn the_environment_and_a_file_serve_without_being_sealed() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let (id, key) = (simulator.secret_id().to_owned(), simulator.secret_key().to_owned());
    let folder = TempDir::new().expect("temporary folder");
    let environment = [("TENCENTCLOUD_SECRET_ID", id.as_str()), ("TENCENTCLOUD_SECRET_KEY", key.as_str())];
    let world = start_on(simulator, folder, "source = \"environment\"", &environment).await;
    world.created().await;
    assert_eq!(world.rows("key_pairs"), 1, "only main");

    let (simulator, folder) = world.stop_gateway().await;
    let file = folder.path().join("credentials");
    std::fs::write(&file, format!("[default]\nsecret_id = {id}\nsecret_key = {key}\n")).expect("a file");
    let source = format!("source = \"profile\"\nprofile_file = \"{}\"", file.display());
    let world = start_on(simulator, folder, &source, &[]).await;
    world.created().await;
    // A file that is broken meanwhile keeps what was read; a mended one is read again.
    std::fs::write(&file, "[default]\n").expect("a file");
    world.advance(61).await;
    world.created().await;
    world.control("keys", json!({"secret_id": "AKIDfromthefile00000000000beef", "secret_key": "of-the-file"})).await;
    std::fs::write(&file, "[default]\nsecret_id = AKIDfromthefile00000000000beef\nsecret_key = of-the-file\n")
        .expect("a file");
    world.advance(61).await;
    world.until("the new pair", async || masked(&role(&world).await) == "AKID…beef").await;
    world.created().await;
}

#[tokio::test]
async fn what_a_source_gives_is_changed_in_the_configuration_only() {
    let world = start("source = \"cvm_role\"\nrole = \"faceid-machine\"", &[]).await;
    let mut client = CredentialServiceClient::<Channel>::new(world.channel.clone());
    let name = || "role".to_owned();
    let pair = || Some(KeyPair { secret_id: "AKID".into(), secret_key: "key".into() });
    let request = RotateCredentialRequest { name: name(), key_pair: pair() };
    let rotated = refused(client.rotate_credential(bearing(FINANCE, request)).await);
    let request = DisableCredentialRequest { name: name(), ..Default::default() };
    let disabled = refused(client.disable_credential(bearing(FINANCE, request)).await);
    let deleted = refused(client.delete_credential(bearing(FINANCE, DeleteCredentialRequest { name: name() })).await);
    for refusal in [rotated, disabled, deleted] {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "CREDENTIAL_EXTERNAL"));
    }
    let request = CreateCredentialRequest { name: name(), key_pair: pair() };
    assert_eq!(refused(client.create_credential(bearing(FINANCE, request)).await).code, Code::AlreadyExists);
    let request = TestCredentialRequest { name: name(), ..Default::default() };
    let tested = succeeded(client.test_credential(bearing(FINANCE, request)).await).into_inner();
    let test = tested.credential.expect("a credential").key_pairs[0].last_test.clone().expect("a test");
    assert!(test.passed, "{}", test.code);
}

#[tokio::test]
async fn a_source_that_is_down_does_not_stop_the_start() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let http = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
    let control = format!("http://{}/sts", simulator.control_addr());
    http.post(control).json(&json!({"down": true})).send().await.expect("control port answers");
    let world = start_on(simulator, folder, "source = \"cvm_role\"", &[]).await;
    assert_eq!(refused(world.create(world.request()).await).reason, "CREDENTIAL_UNAVAILABLE");
    sts(&world, false, false).await;
    world.created().await;
}
