//! The forms in which the same facts can come: the vendor's documentation, its examples and its
//! real answers differ in how they say nothing, and in which type has a value. Answers are made
//! with every documented field, null where there is nothing to say; a shape is what becomes of
//! them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::media::Writing;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// As in the vendor's published examples: objects are there also when there is nothing in them,
    /// some texts are empty rather than null, some lists and numbers too, and some fields are left
    /// out.
    #[default]
    Published,
    /// Every documented field, null where there is nothing to say.
    Nulls,
    /// Nothing that is null or empty.
    Sparse,
    /// As published, and odd in each way that was seen or is allowed: numbers as text and text as
    /// numbers, times in seconds, attempts without a Seq, media as references, in lines, without
    /// padding or as data URLs.
    Odd,
}

impl Shape {
    /// Shapes the content of an answer of GetDetectInfoEnhanced.
    pub(super) fn shape_result(self, content: &mut Value) {
        match self {
            Shape::Published => publish_result(content),
            Shape::Nulls => {}
            Shape::Sparse => thin(content),
            Shape::Odd => {
                publish_result(content);
                distort(content);
            }
        }
    }

    /// Shapes the content of an answer of GetWeChatBillDetails.
    pub(super) fn shape_bill(self, content: &mut Value) {
        match self {
            Shape::Published => publish_bill(content),
            Shape::Nulls => {}
            Shape::Sparse => thin(content),
            Shape::Odd => {
                publish_bill(content);
                distort(content);
            }
        }
    }

    /// How a token is refused that was never made. The published example has another code than the
    /// list of codes.
    pub(super) fn unknown_token(self) -> ApiError {
        match self {
            Shape::Published | Shape::Odd => ApiError::new("InvalidParameter", "非法BizToken。"),
            Shape::Nulls | Shape::Sparse => {
                ApiError::new("FailedOperation.InvalidTokenParameter", "The BizToken does not exist.")
            }
        }
    }

    /// How the base64 of an answer's media is written, in turn.
    pub(super) fn writings(self) -> &'static [Writing] {
        match self {
            Shape::Published | Shape::Nulls | Shape::Sparse => &[Writing::Plain],
            Shape::Odd => &[Writing::Lines, Writing::Unpadded, Writing::DataUrl],
        }
    }

    /// What Url has after its token. The ampersand is escaped as in HTML, as the vendor has been
    /// seen to do: clients must decode it. Elsewhere there is none, so that a URL which a tool
    /// prints as JSON (`\u0026`) can be opened as printed.
    pub(super) fn more_of_url(self) -> &'static str {
        if self == Shape::Odd { "&amp;v=1" } else { "" }
    }

    /// Whether all names and numbers of a person are encrypted where encryption is asked for, also
    /// those of the attempts.
    pub(super) fn encrypts_attempts(self) -> bool {
        self == Shape::Odd
    }
}

fn publish_result(content: &mut Value) {
    fill(content, &blank_result());
    for (part, field) in [
        ("Text", "LivenessActionSequence"),
        ("VideoData", "LivenessVideos"),
        ("IntentionVerifyData", "IntentionVerifyAudio"),
    ] {
        if let Some(part) = content[part].as_object_mut() {
            part.retain(|name, value| name != field || !value.is_null());
        }
    }
}

/// What the published answer has where there is nothing to say, read off the vendor's example of a
/// verification that passed without photos of a card and without an intention step. That example
/// asks for text only, and has these objects all the same.
fn blank_result() -> Value {
    let mut blank = json!({
        "Text": nulls(&[
            "ErrCode", "ErrMsg", "IdCard", "UseIDType", "Name", "OcrNation", "OcrAddress", "OcrBirth", "OcrAuthority",
            "OcrValidDate", "OcrGender", "IdInfoFrom", "LiveStatus", "LiveMsg", "Comparestatus", "Comparemsg", "Sim",
            "Location", "LivenessInfoTag", "CompareLibType", "LivenessMode", "PassNo", "VisaNum",
        ]),
        "IdCardData": nulls(&[
            "OcrFront", "OcrBack", "ProcessedFrontImage", "ProcessedBackImage", "Avatar", "WarnInfos", "BackWarnInfos",
        ]),
        "BestFrame": { "BestFrame": null, "BestFrames": [] },
        "VideoData": { "LivenessVideo": null },
        "Encryption": { "EncryptList": [], "CiphertextBlob": "", "Iv": "", "Algorithm": "", "TagList": [] },
        "IntentionVerifyData": nulls(&[
            "IntentionVerifyVideo", "AsrResult", "ErrorCode", "ErrorMessage", "IntentionVerifyBestFrame",
            "AsrResultSimilarity",
        ]),
        "IntentionQuestionResult": nulls(&["FinalResultDetailCode", "FinalResultMessage", "FinalResultCode", "Video"]),
        "EncryptedBody": "",
        "IntentionVerifyType": "",
    });
    fill(
        &mut blank,
        &json!({
            "Text": {
                "Extra": "", "LivenessDetail": [], "Mobile": "", "NFCBillingCounts": 0, "NFCRequestIds": [], "OcrIdCard": "",
                "OcrName": "",
            },
            "IntentionQuestionResult": { "ScreenShot": [], "ResultCode": [], "AsrResult": [], "Audios": [] },
        }),
    );
    blank
}

/// An attempt on the bill has no number under its deprecated name.
fn publish_bill(content: &mut Value) {
    let tokens = content["WeChatBillDetails"].as_array_mut();
    let charges = tokens.into_iter().flatten().filter_map(|token| token["ChargeDetails"].as_array_mut()).flatten();
    for charge in charges {
        if let Some(charge) = charge.as_object_mut() {
            charge.remove("Idcard");
        }
    }
}

fn nulls(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Map<_, _>>().into()
}

/// Puts in what `blank` has wherever `value` has nothing.
fn fill(value: &mut Value, blank: &Value) {
    match (value, blank) {
        (value @ Value::Null, blank) => *value = blank.clone(),
        (Value::Object(fields), Value::Object(blank)) => {
            for (name, blank) in blank {
                fill(fields.entry(name.as_str()).or_insert(Value::Null), blank);
            }
        }
        _ => {}
    }
}

/// Leaves out what is null or empty, and what becomes empty by that.
fn thin(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(thin);
            fields.retain(|_, value| !is_empty(value));
        }
        // Places in a list mean something: each stays.
        Value::Array(items) => items.iter_mut().for_each(thin),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Texts that hold a number, by their names.
const NUMERIC_TEXTS: [&str; 6] =
    ["Sim", "AsrResultSimilarity", "IntentionVerifyType", "ErrorCode", "FinalResultCode", "ResultCode"];

fn distort(content: &mut Value) {
    if let Some(fields) = content.as_object_mut() {
        fields.iter_mut().for_each(|(name, value)| distort_field(name, value));
    }
}

fn distort_field(name: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| distort_field(name, value)),
        Value::Array(items) => items.iter_mut().for_each(|item| distort_field(name, item)),
        Value::Number(number) => *value = number.to_string().into(),
        Value::String(text) if name == "Seq" => text.clear(),
        Value::String(ms) if name == "ReqTime" => {
            if let Ok(ms) = ms.parse::<i64>() {
                *value = (ms / 1000).to_string().into();
            }
        }
        Value::String(text) if NUMERIC_TEXTS.contains(&name) => {
            if let Ok(number) = text.parse::<serde_json::Number>() {
                *value = number.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(shape: Shape, mut content: Value) -> Value {
        shape.shape_result(&mut content);
        content
    }

    #[test]
    fn the_published_shape_has_objects_in_which_there_is_nothing() {
        let content = shaped(
            Shape::Published,
            json!({
                "Text": { "ErrCode": 0, "OcrName": null, "LivenessActionSequence": null },
                "IdCardData": null, "IntentionVerifyData": null, "IntentionActionResult": null, "IntentionVerifyType": null,
            }),
        );
        let text = &content["Text"];
        assert_eq!((&text["ErrCode"], &text["OcrName"], &text["ErrMsg"]), (&json!(0), &json!(""), &Value::Null));
        assert!(!text.as_object().unwrap().contains_key("LivenessActionSequence"));
        assert_eq!(content["IdCardData"].as_object().unwrap().len(), 7);
        assert_eq!(content["IntentionVerifyData"]["ErrorCode"], Value::Null);
        assert!(content["IntentionVerifyData"].is_object());
        assert_eq!((&content["IntentionActionResult"], &content["IntentionVerifyType"]), (&Value::Null, &json!("")));
    }

    #[test]
    fn the_sparse_shape_has_nothing_that_is_empty() {
        let content = json!({ "Text": { "ErrCode": null, "Extra": "", "NFCBillingCounts": 0 }, "BestFrame": { "BestFrames": [] } });
        assert_eq!(shaped(Shape::Sparse, content), json!({ "Text": { "NFCBillingCounts": 0 } }));
    }

    #[test]
    fn the_odd_shape_changes_types_and_units_but_no_value() {
        let content = shaped(
            Shape::Odd,
            json!({
                "Text": {
                    "ErrCode": 0, "Sim": "95.51",
                    "LivenessDetail": [{ "Seq": "s", "ReqTime": "1700000000123", "IsNeedCharge": true, "Errcode": 2016 }],
                },
                "IdCardData": { "WarnInfos": [-9102] },
                "IntentionQuestionResult": { "FinalResultDetailCode": -301, "ResultCode": ["0"] },
                "IntentionVerifyType": "0",
            }),
        );
        assert_eq!((&content["Text"]["ErrCode"], &content["Text"]["Sim"]), (&json!("0"), &json!(95.51)));
        let attempt = json!({ "Seq": "", "ReqTime": "1700000000", "IsNeedCharge": true, "Errcode": "2016" });
        assert_eq!(content["Text"]["LivenessDetail"], json!([attempt]));
        assert_eq!(content["IdCardData"]["WarnInfos"], json!(["-9102"]));
        let questions = &content["IntentionQuestionResult"];
        assert_eq!((&questions["FinalResultDetailCode"], &questions["ResultCode"]), (&json!("-301"), &json!([0])));
        assert_eq!(content["IntentionVerifyType"], 0);
    }
}
