//! What the doctor finds, and what it leaves alone.

use crate::{
    credentials,
    harness::{FINANCE, World, bearing, succeeded},
};
use faceid_gateway::{
    config::Config,
    doctor::{Finding, Status, examine},
    domain::clock::{Clock, MovableClock},
    grpc::pb::{CreateCredentialRequest, KeyPair, credential_service_client::CredentialServiceClient},
    simulator::{self, Simulator, SimulatorConfig},
};
use jiff::SignedDuration;
use serde_json::json;
use std::{collections::BTreeSet, iter, sync::Arc};
use tempfile::TempDir;

const KEYS: &str = "test:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER_KEYS: &str = "other:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// A patient: what the configuration says, each part of which a test may spoil.
struct Patient {
    folder: TempDir,
    endpoint: String,
    secret_id: String,
    secret_key: String,
    keys: &'static str,
    more: String,
    clock: Arc<MovableClock>,
}

impl Patient {
    fn of(simulator: &Simulator) -> Self {
        Self {
            folder: TempDir::new().expect("temporary folder"),
            endpoint: format!("http://{}", simulator.api_addr()),
            secret_id: simulator.secret_id().to_owned(),
            secret_key: simulator.secret_key().to_owned(),
            keys: KEYS,
            more: String::new(),
            clock: Arc::new(MovableClock::default()),
        }
    }

    fn with_flow(mut self, name: &str, rule_id: &str, comparison: &str, requires: &str, credential: &str) -> Self {
        self.more = format!(
            "{}\n[[flows]]\nname = \"{name}\"\nrule_id = \"{rule_id}\"\ncredential = \"{credential}\"\n\
             access_mode = \"wechat_h5_normal\"\ncomparison = \"{comparison}\"\nrequires = [{requires}]\n",
            self.more
        );
        self
    }

    fn config(&self) -> Config {
        let folder = self.folder.path().display();
        let text = format!(
            "[store]\nurl = \"sqlite:{folder}/gateway.db\"\n[evidence]\nurl = \"file:{folder}/evidence\"\n\
             [vault]\nkeys = \"{}\"\n[tencent]\nendpoint = \"{}\"\ntimeout_ms = 2000\n[auth]\nmode = \"none\"\n\
             [[credentials]]\nname = \"main\"\nsecret_id = \"{}\"\nsecret_key = \"{}\"\n\
             [[flows]]\nname = \"onboarding\"\nrule_id = \"1\"\ncredential = \"main\"\n\
             access_mode = \"wechat_h5_normal\"\ncomparison = \"authority\"\nrequires = [\"name\", \"id_number\"]\n{}",
            self.keys, self.endpoint, self.secret_id, self.secret_key, self.more
        );
        Config::from_toml(&text, "patient", iter::empty()).unwrap_or_else(|error| panic!("{error}"))
    }

    async fn examined(&self) -> Vec<Finding> {
        let findings = examine(Ok(self.config()), "patient", Arc::clone(&self.clock) as Arc<dyn Clock>).await;
        for finding in &findings {
            let line = finding.to_string();
            assert!(!line.contains('\n'), "one line each: {line}");
            for secret in [&self.secret_id, &self.secret_key] {
                assert!(!line.contains(secret.as_str()), "a secret is told: {line}");
            }
            assert_eq!(finding.advice.is_empty(), finding.status == Status::Ok, "{line}");
        }
        findings
    }
}

async fn vendor() -> Simulator {
    simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts")
}

#[track_caller]
fn found<'a>(findings: &'a [Finding], check: &str, subject: &str) -> &'a Finding {
    let mut found = findings.iter().filter(|finding| finding.check == check && finding.subject.contains(subject));
    let one = found.next().unwrap_or_else(|| panic!("nothing on {check} {subject} in {findings:#?}"));
    assert!(found.next().is_none(), "more than one on {check} {subject} in {findings:#?}");
    one
}

#[track_caller]
fn assert_found(findings: &[Finding], check: &str, subject: &str, status: Status, text: &str) {
    let one = found(findings, check, subject);
    assert_eq!(one.status, status, "{one}");
    assert!(one.to_string().contains(text), "{one}");
}

fn failed(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| finding.status == Status::Fail).map(|finding| finding.check).collect()
}

#[tokio::test]
async fn all_is_well_before_the_first_start_and_nothing_is_made() {
    let simulator = vendor().await;
    let patient = Patient::of(&simulator).with_flow("photo", "2", "uploaded_photo", "", "main");
    let findings = patient.examined().await;
    assert_eq!(failed(&findings), [""; 0], "{findings:#?}");
    assert_found(&findings, "store", "gateway.db", Status::Warn, "first start");
    assert_found(&findings, "evidence", "evidence", Status::Warn, "first start");
    assert_found(&findings, "tcp", "127.0.0.1", Status::Ok, " ms");
    assert_found(&findings, "clock", "127.0.0.1", Status::Ok, "clock");
    assert_found(&findings, "credential", "main", Status::Ok, "the key is fine");
    assert_found(&findings, "flow", "onboarding", Status::Ok, "no token was opened");
    assert_found(&findings, "flow", "photo", Status::Ok, "known");
    assert_found(&findings, "quota", "", Status::Ok, "0 of the 3 call(s)");
    assert_eq!(patient.folder.path().read_dir().unwrap().count(), 0, "the doctor made something");
}

#[tokio::test]
async fn a_gateway_that_serves_is_looked_at_and_not_touched() {
    let mut world = World::start().await;
    world.created().await;
    // The start's own.
    world.until("the scrub", async || world.count("SELECT count(*) FROM jobs WHERE kind = 'scrub'") == 0).await;
    let mut patient = Patient::of(&world.simulator);
    let rows = |world: &World| ["verifications", "audit_events", "jobs", "events"].map(|table| world.rows(table));
    // The scrub of the start is over.
    world.until("the jobs of the start", async || rows(&world)[2] == 1).await;
    let before = rows(&world);
    std::mem::swap(&mut patient.folder, &mut world.folder);
    let findings = patient.examined().await;
    std::mem::swap(&mut patient.folder, &mut world.folder);
    assert_eq!(failed(&findings), [""; 0], "{findings:#?}");
    assert_found(&findings, "store", "gateway.db", Status::Ok, "schema");
    // The key pair, and session, subject and MAC of the verification.
    assert_found(&findings, "keys", "test", Status::Ok, "4 value(s)");
    assert_found(&findings, "evidence", "evidence", Status::Ok, "is this store's");
    assert_eq!(rows(&world), before);
    world.created().await;
}

#[tokio::test]
async fn a_newer_schema_is_worded_as_by_a_start() {
    let world = World::start().await;
    let mut patient = Patient::of(&world.simulator);
    let (simulator, folder) = world.stop_gateway().await;
    crate::store::be_newer(&folder.path().join("gateway.db"));
    let told = World::refuses_to_start(&simulator, &folder, |toml| toml).await;
    patient.folder = folder;
    let findings = patient.examined().await;
    let finding = &found(&findings, "store", "gateway.db").finding;
    assert!(finding.contains("a newer version was here"), "{finding}");
    assert!(told.contains(finding.as_str()), "{told} does not say {finding}");
}

#[tokio::test]
async fn another_stores_evidence_is_named() {
    let (world, other) = (World::start().await, World::start().await);
    let mut patient = Patient::of(&world.simulator);
    let (_simulator, folder) = world.stop_gateway().await;
    let marker = "evidence/faceid-gateway.store";
    std::fs::copy(other.folder.path().join(marker), folder.path().join(marker)).expect("copied");
    patient.folder = folder;
    assert_found(&patient.examined().await, "evidence", "evidence", Status::Fail, "belongs to the store");
}

#[tokio::test]
async fn every_pair_of_the_vault_is_checked_and_a_role_finds_its_base_there() {
    let mut world = World::start().await;
    let mut patient = Patient::of(&world.simulator);
    credentials::make_new_key(&world).await;
    succeeded(credentials::rotate(&world, "main", credentials::NEW_ID, credentials::NEW_KEY).await);
    let old_id = world.simulator.secret_id().to_owned();
    credentials::set_disabled(&world, &old_id, true).await;
    // In the vault and not in the configuration.
    let pair = KeyPair { secret_id: credentials::NEW_ID.into(), secret_key: credentials::NEW_KEY.into() };
    let request = CreateCredentialRequest { name: "base".into(), key_pair: Some(pair) };
    let mut client = CredentialServiceClient::new(world.channel.clone());
    succeeded(client.create_credential(bearing(FINANCE, request)).await);
    patient.endpoint = format!("{0}\"\nsts_endpoint = \"{0}", patient.endpoint);
    patient.more = "[[credentials]]\nname = \"role\"\nsource = \"sts_assume_role\"\nbased_on = \"base\"\n\
                    role_arn = \"qcs::cam::uin/100000000001:roleName/faceid\"\n"
        .into();
    let patient = {
        let mut patient = patient.with_flow("by-role", "1", "authority", "\"name\", \"id_number\"", "role");
        std::mem::swap(&mut patient.folder, &mut world.folder);
        patient
    };
    let findings = patient.examined().await;
    assert_eq!(failed(&findings), [""; 0], "{findings:#?}");
    assert_found(&findings, "credential", "main, second key pair", Status::Warn, "AuthFailure.SecretIdNotFound");
    assert_found(&findings, "credential", "role", Status::Ok, "the key is fine");
    assert_found(&findings, "flow", "by-role", Status::Ok, "known");
    world.folder = patient.folder;
}

#[tokio::test]
async fn a_key_that_is_missing_is_named() {
    let world = World::start().await;
    world.created().await;
    let mut patient = Patient::of(&world.simulator);
    let (_simulator, folder) = world.stop_gateway().await;
    (patient.folder, patient.keys) = (folder, OTHER_KEYS);
    let files = || {
        let entries = patient.folder.path().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = files();
    let findings = patient.examined().await;
    assert_eq!(files(), before, "the doctor left or took something");
    assert_found(&findings, "keys", "test", Status::Fail, "put this key back");
    let sealed: Vec<&Finding> = findings.iter().filter(|finding| finding.status == Status::Fail).collect();
    assert!(sealed.iter().any(|finding| finding.check == "credential"), "{sealed:#?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let simulator = vendor().await;
    let patient = Patient::of(&simulator);
    std::fs::write(patient.folder.path().join("gateway.db"), "not a database, but long enough to look like one")
        .unwrap();
    assert_found(&patient.examined().await, "store", "gateway.db", Status::Fail, "not a database");
}

#[tokio::test]
async fn refused_keys_say_which_half_is_wrong() {
    let simulator = vendor().await;
    let wrong_key = Patient { secret_key: "not-the-key-of-anybody".into(), ..Patient::of(&simulator) };
    let findings = wrong_key.examined().await;
    assert_found(&findings, "credential", "main", Status::Fail, "AuthFailure.SignatureFailure");
    assert_found(&findings, "flow", "onboarding", Status::Warn, "not checked");
    let unknown = Patient { secret_id: "an-id-of-nobody".into(), ..Patient::of(&simulator) };
    assert_found(&unknown.examined().await, "credential", "main", Status::Fail, "AuthFailure.SecretIdNotFound");
}

#[tokio::test]
async fn a_clock_that_is_off_is_measured() {
    let simulator = vendor().await;
    let patient = Patient::of(&simulator);
    patient.clock.advance(SignedDuration::from_secs(90));
    let findings = patient.examined().await;
    assert_found(&findings, "clock", "127.0.0.1", Status::Warn, "ahead");
    assert_found(&findings, "credential", "main", Status::Ok, "fine");
    patient.clock.advance(SignedDuration::from_secs(-690));
    assert_found(&patient.examined().await, "clock", "127.0.0.1", Status::Fail, "behind");
}

#[tokio::test]
async fn each_flow_is_asked_for_its_rule() {
    let world = World::start().await;
    let patient = Patient::of(&world.simulator)
        .with_flow("unapproved", "999", "authority", r#""name", "id_number""#, "main")
        .with_flow("too-little", "1", "authority", "", "main")
        .with_flow("orphan", "1", "authority", "", "nobodys");
    let findings = patient.examined().await;
    assert_found(&findings, "flow", "onboarding", Status::Ok, "known");
    assert_found(&findings, "flow", "unapproved", Status::Fail, "InvalidParameterValue.RuleIdNotExist");
    assert_found(&findings, "flow", "too-little", Status::Warn, "demands more");
    assert_found(&findings, "flow", "orphan", Status::Fail, "nobodys");
    world.control("rules/1", json!({ "disabled": true })).await;
    assert_found(&patient.examined().await, "flow", "onboarding", Status::Fail, "RuleIdDisabled");
}

#[tokio::test]
async fn an_account_in_arrears_and_a_throttle_are_told_apart_from_a_bad_key() {
    let world = World::start().await;
    let patient = Patient::of(&world.simulator);
    let refuse = |code: &str| json!({ "kind": "error_code", "code": code, "action": "GetDetectInfoEnhanced" });
    world.fault(refuse("UnauthorizedOperation.Arrears")).await;
    assert_found(&patient.examined().await, "credential", "main", Status::Fail, "the account is blocked");
    let throttle = json!({
        "kind": "error_code", "code": "RequestLimitExceeded", "action": "GetDetectInfoEnhanced", "times": 100,
    });
    world.fault(throttle).await;
    let findings = patient.examined().await;
    assert_found(&findings, "credential", "main", Status::Warn, "cannot be told");
    assert_found(&findings, "flow", "onboarding", Status::Warn, "not checked");
    assert_found(&findings, "quota", "", Status::Warn, "tencent.quotas");
}

#[tokio::test]
async fn the_way_to_the_vendor_is_followed_to_where_it_ends() {
    let simulator = vendor().await;
    let nowhere = Patient { endpoint: "https://no-such-host.invalid".into(), ..Patient::of(&simulator) };
    let findings = nowhere.examined().await;
    assert_found(&findings, "dns", "no-such-host.invalid", Status::Fail, "resolver");
    assert_found(&findings, "credential", "main", Status::Warn, "not checked");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = Patient { endpoint: format!("http://{port}"), ..Patient::of(&simulator) };
    assert_found(&closed.examined().await, "tcp", "127.0.0.1", Status::Fail, "refused");

    let backup = format!("{}\"\nbackup_endpoints = [\"http://{}\"]\n#\"", closed.endpoint, simulator.api_addr());
    let with_backup = Patient { endpoint: backup, ..Patient::of(&simulator) };
    let findings = with_backup.examined().await;
    assert_eq!(failed(&findings), ["tcp"], "{findings:#?}");
    assert_found(&findings, "credential", "main", Status::Ok, "fine");

    // The simulator speaks no TLS.
    let plain = Patient { endpoint: format!("https://{}", simulator.api_addr()), ..Patient::of(&simulator) };
    let findings = plain.examined().await;
    assert_found(&findings, "tcp", "127.0.0.1", Status::Ok, "ms");
    assert_found(&findings, "tls", "127.0.0.1", Status::Fail, "intercept");
}

#[tokio::test]
async fn every_fault_of_the_configuration_is_a_finding() {
    let text = "[grpc]\nlisten = \"nowhere\"\n[log]\nshade = \"dark\"\n";
    let configuration = Config::from_toml(text, "spoilt", iter::empty());
    let findings = examine(configuration, "spoilt", Arc::new(MovableClock::default())).await;
    for key in ["grpc.listen", "log.shade", "vault.keys", "flows"] {
        assert_found(&findings, "config", key, Status::Fail, "→");
    }
}
