//! `faceid.v1.VerificationService`.

use super::{caller::caller_of, convert, observe::time_left, pb, shares::CallShares, status::status};
use crate::{
    app::{App, Error, Visitor},
    tencent::Urgency,
};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// Streams end after an hour so that callers re-authenticate.
const LONGEST_WATCH: Duration = Duration::from_secs(3600);
/// What encoding and sending an answer may take.
const ANSWER_TIME: Duration = Duration::from_millis(100);

pub struct VerificationApi {
    app: Arc<App>,
    shares: Arc<CallShares>,
}

impl VerificationApi {
    pub(super) fn new(app: Arc<App>, shares: Arc<CallShares>) -> Self {
        Self { app, shares }
    }
}

#[tonic::async_trait]
impl pb::verification_service_server::VerificationService for VerificationApi {
    async fn create_verification(
        &self,
        request: Request<pb::CreateVerificationRequest>,
    ) -> Result<Response<pb::CreateVerificationResponse>, Status> {
        let caller = caller_of(&request)?;
        let urgency = Urgency::within(time_left(&request));
        let request = convert::create_request(request.into_inner());
        let created = self.app.create_verification(&caller, request, urgency).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::create_response(created)))
    }

    async fn handle_callback(
        &self,
        request: Request<pb::HandleCallbackRequest>,
    ) -> Result<Response<pb::HandleCallbackResponse>, Status> {
        let caller = caller_of(&request)?;
        let urgency = Urgency::within(time_left(&request));
        let source = convert::callback_source(request.into_inner())?;
        let outcome = self
            .app
            .handle_callback(Visitor::Caller(&caller), source, urgency)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(convert::callback_response(outcome)))
    }

    async fn get_result(
        &self,
        request: Request<pb::GetResultRequest>,
    ) -> Result<Response<pb::GetResultResponse>, Status> {
        let caller = caller_of(&request)?;
        let time_left = time_left(&request);
        let mut request = convert::result_request(request.into_inner())?;
        // An answer that comes a little before the caller's deadline is one; at the deadline it is
        // an error.
        request.wait = time_left.map_or(request.wait, |left| request.wait.min(left.saturating_sub(ANSWER_TIME)));
        let urgency = Urgency::within(time_left);
        let _waiting = (!request.wait.is_zero()).then(|| self.shares.wait(&caller.name)).transpose()?;
        let told = self.app.get_result(&caller, request, urgency).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::result_response(told)))
    }

    async fn batch_get_results(
        &self,
        request: Request<pb::BatchGetResultsRequest>,
    ) -> Result<Response<pb::BatchGetResultsResponse>, Status> {
        let caller = caller_of(&request)?;
        let (ids, view) = convert::batch_request(request.into_inner())?;
        let outcomes = self.app.batch_get_results(&caller, ids, view).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::batch_response(outcomes)))
    }

    async fn reopen_verification(
        &self,
        request: Request<pb::ReopenVerificationRequest>,
    ) -> Result<Response<pb::ReopenVerificationResponse>, Status> {
        let caller = caller_of(&request)?;
        let id = request.into_inner().verification_id;
        let reopened = self.app.reopen_verification(&caller, &id).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::reopen_response(reopened)))
    }

    async fn list_verifications(
        &self,
        request: Request<pb::ListVerificationsRequest>,
    ) -> Result<Response<pb::ListVerificationsResponse>, Status> {
        let caller = caller_of(&request)?;
        let request = convert::list_request(request.into_inner())?;
        let page = self.app.list_verifications(&caller, request).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::list_response(page)))
    }

    type WatchVerificationsStream = BoxStream<'static, Result<pb::WatchVerificationsResponse, Status>>;

    async fn watch_verifications(
        &self,
        request: Request<pb::WatchVerificationsRequest>,
    ) -> Result<Response<Self::WatchVerificationsStream>, Status> {
        let caller = caller_of(&request)?;
        let pb::WatchVerificationsRequest { resume_token, flow } = request.into_inner();
        let watched =
            self.app.watch_verifications(&caller, &resume_token, flow).await.map_err(|error| status(&error))?;
        let answers = watched.map(|watched| watched.map(convert::watch_response).map_err(|error| status(&error)));
        Ok(Response::new(for_a_while(answers).boxed()))
    }

    async fn cancel_verification(
        &self,
        request: Request<pb::CancelVerificationRequest>,
    ) -> Result<Response<pb::CancelVerificationResponse>, Status> {
        let caller = caller_of(&request)?;
        let urgency = Urgency::within(time_left(&request));
        let id = request.into_inner().verification_id;
        let canceled = self.app.cancel_verification(&caller, &id, urgency).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::cancel_response(canceled)))
    }

    type DownloadEvidenceStream = BoxStream<'static, Result<pb::DownloadEvidenceResponse, Status>>;

    async fn download_evidence(
        &self,
        request: Request<pb::DownloadEvidenceRequest>,
    ) -> Result<Response<Self::DownloadEvidenceStream>, Status> {
        use pb::download_evidence_response::Part;
        let caller = caller_of(&request)?;
        let pb::DownloadEvidenceRequest { verification_id, evidence_id } = request.into_inner();
        let (row, bytes) = self
            .app
            .download_evidence(&caller, &verification_id, &evidence_id)
            .await
            .map_err(|error| status(&error))?;
        let first = Ok(convert::download_response(Part::Evidence(convert::evidence(row))));
        let chunks = bytes.map(|piece| {
            let piece = piece.map_err(|error| status(&Error::UnreadableEvidence(error)))?;
            Ok(convert::download_response(Part::Chunk(piece.into())))
        });
        // A stop ends the stream with an error: one that ends without is whole.
        let stopping = self.app.stopping().clone();
        let end = stream::once(async move { stopping.is_cancelled().then(|| Err(status(&Error::Stopping))) });
        let chunks = chunks.take_until(self.app.stopping().clone().cancelled_owned());
        let end = end.filter_map(std::future::ready);
        Ok(Response::new(stream::iter([first]).chain(chunks).chain(end).boxed()))
    }

    async fn redact_verification(
        &self,
        request: Request<pb::RedactVerificationRequest>,
    ) -> Result<Response<pb::RedactVerificationResponse>, Status> {
        let caller = caller_of(&request)?;
        let id = request.into_inner().verification_id;
        let redacted = self.app.redact_verification(&caller, &id).await.map_err(|error| status(&error))?;
        Ok(Response::new(convert::redact_response(redacted)))
    }
}

fn for_a_while<S: Stream>(answers: S) -> impl Stream<Item = S::Item> {
    answers.take_until(tokio::time::sleep(LONGEST_WATCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_with_its_time() {
        let ticks = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(15)).await;
            Some(((), ()))
        });
        assert_eq!(for_a_while(ticks).count().await, 240 - 1);
    }
}
