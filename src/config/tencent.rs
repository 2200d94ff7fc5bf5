//! `[tencent]`: the way to the vendor.

use super::{
    secret,
    types::{Int, Secret},
    value,
};
use crate::{
    domain::fault::Faults,
    tencent::{ActionQuotas, ClientConfig, certificates, sts::StsConfig},
};
use rustls::pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs;
use url::Url;

/// The way to the vendor.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tencent {
    /// `https://faceid.tencentcloudapi.com`, a regional one such as
    /// `https://faceid.ap-guangzhou.tencentcloudapi.com`, or, inside Tencent's network,
    /// `https://faceid.internal.tencentcloudapi.com`. Plain http only to loopback (a simulator).
    endpoint: String,
    /// Asked in this order while those before it fail. The vendor's own clients fall back to
    /// `https://faceid.ap-guangzhou.tencentcloudapi.com`. An endpoint that failed is not asked for
    /// some seconds, then tried again.
    backup_endpoints: Vec<String>,
    /// The Host header, sent and signed, where it is not that of the endpoint: with a reverse proxy
    /// as the endpoint. Used for every endpoint.
    #[schemars(example = &"faceid.tencentcloudapi.com")]
    host: Option<String>,
    /// The service's name in the signature.
    service: String,
    #[serde(skip_serializing)]
    proxy: Option<Secret>,
    /// A file that holds `http(s)://[user:password@]host:port`, a secret. Without it, `HTTPS_PROXY`
    /// and `NO_PROXY` count.
    #[schemars(example = &"/run/secrets/tencent-proxy")]
    proxy_file: Option<String>,
    /// Certificates (PEM) that are trusted beside the machine's own: of a proxy that inspects TLS,
    /// or of a test's vendor.
    #[schemars(example = &"/etc/ssl/company-ca.pem")]
    ca_file: Option<String>,
    /// For opening a connection, in milliseconds.
    connect_timeout_ms: Int<100, 60_000>,
    /// For one attempt, from connecting to the first byte of its answer, in milliseconds.
    first_byte_timeout_ms: Int<100, 60_000>,
    /// For a call that a caller waits for, with all its attempts; for each attempt of background
    /// work; and for each piece of an answer with media. Milliseconds.
    timeout_ms: Int<100, 60_000>,
    /// Calls in flight at once. Beyond it callers are refused with UNAVAILABLE; background work has
    /// half of it, and waits.
    max_in_flight: Int<2, 100_000>,
    /// Where credentials with the source tke_oidc or sts_assume_role get their temporary key pairs.
    sts_endpoint: String,
    /// Where credentials with the source cvm_role get their temporary key pairs.
    metadata_endpoint: String,
    quotas: Quotas,
}

impl Default for Tencent {
    fn default() -> Self {
        Self {
            endpoint: "https://faceid.tencentcloudapi.com".into(),
            backup_endpoints: Vec::new(),
            host: None,
            service: "faceid".into(),
            proxy: None,
            proxy_file: None,
            ca_file: None,
            connect_timeout_ms: Int::new(2000),
            first_byte_timeout_ms: Int::new(5000),
            timeout_ms: Int::new(10_000),
            max_in_flight: Int::new(1000),
            sts_endpoint: "https://sts.tencentcloudapi.com".into(),
            metadata_endpoint: "http://metadata.tencentyun.com".into(),
            quotas: Quotas::default(),
        }
    }
}

/// Calls a second of a credential to each of the vendor's actions. The defaults are what the vendor
/// allows an account unless agreed otherwise. Each replica counts for itself: divide them among the
/// replicas, and among credentials of one account. A refusal by the vendor lowers the rate for a
/// while.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Quotas {
    /// DetectAuth, which opens a verification.
    detect_auth: Int<1, 100_000>,
    /// GetDetectInfoEnhanced, which asks for its outcome and fetches its evidence.
    get_detect_info_enhanced: Int<1, 100_000>,
    /// GetWeChatBillDetails, which lists a day's bill.
    get_wechat_bill_details: Int<1, 100_000>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            detect_auth: Int::new(100),
            get_detect_info_enhanced: Int::new(100),
            get_wechat_bill_details: Int::new(20),
        }
    }
}

impl Tencent {
    pub(super) fn convert(&self, faults: &mut Faults) -> Option<ClientConfig> {
        let endpoint = faults.check("tencent.endpoint", value::endpoint(&self.endpoint));
        let backup_endpoints: Vec<Url> =
            value::each("tencent.backup_endpoints", &self.backup_endpoints, faults, value::endpoint);
        let host = value::given(self.host.as_deref());
        let host = host.and_then(|text| faults.check("tencent.host", host_header(text)));
        let service = faults.check("tencent.service", service(&self.service));
        let proxy = secret::read_optional("tencent.proxy", self.proxy.as_ref(), self.proxy_file.as_deref(), faults);
        let proxy = proxy.and_then(|proxy| {
            faults.check(&proxy.path, value::proxy(&proxy.text))?;
            Some(proxy.text)
        });
        let ca_file = value::given(self.ca_file.as_deref());
        let ca_certificates = ca_file.and_then(|file| faults.check("tencent.ca_file", read_certificates(file)));
        let mut all: Vec<&Url> = endpoint.iter().chain(&backup_endpoints).collect();
        all.sort();
        if all.windows(2).any(|pair| pair[0] == pair[1]) {
            faults.add("tencent.backup_endpoints", "has an endpoint twice, or tencent.endpoint itself");
        }
        Some(ClientConfig {
            endpoint: endpoint?,
            backup_endpoints,
            host,
            service: service?,
            proxy,
            ca_certificates: ca_certificates.unwrap_or_default(),
            connect_timeout: self.connect_timeout_ms.millis(),
            first_byte_timeout: self.first_byte_timeout_ms.millis(),
            timeout: self.timeout_ms.millis(),
            max_in_flight: self.max_in_flight.get() as usize,
            quotas: ActionQuotas {
                detect_auth: self.quotas.detect_auth.get(),
                get_detect_info_enhanced: self.quotas.get_detect_info_enhanced.get(),
                get_wechat_bill_details: self.quotas.get_wechat_bill_details.get(),
            },
        })
    }

    pub(super) fn sts(&self, faults: &mut Faults) -> Option<StsConfig> {
        let endpoint = faults.check("tencent.sts_endpoint", value::endpoint(&self.sts_endpoint));
        let metadata = faults.check("tencent.metadata_endpoint", metadata_endpoint(&self.metadata_endpoint));
        Some(StsConfig { endpoint: endpoint?, metadata_endpoint: metadata? })
    }
}

fn host_header(text: &str) -> Result<String, String> {
    let problem = || "is not <host name> or <host name>:<port>".to_owned();
    let url = Url::parse(&format!("https://{text}/")).map_err(|_| problem())?;
    let is_one = url.host_str().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && text.is_ascii();
    if is_one { Ok(text.to_ascii_lowercase()) } else { Err(problem()) }
}

fn service(text: &str) -> Result<String, String> {
    let is_one = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if is_one { Ok(text.to_owned()) } else { Err("is not a service of the vendor, such as faceid".into()) }
}

fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(&fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))?)
}

/// Plain http by its nature: the machine asks its own host.
fn metadata_endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if matches!(url.scheme(), "http" | "https") && is_plain {
        Ok(url)
    } else {
        Err("is not http:// or https:// with host and port only".into())
    }
}
