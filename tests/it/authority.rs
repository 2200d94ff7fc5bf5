//! A certificate authority of the tests' own, and connections with its certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    string::Ia5String,
};
use std::{fs, net::SocketAddr, path::Path};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub const SERVER_NAME: &str = "gateway.test";

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub struct Certified {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).expect("a root"))
    }

    pub fn root(&self) -> String {
        self.0.pem()
    }

    /// A certificate with these URIs or, where there is no "://", DNS names; valid in these years.
    pub fn certify(&self, names: &[&str], years: (i32, i32)) -> Certified {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certified { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn server(&self) -> Certified {
        self.certify(&[SERVER_NAME], (2020, 2120))
    }

    pub fn client(&self, name: &str) -> Certified {
        self.certify(&[name], (2020, 2120))
    }

    /// Connects to a server that has a certificate of this authority, with one of the client's own
    /// or none.
    pub fn endpoint(&self, address: SocketAddr, own: Option<&Certified>) -> Endpoint {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.root())).domain_name(SERVER_NAME);
        let tls = match own {
            Some(own) => tls.identity(Identity::from_pem(&own.certificate, &own.key)),
            None => tls,
        };
        Channel::from_shared(format!("https://{address}")).expect("a URI").tls_config(tls).expect("TLS of the client")
    }
}

impl Certified {
    /// Writes `tls.crt` and `tls.key`.
    pub fn write(&self, folder: &Path) {
        fs::write(folder.join("tls.crt"), &self.certificate).expect("a file");
        fs::write(folder.join("tls.key"), &self.key).expect("a file");
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn san(name: &str) -> SanType {
    let text = Ia5String::try_from(name).expect("ASCII");
    if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) }
}

/// The section [grpc.tls] with the files that [`Certified::write`] and a `ca.crt` make in a folder.
pub fn tls_section(folder: &Path, client_cert: Option<&str>) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let ca = client_cert.map(|wish| format!("client_ca_file = \"{}\"\nclient_cert = \"{wish}\"\n", path("ca.crt")));
    format!(
        "[grpc.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n{}",
        path("tls.crt"),
        path("tls.key"),
        ca.unwrap_or_default()
    )
}
