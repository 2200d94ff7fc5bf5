//! The contract's front door: decode, call the use case, encode.

mod audit_service;
mod body;
mod call_context;
mod caller;
mod contract;
mod convert;
mod convert_result;
mod credential_service;
mod flow_service;
pub mod health;
mod health_service;
mod intake;
mod listener;
pub mod observe;
pub mod pb;
mod reflection;
mod refusals;
mod server_service;
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
pub use server_service::ServerInfo;
pub use shares::CallLimits;

use crate::{app::App, auth::Authenticator, listen::Places};
use audit_service::AuditApi;
use caller::AuthLayer;
use credential_service::CredentialApi;
use flow_service::FlowApi;
use health::Health;
use health_service::HealthApi;
use intake::IntakeLayer;
use observe::ObserveLayer;
use reflection::Files;
use server_service::ServerApi;
use shares::CallShares;
use std::{sync::Arc, time::Duration};
use tls::ServerTls;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    codec::CompressionEncoding,
    transport::server::{Router, Server},
};
use tonic_health::server::HealthReporter;
use tower::layer::util::{Identity, Stack};
use usage_service::UsageApi;
use vault_service::VaultApi;
use verification_service::VerificationApi;

use pb::{
    audit_service_server::AuditServiceServer, credential_service_server::CredentialServiceServer,
    flow_service_server::FlowServiceServer, server_service_server::ServerServiceServer,
    usage_service_server::UsageServiceServer, vault_service_server::VaultServiceServer,
    verification_service_server::VerificationServiceServer,
};

/// A connection that stays silent for the two together is closed.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control windows: the most that a connection can make us buffer unread.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// So many streams of a connection may have been taken back before they were looked at; with more,
/// the connection is closed. A proxy passes the resets of all its clients on at once, so few would
/// let one client close it for all. They are held while one read of the connection is worked off:
/// at 32 KiB of headers each, 32 MiB for each thread that serves.
const RESET_BEFORE_ACCEPTED: usize = 1_000;

/// Metadata of a call. Meshes add headers of their own to a caller's token; a longer list resets
/// the stream.
const MAX_HEADER_BYTES: u32 = 32 * 1024;

/// From the outside in: every call is observed, also one that is refused; its caller is known
/// before its message is received.
type Layers = Stack<IntakeLayer, Stack<AuthLayer, Stack<ObserveLayer, Identity>>>;

/// How much is served at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub streams_per_connection: u32,
    /// When a connection takes no new calls any more. None: never.
    pub connection_age: Option<Duration>,
    pub calls: CallLimits,
}

/// The server with all services, and the handle on its health. Our RPCs that are not yet answered
/// are tracked in `in_flight`.
///
/// # Errors
/// When the built-in descriptors are broken, which a test would show.
pub async fn server(
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    open: Open,
    limits: Limits,
    info: ServerInfo,
    in_flight: TaskTracker,
) -> Result<(Router<Layers>, Health), prost::DecodeError> {
    let shares = CallShares::new(limits.calls);
    // Messages are bounded and decompressed by the intake.
    let verification = VerificationServiceServer::new(VerificationApi::new(Arc::clone(&app), Arc::clone(&shares)))
        .send_compressed(CompressionEncoding::Gzip);
    let usage = UsageServiceServer::new(UsageApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let credential =
        CredentialServiceServer::new(CredentialApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let audit = AuditServiceServer::new(AuditApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let flow = FlowServiceServer::new(FlowApi::new(Arc::clone(&app))).send_compressed(CompressionEncoding::Gzip);
    let server = ServerServiceServer::new(ServerApi::new(info)).send_compressed(CompressionEncoding::Gzip);
    let vault = VaultServiceServer::new(VaultApi::new(app)).send_compressed(CompressionEncoding::Gzip);
    let reporter = HealthReporter::new();
    let health = Health::serving(reporter.clone()).await;
    let reflected = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        // Without google.rpc, tools show the details of an error as base64.
        tonic_types::pb::FILE_DESCRIPTOR_SET,
    ];
    let files = Files::of(&reflected)?;
    let mut builder = Server::builder();
    if let Some(age) = limits.connection_age {
        // Without a grace of tonic's: with one it sends no GOAWAY, and cuts the connection off at
        // the end of both. What goes on ends by itself: the longest stream is WatchVerifications,
        // after an hour.
        builder = builder.max_connection_age(age);
    }
    let router = builder
        // A peer that vanished without a word does not keep its connection.
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_pending_accept_reset_streams(Some(RESET_BEFORE_ACCEPTED))
        // Off: it counts over the life of a connection, which a proxy shares among its clients.
        // What a stream that is reset had begun ends with it, or counts among its caller's calls.
        .http2_max_local_error_reset_streams(None)
        .layer(ObserveLayer::new(&reflected, in_flight)?)
        .layer(AuthLayer::new(authenticator, open, Arc::clone(&shares)))
        .layer(IntakeLayer::new(shares))
        .add_service(verification)
        .add_service(usage)
        .add_service(credential)
        .add_service(audit)
        .add_service(vault)
        .add_service(flow)
        .add_service(server)
        .add_service(HealthApi::server(&reporter))
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
