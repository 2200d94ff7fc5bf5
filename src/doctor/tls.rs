//! A TLS handshake that remembers what the other side showed, also when that is not trusted. Trust
//! is what the client of the vendor trusts: the machine's CA certificates, and those of
//! tencent.ca_file.

use super::finding::{Finding, Status};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::prelude::{FromDer, X509Certificate};

/// From here on somebody should ask why the certificate was not replaced.
const EXPIRY_WARN_DAYS: i64 = 14;

/// The other side of a handshake that succeeded.
pub(super) struct Peer {
    version: &'static str,
    certificate: Shown,
}

/// Content of a certificate.
struct Shown {
    issuer: String,
    expires: Timestamp,
}

/// Shakes hands with `host` on `stream`.
///
/// # Errors
/// The error, with the issuer of the certificate that was shown, if one was.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &str,
    ca_certificates: &[CertificateDer<'static>],
) -> Result<(TlsStream<TcpStream>, Peer), String> {
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(ca_certificates.iter().cloned(), Arc::clone(&provider))
        .map_err(|error| format!("no CA certificates: {error}"))?;
    let recorder = Arc::new(Recorder { verifier, shown: Mutex::new(None) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as _)
        .with_no_client_auth();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let shown = recorder.shown.lock().take().and_then(|der| read(&der));
    match (handshake, shown) {
        (Ok(stream), Some(certificate)) => {
            let version = match stream.get_ref().1.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            };
            Ok((stream, Peer { version, certificate }))
        }
        (Ok(_), None) => Err("the certificate cannot be read".to_owned()),
        (Err(error), Some(Shown { issuer, expires })) => {
            Err(format!("{error}; the certificate is of {issuer}, valid until {}", day(expires)))
        }
        (Err(error), None) => Err(error.to_string()),
    }
}

impl Peer {
    pub(super) fn finding(&self, subject: String, now: Timestamp) -> Finding {
        let Self { version, certificate: Shown { issuer, expires } } = self;
        let days = (expires.as_second() - now.as_second()) / 86_400;
        let finding = format!("{version}, certificate of {issuer}, valid for {days} more day(s)");
        if days < EXPIRY_WARN_DAYS {
            let advice = "Tencent replaces its certificates; if the issuer is your own proxy, replace that one's";
            Finding::new("tls", subject, Status::Warn, finding, advice)
        } else {
            Finding::ok("tls", subject, finding)
        }
    }
}

fn read(der: &[u8]) -> Option<Shown> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let issuer = certificate.issuer();
    // The peer's text goes to a terminal: letters only.
    let name = issuer.iter_common_name().chain(issuer.iter_organization()).find_map(|name| name.as_str().ok());
    let issuer =
        name.unwrap_or("an issuer without a name").chars().filter(|char| !char.is_control()).take(80).collect();
    Some(Shown { issuer, expires: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()? })
}

fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// Keeps the certificate, and leaves the verdict to the machine's verifier.
#[derive(Debug)]
struct Recorder {
    verifier: Verifier,
    shown: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.shown.lock() = Some(end_entity.to_vec());
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
