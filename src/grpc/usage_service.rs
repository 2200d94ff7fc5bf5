//! `faceid.v1.UsageService`.

use super::{caller::caller_of, observe::time_left, pb, status::status};
use crate::{
    app::{App, Reconciliation, UsageDifference, UsagePage, UsageRequest, UsageRow},
    tencent::Urgency,
};
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
        let request = usage_request(request.into_inner());
        let page = self.app.get_usage(&caller, request).await.map_err(|error| status(&error))?;
        Ok(Response::new(usage_response(page)))
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
        Ok(Response::new(reconciliation_response(compared)))
    }
}

fn usage_request(request: pb::GetUsageRequest) -> UsageRequest {
    UsageRequest {
        first_date: request.first_date,
        last_date: request.last_date,
        caller: request.caller,
        flow: request.flow,
        page_size: request.page_size,
        page_token: request.page_token,
    }
}

fn usage_response(page: UsagePage) -> pb::GetUsageResponse {
    let row = |row: UsageRow| pb::UsageRow {
        date: row.day.to_string(),
        caller: row.caller,
        flow: row.flow,
        verifications: row.verifications,
        attempts: row.attempts,
        charged_attempts: row.charged_attempts,
    };
    pb::GetUsageResponse {
        rows: page.rows.into_iter().map(row).collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
    }
}

fn reconciliation_response(compared: Reconciliation) -> pb::ReconcileUsageResponse {
    let difference = |difference: UsageDifference| pb::UsageDifference {
        verification_id: difference.verification_id.unwrap_or_default(),
        biz_token_tail: difference.token_tail.unwrap_or_default(),
        our_charges: difference.our_charges,
        vendor_charges: difference.vendor_charges,
        only_ours: difference.only_ours,
        only_vendors: difference.only_vendors,
    };
    pb::ReconcileUsageResponse {
        our_charges: compared.our_charges,
        vendor_charges: compared.vendor_charges,
        agreeing: compared.agreeing,
        differing: compared.differing,
        differences: compared.differences.into_iter().map(difference).collect(),
    }
}
