//! Who may call and how they show it: `[auth]`, `[grpc.tls]` and `[[callers]]`.

use super::{CallerConfig, section::Section, value};
use crate::{
    auth::{
        AuthModes, KnownCaller,
        identity::{Identity, TrustedProxies},
        jwks::JwksSource,
        jwt::JwtConfig,
        quota::QuotaConfig,
    },
    domain::{
        caller::{Caller, FlowGrant, Right},
        fault::Faults,
        flow::Flows,
    },
    grpc::{
        Open,
        tls::{ClientCa, TlsConfig},
    },
    webhook::{Endpoint, Secret, Target},
};
use secrecy::ExposeSecret;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::PathBuf,
};

/// The modes, and what is open. The outer None: at fault; the inner: authentication is off.
pub(super) fn read_auth(root: &mut Section, faults: &mut Faults) -> (Option<Option<AuthModes>>, Open) {
    let mut auth = root.section("auth", faults);
    let mode_path = auth.path_of("mode");
    let modes: BTreeSet<String> = auth.one_or_more("mode", faults).into_iter().collect();
    let mut open = Open { health: false, reflection: false };
    let open_path = auth.path_of("open");
    for (i, name) in auth.texts("open", faults).iter().enumerate() {
        match name.as_str() {
            "health" => open.health = true,
            "reflection" => open.reflection = true,
            _ => faults.add(format!("{open_path}[{i}]"), "is neither health nor reflection"),
        }
    }
    let jwt = modes.contains("jwt").then(|| read_jwt(auth.section("jwt", faults), faults));
    let mtls = modes.contains("mtls").then(|| read_proxies(auth.section("mtls", faults), faults));
    for (section, mode) in [("jwt", "jwt"), ("mtls", "mtls")] {
        if auth.has(section) {
            faults.add(auth.path_of(section), format!("is set, but auth.mode does not have {mode}"));
            auth.section(section, faults);
        }
    }
    auth.finish(faults);

    let unknown = modes.iter().find(|mode| !matches!(mode.as_str(), "none" | "tokens" | "jwt" | "mtls"));
    if modes.is_empty() || unknown.is_some() {
        faults.add(mode_path, "is not one or more of tokens, jwt and mtls, nor none");
        return (None, open);
    }
    if modes.contains("none") {
        if modes.len() > 1 {
            faults.add(mode_path, "has none together with another mode: none lets everyone in");
        }
        return (Some(None), open);
    }
    let jwt = match jwt {
        None => None,
        Some(None) => return (None, open),
        Some(read) => read,
    };
    (Some(Some(AuthModes { tokens: modes.contains("tokens"), jwt, mtls })), open)
}

fn read_jwt(mut section: Section, faults: &mut Faults) -> Option<JwtConfig> {
    let (url_path, file_path) = (section.path_of("jwks_url"), section.path_of("jwks_file"));
    let keys = match (section.text("jwks_url", faults), section.text("jwks_file", faults)) {
        (Some(url), None) => faults.check(&url_path, value::https_url(&url)).map(JwksSource::Url),
        (None, Some(file)) => Some(JwksSource::File(PathBuf::from(file))),
        (Some(_), Some(_)) => {
            faults.add(url_path, format!("is given twice: as an address and as {file_path}"));
            None
        }
        (None, None) => {
            faults.add(url_path, format!("is missing; set it or {file_path}"));
            None
        }
    };
    let issuer = section.required_text("issuer", faults);
    let audience_path = section.path_of("audience");
    let audiences = section.one_or_more("audience", faults);
    if audiences.is_empty() {
        faults.add(audience_path, "is missing: a JWT for another service must not count here");
    }
    let leeway = section.parsed_or("leeway_s", "30", faults, value::leeway);
    let refresh_interval = section.parsed_or("refresh_s", "300", faults, value::refresh_interval);
    section.finish(faults);
    Some(JwtConfig { keys: keys?, issuer: issuer?, audiences, leeway: leeway?, refresh_interval: refresh_interval? })
}

fn read_proxies(mut section: Section, faults: &mut Faults) -> TrustedProxies {
    let mut proxies = TrustedProxies::default();
    let path = section.path_of("trusted_proxies");
    for (i, text) in section.texts("trusted_proxies", faults).iter().enumerate() {
        faults.check(&format!("{path}[{i}]"), proxies.add(text));
    }
    section.finish(faults);
    proxies
}

/// None: no certificate is given, and the port is not encrypted.
pub(super) fn read_tls(grpc: &mut Section, faults: &mut Faults) -> Option<TlsConfig> {
    if !grpc.has("tls") {
        return None;
    }
    let mut section = grpc.section("tls", faults);
    let cert_file = section.required_text("cert_file", faults).map(PathBuf::from);
    let key_file = section.required_text("key_file", faults).map(PathBuf::from);
    let ca_file = section.text("client_ca_file", faults);
    let wish_path = section.path_of("client_cert");
    let required = section.text("client_cert", faults).and_then(|wish| match (wish.as_str(), &ca_file) {
        (_, None) => faults.check(&wish_path, Err("is set without client_ca_file, which says who signs them".into())),
        ("optional", _) => Some(false),
        ("required", _) => Some(true),
        _ => faults.check(&wish_path, Err("is neither optional nor required".into())),
    });
    section.finish(faults);
    let client_ca = ca_file.map(|file| ClientCa { file: PathBuf::from(file), required: required.unwrap_or_default() });
    Some(TlsConfig { cert_file: cert_file?, key_file: key_file?, client_ca })
}

pub(super) fn read_callers(
    root: &mut Section,
    flows: &Flows,
    auth: Option<&Option<AuthModes>>,
    faults: &mut Faults,
) -> Vec<CallerConfig> {
    let modes = auth.and_then(Option::as_ref);
    // Actors of the audit trail that are no callers.
    let mut names = BTreeSet::from([Caller::ANONYMOUS, "browser", "configuration", "retention"].map(str::to_owned));
    let mut shown = Shown::default();
    let mut callers = Vec::new();
    for mut section in root.sections("callers", faults) {
        let own_path = section.own_path().to_owned();
        let faults_before = faults.len();
        let name = section.parsed("name", faults, |text| value::unique_name(text, &mut names));
        let token_sha256 = section.parsed_list("token_sha256", faults, value::sha256);
        let jwt_subjects = section.one_or_more("jwt_subject", faults);
        let identities = section.parsed_list("identities", faults, Identity::parse);
        shown.add_all(&own_path, "token_sha256", token_sha256.iter().map(hex::encode), faults);
        shown.add_all(&own_path, "jwt_subject", jwt_subjects.iter(), faults);
        shown.add_all(&own_path, "identities", identities.iter(), faults);
        if let Some(proxies) = modes.and_then(|modes| modes.mtls.as_ref())
            && identities.iter().any(|identity| proxies.has(identity))
        {
            let problem = "names a proxy of auth.mtls.trusted_proxies, which speaks for others and is nobody itself";
            faults.add(format!("{own_path}.identities"), problem);
        }
        let granted = section.parsed_list("flows", faults, |flow| {
            flows.get(flow).map(|flow| flow.name.clone()).ok_or_else(|| "is not one of [[flows]]".into())
        });
        let rights = section.parsed_list("rights", faults, Right::parse);
        let quota = QuotaConfig {
            requests_per_minute: section.parsed_or("requests_per_minute", "0", faults, value::per_minute).flatten(),
            creates_per_minute: section.parsed_or("creates_per_minute", "0", faults, value::per_minute).flatten(),
        };
        let webhook = read_webhook(&mut section, faults);
        if let Some(modes) = modes.filter(|_| faults.len() == faults_before) {
            let can_call = (modes.tokens && !token_sha256.is_empty())
                || (modes.jwt.is_some() && !jwt_subjects.is_empty())
                || (modes.mtls.is_some() && !identities.is_empty());
            if !can_call {
                let problem = "cannot call: it has no token_sha256, jwt_subject or identities of a mode in auth.mode";
                faults.add(&own_path, problem);
            }
        }
        section.finish(faults);
        if let Some(name) = name {
            let flows = FlowGrant::Named(granted.into_iter().collect());
            let caller = Caller { name, flows, rights: rights.into_iter().collect() };
            let known = KnownCaller { caller, token_sha256, jwt_subjects, identities, quota };
            callers.push(CallerConfig { known, webhook });
        }
    }
    callers
}

/// What callers show, and whose it is: nothing may be of two.
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

/// A caller's webhook: its URL, and the secrets that each event is signed with, one a line.
fn read_webhook(section: &mut Section, faults: &mut Faults) -> Option<Endpoint> {
    if !section.has("webhook_url") {
        return None;
    }
    let allow_private = section.parsed_or("webhook_allow_private", "false", faults, |text| {
        text.parse::<bool>().map_err(|_| "is neither true nor false".into())
    })?;
    let target = section.parsed("webhook_url", faults, |url| Target::parse(url, allow_private));
    let path = section.path_of("webhook_secrets");
    let secrets = section.secret("webhook_secrets", faults).and_then(|lines| {
        let secrets = lines.expose_secret().lines().map(|line| Secret::parse(line.trim())).collect::<Result<_, _>>();
        faults.check(&path, secrets)
    });
    faults.check(&path, Endpoint::new(target?, secrets?))
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
        let config = load(
            r#"
            [grpc.tls]
            cert_file = "tls.crt"
            key_file = "tls.key"
            client_ca_file = "ca.crt"
            client_cert = "required"
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
            "#,
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
