//! `GET /callback`: the user's browser comes back from the vendor, and is sent on.

use crate::{
    app::{App, CallbackSource, Error, Visitor},
    domain::reason::Page,
    telemetry,
    tencent::Urgency,
};
use axum::{
    extract::{RawQuery, State},
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use tracing::{Instrument, field::Empty};

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

pub(super) async fn callback(State(app): State<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let span = tracing::info_span!(
        "callback",
        otel.name = "GET /callback",
        otel.kind = "server",
        otel.status_code = Empty,
        "error.type" = Empty,
        http.request.method = "GET",
        http.route = "/callback",
        http.response.status_code = Empty,
    );
    telemetry::continue_trace(&span, &headers);
    let answer = answer(app, query).instrument(span.clone()).await;
    let status = answer.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
    answer
}

async fn answer(app: Arc<App>, query: Option<String>) -> Response {
    let source = CallbackSource::Url(format!("?{}", query.unwrap_or_default()));
    let answer = match app.handle_callback(Visitor::Browser, source, Urgency::Visitor).await {
        Ok(outcome) => match outcome.redirect_url {
            Some(url) => (StatusCode::SEE_OTHER, [(LOCATION, String::from(url))]).into_response(),
            None => html(StatusCode::OK, "", "已完成，请返回原页面。", "Done. You can go back."),
        },
        Err(error) => refusal(&error),
    };
    metrics::counter!("faceid_browser_callbacks_total", "status" => answer.status().as_u16().to_string()).increment(1);
    (PRIVATE, answer).into_response()
}

fn refusal(error: &Error) -> Response {
    let reason = error.reason();
    let page = reason.row().page;
    match page {
        Page::BadLink | Page::Gone => tracing::debug!(reason = reason.name(), "callback refused"),
        Page::Waiting => tracing::warn!(reason = reason.name(), error = %error, "callback could not be settled yet"),
        Page::Unconfirmed => tracing::error!(reason = reason.name(), error = %error, "callback could not be settled"),
    }
    let (chinese, english) = page.texts();
    match page {
        Page::BadLink => html(StatusCode::BAD_REQUEST, "", chinese, english),
        Page::Gone => html(StatusCode::NOT_FOUND, "", chinese, english),
        Page::Unconfirmed => html(StatusCode::BAD_GATEWAY, "", chinese, english),
        // The result could not be asked for just now. Nothing is lost: the page asks again by
        // itself.
        Page::Waiting => {
            let refresh = format!("<meta http-equiv=\"refresh\" content=\"{RETRY_AFTER_S}\">");
            let page = html(StatusCode::SERVICE_UNAVAILABLE, &refresh, chinese, english);
            ([(RETRY_AFTER, RETRY_AFTER_S)], page).into_response()
        }
    }
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
