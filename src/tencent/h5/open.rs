//! DetectAuth: opens a verification.

use super::{
    H5,
    encryption::FieldEncryption,
    wire::{DetectAuthRequest, DetectAuthResponse, IntentionActionConfig, IntentionQuestion, RuleIdConfig},
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
use url::Url;

const ACTION: &str = "DetectAuth";

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
        let encryption = self.field_encryption.get(&flow.name);
        let answer = self.client.detect_auth(pair, &request(flow, new), encryption, options).await?;
        let Answer { body, request_id, tries, .. } = answer;
        let unintelligible = |problem: &str| Error::unintelligible(ACTION, problem, &request_id, tries);
        let token = body.biz_token.ok_or_else(|| unintelligible("BizToken is missing"))?;
        let url = body.url.ok_or_else(|| unintelligible("Url is missing"))?;
        Ok(Opened {
            token: BizToken::parse(&token).map_err(|_| unintelligible("BizToken is not one"))?,
            // The vendor was seen to escape ampersands as in HTML.
            url: Url::parse(&url.replace("&amp;", "&")).map_err(|_| unintelligible("Url is not one"))?,
            request_id,
        })
    }
}

impl Client {
    /// Gives a BizToken and the URL for the user's browser [31816].
    pub(super) async fn detect_auth(
        &self,
        pair: &KeyPair,
        request: &DetectAuthRequest<'_>,
        encryption: Option<&FieldEncryption>,
        options: CallOptions<'_>,
    ) -> Result<Answer<DetectAuthResponse>, Error> {
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
