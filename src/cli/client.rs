//! How commands reach a gateway that serves.

use anyhow::{Context, ensure};
use clap::Args;
use std::{fs, path::PathBuf};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// The gateway, and who calls it.
#[derive(Args)]
pub struct ClientArgs {
    /// The gateway's gRPC address.
    #[arg(long, global = true, default_value = "http://127.0.0.1:50051")]
    grpc: String,
    /// A file with the bearer token of a caller that has the right admin. Without it: no token, for auth.mode = "none".
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
}

/// A connection, and the token that goes with each call.
pub(super) struct Connection {
    pub channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
}

impl ClientArgs {
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let authorization = self.token_file.as_deref().map(|file| {
            let token = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            ensure!(!token.trim().is_empty(), "{} holds no token", file.display());
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
                .parse()
                .with_context(|| format!("{} holds no token: it is not visible ASCII", file.display()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let endpoint = Endpoint::from_shared(self.grpc.clone()).with_context(|| format!("--grpc {}", self.grpc))?;
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

/// A refusal for the person at the terminal: the gateway's messages say what to do.
pub(super) fn refused(status: &Status) -> anyhow::Error {
    match status.code() {
        Code::Unauthenticated => anyhow::anyhow!("{} (--token-file)", status.message()),
        code => anyhow::anyhow!("{code:?}: {}", status.message()),
    }
}
