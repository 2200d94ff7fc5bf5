//! Signs, sends, and reads the answer.
//!
//! How a call is tried, until when and where, is in [`super::attempt`]; the class of every failure in [`super::error`].

use super::{
    attempt::{Exchange, Limits, Question, by},
    clock_offset::VendorClock,
    encryption::FieldEncryption,
    endpoints::{Endpoint, Endpoints},
    error::{EarlierRefusal, Error, ErrorKind},
    in_flight::InFlight,
    quota::Quotas,
    wire::{
        DetectAuthRequest, DetectAuthResponse, GetDetectInfoEnhancedRequest, GetDetectInfoEnhancedResponse,
        GetWeChatBillDetailsRequest, GetWeChatBillDetailsResponse,
    },
};
use crate::{
    domain::key_pair::KeyPair,
    tc3::{self, SigningKey, SigningRequest},
};
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tracing::Instrument;
use url::Url;

type Sha256Hash = [u8; 32];

const VERSION: &str = "2018-03-01";
const JSON: &str = "application/json; charset=utf-8";
/// The longest answer that is read. Text answers have some KB; one with the intention step's video some MB.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// An answer that has begun goes on at least as fast, or is given up while there is time for another try. Bytes per second.
const SLOWEST: u64 = 4096;

/// How to reach the vendor, and how much to ask of it.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where to connect to: scheme, host and port. Plain http only to loopback.
    pub endpoint: Url,
    /// Asked, in this order, while those before fail.
    pub backup_endpoints: Vec<Url>,
    /// The Host header that is sent and signed; None: that of the endpoint.
    pub host: Option<String>,
    /// The service's name in the signature's scope.
    pub service: String,
    /// `http(s)://[user:password@]host:port`; None: what the environment says.
    pub proxy: Option<SecretString>,
    /// Trusted beside the machine's own roots.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// For opening a connection.
    pub connect_timeout: Duration,
    /// For one try, from connecting to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// For a call that somebody waits for, with all its tries and waits; for a try of one that nobody waits for; and of an
    /// answer with media, for each piece.
    pub timeout: Duration,
    /// Calls on their way at once; beyond that they are refused.
    pub max_in_flight: usize,
    /// Calls of an account to one action.
    pub requests_per_second: u32,
}

impl ClientConfig {
    /// An endpoint, and for the rest what the configuration has as defaults.
    pub fn new(endpoint: Url) -> Self {
        Self {
            endpoint,
            backup_endpoints: Vec::new(),
            host: None,
            service: "faceid".to_owned(),
            proxy: None,
            ca_certificates: Vec::new(),
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            max_in_flight: 1000,
            requests_per_second: 100,
        }
    }
}

/// For whom a call is made.
#[derive(Clone, Copy)]
pub struct CallOptions<'a> {
    /// The Tencent account, by the name of its credential: its calls are counted together.
    pub credential: &'a str,
    pub urgency: Urgency,
}

/// Who waits for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody does, perhaps until a deadline: then nothing is waited for or begun past it.
    Interactive { deadline: Option<Instant> },
    /// Nobody does: it goes after the others, and has patience.
    Background,
}

impl Urgency {
    /// For a caller who gives this much time.
    pub fn within(time_left: Option<Duration>) -> Self {
        Self::Interactive { deadline: time_left.and_then(|left| Instant::now().checked_add(left)) }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interactive { .. } => "interactive",
            Self::Background => "background",
        }
    }
}

/// The vendor, reached over HTTP.
pub struct Client {
    pub(super) endpoints: Endpoints,
    pub(super) quotas: Quotas,
    pub(super) in_flight: InFlight,
    pub(super) clock: Arc<VendorClock>,
    service: String,
    first_byte_timeout: Duration,
    pub(super) timeout: Duration,
    /// Each beside the hash of its SecretKey, which itself stays in memory only as long as a call needs it.
    signing_keys: Mutex<Vec<(Sha256Hash, Arc<SigningKey>)>>,
}

/// An answer and the vendor's id of the call.
pub struct Answer<T> {
    pub body: T,
    pub request_id: String,
    /// When the question was put that this answers. The vendor took the signature for this time, so it is the vendor's, to within
    /// the 5 minutes that it allows, whatever the machine's clock says.
    pub asked_at: Timestamp,
    /// How many tries it took.
    pub tries: u32,
}

impl Client {
    /// Makes a client; connects when first used, or with [`Client::warm`].
    ///
    /// # Errors
    /// When the TLS set-up fails: there are no CA certificates on the machine.
    pub fn new(config: &ClientConfig, clock: Arc<VendorClock>) -> reqwest::Result<Self> {
        Ok(Self {
            endpoints: Endpoints::new(config)?,
            quotas: Quotas::new(config.requests_per_second),
            in_flight: InFlight::new(config.max_in_flight),
            clock,
            service: config.service.clone(),
            first_byte_timeout: config.first_byte_timeout,
            timeout: config.timeout,
            signing_keys: Mutex::default(),
        })
    }

    /// Opens connections ahead of the first call. A vendor that is down is no error.
    pub async fn warm(&self) {
        self.endpoints.warm().await;
    }

    /// Whether every endpoint failed just now, so that a call would be refused without being made.
    pub fn is_down(&self) -> bool {
        self.endpoints.all_left_alone().is_some()
    }

    /// Opens a flow: gives a BizToken and the URL for the user's browser [31816]. Costs nothing.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn detect_auth(
        &self,
        pair: &KeyPair,
        request: &DetectAuthRequest<'_>,
        encryption: Option<&FieldEncryption>,
        options: CallOptions<'_>,
    ) -> Result<Answer<DetectAuthResponse>, Error> {
        let action = "DetectAuth";
        let Some(encryption) = encryption else { return self.call(action, pair, request, options, Ok).await };
        let sealed =
            encryption.begin().and_then(|key| key.seal(request)).map_err(|kind| Error::untried(action, kind))?;
        self.call(action, pair, &sealed.put_into(request), options, Ok).await
    }

    /// Asks what became of a BizToken [41957]. May be asked any number of times, for 3 days.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn get_detect_info_enhanced(
        &self,
        pair: &KeyPair,
        request: &GetDetectInfoEnhancedRequest<'_>,
        encryption: Option<&FieldEncryption>,
        options: CallOptions<'_>,
    ) -> Result<Answer<GetDetectInfoEnhancedResponse>, Error> {
        let action = "GetDetectInfoEnhanced";
        let Some(encryption) = encryption else { return self.call(action, pair, request, options, Ok).await };
        let key = encryption.begin().map_err(|kind| Error::untried(action, kind))?;
        self.call(action, pair, &key.asking(request), options, |answer| key.open(answer)).await
    }

    /// A page of the vendor's own ledger of a day [31082].
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn get_wechat_bill_details(
        &self,
        pair: &KeyPair,
        request: &GetWeChatBillDetailsRequest<'_>,
        options: CallOptions<'_>,
    ) -> Result<Answer<GetWeChatBillDetailsResponse>, Error> {
        self.call("GetWeChatBillDetails", pair, request, options, Ok).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        pair: &KeyPair,
        request: &impl Serialize,
        options: CallOptions<'_>,
        open: impl FnOnce(Answer<T>) -> Result<Answer<T>, ErrorKind>,
    ) -> Result<Answer<T>, Error> {
        let mut call = Call::begin(action);
        let span = call.span.clone();
        let result = self.send(&mut call, pair, request, options).instrument(span).await;
        match result.and_then(open) {
            Ok(answer) => {
                call.succeeded(&answer.request_id);
                Ok(answer)
            }
            Err(kind) => Err(call.failed(kind)),
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        call: &mut Call,
        pair: &KeyPair,
        request: &impl Serialize,
        options: CallOptions<'_>,
    ) -> Result<Answer<T>, ErrorKind> {
        let body = serde_json::to_vec(request).expect("requests are plain data").into();
        let question = Question { pair, body, options, first_byte: self.first_byte_timeout };
        let limits = Limits::of(options.urgency, self.timeout);
        let _place = self.in_flight.enter(options.urgency, limits.begin_until).await?;
        let read = |exchange| async { read_answer(&self.read_bounded(exchange).await?) };
        let attempted = self.attempt(call, limits, &question, read).await?;
        Ok(attempted.read.answers(attempted.asked_at, call.tries))
    }

    /// A request, signed for this time.
    pub(super) fn signed(
        &self,
        endpoint: &Endpoint,
        action: &'static str,
        pair: &KeyPair,
        body: &Bytes,
        at: Timestamp,
    ) -> Result<reqwest::RequestBuilder, ErrorKind> {
        let headers = self.signed_headers(endpoint, action, pair, body, at.as_second())?;
        Ok(endpoint.http.post(endpoint.url.clone()).headers(headers).body(body.clone()))
    }

    /// The headers of a request, signed for this time.
    fn signed_headers(
        &self,
        endpoint: &Endpoint,
        action: &'static str,
        pair: &KeyPair,
        body: &[u8],
        timestamp: i64,
    ) -> Result<HeaderMap, ErrorKind> {
        let host = endpoint.host.to_str().expect("a host is ASCII");
        let signature = tc3::sign(
            &SigningRequest { headers: &[("content-type", JSON), ("host", host)], body, timestamp },
            pair.secret_id.expose_secret(),
            &*self.signing_key(pair, timestamp)?,
        );
        let mut authorization =
            HeaderValue::from_str(&signature.authorization).unwrap_or_else(|_| HeaderValue::from_static("unsendable"));
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(JSON)),
            (HOST, endpoint.host.clone()),
            (AUTHORIZATION, authorization),
            (HeaderName::from_static("x-tc-action"), HeaderValue::from_static(action)),
            (HeaderName::from_static("x-tc-version"), HeaderValue::from_static(VERSION)),
            (HeaderName::from_static("x-tc-timestamp"), HeaderValue::from(timestamp)),
            (HeaderName::from_static("x-tc-language"), HeaderValue::from_static("zh-CN")),
        ]);
        // Sent and not signed, as the vendor's SDKs do it.
        if let Some(token) = &pair.session_token
            && let Ok(mut token) = HeaderValue::from_str(token.expose_secret())
        {
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-tc-token"), token);
        }
        Ok(headers)
    }

    /// The derived key of this SecretKey and day, kept for the day.
    fn signing_key(&self, pair: &KeyPair, timestamp: i64) -> Result<Arc<SigningKey>, ErrorKind> {
        let secret_key = pair.secret_key.expose_secret();
        let hash = Sha256::digest(secret_key).into();
        let mut keys = self.signing_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = keys.iter().find(|(of, key)| *of == hash && key.is_for(timestamp)) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::derive(secret_key, &self.service, timestamp)?);
        keys.retain(|(_, key)| key.is_for(timestamp));
        keys.push((hash, Arc::clone(&key)));
        Ok(key)
    }

    async fn read_bounded(&self, Exchange { mut response, until }: Exchange) -> Result<Vec<u8>, ErrorKind> {
        let too_large = || ErrorKind::TooLarge { limit_bytes: MAX_ANSWER_BYTES };
        if response.content_length().is_some_and(|length| length > MAX_ANSWER_BYTES as u64) {
            return Err(too_large());
        }
        let began = Instant::now();
        let mut body = Vec::new();
        loop {
            let next_by = until.min(Instant::now() + self.first_byte_timeout);
            let read = by(next_by, response.chunk()).await?;
            let Some(chunk) = read.map_err(ErrorKind::unreachable)? else {
                return Ok(body);
            };
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
            let took = began.elapsed();
            if took > self.first_byte_timeout && (body.len() as u64) < took.as_secs() * SLOWEST {
                return Err(ErrorKind::Timeout { timeout_ms: took.as_millis() });
            }
        }
    }
}

/// One call, with all its tries: counted, timed and traced, with the vendor's request id on the span.
pub(super) struct Call {
    pub(super) action: &'static str,
    pub(super) span: tracing::Span,
    pub(super) tries: u32,
    /// What the vendor itself said last, when it refused.
    refusal: Option<EarlierRefusal>,
    started: Instant,
}

impl Call {
    pub(super) fn begin(action: &'static str) -> Self {
        let span = tracing::info_span!(
            "tencent",
            otel.name = action,
            otel.kind = "client",
            code = tracing::field::Empty,
            tries = tracing::field::Empty,
            vendor_request_id = tracing::field::Empty
        );
        Self { action, span, tries: 0, refusal: None, started: Instant::now() }
    }

    /// A try has failed, which need not be the end.
    pub(super) fn failed_once(&mut self, kind: &ErrorKind) {
        let Self { action, span, tries, .. } = self;
        tracing::debug!(parent: &*span, action, tries, code = kind.label(), vendor_request_id = kind.request_id(), "try failed");
        if let Some(request_id) = kind.request_id() {
            self.refusal = Some(EarlierRefusal { code: kind.label().to_owned(), request_id: request_id.to_owned() });
        }
    }

    pub(super) fn succeeded(&self, request_id: &str) {
        self.end("ok", Some(request_id));
    }

    pub(super) fn failed(&self, kind: ErrorKind) -> Error {
        self.end(kind.label(), kind.request_id());
        Error { action: self.action, kind, tries: self.tries, earlier: self.refusal.clone().map(Box::new) }
    }

    fn end(&self, label: &str, request_id: Option<&str>) {
        let Self { action, span, tries, started, .. } = self;
        span.record("code", label);
        span.record("tries", tries);
        span.record("vendor_request_id", request_id);
        tracing::debug!(parent: span, action, code = label, tries, vendor_request_id = request_id, "vendor call ended");
        metrics::counter!("faceid_vendor_calls_total", "action" => *action, "code" => label.to_owned()).increment(1);
        metrics::histogram!("faceid_vendor_call_duration_seconds", "action" => *action).record(started.elapsed());
        metrics::histogram!("faceid_vendor_tries_per_call", "action" => *action).record(f64::from(*tries));
    }
}

/// What the vendor's envelope holds.
pub(super) struct Unpacked<T> {
    pub(super) body: T,
    pub(super) request_id: String,
}

impl<T> Unpacked<T> {
    pub(super) fn answers(self, asked_at: Timestamp, tries: u32) -> Answer<T> {
        Answer { body: self.body, request_id: self.request_id, asked_at, tries }
    }
}

/// Reads the vendor's envelope: `{"Response": {"Error": …}}` or `{"Response": {…}}`.
pub(super) fn read_answer<T: DeserializeOwned>(body: &[u8]) -> Result<Unpacked<T>, ErrorKind> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| unintelligible(&error, ""))?;
    let response = envelope.response.get();
    let head: Head = serde_json::from_str(response).map_err(|error| unintelligible(&error, ""))?;
    // Both go to logs and callers: nothing but a code and an id may pass for one.
    let request_id = head.request_id.filter(|id| is_word(id, "-_")).unwrap_or_default();
    if let Some(error) = head.error {
        return Err(if is_word(&error.code, ".") {
            ErrorKind::Refused { code: error.code, request_id }
        } else {
            ErrorKind::Unintelligible { problem: "the error's code is not one".into(), request_id }
        });
    }
    let body = serde_json::from_str(response).map_err(|error| unintelligible(&error, &request_id))?;
    Ok(Unpacked { body, request_id })
}

fn is_word(text: &str, punctuation: &str) -> bool {
    const MAX_CHARS: usize = 128;
    (1..=MAX_CHARS).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || punctuation.contains(char))
}

/// Says where the JSON broke. serde's own text quotes the value, which may be a name or an ID number.
pub(super) fn unintelligible(error: &serde_json::Error, request_id: &str) -> ErrorKind {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof => "cut off",
        Category::Syntax => "not JSON",
        Category::Data => "a field is of another type than documented",
        Category::Io => "unreadable",
    };
    let problem = format!("{problem} at line {} column {}", error.line(), error.column());
    ErrorKind::Unintelligible { problem, request_id: request_id.to_owned() }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Response", borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "RequestId")]
    request_id: Option<String>,
    #[serde(rename = "Error")]
    error: Option<VendorError>,
}

#[derive(Deserialize)]
struct VendorError {
    #[serde(rename = "Code")]
    code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Unpacked<GetDetectInfoEnhancedResponse>, ErrorKind> {
        read_answer(body.as_bytes())
    }

    #[test]
    fn reads_an_error_and_its_request_id() {
        let error = read(r#"{"Response":{"Error":{"Code":"InternalError","Message":"张三"},"RequestId":"r-1"}}"#).err();
        let Some(ErrorKind::Refused { code, request_id }) = error else { panic!("not refused") };
        assert_eq!((code.as_str(), request_id.as_str()), ("InternalError", "r-1"));
    }

    #[test]
    fn what_is_no_code_and_no_id_goes_nowhere() {
        for code in ["张三 11010519491231002X".to_owned(), String::new(), "A".repeat(129)] {
            let body = format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":""}},"RequestId":"张三"}}}}"#);
            let error = read(&body).err().unwrap();
            assert!(matches!(error, ErrorKind::Unintelligible { .. }), "{error}");
            assert!(!error.to_string().contains("张三"), "{error}");
        }
    }

    #[test]
    fn says_where_an_answer_breaks_without_quoting_it() {
        for (body, expected) in [
            ("<html>502 张三</html>", "not JSON at line 1 column 1"),
            (r#"{"Response":{"Text":{"Name":"张三""#, "cut off"),
            (r#"{"Response":{"Text":{"ErrCode":"张三"},"RequestId":"r-1"}}"#, "another type"),
            (r#"{"Response":null}"#, "another type"),
            ("[]", "another type"),
            ("", "cut off at line 1 column 0"),
        ] {
            let text = read(body).err().unwrap_or_else(|| panic!("{body} was read")).to_string();
            assert!(text.contains(expected) && !text.contains("张三"), "{body}: {text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!(r#"{{"Response":{{"New":{}1{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
