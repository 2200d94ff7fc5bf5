//! One call: tries, until there is an answer, a refusal that stands, or no more time.
//!
//! Each try takes a token of the account's quota, goes to the endpoint that is up, and is signed
//! when it leaves.

use super::{
    call::Call,
    clock_offset::{DateOffset, VendorClock},
    endpoints::{Endpoint, Endpoints, Route},
    error::ErrorKind,
    in_flight::InFlight,
    options::{CallOptions, ClientConfig, Urgency},
    quota::{Bucket, Quotas},
    retry::{self, MAX_TRIES, Repeat},
    signer::{Signer, Unsigned},
};
use crate::domain::key_pair::KeyPair;
use bytes::Bytes;
use http::{HeaderValue, header::DATE};
use jiff::Timestamp;
use reqwest::{RequestBuilder, header::HeaderName};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long background work waits for its turn: less than a stop waits for it.
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(15);

const VERSION: &str = "2018-03-01";

/// Shared by all calls to the vendor.
pub(super) struct Transport {
    pub(super) endpoints: Endpoints,
    pub(super) in_flight: InFlight,
    pub(super) timeout: Duration,
    pub(super) quotas: Quotas,
    clock: Arc<VendorClock>,
    signer: Signer,
}

/// A request to the vendor.
pub(super) struct Question<'a> {
    pub(super) pair: &'a KeyPair,
    /// Shared by the tries: it may be a photo of some MB.
    pub(super) body: Bytes,
    pub(super) options: CallOptions<'a>,
    /// How long a try waits for the beginning of its answer.
    pub(super) first_byte: Duration,
}

/// An answer of which the head has come.
pub(super) struct Exchange {
    pub(super) response: reqwest::Response,
    /// When the try ends.
    pub(super) until: Instant,
}

/// An answer as it was read.
pub(super) struct Attempted<R> {
    pub(super) read: R,
    /// When the question was put, by the vendor's clock, which took the signature for this time.
    pub(super) asked_at: Timestamp,
}

/// How long a call may go on.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Nothing is waited for or begun past this.
    pub(super) begin_until: Instant,
    /// A try that was begun may go on past the caller's deadline: what it learns is kept by work
    /// that is detached.
    end: Option<Instant>,
    timeout: Duration,
}

impl Limits {
    pub(super) fn of(urgency: Urgency, timeout: Duration) -> Self {
        let now = Instant::now();
        match urgency {
            Urgency::Interactive { deadline } => {
                let end = now + timeout;
                Self { begin_until: deadline.map_or(end, |deadline| deadline.min(end)), end: Some(end), timeout }
            }
            Urgency::Visitor => Self { begin_until: now + timeout, end: Some(now + timeout), timeout },
            Urgency::Background => Self { begin_until: now + BACKGROUND_PATIENCE, end: None, timeout },
        }
    }

    fn end_of_try(&self) -> Instant {
        self.end.unwrap_or_else(|| Instant::now() + self.timeout)
    }
}

impl Transport {
    pub(super) fn new(config: &ClientConfig, clock: Arc<VendorClock>) -> reqwest::Result<Self> {
        Ok(Self {
            endpoints: Endpoints::new(config)?,
            in_flight: InFlight::new(config.max_in_flight),
            timeout: config.timeout,
            quotas: Quotas::new(config.quotas),
            clock,
            signer: Signer::new(&config.service, VERSION),
        })
    }

    /// Tries until `read` has made something of an answer.
    pub(super) async fn attempt<R, Read>(
        &self,
        call: &mut Call,
        limits: Limits,
        question: &Question<'_>,
        read: impl Fn(Exchange) -> Read,
    ) -> Result<Attempted<R>, ErrorKind>
    where
        Read: Future<Output = Result<R, ErrorKind>>,
    {
        let bucket = self.quotas.bucket(question.options.credential, call.action);
        let mut failed: Option<Failed> = None;
        let mut asked: Vec<Arc<Endpoint>> = Vec::new();
        // The offset that this call alone is signed again with.
        let mut date_offset: Option<DateOffset> = None;
        loop {
            let avoided = failed.as_ref().and_then(|failed| failed.endpoint.as_ref());
            let route = match self.admit(&bucket, question.options.urgency, limits, avoided).await {
                // One that takes over is asked for the first time, however often another was asked
                // in vain.
                Ok(route) if !asked.iter().any(|endpoint| Arc::ptr_eq(endpoint, &route.endpoint)) => {
                    retry::deposit(&route.endpoint.retries);
                    asked.push(Arc::clone(&route.endpoint));
                    route
                }
                // A retry with a corrected timestamp is outside the retry budget.
                Ok(route) if may_sign_again(failed.as_ref()) || retry::withdraw(&route.endpoint.retries) => route,
                // A refusal by the vendor says more than one of ours.
                route => {
                    let said = failed.map(|failed| failed.kind);
                    return Err(said.or(route.err()).expect("a call that was never tried is not out of retries"));
                }
            };
            if let Some(failed) = &failed {
                let reason = failed.kind.label().to_owned();
                metrics::counter!("faceid_vendor_retries_total", "action" => call.action, "reason" => reason)
                    .increment(1);
            }
            call.tries += 1;
            let Route { endpoint, permit } = route;
            call.goes_to(endpoint.url.host_str().unwrap_or_default());
            let departure = self.clock.departure(date_offset);
            let (began, until) = (Instant::now(), limits.end_of_try());
            let mut date = None;
            let asked_at = departure.vendor_time();
            let request = self.signed(&endpoint, call.action, question, asked_at)?;
            let kind = match try_once(request, question.first_byte, until, &mut date, &read).await {
                Ok(read) => {
                    permit.answered();
                    bucket.accepted();
                    date_offset.inspect(|offset| self.clock.believe(*offset));
                    self.clock.refine(departure, date.as_ref());
                    return Ok(Attempted { read, asked_at });
                }
                Err(kind) => kind,
            };
            // Silence in a try that had little time left proves nothing.
            let had_its_time = until.duration_since(began) >= question.first_byte.min(self.timeout) / 2;
            if !kind.is_transport_failure() {
                permit.answered();
            } else if had_its_time || !matches!(kind, ErrorKind::Timeout { .. }) {
                permit.failed();
            }
            call.failed_once(&kind);
            if let (Some(offset), true) = (date_offset, kind.signature_accepted()) {
                self.clock.believe(offset);
            }
            let repeat = retry::repeat(&kind);
            match repeat {
                Repeat::No => return Err(kind),
                Repeat::SignAgain => {
                    if date_offset.is_some() {
                        return Err(kind);
                    }
                    date_offset = self.clock.offset_from_date(departure, date.as_ref());
                    if date_offset.is_none() {
                        return Err(kind);
                    }
                }
                Repeat::Throttled => bucket.refused(),
                Repeat::Soon => {}
            }
            let endpoint = kind.is_transport_failure().then_some(endpoint);
            let elsewhere = endpoint.as_ref().is_some_and(|endpoint| self.endpoints.has_other_than(endpoint));
            let pause = if elsewhere { Duration::ZERO } else { retry::pause(repeat, call.tries, rand::random()) };
            let again_at = Instant::now() + pause;
            if call.tries >= MAX_TRIES || again_at >= limits.begin_until {
                return Err(kind);
            }
            sleep_until(again_at).await;
            failed = Some(Failed { kind, endpoint });
        }
    }

    /// A request, signed for this time.
    fn signed(
        &self,
        endpoint: &Endpoint,
        action: &'static str,
        Question { pair, body, .. }: &Question<'_>,
        at: Timestamp,
    ) -> Result<RequestBuilder, ErrorKind> {
        let unsigned = Unsigned { host: &endpoint.host, action, body, timestamp: at.as_second() };
        let mut headers = self.signer.headers(&unsigned, Some(pair))?;
        headers.insert(HeaderName::from_static("x-tc-language"), HeaderValue::from_static("zh-CN"));
        Ok(endpoint.http.post(endpoint.url.clone()).headers(headers).body(body.clone()))
    }

    /// An endpoint that is up, and a token of the quota.
    async fn admit(
        &self,
        bucket: &Arc<Bucket>,
        urgency: Urgency,
        limits: Limits,
        avoided: Option<&Arc<Endpoint>>,
    ) -> Result<Route, ErrorKind> {
        // Checked first: no call queues for a token while every circuit is open.
        if let Some(wait) = self.endpoints.retry_after_if_all_open() {
            return Err(ErrorKind::CircuitOpen { retry_after_ms: wait.as_millis() });
        }
        bucket.take(urgency, limits.begin_until).await?;
        // Chosen last: a probe does not queue, and no call leaves for an endpoint that went down
        // meanwhile.
        self.endpoints.route(avoided)
    }
}

/// `date`: what the answer says of it, also when it is a refusal.
async fn try_once<R, Read>(
    request: RequestBuilder,
    first_byte: Duration,
    until: Instant,
    date: &mut Option<HeaderValue>,
    read: &impl Fn(Exchange) -> Read,
) -> Result<R, ErrorKind>
where
    Read: Future<Output = Result<R, ErrorKind>>,
{
    let sent = by(until.min(Instant::now() + first_byte), request.send()).await?;
    let response = sent.map_err(ErrorKind::unreachable)?;
    *date = response.headers().get(DATE).cloned();
    let status = response.status();
    // The vendor answers errors with 200; anything else is a proxy or an outage in between.
    if !status.is_success() {
        return Err(ErrorKind::HttpStatus(status.as_u16()));
    }
    read(Exchange { response, until }).await
}

fn may_sign_again(failed: Option<&Failed>) -> bool {
    failed.is_some_and(|failed| retry::repeat(&failed.kind) == Repeat::SignAgain)
}

/// A try that is to be followed by another.
struct Failed {
    kind: ErrorKind,
    /// To be avoided, if there is another.
    endpoint: Option<Arc<Endpoint>>,
}

/// Waits for a step until a time.
pub(super) async fn by<T>(until: Instant, step: impl Future<Output = T>) -> Result<T, ErrorKind> {
    let began = Instant::now();
    let timed = timeout_at(until, step).await;
    timed.map_err(|_elapsed| ErrorKind::Timeout { timeout_ms: until.saturating_duration_since(began).as_millis() })
}
