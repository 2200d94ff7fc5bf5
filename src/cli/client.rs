//! How commands reach a gateway that serves.

use crate::domain::secret_text::{check_secret, without_line_break};
use anyhow::{Context, ensure};
use clap::Args;
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// The gateway, and the caller's credential.
#[derive(Args)]
pub struct ClientArgs {
    /// The gateway's gRPC address.
    #[arg(long, global = true, default_value = "http://127.0.0.1:50051")]
    grpc: String,
    /// A file with the bearer token of a caller that has the right admin. Without it: no token, for
    /// auth.mode = "none".
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that a gateway with TLS is known by. Needed with
    /// https://.
    #[arg(long, global = true)]
    ca_file: Option<PathBuf>,
    /// A name in the gateway's certificate, where --grpc has another: an IP address, or the near
    /// end of a port-forward.
    #[arg(long, global = true, requires = "ca_file")]
    server_name: Option<String>,
    /// A file with this client's certificate (PEM), for auth.mode mtls.
    #[arg(long, global = true, requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The file with its key (PEM).
    #[arg(long, global = true, requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// A connection, and the token that goes with each call.
pub(super) struct Connection {
    pub channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
}

impl ClientArgs {
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let authorization = self.token_file.as_deref().map(|file| {
            let token = read(file)?;
            let token = without_line_break(&token);
            let problem = |problem: String| anyhow::anyhow!("{} holds no token: it {problem}", file.display());
            check_secret(token).map_err(problem)?;
            let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
                .parse()
                .with_context(|| format!("{} holds no token: it is not visible ASCII", file.display()))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let mut endpoint = Endpoint::from_shared(self.grpc.clone()).with_context(|| format!("--grpc {}", self.grpc))?;
        if endpoint.uri().scheme_str() == Some("http") {
            let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
            let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            ensure!(is_loopback, "--grpc {} is plain http to another machine; use https, or a port-forward", self.grpc);
        }
        if endpoint.uri().scheme_str() == Some("https") {
            let ca_file = self.ca_file.as_deref().context("--ca-file is needed with https://")?;
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca_file)?));
            if let Some(server_name) = &self.server_name {
                tls = tls.domain_name(server_name);
            }
            if let (Some(cert_file), Some(key_file)) = (&self.cert_file, &self.key_file) {
                tls = tls.identity(Identity::from_pem(read(cert_file)?, read(key_file)?));
            }
            endpoint = endpoint.tls_config(tls).context("--ca-file, --cert-file or --key-file")?;
        }
        let channel = endpoint.connect().await.with_context(|| format!("no gateway answers at {}", self.grpc))?;
        Ok(Connection { channel, authorization: authorization.transpose()? })
    }
}

impl Connection {
    /// A request with the caller's token.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// A refusal for the person at the terminal: the gateway's messages say what to do.
pub(super) fn refused(status: &Status) -> anyhow::Error {
    match status.code() {
        Code::Unauthenticated => anyhow::anyhow!("{} (--token-file)", status.message()),
        code => anyhow::anyhow!("{code:?}: {}", status.message()),
    }
}
