//! Between the contract's messages and the domain's types.

use super::{
    convert_result::verification_result,
    pb,
    status::{invalid, status},
    time::{optional_time, timestamp},
};
use crate::{
    app::{
        BatchOutcome, CallbackOutcome, CallbackSource, CreatedVerification, Error, Event, Evidence, Freshness,
        ListRequest, Page, ResultKey, ResultRequest, ResultView, VerificationWithResult, Watched,
    },
    domain::{
        event::EventKind,
        evidence::{MediaKind, NotKept, UnkeptMedium},
        fault::Faults,
        flow::AccessMode,
        ids::{BizToken, VerificationId},
        intention::{IntentionMode, IntentionScript, Question},
        new_verification::UnverifiedRequest,
        outcome::Attempt,
        result_code::{Advice, ResultCode, Stage},
        verification::{StateName, Verification},
    },
};
use std::time::Duration;
use strum::VariantArray;
use tonic::Status;

/// More than there are, for callers that know of later ones.
const MAX_STATES: usize = 16;
/// The longest time that a GetResult waits.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) fn create_request(request: pb::CreateVerificationRequest) -> UnverifiedRequest {
    let subject = request.subject.unwrap_or_default();
    let intention_mode = request.intention.map(|script| script.mode);
    UnverifiedRequest {
        request_id: request.request_id,
        flow: request.flow,
        name: subject.name,
        id_number: subject.id_number,
        reference_photo: request.reference_photo,
        intention_lacks_mode: matches!(intention_mode, Some(None)),
        intention: intention_mode.flatten().map(intention_script),
        return_url: request.return_url,
        success_url: request.success_url,
        failure_url: request.failure_url,
        extra: request.extra,
        reference: request.reference,
        labels: request.labels,
    }
}

fn intention_script(mode: pb::intention_script::Mode) -> IntentionScript {
    use pb::intention_script::Mode;
    match mode {
        Mode::ReadAloud(script) => IntentionScript::ReadAloud { text: script.text },
        Mode::Questions(script) => IntentionScript::Questions {
            questions: script
                .questions
                .into_iter()
                .map(|question| Question { question: question.question, answers: question.answers })
                .collect(),
            recognize_similar_answers: script.recognize_similar_answers,
            detect_mouth_opening: script.detect_mouth_opening,
            speech_speed: script.speech_speed,
        },
        Mode::Nods(script) => {
            IntentionScript::Nods { statements: script.statements, speech_speed: script.speech_speed }
        }
    }
}

pub(super) fn create_response(created: CreatedVerification) -> pb::CreateVerificationResponse {
    pb::CreateVerificationResponse {
        expire_time: Some(timestamp(created.verification.expires_at)),
        verification: Some(verification(created.verification)),
        url: created.url.into(),
        biz_token: created.token.expose().to_owned(),
        access_mode: access_mode(created.access_mode).into(),
    }
}

pub(super) fn reopen_response(created: CreatedVerification) -> pb::ReopenVerificationResponse {
    let pb::CreateVerificationResponse { verification, url, biz_token, expire_time, access_mode } =
        create_response(created);
    pb::ReopenVerificationResponse { verification, url, biz_token, expire_time, access_mode }
}

pub(super) fn access_mode(mode: AccessMode) -> pb::AccessMode {
    match mode {
        AccessMode::WechatH5NativeOverlay => pb::AccessMode::WechatH5NativeOverlay,
        AccessMode::WechatH5Overlay => pb::AccessMode::WechatH5Overlay,
        AccessMode::WechatH5Normal => pb::AccessMode::WechatH5Normal,
    }
}

pub(super) fn callback_source(request: pb::HandleCallbackRequest) -> Result<CallbackSource, Status> {
    use pb::handle_callback_request::Source;
    match request.source {
        None => Err(invalid("source", "is missing; set callback_url or tokens")),
        Some(Source::CallbackUrl(url)) => Ok(CallbackSource::Url(url)),
        Some(Source::Tokens(tokens)) => {
            Ok(CallbackSource::Tokens { verification_id: tokens.verification_id, biz_token: tokens.biz_token })
        }
    }
}

pub(super) fn callback_response(outcome: CallbackOutcome) -> pb::HandleCallbackResponse {
    pb::HandleCallbackResponse {
        verification: Some(verification(outcome.verification)),
        redirect_url: outcome.redirect_url.map(String::from).unwrap_or_default(),
    }
}

pub(super) fn result_request(request: pb::GetResultRequest) -> Result<ResultRequest, Status> {
    use pb::get_result_request::Key;
    let mut faults = Faults::default();
    let view = view(request.view, &mut faults);
    let key = match request.key {
        None => {
            faults.add("key", "is missing; set verification_id or biz_token");
            None
        }
        Some(Key::VerificationId(id)) => {
            faults.check("verification_id", VerificationId::parse(&id)).map(ResultKey::VerificationId)
        }
        Some(Key::BizToken(token)) => faults.check("biz_token", BizToken::parse(&token)).map(ResultKey::BizToken),
    };
    let wait = match request.wait.map(Duration::try_from) {
        None => Some(Duration::ZERO),
        Some(Ok(wait)) if wait <= MAX_WAIT => Some(wait),
        Some(_) => {
            faults.add("wait", "is not 0 to 60 seconds");
            None
        }
    };
    if request.cached && (request.fresh || wait.is_some_and(|wait| !wait.is_zero())) {
        faults.add("cached", "is set together with fresh or wait, which ask the vendor");
    }
    let freshness = match (request.cached, request.fresh) {
        (true, _) => Freshness::Cached,
        (false, true) => Freshness::Fresh,
        (false, false) => Freshness::Usual,
    };
    let faults = faults.into_vec();
    match (key, view, wait) {
        (Some(key), Some(view), Some(wait)) if faults.is_empty() => Ok(ResultRequest { key, view, freshness, wait }),
        _ => Err(status(&Error::InvalidFields(faults))),
    }
}

/// Unspecified is MASKED.
fn view(asked: i32, faults: &mut Faults) -> Option<ResultView> {
    match pb::ResultView::try_from(asked) {
        Ok(pb::ResultView::Unspecified | pb::ResultView::Masked) => Some(ResultView::Masked),
        Ok(pb::ResultView::Basic) => Some(ResultView::Basic),
        Ok(pb::ResultView::Full) => Some(ResultView::Full),
        Err(_) => {
            faults.add("view", "is not a view of this gateway's contract");
            None
        }
    }
}

/// The ids, and the view.
pub(super) fn batch_request(request: pb::BatchGetResultsRequest) -> Result<(Vec<String>, ResultView), Status> {
    let mut faults = Faults::default();
    let view = view(request.view, &mut faults);
    view.map(|view| (request.verification_ids, view)).ok_or_else(|| status(&Error::InvalidFields(faults.into_vec())))
}

pub(super) fn batch_response(outcomes: Vec<BatchOutcome>) -> pb::BatchGetResultsResponse {
    use pb::batch_outcome::Outcome;
    let outcome = |BatchOutcome { verification_id, outcome }: BatchOutcome| {
        let outcome = match outcome {
            Ok(told) => Outcome::Found(result_response(told)),
            Err(error) => {
                let refused = status(&error);
                Outcome::Error(pb::BatchError {
                    reason: error.reason().name().to_owned(),
                    code: refused.code().into(),
                    message: refused.message().to_owned(),
                })
            }
        };
        pb::BatchOutcome { verification_id, outcome: Some(outcome) }
    };
    pb::BatchGetResultsResponse { outcomes: outcomes.into_iter().map(outcome).collect() }
}

pub(super) fn result_response(told: VerificationWithResult) -> pb::GetResultResponse {
    pb::GetResultResponse {
        verification: Some(verification(told.verification)),
        result: told.result.map(verification_result),
        evidence: told.evidence.into_iter().map(evidence).chain(told.unkept_media.into_iter().map(unkept)).collect(),
        evidence_pending: told.evidence_pending,
    }
}

/// Also the first message of a download.
pub(super) fn evidence(evidence: Evidence) -> pb::Evidence {
    let kind = evidence.kind.map_or(pb::EvidenceKind::Unspecified, media_kind);
    pb::Evidence {
        evidence_id: evidence.id,
        kind: kind.into(),
        position: evidence.position,
        attempt_sequence_id: evidence.attempt_seq.unwrap_or_default(),
        content_type: evidence.content_type,
        size_bytes: evidence.size_bytes,
        sha256: evidence.sha256.unwrap_or_default(),
        store_time: evidence.stored_at.map(timestamp),
        erase_time: evidence.erased_at.map(timestamp),
        ..pb::Evidence::default()
    }
}

fn unkept(medium: UnkeptMedium) -> pb::Evidence {
    let reason = match medium.why {
        NotKept::Reference => pb::NotKeptReason::Reference,
        NotKept::NotBase64 => pb::NotKeptReason::NotBase64,
        NotKept::TooLarge => pb::NotKeptReason::TooLarge,
        NotKept::WrongContent => pb::NotKeptReason::WrongContent,
    };
    pb::Evidence {
        kind: media_kind(medium.kind).into(),
        position: medium.position,
        attempt_sequence_id: medium.attempt_seq.unwrap_or_default(),
        not_kept_reason: reason.into(),
        vendor_text: medium.text.unwrap_or_default(),
        ..pb::Evidence::default()
    }
}

fn media_kind(kind: MediaKind) -> pb::EvidenceKind {
    match kind {
        MediaKind::BestFrame => pb::EvidenceKind::BestFrame,
        MediaKind::IdCardFront => pb::EvidenceKind::IdCardFront,
        MediaKind::IdCardBack => pb::EvidenceKind::IdCardBack,
        MediaKind::IdCardFrontProcessed => pb::EvidenceKind::IdCardFrontProcessed,
        MediaKind::IdCardBackProcessed => pb::EvidenceKind::IdCardBackProcessed,
        MediaKind::IdCardAvatar => pb::EvidenceKind::IdCardAvatar,
        MediaKind::LivenessVideo => pb::EvidenceKind::LivenessVideo,
        MediaKind::IntentionVideo => pb::EvidenceKind::IntentionVideo,
        MediaKind::IntentionPhoto => pb::EvidenceKind::IntentionPhoto,
        MediaKind::IntentionAudio => pb::EvidenceKind::IntentionAudio,
        MediaKind::IntentionScreenshot => pb::EvidenceKind::IntentionScreenshot,
    }
}

pub(super) fn download_response(part: pb::download_evidence_response::Part) -> pb::DownloadEvidenceResponse {
    pb::DownloadEvidenceResponse { part: Some(part) }
}

pub(super) fn list_request(request: pb::ListVerificationsRequest) -> Result<ListRequest, Status> {
    let mut faults = Faults::default();
    let mut states = Vec::new();
    if request.states.len() > MAX_STATES {
        faults.add("states", format!("has {} entries; the limit is {MAX_STATES}", request.states.len()));
    }
    for (i, state) in request.states.into_iter().enumerate().take(MAX_STATES) {
        match pb::VerificationState::try_from(state).ok().and_then(state_of) {
            Some(state) if states.contains(&state) => {}
            Some(state) => states.push(state),
            None => faults.add(format!("states[{i}]"), "is not a state"),
        }
    }
    let created_from = optional_time("create_time_from", request.create_time_from, &mut faults);
    let created_before = optional_time("create_time_before", request.create_time_before, &mut faults);
    let list = ListRequest {
        caller: request.caller,
        states,
        flow: request.flow,
        reference: request.reference,
        created_from,
        created_before,
        never_fetched: request.never_fetched,
        oldest_first: request.oldest_first,
        page_size: request.page_size,
        page_token: request.page_token,
    };
    faults.finish(|| list).map_err(|faults| status(&Error::InvalidFields(faults)))
}

pub(super) fn list_response(page: Page) -> pb::ListVerificationsResponse {
    pb::ListVerificationsResponse {
        verifications: page.verifications.into_iter().map(verification).collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
        unreadable_verification_ids: page.unreadable,
    }
}

pub(super) fn watch_response(watched: Watched) -> pb::WatchVerificationsResponse {
    pb::WatchVerificationsResponse {
        event: watched.event.map(event),
        resume_token: watched.resume_token,
        caught_up: watched.caught_up,
    }
}

fn event(event: Event) -> pb::VerificationEvent {
    let kind = match event.kind {
        EventKind::Created => pb::VerificationEventKind::Created,
        EventKind::Attempted => pb::VerificationEventKind::Attempted,
        EventKind::Settled => pb::VerificationEventKind::Settled,
        EventKind::Canceled => pb::VerificationEventKind::Canceled,
        EventKind::Redacted => pb::VerificationEventKind::Redacted,
        EventKind::EvidenceStored => pb::VerificationEventKind::EvidenceStored,
        EventKind::EvidenceLost => pb::VerificationEventKind::EvidenceLost,
    };
    pb::VerificationEvent {
        sequence: event.sequence,
        event_time: event.at.map(timestamp),
        kind: kind.into(),
        verification_id: event.verification_id,
        flow: event.flow,
        state: state(event.state).into(),
        last_attempt_code: event.last_attempt_code,
    }
}

pub(super) fn cancel_response(canceled: Verification) -> pb::CancelVerificationResponse {
    pb::CancelVerificationResponse { verification: Some(verification(canceled)) }
}

pub(super) fn redact_response(redacted: Verification) -> pb::RedactVerificationResponse {
    pb::RedactVerificationResponse { verification: Some(verification(redacted)) }
}

fn state(state: StateName) -> pb::VerificationState {
    match state {
        StateName::Pending => pb::VerificationState::Pending,
        StateName::Passed => pb::VerificationState::Passed,
        StateName::Failed => pb::VerificationState::Failed,
        StateName::Expired => pb::VerificationState::Expired,
        StateName::Canceled => pb::VerificationState::Canceled,
    }
}

fn state_of(asked: pb::VerificationState) -> Option<StateName> {
    StateName::VARIANTS.iter().copied().find(|known| state(*known) == asked)
}

fn verification(verification: Verification) -> pb::Verification {
    pb::Verification {
        verification_id: verification.id.to_string(),
        state: state(verification.state.name()).into(),
        create_time: Some(timestamp(verification.created_at)),
        expire_time: Some(timestamp(verification.expires_at)),
        settle_time: verification.state.settled_at().map(timestamp),
        check_time: verification.checked_at.map(timestamp),
        last_attempt: verification.last_attempt.map(|last| attempt(last, verification.intention)),
        attempts_exhausted: verification.attempts_exhausted,
        charged_attempts: verification.charged_attempts,
        result_fetch_time: verification.fetched_at.map(timestamp),
        result_lost: verification.result_lost,
        evidence_lost: verification.evidence_lost,
        redact_time: verification.redacted_at.map(timestamp),
        flow: verification.flow,
        reference: verification.reference,
        labels: verification.labels,
    }
}

fn attempt(attempt: Attempt, intention: Option<IntentionMode>) -> pb::Attempt {
    let code = ResultCode::explain(attempt.code, intention);
    pb::Attempt {
        code: Some(code.code),
        stage: stage(code.stage).into(),
        meaning: code.meaning.to_owned(),
        meaning_zh: code.meaning_zh.to_owned(),
        advice: advice(code.advice).into(),
        attempt_time: attempt.at.map(timestamp),
    }
}

fn stage(stage: Stage) -> pb::AttemptStage {
    match stage {
        Stage::Unknown => pb::AttemptStage::Unspecified,
        Stage::Final => pb::AttemptStage::Final,
        Stage::System => pb::AttemptStage::System,
        Stage::Wechat => pb::AttemptStage::Wechat,
        Stage::Ocr => pb::AttemptStage::Ocr,
        Stage::Liveness => pb::AttemptStage::Liveness,
        Stage::Comparison => pb::AttemptStage::Comparison,
        Stage::Intention => pb::AttemptStage::Intention,
    }
}

fn advice(advice: Advice) -> pb::Advice {
    match advice {
        Advice::Unknown => pb::Advice::Unspecified,
        Advice::Done => pb::Advice::Done,
        Advice::FixRequest => pb::Advice::FixRequest,
        Advice::RetryLater => pb::Advice::RetryLater,
        Advice::ReadResult => pb::Advice::ReadResult,
        Advice::NewVerification => pb::Advice::NewVerification,
        Advice::Wait => pb::Advice::Wait,
        Advice::UserRetries => pb::Advice::UserRetries,
        Advice::Operator => pb::Advice::Operator,
        Advice::ValidCard => pb::Advice::ValidCard,
        Advice::RejectOrRetry => pb::Advice::RejectOrRetry,
        Advice::OtherPhone => pb::Advice::OtherPhone,
        Advice::OtherBrowser => pb::Advice::OtherBrowser,
        Advice::FixIdentity => pb::Advice::FixIdentity,
        Advice::OtherChannel => pb::Advice::OtherChannel,
        Advice::OtherDay => pb::Advice::OtherDay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_bounded_and_each_counts_once() {
        let of = |states: Vec<i32>| list_request(pb::ListVerificationsRequest { states, ..Default::default() });
        assert_eq!(of(vec![2, 1, 2, 1]).unwrap().states, [StateName::Passed, StateName::Pending]);
        assert!(of(vec![1; MAX_STATES + 1]).is_err());
        assert!(of(vec![77]).is_err());
    }
}
