//! Signs a message, sends it, and judges the answer by its status alone.

use super::{
    Endpoint,
    sign::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign},
    target::{NoPublicAddress, PublicOnly, SystemResolver},
};
use crate::bounded_body;
use jiff::{SignedDuration, Timestamp};
use reqwest::{
    StatusCode,
    dns::Resolve,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use std::{error::Error, iter, sync::Arc, time::Duration};
use tracing::Instrument;

const MAX_ID_CHARS: usize = 64;
/// An answer's body says nothing to us. One up to this size is read, so that the connection can be
/// used again.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Common servers close idle connections after about 60 s: close them first, or a reuse meets a
/// reset.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a receiver may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the name's resolution to the end of the TLS handshake.
    pub connect: Duration,
    /// For one try, from connecting to the last byte.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), total: Duration::from_secs(10) }
    }
}

/// A message to a receiver.
pub struct Message {
    id: String,
    body: Vec<u8>,
}

impl Message {
    /// Takes a JSON text and the id by which the receiver knows that it has seen it: the same in
    /// every try.
    ///
    /// # Errors
    /// When the id has other characters than A-Z, a-z, 0-9, '-' and '_', none, or more than 64.
    pub fn new(id: impl Into<String>, body: Vec<u8>) -> Result<Self, String> {
        let id = id.into();
        // The id stands in a header, and is separated from what is signed after it by a full stop.
        let fits = (1..=MAX_ID_CHARS).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits {
            Ok(Self { id, body })
        } else {
            Err(format!("is not 1 to {MAX_ID_CHARS} characters of A-Z, a-z, 0-9, '-' and '_'"))
        }
    }
}

/// A try that did not deliver. Says nothing of the URL and of the answer but its status.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The receiver says that it will never take an event again (410).
    #[error("answered 410 Gone: wants no more events")]
    Gone,
    #[error("answered {0}, a redirect, which is not followed; set the final URL")]
    Redirected(u16),
    /// With what it says in `Retry-After`.
    #[error("answered HTTP {code}")]
    Status { code: u16, retry_after: Option<String> },
    #[error("no answer in time")]
    Timeout(#[source] reqwest::Error),
    /// The target is a name that leads into a private network only, and the caller may not go
    /// there.
    #[error("the host has no address of the public internet; allow_private would allow it")]
    NotPublic(#[source] reqwest::Error),
    #[error("unreachable: {0}")]
    Unreachable(#[source] reqwest::Error),
}

impl SendError {
    /// Whether the endpoint is done with: no try of any message will succeed until its owner acts.
    /// All else may pass, and is worth another try later.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Gone => true,
            Self::Redirected(_)
            | Self::Status { .. }
            | Self::Timeout(_)
            | Self::NotPublic(_)
            | Self::Unreachable(_) => false,
        }
    }

    /// Whether it would meet any other message, too: the receiver is away or overloaded.
    pub fn is_of_the_receiver(&self) -> bool {
        match self {
            Self::Status { code, .. } => *code == 429 || *code >= 500,
            Self::Gone | Self::Redirected(_) | Self::Timeout(_) | Self::NotPublic(_) | Self::Unreachable(_) => true,
        }
    }

    /// How long the receiver asks to be left alone: seconds, or until a date (RFC 9110, section
    /// 10.2.3).
    pub fn retry_after(&self, now: Timestamp) -> Option<SignedDuration> {
        let Self::Status { retry_after: Some(text), .. } = self else { return None };
        let seconds = text.parse::<u32>().ok().map(|seconds| SignedDuration::from_secs(seconds.into()));
        let until = || jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp().duration_since(now));
        seconds.or_else(until).filter(|pause| pause.is_positive())
    }

    /// A short name for metrics: few values, whatever the receiver answers.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Redirected(_) => "redirected",
            Self::Status { code: 400..=499, .. } => "client_error",
            Self::Status { code: 500..=599, .. } => "server_error",
            Self::Status { .. } => "other_status",
            Self::Timeout(_) => "timeout",
            Self::NotPublic(_) => "not_public",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// Sends messages to callers' endpoints.
pub struct Sender {
    // Two clients, because connections are kept: one made for a caller that may go to a private
    // address must not serve one that may not.
    public: reqwest::Client,
    private: reqwest::Client,
}

impl Sender {
    /// Makes a sender; connects when first used.
    ///
    /// # Errors
    /// When the TLS set-up fails: there are no CA certificates on the machine.
    pub fn new(timeouts: Timeouts) -> reqwest::Result<Self> {
        Self::with_resolver(timeouts, Arc::new(SystemResolver))
    }

    fn with_resolver(timeouts: Timeouts, resolver: Arc<dyn Resolve>) -> reqwest::Result<Self> {
        Ok(Self {
            public: client(timeouts, Arc::new(PublicOnly(Arc::clone(&resolver))))?,
            private: client(timeouts, resolver)?,
        })
    }

    /// Sends a message once, signed at `now`. Any 2xx means that the receiver has it. Counted and
    /// traced.
    ///
    /// # Errors
    /// See [`SendError`]. The receiver may have the message all the same, for instance after a
    /// timeout.
    pub async fn send(&self, endpoint: &Endpoint, message: &Message, now: Timestamp) -> Result<(), SendError> {
        let span = tracing::info_span!(
            "webhook",
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            "error.type" = tracing::field::Empty,
            http.request.method = "POST",
            server.address = endpoint.target.url().host_str(),
            outcome = tracing::field::Empty
        );
        let result = self.post(endpoint, message, now.as_second()).instrument(span.clone()).await;
        let outcome = result.as_ref().map_or_else(SendError::label, |()| "delivered");
        span.record("outcome", outcome);
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", outcome);
        }
        tracing::debug!(parent: &span, message_id = message.id, outcome, "webhook ended");
        metrics::counter!("faceid_webhook_deliveries_total", "outcome" => outcome).increment(1);
        result
    }

    async fn post(&self, endpoint: &Endpoint, message: &Message, timestamp: i64) -> Result<(), SendError> {
        let http = if endpoint.target.allow_private() { &self.private } else { &self.public };
        let response = http
            .post(endpoint.target.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ID_HEADER, &message.id)
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, sign(&message.id, timestamp, &message.body, &endpoint.secrets))
            .body(message.body.clone())
            .send()
            .await
            .map_err(transport_error)?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // The status has decided: a body that breaks off, is too long or comes too late changes
        // nothing.
        drop(bounded_body::read(response, MAX_ANSWER_BYTES).await);
        judge(status, retry_after)
    }
}

fn client(timeouts: Timeouts, resolver: Arc<dyn Resolve>) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("faceid-gateway/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.total)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        // A redirect would lead past the check of the URL.
        .redirect(reqwest::redirect::Policy::none())
        // A proxy would resolve the name itself, past the check of the addresses.
        .no_proxy()
        .dns_resolver(resolver)
        .build()
}

fn judge(status: StatusCode, retry_after: Option<String>) -> Result<(), SendError> {
    match status.as_u16() {
        200..=299 => Ok(()),
        410 => Err(SendError::Gone),
        code @ 300..=399 => Err(SendError::Redirected(code)),
        code => Err(SendError::Status { code, retry_after }),
    }
}

fn transport_error(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    if iter::successors(error.source(), |&cause| cause.source()).any(|cause| cause.is::<NoPublicAddress>()) {
        SendError::NotPublic(error)
    } else if error.is_timeout() {
        SendError::Timeout(error)
    } else {
        SendError::Unreachable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::clock::{Clock, SystemClock},
        webhook::{Secret, Target},
    };
    use axum::{
        Router,
        body::{Body, Bytes},
        routing::post,
    };
    use http::{HeaderMap, HeaderValue, header::LOCATION};
    use reqwest::dns::{Addrs, Name, Resolving};
    use standardwebhooks::Webhook;
    use std::{
        future,
        io::{Read, Write},
        net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };
    use tokio::sync::mpsc;

    const OLD: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const NEW: &str = "whsec_ERERERERERERERERERERERERERERERERERERERERERE=";

    fn sender() -> Sender {
        Sender::new(Timeouts::default()).unwrap()
    }

    fn endpoint(url: &str, allow_private: bool) -> Endpoint {
        let secrets = [OLD, NEW].map(|text| Secret::parse(text).unwrap());
        Endpoint::new(Target::parse(url, allow_private).unwrap(), secrets.into()).unwrap()
    }

    fn message() -> Message {
        Message::new("evt_1", br#"{"state":"PASSED"}"#.to_vec()).unwrap()
    }

    /// Starts a receiver; gives the URL of its `/in`.
    async fn receiver(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }

    async fn send_to(router: Router) -> Result<(), SendError> {
        let url = receiver(router).await;
        sender().send(&endpoint(&url, true), &message(), Timestamp::UNIX_EPOCH).await
    }

    /// Every name is at this address.
    struct Everywhere(IpAddr);

    impl Resolve for Everywhere {
        fn resolve(&self, _: Name) -> Resolving {
            let addresses = Box::new(iter::once(SocketAddr::new(self.0, 0))) as Addrs;
            Box::pin(future::ready(Ok(addresses)))
        }
    }

    #[tokio::test]
    async fn a_receiver_verifies_with_the_old_secret_and_with_the_new() {
        let (requests, mut received) = mpsc::unbounded_channel();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            requests.send((headers, body)).unwrap();
            StatusCode::ACCEPTED
        };
        let url = receiver(Router::new().route("/in", post(take))).await;

        // The library that judges compares with the machine's time.
        let now = SystemClock.now();
        sender().send(&endpoint(&url, true), &message(), now).await.unwrap();

        let (headers, body) = received.recv().await.unwrap();
        assert_eq!(&body[..], br#"{"state":"PASSED"}"#);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["webhook-id"], "evt_1");
        assert_eq!(headers["webhook-timestamp"], now.as_second().to_string());
        for secret in [OLD, NEW] {
            Webhook::new(secret).unwrap().verify(&body, &headers).unwrap();
        }
        let stranger = Webhook::from_bytes(vec![7; 32]).unwrap();
        assert!(stranger.verify(&body, &headers).is_err());
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (status, expected) in [
            (200, None),
            (204, None),
            (304, Some(("redirected", false))),
            (400, Some(("client_error", false))),
            (404, Some(("client_error", false))),
            (410, Some(("gone", true))),
            (429, Some(("client_error", false))),
            (500, Some(("server_error", false))),
            (503, Some(("server_error", false))),
            (600, Some(("other_status", false))),
        ] {
            let answer = StatusCode::from_u16(status).unwrap();
            let error = send_to(Router::new().route("/in", post(move || future::ready(answer)))).await.err();
            assert_eq!(error.map(|error| (error.label(), error.is_permanent())), expected, "{status}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let followed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&followed);
        let router = Router::new()
            .route(
                "/in",
                post(async || (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, HeaderValue::from_static("/S3CRET"))])),
            )
            .route(
                "/S3CRET",
                post(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    future::ready(StatusCode::OK)
                }),
            );
        let error = send_to(router).await.unwrap_err();
        assert_eq!(error.to_string(), "answered 307, a redirect, which is not followed; set the final URL");
        assert_eq!(followed.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_receiver_that_never_answers_is_left() {
        let url = receiver(Router::new().route("/in", post(future::pending::<StatusCode>))).await;
        let timeouts = Timeouts { total: Duration::from_millis(50), ..Timeouts::default() };
        let sent = Sender::new(timeouts).unwrap().send(&endpoint(&url, true), &message(), Timestamp::UNIX_EPOCH).await;
        let error = sent.unwrap_err();
        assert!(matches!(error, SendError::Timeout(_)) && !error.is_permanent(), "{error:?}");
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut() {
        let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]));
        let endless = post(async move || Body::from_stream(futures_util::stream::repeat_with(chunk)));
        send_to(Router::new().route("/in", endless)).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_after_its_status_is_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let receiver = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(&message().body) {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx").unwrap();
        });
        sender().send(&endpoint(&url, true), &message(), Timestamp::UNIX_EPOCH).await.unwrap();
        receiver.join().unwrap();
    }

    #[tokio::test]
    async fn nobody_there_is_worth_another_try() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = endpoint(&format!("http://{free}/S3CRET"), true);
        let error = sender().send(&endpoint, &message(), Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert!(matches!(error, SendError::Unreachable(_)) && !error.is_permanent(), "{error:?}");
        assert!(error.source().is_some() && !format!("{error} {error:?}").contains("S3CRET"), "{error:?}");
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        inside.set_nonblocking(true).unwrap();
        let port = inside.local_addr().unwrap().port();
        let resolver = Arc::new(Everywhere(Ipv4Addr::LOCALHOST.into()));
        let sender = Sender::with_resolver(Timeouts::default(), resolver).unwrap();

        let endpoint = endpoint(&format!("https://hook.example.com:{port}/in"), false);
        let error = sender.send(&endpoint, &message(), Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert!(matches!(error, SendError::NotPublic(_)) && !error.is_permanent(), "{error:?}");
        assert_eq!(inside.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_caller_that_may_goes_inside_by_name() {
        let url = receiver(Router::new().route("/in", post(async || StatusCode::OK))).await;
        let resolver = Arc::new(Everywhere(Ipv4Addr::LOCALHOST.into()));
        let sender = Sender::with_resolver(Timeouts::default(), resolver).unwrap();
        let endpoint = endpoint(&url.replace("127.0.0.1", "localhost"), true);
        sender.send(&endpoint, &message(), Timestamp::UNIX_EPOCH).await.unwrap();
    }

    #[test]
    fn an_id_is_safe_in_a_header_and_in_what_is_signed() {
        for good in ["1", "evt_0190-a", &"x".repeat(64)] {
            assert!(Message::new(good, vec![]).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a b", "a\r\nb", "é", &"x".repeat(65)] {
            assert!(Message::new(bad, vec![]).is_err(), "{bad}");
        }
    }
}
