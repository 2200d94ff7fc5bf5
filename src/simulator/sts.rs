//! STS and the metadata of the vendor's machines, as far as they hand out temporary keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::keys::IssuedKey;
use super::shared::Shared;
use super::verify::{self, UnverifiedRequest};

/// The version of the API by which a call is known to be one for STS.
pub(super) const VERSION: &str = "2018-08-13";
/// The token that a pod of TKE has.
pub(super) const WEB_IDENTITY_TOKEN: &str = "web-identity-token-of-a-pod";
/// The role that is bound to the machine.
const MACHINE_ROLE: &str = "faceid-machine";
const MACHINE_KEY_LIFE_S: i64 = 21_600;
const MAX_DURATION_S: i64 = 43_200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct AssumeRoleRequest {
    role_arn: String,
    role_session_name: String,
    #[serde(default = "two_hours")]
    duration_seconds: i64,
    provider_id: Option<String>,
    web_identity_token: Option<String>,
}

fn two_hours() -> i64 {
    7200
}

/// Whether a call is one for STS.
pub(super) fn is_called(headers: &HeaderMap) -> bool {
    headers.get("x-tc-version").is_some_and(|version| version == VERSION)
}

/// The name that a call is counted under.
pub(super) fn action(headers: &HeaderMap) -> &'static str {
    let sent = headers.get("x-tc-action");
    ["AssumeRole", "AssumeRoleWithWebIdentity"]
        .into_iter()
        .find(|action| sent.is_some_and(|sent| sent == *action))
        .unwrap_or("(unknown)")
}

/// Answers AssumeRole, which is signed, and AssumeRoleWithWebIdentity, which is not.
pub(super) fn call(shared: &Shared, request: &UnverifiedRequest<'_>) -> Result<Value, ApiError> {
    let now_ms = shared.clock.now_ms();
    if shared.keys().sts_is_down {
        return Err(ApiError::new("InternalError.SystemError", "STS was asked to be down at the control port."));
    }
    if request.headers.get("x-tc-region").is_none() {
        return Err(ApiError::new("MissingParameter", "X-TC-Region is missing."));
    }
    let action = action(request.headers);
    if action == "AssumeRole" {
        let keys = shared.keys().live();
        let secret_id = verify::verify_for("sts", request, &keys, now_ms.div_euclid(1000))
            .map_err(|refusal| ApiError::new(refusal.code(), format!("The request was refused: {refusal}.")))?;
        let token = request.headers.get("x-tc-token").and_then(|token| token.to_str().ok());
        if !shared.keys().admits_token(&secret_id, token, now_ms) {
            return Err(ApiError::new("AuthFailure.TokenFailure", "The token is missing, wrong or expired."));
        }
    } else if request.headers.get("authorization").is_none_or(|value| value != "SKIP") {
        return Err(ApiError::new("AuthFailure.InvalidAuthorization", "This action is not signed."));
    }
    let asked: AssumeRoleRequest = serde_json::from_slice(request.body).map_err(|error| ApiError::from_json(&error))?;
    if !asked.role_arn.starts_with("qcs::cam::") || asked.role_session_name.is_empty() {
        return Err(ApiError::new("InvalidParameter.ParamError", "RoleArn or RoleSessionName is not one."));
    }
    if !(1..=MAX_DURATION_S).contains(&asked.duration_seconds) {
        return Err(ApiError::new("InvalidParameter.OverTimeError", "DurationSeconds is out of its range."));
    }
    if action == "AssumeRoleWithWebIdentity"
        && (asked.provider_id.is_none_or(|id| id.is_empty())
            || asked.web_identity_token.is_none_or(|token| token != WEB_IDENTITY_TOKEN))
    {
        return Err(ApiError::new("InvalidParameter.WebIdentityTokenError", "The token is not one of this provider."));
    }
    let IssuedKey { secret_id, secret_key, token, expires_ms } =
        shared.keys().issue(now_ms + asked.duration_seconds * 1000);
    Ok(json!({
        "Credentials": { "Token": token, "TmpSecretId": secret_id, "TmpSecretKey": secret_key },
        "ExpiredTime": expires_ms / 1000,
    }))
}

/// `GET /latest/meta-data/cam/security-credentials/`: the role of the machine.
pub(super) async fn role_name(State(shared): State<Arc<Shared>>) -> Response {
    if shared.keys().sts_is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    MACHINE_ROLE.into_response()
}

/// `GET /latest/meta-data/cam/security-credentials/{role}`: a temporary key of the role.
pub(super) async fn role_credentials(State(shared): State<Arc<Shared>>, Path(role): Path<String>) -> Response {
    if shared.keys().sts_is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if role != MACHINE_ROLE {
        return StatusCode::NOT_FOUND.into_response();
    }
    shared.state().count_call("CvmRole", "OK");
    let expires_ms = shared.clock.now_ms() + MACHINE_KEY_LIFE_S * 1000;
    let IssuedKey { secret_id, secret_key, token, expires_ms } = shared.keys().issue(expires_ms);
    Json(json!({
        "TmpSecretId": secret_id,
        "TmpSecretKey": secret_key,
        "Token": token,
        "ExpiredTime": expires_ms / 1000,
        "Code": "Success",
    }))
    .into_response()
}
