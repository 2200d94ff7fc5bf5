//! The vendor's JSON, field for field as published for API version 2018-03-01.
//!
//! Only requests, and the short answers: that of GetDetectInfoEnhanced is read from a
//! [`super::tree::Tree`]. The types hold personal data and have no Debug.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Opens a flow (document 31816).
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectAuthRequest<'a> {
    pub rule_id: &'a str,
    /// Not needed by the WeChat H5 flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_card: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intention_verify_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intention_questions: Option<Vec<IntentionQuestion<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intention_actions: Option<Vec<IntentionActionConfig<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<RuleIdConfig>,
}

/// A question that the user answers.
#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionQuestion<'a> {
    pub question: &'a str,
    pub answers: &'a [String],
}

/// A statement that the user nods to.
#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionActionConfig<'a> {
    pub text: &'a str,
}

/// Options of the intention step.
#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuleIdConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intention_recognition: Option<bool>,
    /// 0 questions, 1 nods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intention_type: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mouth_open_recognition: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
}

/// Asks about a BizToken (document 41957).
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetDetectInfoEnhancedRequest<'a> {
    pub biz_token: &'a str,
    pub rule_id: &'a str,
    /// A string of digits: 1 text, 2 ID card, 3 best frames, 4 video, 5 intention read aloud, 6
    /// intention questions or nods.
    pub info_type: &'a str,
    /// 0 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_frames_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_cut_id_card_image: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_need_id_card_avatar: Option<bool>,
    /// Given up by the vendor: `encryption` alone says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_encrypt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_encrypt_response: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_return_all_video: Option<bool>,
}

/// Asks for the vendor's own ledger of a day (document 31082).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetWeChatBillDetailsRequest<'a> {
    /// "YYYY-MM-DD", Beijing time, up to 365 days back.
    pub date: &'a str,
    /// 0 at first, then the answer's `NextCursor`.
    pub cursor: i64,
    pub rule_id: &'a str,
}

/// How encrypted fields were encrypted (document 47180).
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Encryption {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt_list: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext_blob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_list: Option<Vec<String>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}
