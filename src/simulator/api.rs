//! The vendor's API: `POST /`, and `GET /` with the same parameters in its query, from the
//! signature to the envelope of the answer.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bill;
use super::body::{self, Answer, Attachments};
use super::connection::{self, ResetSwitch};
use super::detect;
use super::error::{ApiError, BodyError, read_body};
use super::faults::{self, Fault};
use super::query;
use super::shared::Shared;
use super::sts;
use super::verify::{self, Refusal, UnverifiedRequest};

const VERSION: &str = "2018-03-01";

/// Answers one API call. Errors are HTTP 200 as well; only faults answer otherwise.
pub(super) async fn call(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<ResetSwitch>,
    request: Request,
) -> Response {
    let request_id = super::random::random_uuid().to_string();
    if sts::is_called(request.headers()) {
        return call_sts(&shared, request, &request_id).await;
    }
    let action = Action::of(request.headers());
    let (response, code) = match admit(&shared, request, &request_id).await {
        Ok(call) => {
            // Calls that were refused at the door leave the faults for those that were not.
            let fault = shared.state().faults.take(call.action.name(), call.biz_token().as_deref());
            match fault {
                Some(fault) => call.answer_with(&fault, &shared, &switch, &request_id).await,
                None => {
                    let result = call.dispatch(&shared, true);
                    let code = code(&result);
                    let (json, attachments) = envelope(result, &request_id);
                    (filled_response(attachments.fill(json.to_string())), code)
                }
            }
        }
        Err(error) => {
            let code = error.code.clone();
            (error_response(error, &request_id), code)
        }
    };
    // Other actions' names come from outside and are unbounded, so they are counted as one.
    let action = action.map_or("(unknown)", Action::name);
    tracing::debug!(request_id, action, %code, "vendor API call");
    shared.state().count_call(action, &code);
    response
}

async fn call_sts(shared: &Shared, request: Request, request_id: &str) -> Response {
    let (head, body) = request.into_parts();
    let action = sts::action(&head.headers);
    let result = match read_body(body).await {
        Ok(body) => {
            let unverified = UnverifiedRequest {
                method: head.method.as_str(),
                path: head.uri.path(),
                query: head.uri.query().unwrap_or_default(),
                headers: &head.headers,
                body: &body,
            };
            sts::call(shared, &unverified).map(Answer::from)
        }
        Err(_) => Err(ApiError::new("InvalidParameter", "The request body broke off or is too long.")),
    };
    let code = code(&result);
    tracing::debug!(request_id, action, %code, "STS call");
    shared.state().count_call(action, &code);
    json_response(envelope(result, request_id).0.to_string())
}

#[derive(Clone, Copy)]
pub(super) enum Action {
    DetectAuth,
    GetDetectInfoEnhanced,
    GetWeChatBillDetails,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::DetectAuth, Self::GetDetectInfoEnhanced, Self::GetWeChatBillDetails];

    fn of(headers: &HeaderMap) -> Option<Self> {
        let sent = headers.get("x-tc-action")?;
        Self::ALL.into_iter().find(|action| sent == action.name())
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Action::DetectAuth => "DetectAuth",
            Action::GetDetectInfoEnhanced => "GetDetectInfoEnhanced",
            Action::GetWeChatBillDetails => "GetWeChatBillDetails",
        }
    }
}

/// A call whose signature, version and action are right, and within the quota.
struct AdmittedCall {
    action: Action,
    body: Bytes,
    base_url: String,
}

impl AdmittedCall {
    /// The token that the call is about, if about one.
    fn biz_token(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct About {
            #[serde(rename = "BizToken")]
            biz_token: String,
        }
        serde_json::from_slice(&self.body).ok().map(|About { biz_token }| biz_token)
    }

    /// `encrypts`: whether an answer is encrypted that should be.
    fn dispatch(&self, shared: &Shared, encrypts: bool) -> Result<Answer, ApiError> {
        match self.action {
            Action::DetectAuth => detect::detect_auth(shared, &self.body, &self.base_url).map(Answer::from),
            Action::GetDetectInfoEnhanced => detect::get_detect_info_enhanced(shared, &self.body, encrypts),
            Action::GetWeChatBillDetails => bill::get_wechat_bill_details(shared, &self.body).map(Answer::from),
        }
    }

    /// The answer under `fault`, and the code to count it under.
    async fn answer_with(
        &self,
        fault: &Fault,
        shared: &Shared,
        switch: &ResetSwitch,
        request_id: &str,
    ) -> (Response, Cow<'static, str>) {
        if let Fault::Delay { ms } = fault {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
        let fault_code: Cow<'static, str> = fault.answer_code().to_owned().into();
        if *fault == Fault::BlackHole {
            // Counted now: the client will have gone before there is an answer.
            shared.state().count_call(self.action.name(), &fault_code);
            return std::future::pending().await;
        }
        if let Some(response) = instead_of_answer(fault, switch, request_id) {
            return (response, fault_code);
        }
        let result = self.dispatch(shared, *fault != Fault::Unencrypted);
        let code = if result.is_ok() { fault_code } else { code(&result) };
        let (mut json, attachments) = envelope(result, request_id);
        fault.spoil(&mut json);
        let mut pieces = attachments.fill(json.to_string());
        if *fault == Fault::CutJson {
            let half = body::length(&pieces) / 2;
            pieces = body::cut(pieces, half);
        }
        match fault {
            Fault::Drip { bytes_per_second } => {
                let length = body::length(&pieces);
                (of_length(length, faults::dripping_body(pieces, *bytes_per_second)), code)
            }
            Fault::ResetMidBody => {
                let length = body::length(&pieces);
                let half = body::cut(pieces, length / 2);
                (of_length(length, connection::broken_body(half, switch.clone())), code)
            }
            _ => (filled_response(pieces), code),
        }
    }
}

async fn admit(shared: &Shared, request: Request, request_id: &str) -> Result<AdmittedCall, ApiError> {
    let (head, body) = request.into_parts();
    let body = read_body(body).await.map_err(|error| match error {
        BodyError::TooLarge => ApiError::new("RequestSizeLimitExceeded", "The request body is larger than 10 MB."),
        BodyError::Broken => ApiError::new("InvalidParameter", "The request body broke off."),
    })?;

    let unverified = UnverifiedRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
    };
    let now_ms = shared.clock.now_ms();
    let keys = shared.keys().live();
    let signed = verify::verify_for("faceid", &unverified, &keys, now_ms.div_euclid(1000));
    let secret_id = signed.map_err(|refusal| {
        log_refusal(&refusal, request_id);
        ApiError::new(refusal.code(), refusal_message(&refusal))
    })?;
    let token = head.headers.get("x-tc-token").map(|token| token.to_str().unwrap_or_default());
    if !shared.keys().admits_token(&secret_id, token, now_ms) {
        return Err(ApiError::new("AuthFailure.TokenFailure", "The token is missing, wrong or expired."));
    }

    if head.headers.get("x-tc-version").is_none_or(|version| version != VERSION) {
        return Err(ApiError::new("NoSuchVersion", format!("X-TC-Version must be {VERSION}.")));
    }
    let action = Action::of(&head.headers)
        .ok_or_else(|| ApiError::new("InvalidAction", "The action is not one that this simulator knows."))?;
    if !shared.state().quota.admits(action.name(), Instant::now()) {
        return Err(ApiError::new("RequestLimitExceeded", "The calls of this action exceed the limit per second."));
    }
    let body = if head.method == Method::GET { query::to_json(unverified.query).into() } else { body };
    Ok(AdmittedCall { action, body, base_url: shared.base_url(&head.headers) })
}

fn code(result: &Result<Answer, ApiError>) -> Cow<'static, str> {
    result.as_ref().map_or_else(|error| error.code.clone(), |_| "OK".into())
}

fn envelope(result: Result<Answer, ApiError>, request_id: &str) -> (Value, Attachments) {
    let Answer { mut content, attachments } = result
        .unwrap_or_else(|error| Answer::from(json!({ "Error": { "Code": error.code, "Message": error.message } })));
    if let Some(response) = content.as_object_mut() {
        response.insert("RequestId".to_owned(), json!(request_id));
    }
    (json!({ "Response": content }), attachments)
}

/// The answer under faults that leave nothing of the true one; `None` for the others.
fn instead_of_answer(fault: &Fault, switch: &ResetSwitch, request_id: &str) -> Option<Response> {
    let html = |status: StatusCode| (status, [(header::CONTENT_TYPE, "text/html")], faults::HTML).into_response();
    Some(match fault {
        Fault::ErrorCode { code } => {
            let error = ApiError::new(code.clone(), "This error was asked for at the control port.");
            error_response(error, request_id)
        }
        Fault::HttpStatus { status } => html(StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY)),
        Fault::Html200 => html(StatusCode::OK),
        Fault::NotJson => json_response("upstream connect error, please try again"),
        Fault::Huge { size_bytes, content_length } => {
            let mut response = json_response(faults::huge_body(*size_bytes));
            if *content_length {
                response.headers_mut().insert(header::CONTENT_LENGTH, (*size_bytes).into());
            }
            response
        }
        Fault::Reset => {
            switch.reset();
            StatusCode::OK.into_response()
        }
        Fault::CutJson
        | Fault::ResetMidBody
        | Fault::ResetUnread
        | Fault::CloseReused
        | Fault::BlackHole
        | Fault::Drip { .. }
        | Fault::Nulls
        | Fault::DeepNulls
        | Fault::UnknownFields
        | Fault::WrongTypes
        | Fault::Delay { .. }
        | Fault::Unencrypted
        | Fault::BadCiphertext
        | Fault::ResultCode { .. } => return None,
    })
}

fn error_response(error: ApiError, request_id: &str) -> Response {
    json_response(envelope(Err(error), request_id).0.to_string())
}

/// A body that is sent piece by piece, its length announced.
fn filled_response(pieces: Vec<Bytes>) -> Response {
    let length = body::length(&pieces);
    of_length(length, Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))))
}

fn of_length(length: usize, body: Body) -> Response {
    let mut response = json_response(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

fn json_response(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// The vendor does not tell a client what it got wrong; the simulator's log does.
fn refusal_message(refusal: &Refusal) -> String {
    match refusal {
        Refusal::SignatureFailure(_) => {
            "The provided credentials could not be validated. Please check your signature is correct.".to_owned()
        }
        refusal => format!("The request was refused: {refusal}."),
    }
}

fn log_refusal(refusal: &Refusal, request_id: &str) {
    match refusal {
        Refusal::SignatureFailure(diagnosis) => tracing::warn!(
            request_id,
            code = refusal.code(),
            mistake = ?diagnosis.mistake,
            expected_canonical_request = %diagnosis.canonical_request,
            "wrong signature: {diagnosis}"
        ),
        _ => tracing::warn!(request_id, code = refusal.code(), "request refused: {refusal}"),
    }
}
