//! The settings as an operator writes them, one struct for each section. Name, type, default and
//! meaning of a setting stand here and nowhere else: the reader, `serve --print-defaults` and
//! `serve --print-schema` are made of these structs. The lists and the larger sections are beside
//! what they become: [`super::tencent`], [`super::auth`] and so on.
//!
//! No struct has a `Debug`: some hold secrets.

use super::{
    auth::{Auth, Tls},
    callers::Caller,
    credentials::Credential,
    flows::Flow,
    tencent::Tencent,
    types::{Int, Secret},
};
use crate::telemetry::LogFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    pub(super) grpc: Grpc,
    pub(super) http: Http,
    pub(super) admin: Admin,
    pub(super) limits: Limits,
    pub(super) store: Store,
    pub(super) evidence: Evidence,
    pub(super) vault: Vault,
    pub(super) tencent: Tencent,
    pub(super) reconcile: Reconcile,
    pub(super) auth: Auth,
    pub(super) id_card_limits: IdCardLimits,
    pub(super) drain: Drain,
    pub(super) process: Process,
    pub(super) log: Log,
    pub(super) telemetry: Telemetry,
    pub(super) credentials: Vec<Credential>,
    pub(super) flows: Vec<Flow>,
    pub(super) callers: Vec<Caller>,
}

/// The port of the contract.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Grpc {
    /// Where callers connect, as `<IP address>:<port>`. Encrypted with `[grpc.tls]`; without it
    /// leave that to the mesh, or stay on loopback.
    pub(super) listen: String,
    /// Connections at once. Where all are taken, the oldest that has shown no caller makes room.
    /// Fewer where the system allows too few open files.
    pub(super) max_connections: Int<1, 100_000>,
    /// Of those, connections of one peer; behind a proxy, all callers are one peer.
    pub(super) max_connections_per_peer: Int<1, 100_000>,
    /// Calls at once on one connection; clients wait for a free one.
    pub(super) max_streams_per_connection: Int<1, 10_000>,
    /// Seconds after which a connection takes no new calls, and its client opens another, perhaps
    /// to another replica. Calls and streams on it go on. 0: never.
    pub(super) max_connection_age_s: Int<0, 86_400>,
    pub(super) tls: Option<Tls>,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".into(),
            max_connections: Int::new(1024),
            max_connections_per_peer: Int::new(256),
            max_streams_per_connection: Int::new(250),
            max_connection_age_s: Int::new(1800),
            tls: None,
        }
    }
}

/// The port of browsers.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// Where browsers connect: `/callback`, and nothing else.
    pub(super) listen: String,
    /// Connections at once. Where all are taken, the oldest that waits for a request makes room.
    pub(super) max_connections: Int<1, 100_000>,
    /// Of those, connections of one peer; behind an ingress, all browsers are one peer.
    pub(super) max_connections_per_peer: Int<1, 100_000>,
    /// How browsers reach this port, without `/callback`. Needed by verifications that have
    /// success_url but no return_url.
    #[schemars(example = &"https://faceid.example.com")]
    pub(super) public_url: Option<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            max_connections: Int::new(1024),
            max_connections_per_peer: Int::new(512),
            public_url: None,
        }
    }
}

/// The port of the metrics scraper and of probes. Keep it from the outside.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    /// Where they connect: `/metrics`, `/livez` and `/readyz`.
    pub(super) listen: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".into() }
    }
}

/// The most that one caller may have under way at once, in each replica. Beyond it a call is
/// refused with RESOURCE_EXHAUSTED.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Calls of any kind.
    pub(super) calls_per_caller: Int<1, 100_000>,
    /// Of those, WatchVerifications and DownloadEvidence.
    pub(super) streams_per_caller: Int<1, 100_000>,
    /// Of those, GetResults that wait.
    pub(super) waits_per_caller: Int<1, 100_000>,
    /// Memory for messages that were received and not yet answered, or answered and not yet sent,
    /// in MiB. One caller may have half of it.
    pub(super) message_mib: Int<16, 65_536>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_caller: Int::new(1500),
            streams_per_caller: Int::new(100),
            waits_per_caller: Int::new(1000),
            message_mib: Int::new(64),
        }
    }
}

/// Where verifications, credentials and the audit trail are kept.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    /// `sqlite:<path of the database file>`, created where it is missing: for one replica. Or
    /// `postgres://<user>@<host>:<port>/<database>`: for several. TLS is required there, with a
    /// certificate for the host; `?sslmode=disable` does without, for a server on the same machine.
    /// No password in the URL: see `password_file`.
    pub(super) url: String,
    /// The file with PostgreSQL's password, read again with each new connection: a rotated password
    /// needs no restart.
    #[schemars(example = &"data/postgres.password")]
    pub(super) password_file: Option<String>,
    /// The authorities that may have signed PostgreSQL's certificate, PEM. Without it: those of the
    /// system.
    #[schemars(example = &"data/postgres-ca.pem")]
    pub(super) ca_file: Option<String>,
    /// The certificate, PEM, that the gateway shows to PostgreSQL where that asks for one; with
    /// `key_file`.
    #[schemars(example = &"data/postgres-client.pem")]
    pub(super) certificate_file: Option<String>,
    /// The key of `certificate_file`, PEM.
    #[schemars(example = &"data/postgres-client.key")]
    pub(super) key_file: Option<String>,
    /// Connections of this replica to PostgreSQL, beside the one that listens. What all replicas
    /// have together must be within PostgreSQL's `max_connections`.
    pub(super) max_connections: Int<2, 1000>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:data/gateway.db".into(),
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            max_connections: Int::new(16),
        }
    }
}

/// Where photos, videos and sounds are kept, sealed.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Evidence {
    /// `file:<folder>`, created where it is missing, or `s3://<bucket>/<prefix>` (region, endpoint
    /// and credentials from the usual `AWS_` variables).
    pub(super) url: String,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { url: "file:data/evidence".into() }
    }
}

/// The keys that seal what is secret or personal.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Vault {
    #[serde(skip_serializing)]
    pub(super) keys: Option<Secret>,
    /// Lines of `<key id>:<base64 of 32 bytes>`; the first key encrypts, all decrypt. Required:
    /// there is no start without a key. The file must not be readable by other users.
    #[schemars(example = &"data/vault.keys")]
    pub(super) keys_file: Option<String>,
}

/// Every verification is settled at its end even if nobody asks.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reconcile {
    /// Before its end a verification is looked at this many minutes after its creation, for users
    /// who finish but whose browser never returns. Rising.
    pub(super) poll_after_minutes: Vec<Int<1, 119>>,
    /// How many verifications are settled at once in the background.
    pub(super) concurrency: Int<1, 256>,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { poll_after_minutes: [2, 5, 15, 30, 60].map(Int::new).to_vec(), concurrency: Int::new(16) }
    }
}

/// The vendor refuses an ID card that was used too often, after its user stood before the camera.
/// CreateVerification refuses it before. A verification counts as one use, or as many as it has
/// attempts.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IdCardLimits {
    /// Uses within a minute; 0: no limit.
    pub(super) per_minute: Int<0, { u32::MAX }>,
    /// Uses within 24 hours; 0: no limit.
    pub(super) per_day: Int<0, { u32::MAX }>,
}

impl Default for IdCardLimits {
    fn default() -> Self {
        Self { per_minute: Int::new(15), per_day: Int::new(30) }
    }
}

/// How a stop goes, after SIGTERM.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drain {
    /// Seconds during which health says NOT_SERVING while calls are still served, so that load
    /// balancers and meshes learn that this process is going.
    pub(super) delay_s: Int<0, 300>,
    /// Seconds that calls in flight then have to finish, with the work that they began; connections
    /// that do not end are cut after three fifths of it. Kubernetes' grace period must be longer
    /// than both together.
    pub(super) timeout_s: Int<1, 600>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay_s: Int::new(0), timeout_s: Int::new(25) }
    }
}

/// The process itself.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Process {
    /// A core dump would hold keys, tokens and names. With `true` the system's limit counts, and a
    /// debugger may attach.
    pub(super) allow_core_dumps: bool,
}

/// Logs go to standard error.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// The least severe level that is logged. For directives such as `info,faceid_gateway=debug`
    /// set the variable `RUST_LOG`, which is used instead where it is set.
    pub(super) level: LogLevel,
    /// One JSON object a line, or text for people.
    pub(super) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Json }
    }
}

#[derive(Clone, Copy, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(super) fn directive(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Traces.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    /// OTLP collector (gRPC) that traces are exported to. Not set: no traces are exported.
    #[schemars(example = &"http://127.0.0.1:4317")]
    pub(super) otlp_endpoint: Option<String>,
}
