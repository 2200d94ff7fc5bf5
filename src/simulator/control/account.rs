//! What the control port sets up rather than does: the account with its keys, rules and bill, the
//! quota, the form of answers, and time.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::super::attempt::{AttemptRefused, MAX_ATTEMPTS};
use super::super::clock::MAX_OFFSET_S;
use super::super::error::{Answer, JsonError, read_json};
use super::super::media::{self, MAX_VIDEO_BYTES, MIN_VIDEO_BYTES, Storage};
use super::super::shape::Shape;
use super::super::shared::Shared;
use super::super::state::BillChange;
use super::super::verify::KeyPair;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/quota", post(set_quota))
        .route("/bill", post(set_up_bill))
        .route("/bill/{biz_token}", post(change_bill))
        .route("/shape", post(set_shape))
        .route("/media", post(set_media))
        .route("/storage", post(set_storage))
        .route("/page", post(set_page))
        .route("/clock", post(move_clock))
        .route("/rules/{rule_id}", post(change_rule))
        .route("/keys", post(add_key))
        .route("/keys/{secret_id}", post(change_key))
        .route("/sts", post(change_sts))
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

/// `POST /quota`: how many calls of one action are answered in a second of real time; null is any
/// number.
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

/// `POST /bill`: how many tokens a page of the bill holds, or a token that is charged now and of
/// which no client knows: one of another program with the same key.
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
        let made = super::super::random::random_uuid().to_string().to_uppercase();
        state.make_charged_token(made.clone(), &rule, extra.charges, now_ms);
        biz_token = Some(made);
    }
    state.bill_page_tokens = request.page_size.unwrap_or(state.bill_page_tokens);
    Ok(Json(json!({ "page_size": state.bill_page_tokens, "biz_token": biz_token })))
}

const MAX_BILL_PAGE: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BillChangeRequest {
    drop: Option<bool>,
    other_seqs: Option<bool>,
    extra_charges: Option<usize>,
}

/// `POST /bill/{biz_token}`: leaves a token off the bill, bills it under Seqs that no result has
/// (or either no longer), or adds charges without an attempt.
async fn change_bill(State(shared): State<Arc<Shared>>, Path(biz_token): Path<String>, body: Body) -> Answer {
    let request: BillChangeRequest = read_json(body).await?;
    if request.drop.is_none() && request.other_seqs.is_none() && request.extra_charges.is_none() {
        return Err(JsonError::bad_request("give drop, other_seqs, extra_charges, or some of them"));
    }
    let extra_charges = request.extra_charges.unwrap_or(0);
    if extra_charges > MAX_EXTRA_CHARGES {
        return Err(JsonError::bad_request(format!("extra_charges must be at most {MAX_EXTRA_CHARGES}")));
    }
    let change = BillChange { leave_off: request.drop, other_seqs: request.other_seqs, extra_charges };
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    let token = state.change_bill(&biz_token, &change, now_ms).ok_or(AttemptRefused::UnknownToken)?;
    let charges: Vec<&str> = token.charges().map(|charge| charge.seq.as_str()).collect();
    Ok(Json(json!({ "biz_token": token.biz_token, "dropped": token.left_off_bill, "charges": charges })))
}

const MAX_EXTRA_CHARGES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeRequest {
    shape: Shape,
}

/// `POST /shape`: the form of later answers, also about older tokens: published, nulls, sparse or
/// odd.
async fn set_shape(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let ShapeRequest { shape } = read_json(body).await?;
    shared.state().shape = shape;
    Ok(Json(json!({ "shape": shape })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaRequest {
    #[serde(deserialize_with = "given")]
    video_bytes: Option<usize>,
}

/// `POST /media`: how large the liveness videos of later answers are, also those of older tokens;
/// null is the default.
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
struct StorageRequest {
    videos: Storage,
}

/// `POST /storage`: where the videos of all attempts are: inline, cos, or unauthorized.
async fn set_storage(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let StorageRequest { videos } = read_json(body).await?;
    shared.state().storage = videos;
    Ok(Json(json!({ "videos": videos })))
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
struct PageRequest {
    only_in_wechat: bool,
}

/// `POST /page`: whether the H5 page opens in WeChat only, as the vendor's does.
async fn set_page(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let PageRequest { only_in_wechat } = read_json(body).await?;
    shared.state().only_in_wechat = only_in_wechat;
    Ok(Json(json!({ "only_in_wechat": only_in_wechat })))
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

/// `POST /sts`: STS and metadata are down, or well again; with `revoke`, the keys that they handed
/// out are not taken any more.
async fn change_sts(State(shared): State<Arc<Shared>>, body: Body) -> Answer {
    let StsChange { down, revoke } = read_json(body).await?;
    let mut keys = shared.keys();
    keys.sts_is_down = down;
    if revoke {
        keys.revoke_temporary();
    }
    Ok(Json(json!({ "down": down })))
}
