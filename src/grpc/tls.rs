//! TLS of the gRPC port: certificate, key and client CA from files, loaded again when they change.

use crate::{domain::clock::Clock, reload::FileWatch};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

/// Where the certificate is, and whether clients show one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM: the server's certificate and those between it and its root.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
    pub client_ca: Option<ClientCa>,
}

/// The CA that signs clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCa {
    /// PEM: one or more root certificates.
    pub file: PathBuf,
    /// Whether a connection without a certificate is refused. Else it is one that names nobody.
    pub required: bool,
}

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: has no {what} in PEM form", path = path.display())]
    NoPem { path: PathBuf, what: &'static str },
    #[error("{path}: is not a certificate that can be read", path = path.display())]
    NotCertificate { path: PathBuf },
    #[error("{path}: the certificate is valid from {not_before} to {not_after}, which is not now", path = path.display())]
    NotValidNow { path: PathBuf, not_before: Timestamp, not_after: Timestamp },
    #[error("{path}: cannot be used as client CA: {problem}", path = path.display())]
    ClientCa { path: PathBuf, problem: String },
    #[error("certificate and key do not fit together, or cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// How often files that could not be used are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// The TLS settings for new connections.
pub struct ServerTls {
    config: TlsConfig,
    clock: Arc<dyn Clock>,
    current: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Loads the files, and loads them again when they change, until `stop`. Connections keep what
    /// they began with.
    ///
    /// # Errors
    /// When they cannot be used. Later, files that cannot be used are logged and counted, and those
    /// from before stay.
    pub fn start(config: TlsConfig, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<Arc<Self>, TlsError> {
        let mut files = vec![config.cert_file.clone(), config.key_file.clone()];
        files.extend(config.client_ca.as_ref().map(|ca| ca.file.clone()));
        let mut watch = FileWatch::new(files);
        let current = ArcSwap::from_pointee(load(&config, &clock)?);
        let tls = Arc::new(Self { config, clock, current });
        let keeper = Arc::clone(&tls);
        tokio::spawn(async move {
            let mut is_loaded = true;
            loop {
                // A certificate that is not valid yet becomes so with time alone.
                let patience = if is_loaded { Duration::MAX } else { RETRY_INTERVAL };
                if stop.run_until_cancelled(timeout(patience, watch.changed())).await.is_none() {
                    return;
                }
                is_loaded = keeper.reload();
            }
        });
        Ok(tls)
    }

    /// For a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Whether they could be used.
    fn reload(&self) -> bool {
        match load(&self.config, &self.clock) {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
                tracing::info!("TLS certificates were loaded again; new connections get them");
                true
            }
            Err(error) => {
                metrics::counter!("faceid_tls_reload_failures_total").increment(1);
                tracing::error!(error = %error, "changed TLS files cannot be used; those from before stay");
                false
            }
        }
    }
}

/// The faults of the files, each beside its setting. Whether the certificate is valid now is seen
/// when it is loaded.
pub fn file_faults(config: &TlsConfig) -> Vec<(&'static str, TlsError)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut faults = Vec::new();
    let chain = certificates(&config.cert_file).map_err(|error| faults.push(("cert_file", error)));
    let key = private_key(&config.key_file).map_err(|error| faults.push(("key_file", error)));
    if let Some(ca) = &config.client_ca
        && let Err(error) = client_verifier(ca, Arc::clone(&provider))
    {
        faults.push(("client_ca_file", error));
    }
    if let (Ok(chain), Ok(key)) = (chain, key) {
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
        let made = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        faults.extend(made.err().map(|error| ("key_file", TlsError::Unusable(error))));
    }
    faults
}

fn load(config: &TlsConfig, clock: &Arc<dyn Clock>) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&config.cert_file)?;
    let key = private_key(&config.key_file)?;
    let expires_at = check_time(&config.cert_file, &chain, clock.now())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(OurTime(Arc::clone(clock))))
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(client_verifier(ca, provider)?),
    };
    let mut loaded = builder.with_single_cert(chain, key)?;
    loaded.alpn_protocols = vec![b"h2".to_vec()];
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
    metrics::gauge!("faceid_tls_certificate_expiry_timestamp_seconds").set(expires_at.as_second() as f64);
    Ok(loaded)
}

fn client_verifier(ca: &ClientCa, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |problem: String| TlsError::ClientCa { path: ca.file.clone(), problem };
    let mut roots = RootCertStore::empty();
    for root in certificates(&ca.file)? {
        roots.add(root).map_err(|error| refused(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if ca.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| refused(error.to_string()))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if chain.is_empty() { Err(TlsError::NoPem { path: path.clone(), what: "certificate" }) } else { Ok(chain) }
}

fn private_key(path: &PathBuf) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The parser's error is not handed on: it could quote the key.
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| TlsError::NoPem { path: path.clone(), what: "private key" })
}

fn read(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path).map(Zeroizing::new).map_err(|source| TlsError::Unreadable { path: path.clone(), source })
}

/// When the server's certificate ends. One that is not valid now would be refused by every client.
fn check_time(path: &Path, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Timestamp, TlsError> {
    let unreadable = || TlsError::NotCertificate { path: path.to_owned() };
    let (_, certificate) = X509Certificate::from_der(&chain[0]).map_err(|_| unreadable())?;
    let time = |seconds| Timestamp::from_second(seconds).map_err(|_| unreadable());
    let not_before = time(certificate.validity().not_before.timestamp())?;
    let not_after = time(certificate.validity().not_after.timestamp())?;
    if (not_before..=not_after).contains(&now) {
        Ok(not_after)
    } else {
        Err(TlsError::NotValidNow { path: path.to_owned(), not_before, not_after })
    }
}

/// Clients' certificates are judged by our clock.
struct OurTime(Arc<dyn Clock>);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().as_second().try_into().ok()?)))
    }
}

impl fmt::Debug for OurTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OurTime")
    }
}
