//! `GET /callback`: the user's browser comes back from the vendor, and is sent on.

use crate::app::{App, CallbackSource, Error, Reason, Urgency, Visitor};
use axum::{
    extract::{RawQuery, State},
    http::{
        HeaderName, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// Seconds after which a browser whose result could not be asked for tries again.
const RETRY_AFTER_S: &str = "3";

/// Neither caches nor the next page may learn the token in the URL, and no page may frame ours.
const PRIVATE: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
];

pub(super) async fn callback(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let source = CallbackSource::Url(format!("?{}", query.unwrap_or_default()));
    let answer = match app.handle_callback(Visitor::Browser, source, Urgency::Visitor).await {
        Ok(outcome) => match outcome.redirect_url {
            Some(url) => (StatusCode::SEE_OTHER, [(LOCATION, String::from(url))]).into_response(),
            None => page(StatusCode::OK, "已完成，请返回原页面。", "Done. You can go back."),
        },
        Err(error) => refusal(&error),
    };
    metrics::counter!("faceid_browser_callbacks_total", "status" => answer.status().as_u16().to_string()).increment(1);
    (PRIVATE, answer).into_response()
}

fn refusal(error: &Error) -> Response {
    let reason = error.reason();
    match reason {
        Reason::InvalidFields | Reason::CallbackNotBound => {
            tracing::debug!(reason = reason.name(), error = %error, "callback refused");
            page(StatusCode::BAD_REQUEST, "链接无效，请返回原页面重新发起核身。", "This link is not valid.")
        }
        Reason::VerificationNotFound | Reason::VendorTokenGone | Reason::Redacted => {
            tracing::debug!(reason = reason.name(), "callback refused");
            page(
                StatusCode::NOT_FOUND,
                "该核身流程不存在或已过期。",
                "This verification does not exist or has expired.",
            )
        }
        Reason::VendorUnavailable
        | Reason::VendorThrottled
        | Reason::VendorQuotaExhausted
        | Reason::Overloaded
        | Reason::StoreUnavailable
        | Reason::ClockSkewed
        | Reason::CredentialUnavailable
        | Reason::Stopping => {
            tracing::warn!(reason = reason.name(), error = %error, "callback could not be settled yet");
            ([(RETRY_AFTER, RETRY_AFTER_S)], waiting_page()).into_response()
        }
        Reason::Unauthenticated
        | Reason::FlowNotGranted
        | Reason::RightMissing
        | Reason::RequestIdReused
        | Reason::CallerQuotaExceeded
        | Reason::PersonLimitReached
        | Reason::JwtKeysUnavailable
        | Reason::AlreadyFinal
        | Reason::StillPending
        | Reason::CredentialExists
        | Reason::CredentialNotFound
        | Reason::CredentialInUse
        | Reason::CredentialExternal
        | Reason::CredentialAbsent
        | Reason::CredentialDisabled
        | Reason::CredentialRefused
        | Reason::VendorAccountBlocked
        | Reason::FlowMisconfigured
        | Reason::VendorRefused
        | Reason::DeadlineExceeded
        | Reason::Internal => {
            tracing::error!(reason = reason.name(), error = %error, "callback could not be settled");
            page(StatusCode::BAD_GATEWAY, "暂时无法确认核身结果，请返回原页面。", "The result cannot be confirmed.")
        }
    }
}

fn page(status: StatusCode, chinese: &str, english: &str) -> Response {
    html(status, "", chinese, english)
}

/// The result could not be asked for just now. Nothing is lost: the page asks again by itself.
fn waiting_page() -> Response {
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"{RETRY_AFTER_S}\">");
    html(StatusCode::SERVICE_UNAVAILABLE, &refresh, "正在确认核身结果，请稍候……", "Confirming the result, please wait.")
}

fn html(status: StatusCode, head: &str, chinese: &str, english: &str) -> Response {
    let body = format!(
        "<!doctype html><html lang=\"zh-CN\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{head}<title>人脸核身</title>\
         <style>body{{font-family:sans-serif;text-align:center;margin:30vh 1.5em 0;color:#222}}small{{color:#777}}</style>\
         </head><body><p>{chinese}</p><small>{english}</small></body></html>\n"
    );
    (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}
