//! From the vendor's JSON to our words: what a verdict depends on, and what is kept as the result
//! (document 41957).

use super::tree::{Object, Tree, Undecidable};
use crate::{
    domain::{
        evidence::{MediaKind, NotKept, UnkeptMedium},
        intention::IntentionMode,
        outcome::{Findings, IntentionFinding, LivenessFinding, Report},
        result::{Comparison, IdCardText, Identity, Intention, Liveness, LivenessAttempt, VerificationResult},
    },
    tencent::terms::BesideMedia,
};
use jiff::Timestamp;
use serde_json::Value;

/// Media are fetched apart, piece by piece; a photo or video that the vendor sends unasked beside a
/// text is not kept.
const MEDIA: [(&str, &[&str]); 6] = [
    ("IdCardData", &["OcrFront", "OcrBack", "ProcessedFrontImage", "ProcessedBackImage", "Avatar"]),
    ("BestFrame", &["BestFrame", "BestFrames"]),
    ("VideoData", &["LivenessVideo", "LivenessVideos"]),
    ("IntentionVerifyData", &["IntentionVerifyVideo", "IntentionVerifyBestFrame", "IntentionVerifyAudio"]),
    ("IntentionQuestionResult", &["Video", "ScreenShot", "Audios"]),
    ("IntentionActionResult", &["Details"]),
];

/// No photo is so short: a reference, or what an example has in a photo's place.
const MAX_MEDIUM_TEXT: usize = 4096;
/// Media that are documented as one text each.
const SINGLE_MEDIA: [(&str, &str, MediaKind); 7] = [
    ("BestFrame", "BestFrame", MediaKind::BestFrame),
    ("IdCardData", "OcrFront", MediaKind::IdCardFront),
    ("IdCardData", "OcrBack", MediaKind::IdCardBack),
    ("IdCardData", "ProcessedFrontImage", MediaKind::IdCardFrontProcessed),
    ("IdCardData", "ProcessedBackImage", MediaKind::IdCardBackProcessed),
    ("IdCardData", "Avatar", MediaKind::IdCardAvatar),
    ("VideoData", "LivenessVideo", MediaKind::LivenessVideo),
];

/// Places of the answer to a request for text.
const ELSEWHERE: [&str; 9] = [
    "RequestId",
    "Text",
    "Encryption",
    "EncryptedBody",
    "IsVerifyIntention",
    "IntentionVerifyType",
    "IntentionVerifyData",
    "IntentionQuestionResult",
    "IntentionActionResult",
];

/// Whether the answer says that there was an intention step. Its objects say nothing: the vendor
/// sends them, full of nulls, where there was none.
pub(super) fn had_intention_step(answer: &Tree) -> bool {
    answer.has_flag("IsVerifyIntention")
}

/// Reads the answer to the question that was put at `asked_at`. What has no place in the result
/// stays beside it.
///
/// # Errors
/// A field that a verdict depends on is there and cannot be read.
pub(in crate::tencent) fn read_report(
    mut answer: Tree,
    request_id: String,
    asked_at: Timestamp,
) -> Result<Report, Undecidable> {
    let had_step = had_intention_step(&answer);
    let mut root = answer.root();
    root.drop("RequestId");
    for (name, media) in MEDIA {
        let mut part = root.object(name);
        // Those of a step that was on come with every question for its text.
        let limit = if had_step && name.starts_with("Intention") { 0 } else { MAX_MEDIUM_TEXT };
        media.iter().for_each(|medium| part.drop_long_texts(medium, limit));
    }
    let step = intention_step(&mut root)?;
    let intention = (step.was_on == Some(true)).then(|| intention(&mut root, step));
    let mut card = root.object("IdCardData");
    let (front_warnings, back_warnings) = (card.integers("WarnInfos"), card.integers("BackWarnInfos"));
    let mut text = root.deciding_object("Text")?;
    let has_text = text.is_there();
    let code = text.deciding_integer("ErrCode")?;
    let attempts: Vec<LivenessAttempt> = text.objects("LivenessDetail").into_iter().map(liveness_attempt).collect();
    let findings = has_text.then(|| Findings {
        face_code: code,
        intention: step,
        last_liveness: attempts.last().map(|last| LivenessFinding { code: last.code, at: last.at }),
    });
    let result = VerificationResult {
        code,
        message: text.text("ErrMsg"),
        identity: Identity {
            name: text.text("Name"),
            id_number: text.text("IdCard"),
            document_type: text.integer("UseIDType"),
            source: text.text("IdInfoFrom"),
            travel_permit_number: text.text("PassNo"),
            visa_number: text.text("VisaNum"),
        },
        id_card: IdCardText {
            name: text.text("OcrName"),
            id_number: text.text("OcrIdCard"),
            gender: text.text("OcrGender"),
            ethnicity: text.text("OcrNation"),
            birth_date: text.text("OcrBirth"),
            address: text.text("OcrAddress"),
            authority: text.text("OcrAuthority"),
            valid_period: text.text("OcrValidDate"),
            front_warnings,
            back_warnings,
        },
        liveness: Liveness {
            code: text.integer("LiveStatus"),
            message: text.text("LiveMsg"),
            mode: text.integer("LivenessMode"),
            action_sequence: text.text("LivenessActionSequence"),
            risk_tags: text.texts("LivenessInfoTag"),
        },
        comparison: Comparison {
            code: text.integer("Comparestatus"),
            message: text.text("Comparemsg"),
            similarity: text.text("Sim"),
            source: text.text("CompareLibType"),
        },
        intention,
        attempts,
        extra: text.text("Extra"),
        location: text.text("Location"),
        mobile: text.text("Mobile"),
        nfc_request_ids: text.texts("NFCRequestIds"),
        nfc_billing_count: text.integer("NFCBillingCounts"),
        vendor_request_id: request_id,
        fetched_at: asked_at,
        vendor_raw: answer.leftovers(),
        unkept_media: Vec::new(),
    };
    if !result.vendor_raw.is_empty() {
        metrics::counter!("faceid_vendor_fields_without_a_place_total").increment(result.vendor_raw.len() as u64);
    }
    Ok(Report { findings, result })
}

/// Media in whose place there is something that is no text at all. Those that are texts were taken
/// out.
pub(super) fn read_media_of_other_types(answer: &mut Tree) -> Vec<UnkeptMedium> {
    let mut root = answer.root();
    let is_odd = |(part, name, _): &&(&str, &str, MediaKind)| root.object(part).holds_something(name);
    let odd = SINGLE_MEDIA.iter().filter(is_odd);
    let unkept = |(_, _, kind): &(&str, &str, MediaKind)| UnkeptMedium {
        kind: *kind,
        position: 0,
        attempt_seq: None,
        why: NotKept::NotBase64,
        text: None,
    };
    odd.map(unkept).collect()
}

/// What the answer to a question for media has beside them, which were taken out. Everything else
/// is asked for with the text.
pub(super) fn read_beside_media(mut answer: Tree) -> BesideMedia {
    let mut root = answer.root();
    for name in ELSEWHERE {
        root.drop(name);
    }
    // Told with the video.
    for mut video in root.object("VideoData").objects("LivenessVideos") {
        video.drop("Seq");
    }
    let mut card = root.object("IdCardData");
    BesideMedia {
        front_warnings: card.integers("WarnInfos"),
        back_warnings: card.integers("BackWarnInfos"),
        vendor_raw: answer.leftovers(),
    }
}

/// Only codes that can be that of the step decide something: none where it was not on, and of the
/// reported mode where there is one.
fn intention_step(root: &mut Object<'_>) -> Result<IntentionFinding, Undecidable> {
    let was_on = root.deciding_boolean("IsVerifyIntention")?;
    let mode = root.take("IntentionVerifyType", read_mode);
    let mode_is_unknown = root.has("IntentionVerifyType");
    let mut code = |of: IntentionMode, part: &str, name: &'static str| {
        let mut part = root.object(part);
        match was_on {
            Some(true) if !mode_is_unknown && mode.is_none_or(|mode| mode == of) => part.deciding_integer(name),
            Some(true) => Ok(part.integer(name)),
            Some(false) | None => Ok(None),
        }
    };
    Ok(IntentionFinding {
        was_on,
        mode,
        mode_is_unknown,
        read_aloud_code: code(IntentionMode::ReadAloud, "IntentionVerifyData", "ErrorCode")?,
        questions_code: code(IntentionMode::Questions, "IntentionQuestionResult", "FinalResultDetailCode")?,
        nods_code: code(IntentionMode::Nods, "IntentionActionResult", "FinalResultDetailCode")?,
    })
}

/// The vendor numbers the modes "0" to "2".
fn read_mode(value: &Value) -> Option<IntentionMode> {
    match value.as_str().map(str::to_owned).or_else(|| Some(value.as_i64()?.to_string()))?.trim() {
        "0" => Some(IntentionMode::Questions),
        "1" => Some(IntentionMode::Nods),
        "2" => Some(IntentionMode::ReadAloud),
        _ => None,
    }
}

/// What was said in a step that was on. Of several modes with a message, the reported one's counts.
fn intention(root: &mut Object<'_>, step: IntentionFinding) -> Intention {
    let mut read_aloud = root.object("IntentionVerifyData");
    let read_message = read_aloud.text("ErrorMessage");
    let transcript = read_aloud.text("AsrResult");
    let transcript_similarity = read_aloud.text("AsrResultSimilarity");
    let mut questions = root.object("IntentionQuestionResult");
    let questions_message = questions.text("FinalResultMessage");
    let answers = questions.texts("AsrResult");
    let question_codes = questions.texts("ResultCode");
    let questions_code = questions.text("FinalResultCode");
    let nods_message = root.object("IntentionActionResult").text("FinalResultMessage");
    let message = match step.mode {
        Some(IntentionMode::ReadAloud) => read_message,
        Some(IntentionMode::Questions) => questions_message,
        Some(IntentionMode::Nods) => nods_message,
        None => read_message.or(questions_message).or(nods_message),
    };
    Intention {
        code: step.code(step.mode),
        message,
        mode: step.mode,
        transcripts: transcript.into_iter().chain(answers).collect(),
        transcript_similarity,
        question_codes,
        questions_code,
    }
}

fn liveness_attempt(mut detail: Object<'_>) -> LivenessAttempt {
    LivenessAttempt {
        at: detail.take("ReqTime", read_time),
        sequence_id: detail.text("Seq"),
        charged: detail.boolean("IsNeedCharge"),
        code: detail.integer("Errcode"),
        message: detail.text("Errmsg"),
        liveness_code: detail.integer("Livestatus"),
        liveness_message: detail.text("Livemsg"),
        comparison_code: detail.integer("Comparestatus"),
        comparison_message: detail.text("Comparemsg"),
        similarity: detail.text("Sim"),
        comparison_source: detail.text("CompareLibType"),
        liveness_mode: detail.integer("LivenessMode"),
        name: detail.text("Name"),
        id_number: detail.text("Idcard"),
    }
}

/// A time since the UNIX epoch: 13 digits are milliseconds, 10 are seconds. The vendor documents
/// 13, and for the bill only.
pub(super) fn read_time(value: &Value) -> Option<Timestamp> {
    let digits = value.as_str().map(|text| text.trim().to_owned()).or_else(|| Some(value.as_u64()?.to_string()))?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())??;
    match digits.len() {
        13 => Timestamp::from_millisecond(number).ok(),
        10 => Timestamp::from_second(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: &str) -> Result<Report, Undecidable> {
        read_report(serde_json::from_str(json).unwrap(), "r-1".into(), Timestamp::UNIX_EPOCH)
    }

    fn findings(json: &str) -> Option<Findings> {
        report(json).ok().unwrap().findings
    }

    fn raw(result: &VerificationResult) -> Vec<(&str, &str)> {
        result.vendor_raw.iter().map(|(path, json)| (path.as_str(), json.as_str())).collect()
    }

    #[test]
    fn nulls_everywhere_find_nothing() {
        for json in ["{}", r#"{"Text":null}"#, r#"{"Text":{}}"#, r#"{"Text":"","EncryptedBody":"x"}"#, "[]"] {
            assert_eq!(findings(json), None, "{json}");
        }
        let untouched = r#"{"Text":{"ErrCode":null,"LivenessDetail":null},"IsVerifyIntention":null}"#;
        let nothing = Findings { face_code: None, intention: IntentionFinding::default(), last_liveness: None };
        assert_eq!(findings(untouched), Some(nothing));
    }

    #[test]
    fn each_intention_mode_has_a_code_of_its_own() {
        let read = r#"{"Text":{"ErrCode":0},"IsVerifyIntention":true,"IntentionVerifyType":"2",
            "IntentionVerifyData":{"ErrorCode":-301,"ErrorMessage":"no"},
            "IntentionQuestionResult":{"FinalResultDetailCode":"0","FinalResultMessage":"ok"}}"#;
        let report = report(read).ok().unwrap();
        let found = report.findings.unwrap().intention;
        assert_eq!((found.was_on, found.mode), (Some(true), Some(IntentionMode::ReadAloud)));
        assert_eq!((found.read_aloud_code, found.questions_code, found.nods_code), (Some(-301), Some(0), None));
        let intention = report.result.intention.unwrap();
        assert_eq!((intention.code, intention.message.as_deref()), (Some(-301), Some("no")));
    }

    #[test]
    fn an_intention_object_says_nothing_of_the_step() {
        for object in ["{}", r#"{"ErrorCode":null,"AsrResult":null}"#, r#"{"ErrorCode":0,"AsrResult":""}"#] {
            let json = format!(
                r#"{{"Text":{{"ErrCode":0}},"IsVerifyIntention":false,"IntentionVerifyType":"","IntentionVerifyData":{object}}}"#
            );
            let report = report(&json).ok().unwrap();
            assert_eq!(report.findings.unwrap().intention.was_on, Some(false), "{object}");
            assert!(report.result.intention.is_none(), "{object}");
        }
    }

    #[test]
    fn what_decides_is_read_strictly_and_nothing_else_is() {
        for (undecidable, field) in [
            (r#"{"Text":{"ErrCode":"soon"}}"#, "ErrCode"),
            (r#"{"Text":{"ErrCode":[0]}}"#, "ErrCode"),
            (r#"{"Text":[0]}"#, "Text"),
            (r#"{"Text":{"ErrCode":0},"IsVerifyIntention":"perhaps"}"#, "IsVerifyIntention"),
            (r#"{"Text":{"ErrCode":0},"IsVerifyIntention":true,"IntentionVerifyData":{"ErrorCode":"x"}}"#, "ErrorCode"),
        ] {
            assert_eq!(report(undecidable).err(), Some(Undecidable(field)), "{undecidable}");
        }
        for odd in [
            r#"{"Text":{"ErrCode":"0","Sim":95.5,"LivenessMode":"1","LivenessDetail":{}}}"#,
            r#"{"Text":{"ErrCode":0,"Name":["a"],"LivenessDetail":"none"},"IdCardData":{"WarnInfos":["-9102","x"]}}"#,
            r#"{"Text":{"ErrCode":0},"IsVerifyIntention":false,"IntentionVerifyData":{"ErrorCode":"x"}}"#,
            r#"{"Text":{"ErrCode":0},"IntentionVerifyType":"9","BestFrame":true,"Encryption":[]}"#,
            r#"{"Text":{"ErrCode":0},"IsVerifyIntention":true,"IntentionVerifyType":"2",
                "IntentionVerifyData":{"ErrorCode":0},"IntentionQuestionResult":{"FinalResultDetailCode":"x"}}"#,
            r#"{"Text":{"ErrCode":0},"IsVerifyIntention":true,"IntentionVerifyType":{"x":1},"IntentionVerifyData":{"ErrorCode":"x"}}"#,
        ] {
            assert_eq!(findings(odd).unwrap().face_code, Some(0), "{odd}");
        }
    }

    #[test]
    fn what_has_no_place_is_kept_by_path() {
        let result = report(
            r#"{"Text":{"ErrCode":0,"New":{"a":1},"LivenessDetail":[{"Seq":"1","ReqTime":"soon"},{"Seq":"2","Odd":"x","Gone":null}]},
                "Top":[1],"IdCardData":{"OcrFront":"/9j/","WarnInfos":["-9102"],"Unpublished":2},"RequestId":"r-1",
                "IsVerifyIntention":false,"IntentionVerifyType":"9","IntentionVerifyData":{"ErrorCode":-5}}"#,
        )
        .ok()
        .unwrap()
        .result;
        let kept = [
            ("IdCardData.OcrFront", "\"/9j/\""),
            ("IdCardData.Unpublished", "2"),
            ("IntentionVerifyData.ErrorCode", "-5"),
            ("IntentionVerifyType", "\"9\""),
            ("Text.LivenessDetail[0].ReqTime", "\"soon\""),
            ("Text.LivenessDetail[1].Odd", "\"x\""),
            ("Text.New.a", "1"),
            ("Top[0]", "1"),
        ];
        assert_eq!(raw(&result), kept);
        assert_eq!((result.attempts.len(), result.id_card.front_warnings), (2, vec![-9102]));
    }

    #[test]
    fn attempt_times_are_milliseconds_or_seconds_or_absent() {
        let time = |json: &str| read_time(&serde_json::from_str(json).unwrap()).map(Timestamp::as_millisecond);
        assert_eq!(time(r#""1700000000123""#), Some(1_700_000_000_123));
        assert_eq!(time("1700000000123"), Some(1_700_000_000_123));
        assert_eq!(time(r#""1700000000""#), Some(1_700_000_000_000));
        for odd in [r#""soon""#, r#""0""#, r#""-170000000000""#, r#""17000000001""#, "1.5", "null"] {
            assert_eq!(time(odd), None, "{odd}");
        }
    }
}
