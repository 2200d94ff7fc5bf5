//! The contract's front door: decode, call the use case, encode.

mod audit_service;
mod caller;
mod convert;
mod convert_result;
mod credential_service;
pub mod health;
mod listener;
pub mod observe;
mod status;
pub mod tls;
mod usage_service;
mod vault_service;
#[cfg(test)]
mod vendor_errors_page;
mod verification_service;

pub use caller::Open;

use crate::{app::App, auth::Authenticator};
use audit_service::AuditApi;
use caller::AuthLayer;
use credential_service::CredentialApi;
use observe::ObserveLayer;
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

/// Generated from `proto/faceid/v1/`.
pub mod pb {
    #![allow(missing_docs, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("faceid.v1");
}

use pb::{
    audit_service_server::{self, AuditServiceServer},
    credential_service_server::{self, CredentialServiceServer},
    usage_service_server::{self, UsageServiceServer},
    vault_service_server::{self, VaultServiceServer},
    verification_service_server::{self, VerificationServiceServer},
};

/// The contract, as reflection serves it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faceid_descriptor.bin"));

/// The names under which health is told; the empty one is the process.
pub const HEALTH_NAMES: [&str; 6] = [
    "",
    verification_service_server::SERVICE_NAME,
    usage_service_server::SERVICE_NAME,
    credential_service_server::SERVICE_NAME,
    audit_service_server::SERVICE_NAME,
    vault_service_server::SERVICE_NAME,
];

/// A request with the largest photo has 2.3 MiB.
/// A connection that stays silent for the two together is closed.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// From the outside in: every call is observed, also one that is refused.
type Layers = Stack<AuthLayer, Stack<ObserveLayer, Identity>>;

/// The server with all services, and the handle on its health. Our RPCs that are not yet answered are tracked in `in_flight`.
///
/// # Errors
/// When the built-in descriptors are broken, which a test would show.
pub async fn server(
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    open: Open,
    in_flight: TaskTracker,
) -> Result<(Router<Layers>, HealthReporter), tonic_reflection::server::Error> {
    let verification = VerificationServiceServer::new(VerificationApi::new(Arc::clone(&app)))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let usage = UsageServiceServer::new(UsageApi::new(Arc::clone(&app)));
    let credential = CredentialServiceServer::new(CredentialApi::new(Arc::clone(&app)));
    let audit = AuditServiceServer::new(AuditApi::new(Arc::clone(&app)));
    let vault = VaultServiceServer::new(VaultApi::new(app));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<VerificationServiceServer<VerificationApi>>().await;
    health.set_serving::<UsageServiceServer<UsageApi>>().await;
    health.set_serving::<CredentialServiceServer<CredentialApi>>().await;
    health.set_serving::<AuditServiceServer<AuditApi>>().await;
    health.set_serving::<VaultServiceServer<VaultApi>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Without google.rpc, tools show the details of an error as base64.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let observed = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let router = Server::builder()
        // A peer that vanished without a word does not keep its connection.
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(ObserveLayer::new(&observed, in_flight)?)
        .layer(AuthLayer::new(authenticator, open))
        .add_service(verification)
        .add_service(usage)
        .add_service(credential)
        .add_service(audit)
        .add_service(vault)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((router, health))
}

/// Serves on a listener until `stop`, with TLS where there is any.
///
/// # Errors
/// When the server fails, which it should not.
pub async fn serve(
    router: Router<Layers>,
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    router.serve_with_incoming_shutdown(listener::connections(listener, tls), stop.cancelled_owned()).await
}
