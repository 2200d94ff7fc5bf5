//! The vendor's API: `POST /`, from the signature to the envelope of the answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::Shared;
use super::connection::ResetSwitch;
use super::detect;
use super::error::{ApiError, BodyError, read_body};
use super::faults::{self, Fault};
use super::verify::{self, Refusal, UnverifiedRequest};

const VERSION: &str = "2018-03-01";

/// Answers one API call. Errors are HTTP 200 as well; only faults answer otherwise.
pub(super) async fn call(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<ResetSwitch>,
    request: Request,
) -> Response {
    let request_id = super::random_uuid().to_string();
    let action = Action::of(request.headers());
    let (response, code) = match admit(&shared, request, &request_id).await {
        Ok(call) => {
            // Calls that were refused at the door leave the faults for those that were not.
            let fault = shared.state().faults.take(call.action.name());
            match fault {
                Some(fault) => call.answer_with(&fault, &shared, &switch, &request_id).await,
                None => {
                    let result = call.dispatch(&shared);
                    let code = code(&result);
                    (json_response(envelope(result, &request_id).to_string()), code)
                }
            }
        }
        Err(error) => {
            let code = error.code.clone();
            (json_response(envelope(Err(error), &request_id).to_string()), code)
        }
    };
    // Other actions' names come from outside and are unbounded, so they are counted as one.
    let action = action.map_or("(unknown)", Action::name);
    tracing::debug!(request_id, action, %code, "vendor API call");
    shared.state().count_call(action, &code);
    response
}

#[derive(Clone, Copy)]
enum Action {
    DetectAuth,
    GetDetectInfoEnhanced,
}

impl Action {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let sent = headers.get("x-tc-action")?;
        [Action::DetectAuth, Action::GetDetectInfoEnhanced].into_iter().find(|action| sent == action.name())
    }

    fn name(self) -> &'static str {
        match self {
            Action::DetectAuth => "DetectAuth",
            Action::GetDetectInfoEnhanced => "GetDetectInfoEnhanced",
        }
    }
}

/// A call whose signature, version and action are right.
struct AdmittedCall {
    action: Action,
    body: Bytes,
    base_url: String,
}

impl AdmittedCall {
    fn dispatch(&self, shared: &Shared) -> Result<Value, ApiError> {
        match self.action {
            Action::DetectAuth => detect::detect_auth(shared, &self.body, &self.base_url),
            Action::GetDetectInfoEnhanced => detect::get_detect_info_enhanced(shared, &self.body),
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
        let fault_code = fault.answer_code().to_owned().into();
        if let Some(response) = instead_of_answer(fault, switch, request_id) {
            return (response, fault_code);
        }
        let result = self.dispatch(shared);
        let code = if result.is_ok() { fault_code } else { code(&result) };
        let mut answer = envelope(result, request_id);
        fault.spoil(&mut answer);
        let mut text = answer.to_string();
        if *fault == Fault::CutJson {
            text.truncate(text.floor_char_boundary(text.len() / 2));
        }
        (json_response(text), code)
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
    let keys = std::slice::from_ref(&shared.key);
    verify::verify(&unverified, keys, shared.clock.now_ms().div_euclid(1000)).map_err(|refusal| {
        log_refusal(&refusal, request_id);
        ApiError::new(refusal.code(), refusal_message(&refusal))
    })?;

    if head.headers.get("x-tc-version").is_none_or(|version| version != VERSION) {
        return Err(ApiError::new("NoSuchVersion", format!("X-TC-Version must be {VERSION}.")));
    }
    let action = Action::of(&head.headers)
        .ok_or_else(|| ApiError::new("InvalidAction", "The action is not one that this simulator knows."))?;
    Ok(AdmittedCall { action, body, base_url: shared.base_url(&head.headers) })
}

fn code(result: &Result<Value, ApiError>) -> Cow<'static, str> {
    result.as_ref().map_or_else(|error| error.code.clone(), |_| "OK".into())
}

fn envelope(answer: Result<Value, ApiError>, request_id: &str) -> Value {
    let mut response =
        answer.unwrap_or_else(|error| json!({ "Error": { "Code": error.code, "Message": error.message } }));
    if let Some(response) = response.as_object_mut() {
        response.insert("RequestId".to_owned(), json!(request_id));
    }
    json!({ "Response": response })
}

/// The answer under faults that leave nothing of the true one; `None` for the others.
fn instead_of_answer(fault: &Fault, switch: &ResetSwitch, request_id: &str) -> Option<Response> {
    let html = |status: StatusCode| (status, [(header::CONTENT_TYPE, "text/html")], faults::HTML).into_response();
    Some(match fault {
        Fault::ErrorCode { code } => {
            let error = ApiError::new(code.clone(), "This error was asked for at the control port.");
            json_response(envelope(Err(error), request_id).to_string())
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
        | Fault::Nulls
        | Fault::UnknownFields
        | Fault::WrongTypes
        | Fault::Delay { .. }
        | Fault::ResultCode { .. } => return None,
    })
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
