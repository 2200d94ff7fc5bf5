//! Between the contract's messages and the domain's types.

use super::{pb, status::invalid};
use crate::{
    app::{CallbackOutcome, CallbackSource, CreatedVerification, ResultKey, ResultView, VerificationWithResult},
    domain::{
        flow::AccessMode,
        intention::{IntentionMode, IntentionScript, Question},
        new_verification::UnverifiedRequest,
        outcome::Attempt,
        result::{self, LivenessAttempt, VerificationResult},
        result_code::{Advice, ResultCode, Stage},
        verification::{State, Verification},
    },
};
use jiff::Timestamp;
use tonic::Status;

pub(super) fn create_request(request: pb::CreateVerificationRequest) -> Result<UnverifiedRequest, Status> {
    let subject = request.subject.unwrap_or_default();
    Ok(UnverifiedRequest {
        request_id: request.request_id,
        flow: request.flow,
        name: subject.name,
        id_number: subject.id_number,
        reference_photo: request.reference_photo,
        intention: request.intention.map(intention_script).transpose()?,
        return_url: request.return_url,
        success_url: request.success_url,
        failure_url: request.failure_url,
        extra: request.extra,
        reference: request.reference,
        labels: request.labels,
    })
}

fn intention_script(script: pb::IntentionScript) -> Result<IntentionScript, Status> {
    use pb::intention_script::Mode;
    Ok(match script.mode {
        None => return Err(invalid("intention", "has no mode; set read_aloud, questions or nods")),
        Some(Mode::ReadAloud(script)) => IntentionScript::ReadAloud { text: script.text },
        Some(Mode::Questions(script)) => IntentionScript::Questions {
            questions: script
                .questions
                .into_iter()
                .map(|question| Question { question: question.question, answers: question.answers })
                .collect(),
            recognize_similar_answers: script.recognize_similar_answers,
            detect_mouth_opening: script.detect_mouth_opening,
            speech_speed: script.speech_speed,
        },
        Some(Mode::Nods(script)) => {
            IntentionScript::Nods { statements: script.statements, speech_speed: script.speech_speed }
        }
    })
}

pub(super) fn create_response(created: CreatedVerification) -> pb::CreateVerificationResponse {
    let access_mode = match created.access_mode {
        AccessMode::WechatH5NativeOverlay => pb::AccessMode::WechatH5NativeOverlay,
        AccessMode::WechatH5Normal => pb::AccessMode::WechatH5Normal,
    };
    pb::CreateVerificationResponse {
        expire_time: Some(timestamp(created.verification.expires_at())),
        verification: Some(verification(created.verification)),
        url: created.url.into(),
        biz_token: created.token.expose().to_owned(),
        access_mode: access_mode.into(),
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

pub(super) fn result_request(request: pb::GetResultRequest) -> Result<(ResultKey, ResultView, bool), Status> {
    use pb::get_result_request::Key;
    let view = match pb::ResultView::try_from(request.view) {
        Ok(pb::ResultView::Unspecified | pb::ResultView::Masked) => ResultView::Masked,
        Ok(pb::ResultView::Basic) => ResultView::Basic,
        Ok(pb::ResultView::Full) => ResultView::Full,
        Err(_) => return Err(invalid("view", "is not a view of this gateway's contract")),
    };
    let key = match request.key {
        None => return Err(invalid("key", "is missing; set verification_id or biz_token")),
        Some(Key::VerificationId(id)) => ResultKey::VerificationId(id),
        Some(Key::BizToken(token)) => ResultKey::BizToken(token),
    };
    Ok((key, view, request.fresh))
}

pub(super) fn result_response(told: VerificationWithResult) -> pb::GetResultResponse {
    pb::GetResultResponse {
        verification: Some(verification(told.verification)),
        result: told.result.map(verification_result),
    }
}

fn verification(verification: Verification) -> pb::Verification {
    let state = match verification.state {
        State::Pending => pb::VerificationState::Pending,
        State::Passed { .. } => pb::VerificationState::Passed,
        State::Failed { .. } => pb::VerificationState::Failed,
        State::Expired { .. } => pb::VerificationState::Expired,
        State::Canceled { .. } => pb::VerificationState::Canceled,
    };
    pb::Verification {
        verification_id: verification.id.to_string(),
        state: state.into(),
        create_time: Some(timestamp(verification.created_at)),
        expire_time: Some(timestamp(verification.expires_at())),
        settle_time: verification.state.settled_at().map(timestamp),
        check_time: verification.checked_at.map(timestamp),
        last_attempt: verification.last_attempt.map(attempt),
        attempts_exhausted: verification.attempts_exhausted,
        flow: verification.flow,
        reference: verification.reference,
        labels: verification.labels,
    }
}

fn attempt(attempt: Attempt) -> pb::Attempt {
    let code = ResultCode::explain(attempt.code);
    pb::Attempt {
        code: code.code,
        stage: stage(code.stage).into(),
        meaning: code.meaning.to_owned(),
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

fn verification_result(result: VerificationResult) -> pb::VerificationResult {
    pb::VerificationResult {
        code: result.code,
        message: result.message,
        identity: Some(identity(result.identity)),
        id_card: Some(result.id_card).filter(|card| *card != result::IdCardText::default()).map(id_card),
        liveness: Some(liveness(result.liveness)),
        comparison: Some(comparison(result.comparison)),
        intention: result.intention.map(intention),
        attempts: result.attempts.into_iter().map(liveness_attempt).collect(),
        extra: result.extra,
        location: result.location,
        mobile: result.mobile,
        nfc_request_ids: result.nfc_request_ids,
        nfc_billing_count: result.nfc_billing_count,
        vendor_request_id: result.vendor_request_id,
        fetch_time: Some(timestamp(result.fetched_at)),
        vendor_raw: result.vendor_raw,
    }
}

fn identity(identity: result::Identity) -> pb::Identity {
    pb::Identity {
        name: identity.name,
        id_number: identity.id_number,
        document_type: identity.document_type,
        source: identity.source,
        travel_permit_number: identity.travel_permit_number,
        visa_number: identity.visa_number,
    }
}

fn id_card(card: result::IdCardText) -> pb::IdCardText {
    pb::IdCardText {
        name: card.name,
        id_number: card.id_number,
        gender: card.gender,
        ethnicity: card.ethnicity,
        birth_date: card.birth_date,
        address: card.address,
        authority: card.authority,
        valid_period: card.valid_period,
    }
}

fn liveness(liveness: result::Liveness) -> pb::Liveness {
    pb::Liveness {
        code: liveness.code,
        message: liveness.message,
        mode: liveness.mode,
        action_sequence: liveness.action_sequence,
        risk_tags: liveness.risk_tags,
    }
}

fn comparison(comparison: result::Comparison) -> pb::Comparison {
    pb::Comparison {
        code: comparison.code,
        message: comparison.message,
        similarity: comparison.similarity,
        source: comparison.source,
    }
}

fn intention(intention: result::Intention) -> pb::Intention {
    let mode = match intention.mode {
        None => pb::IntentionMode::Unspecified,
        Some(IntentionMode::Questions) => pb::IntentionMode::Questions,
        Some(IntentionMode::Nods) => pb::IntentionMode::Nods,
        Some(IntentionMode::ReadAloud) => pb::IntentionMode::ReadAloud,
    };
    pb::Intention {
        code: intention.code,
        message: intention.message,
        mode: mode.into(),
        transcripts: intention.transcripts,
        transcript_similarity: intention.transcript_similarity,
        question_codes: intention.question_codes,
        questions_code: intention.questions_code,
    }
}

fn liveness_attempt(attempt: LivenessAttempt) -> pb::LivenessAttempt {
    pb::LivenessAttempt {
        sequence_id: attempt.sequence_id,
        attempt_time: attempt.at.map(timestamp),
        charged: attempt.charged,
        code: attempt.code,
        message: attempt.message,
        liveness_code: attempt.liveness_code,
        liveness_message: attempt.liveness_message,
        comparison_code: attempt.comparison_code,
        comparison_message: attempt.comparison_message,
        similarity: attempt.similarity,
        comparison_source: attempt.comparison_source,
        liveness_mode: attempt.liveness_mode,
        name: attempt.name,
        id_number: attempt.id_number,
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
