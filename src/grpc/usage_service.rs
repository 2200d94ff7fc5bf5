//! `faceid.v1.UsageService`.

use super::{caller::caller_of, convert, observe::time_left, pb, status::status};
use crate::app::{App, Urgency};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct UsageApi {
    app: Arc<App>,
}

impl UsageApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::usage_service_server::UsageService for UsageApi {
    async fn get_usage(&self, request: Request<pb::GetUsageRequest>) -> Result<Response<pb::GetUsageResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = convert::usage_request(request.into_inner());
        let page = self.app.get_usage(&caller, request).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::usage_response(page)))
    }

    async fn reconcile_usage(
        &self,
        request: Request<pb::ReconcileUsageRequest>,
    ) -> Result<Response<pb::ReconcileUsageResponse>, Status> {
        let caller = caller_of(&request)?;
        let urgency = Urgency::within(time_left(&request));
        let pb::ReconcileUsageRequest { date, flow } = request.into_inner();
        let compared =
            self.app.reconcile_usage(&caller, &date, &flow, urgency).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::reconciliation_response(compared)))
    }
}
