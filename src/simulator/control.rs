//! The control port: HTTP and JSON for scripts that play the user, the network and time.
//!
//! It asks for no authentication, so it listens on loopback unless told otherwise.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::middleware::map_response_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::Action;
use super::attempt::{AttemptRefused, Outcome};
use super::error::{Answer, JsonError, read_json};
use super::faults::{Fault, Planned};
use super::shared::{self, Shared};
use super::state::Token;

mod account;

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/state", get(state))
        .route("/encryption", get(encryption))
        .route("/tokens", get(tokens))
        .route("/tokens/{biz_token}/attempts", post(attempt))
        .route("/tokens/{biz_token}/give-up", post(give_up))
        .route("/calls", get(calls))
        .route("/ledger", get(ledger))
        .route("/outcomes", post(prepare_outcomes).delete(clear_outcomes))
        .route("/faults", post(plan_fault).delete(clear_faults))
        .route("/reset", post(reset))
        .merge(account::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_response_with_state(shared.clone(), shared::stamp_date))
        .with_state(shared.clone())
}

/// `GET /state`: the clock, and how much there is of everything.
async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let now_ms = shared.clock.now_ms();
    let state = shared.state();
    let attempts: usize = state.tokens().iter().map(|token| token.attempts.len()).sum();
    Json(json!({
        "now_ms": now_ms,
        "clock_offset_s": shared.clock.offset_ms() / 1000,
        "tokens": state.tokens().len(),
        "attempts": attempts,
        "next_outcomes": state.next_outcomes().len(),
        "faults": state.faults.calls_left(),
        "quota_per_second": state.quota.per_second(),
        "shape": state.shape,
        "storage": state.storage,
        "only_in_wechat": state.only_in_wechat,
    }))
}

/// `GET /encryption`: the public keys that a client encrypts with, as PEM.
async fn encryption(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let keys = &shared.encryption_keys;
    Json(json!({ "rsa_public_key": keys.rsa_public_key(), "sm2_public_key": keys.sm2_public_key() }))
}

/// `GET /tokens`: every token, in the order of their making.
async fn tokens(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let now_ms = shared.clock.now_ms();
    let tokens: Vec<Value> = shared.state().tokens().iter().map(|token| describe(token, now_ms)).collect();
    Json(Value::Array(tokens))
}

fn describe(token: &Token, now_ms: i64) -> Value {
    let attempts = token.attempts.iter().map(|attempt| {
        json!({
            "code": attempt.outcome.code,
            "intention_code": attempt.outcome.intention_code,
            "seq": attempt.seq,
            "charged": attempt.charged,
        })
    });
    json!({
        "biz_token": token.biz_token,
        "rule_id": token.rule_id,
        "created_ms": token.created_ms,
        "redirect_url": token.order.redirect_url,
        "encryption": token.order.identity.encryption,
        "identity_legible": token.order.identity.legible,
        "clear_answers": token.clear_answers,
        "attempts": attempts.collect::<Vec<_>>(),
        "state": token.summary(now_ms),
    })
}

/// `GET /calls`: how many API calls were answered with which code, refused ones and faults
/// included.
async fn calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(shared.state().calls()))
}

/// `GET /ledger`: every attempt, and whether it was charged. The bill has the same unless
/// `POST /bill/{biz_token}` has made it differ.
async fn ledger(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let state = shared.state();
    let entries = state.tokens().iter().flat_map(|token| {
        token.attempts.iter().map(|attempt| {
            json!({
                "biz_token": token.biz_token,
                "rule_id": token.rule_id,
                "seq": attempt.seq,
                "req_time_ms": attempt.at_ms,
                "code": attempt.outcome.code,
                "charged": attempt.charged,
            })
        })
    });
    Json(Value::Array(entries.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptRequest {
    code: Option<i64>,
    intention_code: Option<i64>,
}

/// `POST /tokens/{biz_token}/attempts`: an attempt as if the user had made it.
async fn attempt(State(shared): State<Arc<Shared>>, Path(biz_token): Path<String>, body: Body) -> Answer {
    let request: AttemptRequest = read_json(body).await?;
    let outcome = match (request.code, request.intention_code) {
        (None, None) => None,
        (code, intention_code) => Some(Outcome::from_codes(code.unwrap_or(0), intention_code)?),
    };
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    let (token, attempt) = state.attempt(&biz_token, outcome, now_ms)?;
    Ok(Json(json!({ "redirect_url": token.redirect(), "seq": attempt.seq })))
}

/// `POST /tokens/{biz_token}/give-up`: the user goes back to the merchant without an attempt.
async fn give_up(State(shared): State<Arc<Shared>>, Path(biz_token): Path<String>) -> Answer {
    let mut state = shared.state();
    let token = state.give_up(&biz_token).ok_or(AttemptRefused::UnknownToken)?;
    Ok(Json(json!({ "redirect_url": token.redirect() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomesRequest {
    codes: Vec<i64>,
}

/// `POST /outcomes`: how the next attempts end, added after those already prepared.
async fn prepare_outcomes(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let request: OutcomesRequest = read_json(body).await?;
    let outcomes: Result<Vec<Outcome>, _> = request.codes.into_iter().map(Outcome::from_code).collect();
    let mut state = shared.state();
    state.prepare_outcomes(outcomes?);
    let codes: Vec<i64> = state.next_outcomes().map(|outcome| outcome.decisive_code()).collect();
    Ok(Json(json!({ "codes": codes })))
}

/// `DELETE /outcomes`: attempts pass again.
async fn clear_outcomes(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.state().clear_outcomes();
    Json(json!({ "codes": [] }))
}

#[derive(Deserialize)]
struct FaultRequest {
    #[serde(default = "every_action")]
    action: String,
    /// How many calls; without it one, or any number where `for_ms` ends it.
    times: Option<u32>,
    /// One call in so many, by chance.
    one_in: Option<NonZeroU32>,
    /// How long, in milliseconds of real time.
    for_ms: Option<u64>,
    /// Only calls for this token; without it, all.
    #[serde(default)]
    biz_token: Option<String>,
    #[serde(flatten)]
    fault: Fault,
}

fn every_action() -> String {
    "*".to_owned()
}

/// `POST /faults`: what the next calls of an action meet, after the faults already planned.
async fn plan_fault(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let request: FaultRequest = read_json(body).await?;
    let actions = Action::ALL.map(Action::name);
    if request.action != "*" && !actions.contains(&request.action.as_str()) {
        let message = format!("action must be {}, or * for every action", actions.join(", "));
        return Err(JsonError::bad_request(message));
    }
    if request.times == Some(0) {
        return Err(JsonError::bad_request("times must be at least 1; DELETE /faults clears"));
    }
    request.fault.check().map_err(JsonError::bad_request)?;
    if request.fault.is_of_connection() && (request.action != "*" || request.biz_token.is_some()) {
        return Err(JsonError::bad_request(
            "this fault hits a connection before a call is read: leave action and biz_token out",
        ));
    }
    if request.for_ms.is_some_and(|ms| ms > MAX_FAULT_MS) {
        return Err(JsonError::bad_request(format!("for_ms must be at most {MAX_FAULT_MS}, an hour")));
    }
    let times = request.times.unwrap_or(if request.for_ms.is_some() { u32::MAX } else { 1 });
    let mut state = shared.state();
    state.faults.plan(Planned {
        action: request.action,
        biz_token: request.biz_token,
        times_left: times,
        one_in: request.one_in.unwrap_or(NonZeroU32::MIN),
        until: request.for_ms.map(|ms| Instant::now() + Duration::from_millis(ms)),
        fault: request.fault,
    });
    Ok(Json(json!({ "faults": state.faults.calls_left() })))
}

const MAX_FAULT_MS: u64 = 3_600_000;

/// `DELETE /faults`: the vendor is well again.
async fn clear_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.state().faults.clear();
    Json(json!({ "faults": 0 }))
}

/// `POST /reset`: as after the start; addresses and credentials stay.
async fn reset(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.state().reset();
    shared.clock.reset();
    Json(json!({}))
}

async fn no_such_path(uri: Uri) -> JsonError {
    JsonError::not_found(format!("there is no {}; try GET /state, /tokens, /calls, /ledger or /encryption", uri.path()))
}

async fn wrong_method() -> JsonError {
    let message = "this path has another method: what changes something is POST (or DELETE), what tells something GET";
    JsonError { status: StatusCode::METHOD_NOT_ALLOWED, message: message.to_owned() }
}
