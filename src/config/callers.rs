//! Callers: `[[callers]]`.

use super::{
    auth::Authentication,
    secret,
    types::{Int, OneOrMore, Secret},
    value,
};
use crate::{
    auth::{AuthModes, KnownCaller, identity::Identity, quota::QuotaConfig},
    domain::{
        caller::{Caller as KnownName, FlowGrant, Right},
        fault::Faults,
        secret_text::check_secret,
    },
    webhook::{self, Endpoint, Target},
};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    num::NonZeroU32,
};

/// A service that may call.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    pub known: KnownCaller,
    /// Where the caller wants its events.
    pub webhook: Option<Endpoint>,
}

/// Services that may call. At least one is needed, unless auth.mode is none. They are read again
/// when this file changes, without a restart. Each needs a token, a subject or an identity, of a
/// mode that is on.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub(super) struct Caller {
    /// How the audit trail, metrics and usage name it.
    #[schemars(example = &"orders")]
    name: Option<String>,
    /// The SHA-256, in hex, of its tokens. Several are live at once, for rotation.
    #[schemars(example = ["b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"])]
    token_sha256: Vec<String>,
    /// The `sub` of its JWTs, one or several.
    #[schemars(example = &"orders")]
    jwt_subject: OneOrMore<String>,
    /// URIs and DNS names of its certificates.
    #[schemars(example = ["spiffe://mesh/ns/shop/sa/orders", "dns:orders.internal"])]
    identities: Vec<String>,
    /// The flows that it may use.
    #[schemars(example = ["onboarding"])]
    flows: Vec<String>,
    /// full_view: results with personal data. evidence: downloads. admin: everyone's usage,
    /// credentials, the vault's keys. audit: the audit trail.
    #[schemars(example = ["full_view"])]
    rights: Vec<Right>,
    /// Calls of any kind a minute, counted in each replica; 0: no limit.
    requests_per_minute: Int<0, { u32::MAX }>,
    /// Calls of CreateVerification a minute, counted in each replica; 0: no limit.
    creates_per_minute: Int<0, { u32::MAX }>,
    /// Events are pushed there (Standard Webhooks). Not set: they are not pushed.
    #[schemars(example = &"https://orders.example.com/faceid-events")]
    webhook_url: Option<String>,
    #[serde(skip_serializing)]
    webhook_secrets: Option<Secret>,
    /// Secrets that each event is signed with: `whsec_…`, one a line. All sign, so that they can be
    /// rotated.
    #[schemars(example = &"/run/secrets/orders-webhook")]
    webhook_secrets_file: Option<String>,
    /// Whether the webhook's URL may lead into a private network.
    webhook_allow_private: bool,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            name: None,
            token_sha256: Vec::new(),
            jwt_subject: OneOrMore(Vec::new()),
            identities: Vec::new(),
            flows: Vec::new(),
            rights: Vec::new(),
            requests_per_minute: Int::new(0),
            creates_per_minute: Int::new(0),
            webhook_url: None,
            webhook_secrets: None,
            webhook_secrets_file: None,
            webhook_allow_private: false,
        }
    }
}

/// Converts all callers; `flow_names` are those of the flows, with and without faults.
pub(super) fn convert(
    callers: &[Caller],
    flow_names: &BTreeSet<&str>,
    authentication: Option<&Authentication>,
    faults: &mut Faults,
) -> Vec<CallerConfig> {
    let modes = match authentication {
        Some(Authentication::On(modes)) => Some(&**modes),
        Some(Authentication::Off) | None => None,
    };
    // Actors of the audit trail that are no callers.
    let mut names = BTreeSet::from([KnownName::ANONYMOUS, "browser", "configuration", "retention"].map(str::to_owned));
    let mut shown = Shown::default();
    let convert = |(i, caller): (usize, &Caller)| {
        caller.convert(&format!("callers[{i}]"), flow_names, modes, &mut names, &mut shown, faults)
    };
    callers.iter().enumerate().filter_map(convert).collect()
}

impl Caller {
    fn convert(
        &self,
        path: &str,
        flow_names: &BTreeSet<&str>,
        modes: Option<&AuthModes>,
        names: &mut BTreeSet<String>,
        shown: &mut Shown,
        faults: &mut Faults,
    ) -> Option<CallerConfig> {
        let faults_before = faults.len();
        let name = value::unique_name(&format!("{path}.name"), self.name.as_deref(), names, faults);
        let token_sha256 = value::each(&format!("{path}.token_sha256"), &self.token_sha256, faults, value::sha256);
        let jwt_subjects = self.jwt_subject.0.clone();
        let identities = value::each(&format!("{path}.identities"), &self.identities, faults, Identity::parse);
        shown.add_all(path, "token_sha256", token_sha256.iter().map(hex::encode), faults);
        shown.add_all(path, "jwt_subject", jwt_subjects.iter(), faults);
        shown.add_all(path, "identities", identities.iter(), faults);
        if let Some(proxies) = modes.and_then(|modes| modes.mtls.as_ref())
            && identities.iter().any(|identity| proxies.has(identity))
        {
            let problem = "names a proxy of auth.mtls.trusted_proxies, which speaks for others and is nobody itself";
            faults.add(format!("{path}.identities"), problem);
        }
        let granted = value::each(&format!("{path}.flows"), &self.flows, faults, |flow| {
            if flow_names.contains(flow) { Ok(flow.to_owned()) } else { Err("is not one of [[flows]]".into()) }
        });
        let webhook = self.webhook(path, faults);
        if let Some(modes) = modes.filter(|_| faults.len() == faults_before) {
            let can_call = (modes.tokens && !token_sha256.is_empty())
                || (modes.jwt.is_some() && !jwt_subjects.is_empty())
                || (modes.mtls.is_some() && !identities.is_empty());
            if !can_call {
                let problem = "cannot call: it has no token_sha256, jwt_subject or identities of a mode in auth.mode";
                faults.add(path, problem);
            }
        }
        let quota = QuotaConfig {
            requests_per_minute: NonZeroU32::new(self.requests_per_minute.get()),
            creates_per_minute: NonZeroU32::new(self.creates_per_minute.get()),
        };
        let flows = FlowGrant::Named(granted.into_iter().collect());
        let caller = KnownName { name: name?, flows, rights: self.rights.iter().copied().collect() };
        let known = KnownCaller { caller, token_sha256, jwt_subjects, identities, quota };
        Some(CallerConfig { known, webhook })
    }

    /// Its webhook: the URL, and the secrets that each event is signed with, one a line.
    fn webhook(&self, path: &str, faults: &mut Faults) -> Option<Endpoint> {
        let url = value::given(self.webhook_url.as_deref());
        let (secrets_path, file) = (format!("{path}.webhook_secrets"), self.webhook_secrets_file.as_deref());
        let Some(url) = url else {
            if self.webhook_secrets.is_some() || file.is_some() {
                faults.add(secrets_path, format!("is set, but {path}.webhook_url is not"));
            }
            return None;
        };
        let target = faults.check(&format!("{path}.webhook_url"), Target::parse(url, self.webhook_allow_private));
        let found = secret::read(&secrets_path, self.webhook_secrets.as_ref(), file, faults)?;
        let lines = found.text.expose_secret().lines().enumerate();
        let secrets: Result<Vec<_>, String> = lines
            .map(|(i, line)| {
                let secret = check_secret(line).and_then(|()| webhook::Secret::parse(line));
                secret.map_err(|problem| format!("line {} {problem}", i + 1))
            })
            .collect();
        let secrets = faults.check(&found.path, secrets);
        faults.check(&found.path, Endpoint::new(target?, secrets?))
    }
}

/// The tokens, subjects and identities of callers: none may belong to two.
#[derive(Default)]
struct Shown(BTreeMap<(&'static str, String), String>);

impl Shown {
    fn add_all(
        &mut self,
        caller: &str,
        key: &'static str,
        values: impl Iterator<Item = impl Display>,
        faults: &mut Faults,
    ) {
        for value in values {
            match self.0.insert((key, value.to_string()), caller.to_owned()) {
                Some(other) if other != caller => {
                    faults.add(format!("{caller}.{key}"), format!("has a value that is also in {other}.{key}"));
                }
                Some(_) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};
    use crate::auth::{identity::Identity, jwks::JwksSource};

    const BASE: &str = r#"
        [vault]
        keys = "k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
        [[flows]]
        name = "onboarding"
        rule_id = "1"
        credential = "main"
        access_mode = "wechat_h5_normal"
        comparison = "authority"
    "#;
    const TOKEN: &str = "token_sha256 = [\"abababababababababababababababababababababababababababababababab\"]";

    fn load(more: &str) -> Result<Config, Vec<String>> {
        match Config::from_toml(&format!("{BASE}{more}"), "test", std::iter::empty()) {
            Ok(config) => Ok(config),
            Err(ConfigError::Faults(faults)) => Err(faults.iter().map(ToString::to_string).collect()),
            Err(error) => panic!("{error}"),
        }
    }

    fn faults(more: &str) -> Vec<String> {
        let faults = load(more).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.split(": ").next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn all_modes_stand_together() {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
        for (file, pem) in
            [("tls.crt", own.cert.pem()), ("ca.crt", own.cert.pem()), ("tls.key", own.signing_key.serialize_pem())]
        {
            std::fs::write(folder.path().join(file), pem).unwrap();
        }
        let tls = r#"
            [grpc.tls]
            cert_file = "FOLDER/tls.crt"
            key_file = "FOLDER/tls.key"
            client_ca_file = "FOLDER/ca.crt"
            client_cert = "required""#
            .replace("FOLDER", &folder.path().display().to_string());
        let config = load(
            &(tls
                + r#"
            [auth]
            mode = ["tokens", "jwt", "mtls"]
            open = ["health"]
            [auth.jwt]
            jwks_url = "https://issuer.example.com/jwks.json"
            issuer = "https://issuer.example.com"
            audience = ["faceid", "faceid-gateway"]
            [auth.mtls]
            trusted_proxies = ["127.0.0.6", "10.0.0.0/8"]
            [[callers]]
            name = "orders"
            jwt_subject = "orders"
            identities = ["spiffe://mesh/ns/shop/sa/orders", "dns:Orders.internal"]
            creates_per_minute = 60
            "#),
        )
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
        let modes = config.auth.expect("authentication is on");
        assert!(modes.tokens && modes.mtls.is_some_and(|proxies| !proxies.is_empty()));
        let jwt = modes.jwt.expect("JWT");
        assert!(matches!(jwt.keys, JwksSource::Url(_)));
        assert_eq!(jwt.audiences, ["faceid", "faceid-gateway"]);
        assert_eq!((jwt.leeway.as_secs(), jwt.refresh_interval.as_secs()), (30, 300));
        assert!(config.open.health && !config.open.reflection);
        assert!(config.grpc_tls.and_then(|tls| tls.client_ca).is_some_and(|ca| ca.required));
        let known = &config.callers[0].known;
        assert_eq!(known.identities[1], Identity::Dns("orders.internal".into()));
        assert_eq!(known.quota.creates_per_minute.map(std::num::NonZeroU32::get), Some(60));
        assert!(known.quota.requests_per_minute.is_none());
    }

    #[test]
    fn a_mode_is_one_or_several_that_fit_together() {
        assert_eq!(faults("[auth]\nmode = []"), ["auth.mode"]);
        assert_eq!(faults("[auth]\nmode = [\"none\", \"tokens\"]"), ["auth.mode"]);
        assert_eq!(faults("[auth]\nmode = \"none\"\nopen = [\"all\"]"), ["auth.open[0]"]);
        assert_eq!(faults("[auth]\nmode = \"none\"\n[auth.jwt]\nissuer = \"x\""), ["auth.jwt"]);
        let caller = format!("[[callers]]\nname = \"orders\"\n{TOKEN}\nidentities = [\"dns:a\"]\n");
        let mtls = format!("{caller}[auth]\nmode = [\"tokens\", \"mtls\"]\n");
        assert_eq!(faults(&mtls), ["auth.mode"], "nobody could show a certificate");
        assert!(faults(&format!("{mtls}[auth.mtls]\ntrusted_proxies = [\"127.0.0.1\"]")).is_empty());
        let jwt =
            format!("{caller}[auth]\nmode = [\"tokens\", \"jwt\"]\n[auth.jwt]\njwks_url = \"http://a.example/\"\n");
        assert_eq!(faults(&jwt), ["auth.jwt.jwks_url", "auth.jwt.issuer", "auth.jwt.audience"]);
        assert_eq!(
            faults("[auth]\nmode = \"none\"\n[grpc.tls]\ncert_file = \"a\"\nclient_cert = \"required\""),
            ["grpc.tls.key_file", "grpc.tls.client_cert"]
        );
    }

    #[test]
    fn a_caller_can_call_and_shares_nothing_with_another() {
        let tokens = "[auth]\nmode = \"tokens\"\n";
        assert_eq!(faults(&format!("{tokens}[[callers]]\nname = \"orders\"\njwt_subject = \"x\"")), ["callers[0]"]);
        let two = format!("{tokens}[[callers]]\nname = \"a\"\n{TOKEN}\n[[callers]]\nname = \"b\"\n{TOKEN}");
        assert_eq!(faults(&two), ["callers[1].token_sha256"]);
        let proxy = "[auth]\nmode = \"mtls\"\n[auth.mtls]\ntrusted_proxies = [\"spiffe://m/p\"]\n[[callers]]\nname = \"a\"\n\
                     identities = [\"spiffe://m/p\"]";
        assert_eq!(faults(proxy), ["callers[0].identities"]);
    }
}
