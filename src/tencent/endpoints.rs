//! Where the vendor is reached: one endpoint, and others in its place while it is down.

use super::{
    breaker::{Breaker, Permit},
    error::ErrorKind,
    options::ClientConfig,
    retry,
};
use reqwest::{Certificate, Proxy, header::HeaderValue, redirect::Policy};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::ExposeSecret;
use std::{sync::Arc, time::Duration};
use tower::retry::budget::TpsBudget;
use url::Url;

/// The vendor closes idle connections after about 60 s (observed): close them first, or a reuse
/// meets a reset.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection of HTTP/2 that fell silent under its calls is given up after the two together.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// So many connections are opened at the start.
const WARM: usize = 2;

/// The endpoints in the order of preference.
pub(super) struct Endpoints(Vec<Arc<Endpoint>>);

/// One address, with connections of its own.
pub(super) struct Endpoint {
    pub(super) url: Url,
    /// Sent and signed.
    pub(super) host: HeaderValue,
    pub(super) http: reqwest::Client,
    pub(super) retries: TpsBudget,
    breaker: Arc<Breaker>,
}

/// An endpoint and a permit to call it.
pub(super) struct Route {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) permit: Permit,
}

impl Endpoints {
    pub(super) fn new(config: &ClientConfig) -> reqwest::Result<Self> {
        let urls = std::iter::once(&config.endpoint).chain(&config.backup_endpoints);
        urls.map(|url| Endpoint::new(url, config).map(Arc::new)).collect::<reqwest::Result<_>>().map(Self)
    }

    /// Whether the host of each is in a domain.
    pub(super) fn all_within(&self, domain: &str) -> bool {
        self.0.iter().all(|endpoint| {
            let host = endpoint.url.host_str().unwrap_or_default();
            host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }

    /// The first endpoint whose circuit lets a call through; `after` a failure another one, if
    /// there is one.
    pub(super) fn route(&self, after: Option<&Arc<Endpoint>>) -> Result<Route, ErrorKind> {
        let failed = |endpoint: &&Arc<Endpoint>| after.is_some_and(|after| Arc::ptr_eq(endpoint, after));
        let others = self.0.iter().filter(|endpoint| !failed(endpoint));
        let mut wait = Duration::MAX;
        for endpoint in others.chain(after) {
            match endpoint.breaker.permit() {
                Ok(permit) => return Ok(Route { endpoint: Arc::clone(endpoint), permit }),
                Err(open) => wait = wait.min(open),
            }
        }
        Err(ErrorKind::CircuitOpen { retry_after_ms: wait.as_millis() })
    }

    /// Whether there is another endpoint that can be called at once.
    pub(super) fn has_other_than(&self, failed: &Arc<Endpoint>) -> bool {
        self.0.iter().any(|endpoint| !Arc::ptr_eq(endpoint, failed) && endpoint.breaker.wait().is_zero())
    }

    /// When the first circuit half-opens, while all are open.
    pub(super) fn retry_after_if_all_open(&self) -> Option<Duration> {
        self.0.iter().map(|endpoint| endpoint.breaker.wait()).min().filter(|wait| !wait.is_zero())
    }

    /// Opens connections to the first endpoint, so that the first callers need not wait for
    /// handshakes. What fails here fails again where it matters.
    pub(super) async fn warm(&self) {
        let Some(first) = self.0.first() else { return };
        let visits = (0..WARM).map(|_| async {
            let visit = first.http.get(first.url.clone()).header(reqwest::header::HOST, &first.host);
            // The answer, an error of the vendor's, is read so that the connection is kept.
            match visit.timeout(Duration::from_secs(5)).send().await {
                Ok(answer) => drop(answer.bytes().await),
                Err(error) => {
                    tracing::info!(error = %error.without_url(), "the vendor could not be reached ahead of time")
                }
            }
        });
        futures_util::future::join_all(visits).await;
    }
}

impl Endpoint {
    fn new(url: &Url, config: &ClientConfig) -> reqwest::Result<Self> {
        let trusted = config.ca_certificates.iter().map(|der| Certificate::from_der(der));
        let trusted = trusted.collect::<reqwest::Result<Vec<_>>>()?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("faceid-gateway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .redirect(Policy::none())
            .tls_certs_merge(trusted);
        if let Some(proxy) = &config.proxy {
            http = http.proxy(Proxy::all(proxy.expose_secret())?);
        } else if url.scheme() == "http" {
            // Plain http is for what is on this machine, which no proxy of the environment can
            // reach.
            http = http.no_proxy();
        }
        let host = match &config.host {
            // HTTP/2 knows no Host beside the address.
            Some(host) => {
                http = http.http1_only();
                host.clone()
            }
            None => host_header(url),
        };
        let name = host_header(url);
        Ok(Self {
            url: url.clone(),
            host: HeaderValue::from_str(&host).expect("checked: a host is a header value"),
            http: http.build()?,
            retries: retry::budget(),
            breaker: Arc::new(Breaker::new(&name)),
        })
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// The fault.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "is not PEM")?;
    if certificates.is_empty() { Err("has no certificate: it is not PEM".into()) } else { Ok(certificates) }
}

/// The Host header of an endpoint: the host, and the port where it is not the scheme's own.
///
/// # Panics
/// When the URL has no host, which one of http(s) has.
pub fn host_header(endpoint: &Url) -> String {
    let host = endpoint.host_str().expect("an http(s) URL has a host");
    endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(backups: &[&str]) -> Endpoints {
        let url = |text: &&str| Url::parse(text).unwrap();
        let config = ClientConfig {
            backup_endpoints: backups.iter().map(url).collect(),
            ..ClientConfig::new(url(&"http://127.0.0.1:1"))
        };
        Endpoints::new(&config).unwrap()
    }

    fn port(route: &Route) -> Option<u16> {
        route.endpoint.url.port()
    }

    #[test]
    fn the_host_header_carries_a_port_only_when_it_is_not_the_default() {
        let host = |url: &str| host_header(&Url::parse(url).unwrap());
        assert_eq!(host("https://faceid.tencentcloudapi.com:443"), "faceid.tencentcloudapi.com");
        assert_eq!(host("http://127.0.0.1:8123/"), "127.0.0.1:8123");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_followed_by_another_endpoint_and_the_first_is_come_back_to() {
        let endpoints = endpoints(&["http://127.0.0.1:2"]);
        for _ in 0..5 {
            let first = endpoints.route(None).ok().unwrap();
            assert_eq!(port(&first), Some(1));
            assert!(endpoints.has_other_than(&first.endpoint));
            let second = endpoints.route(Some(&first.endpoint)).ok().unwrap();
            assert_eq!(port(&second), Some(2), "one try is lost, no more");
            first.permit.failed();
            second.permit.answered();
        }
        assert_eq!(port(&endpoints.route(None).ok().unwrap()), Some(2), "the first is left alone");
        assert_eq!(endpoints.retry_after_if_all_open(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        let probe = endpoints.route(None).ok().unwrap();
        assert_eq!(port(&probe), Some(1));
        assert_eq!(port(&endpoints.route(None).ok().unwrap()), Some(2), "one probes, the others do not wait for it");
        probe.permit.answered();
        assert_eq!(port(&endpoints.route(None).ok().unwrap()), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_down_it_is_said_at_once() {
        let endpoints = endpoints(&[]);
        for _ in 0..5 {
            let route = endpoints.route(None).ok().unwrap();
            let again = endpoints.route(Some(&route.endpoint)).ok().unwrap();
            assert_eq!(port(&again), Some(1), "there is no other");
            drop(again);
            route.permit.failed();
        }
        let refused = endpoints.route(None).err().unwrap();
        assert!(matches!(refused, ErrorKind::CircuitOpen { retry_after_ms: 5000 }), "{refused}");
        assert_eq!(endpoints.retry_after_if_all_open(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_file_without_a_certificate_is_none() {
        assert!(certificates(b"").is_err());
        assert!(certificates(b"hello").is_err());
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").is_err());
    }
}
