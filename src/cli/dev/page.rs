//! The landing page of `dev`: a calling service, its verifications and the simulator's switches, in
//! a browser.
//!
//! It is a client like any other: of the contract on the gateway's gRPC port, and of the
//! simulator's control port.

use crate::grpc::pb::{
    self, CreateVerificationRequest, GetResultRequest, ListVerificationsRequest, Subject, VerificationState,
    WatchVerificationsRequest, get_result_request::Key, intention_script::Mode,
    verification_service_client::VerificationServiceClient,
};
use anyhow::Context;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{any, get, post},
};
use futures_util::{Stream, StreamExt, future, stream};
use qrcode::{QrCode, render::svg};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// What the page is a client of.
pub(super) struct Around {
    pub(super) grpc: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) simulator: SocketAddr,
    pub(super) control: SocketAddr,
}

pub(super) struct LandingPage {
    around: Around,
    gateway: VerificationServiceClient<Channel>,
    http: reqwest::Client,
    /// From where events are shown: the start of this `dev`.
    beginning: OnceLock<String>,
}

/// The photo that a face is compared with in the flow `photo`: the simulator's own, of nobody.
const SAMPLE_PHOTO: &[u8] = include_bytes!("../../simulator/media/face.jpg");
/// How many verifications the table has.
const TABLE_ROWS: i32 = 30;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Forms and switches are small.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// What the page may do with the control port.
const SWITCHES: [&str; 6] = ["outcomes", "faults", "clock", "quota", "page", "reset"];

/// Nothing from outside, nothing inline, and in no frame.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

impl LandingPage {
    pub(super) fn new(around: Around) -> anyhow::Result<Arc<Self>> {
        let channel = Endpoint::from_shared(format!("http://{}", around.grpc))?.timeout(Duration::from_secs(3600));
        let gateway = VerificationServiceClient::new(channel.connect_lazy());
        let http = reqwest::Client::builder().no_proxy().timeout(CALL_TIMEOUT).build()?;
        Ok(Arc::new(Self { around, gateway, http, beginning: OnceLock::new() }))
    }

    /// Takes now, when the gateway serves and nothing has happened yet, for the beginning of what
    /// is shown.
    pub(super) async fn begin(&self) -> anyhow::Result<()> {
        let mut events =
            self.gateway.clone().watch_verifications(WatchVerificationsRequest::default()).await?.into_inner();
        let first = events.message().await?.context("WatchVerifications ended at once")?;
        self.beginning.get_or_init(|| first.resume_token);
        Ok(())
    }

    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(landing))
            .route("/dev/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("page.js"))))
            .route("/dev/page.css", get(|| asset("text/css; charset=utf-8", include_str!("page.css"))))
            .route("/dev/verifications", post(create).get(list))
            .route("/dev/verifications/{id}", get(result))
            .route("/dev/events", get(events))
            .route("/dev/simulator/{switch}", any(simulator))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn(only_for_this_page))
            .with_state(Arc::clone(self))
    }
}

async fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], text)
}

/// Another site's page must not reach this one under a name of its own (DNS rebinding); without
/// CORS, and with JSON only, it cannot call it either.
async fn only_for_this_page(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_an_address) {
        let told = "open this page by an IP address or as localhost\n";
        return (StatusCode::MISDIRECTED_REQUEST, HEADERS, told).into_response();
    }
    (HEADERS, next.run(request).await).into_response()
}

fn is_an_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    !host.contains('@') && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

#[derive(Deserialize)]
struct Language {
    lang: Option<String>,
}

async fn landing(
    State(page): State<Arc<LandingPage>>,
    Query(asked): Query<Language>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let around = &page.around;
    let html = include_str!("page.html")
        .replace("{{lang}}", language(asked.lang.as_deref(), accepted))
        .replace("{{grpc}}", &around.grpc.to_string())
        .replace("{{admin}}", &around.admin.to_string())
        .replace("{{simulator}}", &around.simulator.to_string())
        .replace("{{control}}", &around.control.to_string());
    ([(header::VARY, "accept-language")], Html(html))
}

/// The one asked for, else the browser's first of ours, else English.
fn language(asked: Option<&str>, accepted: Option<&str>) -> &'static str {
    let ours = |tag: &str| match tag.trim().get(..2)?.to_ascii_lowercase().as_str() {
        "zh" => Some("zh-CN"),
        "en" => Some("en"),
        _ => None,
    };
    asked.and_then(ours).or_else(|| accepted?.split(',').find_map(ours)).unwrap_or("en")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVerification {
    flow: String,
    name: String,
    id_number: String,
    /// For the flow `signing`.
    read_aloud: String,
}

async fn create(
    State(page): State<Arc<LandingPage>>,
    Json(form): Json<NewVerification>,
) -> Result<Json<Value>, Refusal> {
    let shop = format!("http://{}/shop", page.around.simulator);
    let script = pb::ReadAloudScript { text: form.read_aloud };
    let request = CreateVerificationRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        reference_photo: if form.flow == "photo" { SAMPLE_PHOTO.to_vec() } else { Vec::new() },
        intention: (form.flow == "signing").then_some(pb::IntentionScript { mode: Some(Mode::ReadAloud(script)) }),
        flow: form.flow,
        subject: Some(Subject { name: form.name, id_number: form.id_number }),
        success_url: format!("{shop}/welcome"),
        failure_url: format!("{shop}/sorry"),
        ..CreateVerificationRequest::default()
    };
    let created = page.gateway.clone().create_verification(request).await?.into_inner();
    let verification = created.verification.unwrap_or_default();
    Ok(Json(json!({
        "verification": row(&verification),
        "url": created.url,
        "qr": qr_code(&created.url),
        "expire_ms": created.expire_time.as_ref().map(millis),
    })))
}

/// As a data URL; null when the text is too long for a QR code.
fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    let svg = code.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
    let encoded: String = url::form_urlencoded::byte_serialize(svg.as_bytes()).collect();
    Some(format!("data:image/svg+xml,{}", encoded.replace('+', "%20")))
}

async fn list(State(page): State<Arc<LandingPage>>) -> Result<Json<Value>, Refusal> {
    let request = ListVerificationsRequest { page_size: TABLE_ROWS, ..ListVerificationsRequest::default() };
    let listed = page.gateway.clone().list_verifications(request).await?.into_inner();
    Ok(Json(json!({ "verifications": listed.verifications.iter().map(row).collect::<Vec<_>>() })))
}

/// The answer of GetResult, in the masked view, as far as the page shows it.
async fn result(State(page): State<Arc<LandingPage>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let request = GetResultRequest { key: Some(Key::VerificationId(id)), ..GetResultRequest::default() };
    let told = page.gateway.clone().get_result(request).await?.into_inner();
    let attempts =
        told.result.as_ref().map(|result| result.attempts.iter().map(|attempt| attempt.code).collect::<Vec<_>>());
    let evidence: Vec<&str> = told.evidence.iter().map(|evidence| short(evidence.kind().as_str_name())).collect();
    Ok(Json(json!({
        "verification": told.verification.as_ref().map(row),
        "attempts": attempts,
        "evidence": evidence,
    })))
}

fn row(verification: &pb::Verification) -> Value {
    json!({
        "id": verification.verification_id,
        "flow": verification.flow,
        "state": short(verification.state().as_str_name()),
        "created_ms": verification.create_time.as_ref().map(millis),
        "last_attempt": verification.last_attempt.as_ref().map(|attempt| json!({
            "code": attempt.code,
            "en": attempt.meaning,
            "zh": attempt.meaning_zh,
            "advice": short(attempt.advice().as_str_name()),
        })),
    })
}

fn millis(time: &prost_types::Timestamp) -> i64 {
    time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
}

/// An enum's name without what all of its names begin with.
fn short(name: &'static str) -> &'static str {
    ["VERIFICATION_STATE_", "VERIFICATION_EVENT_KIND_", "EVIDENCE_KIND_", "ADVICE_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// What happened since the start of this `dev`, then what happens. A browser whose connection broke
/// resumes where it was, by the `Last-Event-ID` that it sends of itself.
async fn events(
    State(page): State<Arc<LandingPage>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let resume_token = seen.or_else(|| page.beginning.get().cloned()).unwrap_or_default();
    let request = WatchVerificationsRequest { resume_token, ..WatchVerificationsRequest::default() };
    let messages = page.gateway.clone().watch_verifications(request).await?.into_inner();
    let events = messages.take_while(|message| future::ready(message.is_ok())).filter_map(|message| {
        future::ready(message.ok().and_then(|message| {
            let event = message.event?;
            Some(Ok(Event::default().id(message.resume_token).data(happened(&event).to_string())))
        }))
    });
    // Headers alone would leave the browser waiting for an answer.
    let opened = stream::once(future::ready(Ok(Event::default().comment("watching"))));
    Ok(Sse::new(opened.chain(events)).keep_alive(KeepAlive::default()))
}

fn happened(event: &pb::VerificationEvent) -> Value {
    json!({
        "id": event.verification_id,
        "kind": short(event.kind().as_str_name()),
        "state": short(VerificationState::try_from(event.state).unwrap_or_default().as_str_name()),
        "code": event.last_attempt_code,
        "time_ms": event.event_time.as_ref().map(millis),
    })
}

/// Hands a switch on to the control port, and its answer back.
async fn simulator(
    State(page): State<Arc<LandingPage>>,
    Path(switch): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let is_known = match method {
        Method::GET => switch == "state",
        // A form of another site cannot send JSON.
        Method::POST => is_json && SWITCHES.contains(&switch.as_str()),
        Method::DELETE => SWITCHES.contains(&switch.as_str()),
        _ => false,
    };
    if !is_known {
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "this page has no such switch" }))).into_response();
    }
    let control = format!("http://{}/{switch}", page.around.control);
    let answered = async {
        let answer = page.http.request(method, control).body(body).send().await?;
        Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
    };
    match answered.await {
        Ok((status, body)) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            let text = format!("the control port did not answer: {error}");
            (StatusCode::BAD_GATEWAY, Json(json!({ "error": text }))).into_response()
        }
    }
}

/// A call that the gateway refused, as a caller sees it.
struct Refusal(Box<Status>);

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let details = self.0.get_error_details();
        let fields = details.bad_request().map(|bad| {
            bad.field_violations
                .iter()
                .map(|bad| json!({ "field": bad.field, "text": bad.description }))
                .collect::<Vec<_>>()
        });
        let body = json!({
            "code": format!("{:?}", self.0.code()),
            "reason": details.error_info().map(|info| info.reason.clone()),
            "error": self.0.message(),
            "fields": fields,
        });
        (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_asked_for_else_the_browsers() {
        assert_eq!(language(Some("zh"), Some("en-US")), "zh-CN");
        assert_eq!(language(None, Some("de-DE, zh;q=0.8, en;q=0.5")), "zh-CN");
        assert_eq!(language(None, Some("en-GB,zh-CN;q=0.9")), "en");
        assert_eq!(language(Some("fr"), None), "en");
        assert_eq!(language(None, Some("é")), "en");
    }

    #[test]
    fn only_addresses_are_hosts_of_the_page() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "192.168.1.5"] {
            assert!(is_an_address(host), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "localhost.evil.example:80"]
        {
            assert!(!is_an_address(host), "{host}");
        }
    }

    #[test]
    fn a_url_becomes_an_svg_that_a_policy_of_data_images_shows() {
        let qr = qr_code("http://127.0.0.1:8081/h5?token=079CF034-D6A5-4B8C-9C4D-7B6A2A7A2A2A").unwrap();
        assert!(qr.starts_with("data:image/svg+xml,%3C%3Fxml"));
        assert!(!qr.contains(['<', ' ', '"', '#']));
        assert_eq!(qr_code(&"x".repeat(10_000)), None);
    }
}
