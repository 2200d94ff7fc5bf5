//! DetectAuth: opens a verification.

use super::{
    H5,
    encryption::FieldEncryption,
    tree::Tree,
    wire::{DetectAuthRequest, IntentionActionConfig, IntentionQuestion, RuleIdConfig},
};
use crate::{
    domain::{
        flow::Flow,
        ids::BizToken,
        intention::{IntentionScript, Question},
        key_pair::KeyPair,
        new_verification::NewVerification,
    },
    tencent::{
        answer::Answer,
        client::Client,
        error::Error,
        options::{CallOptions, Urgency},
        terms::Opened,
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use url::{Host, Url};

const ACTION: &str = "DetectAuth";
/// The longest Url that is handed to callers: they put it into redirects and QR codes.
const MAX_URL: usize = 4096;

impl H5 {
    /// Opens a verification of a flow. Costs nothing.
    ///
    /// # Errors
    /// See [`crate::tencent::ErrorKind`].
    pub(in crate::tencent) async fn open(
        &self,
        pair: &KeyPair,
        flow: &Flow,
        new: &NewVerification,
        urgency: Urgency,
    ) -> Result<Opened, Error> {
        let options = CallOptions { credential: &flow.credential, urgency };
        let encryptions = self.field_encryption.load_full();
        let encryption = encryptions.get(&flow.name);
        let answer = self.client.detect_auth(pair, &request(flow, new), encryption, options).await?;
        let Answer { mut body, request_id, tries, .. } = answer;
        let unintelligible = |problem: &str| Error::unintelligible(ACTION, problem, &request_id, tries);
        let mut root = body.root();
        let token = root.text("BizToken").ok_or_else(|| unintelligible("BizToken is missing"))?;
        let url = root.text("Url").ok_or_else(|| unintelligible("Url is missing"))?;
        Ok(Opened {
            token: BizToken::parse(&token).map_err(|_| unintelligible("BizToken is not one"))?,
            url: check_url(&url).map_err(unintelligible)?,
            request_id,
        })
    }
}

/// The page that the user's browser is sent to: callers redirect to it unseen.
fn check_url(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_URL {
        return Err("Url is longer than 4096 characters");
    }
    // The vendor was seen to escape ampersands as in HTML.
    let url = Url::parse(&text.replace("&amp;", "&")).map_err(|_| "Url is not one")?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        // A simulator's.
        "http" if is_loopback => Ok(url),
        _ => Err("Url is not https"),
    }
}

impl Client {
    /// Gives a BizToken and the URL for the user's browser (document 31816).
    pub(super) async fn detect_auth(
        &self,
        pair: &KeyPair,
        request: &DetectAuthRequest<'_>,
        encryption: Option<&FieldEncryption>,
        options: CallOptions<'_>,
    ) -> Result<Answer<Tree>, Error> {
        let Some(encryption) = encryption else { return self.call(ACTION, pair, request, options, Ok).await };
        let sealed =
            encryption.begin().and_then(|key| key.seal(request)).map_err(|kind| Error::untried(ACTION, kind))?;
        self.call(ACTION, pair, &sealed.put_into(request), options, Ok).await
    }
}

fn request<'a>(flow: &'a Flow, new: &'a NewVerification) -> DetectAuthRequest<'a> {
    let mut request = DetectAuthRequest {
        rule_id: &flow.rule_id,
        id_card: new.id_number.as_ref().map(|number| number.expose()),
        name: new.name.as_ref().map(|name| name.expose()),
        redirect_url: new.redirect_url.as_ref().map(Url::as_str),
        extra: new.extra.as_deref(),
        image_base64: new.reference_photo.as_ref().map(|photo| BASE64_STANDARD.encode(photo)),
        ..DetectAuthRequest::default()
    };
    match &new.intention {
        None => {}
        Some(IntentionScript::ReadAloud { text }) => request.intention_verify_text = Some(text),
        Some(IntentionScript::Questions {
            questions,
            recognize_similar_answers,
            detect_mouth_opening,
            speech_speed,
        }) => {
            let question =
                |question: &'a Question| IntentionQuestion { question: &question.question, answers: &question.answers };
            request.intention_questions = Some(questions.iter().map(question).collect());
            request.config = Some(RuleIdConfig {
                intention_recognition: *recognize_similar_answers,
                intention_type: Some(0),
                mouth_open_recognition: *detect_mouth_opening,
                speed: *speech_speed,
            });
        }
        Some(IntentionScript::Nods { statements, speech_speed }) => {
            request.intention_actions = Some(statements.iter().map(|text| IntentionActionConfig { text }).collect());
            request.config = Some(RuleIdConfig {
                intention_recognition: None,
                intention_type: Some(1),
                mouth_open_recognition: None,
                speed: *speech_speed,
            });
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_https_url_is_handed_to_callers() {
        assert_eq!(
            check_url("https://faceid.qq.com/h5?a=1&amp;b=2").unwrap().as_str(),
            "https://faceid.qq.com/h5?a=1&b=2"
        );
        assert!(check_url("http://127.0.0.1:8081/h5").is_ok());
        for bad in
            ["javascript:alert(1)", "http://faceid.qq.com/h5", "http://127.0.0.1.evil.example/", "data:text/html,x", ""]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert!(check_url(&format!("https://faceid.qq.com/{}", "x".repeat(MAX_URL))).is_err());
    }
}
