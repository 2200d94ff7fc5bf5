//! From the domain's result to the contract's.

use super::{pb, time::timestamp};
use crate::domain::{
    intention::IntentionMode,
    result::{self, LivenessAttempt, VerificationResult},
};

pub(super) fn verification_result(result: VerificationResult) -> pb::VerificationResult {
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
        front_warnings: card.front_warnings,
        back_warnings: card.back_warnings,
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

pub(super) fn intention_mode(mode: Option<IntentionMode>) -> pb::IntentionMode {
    match mode {
        None => pb::IntentionMode::Unspecified,
        Some(IntentionMode::Questions) => pb::IntentionMode::Questions,
        Some(IntentionMode::Nods) => pb::IntentionMode::Nods,
        Some(IntentionMode::ReadAloud) => pb::IntentionMode::ReadAloud,
    }
}

fn intention(intention: result::Intention) -> pb::Intention {
    let mode = intention_mode(intention.mode);
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
