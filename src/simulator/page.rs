//! The H5 page to which DetectAuth's Url leads, and the one call that it makes back.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{AttemptRefused, MAX_ATTEMPTS, Outcome};
use super::codes::{self, Stage};
use super::error::{JsonError, read_json};
use super::rule::{Comparison, IntentionMode};
use super::shared::Shared;
use super::shop::notice;
use super::state::Token;

/// The results that a developer wants most often, offered first.
const COMMON: [i64; 11] = [0, 301, 302, 303, 1002, 1004, 1201, 2006, 2015, 2016, 2018];
const COMMON_INTENTION: [i64; 3] = [-201, -301, -302];

const PRODUCT_PAGE: &str = "/product";

#[derive(Deserialize)]
pub(super) struct H5Query {
    #[serde(default)]
    token: String,
}

/// `GET /h5?token=…`: the flow of one token, as far as it is still open.
pub(super) async fn h5(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<H5Query>,
    headers: HeaderMap,
) -> Response {
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    if state.only_in_wechat && !is_wechat(&headers) {
        let how = "<p>人脸核身只能在微信内进行。请复制链接，发送到微信后打开；或用微信扫描商户提供的二维码。</p>";
        return notice(StatusCode::FORBIDDEN, "请在微信中打开", how);
    }
    state.note_visit(&query.token);
    let Some(token) = state.token(&query.token) else {
        return notice(StatusCode::NOT_FOUND, "链接无效", "<p>没有这次核身，请回到商户重新发起。</p>");
    };
    if token.is_expired(now_ms) {
        return notice(StatusCode::GONE, "链接已过期", "<p>本次核身已超过两小时，请回到商户重新发起。</p>");
    }
    let comparison = state.rule(&token.rule_id).map(|entry| entry.rule.comparison);
    let flow = flow(token, comparison, state.next_outcomes().next());
    let nonce = super::random::random_text(24);
    let page = include_str!("page.html").replace("{{nonce}}", &nonce).replace("{{flow}}", &json_in_html(&flow));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(page)).into_response()
}

fn is_wechat(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.contains("MicroMessenger"))
}

/// What the page needs to know of the token.
fn flow(token: &Token, comparison: Option<Comparison>, next: Option<&Outcome>) -> Value {
    let preselected = next.map_or(0, |outcome| outcome.decisive_code());
    // A flow that is over opens at its result.
    let closed = if token.has_passed() { Some(codes::ALREADY_COMPLETE) } else { None };
    let closed = closed.or(token.exhausted.then_some(codes::RETRY_LIMIT));
    json!({
        "token": token.biz_token,
        "compared_with": if comparison == Some(Comparison::UploadedPhoto) { "photo" } else { "authority" },
        "reads_card": token.reads_card,
        "attempts": attempts(token),
        "attempts_allowed": MAX_ATTEMPTS,
        "intention": token.intention.map(|mode| json!({
            "task": match mode {
                IntentionMode::ReadAloud => "请大声朗读以下内容",
                IntentionMode::Questions => "请听问题并回答",
                IntentionMode::Nods => "请听内容并点头确认",
            },
            "script": token.order.intention_script,
        })),
        "outcomes": outcomes(token.intention),
        "preselected": preselected.to_string(),
        "closed": closed.map(|code| result(token, Some(code))),
    })
}

/// The choices of the developer's panel: the common ones, then all the others.
fn outcomes(intention: Option<IntentionMode>) -> Value {
    let option = |code: i64| json!({ "value": code.to_string(), "label": format!("{code} {}", codes::message(code)) });
    let common: Vec<i64> =
        COMMON.into_iter().chain(COMMON_INTENTION.into_iter().filter(|_| intention.is_some())).collect();
    let others = codes::all().filter(|known| {
        codes::ends_an_attempt(known.code)
            && !common.contains(&known.code)
            && (intention.is_some() || known.stage != Stage::Intention)
    });
    json!({
        "common": common.iter().map(|&code| option(code)).collect::<Vec<_>>(),
        "others": others.map(|known| option(known.code)).collect::<Vec<_>>(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeRequest {
    token: String,
    /// A result code as text, or "give-up".
    outcome: String,
}

/// `POST /h5/outcome`: the user's attempt ends as chosen, or the user gives up. Closing the page
/// calls nothing.
pub(super) async fn submit_outcome(State(shared): State<Arc<Shared>>, body: Body) -> Result<Json<Value>, JsonError> {
    let request: OutcomeRequest = read_json(body).await?;
    let now_ms = shared.clock.now_ms();
    let mut state = shared.state();
    if request.outcome == "give-up" {
        let token = state.give_up(&request.token).ok_or_else(unknown_token)?;
        return Ok(Json(result(token, None)));
    }
    let outcome = request.outcome.parse().ok().and_then(|code| Outcome::from_code(code).ok());
    let outcome = outcome.ok_or_else(|| JsonError::bad_request("outcome must be a result code or give-up"))?;
    let refusal = match state.attempt(&request.token, Some(outcome), now_ms) {
        Ok((token, attempt)) => {
            return Ok(Json(result(token, Some(attempt.outcome.decisive_code()))));
        }
        Err(AttemptRefused::UnknownToken) => return Err(unknown_token()),
        Err(refusal) => refusal,
    };
    // 14, 15 and 16 are results for the user to read; anything else is a mistake of the page.
    let code = refusal.result_code().ok_or_else(|| JsonError::bad_request(refusal.to_string()))?;
    let token = state.token(&request.token).ok_or_else(unknown_token)?;
    Ok(Json(result(token, Some(code))))
}

fn unknown_token() -> JsonError {
    JsonError::not_found("there is no such token; make one with DetectAuth")
}

/// What the result view shows; the code is null when the user gave up.
fn result(token: &Token, code: Option<i64>) -> Value {
    let is_over = [codes::ALREADY_COMPLETE, codes::TOKEN_EXPIRED, codes::RETRY_LIMIT].map(Some).contains(&code);
    let has_passed = code == Some(0);
    let is_open = !is_over && token.attempts.len() < MAX_ATTEMPTS;
    json!({
        "code": code,
        "text": code.map(codes::message),
        "passed": has_passed,
        "done": has_passed || code == Some(codes::ALREADY_COMPLETE),
        "can_retry": code.is_some() && !has_passed && is_open,
        "at_card": code.and_then(codes::find).is_some_and(|known| known.stage == Stage::Ocr),
        "attempts": attempts(token),
        "redirect_url": token.redirect().unwrap_or_else(|| PRODUCT_PAGE.to_owned()),
    })
}

fn attempts(token: &Token) -> Vec<Value> {
    let codes = token.attempts.iter().map(|attempt| attempt.outcome.decisive_code());
    codes.map(|code| json!({ "code": code, "text": codes::message(code) })).collect()
}

/// JSON that cannot end the script element it stands in.
fn json_in_html(value: &Value) -> String {
    value.to_string().replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_leave_its_script_element() {
        let text = "</script><script>alert(1)//&amp;<!--";
        let embedded = json_in_html(&json!({ "text": text }));
        assert!(!embedded.contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<Value>(&embedded).unwrap()["text"], text);
    }

    #[test]
    fn intention_results_are_offered_only_where_there_is_an_intention_step() {
        let offers = |intention, value: &str| outcomes(intention).to_string().contains(&format!("\"{value}\""));
        assert!(offers(None, "2016") && offers(None, "1109"));
        assert!(!offers(None, "-301") && !offers(None, "17"));
        assert!(offers(Some(IntentionMode::Nods), "-301") && offers(Some(IntentionMode::Nods), "3011"));
    }
}
