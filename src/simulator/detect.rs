//! The two actions of a verification: DetectAuth (document 31816) makes a token,
//! GetDetectInfoEnhanced (document 41957) tells what became of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Delivery, Selection};
use super::body::Answer;
use super::encryption::{Encryption, Session};
use super::error::ApiError;
use super::identity;
use super::media::{MAX_BEST_FRAMES, Storage};
use super::rule::{Comparison, IntentionMode, Rule};
use super::shared::Shared;
use super::state::{NewToken, State, Token, Transport};

const MAX_NAME: usize = 32;
const MAX_URL: usize = 1024;
const MAX_EXTRA: usize = 1024;
/// Of the base64 text, not of the picture (document 31816).
const MAX_IMAGE_BASE64_BYTES: usize = 3 * 1024 * 1024;
const MAX_SPOKEN_TEXT: usize = 120;
const MAX_QUESTIONS: usize = 10;
const MAX_QUESTION_TEXT: usize = 250;
const MAX_ANSWERS: usize = 50;
const MAX_ANSWER_TEXT: usize = 10;

/// Makes a token; `base_url` is where the browser reaches this simulator. Costs nothing.
///
/// # Errors
/// `RuleIdNotExist`, `RuleIdDisabled`, and whatever is wrong with the request.
pub(super) fn detect_auth(shared: &Shared, body: &[u8], base_url: &str) -> Result<Value, ApiError> {
    let request: DetectAuthRequest = serde_json::from_slice(body).map_err(|error| ApiError::from_json(&error))?;
    let rule = enabled_rule(&shared.state(), &request.rule_id)?;
    let order = request.decrypt(shared, body)?.check(&rule)?;

    let biz_token = super::random::random_uuid().to_string().to_uppercase();
    let more = shared.state().shape.more_of_url();
    let url = format!("{base_url}/h5?token={biz_token}{more}");
    let now_ms = shared.clock.now_ms();
    shared.state().make_token(biz_token.clone(), &rule, order, now_ms);
    Ok(json!({ "Url": url, "BizToken": biz_token }))
}

/// Tells the result of a token, as far as it goes.
///
/// # Errors
/// `InvalidParameter` or `InvalidTokenParameter` for an unknown token, `BizTokenIllegal` for one of
/// another rule, `BizTokenExpired` when the results have been deleted.
pub(super) fn get_detect_info_enhanced(shared: &Shared, body: &[u8], encrypts: bool) -> Result<Answer, ApiError> {
    let mut request: GetDetectInfoEnhancedRequest =
        serde_json::from_slice(body).map_err(|error| ApiError::from_json(&error))?;
    let session = request.encryption.take().map(|encryption| Session::open(&shared.encryption_keys, encryption));
    let session = session.transpose()?.filter(|_| encrypts);
    if session.is_none() && encrypts && request.is_encrypt_response == Some(true) {
        return Err(ApiError::bad_value("IsEncryptResponse needs Encryption, which holds the key."));
    }
    let selection = request.selection()?;
    let mut state = shared.state();
    let (token, comparison) = find_token(&state, &request, shared.clock.now_ms())?;
    if selection.all_videos && state.storage == Storage::Unauthorized {
        return Err(ApiError::new(
            "FailedOperation.StsUnAuthErrError",
            "STS is not authorized for the storage of videos.",
        ));
    }
    let mut answer = answer::detect_info(token, comparison, &selection, &Delivery::of(&state));
    let encrypts_attempts = state.shape.encrypts_attempts();
    if session.is_none() && selection.text {
        state.note_clear_answer(&request.biz_token);
    }
    // An answer can have megabytes; other calls do not wait for its encryption.
    drop(state);
    match session {
        None => {}
        Some(session) if request.is_encrypt_response == Some(true) => {
            let body = answer.attachments.fill(answer.content.to_string()).concat();
            answer = Answer::from(session.seal_body(&body));
        }
        Some(session) => session.seal_fields(&mut answer.content, encrypts_attempts),
    }
    Ok(answer)
}

fn enabled_rule(state: &State, rule_id: &str) -> Result<Rule, ApiError> {
    let entry = state.rule(rule_id).ok_or_else(ApiError::rule_not_exist)?;
    if entry.disabled {
        return Err(ApiError::new("InvalidParameterValue.RuleIdDisabled", "The RuleId is disabled."));
    }
    Ok(entry.rule.clone())
}

fn find_token<'a>(
    state: &'a State,
    request: &GetDetectInfoEnhancedRequest,
    now_ms: i64,
) -> Result<(&'a Token, Comparison), ApiError> {
    let rule = &state.rule(&request.rule_id).ok_or_else(ApiError::rule_not_exist)?.rule;
    let token = state.token(&request.biz_token).ok_or_else(|| state.shape.unknown_token())?;
    if token.rule_id != rule.rule_id {
        let message = "The BizToken does not belong to this RuleId.";
        return Err(ApiError::new("InvalidParameterValue.BizTokenIllegal", message));
    }
    if token.is_deleted(now_ms) {
        let message = "The BizToken is older than 3 days; its results have been deleted.";
        return Err(ApiError::new("InvalidParameterValue.BizTokenExpired", message));
    }
    Ok((token, rule.comparison))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DetectAuthRequest {
    rule_id: String,
    #[serde(rename = "TerminalType")]
    _terminal_type: Option<String>,
    id_card: Option<String>,
    name: Option<String>,
    redirect_url: Option<String>,
    extra: Option<String>,
    #[serde(rename = "ImageBase64")]
    image_base64: Option<String>,
    encryption: Option<Encryption>,
    /// How the identity came; not a parameter.
    #[serde(skip)]
    identity: Transport,
    intention_verify_text: Option<String>,
    intention_questions: Option<Vec<IntentionQuestion>>,
    intention_actions: Option<Vec<IntentionActionConfig>>,
    #[serde(rename = "Config")]
    _config: Option<RuleIdConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct IntentionQuestion {
    question: String,
    answers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct IntentionActionConfig {
    text: String,
}

/// Read for its names and types only: it tunes the engine, of which there is none here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleIdConfig {
    #[serde(rename = "IntentionRecognition")]
    _intention_recognition: Option<bool>,
    #[serde(rename = "IntentionType")]
    _intention_type: Option<i64>,
    #[serde(rename = "MouthOpenRecognition")]
    _mouth_open_recognition: Option<bool>,
    #[serde(rename = "Speed")]
    _speed: Option<i64>,
}

impl DetectAuthRequest {
    /// Opens what is encrypted; `body` is searched for what should not be in it then.
    fn decrypt(mut self, shared: &Shared, body: &[u8]) -> Result<Self, ApiError> {
        if let Some(encryption) = self.encryption.take() {
            let session = Session::open(&shared.encryption_keys, encryption)?;
            session.open_fields(&mut [("IdCard", &mut self.id_card), ("Name", &mut self.name)])?;
            self.identity.encryption = Some(session.algorithm);
        }
        let body = String::from_utf8_lossy(body);
        let is_legible = |clear: &String| body.contains(clear) || body.contains(&STANDARD.encode(clear));
        self.identity.legible = [&self.id_card, &self.name].into_iter().flatten().any(is_legible);
        Ok(self)
    }

    fn check(self, rule: &Rule) -> Result<NewToken, ApiError> {
        self.check_intention()?;
        let intention_script = self.intention_script(rule.intention);
        // The vendor reads an empty string as one that was not given.
        let name = self.name.filter(|name| !name.is_empty());
        let id_card = self.id_card.filter(|id_card| !id_card.is_empty());
        let redirect_url = self.redirect_url.filter(|url| !url.is_empty());
        let extra = self.extra.filter(|extra| !extra.is_empty());
        let image = self.image_base64.filter(|image| !image.is_empty());

        if rule.requires_identity && (name.is_none() || id_card.is_none()) {
            return Err(ApiError::bad_value("This RuleId requires Name and IdCard."));
        }
        if rule.comparison == Comparison::UploadedPhoto && image.is_none() {
            return Err(ApiError::bad_value("This RuleId requires ImageBase64."));
        }
        check_length("Name", name.as_deref(), MAX_NAME)?;
        check_length("RedirectUrl", redirect_url.as_deref(), MAX_URL)?;
        check_length("Extra", extra.as_deref(), MAX_EXTRA)?;
        if id_card.as_deref().is_some_and(|id_card| !identity::is_id_number(id_card)) {
            return Err(ApiError::bad_value("IdCard must be 18 digits, or 17 and a capital X, with its check digit."));
        }
        if redirect_url.as_deref().is_some_and(|url| !is_http_url(url)) {
            return Err(ApiError::bad_value("RedirectUrl must begin with http:// or https://."));
        }
        if let Some(image) = &image {
            check_image(image)?;
        }
        Ok(NewToken { name, id_card, identity: self.identity, redirect_url, extra, intention_script })
    }

    fn check_intention(&self) -> Result<(), ApiError> {
        check_length("IntentionVerifyText", self.intention_verify_text.as_deref(), MAX_SPOKEN_TEXT)?;
        if let Some(questions) = &self.intention_questions {
            check_count("IntentionQuestions", questions.len(), MAX_QUESTIONS)?;
            for question in questions {
                check_length("Question", Some(&question.question), MAX_QUESTION_TEXT)?;
                check_count("Answers", question.answers.len(), MAX_ANSWERS)?;
                for answer in &question.answers {
                    check_length("Answers", Some(answer), MAX_ANSWER_TEXT)?;
                }
            }
        }
        if let Some(actions) = &self.intention_actions {
            check_count("IntentionActions", actions.len(), MAX_QUESTIONS)?;
            for action in actions {
                check_length("Text", Some(&action.text), MAX_QUESTION_TEXT)?;
            }
        }
        Ok(())
    }

    /// What the user will be shown; where the request says nothing, the console's own text.
    fn intention_script(&self, intention: Option<IntentionMode>) -> Vec<String> {
        let given: Vec<String> = match intention {
            None => return Vec::new(),
            Some(IntentionMode::ReadAloud) => self.intention_verify_text.iter().cloned().collect(),
            Some(IntentionMode::Questions) => {
                self.intention_questions.iter().flatten().map(|question| question.question.clone()).collect()
            }
            Some(IntentionMode::Nods) => {
                self.intention_actions.iter().flatten().map(|action| action.text.clone()).collect()
            }
        };
        if given.iter().all(String::is_empty) {
            vec!["我已知悉并同意办理本次业务".to_owned()]
        } else {
            given
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetDetectInfoEnhancedRequest {
    biz_token: String,
    rule_id: String,
    info_type: Option<String>,
    best_frames_count: Option<i64>,
    is_cut_id_card_image: Option<bool>,
    is_need_id_card_avatar: Option<bool>,
    /// The vendor has given it up: `Encryption` says it.
    #[serde(rename = "IsEncrypt")]
    _is_encrypt: Option<bool>,
    encryption: Option<Encryption>,
    is_encrypt_response: Option<bool>,
    is_return_all_video: Option<bool>,
}

impl GetDetectInfoEnhancedRequest {
    fn selection(&self) -> Result<Selection, ApiError> {
        let info_type = self.info_type.as_deref().filter(|digits| !digits.is_empty()).unwrap_or("0");
        if !info_type.chars().all(|digit| ('0'..='6').contains(&digit)) {
            return Err(ApiError::bad_value("InfoType must consist of the digits 0 to 6."));
        }
        let best_frames = usize::try_from(self.best_frames_count.unwrap_or(0))
            .ok()
            .filter(|count| *count <= MAX_BEST_FRAMES)
            .ok_or_else(|| ApiError::bad_value("BestFramesCount must be 0 to 10."))?;
        let wants = |digit: char| info_type.contains('0') || info_type.contains(digit);
        Ok(Selection {
            text: wants('1'),
            id_card: wants('2'),
            best_frame: wants('3'),
            video: wants('4'),
            read_aloud: wants('5'),
            questions_or_nods: wants('6'),
            best_frames,
            cut_card: self.is_cut_id_card_image.unwrap_or(false),
            avatar: self.is_need_id_card_avatar.unwrap_or(false),
            all_videos: self.is_return_all_video.unwrap_or(false),
        })
    }
}

/// Lengths are counted in characters, as the vendor does.
fn check_length(name: &str, value: Option<&str>, max: usize) -> Result<(), ApiError> {
    match value {
        Some(value) if value.chars().count() > max => {
            Err(ApiError::bad_value(format!("{name} must have at most {max} characters.")))
        }
        _ => Ok(()),
    }
}

fn check_count(name: &str, count: usize, max: usize) -> Result<(), ApiError> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(ApiError::bad_value(format!("{name} must have 1 to {max} entries.")))
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        && (text.starts_with("http://") || text.starts_with("https://"))
}

fn check_image(image_base64: &str) -> Result<(), ApiError> {
    if image_base64.len() > MAX_IMAGE_BASE64_BYTES {
        return Err(ApiError::bad_value("ImageBase64 must be at most 3 MB."));
    }
    let image = STANDARD
        .decode(image_base64)
        .map_err(|_| ApiError::bad_value("ImageBase64 must be base64 of the standard alphabet, with padding."))?;
    let is_jpeg = image.starts_with(&[0xFF, 0xD8, 0xFF]) && image.ends_with(&[0xFF, 0xD9]);
    let is_png = image.starts_with(b"\x89PNG\r\n\x1a\n") && image.ends_with(b"IEND\xAE\x42\x60\x82");
    if is_jpeg || is_png { Ok(()) } else { Err(ApiError::bad_value("ImageBase64 must be a whole JPEG or PNG.")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(check_length("Name", Some(&"宝".repeat(32)), MAX_NAME).is_ok());
        assert!(check_length("Name", Some(&"宝".repeat(33)), MAX_NAME).is_err());
    }

    #[test]
    fn a_redirect_url_begins_as_the_vendor_demands() {
        for url in ["http://a.cn", "https://a.cn/x?y#z", "http://127.0.0.1:1/"] {
            assert!(is_http_url(url), "{url}");
        }
        for url in ["HTTPS://a.cn", "//a.cn", "a.cn", "https:a.cn", "https://", "data:text/html,x"] {
            assert!(!is_http_url(url), "{url}");
        }
    }

    #[test]
    fn pictures_are_told_by_their_bytes() {
        let jpeg = [&[0xFF, 0xD8, 0xFF, 0xE0][..], b"content", &[0xFF, 0xD9]].concat();
        let png = [&b"\x89PNG\r\n\x1a\n"[..], b"content", b"IEND\xAE\x42\x60\x82"].concat();
        for image in [&jpeg, &png] {
            assert!(check_image(&STANDARD.encode(image)).is_ok());
            assert!(check_image(&STANDARD.encode(&image[..image.len() - 1])).is_err(), "a cut one");
        }
        assert!(check_image(&STANDARD.encode("GIF89a")).is_err());
        assert!(check_image(STANDARD.encode(&jpeg).trim_end_matches('=')).is_err(), "padding is demanded");
    }
}
