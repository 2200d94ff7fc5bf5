//! The answer of GetDetectInfoEnhanced, field for field as the vendor's definition has it (document
//! 41957).
//!
//! Every field is written, with null where the vendor has nothing to say; what that looks like is a
//! matter of the `shape`.

use serde_json::{Value, json};

use super::attempt::Attempt;
use super::body::{Answer, Attachments};
use super::codes::{self, Stage};
use super::findings::{Findings, stage};
use super::media::{Mark, Medium, Storage, media};
use super::rule::{Comparison, IntentionMode};
use super::shape::Shape;
use super::state::{State, Token};

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

/// How answers are given, whatever they are about.
#[derive(Default)]
pub(super) struct Delivery<'a> {
    shape: Shape,
    storage: Storage,
    /// In place of the usual one.
    liveness_video: Option<&'a Medium>,
}

impl<'a> Delivery<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self { shape: state.shape, storage: state.storage, liveness_video: state.liveness_video.as_ref() }
    }
}

/// The whole answer, but for the RequestId.
pub(super) fn detect_info(
    token: &Token,
    comparison: Comparison,
    selection: &Selection,
    delivery: &Delivery<'_>,
) -> Answer {
    let mut attachments = Attachments::written(delivery.shape.writings());
    let mut evidence = Evidence { token, delivery, attachments: &mut attachments };
    let mut content = json!({
        "Text": selection.text.then(|| text(token, comparison)),
        "IdCardData": selection.id_card.then(|| evidence.id_card_data(selection)),
        "BestFrame": selection.best_frame.then(|| evidence.best_frame(selection)),
        "VideoData": selection.video.then(|| evidence.video_data(selection)),
        "Encryption": null,
        "IntentionVerifyData": selection.read_aloud.then(|| evidence.read_aloud()),
        "IntentionQuestionResult": selection.questions_or_nods.then(|| evidence.questions()),
        "IntentionActionResult": selection.questions_or_nods.then(|| evidence.nods()),
        "EncryptedBody": null,
        "IsVerifyIntention": token.intention.is_some(),
        "IntentionVerifyType": token.intention.map(IntentionMode::vendor_type),
    });
    delivery.shape.shape_result(&mut content);
    Answer { content, attachments }
}

fn text(token: &Token, comparison: Comparison) -> Value {
    let last = token.attempts.last().map(|last| Findings::of(token, last, comparison));
    let code = token.reported_code();
    // A token that ran out of attempts reports that, and no finding of the attempt before.
    let found = last.as_ref().filter(|_| !token.exhausted);
    let card = last.as_ref().and_then(|last| last.card.as_ref());
    let begun = last.is_some();
    let details: Vec<Value> = token.attempts.iter().map(|attempt| detail(token, attempt, comparison)).collect();
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
fn detail(token: &Token, attempt: &Attempt, comparison: Comparison) -> Value {
    let found = Findings::of(token, attempt, comparison);
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

/// The parts of an answer that are or hold media. Each piece is marked as its attempt's own, so
/// that pieces of two verifications, attempts or questions can be told apart by their bytes.
struct Evidence<'a> {
    token: &'a Token,
    delivery: &'a Delivery<'a>,
    attachments: &'a mut Attachments,
}

impl<'a> Evidence<'a> {
    /// The `nth` of the pieces that show the same thing in `attempt`.
    fn piece(&mut self, medium: &Medium, attempt: &Attempt, nth: usize) -> Value {
        self.attachments.add(medium, Mark::new(&self.token.biz_token, &attempt.seq, nth))
    }

    fn id_card_data(&mut self, selection: &Selection) -> Value {
        let last = self.token.attempts.last();
        let has_card = |last: &&Attempt| self.token.reads_card && !matches!(stage(last), Stage::System | Stage::Wechat);
        let Some(last) = last.filter(has_card) else {
            return Value::Null;
        };
        let media = media();
        json!({
            "OcrFront": self.piece(&media.card_front, last, 0),
            "OcrBack": self.piece(&media.card_back, last, 0),
            "ProcessedFrontImage": selection.cut_card.then(|| self.piece(&media.cut_front, last, 0)),
            "ProcessedBackImage": selection.cut_card.then(|| self.piece(&media.cut_back, last, 0)),
            "Avatar": selection.avatar.then(|| self.piece(&media.avatar, last, 0)),
            // -9102: a copy and no card, here whenever the number on it is another's.
            "WarnInfos": if last.outcome.code == 301 { json!([-9102]) } else { json!([]) },
            // -9100: the dates on the card are not valid.
            "BackWarnInfos": if last.outcome.code == 302 { json!([-9100]) } else { json!([]) },
        })
    }

    fn best_frame(&mut self, selection: &Selection) -> Value {
        let last = self.token.attempts.last();
        let Some(last) = last.filter(|last| matches!(stage(last), Stage::Compare | Stage::Final)) else {
            return Value::Null;
        };
        let frames = &media().best_frames;
        let best = self.piece(&frames[0], last, 0);
        // Frame 0 is the best one, which is no part of the list.
        let frames = (1..=selection.best_frames).zip(frames);
        let more: Vec<Value> = frames.map(|(nth, frame)| self.piece(frame, last, nth)).collect();
        json!({ "BestFrame": best, "BestFrames": (!more.is_empty()).then_some(more) })
    }

    fn video_data(&mut self, selection: &Selection) -> Value {
        let filmed = |attempt: &&Attempt| matches!(stage(attempt), Stage::Liveness | Stage::Compare | Stage::Final);
        let liveness_video = self.delivery.liveness_video.unwrap_or(&media().liveness_video);
        let last = self.token.attempts.last().filter(filmed).map(|last| self.piece(liveness_video, last, 0));
        let all = selection.all_videos.then(|| {
            let attempts = self.token.attempts.iter().filter(filmed);
            attempts
                .map(|attempt| {
                    let video = self.reference(attempt).unwrap_or_else(|| self.piece(liveness_video, attempt, 0));
                    json!({ "Seq": attempt.seq, "Video": video })
                })
                .collect::<Vec<_>>()
        });
        if last.is_none() && all.as_ref().is_none_or(Vec::is_empty) {
            return Value::Null;
        }
        json!({ "LivenessVideo": last, "LivenessVideos": all })
    }

    /// Where the video of an attempt is, where it is not in the answer: as a URL, or as a path in
    /// the bucket.
    fn reference(&self, attempt: &Attempt) -> Option<Value> {
        let path = format!("{}/{}.mp4", self.token.biz_token, attempt.seq);
        if self.delivery.storage == Storage::Cos {
            Some(format!("https://faceid-1250000000.cos.ap-guangzhou.myqcloud.com/{path}").into())
        } else {
            (self.delivery.shape == Shape::Odd).then(|| path.into())
        }
    }

    /// The attempt that came to the intention step, and the code of that step, if the flow has it
    /// in this mode.
    fn intention(&self, mode: IntentionMode) -> Option<(&'a Attempt, i64)> {
        let last = self.token.attempts.last().filter(|_| self.token.intention == Some(mode))?;
        last.outcome.intention_code.map(|code| (last, code))
    }

    fn read_aloud(&mut self) -> Value {
        let Some((last, code)) = self.intention(IntentionMode::ReadAloud) else {
            return Value::Null;
        };
        let (passed, media) = (code == 0, media());
        json!({
            "IntentionVerifyVideo": self.piece(&media.intention_video, last, 0),
            "AsrResult": if passed { self.token.order.intention_script.concat() } else { String::new() },
            "ErrorCode": code,
            "ErrorMessage": codes::message(code),
            "IntentionVerifyBestFrame": self.piece(&media.intention_frame, last, 0),
            "AsrResultSimilarity": if passed { "98.00" } else { "0.00" },
            "IntentionVerifyAudio": self.piece(&media.intention_audio, last, 0),
        })
    }

    fn questions(&mut self) -> Value {
        let Some((last, code)) = self.intention(IntentionMode::Questions) else {
            return Value::Null;
        };
        let media = media();
        let questions = 0..self.token.order.intention_script.len();
        let each = |text: &str| questions.clone().map(|_| text.to_owned()).collect::<Vec<_>>();
        json!({
            "FinalResultDetailCode": code,
            "FinalResultMessage": codes::message(code),
            "Video": self.piece(&media.intention_video, last, 0),
            "ScreenShot": questions
                .clone()
                .map(|nth| self.piece(&media.intention_frame, last, nth))
                .collect::<Vec<_>>(),
            "ResultCode": each(&code.to_string()),
            "AsrResult": each(if code == 0 { "是的" } else { "" }),
            "Audios": questions
                .clone()
                .map(|nth| self.piece(&media.intention_audio, last, nth))
                .collect::<Vec<_>>(),
            "FinalResultCode": code.to_string(),
        })
    }

    fn nods(&mut self) -> Value {
        let Some((last, code)) = self.intention(IntentionMode::Nods) else {
            return Value::Null;
        };
        let media = media();
        let statements = 0..self.token.order.intention_script.len();
        let details: Vec<Value> = statements
            .map(|nth| {
                json!({
                    "Video": self.piece(&media.intention_video, last, nth),
                    "ScreenShot": [self.piece(&media.intention_frame, last, nth)],
                })
            })
            .collect();
        json!({
            "FinalResultDetailCode": code,
            "FinalResultMessage": codes::message(code),
            "Details": details,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::{MAX_ATTEMPTS, Outcome};
    use super::super::identity;
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
        let video = |all_videos: bool| {
            let selection = Selection { video: true, all_videos, ..Selection::default() };
            detect_info(&token, Comparison::Authority, &selection, &Delivery::default()).content["VideoData"].take()
        };
        let all = video(true);
        let seqs: Vec<_> = all["LivenessVideos"].as_array().unwrap().iter().map(|video| &video["Seq"]).collect();
        assert_eq!(seqs, [&token.attempts[1].seq, &token.attempts[2].seq]);
        assert_eq!(video(false)["LivenessVideos"], Value::Null);
    }
}
