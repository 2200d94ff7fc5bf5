//! The contract's front door: decode, call the use case, encode.

mod caller;
mod convert;
mod convert_result;
pub mod observe;
mod status;
mod usage_service;
mod verification_service;

pub use caller::{Authenticator, TokenHolder};

use crate::app::App;
use observe::ObserveLayer;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::{
    codec::CompressionEncoding,
    service::interceptor::InterceptedService,
    transport::server::{Router, Server},
};
use tonic_health::server::HealthReporter;
use tower::layer::util::{Identity, Stack};
use usage_service::UsageApi;
use verification_service::VerificationApi;

/// Generated from `proto/faceid/v1/`.
pub mod pb {
    #![allow(missing_docs, clippy::pedantic, reason = "generated")]
    tonic::include_proto!("faceid.v1");
}

use pb::{
    usage_service_server::{self, UsageServiceServer},
    verification_service_server::{self, VerificationServiceServer},
};

/// The contract, as reflection serves it.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faceid_descriptor.bin"));

/// The names under which health is told; the empty one is the process.
pub const HEALTH_NAMES: [&str; 3] = ["", verification_service_server::SERVICE_NAME, usage_service_server::SERVICE_NAME];

/// A request with the largest photo has 2.3 MiB.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The server with all services, and the handle on its health. Our RPCs that are not yet answered are tracked in `in_flight`.
///
/// # Errors
/// When the built-in descriptors are broken, which a test would show.
pub async fn server(
    app: Arc<App>,
    authenticator: Authenticator,
    in_flight: TaskTracker,
) -> Result<(Router<Stack<ObserveLayer, Identity>>, HealthReporter), tonic_reflection::server::Error> {
    let verification = VerificationServiceServer::new(VerificationApi::new(Arc::clone(&app)))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let usage = UsageServiceServer::new(UsageApi::new(app));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<VerificationServiceServer<VerificationApi>>().await;
    health.set_serving::<UsageServiceServer<UsageApi>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let observed = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let router = Server::builder()
        .layer(ObserveLayer::new(&observed, in_flight)?)
        .add_service(InterceptedService::new(verification, authenticator.clone()))
        .add_service(InterceptedService::new(usage, authenticator))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((router, health))
}
