//! Errors: the vendor's, as its API answers them, and those of the JSON endpoints that are the
//! simulator's own.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::attempt::AttemptRefused;

/// The largest body that is read, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The vendor's `Response.Error`. The message never quotes a value of the request, which may be
/// personal data and ends up in the client's logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    pub(super) fn bad_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(super) fn rule_not_exist() -> Self {
        Self::new("InvalidParameterValue.RuleIdNotExist", "The RuleId does not exist.")
    }

    /// Reads what serde says about a request. It keeps the kind of error in its text only; of that
    /// text the names of fields are passed on and the values are not.
    pub(super) fn from_json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let field = text.split('`').nth(1).unwrap_or("?");
        if text.starts_with("unknown field `") {
            return Self::new("UnknownParameter", format!("The parameter {field} is not recognized."));
        }
        if text.starts_with("missing field `") {
            return Self::new("MissingParameter", format!("The parameter {field} is missing."));
        }
        let (line, column) = (error.line(), error.column());
        let problem = if error.is_data() { "has a value of the wrong type" } else { "is not valid JSON" };
        Self::new("InvalidParameter", format!("The request body {problem} (line {line}, column {column})."))
    }
}

/// A 4xx of the control port or of the page's own API: `{"error": "what is wrong and what to do"}`.
#[derive(Debug)]
pub(super) struct JsonError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

/// An answer of the control port.
pub(super) type Answer = Result<axum::Json<serde_json::Value>, JsonError>;

impl From<AttemptRefused> for JsonError {
    fn from(refusal: AttemptRefused) -> Self {
        let status = match refusal {
            AttemptRefused::UnknownToken => StatusCode::NOT_FOUND,
            AttemptRefused::Expired | AttemptRefused::AlreadyComplete | AttemptRefused::RetryLimit => {
                StatusCode::CONFLICT
            }
            AttemptRefused::UnusableCode(_) | AttemptRefused::NoIntention | AttemptRefused::IntentionNotReached => {
                StatusCode::BAD_REQUEST
            }
        };
        Self { status, message: refusal.to_string() }
    }
}

impl JsonError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }
}

impl IntoResponse for JsonError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.message }).to_string();
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Reads a JSON body. An empty one is read as `{}`.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, JsonError> {
    let bytes = read_body(body).await.map_err(|error| match error {
        BodyError::TooLarge => {
            JsonError { status: StatusCode::PAYLOAD_TOO_LARGE, message: format!("{error}; send less") }
        }
        BodyError::Broken => JsonError::bad_request(format!("{error}; send it again")),
    })?;
    let json: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(json)
        .map_err(|error| JsonError::bad_request(format!("the body is not the JSON that is expected here: {error}")))
}

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("the body broke off")]
    Broken,
}

/// Reads a body of at most [`MAX_BODY_BYTES`]. Somewhat longer ones are read and thrown away: a
/// client that is still sending would not see the refusal.
pub(super) async fn read_body(mut body: Body) -> Result<Bytes, BodyError> {
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length <= MAX_BODY_BYTES {
            kept.extend_from_slice(&data);
        } else if length > 4 * MAX_BODY_BYTES {
            break;
        }
    }
    if length > MAX_BODY_BYTES { Err(BodyError::TooLarge) } else { Ok(kept.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Probe {
        #[serde(rename = "RuleId")]
        _rule_id: String,
    }

    fn code(json: &str) -> String {
        ApiError::from_json(&serde_json::from_str::<Probe>(json).unwrap_err()).code.into_owned()
    }

    #[test]
    fn json_errors_become_the_vendors_codes() {
        assert_eq!(code(r#"{"RuleId":"1","Foo":1}"#), "UnknownParameter");
        assert_eq!(code("{}"), "MissingParameter");
        assert_eq!(code(r#"{"RuleId":1}"#), "InvalidParameter");
        assert_eq!(code("{"), "InvalidParameter");
        assert_eq!(code("[]"), "InvalidParameter");
    }

    #[test]
    fn no_value_is_quoted() {
        let error = serde_json::from_str::<u8>(r#""unknown field `110101`""#).unwrap_err();
        let error = ApiError::from_json(&error);
        assert_eq!(error.code, "InvalidParameter");
        assert!(!error.message.contains("110101"));
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let body = |length: usize| Body::from(vec![b' '; length]);
        assert_eq!(read_body(body(MAX_BODY_BYTES)).await.map(|read| read.len()), Ok(MAX_BODY_BYTES));
        assert_eq!(read_body(body(MAX_BODY_BYTES + 1)).await, Err(BodyError::TooLarge));
    }
}
