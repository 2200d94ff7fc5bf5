//! `faceid.v1.VerificationService`.

use super::{caller::caller_of, convert, pb, status::status};
use crate::app::{App, Visitor};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct VerificationApi {
    app: Arc<App>,
}

impl VerificationApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::verification_service_server::VerificationService for VerificationApi {
    async fn create_verification(
        &self,
        request: Request<pb::CreateVerificationRequest>,
    ) -> Result<Response<pb::CreateVerificationResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = convert::create_request(request.into_inner())?;
        let created = self.app.create_verification(&caller, request).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::create_response(created)))
    }

    async fn handle_callback(
        &self,
        request: Request<pb::HandleCallbackRequest>,
    ) -> Result<Response<pb::HandleCallbackResponse>, Status> {
        let caller = caller_of(&request)?;
        let source = convert::callback_source(request.into_inner())?;
        let outcome =
            self.app.handle_callback(Visitor::Caller(&caller), source).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::callback_response(outcome)))
    }

    async fn get_result(
        &self,
        request: Request<pb::GetResultRequest>,
    ) -> Result<Response<pb::GetResultResponse>, Status> {
        let caller = caller_of(&request)?;
        let (key, view, fresh) = convert::result_request(request.into_inner())?;
        let told = self.app.get_result(&caller, key, view, fresh).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::result_response(told)))
    }
}
