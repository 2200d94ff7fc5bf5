//! The answer of GetDetectInfoEnhanced, field for field as the vendor's definition has it [41957].
//!
//! Every field is written, with null where the vendor has nothing to say.

use serde_json::{Value, json};

use super::attempt::Attempt;
use super::codes::{self, Stage};
use super::identity::{self, Card};
use super::media::media;
use super::rule::{Comparison, IntentionMode};
use super::state::Token;

/// Which parts of the result the caller asked for (`InfoType` and the options beside it).
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub(super) text: bool,
    pub(super) id_card: bool,
    pub(super) best_frame: bool,
    pub(super) video: bool,
    pub(super) read_aloud: bool,
    pub(super) questions_or_nods: bool,
    /// How many frames `BestFrames` holds, 0 to 10; the best one comes apart from them.
    pub(super) best_frames: usize,
    pub(super) cut_card: bool,
    pub(super) avatar: bool,
    pub(super) all_videos: bool,
}

/// The whole answer, but for the RequestId.
pub(super) fn detect_info(token: &Token, comparison: Comparison, selection: &Selection) -> Value {
    let last = token.attempts.last();
    let part = |wanted: bool, value: &dyn Fn() -> Value| if wanted { value() } else { Value::Null };
    json!({
        "Text": part(selection.text, &|| text(token, comparison)),
        "IdCardData": part(selection.id_card, &|| id_card_data(last, selection)),
        "BestFrame": part(selection.best_frame, &|| best_frame(last, selection)),
        "VideoData": part(selection.video, &|| video_data(token, selection)),
        "Encryption": null,
        "IntentionVerifyData": part(selection.read_aloud, &|| intention(token, IntentionMode::ReadAloud)),
        "IntentionQuestionResult": part(selection.questions_or_nods, &|| intention(token, IntentionMode::Questions)),
        "IntentionActionResult": part(selection.questions_or_nods, &|| intention(token, IntentionMode::Nods)),
        "EncryptedBody": null,
        "IsVerifyIntention": token.intention.is_some(),
        "IntentionVerifyType": token.intention.map(IntentionMode::vendor_type),
    })
}

fn text(token: &Token, comparison: Comparison) -> Value {
    let last = token.attempts.len().checked_sub(1).map(|at| Findings::of(token, at, comparison));
    let code = token.reported_code();
    // A token that ran out of attempts reports that, and no finding of the attempt before.
    let found = last.as_ref().filter(|_| !token.exhausted);
    let card = last.as_ref().and_then(|last| last.card.as_ref());
    let begun = last.is_some();
    let details: Vec<Value> = (0..token.attempts.len()).map(|at| detail(token, at, comparison)).collect();
    json!({
        "ErrCode": code,
        "ErrMsg": code.map(codes::message),
        "IdCard": token.order.id_card.as_ref().filter(|_| begun).or(card.map(|card| &card.id_number)),
        "UseIDType": begun.then_some(0),
        "Name": token.order.name.as_ref().filter(|_| begun).or(card.map(|card| &card.name)),
        "OcrNation": card.map(|card| card.nation),
        "OcrAddress": card.map(|card| &card.address),
        "OcrBirth": card.map(|card| &card.birth),
        "OcrAuthority": card.map(|card| &card.authority),
        "OcrValidDate": card.map(|card| &card.valid_date),
        "OcrName": card.map(|card| &card.name),
        "OcrIdCard": card.map(|card| &card.id_number),
        "OcrGender": card.map(|card| card.gender),
        "IdInfoFrom": begun.then_some(if token.order.id_card.is_some() { "手动输入" } else { "OCR" }),
        "LiveStatus": found.and_then(|found| found.live_status),
        "LiveMsg": found.and_then(|found| found.live_status).map(codes::message),
        "Comparestatus": found.and_then(|found| found.compare_status),
        "Comparemsg": found.and_then(|found| found.compare_status).map(codes::message),
        "Sim": found.and_then(|found| found.sim.as_deref()),
        "Location": null,
        "Extra": token.order.extra.as_ref().filter(|_| begun),
        "LivenessDetail": begun.then_some(details),
        "LivenessInfoTag": null,
        "Mobile": null,
        "CompareLibType": found.and_then(|found| found.library),
        "LivenessMode": found.and_then(|found| found.liveness_mode),
        "NFCRequestIds": null,
        "NFCBillingCounts": null,
        "PassNo": null,
        "VisaNum": null,
        "LivenessActionSequence": null,
    })
}

/// One entry of `LivenessDetail`. Its field names are the vendor's, capitals included.
fn detail(token: &Token, at: usize, comparison: Comparison) -> Value {
    let attempt = &token.attempts[at];
    let found = Findings::of(token, at, comparison);
    let card = found.card.as_ref();
    json!({
        "ReqTime": attempt.at_ms.to_string(),
        "Seq": attempt.seq,
        "Idcard": token.order.id_card.as_ref().or(card.map(|card| &card.id_number)),
        "Name": token.order.name.as_ref().or(card.map(|card| &card.name)),
        "Sim": found.sim,
        "IsNeedCharge": attempt.charged,
        "Errcode": attempt.outcome.code,
        "Errmsg": codes::message(attempt.outcome.code),
        "Livestatus": found.live_status,
        "Livemsg": found.live_status.map(codes::message),
        "Comparestatus": found.compare_status,
        "Comparemsg": found.compare_status.map(codes::message),
        "CompareLibType": found.library,
        "LivenessMode": found.liveness_mode,
    })
}

/// What an attempt found out before it ended; `None` for each stage that it did not reach.
struct Findings {
    card: Option<Card>,
    live_status: Option<i64>,
    compare_status: Option<i64>,
    sim: Option<String>,
    library: Option<&'static str>,
    liveness_mode: Option<i64>,
}

impl Findings {
    fn of(token: &Token, at: usize, comparison: Comparison) -> Self {
        let attempt = &token.attempts[at];
        let code = attempt.outcome.code;
        let stage = stage(attempt);
        let live_status = match stage {
            Stage::Liveness => Some(code),
            Stage::Compare | Stage::Final => Some(0),
            _ => None,
        };
        let compare_status = matches!(stage, Stage::Compare | Stage::Final).then_some(code);
        Self {
            card: card(token, attempt),
            live_status,
            compare_status,
            sim: similarity(code, token.seed + at as u64),
            library: compare_status.map(|_| match comparison {
                Comparison::Authority => "权威库",
                Comparison::UploadedPhoto => "业务方自有库",
            }),
            // 4: motion and light, the one of the WeChat overlay.
            liveness_mode: live_status.map(|_| 4),
        }
    }
}

fn stage(attempt: &Attempt) -> Stage {
    codes::find(attempt.outcome.code).map_or(Stage::System, |known| known.stage)
}

fn card(token: &Token, attempt: &Attempt) -> Option<Card> {
    let (name, id_card) = (token.order.name.as_deref(), token.order.id_card.as_deref());
    let card = identity::card(name, id_card, token.seed, token.created_ms);
    match (stage(attempt), attempt.outcome.code) {
        (Stage::System | Stage::Wechat, _) | (_, 303) => None,
        (_, 301) => Some(card.with_other_number(token.seed + 1)),
        (_, 302) => Some(card.expired(token.created_ms)),
        _ => Some(card),
    }
}

/// "0.00" to "100.00", and 70 or more only for the same person. Other codes leave nothing to compare.
fn similarity(code: i64, seed: u64) -> Option<String> {
    let range = match code {
        0 => 85_00..99_00,
        2016 => 40_00..69_00,
        2011 | 2015 => 5_00..35_00,
        _ => return None,
    };
    let hundredths = range.start + (seed * 617) % (range.end - range.start);
    Some(format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

fn id_card_data(last: Option<&Attempt>, selection: &Selection) -> Value {
    let Some(last) = last.filter(|last| !matches!(stage(last), Stage::System | Stage::Wechat)) else {
        return Value::Null;
    };
    let expired = last.outcome.code == 302;
    json!({
        "OcrFront": media().card_front,
        "OcrBack": media().card_back,
        "ProcessedFrontImage": selection.cut_card.then_some(&media().cut_front),
        "ProcessedBackImage": selection.cut_card.then_some(&media().cut_back),
        "Avatar": selection.avatar.then_some(&media().avatar),
        "WarnInfos": [],
        // -9100: the dates on the card are not valid.
        "BackWarnInfos": if expired { json!([-9100]) } else { json!([]) },
    })
}

fn best_frame(last: Option<&Attempt>, selection: &Selection) -> Value {
    if !last.is_some_and(|last| matches!(stage(last), Stage::Compare | Stage::Final)) {
        return Value::Null;
    }
    let frames = &media().best_frames;
    let more = (selection.best_frames > 0).then(|| frames.iter().take(selection.best_frames).collect::<Vec<_>>());
    json!({ "BestFrame": frames[0], "BestFrames": more })
}

fn video_data(token: &Token, selection: &Selection) -> Value {
    let filmed = |attempt: &&Attempt| matches!(stage(attempt), Stage::Liveness | Stage::Compare | Stage::Final);
    let videos: Vec<Value> = token
        .attempts
        .iter()
        .filter(filmed)
        .map(|attempt| json!({ "Seq": attempt.seq, "Video": media().liveness_video }))
        .collect();
    let last = token.attempts.last().filter(filmed).map(|_| &media().liveness_video);
    if last.is_none() && (videos.is_empty() || !selection.all_videos) {
        return Value::Null;
    }
    json!({ "LivenessVideo": last, "LivenessVideos": selection.all_videos.then_some(videos) })
}

/// The result of the intention step, if the flow has it in this mode and the user came that far.
fn intention(token: &Token, mode: IntentionMode) -> Value {
    let code = token.attempts.last().and_then(|last| last.outcome.intention_code);
    let (Some(code), true) = (code, token.intention == Some(mode)) else {
        return Value::Null;
    };
    let script = &token.order.intention_script;
    let each = |text: &str| script.iter().map(|_| text.to_owned()).collect::<Vec<_>>();
    let passed = code == 0;
    let media = media();
    match mode {
        IntentionMode::ReadAloud => json!({
            "IntentionVerifyVideo": media.intention_video,
            "AsrResult": if passed { script.concat() } else { String::new() },
            "ErrorCode": code,
            "ErrorMessage": codes::message(code),
            "IntentionVerifyBestFrame": media.intention_frame,
            "AsrResultSimilarity": if passed { "98.00" } else { "0.00" },
            "IntentionVerifyAudio": media.intention_audio,
        }),
        IntentionMode::Questions => json!({
            "FinalResultDetailCode": code,
            "FinalResultMessage": codes::message(code),
            "Video": media.intention_video,
            "ScreenShot": each(&media.intention_frame),
            "ResultCode": each(&code.to_string()),
            "AsrResult": each(if passed { "是的" } else { "" }),
            "Audios": each(&media.intention_audio),
            "FinalResultCode": code.to_string(),
        }),
        IntentionMode::Nods => json!({
            "FinalResultDetailCode": code,
            "FinalResultMessage": codes::message(code),
            "Details": script.iter().map(|_| json!({
                "Video": media.intention_video,
                "ScreenShot": [media.intention_frame],
            })).collect::<Vec<_>>(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::{MAX_ATTEMPTS, Outcome};
    use super::super::rule::Rule;
    use super::super::state::{NewToken, State};
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    /// A token under the first rule, on which these attempts were made.
    fn token(codes: &[i64]) -> Token {
        let mut state = State::new(Rule::defaults());
        state.make_token("T".to_owned(), &Rule::defaults()[0], NewToken::default(), NOW_MS);
        for &code in codes {
            // The attempts past the limit are refused, which is part of what is tested.
            let _refused = state.attempt("T", Outcome::from_code(code).ok(), NOW_MS);
        }
        state.token("T").unwrap().clone()
    }

    #[test]
    fn a_token_out_of_attempts_reports_16_and_keeps_its_details() {
        let token = token(&[1004; MAX_ATTEMPTS + 1]);
        let text = text(&token, Comparison::Authority);
        assert_eq!((&text["ErrCode"], &text["LiveStatus"]), (&json!(16), &Value::Null));
        assert_eq!(text["LivenessDetail"].as_array().unwrap().len(), MAX_ATTEMPTS);
    }

    #[test]
    fn an_identity_that_was_not_submitted_is_read_off_the_card() {
        let text = text(&token(&[0]), Comparison::UploadedPhoto);
        assert_eq!(text["IdCard"], text["OcrIdCard"]);
        assert!(identity::is_id_number(text["IdCard"].as_str().unwrap()));
        assert_eq!((&text["IdInfoFrom"], &text["CompareLibType"]), (&json!("OCR"), &json!("业务方自有库")));
    }

    #[test]
    fn each_filmed_attempt_has_its_video_when_all_are_asked_for() {
        let token = token(&[301, 1004, 2016]);
        let video = video_data(&token, &Selection { all_videos: true, ..Selection::default() });
        let seqs: Vec<_> = video["LivenessVideos"].as_array().unwrap().iter().map(|video| &video["Seq"]).collect();
        assert_eq!(seqs, [&token.attempts[1].seq, &token.attempts[2].seq]);
        assert_eq!(video_data(&token, &Selection::default())["LivenessVideos"], Value::Null);
    }

    #[test]
    fn similarity_is_70_or_more_for_the_same_person_only() {
        for seed in 0..5_000 {
            let value = |code| similarity(code, seed).unwrap().parse::<f64>().unwrap();
            assert!((70.0..=100.0).contains(&value(0)));
            assert!(value(2016) < 70.0 && value(2015) < 70.0);
        }
        assert_eq!(similarity(1004, 1), None);
    }
}
