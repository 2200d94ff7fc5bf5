//! The configuration: defaults, one TOML file over them, environment variables over both. See `default.toml`.

mod callers;
mod credentials;
mod section;
mod value;
mod vendor;

use crate::{
    auth::{AuthModes, KnownCaller},
    domain::{
        fault::{Fault, Faults},
        flow::{AccessMode, ComparisonSource, Demands, EvidenceWish, Flow, Flows},
        id_card_limits::IdCardLimits,
        intention::IntentionMode,
        redirect::AllowedTarget,
        schedule::PollSchedule,
    },
    grpc::{Open, tls::TlsConfig},
    reload::FileWatch,
    telemetry::LogFormat,
    tencent::{
        ClientConfig, FieldEncryption,
        encryption::{Algorithm, PublicKey},
        sts::StsConfig,
    },
    vault::Keyring,
    webhook::Endpoint,
};
use secrecy::ExposeSecret;
use section::Section;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};
use toml::{Table, Value};
use url::Url;

pub use credentials::CredentialConfig;

/// Documents every default.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Default of a flow's `result_retention_days`.
const RESULT_RETENTION_DAYS: &str = "180";
/// Default of a flow's `evidence_retention_days`.
const EVIDENCE_RETENTION_DAYS: &str = "30";

const ENV_PREFIX: &str = "FACEID_GATEWAY__";

/// Everything that can be set, checked.
pub struct Config {
    /// Where it was read from, when that was a file: callers are read again when it changes.
    pub file: Option<(PathBuf, FileWatch)>,
    pub grpc_listen: SocketAddr,
    /// None: the port is not encrypted.
    pub grpc_tls: Option<TlsConfig>,
    pub http_listen: SocketAddr,
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
    /// What is served without a caller.
    pub open: Open,
    pub id_card_limits: IdCardLimits,
    pub log: LogConfig,
    pub otlp_endpoint: Option<String>,
    pub sts: StsConfig,
    pub credentials: Vec<(String, CredentialConfig)>,
    pub flows: Flows,
    /// Of the flows that have one.
    pub field_encryption: BTreeMap<String, FieldEncryption>,
    pub callers: Vec<CallerConfig>,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub filter: String,
    pub format: LogFormat,
}

/// A service that may call.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    pub known: KnownCaller,
    /// Where the caller wants its events.
    pub webhook: Option<Endpoint>,
}

/// The environment's variables for [`Config::load`]. A value that is not UTF-8 is kept as far as it is, and found at fault.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin}: not TOML: {problem}")]
    NotToml { origin: String, problem: String },
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
        let mut table = Table::from_str(DEFAULTS).expect("default.toml is TOML");
        let given = Table::from_str(text).map_err(|error| ConfigError::NotToml {
            origin: origin.to_owned(),
            // The error's own text quotes the line, which may hold a secret.
            problem: format!("{} (at byte {})", error.message(), error.span().map_or(0, |span| span.start)),
        })?;
        merge(&mut table, given);
        let mut faults = Faults::default();
        let mut sources = BTreeMap::new();
        for (name, value) in env {
            if credentials::SOURCE_VARIABLES.contains(&name.as_str()) {
                sources.insert(name, value);
                continue;
            }
            if let Some(path) = name.strip_prefix(ENV_PREFIX) {
                let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
                if !set(&mut table, &path, value) {
                    faults.add(path.join("."), format!("(from {name}) is inside something that is set whole"));
                }
            }
        }
        read(Section::root(table), sources, faults).map_err(ConfigError::Faults)
    }
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Sets a value. False: what is above it is no section.
fn set(table: &mut Table, path: &[String], value: String) -> bool {
    match path {
        [] => false,
        [key] => {
            table.insert(key.clone(), Value::String(value));
            true
        }
        [section, rest @ ..] => match table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, value),
            _ => false,
        },
    }
}

fn read(mut root: Section, sources: BTreeMap<String, String>, mut faults: Faults) -> Result<Config, Vec<Fault>> {
    let faults_ref = &mut faults;

    let mut grpc = root.section("grpc", faults_ref);
    let grpc_listen = grpc.parsed("listen", faults_ref, value::socket_addr);
    let grpc_tls = callers::read_tls(&mut grpc, faults_ref);
    grpc.finish(faults_ref);

    let mut http = root.section("http", faults_ref);
    let http_listen = http.parsed("listen", faults_ref, value::socket_addr);
    let public_url_path = http.path_of("public_url");
    let own_callback = http
        .text("public_url", faults_ref)
        .and_then(|text| faults_ref.check(&public_url_path, value::own_callback(&text)));
    http.finish(faults_ref);

    let mut store = root.section("store", faults_ref);
    let store_url = store.parsed("url", faults_ref, value::store_url);
    store.finish(faults_ref);

    let mut evidence = root.section("evidence", faults_ref);
    let evidence_url = evidence.required_text("url", faults_ref);
    evidence.finish(faults_ref);

    let mut vault = root.section("vault", faults_ref);
    let keys_path = vault.path_of("keys");
    let keyring = vault
        .secret("keys", faults_ref)
        .and_then(|text| faults_ref.check(&keys_path, Keyring::parse(text.expose_secret())));
    vault.finish(faults_ref);

    let mut tencent = root.section("tencent", faults_ref);
    let client = vendor::read(&mut tencent, faults_ref);
    let sts = credentials::read_sts(&mut tencent, faults_ref);
    tencent.finish(faults_ref);

    let mut reconcile = root.section("reconcile", faults_ref);
    let poll_path = reconcile.path_of("poll_after_minutes");
    let minutes = reconcile.parsed_list("poll_after_minutes", faults_ref, value::minutes);
    let poll_schedule = faults_ref.check(&poll_path, PollSchedule::new(minutes));
    let reconcile_concurrency = reconcile.parsed("concurrency", faults_ref, value::concurrency);
    reconcile.finish(faults_ref);

    let (auth, open) = callers::read_auth(&mut root, faults_ref);

    let mut limits = root.section("id_card_limits", faults_ref);
    let per_minute = limits.parsed("per_minute", faults_ref, value::count);
    let per_day = limits.parsed("per_day", faults_ref, value::count);
    limits.finish(faults_ref);

    let mut log = root.section("log", faults_ref);
    let filter = log.parsed("level", faults_ref, value::log_filter);
    let format = log.parsed("format", faults_ref, value::log_format);
    log.finish(faults_ref);

    let mut telemetry = root.section("telemetry", faults_ref);
    let otlp_endpoint = telemetry.text("otlp_endpoint", faults_ref);
    telemetry.finish(faults_ref);

    let credentials = credentials::read(&mut root, &sources, faults_ref);
    let (flows, field_encryption) = read_flows(&mut root, faults_ref);
    let callers = callers::read_callers(&mut root, &flows, auth.as_ref(), faults_ref);
    root.finish(faults_ref);

    match &auth {
        Some(None) if grpc_listen.is_some_and(|address| !address.ip().is_loopback()) => {
            faults.add("auth.mode", "is none, which is allowed only with grpc.listen on loopback; use tokens");
        }
        Some(Some(_)) if callers.is_empty() => {
            faults.add("callers", "is empty; nobody could call, unless auth.mode is \"none\"");
        }
        Some(_) | None => {}
    }
    if let Some(Some(modes)) = &auth
        && let Some(proxies) = &modes.mtls
        && proxies.is_empty()
        && grpc_tls.as_ref().is_none_or(|tls| tls.client_ca.is_none())
    {
        faults.add("auth.mode", "has mtls, for which grpc.tls.client_ca_file or auth.mtls.trusted_proxies is needed");
    }
    let taken = (|| {
        Some(Config {
            file: None,
            grpc_listen: grpc_listen?,
            grpc_tls,
            http_listen: http_listen?,
            own_callback,
            store: store_url?,
            evidence_url: evidence_url?,
            keyring: keyring?,
            tencent: client?,
            sts: sts?,
            poll_schedule: poll_schedule?,
            reconcile_concurrency: reconcile_concurrency?,
            auth: auth?,
            open,
            id_card_limits: IdCardLimits { per_minute: per_minute?, per_day: per_day? },
            log: LogConfig { filter: filter?, format: format? },
            otlp_endpoint,
            credentials,
            flows,
            field_encryption,
            callers,
        })
    })();
    match (faults.into_vec(), taken) {
        (faults, Some(config)) if faults.is_empty() => Ok(config),
        (faults, _) => Err(faults),
    }
}

fn read_flows(root: &mut Section, faults: &mut Faults) -> (Flows, BTreeMap<String, FieldEncryption>) {
    let mut names = BTreeSet::new();
    let (mut flows, mut field_encryption) = (Flows::new(), BTreeMap::new());
    let sections = root.sections("flows", faults);
    if sections.is_empty() {
        faults.add("flows", "is empty; a gateway without a flow can verify nobody");
    }
    for mut section in sections {
        let name = section.parsed("name", faults, |text| value::unique_name(text, &mut names));
        let rule_id = section.parsed("rule_id", faults, value::rule_id);
        let credential = section.parsed("credential", faults, value::checked_name);
        let access_mode = section.parsed("access_mode", faults, AccessMode::parse);
        let comparison = section.parsed("comparison", faults, ComparisonSource::parse);
        let mut requires = Demands::default();
        let requires_path = section.path_of("requires");
        for (i, demand) in section.texts("requires", faults).iter().enumerate() {
            faults.check(&format!("{requires_path}[{i}]"), requires.add(demand));
        }
        let intention_path = section.path_of("intention");
        let intention = section.text("intention", faults);
        let intention = intention.and_then(|name| faults.check(&intention_path, IntentionMode::parse(&name)));
        let redirect_allow = section.parsed_list("redirect_allow", faults, AllowedTarget::parse);
        let mut evidence = EvidenceWish::default();
        let evidence_path = section.path_of("evidence");
        for (i, wish) in section.texts("evidence", faults).iter().enumerate() {
            faults.check(&format!("{evidence_path}[{i}]"), evidence.add(wish));
        }
        let evidence_retention =
            section.parsed_or("evidence_retention_days", EVIDENCE_RETENTION_DAYS, faults, value::days);
        let result_retention = section.parsed_or("result_retention_days", RESULT_RETENTION_DAYS, faults, value::days);
        let encryption = read_field_encryption(&mut section, faults);
        section.finish(faults);
        let flow = (|| {
            Some(Flow {
                name: name?,
                rule_id: rule_id?,
                credential: credential?,
                access_mode: access_mode?,
                comparison: comparison?,
                requires,
                intention,
                redirect_allow,
                result_retention: result_retention?,
                evidence,
                evidence_retention: evidence_retention?,
            })
        })();
        if let Some(flow) = flow {
            field_encryption.extend(encryption.map(|encryption| (flow.name.clone(), encryption)));
            flows.insert(flow.name.clone(), flow);
        }
    }
    (flows, field_encryption)
}

/// A flow's field encryption. The public key may be a file like a secret, which it is not.
fn read_field_encryption(flow: &mut Section, faults: &mut Faults) -> Option<FieldEncryption> {
    if !flow.has("encryption") {
        return None;
    }
    let mut section = flow.section("encryption", faults);
    let algorithm = section.parsed("algorithm", faults, Algorithm::parse);
    let key_path = section.path_of(if section.has("public_key_file") { "public_key_file" } else { "public_key" });
    let key = section.secret("public_key", faults);
    let whole_response = section.parsed_or("whole_response", "false", faults, value::boolean);
    section.finish(faults);
    let public_key = faults.check(&key_path, PublicKey::parse(algorithm?, key?.expose_secret()));
    Some(FieldEncryption { public_key: public_key?, whole_response: whole_response? })
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
        assert_eq!(config.store, StoreUrl::Sqlite("data/gateway.db".into()));
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
                "grpc.listen",
                "grpc.lissten",
                "store.url",
                "vault.keys",
                "tencent.endpoint",
                "tencent.timeout_ms",
                "auth.mode",
                "log.level",
                "credentials[0].secret_id_file",
                "credentials[0].secret_key",
                "flows[0].name",
                "flows[0].access_mode",
                "flows[0].requires[0]",
                "flows[0].redirect_allow[0]",
                "callers[0].name",
                "callers[0].token_sha256[0]",
                "callers[0].flows[0]",
                "callers[0].rights[0]",
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
        assert!(listed[0].starts_with("flows.onboarding.rule_id: (from FACEID_GATEWAY__FLOWS"), "{listed:?}");
        let below = faults(GOOD, &[("FACEID_GATEWAY__GRPC__LISTEN__X", "1")]);
        assert!(below[0].starts_with("grpc.listen.x: (from FACEID_GATEWAY__GRPC"), "{below:?}");
        let unknown = faults(GOOD, &[("FACEID_GATEWAY__GRPC__PORT", "1")]);
        assert_eq!(unknown, ["grpc.port: is not a setting of this version"]);
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
        assert!(error.starts_with("test: not TOML") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn no_key_no_start() {
        let missing = faults("", &[]);
        assert!(missing.iter().any(|fault| fault.starts_with("vault.keys: is missing")), "{missing:?}");
        assert!(missing.iter().any(|fault| fault.starts_with("flows: is empty")), "{missing:?}");
    }
}
