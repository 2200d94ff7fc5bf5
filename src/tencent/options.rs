//! How the vendor is reached, and how much is asked of it.

use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// How to reach the vendor, and how much to ask of it.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where to connect to: scheme, host and port. Plain http only to loopback.
    pub endpoint: Url,
    /// Fallbacks, in this order.
    pub backup_endpoints: Vec<Url>,
    /// The Host header that is sent and signed; None: that of the endpoint.
    pub host: Option<String>,
    /// The service's name in the signature's scope.
    pub service: String,
    /// `http(s)://[user:password@]host:port`; None: what the environment says.
    pub proxy: Option<SecretString>,
    /// Trusted beside the machine's own roots.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// For opening a connection.
    pub connect_timeout: Duration,
    /// For one try, from connecting to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Interactive calls: limit for the whole call. Background calls: limit per attempt. Media:
    /// limit per chunk.
    pub timeout: Duration,
    /// Calls on their way at once; beyond that they are refused.
    pub max_in_flight: usize,
    /// Calls a second of an account to each action.
    pub quotas: ActionQuotas,
}

/// Calls a second of an account to each action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionQuotas {
    pub detect_auth: u32,
    pub get_detect_info_enhanced: u32,
    pub get_wechat_bill_details: u32,
}

impl ActionQuotas {
    pub(super) fn per_second(self, action: &str) -> u32 {
        match action {
            "DetectAuth" => self.detect_auth,
            "GetWeChatBillDetails" => self.get_wechat_bill_details,
            _ => self.get_detect_info_enhanced,
        }
    }
}

#[cfg(test)]
impl ClientConfig {
    /// An endpoint, and for the rest what tests of this room need.
    pub(super) fn new(endpoint: Url) -> Self {
        Self {
            endpoint,
            backup_endpoints: Vec::new(),
            host: None,
            service: "faceid".to_owned(),
            proxy: None,
            ca_certificates: Vec::new(),
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            max_in_flight: 1000,
            quotas: ActionQuotas { detect_auth: 100, get_detect_info_enhanced: 100, get_wechat_bill_details: 20 },
        }
    }
}

/// The account and the priority of a call.
#[derive(Clone, Copy)]
pub struct CallOptions<'a> {
    /// The Tencent account, by the name of its credential: its calls are counted together.
    pub credential: &'a str,
    pub urgency: Urgency,
}

/// Priority of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A caller waits, perhaps until a deadline: nothing is begun or waited for past it.
    Interactive { deadline: Option<Instant> },
    /// A browser waits, which is no caller: it yields to interactive calls, and has a part of its
    /// own.
    Visitor,
    /// No caller waits: it yields to interactive calls and may queue.
    Background,
}

impl Urgency {
    /// For a caller with this much time left.
    pub fn within(time_left: Option<Duration>) -> Self {
        Self::Interactive { deadline: time_left.and_then(|left| Instant::now().checked_add(left)) }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interactive { .. } => "interactive",
            Self::Visitor => "visitor",
            Self::Background => "background",
        }
    }
}
