//! Sends a question and reads the answer.
//!
//! How a call is tried, until when and where, is in `attempt.rs`; the class of every failure in
//! [`super::catalogue`].

use super::{
    answer::{Answer, read_answer},
    attempt::{Exchange, Limits, Question, Transport, by},
    call::Call,
    clock_offset::VendorClock,
    error::{Error, ErrorKind},
    options::{ActionQuotas, CallOptions, ClientConfig},
};
use crate::domain::key_pair::KeyPair;
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::Instrument;

/// The longest answer that is read. Text answers have some KB; one with the intention step's video
/// some MB.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// An answer that has begun goes on at least as fast, or is given up while there is time for
/// another try. Bytes per second.
const SLOWEST: u64 = 4096;

/// The domain of the vendor's API.
const TENCENT_CLOUD: &str = "tencentcloudapi.com";

/// The vendor, reached over HTTP.
pub struct Client {
    pub(super) transport: Transport,
    first_byte_timeout: Duration,
}

impl Client {
    /// Makes a client; connects when first used, or with [`Client::warm`].
    ///
    /// # Errors
    /// When the TLS set-up fails: there are no CA certificates on the machine.
    pub fn new(config: &ClientConfig, clock: Arc<VendorClock>) -> reqwest::Result<Self> {
        Ok(Self { transport: Transport::new(config, clock)?, first_byte_timeout: config.first_byte_timeout })
    }

    /// Opens connections ahead of the first call. A vendor that is down is no error.
    pub async fn warm(&self) {
        self.transport.endpoints.warm().await;
    }

    /// The account's quotas from now on.
    pub fn set_quotas(&self, quotas: ActionQuotas) {
        self.transport.quotas.set(quotas);
    }

    /// Splits the quotas of [`ActionQuotas`] between so many replicas: this one has
    /// its part from now on. 0: it is not known between how many, and it has none.
    pub fn share_quotas_with(&self, replicas: u32) {
        self.transport.quotas.share_with(replicas);
    }

    /// Whether every endpoint is Tencent Cloud's own, and no simulator or proxy.
    pub fn asks_tencent_cloud(&self) -> bool {
        self.transport.endpoints.all_within(TENCENT_CLOUD)
    }

    /// Whether the circuit of every endpoint is open, so that a call would be refused without being
    /// sent.
    pub fn is_down(&self) -> bool {
        self.transport.endpoints.retry_after_if_all_open().is_some()
    }

    /// Calls an action. `open` decrypts the answer, where the call was encrypted.
    pub(super) async fn call<T: DeserializeOwned>(
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
        let limits = Limits::of(options.urgency, self.transport.timeout);
        let _place = self.transport.in_flight.enter(options.urgency, limits.begin_until).await?;
        let read = |exchange| async { read_answer(&self.read_bounded(exchange).await?) };
        let attempted = self.transport.attempt(call, limits, &question, read).await?;
        Ok(attempted.read.answers(attempted.asked_at, call.tries))
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
