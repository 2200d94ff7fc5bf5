//! Authentication of callers: `[auth]` and `[grpc.tls]`.

use super::{
    types::{Int, OneOrMore},
    value,
};
use crate::{
    auth::{AuthModes, identity::TrustedProxies, jwks::JwksSource, jwt::JwtConfig},
    domain::fault::Faults,
    grpc::{
        Open,
        tls::{ClientCa, TlsConfig, file_faults},
    },
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// TLS 1.2 or 1.3. The files (PEM) are loaded again when they change; open connections keep what
/// they have, and new files that cannot be used are logged and ignored.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["cert_file", "key_file"]))]
pub(super) struct Tls {
    /// The server's certificate and those between it and its root.
    #[schemars(example = &"/var/run/secrets/tls/tls.crt")]
    cert_file: Option<String>,
    /// Its private key.
    #[schemars(example = &"/var/run/secrets/tls/tls.key")]
    key_file: Option<String>,
    /// Clients may show a certificate that one of these signed.
    #[schemars(example = &"/var/run/secrets/tls/ca.crt")]
    client_ca_file: Option<String>,
    /// With client_ca_file: whether a connection without a certificate is refused. Not set:
    /// optional.
    #[schemars(example = &"required")]
    client_cert: Option<ClientCert>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum ClientCert {
    Optional,
    Required,
}

impl Tls {
    pub(super) fn convert(&self, faults: &mut Faults) -> Option<TlsConfig> {
        let cert_file = value::required("grpc.tls.cert_file", value::given(self.cert_file.as_deref()), faults);
        let key_file = value::required("grpc.tls.key_file", value::given(self.key_file.as_deref()), faults);
        let ca_file = value::given(self.client_ca_file.as_deref());
        if self.client_cert.is_some() && ca_file.is_none() {
            faults.add("grpc.tls.client_cert", "is set without client_ca_file, which says who signs them");
        }
        let client_ca = ca_file
            .map(|file| ClientCa { file: file.into(), required: self.client_cert == Some(ClientCert::Required) });
        let config = TlsConfig { cert_file: cert_file?.into(), key_file: key_file?.into(), client_ca };
        for (setting, error) in file_faults(&config) {
            faults.add(format!("grpc.tls.{setting}"), error.to_string());
        }
        Some(config)
    }
}

/// Authentication of callers.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    /// One or several:
    /// - tokens: `authorization: Bearer <token>`; the token's SHA-256 is in the configuration.
    /// - jwt: `authorization: Bearer <JWT>` of the issuer in `[auth.jwt]`.
    /// - mtls: the certificate of the connection (grpc.tls.client_ca_file), or what a trusted proxy
    ///   says of its client's.
    /// - none: everyone may do everything; alone, and only on loopback.
    ///
    /// A call with a bearer token is judged by that alone, whatever its certificate says.
    pub(super) mode: OneOrMore<Mode>,
    /// Services that need no caller: health (probes have no token), reflection (the contract,
    /// nothing of what is stored).
    open: Vec<OpenService>,
    jwt: Option<Jwt>,
    mtls: Option<Mtls>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: OneOrMore(vec![Mode::Tokens]),
            open: vec![OpenService::Health, OpenService::Reflection],
            jwt: None,
            mtls: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    None,
    Tokens,
    Jwt,
    Mtls,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum OpenService {
    Health,
    Reflection,
}

/// With mode jwt. RS, PS, ES and EdDSA signatures; exp, iss, aud and sub are required, and nbf is
/// honoured. When the keys change, the old ones count until the new ones have been fetched.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["issuer", "audience"]))]
struct Jwt {
    /// The issuer's key set: https, or plain http to loopback.
    #[schemars(example = &"https://issuer.example.com/jwks.json")]
    jwks_url: Option<String>,
    /// The key set as a file, instead of jwks_url.
    jwks_file: Option<String>,
    /// The `iss` of its JWTs.
    #[schemars(example = &"https://issuer.example.com")]
    issuer: Option<String>,
    /// The `aud` of its JWTs, one or several.
    #[schemars(example = &"faceid-gateway")]
    audience: Option<OneOrMore<String>>,
    /// Seconds by which the issuer's clock may differ.
    leeway_s: Int<0, 300>,
    /// Seconds after which the keys are fetched again.
    refresh_s: Int<10, 86_400>,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            jwks_url: None,
            jwks_file: None,
            issuer: None,
            audience: None,
            leeway_s: Int::new(30),
            refresh_s: Int::new(300),
        }
    }
}

/// With mode mtls, behind a proxy.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["trusted_proxies"]))]
struct Mtls {
    /// A proxy's `x-forwarded-client-cert` is believed only where the proxy is here, by IP address,
    /// network or the name in its certificate; then only that header counts. It must set the header
    /// itself (Envoy: SANITIZE_SET or APPEND_FORWARD).
    #[schemars(example = ["127.0.0.6", "spiffe://mesh/ns/istio-system/sa/gateway"])]
    trusted_proxies: Vec<String>,
}

/// Whether callers must authenticate.
pub(super) enum Authentication {
    /// Everyone may do everything.
    Off,
    On(Box<AuthModes>),
}

impl Auth {
    /// The services that need no caller.
    pub(super) fn open(&self) -> Open {
        Open {
            health: self.open.contains(&OpenService::Health),
            reflection: self.open.contains(&OpenService::Reflection),
        }
    }

    pub(super) fn convert(&self, faults: &mut Faults) -> Option<Authentication> {
        let has = |mode| self.mode.0.contains(&mode);
        for (is_set, mode, name) in [(self.jwt.is_some(), Mode::Jwt, "jwt"), (self.mtls.is_some(), Mode::Mtls, "mtls")]
        {
            if is_set && !has(mode) {
                faults.add(format!("auth.{name}"), format!("is set, but auth.mode does not have {name}"));
            }
        }
        if self.mode.0.is_empty() {
            faults.add("auth.mode", "is empty; set one or more of tokens, jwt and mtls, or none");
            return None;
        }
        if has(Mode::None) {
            if self.mode.0.len() > 1 {
                faults.add("auth.mode", "has none together with another mode: none lets everyone in");
            }
            return Some(Authentication::Off);
        }
        let jwt =
            if has(Mode::Jwt) { Some(self.jwt.as_ref().unwrap_or(&Jwt::default()).convert(faults)?) } else { None };
        let mtls = has(Mode::Mtls).then(|| self.mtls.as_ref().map(|mtls| mtls.convert(faults)).unwrap_or_default());
        Some(Authentication::On(Box::new(AuthModes { tokens: has(Mode::Tokens), jwt, mtls })))
    }
}

impl Jwt {
    fn convert(&self, faults: &mut Faults) -> Option<JwtConfig> {
        let keys = match (value::given(self.jwks_url.as_deref()), value::given(self.jwks_file.as_deref())) {
            (Some(url), None) => faults.check("auth.jwt.jwks_url", value::https_url(url)).map(JwksSource::Url),
            (None, Some(file)) => Some(JwksSource::File(PathBuf::from(file))),
            (Some(_), Some(_)) => {
                faults.add("auth.jwt.jwks_url", "is given twice: as an address and as auth.jwt.jwks_file");
                None
            }
            (None, None) => {
                faults.add("auth.jwt.jwks_url", "is missing; set it or auth.jwt.jwks_file");
                None
            }
        };
        let issuer = value::required("auth.jwt.issuer", value::given(self.issuer.as_deref()), faults);
        let audiences: Vec<String> = self.audience.as_ref().map_or_else(Vec::new, |audience| audience.0.clone());
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            faults.add("auth.jwt.audience", "is missing: a JWT for another service must not count here");
        }
        Some(JwtConfig {
            keys: keys?,
            issuer: issuer?.to_owned(),
            audiences,
            leeway: SignedDuration::from_secs(self.leeway_s.get().into()),
            refresh_interval: self.refresh_s.seconds(),
        })
    }
}

impl Mtls {
    fn convert(&self, faults: &mut Faults) -> TrustedProxies {
        let mut proxies = TrustedProxies::default();
        for (i, text) in self.trusted_proxies.iter().enumerate() {
            faults.check(&format!("auth.mtls.trusted_proxies[{i}]"), proxies.add(text));
        }
        proxies
    }
}
