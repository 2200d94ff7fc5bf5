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
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Shared;
use super::api::Action;
use super::attempt::{AttemptRefused, MAX_ATTEMPTS, Outcome};
use super::clock::MAX_OFFSET_S;
use super::error::{JsonError, read_json};
use super::faults::{Fault, Planned};
use super::media::{self, MAX_VIDEO_BYTES, MIN_VIDEO_BYTES};
use super::state::Token;
use super::verify::KeyPair;

type Answer = Result<Json<Value>, JsonError>;

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
        .route("/quota", post(set_quota))
        .route("/bill", post(set_up_bill))
        .route("/bill/{biz_token}", post(change_bill))
        .route("/media", post(set_media))
        .route("/clock", post(move_clock))
        .route("/rules/{rule_id}", post(change_rule))
        .route("/keys", post(add_key))
        .route("/sts", post(change_sts))
        .route("/keys/{secret_id}", post(change_key))
        .route("/reset", post(reset))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_response_with_state(shared.clone(), super::stamp_date))
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

/// `GET /calls`: how many API calls were answered with which code, refused ones and faults included.
async fn calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(shared.state().calls()))
}

/// `GET /ledger`: every attempt, and whether it was charged. The bill has the same unless `POST /bill/{biz_token}` has
/// made it differ.
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
        (code, intention_code) => Some(Outcome::from_codes(code.unwrap_or(0), intention_code).map_err(refused)?),
    };
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    let (token, attempt) = state.attempt(&biz_token, outcome, now_ms).map_err(refused)?;
    Ok(Json(json!({ "redirect_url": token.redirect(), "seq": attempt.seq })))
}

fn refused(refusal: AttemptRefused) -> JsonError {
    let status = match refusal {
        AttemptRefused::UnknownToken => StatusCode::NOT_FOUND,
        AttemptRefused::Expired | AttemptRefused::AlreadyComplete | AttemptRefused::RetryLimit => StatusCode::CONFLICT,
        AttemptRefused::UnusableCode(_) | AttemptRefused::NoIntention | AttemptRefused::IntentionNotReached => {
            StatusCode::BAD_REQUEST
        }
    };
    JsonError { status, message: refusal.to_string() }
}

/// `POST /tokens/{biz_token}/give-up`: the user goes back to the merchant without an attempt.
async fn give_up(State(shared): State<Arc<Shared>>, Path(biz_token): Path<String>) -> Answer {
    let mut state = shared.state();
    let token = state.give_up(&biz_token).ok_or_else(|| refused(AttemptRefused::UnknownToken))?;
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
    state.prepare_outcomes(outcomes.map_err(refused)?);
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

/// A value that must be there, but may be null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaRequest {
    #[serde(deserialize_with = "given")]
    per_second: Option<NonZeroU32>,
}

/// `POST /quota`: how many calls of one action are answered in a second of real time; null is any number.
async fn set_quota(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let request: QuotaRequest = read_json(body).await?;
    shared.state().quota.set(request.per_second);
    Ok(Json(json!({ "per_second": request.per_second })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BillRequest {
    page_size: Option<usize>,
    extra_token: Option<ExtraToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraToken {
    rule_id: String,
    charges: usize,
}

/// `POST /bill`: how many tokens a page of the bill holds, or a token that is charged now and of which no client knows:
/// one of another program with the same key.
async fn set_up_bill(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let request: BillRequest = read_json(body).await?;
    if request.page_size.is_none() && request.extra_token.is_none() {
        return Err(JsonError::bad_request("give page_size, extra_token, or both"));
    }
    if request.page_size.is_some_and(|size| !(1..=MAX_BILL_PAGE).contains(&size)) {
        return Err(JsonError::bad_request(format!("page_size must be 1 to {MAX_BILL_PAGE} tokens")));
    }
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    let mut biz_token = None;
    if let Some(extra) = request.extra_token {
        if !(1..=MAX_ATTEMPTS).contains(&extra.charges) {
            return Err(JsonError::bad_request(format!(
                "charges must be 1 to {MAX_ATTEMPTS}, the attempts of a token"
            )));
        }
        let rule = state.rule(&extra.rule_id).map(|entry| entry.rule.clone());
        let rule = rule.ok_or_else(|| JsonError::bad_request("rule_id must be that of a rule of this simulator"))?;
        let made = super::random_uuid().to_string().to_uppercase();
        state.make_charged_token(made.clone(), &rule, extra.charges, now_ms);
        biz_token = Some(made);
    }
    state.bill_page_tokens = request.page_size.unwrap_or(state.bill_page_tokens);
    Ok(Json(json!({ "page_size": state.bill_page_tokens, "biz_token": biz_token })))
}

const MAX_BILL_PAGE: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BillChange {
    drop: Option<bool>,
    extra_charges: Option<usize>,
}

/// `POST /bill/{biz_token}`: leaves a token off the bill (or no longer), or adds charges without an attempt.
async fn change_bill(State(shared): State<Arc<Shared>>, Path(biz_token): Path<String>, body: Body) -> Answer {
    let request: BillChange = read_json(body).await?;
    if request.drop.is_none() && request.extra_charges.is_none() {
        return Err(JsonError::bad_request("give drop, extra_charges, or both"));
    }
    let extra_charges = request.extra_charges.unwrap_or(0);
    if extra_charges > MAX_EXTRA_CHARGES {
        return Err(JsonError::bad_request(format!("extra_charges must be at most {MAX_EXTRA_CHARGES}")));
    }
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    let token = state
        .change_bill(&biz_token, request.drop, extra_charges, now_ms)
        .ok_or_else(|| refused(AttemptRefused::UnknownToken))?;
    let charges: Vec<&str> = token.charges().map(|charge| charge.seq.as_str()).collect();
    Ok(Json(json!({ "biz_token": token.biz_token, "dropped": token.left_off_bill, "charges": charges })))
}

const MAX_EXTRA_CHARGES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaRequest {
    #[serde(deserialize_with = "given")]
    video_bytes: Option<usize>,
}

/// `POST /media`: how large the liveness videos of later answers are, also those of older tokens; null is the default.
async fn set_media(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let request: MediaRequest = read_json(body).await?;
    if request.video_bytes.is_some_and(|size| !(MIN_VIDEO_BYTES..=MAX_VIDEO_BYTES).contains(&size)) {
        let message = format!("video_bytes must be {MIN_VIDEO_BYTES} to {MAX_VIDEO_BYTES}, or null for the default");
        return Err(JsonError::bad_request(message));
    }
    let video = request.video_bytes.map(media::liveness_video);
    shared.state().liveness_video = video;
    Ok(Json(json!({ "video_bytes": request.video_bytes })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockRequest {
    advance_s: i64,
}

/// `POST /clock`: moves the clock, back when negative.
async fn move_clock(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let request: ClockRequest = read_json(body).await?;
    if !shared.clock.advance(request.advance_s) {
        let message = format!("the clock may be moved by {MAX_OFFSET_S} s in all; advance it by less");
        return Err(JsonError::bad_request(message));
    }
    let (now_ms, offset_s) = (shared.clock.now_ms(), shared.clock.offset_ms() / 1000);
    Ok(Json(json!({ "now_ms": now_ms, "clock_offset_s": offset_s })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRequest {
    disabled: bool,
}

/// `POST /rules/{rule_id}`: disables a rule as the console does, or enables it.
async fn change_rule(State(shared): State<Arc<Shared>>, Path(rule_id): Path<String>, body: Body) -> Answer {
    let request: RuleRequest = read_json(body).await?;
    if !shared.state().set_rule_disabled(&rule_id, request.disabled) {
        return Err(JsonError::not_found("there is no such rule; the simulator names its rules when it starts"));
    }
    Ok(Json(json!({ "rule_id": rule_id, "disabled": request.disabled })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    secret_id: String,
    secret_key: String,
}

/// `POST /keys`: another API key of the account, as the console makes it.
async fn add_key(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let KeyRequest { secret_id, secret_key } = read_json(body).await?;
    if secret_id.is_empty() || secret_key.is_empty() {
        return Err(JsonError::bad_request("secret_id and secret_key must not be empty"));
    }
    shared.keys().add(KeyPair { secret_id: secret_id.clone(), secret_key });
    Ok(Json(json!({ "secret_id": secret_id, "disabled": false })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    disabled: bool,
}

/// `POST /keys/{secret_id}`: disables an API key as the console does, or enables it.
async fn change_key(State(shared): State<Arc<Shared>>, Path(secret_id): Path<String>, body: Body) -> Answer {
    let request: KeyChange = read_json(body).await?;
    if !shared.keys().set_disabled(&secret_id, request.disabled) {
        return Err(JsonError::not_found("there is no such key"));
    }
    Ok(Json(json!({ "secret_id": secret_id, "disabled": request.disabled })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StsChange {
    #[serde(default)]
    down: bool,
    #[serde(default)]
    revoke: bool,
}

/// `POST /sts`: STS and metadata are down, or well again; with `revoke`, the keys that they handed out are not taken any more.
async fn change_sts(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let StsChange { down, revoke } = read_json(body).await?;
    let mut keys = shared.keys();
    keys.sts_is_down = down;
    if revoke {
        keys.revoke_temporary();
    }
    Ok(Json(json!({ "down": down })))
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
