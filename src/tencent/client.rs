//! Signs, sends, and reads the answer.
//!
//! How a call is tried, until when and where, is in [`super::attempt`]; the class of every failure in [`super::error`].

use super::{
    answer::{Answer, read_answer},
    attempt::{Exchange, Limits, Question, by},
    call::Call,
    clock_offset::VendorClock,
    encryption::FieldEncryption,
    endpoints::{Endpoint, Endpoints},
    error::{Error, ErrorKind},
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
use serde::{Serialize, de::DeserializeOwned};
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
