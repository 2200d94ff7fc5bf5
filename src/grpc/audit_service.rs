//! `faceid.v1.AuditService`.

use super::{
    caller::caller_of,
    pb,
    status::status,
    time::{optional_time, timestamp},
};
use crate::{
    app::{App, AuditEvent, AuditRequest, Error},
    domain::fault::Faults,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct AuditApi {
    app: Arc<App>,
}

impl AuditApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::audit_service_server::AuditService for AuditApi {
    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = audit_request(request.into_inner())?;
        let page = self.app.list_audit_events(&caller, request).await.map_err(|error| status(&error))?;
        Ok(Response::new(pb::ListAuditEventsResponse {
            events: page.events.into_iter().map(audit_event).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }
}

fn audit_request(request: pb::ListAuditEventsRequest) -> Result<AuditRequest, Status> {
    let mut faults = Faults::default();
    let from = optional_time("event_time_from", request.event_time_from, &mut faults);
    let before = optional_time("event_time_before", request.event_time_before, &mut faults);
    let asked = AuditRequest {
        verification_id: request.verification_id,
        credential: request.credential,
        actor: request.actor,
        action: request.action,
        from,
        before,
        page_size: request.page_size,
        page_token: request.page_token,
    };
    faults.finish(|| asked).map_err(|faults| status(&Error::InvalidFields(faults)))
}

fn audit_event(event: AuditEvent) -> pb::AuditEvent {
    pb::AuditEvent {
        sequence: event.sequence,
        event_time: event.at.map(timestamp),
        actor: event.actor,
        action: event.action,
        verification_id: event.verification_id,
        credential: event.credential,
    }
}
