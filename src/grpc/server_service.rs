//! `faceid.v1.ServerService`.

use super::{caller::caller_of, pb};
use std::{sync::Arc, time::Instant};
use tonic::{Request, Response, Status};

/// The package of the contract.
const CONTRACT: &str = "faceid.v1";

/// What this process is.
#[derive(Clone, Copy, Debug)]
pub struct ServerInfo {
    pub version: &'static str,
    /// Empty: the build did not know it.
    pub commit: &'static str,
    /// Whether people are verified by Tencent Cloud itself.
    pub asks_tencent_cloud: bool,
    pub store_engine: &'static str,
    pub started_at: Instant,
}

pub struct ServerApi {
    info: Arc<ServerInfo>,
}

impl ServerApi {
    pub(super) fn new(info: ServerInfo) -> Self {
        Self { info: Arc::new(info) }
    }
}

#[tonic::async_trait]
impl pb::server_service_server::ServerService for ServerApi {
    async fn get_server_info(
        &self,
        request: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        caller_of(&request)?;
        let ServerInfo { version, commit, asks_tencent_cloud, store_engine, started_at } = *self.info;
        let vendor = if asks_tencent_cloud { pb::Vendor::TencentCloud } else { pb::Vendor::Other };
        Ok(Response::new(pb::GetServerInfoResponse {
            version: version.to_owned(),
            commit: commit.to_owned(),
            contract: CONTRACT.to_owned(),
            vendor: vendor.into(),
            store_engine: store_engine.to_owned(),
            uptime: prost_types::Duration::try_from(started_at.elapsed()).ok(),
        }))
    }
}
