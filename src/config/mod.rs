//! The configuration: one TOML file, environment variables over it, defaults under both.
//!
//! It is read in two steps. `layers.rs` reads the settings as they are written (`settings.rs`);
//! each section then converts itself into what the gateway is built of. Both collect every fault,
//! and nothing is written before there is none.

mod auth;
mod callers;
mod credentials;
mod flows;
mod layers;
mod schema;
mod secret;
mod settings;
mod store;
mod tencent;
mod types;
mod value;
mod written;

use crate::{
    auth::AuthModes,
    domain::{
        fault::{Fault, Faults},
        flow::Flows,
        id_card_limits::IdCardLimits,
        schedule::PollSchedule,
    },
    evidence::EvidenceStore,
    grpc::{self, CallLimits, Open, tls::TlsConfig},
    listen::PlaceLimits,
    reload::FileWatch,
    telemetry::LogFormat,
    tencent::{ClientConfig, FieldEncryption, sts::StsConfig},
    vault::Keyring,
};
use auth::Authentication;
use jiff::SignedDuration;
use layers::{Found, Layers};
use secrecy::ExposeSecret;
use settings::Settings;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use types::OneOrMore;
use url::Url;

pub use callers::CallerConfig;
pub use credentials::CredentialConfig;
pub use schema::{default_file, json_schema};
pub use store::StoreUrl;
pub use written::Written;

/// Everything that can be set, checked.
pub struct Config {
    /// Where it was read from, when that was a file: it is read again when it changes.
    pub file: Option<(PathBuf, FileWatch)>,
    /// What was set, to compare a later reading with.
    pub written: Written,
    pub grpc_listen: SocketAddr,
    /// None: the port is not encrypted.
    pub grpc_tls: Option<TlsConfig>,
    pub grpc_places: PlaceLimits,
    pub grpc_limits: grpc::Limits,
    pub http_listen: SocketAddr,
    pub http_places: PlaceLimits,
    /// Where scrapers and probes connect.
    pub admin_listen: SocketAddr,
    /// Whether a crash may leave the memory behind.
    pub allow_core_dumps: bool,
    /// The gateway's own callback, as browsers reach it.
    pub own_callback: Option<Url>,
    pub store: StoreUrl,
    /// Where photos, videos and sounds are kept: see [`crate::evidence::EvidenceStore::open`].
    pub evidence_url: String,
    pub keyring: Keyring,
    pub tencent: ClientConfig,
    pub poll_schedule: PollSchedule,
    /// How many verifications are settled at once in the background.
    pub reconcile_concurrency: usize,
    /// None: everyone may do everything.
    pub auth: Option<AuthModes>,
    /// The services that need no caller.
    pub open: Open,
    pub id_card_limits: IdCardLimits,
    pub drain: DrainConfig,
    pub log: LogConfig,
    pub otlp_endpoint: Option<String>,
    pub sts: StsConfig,
    pub credentials: Vec<(String, CredentialConfig)>,
    pub flows: Flows,
    /// Of the flows that have one.
    pub field_encryption: BTreeMap<String, FieldEncryption>,
    pub callers: Vec<CallerConfig>,
}

/// How a stop goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// For how long health says NOT_SERVING while calls are still served.
    pub delay: Duration,
    /// How long calls in flight have after that.
    pub timeout: Duration,
}

/// Which levels are logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub filter: String,
    pub format: LogFormat,
}

/// The environment's variables for [`Config::load`]. A value that is not UTF-8 is kept as far as it
/// is, and found at fault.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin}:{line}:{column}: not TOML: {problem}")]
    NotToml { origin: String, line: usize, column: usize, problem: String },
    #[error("the configuration has {} fault(s):\n{}", .0.len(), lines(.0))]
    Faults(Vec<Fault>),
}

impl Config {
    /// Reads the file, and environment variables over it.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML; else every fault at once, with the key's path.
    pub fn load(file: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let watch = FileWatch::new(vec![file.to_owned()]);
        let text =
            fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })?;
        let config = Self::from_toml(&text, &file.display().to_string(), env)?;
        Ok(Self { file: Some((file.to_owned(), watch)), ..config })
    }

    /// Reads a text; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(
        text: &str,
        origin: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::parse(text).map_err(|error| ConfigError::NotToml {
            origin: origin.to_owned(),
            line: error.line,
            column: error.column,
            problem: error.problem,
        })?;
        // Sources of credentials read some.
        let environment: BTreeMap<String, String> = env
            .filter_map(|(name, value)| layers.set(name, value))
            .filter(|(name, _)| credentials::SOURCE_VARIABLES.contains(&name.as_str()))
            .collect();
        let written = layers.written();
        let (mut settings, found) = layers.read();
        if found.is_at("auth.mode") {
            // The checks of callers depend on it: they are left out rather than wrong.
            settings.auth.mode = OneOrMore(Vec::new());
        }
        let mut faults = Faults::default();
        let config = convert(&settings, &environment, &mut faults).map(|config| Self { written, ..config });
        finish(config, found, faults)
    }
}

fn finish(config: Option<Config>, found: Found, faults: Faults) -> Result<Config, ConfigError> {
    match (found.join(faults), config) {
        (faults, Some(config)) if faults.is_empty() => Ok(config),
        (faults, _) => Err(ConfigError::Faults(faults)),
    }
}

/// None only where there is a fault.
fn convert(settings: &Settings, environment: &BTreeMap<String, String>, faults: &mut Faults) -> Option<Config> {
    let grpc_listen = faults.check("grpc.listen", value::socket_addr(&settings.grpc.listen));
    let grpc_tls = settings.grpc.tls.as_ref().and_then(|tls| tls.convert(faults));
    let http_listen = faults.check("http.listen", value::socket_addr(&settings.http.listen));
    let admin_listen = faults.check("admin.listen", value::socket_addr(&settings.admin.listen));
    let listeners = [("grpc.listen", grpc_listen), ("http.listen", http_listen), ("admin.listen", admin_listen)];
    check_ports(&listeners, faults);
    let public_url = value::given(settings.http.public_url.as_deref());
    let own_callback = public_url.and_then(|url| faults.check("http.public_url", value::own_callback(url)));
    let store = settings.store.convert(faults);
    let evidence_url = &settings.evidence.url;
    faults.check("evidence.url", EvidenceStore::check_url(evidence_url).map_err(|error| error.to_string()));
    let keyring = keyring(&settings.vault, faults);
    let tencent = settings.tencent.convert(faults);
    let sts = settings.tencent.sts(faults);
    let reconcile = &settings.reconcile;
    let minutes = reconcile.poll_after_minutes.iter().map(|minutes| SignedDuration::from_mins(minutes.get().into()));
    let poll_schedule = faults.check("reconcile.poll_after_minutes", PollSchedule::new(minutes.collect()));
    let auth = settings.auth.convert(faults);
    let otlp_endpoint = value::given(settings.telemetry.otlp_endpoint.as_deref());
    let otlp_endpoint =
        otlp_endpoint.and_then(|url| faults.check("telemetry.otlp_endpoint", value::otlp_endpoint(url)));
    let credentials = credentials::convert(&settings.credentials, environment, faults);
    let (flows, field_encryption) = flows::convert(&settings.flows, faults);
    let callers = callers::convert(&settings.callers, &flows::names(&settings.flows), auth.as_ref(), faults);
    check_authentication(settings, auth.as_ref(), grpc_listen, grpc_tls.as_ref(), faults);
    Some(Config {
        file: None,
        written: Written::default(),
        grpc_listen: grpc_listen?,
        grpc_tls,
        grpc_places: PlaceLimits {
            total: settings.grpc.max_connections.get() as usize,
            per_peer: settings.grpc.max_connections_per_peer.get() as usize,
        },
        grpc_limits: grpc::Limits {
            streams_per_connection: settings.grpc.max_streams_per_connection.get(),
            connection_age: Some(settings.grpc.max_connection_age_s.seconds()).filter(|age| !age.is_zero()),
            calls: call_limits(&settings.limits),
        },
        http_listen: http_listen?,
        http_places: PlaceLimits {
            total: settings.http.max_connections.get() as usize,
            per_peer: settings.http.max_connections_per_peer.get() as usize,
        },
        admin_listen: admin_listen?,
        allow_core_dumps: settings.process.allow_core_dumps,
        own_callback,
        store: store?,
        evidence_url: evidence_url.clone(),
        keyring: keyring?,
        tencent: tencent?,
        sts: sts?,
        poll_schedule: poll_schedule?,
        reconcile_concurrency: reconcile.concurrency.get() as usize,
        auth: match auth? {
            Authentication::Off => None,
            Authentication::On(modes) => Some(*modes),
        },
        open: settings.auth.open(),
        id_card_limits: IdCardLimits {
            per_minute: settings.id_card_limits.per_minute.get() as usize,
            per_day: settings.id_card_limits.per_day.get() as usize,
        },
        drain: DrainConfig { delay: settings.drain.delay_s.seconds(), timeout: settings.drain.timeout_s.seconds() },
        log: LogConfig { filter: settings.log.level.directive().to_owned(), format: settings.log.format },
        otlp_endpoint,
        credentials,
        flows,
        field_encryption,
        callers,
    })
}

fn call_limits(limits: &settings::Limits) -> CallLimits {
    CallLimits {
        calls_per_caller: limits.calls_per_caller.get() as usize,
        streams_per_caller: limits.streams_per_caller.get() as usize,
        waits_per_caller: limits.waits_per_caller.get() as usize,
        message_bytes: limits.message_mib.get() as usize * 1024 * 1024,
    }
}

fn keyring(vault: &settings::Vault, faults: &mut Faults) -> Option<Keyring> {
    let found = secret::read("vault.keys", vault.keys.as_ref(), vault.keys_file.as_deref(), faults)?;
    faults.check(&found.path, Keyring::parse(found.text.expose_secret()))
}

/// Two listeners on one port: the second could not be opened.
fn check_ports(listeners: &[(&str, Option<SocketAddr>)], faults: &mut Faults) {
    for (i, (setting, address)) in listeners.iter().enumerate() {
        for (other, taken) in &listeners[..i] {
            if let (Some(address), Some(taken)) = (address, taken)
                && address.port() != 0
                && address.port() == taken.port()
                && overlap(*address, *taken)
            {
                faults.add(*setting, format!("has the port of {other}; give it another"));
            }
        }
    }
}

/// Whether both addresses take connections to the same one. `[::]` takes those of IPv4 too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: SocketAddr, one: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one.ip() == other.ip() || takes(one, other) || takes(other, one)
}

/// Each way to authenticate needs something of other sections.
fn check_authentication(
    settings: &Settings,
    auth: Option<&Authentication>,
    grpc_listen: Option<SocketAddr>,
    grpc_tls: Option<&TlsConfig>,
    faults: &mut Faults,
) {
    match auth {
        Some(Authentication::Off) if grpc_listen.is_some_and(|address| !address.ip().is_loopback()) => {
            faults.add("auth.mode", "is none, which is allowed only with grpc.listen on loopback; use tokens");
        }
        Some(Authentication::On(_)) if settings.callers.is_empty() => {
            faults.add("callers", "is empty; nobody could call, unless auth.mode is \"none\"");
        }
        Some(_) | None => {}
    }
    if let Some(Authentication::On(modes)) = auth
        && let Some(proxies) = &modes.mtls
        && proxies.is_empty()
        && grpc_tls.is_none_or(|tls| tls.client_ca.is_none())
    {
        faults.add("auth.mode", "has mtls, for which grpc.tls.client_ca_file or auth.mtls.trusted_proxies is needed");
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tencent::encryption::PublicKey;
    use std::os::unix::fs::PermissionsExt;
    use toml::Value;

    const GOOD: &str = r#"
        [vault]
        keys = "k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
        [auth]
        mode = "none"
        [[credentials]]
        name = "main"
        secret_id = "id"
        secret_key = "key"
        [[flows]]
        name = "onboarding"
        rule_id = "1"
        credential = "main"
        access_mode = "wechat_h5_normal"
        comparison = "authority"
        requires = ["name", "id_number"]
        redirect_allow = ["https://shop.example.com/"]
    "#;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_toml(text, "test", env)
    }

    fn faults(text: &str, env: &[(&str, &str)]) -> Vec<String> {
        match load(text, env) {
            Err(ConfigError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
            Err(error) => panic!("{error}"),
            Ok(_) => vec![],
        }
    }

    #[test]
    fn defaults_fill_what_is_not_given() {
        let config = load(GOOD, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.grpc_listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.store.to_string(), "sqlite:data/gateway.db");
        assert_eq!(config.tencent.timeout, Duration::from_secs(10));
        assert_eq!(config.log, LogConfig { filter: "info".into(), format: LogFormat::Json });
        assert!(config.flows["onboarding"].requires.id_number);
        assert!(config.own_callback.is_none());
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let config = load(
            GOOD,
            &[
                ("FACEID_GATEWAY__GRPC__LISTEN", "127.0.0.1:7"),
                ("FACEID_GATEWAY__TENCENT__TIMEOUT_MS", "500"),
                ("FACEID_GATEWAY__HTTP__PUBLIC_URL", "https://gw.example.com/faceid/"),
                ("FACEID_GATEWAY__CALLERS", &format!("[{{name='orders', token_sha256=['{}']}}]", "ab".repeat(32))),
                ("OTHER", "x"),
            ],
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.grpc_listen.port(), 7);
        assert_eq!(config.tencent.timeout, Duration::from_millis(500));
        assert_eq!(config.own_callback.unwrap().as_str(), "https://gw.example.com/faceid/callback");
        assert_eq!(config.callers[0].known.caller.name, "orders");
    }

    #[test]
    fn all_faults_are_named_at_once_with_their_path() {
        let text = r#"
            surprise = 1
            [grpc]
            listen = "0.0.0.0"
            lissten = "x"
            [store]
            url = "postgres://db/x"
            [vault]
            keys = "k1:short"
            keys_file = "also"
            [tencent]
            endpoint = "http://faceid.example.com"
            timeout_ms = 5
            [auth]
            mode = "password"
            [[credentials]]
            name = "main"
            secret_id_file = "/does/not/exist"
            [[flows]]
            name = "a b"
            rule_id = "1"
            credential = "main"
            access_mode = "app"
            comparison = "authority"
            requires = ["photo"]
            redirect_allow = ["shop.example.com"]
            [[callers]]
            name = "browser"
            token_sha256 = ["abc"]
            flows = ["other"]
            rights = ["root"]
        "#;
        let faults = faults(text, &[("FACEID_GATEWAY__LOG__LEVEL", "=,=")]);
        let fields: Vec<&str> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
        assert_eq!(
            fields,
            [
                "grpc.lissten",
                "grpc.listen",
                "store.url",
                "vault.keys",
                "tencent.timeout_ms",
                "tencent.endpoint",
                "auth.mode",
                "log.level",
                "credentials[0].secret_id_file",
                "credentials[0].secret_key",
                "flows[0].access_mode",
                "flows[0].requires[0]",
                "flows[0].name",
                "flows[0].redirect_allow[0]",
                "callers[0].rights[0]",
                "callers[0].name",
                "callers[0].token_sha256[0]",
                "callers[0].flows[0]",
                "surprise",
            ],
            "{faults:#?}"
        );
    }

    #[test]
    fn field_encryption_is_read_and_its_faults_are_named() {
        let vectors = include_str!("../../tests/vectors/encryption/encryption.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let [rsa, sm2] = ["aes_256_cbc", "sm4_gcm"].map(|suite| vectors[suite]["public_keys"][0].as_str().unwrap());
        let flow = |lines: &str| format!("{GOOD}[flows.encryption]\n{lines}");
        let of = |lines: &str| load(&flow(lines), &[]).unwrap_or_else(|error| panic!("{error}")).field_encryption;

        assert!(load(GOOD, &[]).unwrap_or_else(|error| panic!("{error}")).field_encryption.is_empty());
        let aes = of(&format!("algorithm = 'aes_256_cbc'\npublic_key = \"\"\"{rsa}\"\"\"\nwhole_response = true"));
        assert!(matches!(aes["onboarding"], FieldEncryption { public_key: PublicKey::Rsa(_), whole_response: true }));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sm2.pem");
        fs::write(&file, sm2).unwrap();
        let from_file = format!("public_key_file = '{}'", file.display());
        let sm4 = of(&format!("algorithm = 'sm4_gcm'\n{from_file}"));
        assert!(matches!(sm4["onboarding"], FieldEncryption { public_key: PublicKey::Sm2(_), whole_response: false }));

        let key = "flows[0].encryption.public_key";
        let wrong_kind = format!("algorithm = 'aes_256_cbc'\n{from_file}");
        let missing = format!("{key}: is missing; set it or {key}_file");
        for (lines, expected) in [
            (&*wrong_kind, &*format!("{key}_file: is an SM2 key; aes_256_cbc needs the console's RSA key")),
            (
                "algorithm = 'sm4_gcm'\npublic_key = '04aabb'",
                &*format!("{key}: is not an SM2 public key: PEM, the base64 of it, or the point in hex"),
            ),
            ("algorithm = 'sm4_gcm'", &*missing),
            (
                "algorithm = 'aes'\npublic_key = 'x'",
                "flows[0].encryption.algorithm: is neither aes_256_cbc nor sm4_gcm",
            ),
        ] {
            assert_eq!(faults(&flow(lines), &[]), [expected]);
        }
        let all = "algorithm = 'sm4_gcm'\nwhole_response = 'perhaps'\nkey = 'x'";
        let all = faults(&flow(all), &[]);
        assert_eq!(all.iter().filter(|fault| fault.starts_with("flows[0].encryption.")).count(), 3, "{all:#?}");
    }

    #[test]
    fn a_variable_that_would_be_ignored_is_a_fault() {
        let listed = faults(GOOD, &[("FACEID_GATEWAY__FLOWS__ONBOARDING__RULE_ID", "9")]);
        assert_eq!(listed, ["flows: is not a list (from FACEID_GATEWAY__FLOWS__ONBOARDING__RULE_ID)"]);
        let below = faults(GOOD, &[("FACEID_GATEWAY__GRPC__LISTEN__X", "1")]);
        assert_eq!(below, ["grpc.listen: is not a text (from FACEID_GATEWAY__GRPC__LISTEN__X)"]);
        let unknown = faults(GOOD, &[("FACEID_GATEWAY__GRPC__PORT", "1")]);
        assert_eq!(unknown, ["grpc.port: is not a setting of this version (from FACEID_GATEWAY__GRPC__PORT)"]);
    }

    #[test]
    fn an_empty_variable_unsets_what_has_no_default() {
        let text = format!("{GOOD}[telemetry]\notlp_endpoint = 'http://127.0.0.1:4317'");
        assert!(load(&text, &[]).unwrap_or_else(|error| panic!("{error}")).otlp_endpoint.is_some());
        let config = load(&text, &[("FACEID_GATEWAY__TELEMETRY__OTLP_ENDPOINT", "")]);
        assert!(config.unwrap_or_else(|error| panic!("{error}")).otlp_endpoint.is_none());
        assert_eq!(
            faults(&text, &[("FACEID_GATEWAY__STORE__URL", "")]),
            [
                "store.url: is neither sqlite:<path> nor postgres://<user>@<host>:<port>/<database> (from FACEID_GATEWAY__STORE__URL)"
            ]
        );
    }

    #[test]
    fn what_a_start_would_find_is_found_with_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("tls.crt"), "no certificate").unwrap();
        let text = GOOD.replace("[vault]", "[evidence]\nurl = 'ftp://x'\n[vault]")
            + &format!(
                "[http]\nlisten = '0.0.0.0:50051'\n[telemetry]\notlp_endpoint = '127.0.0.1:4317'\n\
                 [grpc.tls]\ncert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'",
                path("tls.crt"),
                path("tls.key"),
                path("ca.crt")
            );
        let gone = "cannot be read: No such file or directory (os error 2)";
        assert_eq!(
            faults(&text, &[]),
            [
                format!("grpc.tls.cert_file: {}: has no certificate in PEM form", path("tls.crt")),
                format!("grpc.tls.key_file: {}: {gone}", path("tls.key")),
                format!("grpc.tls.client_ca_file: {}: {gone}", path("ca.crt")),
                "http.listen: has the port of grpc.listen; give it another".to_owned(),
                "evidence.url: is neither file:PATH nor s3://BUCKET or s3://BUCKET/PREFIX".to_owned(),
                "telemetry.otlp_endpoint: is not http:// or https:// with a host".to_owned(),
            ]
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let certified = || rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
        let (one, other) = (certified(), certified());
        fs::write(path("tls.crt"), one.cert.pem()).unwrap();
        fs::write(path("own.key"), one.signing_key.serialize_pem()).unwrap();
        fs::write(path("other.key"), other.signing_key.serialize_pem()).unwrap();
        let with =
            |key: &str| format!("{GOOD}[grpc.tls]\ncert_file = '{}'\nkey_file = '{}'", path("tls.crt"), path(key));
        assert!(faults(&with("own.key"), &[]).is_empty());
        let faults = faults(&with("other.key"), &[]);
        assert!(faults.len() == 1 && faults[0].starts_with("grpc.tls.key_file: certificate and key"), "{faults:?}");
    }

    #[test]
    fn listeners_clash_where_one_takes_the_connections_of_the_other() {
        let clash = |grpc: &str, http: &str| {
            let text = GOOD.replace("mode = \"none\"", "mode = \"tokens\"");
            let caller = format!("[{{name='orders', token_sha256=['{}']}}]", "ab".repeat(32));
            let environment = [
                ("FACEID_GATEWAY__GRPC__LISTEN", grpc),
                ("FACEID_GATEWAY__HTTP__LISTEN", http),
                ("FACEID_GATEWAY__CALLERS", &caller),
            ];
            faults(&text, &environment).len()
        };
        for (grpc, http, expected) in [
            ("127.0.0.1:7", "127.0.0.1:7", 1),
            ("0.0.0.0:7", "127.0.0.1:7", 1),
            ("[::]:7", "127.0.0.1:7", 1),
            ("127.0.0.1:7", "[::]:7", 1),
            ("127.0.0.1:0", "127.0.0.1:0", 0),
            ("127.0.0.1:7", "127.0.0.2:7", 0),
            ("0.0.0.0:7", "[::1]:7", 0),
            ("127.0.0.1:7", "127.0.0.1:8", 0),
        ] {
            assert_eq!(clash(grpc, http), expected, "{grpc} {http}");
        }
    }

    #[test]
    fn secrets_have_one_check_whether_given_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret_id");
        let in_file = |content: &str, mode: u32| {
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            faults(&GOOD.replace("secret_id = \"id\"", &format!("secret_id_file = '{}'", file.display())), &[])
        };
        let given = |content: &str| {
            let content = Value::String(content.to_owned()).to_string();
            faults(&GOOD.replace("secret_id = \"id\"", &format!("secret_id = {content}")), &[])
        };
        for content in ["AKID1", "AKID1\n", "AKID1\r\n"] {
            assert!(in_file(content, 0o440).is_empty() && given(content).is_empty(), "{content:?}");
        }
        for (content, problem) in [
            ("\u{FEFF}AKID1", "has U+FEFF (byte order mark) as character 1 of 6; remove it"),
            ("AKID1 ", "has U+0020 (blank) as character 6 of 6; remove it"),
            ("AK\u{A0}ID1", "has U+00A0 (no-break space) as character 3 of 6; remove it"),
            ("'AKID1'", "is in quotes, U+0027 (quotation mark) as its first and last character; remove them"),
            ("AKID1\n\n", "has U+000A (line break) as character 6 of 6; remove it"),
            ("AK ID", "has U+0020 (blank) as character 3 of 5; only visible ASCII is allowed"),
            ("密钥", "has U+5BC6 as character 1 of 2; only visible ASCII is allowed"),
            ("", "is empty"),
        ] {
            assert_eq!(in_file(content, 0o600), [format!("credentials[0].secret_id_file: {problem}")]);
            assert_eq!(given(content), [format!("credentials[0].secret_id: {problem}")]);
        }
        let open = in_file("AKID1", 0o604);
        let expected = "can be read by every user of this machine (mode 0604)";
        assert!(open.len() == 1 && open[0].contains(expected) && !open[0].contains("AKID1"), "{open:?}");
    }

    #[test]
    fn authentication_off_stays_on_loopback() {
        let open = faults(GOOD, &[("FACEID_GATEWAY__GRPC__LISTEN", "0.0.0.0:50051")]);
        assert!(open[0].starts_with("auth.mode: is none"), "{open:?}");
        let nobody = faults(GOOD, &[("FACEID_GATEWAY__AUTH__MODE", "tokens")]);
        assert!(nobody[0].starts_with("callers: is empty"), "{nobody:?}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_not_quoted() {
        let error = load("[vault]\nkeys = k1:SECRET", &[]).err().unwrap().to_string();
        assert!(error.starts_with("test:2:8: not TOML") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn no_key_no_start() {
        let missing = faults("", &[]);
        assert!(missing.iter().any(|fault| fault.starts_with("vault.keys: is missing")), "{missing:?}");
        assert!(missing.iter().any(|fault| fault.starts_with("flows: is empty")), "{missing:?}");
    }
}
