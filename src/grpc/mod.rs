//! The contract's front door: decode, call the use case, encode.

mod audit_service;
mod body;
mod caller;
mod contract;
mod convert;
mod convert_result;
mod credential_service;
pub mod health;
mod health_service;
mod intake;
mod listener;
pub mod observe;
pub mod pb;
mod reflection;
mod refusals;
mod shares;
mod status;
mod time;
pub mod tls;
mod usage_service;
mod vault_service;
#[cfg(test)]
mod vendor_errors_page;
mod verification_service;

pub use caller::Open;
pub use contract::DESCRIPTORS;
pub use shares::CallLimits;

use crate::{app::App, auth::Authenticator, listen::Places};
use audit_service::AuditApi;
use caller::AuthLayer;
use credential_service::CredentialApi;
use health_service::HealthApi;
use intake::IntakeLayer;
use observe::ObserveLayer;
use reflection::Files;
use shares::CallShares;
use std::{sync::Arc, time::Duration};
use tls::ServerTls;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    codec::CompressionEncoding,
    transport::server::{Router, Server},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::layer::util::{Identity, Stack};
use usage_service::UsageApi;
use vault_service::VaultApi;
use verification_service::VerificationApi;

use pb::{
    audit_service_server::AuditServiceServer, credential_service_server::CredentialServiceServer,
    usage_service_server::UsageServiceServer, vault_service_server::VaultServiceServer,
    verification_service_server::VerificationServiceServer,
};

/// A connection that stays silent for the two together is closed.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control windows: the most that a connection can make us buffer unread.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;

/// From the outside in: every call is observed, also one that is refused; its caller is known before its message is received.
type Layers = Stack<IntakeLayer, Stack<AuthLayer, Stack<ObserveLayer, Identity>>>;

/// How much is served at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub streams_per_connection: u32,
    pub calls: CallLimits,
}

/// The server with all services, and the handle on its health. Our RPCs that are not yet answered are tracked in `in_flight`.
///
/// # Errors
/// When the built-in descriptors are broken, which a test would show.
pub async fn server(
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    open: Open,
    limits: Limits,
    in_flight: TaskTracker,
) -> Result<(Router<Layers>, HealthReporter), prost::DecodeError> {
    let shares = CallShares::new(limits.calls);
    // Messages are bounded and decompressed by the intake.
    let verification = VerificationServiceServer::new(VerificationApi::new(Arc::clone(&app), Arc::clone(&shares)))
        .send_compressed(CompressionEncoding::Gzip);
    let usage = UsageServiceServer::new(UsageApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let credential =
        CredentialServiceServer::new(CredentialApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let audit = AuditServiceServer::new(AuditApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let vault = VaultServiceServer::new(VaultApi::new(app)).send_compressed(CompressionEncoding::Gzip);
    let health = HealthReporter::new();
    for service in contract::service_names() {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflected = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        // Without google.rpc, tools show the details of an error as base64.
        tonic_types::pb::FILE_DESCRIPTOR_SET,
    ];
    let files = Files::of(&reflected)?;
    let router = Server::builder()
        // A peer that vanished without a word does not keep its connection.
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .layer(ObserveLayer::new(&reflected, in_flight)?)
        .layer(AuthLayer::new(authenticator, open, Arc::clone(&shares)))
        .layer(IntakeLayer::new(shares))
        .add_service(verification)
        .add_service(usage)
        .add_service(credential)
        .add_service(audit)
        .add_service(vault)
        .add_service(HealthApi::server(&health))
        .add_service(reflection::v1::Reflection::server(&files))
        .add_service(reflection::v1alpha::Reflection::server(&files));
    Ok((router, health))
}

/// Serves on a listener until `stop`, with TLS where there is any.
///
/// # Errors
/// When the server fails, which it should not.
pub async fn serve(
    router: Router<Layers>,
    listener: TcpListener,
    places: Arc<Places>,
    tls: Option<Arc<ServerTls>>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    router.serve_with_incoming_shutdown(listener::connections(listener, places, tls), stop.cancelled_owned()).await
}
