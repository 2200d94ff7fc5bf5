//! From the vendor's JSON to our words: what a verdict depends on, and what is kept as the result.

use super::wire::{DetectDetail, GetDetectInfoEnhancedResponse};
use crate::domain::{
    intention::IntentionMode,
    outcome::{Findings, IntentionFinding, LivenessFinding},
    result::{Comparison, IdCardText, Identity, Intention, Liveness, LivenessAttempt, VerificationResult},
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

impl GetDetectInfoEnhancedResponse {
    /// What a verdict depends on. None when the answer has no text at all: then it tells nothing.
    pub fn findings(&self) -> Option<Findings> {
        let text = self.text.as_ref()?;
        let details = text.liveness_detail.as_deref().unwrap_or_default();
        Some(Findings {
            face_code: text.err_code,
            intention: self.intention_finding(),
            last_liveness: details.last().map(|detail| LivenessFinding { code: detail.err_code, at: time_of(detail) }),
        })
    }

    /// The result to keep: every field of the answer but photos, audio and video.
    pub fn into_result(self, request_id: String, fetched_at: Timestamp) -> VerificationResult {
        let vendor_raw = self.unknown_fields();
        let intention = self.had_intention_step().then(|| self.intention());
        let card = self.id_card_data.unwrap_or_default();
        let front_warnings = card.warn_infos.unwrap_or_default();
        let back_warnings = card.back_warn_infos.unwrap_or_default();
        let text = self.text.unwrap_or_default();
        VerificationResult {
            code: text.err_code,
            message: text.err_msg,
            identity: Identity {
                name: text.name,
                id_number: text.id_card,
                document_type: text.use_id_type,
                source: text.id_info_from,
                travel_permit_number: text.pass_no,
                visa_number: text.visa_num,
            },
            id_card: IdCardText {
                name: text.ocr_name,
                id_number: text.ocr_id_card,
                gender: text.ocr_gender,
                ethnicity: text.ocr_nation,
                birth_date: text.ocr_birth,
                address: text.ocr_address,
                authority: text.ocr_authority,
                valid_period: text.ocr_valid_date,
                front_warnings,
                back_warnings,
            },
            liveness: Liveness {
                code: text.live_status,
                message: text.live_msg,
                mode: text.liveness_mode,
                action_sequence: text.liveness_action_sequence,
                risk_tags: text.liveness_info_tag.unwrap_or_default(),
            },
            comparison: Comparison {
                code: text.compare_status,
                message: text.compare_msg,
                similarity: text.sim,
                source: text.compare_lib_type,
            },
            intention,
            attempts: text.liveness_detail.unwrap_or_default().into_iter().map(liveness_attempt).collect(),
            extra: text.extra,
            location: text.location,
            mobile: text.mobile,
            nfc_request_ids: text.nfc_request_ids.unwrap_or_default(),
            nfc_billing_count: text.nfc_billing_counts,
            vendor_request_id: request_id,
            fetched_at,
            vendor_raw,
        }
    }

    /// Whether the answer says that there was an intention step. Its objects say nothing: the vendor sends them, full of nulls,
    /// where there was none.
    pub fn had_intention_step(&self) -> bool {
        self.is_verify_intention == Some(true)
    }

    fn intention_finding(&self) -> IntentionFinding {
        IntentionFinding {
            was_on: self.is_verify_intention,
            mode: self.intention_mode(),
            read_aloud_code: self.intention_verify_data.as_ref().and_then(|data| data.error_code),
            questions_code: self.intention_question_result.as_ref().and_then(|part| part.final_result_detail_code),
            nods_code: self.intention_action_result.as_ref().and_then(|part| part.final_result_detail_code),
        }
    }

    /// The vendor numbers the modes "0" to "2".
    fn intention_mode(&self) -> Option<IntentionMode> {
        match self.intention_verify_type.as_deref() {
            Some("0") => Some(IntentionMode::Questions),
            Some("1") => Some(IntentionMode::Nods),
            Some("2") => Some(IntentionMode::ReadAloud),
            _ => None,
        }
    }

    fn intention(&self) -> Intention {
        let read_aloud = self.intention_verify_data.as_ref();
        let questions = self.intention_question_result.as_ref();
        let nods = self.intention_action_result.as_ref();
        let message = read_aloud
            .and_then(|data| data.error_message.clone())
            .or_else(|| questions.and_then(|result| result.final_result_message.clone()))
            .or_else(|| nods.and_then(|result| result.final_result_message.clone()));
        let read_transcript = read_aloud.and_then(|data| data.asr_result.clone());
        let answers = questions.and_then(|result| result.asr_result.clone()).unwrap_or_default();
        Intention {
            code: self.intention_finding().code(self.intention_mode()),
            message,
            mode: self.intention_mode(),
            transcripts: read_transcript.into_iter().chain(answers).collect(),
            transcript_similarity: read_aloud.and_then(|data| data.asr_result_similarity.clone()),
            question_codes: questions.and_then(|result| result.result_code.clone()).unwrap_or_default(),
            questions_code: questions.and_then(|result| result.final_result_code.clone()),
        }
    }

    /// What has no place of its own in the result, at every level, by dotted path: unpublished fields, and published ones whose
    /// value we cannot read or did not ask for.
    fn unknown_fields(&self) -> BTreeMap<String, String> {
        let mut raw = BTreeMap::new();
        collect(&mut raw, "", &self.unknown);
        if let Some(mode) = self.intention_verify_type.as_ref().filter(|_| self.intention_mode().is_none()) {
            raw.insert("IntentionVerifyType".into(), Value::from(mode.as_str()).to_string());
        }
        if let Some(body) = &self.encrypted_body {
            raw.insert("EncryptedBody".into(), Value::from(body.as_str()).to_string());
        }
        if let Some(text) = &self.text {
            collect(&mut raw, "Text.", &text.unknown);
            for (i, detail) in text.liveness_detail.iter().flatten().enumerate() {
                collect(&mut raw, &format!("Text.LivenessDetail[{i}]."), &detail.unknown);
                if let Some(odd) = detail.req_time.as_ref().filter(|_| time_of(detail).is_none()) {
                    raw.insert(format!("Text.LivenessDetail[{i}].ReqTime"), Value::from(odd.as_str()).to_string());
                }
            }
        }
        if let Some(data) = &self.id_card_data {
            collect(&mut raw, "IdCardData.", &data.unknown);
        }
        if let Some(frames) = &self.best_frame {
            collect(&mut raw, "BestFrame.", &frames.unknown);
        }
        if let Some(videos) = &self.video_data {
            collect(&mut raw, "VideoData.", &videos.unknown);
            for (i, video) in videos.liveness_videos.iter().flatten().enumerate() {
                collect(&mut raw, &format!("VideoData.LivenessVideos[{i}]."), &video.unknown);
            }
        }
        if let Some(encryption) = &self.encryption {
            collect(&mut raw, "Encryption.", &encryption.unknown);
        }
        if let Some(data) = &self.intention_verify_data {
            collect(&mut raw, "IntentionVerifyData.", &data.unknown);
        }
        if let Some(result) = &self.intention_question_result {
            collect(&mut raw, "IntentionQuestionResult.", &result.unknown);
        }
        if let Some(result) = &self.intention_action_result {
            collect(&mut raw, "IntentionActionResult.", &result.unknown);
            for (i, detail) in result.details.iter().flatten().enumerate() {
                collect(&mut raw, &format!("IntentionActionResult.Details[{i}]."), &detail.unknown);
            }
        }
        raw
    }
}

fn collect(raw: &mut BTreeMap<String, String>, path: &str, unknown: &Map<String, Value>) {
    raw.extend(
        unknown
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (format!("{path}{name}"), value.to_string())),
    );
}

fn liveness_attempt(detail: DetectDetail) -> LivenessAttempt {
    LivenessAttempt {
        at: time_of(&detail),
        sequence_id: detail.seq,
        charged: detail.is_need_charge,
        code: detail.err_code,
        message: detail.err_msg,
        liveness_code: detail.live_status,
        liveness_message: detail.live_msg,
        comparison_code: detail.compare_status,
        comparison_message: detail.compare_msg,
        similarity: detail.sim,
        comparison_source: detail.compare_lib_type,
        liveness_mode: detail.liveness_mode,
        name: detail.name,
        id_number: detail.id_card,
    }
}

/// `ReqTime` is a string of milliseconds since the UNIX epoch.
fn time_of(detail: &DetectDetail) -> Option<Timestamp> {
    let ms = detail.req_time.as_deref()?.parse().ok()?;
    Timestamp::from_millisecond(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> GetDetectInfoEnhancedResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nulls_everywhere_find_nothing() {
        for json in ["{}", r#"{"Text":null}"#, r#"{"Text":null,"EncryptedBody":"x"}"#] {
            assert_eq!(answer(json).findings(), None, "{json}");
        }
        let untouched = answer(r#"{"Text":{"ErrCode":null,"LivenessDetail":null},"IsVerifyIntention":null}"#);
        let nothing = Findings { face_code: None, intention: IntentionFinding::default(), last_liveness: None };
        assert_eq!(untouched.findings(), Some(nothing));
    }

    #[test]
    fn each_intention_mode_has_a_code_of_its_own() {
        let read = r#"{"Text":{"ErrCode":0},"IsVerifyIntention":true,"IntentionVerifyType":"2",
            "IntentionVerifyData":{"ErrorCode":-301},"IntentionQuestionResult":{"FinalResultDetailCode":0}}"#;
        let found = answer(read).findings().unwrap().intention;
        assert_eq!((found.was_on, found.mode), (Some(true), Some(IntentionMode::ReadAloud)));
        assert_eq!((found.read_aloud_code, found.questions_code, found.nods_code), (Some(-301), Some(0), None));
        assert_eq!(answer(read).intention().code, Some(-301));
    }

    #[test]
    fn an_intention_object_says_nothing_of_the_step() {
        for object in ["{}", r#"{"ErrorCode":null,"AsrResult":null}"#, r#"{"ErrorCode":0,"AsrResult":""}"#] {
            let json = format!(
                r#"{{"Text":{{"ErrCode":0}},"IsVerifyIntention":false,"IntentionVerifyType":"","IntentionVerifyData":{object}}}"#
            );
            let answer = answer(&json);
            assert_eq!(answer.findings().unwrap().intention.was_on, Some(false), "{object}");
            assert!(!answer.had_intention_step(), "{object}");
        }
    }

    #[test]
    fn unpublished_fields_are_kept_by_path() {
        let result = answer(
            r#"{"Text":{"ErrCode":0,"New":{"a":1},"LivenessDetail":[{"Seq":"1"},{"Seq":"2","Odd":"x","Gone":null}]},"Top":[1]}"#,
        )
        .into_result("r-1".into(), Timestamp::UNIX_EPOCH);
        let raw: Vec<_> = result.vendor_raw.iter().map(|(path, json)| (path.as_str(), json.as_str())).collect();
        assert_eq!(raw, [("Text.LivenessDetail[1].Odd", "\"x\""), ("Text.New", "{\"a\":1}"), ("Top", "[1]")]);
        assert_eq!(result.attempts.len(), 2);
    }

    #[test]
    fn published_fields_that_cannot_be_read_are_kept_too() {
        let result = answer(
            r#"{"Text":{"LivenessDetail":[{"ReqTime":"soon"}]},"IntentionVerifyType":"9","IdCardData":{"WarnInfos":[-9102]}}"#,
        )
        .into_result("r-1".into(), Timestamp::UNIX_EPOCH);
        assert_eq!(result.id_card.front_warnings, [-9102]);
        let raw: Vec<_> = result.vendor_raw.iter().map(|(path, json)| (path.as_str(), json.as_str())).collect();
        let kept = [("IntentionVerifyType", "\"9\""), ("Text.LivenessDetail[0].ReqTime", "\"soon\"")];
        assert_eq!(raw, kept);
    }

    #[test]
    fn attempt_times_are_milliseconds_or_absent() {
        let json = r#"{"Text":{"LivenessDetail":[{"ReqTime":"1700000000123","Errcode":1004}]}}"#;
        let liveness = answer(json).findings().unwrap().last_liveness.unwrap();
        assert_eq!(liveness.at.unwrap().as_millisecond(), 1_700_000_000_123);
        let odd = answer(r#"{"Text":{"LivenessDetail":[{"ReqTime":"soon"}]}}"#);
        assert_eq!(odd.findings().unwrap().last_liveness.unwrap().at, None);
    }
}
