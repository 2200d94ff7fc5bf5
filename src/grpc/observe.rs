//! What every RPC has: a span that continues the caller's trace, a count, a duration, its deadline,
//! and a clear answer to messages that cannot be read.

use super::{
    body::{cut_by, served_as},
    call_context::{CallContext, REQUEST_ID},
    status::{deadline_exceeded, invalid},
};
use crate::telemetry;
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use http_body_util::BodyExt;
use metrics::SharedString;
use prost::Message;
use prost_types::FileDescriptorSet;
use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::{Code, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

const OUR_PACKAGE: &str = "faceid.v1.";
const GRPC_STATUS: &str = "grpc-status";
const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Makes [`Observe`] services.
#[derive(Clone)]
pub struct ObserveLayer {
    methods: Arc<Methods>,
    in_flight: TaskTracker,
}

impl ObserveLayer {
    /// Observes the methods of these descriptor sets; all others are one unknown method. Our own
    /// RPCs are tracked in `in_flight` until they are answered.
    ///
    /// # Errors
    /// When a descriptor set cannot be decoded.
    pub fn new(descriptor_sets: &[&[u8]], in_flight: TaskTracker) -> Result<Self, prost::DecodeError> {
        Ok(Self { methods: Arc::new(Methods::of(descriptor_sets)?), in_flight })
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, layer: self.clone() }
    }
}

/// Observes the RPCs of the service inside.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !speaks_grpc(request.headers()) {
            let mut refusal = Response::new(Body::empty());
            *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Box::pin(async { Ok(refusal) });
        }
        let method = self.layer.methods.name(request.uri().path());
        // Probes and tools would be most of all traces.
        let is_ours = method.starts_with(OUR_PACKAGE);
        let id = CallContext::of(request.headers());
        let span = if is_ours { rpc_span(&method, &id, request.headers()) } else { Span::none() };
        // Health watches and reflection go on for as long as their clients like; a stop does not
        // wait for them.
        let tracked = is_ours.then(|| self.layer.in_flight.token());
        let rpc = RunningRpc {
            method,
            id: id.clone(),
            span: span.clone(),
            started: Instant::now(),
            counted: false,
            _tracked: tracked,
        };
        let deadline = deadline_of(request.headers());
        // A call whose time is over is not begun: what it would meet first is chance.
        if deadline.is_some_and(|deadline| deadline.is_zero()) {
            let answer = rpc.watch(id.during(deadline_exceeded).into_http());
            return Box::pin(async { Ok(answer) });
        }
        let deadline = deadline.map(|deadline| tokio::time::Instant::now() + deadline);
        let answer = id.during(|| self.inner.call(request));
        let observed = async move {
            let Some(deadline) = deadline else { return Ok(rpc.watch(explain_unreadable(answer.await?))) };
            let response = match tokio::time::timeout_at(deadline, answer).await {
                Ok(response) => explain_unreadable(response?),
                Err(_) => deadline_exceeded().into_http(),
            };
            if let Some(code) = code_in(response.headers()) {
                // Work that ran out of time fails in words of its own, perhaps a moment before the
                // deadline is noticed here.
                let ran_out = code != Code::Ok && tokio::time::Instant::now() >= deadline;
                let response = if ran_out { deadline_exceeded().into_http() } else { response };
                return Ok(rpc.watch(response));
            }
            // For a stream, the deadline covers all of it.
            let over = async move {
                tokio::time::sleep_until(deadline).await;
                deadline_exceeded()
            };
            Ok(rpc.watch(response.map(|body| cut_by(body, over))))
        };
        Box::pin(id.serving(observed).instrument(span))
    }
}

/// `application/grpc`, alone or with what follows a `+` or a `;`.
fn speaks_grpc(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = given.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

fn rpc_span(method: &str, id: &CallContext, headers: &HeaderMap) -> Span {
    let (service, name) = method.split_once('/').unwrap_or(("", method));
    let span = tracing::info_span!(
        "rpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = name,
        request_id = id.request_id(),
        rpc.grpc.status_code = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
        "error.type" = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, headers);
    span
}

/// What OpenTelemetry counts as the server's error. The others are the caller's, and its own span
/// says so.
fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The methods that exist. Anyone can call any path, with or without a token: those that do not
/// exist share one name, or each would be a metric of its own for ever.
struct Methods(HashSet<Arc<str>>);

impl Methods {
    fn of(descriptor_sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut names = HashSet::new();
        for set in descriptor_sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    names.extend(
                        service.method.iter().map(|method| {
                            Arc::from(format!("{}.{}/{}", file.package(), service.name(), method.name()))
                        }),
                    );
                }
            }
        }
        Ok(Self(names))
    }

    fn name(&self, path: &str) -> Arc<str> {
        self.0.get(path.trim_start_matches('/')).cloned().unwrap_or_else(|| Arc::from("unknown"))
    }
}

/// Counts an RPC once: at its status, or, when the caller went away, as CANCELLED.
struct RunningRpc {
    method: Arc<str>,
    id: CallContext,
    span: Span,
    started: Instant,
    counted: bool,
    _tracked: Option<TaskTrackerToken>,
}

impl RunningRpc {
    /// Takes the status out of the headers of an answer that is only an error, else out of its
    /// trailers; there the call's id is added.
    fn watch(mut self, mut response: Response<Body>) -> Response<Body> {
        if let Some(code) = code_in(response.headers()) {
            self.finish(code, response.headers_mut());
            return response;
        }
        let (parts, body) = response.into_parts();
        let body = served_as(self.id.clone(), body).map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut()
                && let Some(code) = code_in(trailers)
            {
                self.finish(code, trailers);
            }
            frame
        });
        Response::from_parts(parts, Body::new(body))
    }

    fn finish(&mut self, code: Code, trailers: &mut HeaderMap) {
        trailers.insert(REQUEST_ID, self.id.header());
        self.count(code);
    }

    fn count(&mut self, code: Code) {
        if self.counted {
            return;
        }
        self.counted = true;
        self.span.record("rpc.grpc.status_code", code as i64);
        if code != Code::Ok {
            self.span.record("error.type", code_name(code));
        }
        if is_server_error(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        let method = SharedString::from(Arc::clone(&self.method));
        metrics::counter!("faceid_rpcs_total", "method" => method.clone(), "code" => code_name(code)).increment(1);
        metrics::histogram!("faceid_rpc_duration_seconds", "method" => method).record(self.started.elapsed());
    }
}

impl Drop for RunningRpc {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

pub(super) fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// A message that is no protobuf never reaches a handler, and tonic calls it INTERNAL. Ours always
/// carry details, so a status without them is tonic's.
fn explain_unreadable(response: Response<Body>) -> Response<Body> {
    let from_handler = response.headers().contains_key(GRPC_STATUS_DETAILS);
    match code_in(response.headers()) {
        Some(Code::Internal) if !from_handler => {
            invalid("(message)", "cannot be decoded: it is not a message of faceid.v1").into_http()
        }
        _ => response,
    }
}

/// How much time the caller gives.
pub(super) fn time_left<T>(request: &tonic::Request<T>) -> Option<Duration> {
    deadline_of(request.metadata().as_ref())
}

/// The caller's deadline, a little early: tonic has the same one, and would call it CANCELLED.
fn deadline_of(headers: &HeaderMap) -> Option<Duration> {
    const HEAD_START: Duration = Duration::from_millis(5);
    let value: &HeaderValue = headers.get(GRPC_TIMEOUT)?;
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    Some(timeout.saturating_sub(HEAD_START))
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    #[test]
    fn deadlines_are_read_a_little_early() {
        let read = |text: &str| {
            deadline_of(&HeaderMap::from_iter([(
                http::HeaderName::from_static(GRPC_TIMEOUT),
                HeaderValue::from_str(text).unwrap(),
            )]))
        };
        assert_eq!(read("1S"), Some(Duration::from_millis(995)));
        assert_eq!(read("250m"), Some(Duration::from_millis(245)));
        assert_eq!(read("3M"), Some(Duration::from_millis(179_995)));
        assert_eq!(read("1n"), Some(Duration::ZERO));
        for nonsense in ["", "S", "1", "123456789S", "1x", "-1S"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[tokio::test]
    async fn a_deadline_that_ends_first_is_told_as_such() {
        let never =
            tower::service_fn(|_request: Request<Body>| std::future::pending::<Result<Response<Body>, Status>>());
        let layer = ObserveLayer::new(&[crate::grpc::DESCRIPTORS], TaskTracker::new()).unwrap();
        let answer = layer.layer(never).call(request("20m")).await.unwrap();
        assert_eq!(code_in(answer.headers()), Some(Code::DeadlineExceeded));
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(
            tonic_types::StatusExt::get_error_details(&status).error_info().unwrap().reason,
            "DEADLINE_EXCEEDED"
        );
    }

    #[test]
    fn methods_that_do_not_exist_share_a_name() {
        let methods = Methods::of(&[crate::grpc::DESCRIPTORS]).unwrap();
        let known = "faceid.v1.VerificationService/GetResult";
        assert_eq!(&*methods.name(&format!("/{known}")), known);
        for junk in ["/faceid.v1.VerificationService/Junk", "/", "", "/a/b/c"] {
            assert_eq!(&*methods.name(junk), "unknown", "{junk}");
        }
    }

    #[test]
    fn what_tonic_cannot_read_is_the_callers_mistake() {
        let answer = explain_unreadable(Status::internal("failed to decode").into_http());
        assert_eq!(code_in(answer.headers()), Some(Code::InvalidArgument));
        let ours = invalid("flow", "is missing").into_http();
        assert_eq!(code_in(explain_unreadable(ours).headers()), Some(Code::InvalidArgument));
    }

    fn request(timeout: &'static str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(GRPC_TIMEOUT, HeaderValue::from_static(timeout));
        request
    }

    #[tokio::test]
    async fn a_call_whose_time_is_over_is_not_begun() {
        let begun =
            tower::service_fn(|_request: Request<Body>| -> std::future::Ready<Result<Response<Body>, Status>> {
                panic!("begun")
            });
        let layer = ObserveLayer::new(&[crate::grpc::DESCRIPTORS], TaskTracker::new()).unwrap();
        for timeout in ["0m", "1n", "5m"] {
            let answer = layer.layer(begun).call(request(timeout)).await.unwrap();
            assert_eq!(code_in(answer.headers()), Some(Code::DeadlineExceeded), "{timeout}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_deadline() {
        let endless = tower::service_fn(|_request: Request<Body>| {
            let frames = futures_util::stream::pending::<Result<http_body::Frame<bytes::Bytes>, Status>>();
            let answer = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
            std::future::ready(Ok::<_, Status>(answer))
        });
        let layer = ObserveLayer::new(&[crate::grpc::DESCRIPTORS], TaskTracker::new()).unwrap();
        let mut answer = layer.layer(endless).call(request("2S")).await.unwrap();
        let trailers = answer.body_mut().frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(code_in(&trailers), Some(Code::DeadlineExceeded));
        let status = Status::from_header_map(&trailers).unwrap();
        let details = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(details.request_info().unwrap().request_id, trailers[REQUEST_ID].to_str().unwrap());
    }

    #[tokio::test]
    async fn other_content_types_are_refused() {
        for (given, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(given))]);
            assert_eq!(speaks_grpc(&headers), is_grpc, "{given}");
        }
        assert!(!speaks_grpc(&HeaderMap::new()));
    }
}
