//! Every RPC, called in every way that a caller can show who it is, with and without rights, on its
//! own verification and on another's. A new RPC gets a line in [`rpcs`]; without one the last test
//! fails.

use crate::{
    authority::{Authority, tls_section},
    harness::{Created, ID_NUMBER, World, by_id, config_text, succeeded},
    issuer::{ISSUER, IssuerKey, jwt_section, key_set},
};
use faceid_gateway::{
    config::Config,
    grpc::{
        DESCRIPTORS,
        pb::{
            BatchGetResultsRequest, CallbackTokens, CancelVerificationRequest, CreateCredentialRequest,
            CreateVerificationRequest, DeleteCredentialRequest, DisableCredentialRequest, DownloadEvidenceRequest,
            GetResultRequest, GetServerInfoRequest, GetUsageRequest, HandleCallbackRequest, KeyPair,
            ListAuditEventsRequest, ListCredentialsRequest, ListFlowsRequest, ListVaultKeysRequest,
            ListVerificationsRequest, ReconcileUsageRequest, RedactVerificationRequest, ReopenVerificationRequest,
            ResultView, RewrapVaultRequest, RotateCredentialRequest, Subject, TestCredentialRequest,
            WatchVerificationsRequest, audit_service_client::AuditServiceClient,
            credential_service_client::CredentialServiceClient, flow_service_client::FlowServiceClient,
            handle_callback_request::Source, server_service_client::ServerServiceClient,
            usage_service_client::UsageServiceClient, vault_service_client::VaultServiceClient,
            verification_service_client::VerificationServiceClient,
        },
    },
    simulator::{self, SimulatorConfig},
};
use futures_util::{FutureExt, future::BoxFuture};
use prost::Message;
use serde_json::json;
use std::{collections::BTreeSet, fs, iter};
use tempfile::TempDir;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};

const PROXY: &str = "spiffe://mesh/ns/edge/sa/proxy";

/// One way to call.
#[derive(Clone)]
struct Way {
    name: &'static str,
    channel: Channel,
    metadata: Vec<(&'static str, String)>,
}

impl Way {
    fn says<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (key, value) in &self.metadata {
            request.metadata_mut().insert(*key, MetadataValue::try_from(value).expect("a header value"));
        }
        request
    }
}

/// What a call is about.
#[derive(Clone, Default)]
struct Target {
    id: String,
    token: String,
    evidence_id: String,
}

/// Whose verification a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// None: the RPC names no verification.
    Nothing,
    /// A new one for each call: the RPC may change it.
    Fresh,
    /// One that passed and has evidence; the RPC only reads.
    Passed,
}

struct Rpc {
    name: &'static str,
    about: About,
    /// Whether the caller needs a right, which `privileged` has and `plain` has not.
    needs_right: bool,
    /// The code for a caller that may.
    served: Code,
    call: fn(Way, Target) -> BoxFuture<'static, Result<(), Status>>,
}

macro_rules! rpc {
    ($name:literal, $about:ident, $right:ident, $served:ident, $client:ident . $method:ident (|$target:ident| $message:expr)) => {
        Rpc {
            name: $name,
            about: About::$about,
            needs_right: stringify!($right) == "right",
            served: Code::$served,
            call: |way, $target| {
                let message = $message;
                async move { $client::new(way.channel.clone()).$method(way.says(message)).await.map(drop) }.boxed()
            },
        }
    };
}

fn rpcs() -> Vec<Rpc> {
    use AuditServiceClient as Audit;
    use CredentialServiceClient as Credential;
    use FlowServiceClient as Flow;
    use ServerServiceClient as Server;
    use UsageServiceClient as Usage;
    use VaultServiceClient as Vault;
    use VerificationServiceClient as Verification;
    vec![
        rpc!(
            "VerificationService/CreateVerification",
            Nothing,
            free,
            Ok,
            Verification.create_verification(|_target| {
                CreateVerificationRequest {
                    flow: "onboarding".into(),
                    subject: Some(Subject { name: "张三".into(), id_number: ID_NUMBER.into() }),
                    ..CreateVerificationRequest::default()
                }
            })
        ),
        rpc!(
            "VerificationService/HandleCallback",
            Fresh,
            free,
            Ok,
            Verification.handle_callback(|target| {
                let tokens = CallbackTokens { verification_id: target.id, biz_token: target.token };
                HandleCallbackRequest { source: Some(Source::Tokens(tokens)) }
            })
        ),
        rpc!(
            "VerificationService/BatchGetResults",
            Nothing,
            free,
            Ok,
            Verification.batch_get_results(|_target| {
                let verification_ids = vec!["01a20c39-f179-7714-bb52-7f22ca46238b".into()];
                BatchGetResultsRequest { verification_ids, ..BatchGetResultsRequest::default() }
            })
        ),
        rpc!(
            "VerificationService/ReopenVerification",
            Fresh,
            free,
            Ok,
            Verification.reopen_verification(|target| ReopenVerificationRequest { verification_id: target.id })
        ),
        rpc!("FlowService/ListFlows", Nothing, free, Ok, Flow.list_flows(|_target| ListFlowsRequest {})),
        rpc!(
            "ServerService/GetServerInfo",
            Nothing,
            free,
            Ok,
            Server.get_server_info(|_target| GetServerInfoRequest {})
        ),
        rpc!("VerificationService/GetResult", Fresh, free, Ok, Verification.get_result(|target| by_id(&target.id))),
        rpc!(
            "VerificationService/GetResult",
            Fresh,
            right,
            Ok,
            Verification
                .get_result(|target| { GetResultRequest { view: ResultView::Full.into(), ..by_id(&target.id) } })
        ),
        rpc!(
            "VerificationService/ListVerifications",
            Nothing,
            free,
            Ok,
            Verification.list_verifications(|_target| { ListVerificationsRequest::default() })
        ),
        rpc!(
            "VerificationService/WatchVerifications",
            Nothing,
            free,
            Ok,
            Verification.watch_verifications(|_target| { WatchVerificationsRequest::default() })
        ),
        rpc!(
            "VerificationService/DownloadEvidence",
            Passed,
            right,
            Ok,
            Verification.download_evidence(|target| {
                DownloadEvidenceRequest { verification_id: target.id, evidence_id: target.evidence_id }
            })
        ),
        rpc!(
            "VerificationService/CancelVerification",
            Fresh,
            free,
            Ok,
            Verification.cancel_verification(|target| { CancelVerificationRequest { verification_id: target.id } })
        ),
        // Allowed, but not while the verification is pending.
        rpc!(
            "VerificationService/RedactVerification",
            Fresh,
            free,
            FailedPrecondition,
            Verification.redact_verification(|target| RedactVerificationRequest { verification_id: target.id })
        ),
        rpc!(
            "UsageService/GetUsage",
            Nothing,
            free,
            Ok,
            Usage.get_usage(|_target| {
                GetUsageRequest {
                    first_date: "2026-03-01".into(),
                    last_date: "2026-03-01".into(),
                    ..GetUsageRequest::default()
                }
            })
        ),
        rpc!(
            "UsageService/GetUsage",
            Nothing,
            right,
            Ok,
            Usage.get_usage(|_target| {
                let date = || "2026-03-01".to_owned();
                let caller = "somebody else".into();
                GetUsageRequest { first_date: date(), last_date: date(), caller, ..GetUsageRequest::default() }
            })
        ),
        rpc!(
            "UsageService/ReconcileUsage",
            Nothing,
            right,
            Ok,
            Usage.reconcile_usage(|_target| {
                ReconcileUsageRequest { date: "2026-03-01".into(), flow: "onboarding".into() }
            })
        ),
        // The vendor knows no such key.
        rpc!(
            "CredentialService/CreateCredential",
            Nothing,
            right,
            FailedPrecondition,
            Credential.create_credential(|_target| {
                CreateCredentialRequest { name: "another".into(), key_pair: Some(unknown_pair()) }
            })
        ),
        rpc!(
            "CredentialService/ListCredentials",
            Nothing,
            right,
            Ok,
            Credential.list_credentials(|_target| { ListCredentialsRequest::default() })
        ),
        rpc!(
            "CredentialService/RotateCredential",
            Nothing,
            right,
            FailedPrecondition,
            Credential.rotate_credential(|_target| {
                RotateCredentialRequest { name: "main".into(), key_pair: Some(unknown_pair()) }
            })
        ),
        rpc!(
            "CredentialService/TestCredential",
            Nothing,
            right,
            Ok,
            Credential.test_credential(|_target| {
                TestCredentialRequest { name: "main".into(), key_pair_id: String::new() }
            })
        ),
        rpc!(
            "CredentialService/DisableCredential",
            Nothing,
            right,
            NotFound,
            Credential.disable_credential(|_target| {
                DisableCredentialRequest { name: "nobody".into(), key_pair_id: String::new() }
            })
        ),
        // A flow uses it.
        rpc!(
            "CredentialService/DeleteCredential",
            Nothing,
            right,
            FailedPrecondition,
            Credential.delete_credential(|_target| { DeleteCredentialRequest { name: "main".into() } })
        ),
        rpc!(
            "VaultService/RewrapVault",
            Nothing,
            right,
            Ok,
            Vault.rewrap_vault(|_target| { RewrapVaultRequest::default() })
        ),
        rpc!(
            "VaultService/ListVaultKeys",
            Nothing,
            right,
            Ok,
            Vault.list_vault_keys(|_target| { ListVaultKeysRequest::default() })
        ),
        rpc!(
            "AuditService/ListAuditEvents",
            Nothing,
            right,
            Ok,
            Audit.list_audit_events(|_target| { ListAuditEventsRequest::default() })
        ),
    ]
}

fn unknown_pair() -> KeyPair {
    KeyPair { secret_id: "AKIDunknown00000000000".into(), secret_key: "unknown".into() }
}

/// A caller of the matrix, in every way that it can show itself.
struct MatrixCaller {
    name: &'static str,
    has_rights: bool,
    ways: Vec<Way>,
    passed: Target,
}

struct Matrix {
    world: World,
    callers: [MatrixCaller; 2],
    /// Ways that show nobody.
    nobody: Vec<Way>,
}

fn identity(name: &str) -> String {
    format!("spiffe://mesh/ns/shop/sa/{name}")
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

impl Matrix {
    async fn start() -> Self {
        let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
        let folder = TempDir::new().expect("temporary folder");
        let (authority, key, strange_key) = (Authority::new("mesh"), IssuerKey::new("k1"), IssuerKey::new("k1"));
        authority.server().write(folder.path());
        fs::write(folder.path().join("ca.crt"), authority.root()).expect("a file");
        fs::write(folder.path().join("jwks.json"), key_set(&[&key])).expect("a file");
        let callers: String = [("privileged", r#"["full_view", "evidence", "admin", "audit"]"#), ("plain", "[]")]
            .map(|(name, rights)| {
                let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(format!("{name}-token").as_bytes()));
                format!(
                    "[[callers]]\nname = \"{name}\"\ntoken_sha256 = [\"{hash}\"]\njwt_subject = \"{name}\"\n\
                     identities = [\"{}\"]\nflows = [\"onboarding\", \"photo\"]\nrights = {rights}\n",
                    identity(name)
                )
            })
            .concat();
        let text = [
            config_text(&simulator, &folder, ""),
            callers,
            tls_section(folder.path(), Some("optional")),
            "[auth]\nmode = [\"tokens\", \"jwt\", \"mtls\"]\n".into(),
            jwt_section(&format!("jwks_file = \"{}\"", folder.path().join("jwks.json").display())),
            format!("[auth.mtls]\ntrusted_proxies = [\"{PROXY}\"]\n"),
        ]
        .concat();
        let config = Config::from_toml(&text, "matrix", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
        let world =
            World::start_with_config(simulator, folder, config, |address| authority.endpoint(address, None)).await;
        let connect = async |name: &str| {
            let own = authority.client(name);
            let endpoint = authority.endpoint(world.gateway.grpc_addr, Some(&own));
            endpoint.connect().await.expect("a connection")
        };

        let now_s = world.now().as_second();
        let plain = world.channel.clone();
        let proxy = connect(PROXY).await;
        let stranger = connect("spiffe://mesh/ns/shop/sa/stranger").await;
        let mut callers = Vec::new();
        for (name, has_rights) in [("privileged", true), ("plain", false)] {
            let own = connect(&identity(name)).await;
            let jwt = key.token(name, now_s, json!({}));
            // Another element before it: what the proxy was sent by whoever called the proxy.
            let forwarded = format!("By={PROXY};URI=spiffe://mesh/forged,By={PROXY};Hash=00;URI={}", identity(name));
            let way = |name, channel: &Channel, metadata: &[(&'static str, String)]| Way {
                name,
                channel: channel.clone(),
                metadata: metadata.to_vec(),
            };
            let ways = vec![
                way("token", &plain, &[bearer(&format!("{name}-token"))]),
                way("JWT", &plain, &[bearer(&jwt)]),
                way("certificate", &own, &[]),
                way("trusted proxy", &proxy, &[("x-forwarded-client-cert", forwarded)]),
            ];
            let mut caller = MatrixCaller { name, has_rights, ways, passed: Target::default() };
            caller.passed = passed(&world, &caller).await;
            callers.push(caller);
        }
        let forwarded = || ("x-forwarded-client-cert", format!("By={PROXY};URI={}", identity("privileged")));
        let jwt = |claims| bearer(&key.token("privileged", now_s, claims));
        let nobody = [
            ("nothing", &plain, vec![]),
            ("wrong token", &plain, vec![bearer("wrong")]),
            ("no bearer", &plain, vec![("authorization", "privileged-token".to_owned())]),
            ("expired JWT", &plain, vec![jwt(json!({"exp": now_s - 60}))]),
            ("early JWT", &plain, vec![jwt(json!({"nbf": now_s + 120}))]),
            ("JWT for another", &plain, vec![jwt(json!({"aud": "other"}))]),
            ("JWT of another", &plain, vec![jwt(json!({"iss": "https://other.test"}))]),
            ("JWT of several", &plain, vec![jwt(json!({"iss": [ISSUER, "https://other.test"]}))]),
            ("JWT without end", &plain, vec![jwt(json!({"exp": null}))]),
            ("JWT of an unknown subject", &plain, vec![jwt(json!({"sub": "nobody"}))]),
            ("forged JWT", &plain, vec![bearer(&strange_key.token("privileged", now_s, json!({})))]),
            ("JWT by shared secret", &plain, vec![bearer(&key.token_with_public_secret("privileged", now_s))]),
            ("unknown certificate", &stranger, vec![]),
            ("untrusted proxy", &stranger, vec![forwarded()]),
            ("proxy without certificate", &plain, vec![forwarded()]),
            ("trusted proxy, no client", &proxy, vec![]),
            ("trusted proxy, unreadable", &proxy, vec![("x-forwarded-client-cert", "URI=\"".to_owned())]),
            ("trusted proxy, wrong token", &proxy, vec![forwarded(), bearer("wrong")]),
        ]
        .map(|(name, channel, metadata)| Way { name, channel: channel.clone(), metadata })
        .into();
        let callers = callers.try_into().unwrap_or_else(|_| panic!("two callers"));
        Self { world, callers, nobody }
    }

    async fn fresh(&self, owner: &MatrixCaller) -> Target {
        let created = created(owner, self.world.request()).await;
        Target { id: created.id, token: created.token, ..Target::default() }
    }
}

async fn created(owner: &MatrixCaller, request: CreateVerificationRequest) -> Created {
    let way = &owner.ways[0];
    let mut client = VerificationServiceClient::new(way.channel.clone());
    Created::of(succeeded(client.create_verification(way.says(request)).await).into_inner())
}

/// A verification that passed, and whose evidence is there.
async fn passed(world: &World, owner: &MatrixCaller) -> Target {
    let created = created(owner, world.photo_request()).await;
    let redirect = world.attempt(&created, 0).await;
    world.get(&redirect).await;
    let evidence = async || world.gateway.store.evidence_of(&created.id).await.expect("store");
    world.until("the evidence", async || !evidence().await.is_empty()).await;
    Target { evidence_id: evidence().await[0].id.clone(), id: created.id, token: created.token }
}

#[tokio::test]
async fn every_rpc_by_every_kind_of_caller() {
    let matrix = Matrix::start().await;
    let mut wrong = Vec::new();
    for rpc in rpcs() {
        for (i, caller) in matrix.callers.iter().enumerate() {
            let other = &matrix.callers[1 - i];
            for way in &caller.ways {
                for (owner, is_own) in [(caller, true), (other, false)] {
                    let target = match rpc.about {
                        About::Fresh => matrix.fresh(owner).await,
                        About::Passed => owner.passed.clone(),
                        About::Nothing if is_own => Target::default(),
                        About::Nothing => continue,
                    };
                    let expected = match () {
                        () if rpc.needs_right && !caller.has_rights => Code::PermissionDenied,
                        () if !is_own => Code::NotFound,
                        () => rpc.served,
                    };
                    let code = (rpc.call)(way.clone(), target).await.map_or_else(|status| status.code(), |()| Code::Ok);
                    if code != expected {
                        let (caller, way, owner) = (caller.name, way.name, owner.name);
                        wrong
                            .push(format!("{} by {caller} ({way}) on {owner}'s: {code:?}, not {expected:?}", rpc.name));
                    }
                }
            }
        }
        for way in &matrix.nobody {
            let target = match rpc.about {
                About::Nothing => Target::default(),
                About::Fresh | About::Passed => matrix.callers[0].passed.clone(),
            };
            let code = (rpc.call)(way.clone(), target).await.map_or_else(|status| status.code(), |()| Code::Ok);
            if code != Code::Unauthenticated {
                wrong.push(format!("{} by nobody ({}): {code:?}", rpc.name, way.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_matrix_has_every_rpc() {
    let contract = prost_types::FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    let of_contract: BTreeSet<String> = contract
        .file
        .iter()
        .filter(|file| file.package() == "faceid.v1")
        .flat_map(|file| &file.service)
        .flat_map(|service| service.method.iter().map(|method| format!("{}/{}", service.name(), method.name())))
        .collect();
    let of_matrix: BTreeSet<String> = rpcs().iter().map(|rpc| rpc.name.to_owned()).collect();
    assert_eq!(of_matrix, of_contract);
}
