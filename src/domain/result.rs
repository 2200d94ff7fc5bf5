//! The vendor's findings about a person, in our words.
//!
//! Personal data: the types have no Debug, so that they cannot reach a log. They serialize only to
//! be sealed.

use super::{
    evidence::UnkeptMedium,
    identity::{mask_name, mask_number},
    intention::IntentionMode,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The vendor's answer without photos, audio and video. The fields are explained in
/// `proto/faceid/v1/result.proto`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerificationResult {
    pub code: Option<i64>,
    pub message: Option<String>,
    pub identity: Identity,
    pub id_card: IdCardText,
    pub liveness: Liveness,
    pub comparison: Comparison,
    pub intention: Option<Intention>,
    pub attempts: Vec<LivenessAttempt>,
    pub extra: Option<String>,
    pub location: Option<String>,
    pub mobile: Option<String>,
    pub nfc_request_ids: Vec<String>,
    pub nfc_billing_count: Option<i64>,
    pub vendor_request_id: String,
    pub fetched_at: Timestamp,
    /// Fields that we do not know: dotted JSON path to JSON text.
    pub vendor_raw: BTreeMap<String, String>,
    /// Photos, videos and sounds that the vendor has and that were not kept.
    #[serde(default)]
    pub unkept_media: Vec<UnkeptMedium>,
}

/// The verified person.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub name: Option<String>,
    pub id_number: Option<String>,
    pub document_type: Option<i64>,
    pub source: Option<String>,
    pub travel_permit_number: Option<String>,
    pub visa_number: Option<String>,
}

/// Texts read from the photos of the ID card.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IdCardText {
    pub name: Option<String>,
    pub id_number: Option<String>,
    pub gender: Option<String>,
    pub ethnicity: Option<String>,
    pub birth_date: Option<String>,
    pub address: Option<String>,
    pub authority: Option<String>,
    pub valid_period: Option<String>,
    /// Told with the photos, not with the text.
    #[serde(default)]
    pub front_warnings: Vec<i64>,
    #[serde(default)]
    pub back_warnings: Vec<i64>,
}

/// Whether a living person stood before the camera.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Liveness {
    pub code: Option<i64>,
    pub message: Option<String>,
    pub mode: Option<i64>,
    pub action_sequence: Option<String>,
    pub risk_tags: Vec<String>,
}

/// Whether it was the right person.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub code: Option<i64>,
    pub message: Option<String>,
    pub similarity: Option<String>,
    pub source: Option<String>,
}

/// One attempt of the user, as the vendor lists it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LivenessAttempt {
    pub sequence_id: Option<String>,
    pub at: Option<Timestamp>,
    pub charged: Option<bool>,
    pub code: Option<i64>,
    pub message: Option<String>,
    pub liveness_code: Option<i64>,
    pub liveness_message: Option<String>,
    pub comparison_code: Option<i64>,
    pub comparison_message: Option<String>,
    pub similarity: Option<String>,
    pub comparison_source: Option<String>,
    pub liveness_mode: Option<i64>,
    pub name: Option<String>,
    pub id_number: Option<String>,
}

/// Result of the consent step.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Intention {
    pub code: Option<i64>,
    pub message: Option<String>,
    pub mode: Option<IntentionMode>,
    pub transcripts: Vec<String>,
    pub transcript_similarity: Option<String>,
    pub question_codes: Vec<String>,
    pub questions_code: Option<String>,
}

impl VerificationResult {
    /// The same with names and numbers masked, and without what identifies a person or was said by
    /// one.
    ///
    /// Every field is named, so that a new one makes its author decide.
    #[must_use]
    pub fn masked(self) -> Self {
        let Self {
            code,
            message,
            identity,
            id_card,
            liveness,
            comparison,
            intention,
            attempts,
            extra: _,
            location: _,
            mobile,
            nfc_request_ids,
            nfc_billing_count,
            vendor_request_id,
            fetched_at,
            vendor_raw: _,
            unkept_media,
        } = self;
        Self {
            code,
            message,
            identity: identity.masked(),
            id_card: id_card.masked(),
            liveness,
            comparison,
            intention: intention.map(|intention| Intention { transcripts: Vec::new(), ..intention }),
            attempts: attempts.into_iter().map(LivenessAttempt::masked).collect(),
            extra: None,
            location: None,
            mobile: masked_number(mobile),
            nfc_request_ids,
            nfc_billing_count,
            vendor_request_id,
            fetched_at,
            vendor_raw: BTreeMap::new(),
            unkept_media: unkept_media.into_iter().map(|medium| UnkeptMedium { text: None, ..medium }).collect(),
        }
    }
}

impl Identity {
    fn masked(self) -> Self {
        let Self { name, id_number, document_type, source, travel_permit_number: _, visa_number: _ } = self;
        Self {
            name: masked_name(name),
            id_number: masked_number(id_number),
            document_type,
            source,
            travel_permit_number: None,
            visa_number: None,
        }
    }
}

impl IdCardText {
    fn masked(self) -> Self {
        let Self {
            name,
            id_number,
            gender,
            ethnicity: _,
            birth_date: _,
            address: _,
            authority: _,
            valid_period,
            front_warnings,
            back_warnings,
        } = self;
        Self {
            name: masked_name(name),
            id_number: masked_number(id_number),
            gender,
            ethnicity: None,
            birth_date: None,
            address: None,
            authority: None,
            valid_period,
            front_warnings,
            back_warnings,
        }
    }
}

impl LivenessAttempt {
    fn masked(self) -> Self {
        Self { name: masked_name(self.name), id_number: masked_number(self.id_number), ..self }
    }
}

fn masked_name(name: Option<String>) -> Option<String> {
    name.map(|name| mask_name(&name))
}

fn masked_number(number: Option<String>) -> Option<String> {
    number.map(|number| mask_number(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::{MediaKind, NotKept};

    #[test]
    fn masking_leaves_no_personal_text() {
        let secret = |text: &str| Some(format!("SECRET-{text}-1234567890"));
        let full = VerificationResult {
            identity: Identity {
                name: secret("name"),
                id_number: secret("id"),
                travel_permit_number: secret("permit"),
                visa_number: secret("visa"),
                ..Identity::default()
            },
            id_card: IdCardText {
                name: secret("name"),
                id_number: secret("id"),
                ethnicity: secret("ethnicity"),
                birth_date: secret("birth"),
                address: secret("address"),
                authority: secret("authority"),
                gender: Some("男".into()),
                valid_period: Some("2020.01.01-2040.01.01".into()),
                ..IdCardText::default()
            },
            intention: Some(Intention { transcripts: vec!["SECRET".into()], code: Some(0), ..Intention::default() }),
            attempts: vec![LivenessAttempt {
                name: secret("name"),
                id_number: secret("id"),
                ..LivenessAttempt::default()
            }],
            extra: secret("extra"),
            location: secret("location"),
            mobile: secret("mobile"),
            vendor_raw: BTreeMap::from([("Text.New".into(), "\"SECRET\"".into())]),
            unkept_media: vec![UnkeptMedium {
                kind: MediaKind::LivenessVideo,
                position: 1,
                attempt_seq: None,
                why: NotKept::Reference,
                text: secret("reference"),
            }],
            ..VerificationResult::default()
        };
        let masked = full.masked();
        let text = serde_json::to_string(&masked).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
        assert_eq!(masked.id_card.gender.as_deref(), Some("男"));
        assert_eq!(masked.intention.unwrap().code, Some(0));
    }
}
