//! The vendor's JSON, field for field as published for API version 2018-03-01.
//!
//! Every field of an answer may be null, so every field is optional; null, missing and empty are never told apart from each
//! other and never taken for zero. Fields that are not published are kept in `unknown`. The types hold personal data and
//! have no Debug.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Opens a flow [31816].
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

/// A flow that was opened.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectAuthResponse {
    pub url: Option<String>,
    pub biz_token: Option<String>,
}

/// Asks about a BizToken [41957].
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetDetectInfoEnhancedRequest<'a> {
    pub biz_token: &'a str,
    pub rule_id: &'a str,
    /// A string of digits: 1 text, 2 ID card, 3 best frames, 4 video, 5 intention read aloud, 6 intention questions or nods.
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

/// The answer: everything that is known of a BizToken [41957].
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetDetectInfoEnhancedResponse {
    pub text: Option<DetectInfoText>,
    pub id_card_data: Option<DetectInfoIdCardData>,
    pub best_frame: Option<DetectInfoBestFrame>,
    pub video_data: Option<DetectInfoVideoData>,
    pub encryption: Option<Encryption>,
    pub intention_verify_data: Option<IntentionVerifyData>,
    pub intention_question_result: Option<IntentionQuestionResult>,
    pub intention_action_result: Option<IntentionActionResult>,
    pub encrypted_body: Option<String>,
    pub is_verify_intention: Option<bool>,
    pub intention_verify_type: Option<String>,
    pub request_id: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The text part.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectInfoText {
    pub err_code: Option<i32>,
    pub err_msg: Option<String>,
    pub id_card: Option<String>,
    #[serde(rename = "UseIDType")]
    pub use_id_type: Option<i32>,
    pub name: Option<String>,
    pub ocr_nation: Option<String>,
    pub ocr_address: Option<String>,
    pub ocr_birth: Option<String>,
    pub ocr_authority: Option<String>,
    pub ocr_valid_date: Option<String>,
    pub ocr_name: Option<String>,
    pub ocr_id_card: Option<String>,
    pub ocr_gender: Option<String>,
    pub id_info_from: Option<String>,
    pub live_status: Option<i32>,
    pub live_msg: Option<String>,
    #[serde(rename = "Comparestatus")]
    pub compare_status: Option<i32>,
    #[serde(rename = "Comparemsg")]
    pub compare_msg: Option<String>,
    pub sim: Option<String>,
    pub location: Option<String>,
    pub extra: Option<String>,
    pub liveness_detail: Option<Vec<DetectDetail>>,
    pub liveness_info_tag: Option<Vec<String>>,
    pub mobile: Option<String>,
    pub compare_lib_type: Option<String>,
    pub liveness_mode: Option<i32>,
    #[serde(rename = "NFCRequestIds")]
    pub nfc_request_ids: Option<Vec<String>>,
    #[serde(rename = "NFCBillingCounts")]
    pub nfc_billing_counts: Option<i32>,
    pub pass_no: Option<String>,
    pub visa_num: Option<String>,
    pub liveness_action_sequence: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// One liveness comparison.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectDetail {
    pub req_time: Option<String>,
    pub seq: Option<String>,
    #[serde(rename = "Idcard")]
    pub id_card: Option<String>,
    pub name: Option<String>,
    pub sim: Option<String>,
    pub is_need_charge: Option<bool>,
    #[serde(rename = "Errcode")]
    pub err_code: Option<i32>,
    #[serde(rename = "Errmsg")]
    pub err_msg: Option<String>,
    #[serde(rename = "Livestatus")]
    pub live_status: Option<i32>,
    #[serde(rename = "Livemsg")]
    pub live_msg: Option<String>,
    #[serde(rename = "Comparestatus")]
    pub compare_status: Option<i32>,
    #[serde(rename = "Comparemsg")]
    pub compare_msg: Option<String>,
    pub compare_lib_type: Option<String>,
    pub liveness_mode: Option<i32>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Photos of the ID card, as base64, and warnings about them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectInfoIdCardData {
    pub ocr_front: Option<String>,
    pub ocr_back: Option<String>,
    pub processed_front_image: Option<String>,
    pub processed_back_image: Option<String>,
    pub avatar: Option<String>,
    pub warn_infos: Option<Vec<i64>>,
    pub back_warn_infos: Option<Vec<i64>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Photos of the face, as base64.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectInfoBestFrame {
    pub best_frame: Option<String>,
    pub best_frames: Option<Vec<String>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Videos of the liveness step, as base64.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DetectInfoVideoData {
    pub liveness_video: Option<String>,
    pub liveness_videos: Option<Vec<VideoDetailData>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The video of one attempt.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VideoDetailData {
    pub seq: Option<String>,
    pub video: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The intention step, read aloud.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionVerifyData {
    pub intention_verify_video: Option<String>,
    pub asr_result: Option<String>,
    pub error_code: Option<i32>,
    pub error_message: Option<String>,
    pub intention_verify_best_frame: Option<String>,
    pub asr_result_similarity: Option<String>,
    pub intention_verify_audio: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The intention step, questions.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionQuestionResult {
    pub final_result_detail_code: Option<i32>,
    pub final_result_message: Option<String>,
    pub video: Option<String>,
    pub screen_shot: Option<Vec<String>>,
    pub result_code: Option<Vec<String>>,
    pub asr_result: Option<Vec<String>>,
    pub audios: Option<Vec<String>>,
    pub final_result_code: Option<String>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The intention step, nods.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionActionResult {
    pub final_result_detail_code: Option<i32>,
    pub final_result_message: Option<String>,
    pub details: Option<Vec<IntentionActionResultDetail>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Recordings of one nod.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IntentionActionResultDetail {
    pub video: Option<String>,
    pub screen_shot: Option<Vec<String>>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Asks for the vendor's own ledger of a day [31082].
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetWeChatBillDetailsRequest<'a> {
    /// "YYYY-MM-DD", Beijing time, up to 365 days back.
    pub date: &'a str,
    /// 0 at first, then the answer's `NextCursor`.
    pub cursor: i64,
    pub rule_id: &'a str,
}

/// A page of the ledger.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetWeChatBillDetailsResponse {
    pub has_next_page: Option<bool>,
    pub next_cursor: Option<i64>,
    pub we_chat_bill_details: Option<Vec<WeChatBillDetail>>,
}

/// Charges of a token. What they were for is not read: our own ledger has it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WeChatBillDetail {
    pub biz_token: Option<String>,
    pub charge_count: Option<u64>,
}

/// How encrypted fields were encrypted [47180].
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
