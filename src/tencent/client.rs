//! Signs, sends, and reads the answer.
//!
//! One call is one try. Whoever decides on retries, quota and failover (around [`Client::call`], where the signature is made
//! anew each time) finds the class of every failure in [`super::error`].

use super::{
    error::{Error, ErrorKind},
    wire::{
        DetectAuthRequest, DetectAuthResponse, GetDetectInfoEnhancedRequest, GetDetectInfoEnhancedResponse,
        GetWeChatBillDetailsRequest, GetWeChatBillDetailsResponse,
    },
};
use crate::{
    domain::{clock::Clock, key_pair::KeyPair},
    tc3::{self, SigningKey, SigningRequest},
};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tracing::Instrument;
use url::Url;

const SERVICE: &str = "faceid";
const VERSION: &str = "2018-03-01";
const JSON: &str = "application/json; charset=utf-8";
/// The longest answer that is read. Text answers have some KB; one with the intention step's video some MB.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The vendor closes idle connections after about 60 s (observed): close them first, or a reuse meets a reset.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How to reach the vendor.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Scheme, host and port. Plain http only to loopback.
    pub endpoint: Url,
    /// For one call, from connecting to the last byte; of an answer with media, for each piece.
    pub timeout: Duration,
}

/// The vendor, reached over HTTP.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    host: String,
    pub(super) timeout: Duration,
    clock: Arc<dyn Clock>,
    signing_keys: Mutex<Vec<(KeyPair, Arc<SigningKey>)>>,
}

/// An answer and the vendor's id of the call.
pub struct Answer<T> {
    pub body: T,
    pub request_id: String,
}

impl Client {
    /// Makes a client; connects when first used.
    ///
    /// # Errors
    /// When the TLS set-up fails: there are no CA certificates on the machine.
    pub fn new(config: &ClientConfig, clock: Arc<dyn Clock>) -> reqwest::Result<Self> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("faceid-gateway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none());
        if config.endpoint.scheme() == "http" {
            // Plain http is for a simulator on this machine, which no proxy can reach.
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build()?,
            endpoint: config.endpoint.clone(),
            host: host_header(&config.endpoint),
            timeout: config.timeout,
            clock,
            signing_keys: Mutex::default(),
        })
    }

    /// Opens a flow: gives a BizToken and the URL for the user's browser [31816]. Costs nothing.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn detect_auth(
        &self,
        pair: &KeyPair,
        request: &DetectAuthRequest<'_>,
    ) -> Result<Answer<DetectAuthResponse>, Error> {
        self.call("DetectAuth", pair, request).await
    }

    /// Asks what became of a BizToken [41957]. May be asked any number of times, for 3 days.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn get_detect_info_enhanced(
        &self,
        pair: &KeyPair,
        request: &GetDetectInfoEnhancedRequest<'_>,
    ) -> Result<Answer<GetDetectInfoEnhancedResponse>, Error> {
        self.call("GetDetectInfoEnhanced", pair, request).await
    }

    /// A page of the vendor's own ledger of a day [31082].
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn get_wechat_bill_details(
        &self,
        pair: &KeyPair,
        request: &GetWeChatBillDetailsRequest<'_>,
    ) -> Result<Answer<GetWeChatBillDetailsResponse>, Error> {
        self.call("GetWeChatBillDetails", pair, request).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        pair: &KeyPair,
        request: &impl Serialize,
    ) -> Result<Answer<T>, Error> {
        let call = Call::begin(action);
        let result = self.send(action, pair, request).instrument(call.span.clone()).await;
        match result {
            Ok(answer) => {
                call.succeeded(&answer.request_id);
                Ok(answer)
            }
            Err(kind) => Err(call.failed(kind)),
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        action: &'static str,
        pair: &KeyPair,
        request: &impl Serialize,
    ) -> Result<Answer<T>, ErrorKind> {
        let request = self.signed(action, pair, request)?;
        let response = request.send().await.map_err(|error| transport_error(error, self.timeout))?;
        let status = response.status();
        let body = self.read_bounded(response).await?;
        // The vendor answers errors with 200; anything else is a proxy or an outage in between.
        if status.is_success() { read_answer(&body) } else { Err(ErrorKind::HttpStatus(status.as_u16())) }
    }

    /// A request, ready to be sent now.
    pub(super) fn signed(
        &self,
        action: &'static str,
        pair: &KeyPair,
        request: &impl Serialize,
    ) -> Result<reqwest::RequestBuilder, ErrorKind> {
        let body = serde_json::to_vec(request).expect("requests are plain data");
        let headers = self.signed_headers(action, pair, &body)?;
        Ok(self.http.post(self.endpoint.clone()).headers(headers).body(body))
    }

    /// The headers of a request, signed at this moment.
    fn signed_headers(&self, action: &'static str, pair: &KeyPair, body: &[u8]) -> Result<HeaderMap, ErrorKind> {
        let timestamp = self.clock.now().as_second();
        let signature = tc3::sign(
            &SigningRequest { headers: &[("content-type", JSON), ("host", &self.host)], body, timestamp },
            pair.secret_id.expose_secret(),
            &*self.signing_key(pair, timestamp)?,
        );
        let mut authorization =
            HeaderValue::from_str(&signature.authorization).unwrap_or_else(|_| HeaderValue::from_static("unsendable"));
        authorization.set_sensitive(true);
        let host = HeaderValue::from_str(&self.host).expect("a URL's host is a header value");
        Ok(HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(JSON)),
            (HOST, host),
            (AUTHORIZATION, authorization),
            (HeaderName::from_static("x-tc-action"), HeaderValue::from_static(action)),
            (HeaderName::from_static("x-tc-version"), HeaderValue::from_static(VERSION)),
            (HeaderName::from_static("x-tc-timestamp"), HeaderValue::from(timestamp)),
            (HeaderName::from_static("x-tc-language"), HeaderValue::from_static("zh-CN")),
        ]))
    }

    /// The derived key of this pair and day, kept for the day.
    fn signing_key(&self, pair: &KeyPair, timestamp: i64) -> Result<Arc<SigningKey>, ErrorKind> {
        let mut keys = self.signing_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = keys.iter().find(|(of, key)| of == pair && key.is_for(timestamp)) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::derive(pair.secret_key.expose_secret(), SERVICE, timestamp)?);
        keys.retain(|(_, key)| key.is_for(timestamp));
        keys.push((pair.clone(), Arc::clone(&key)));
        Ok(key)
    }

    async fn read_bounded(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ErrorKind> {
        let too_large = || ErrorKind::TooLarge { limit_bytes: MAX_ANSWER_BYTES };
        if response.content_length().is_some_and(|length| length > MAX_ANSWER_BYTES as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(error, self.timeout))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// One call: counted, timed and traced, with the vendor's request id on the span.
pub(super) struct Call {
    action: &'static str,
    pub(super) span: tracing::Span,
    started: Instant,
}

impl Call {
    pub(super) fn begin(action: &'static str) -> Self {
        let span = tracing::info_span!(
            "tencent",
            otel.name = action,
            otel.kind = "client",
            code = tracing::field::Empty,
            vendor_request_id = tracing::field::Empty
        );
        Self { action, span, started: Instant::now() }
    }

    pub(super) fn succeeded(&self, request_id: &str) {
        self.end("ok", Some(request_id));
    }

    pub(super) fn failed(&self, kind: ErrorKind) -> Error {
        self.end(kind.label(), kind.request_id());
        Error { action: self.action, kind }
    }

    fn end(&self, label: &str, request_id: Option<&str>) {
        let Self { action, span, started } = self;
        span.record("code", label);
        span.record("vendor_request_id", request_id);
        tracing::debug!(parent: span, action, code = label, vendor_request_id = request_id, "vendor call ended");
        metrics::counter!("faceid_vendor_calls_total", "action" => *action, "code" => label.to_owned()).increment(1);
        metrics::histogram!("faceid_vendor_call_duration_seconds", "action" => *action).record(started.elapsed());
    }
}

pub(super) fn transport_error(error: reqwest::Error, timeout: Duration) -> ErrorKind {
    if error.is_timeout() {
        ErrorKind::Timeout { timeout_ms: timeout.as_millis() }
    } else {
        ErrorKind::Unreachable(error.without_url())
    }
}

/// Reads the vendor's envelope: `{"Response": {"Error": …}}` or `{"Response": {…}}`.
pub(super) fn read_answer<T: DeserializeOwned>(body: &[u8]) -> Result<Answer<T>, ErrorKind> {
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
    Ok(Answer { body, request_id })
}

fn is_word(text: &str, punctuation: &str) -> bool {
    const MAX_CHARS: usize = 128;
    (1..=MAX_CHARS).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || punctuation.contains(char))
}

/// Says where the JSON broke. serde's own text quotes the value, which may be a name or an ID number.
fn unintelligible(error: &serde_json::Error, request_id: &str) -> ErrorKind {
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

fn host_header(endpoint: &Url) -> String {
    let host = endpoint.host_str().expect("an http(s) URL has a host");
    endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
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

    fn read(body: &str) -> Result<Answer<GetDetectInfoEnhancedResponse>, ErrorKind> {
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

    #[test]
    fn the_host_header_carries_a_port_only_when_it_is_not_the_default() {
        let host = |url: &str| host_header(&Url::parse(url).unwrap());
        assert_eq!(host("https://faceid.tencentcloudapi.com:443"), "faceid.tencentcloudapi.com");
        assert_eq!(host("http://127.0.0.1:8123/"), "127.0.0.1:8123");
    }
}
