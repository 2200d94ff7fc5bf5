//! Receives the message of a call whole, before a service sees it: bounded in bytes, time and
//! memory, whatever it was compressed from; and holds the answer against the same bounds until it
//! is sent.
//!
//! Memory is taken from the caller's share as bytes come in, so an unfinished message, a small one
//! that grows when decompressed, and an answer that nobody reads count alike.

use super::{
    body::GuardedBody,
    pb::verification_service_server,
    shares::{CallShares, Memory},
    status::{invalid, not_received},
};
use crate::domain::caller::Caller;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use futures_util::stream;
use http::{
    HeaderValue, Request, Response,
    header::{CONTENT_LENGTH, HeaderName},
};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use std::{
    future::Future,
    io::Read,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// A CreateVerification with the largest photo has 2.3 MiB.
const MAX_CREATE_BYTES: usize = 4 * 1024 * 1024;
/// Any other message, and all of a CreateVerification but its photo.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// A message of a health check.
const MAX_OPEN_BYTES: usize = 4 * 1024;
/// Limit for all messages of one reflection stream together.
const MAX_REFLECTION_BYTES: usize = 64 * 1024;
/// From the headers of a call to the end of its message.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(20);

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Flag and length, before each message.
const PREFIX_BYTES: usize = 5;
/// How much is decompressed at a time.
const STEP_BYTES: usize = 32 * 1024;
/// Number of `reference_photo` in CreateVerificationRequest.
const PHOTO_FIELD: u64 = 4;

/// How a method's messages come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One message, one answer.
    Unary { max_bytes: usize },
    /// One message, a stream of answers.
    Watch { max_bytes: usize },
    /// A stream of messages.
    Conversation { max_bytes: usize },
}

impl Shape {
    fn of(path: &str) -> Self {
        match method_of(path) {
            Some("CreateVerification") => Self::Unary { max_bytes: MAX_CREATE_BYTES },
            Some("WatchVerifications" | "DownloadEvidence") => Self::Watch { max_bytes: MAX_MESSAGE_BYTES },
            _ if path == "/grpc.health.v1.Health/Watch" => Self::Watch { max_bytes: MAX_OPEN_BYTES },
            _ if path.starts_with("/grpc.health.v1.") => Self::Unary { max_bytes: MAX_OPEN_BYTES },
            _ if path.starts_with("/grpc.reflection.") => Self::Conversation { max_bytes: MAX_REFLECTION_BYTES },
            _ => Self::Unary { max_bytes: MAX_MESSAGE_BYTES },
        }
    }
}

/// The method name, if the path is in VerificationService, the only service with streams.
fn method_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.strip_prefix(verification_service_server::SERVICE_NAME)?.strip_prefix('/')
}

/// Whether a call goes on after its first answer.
pub(super) fn goes_on(path: &str) -> bool {
    matches!(Shape::of(path), Shape::Watch { .. } | Shape::Conversation { .. })
}

/// Makes [`Intake`] services.
#[derive(Clone)]
pub struct IntakeLayer {
    shares: Arc<CallShares>,
}

impl IntakeLayer {
    pub(super) fn new(shares: Arc<CallShares>) -> Self {
        Self { shares }
    }
}

impl<S> Layer<S> for IntakeLayer {
    type Service = Intake<S>;

    fn layer(&self, inner: S) -> Intake<S> {
        Intake { inner, shares: Arc::clone(&self.shares) }
    }
}

/// The service inside, behind the intake.
#[derive(Clone)]
pub struct Intake<S> {
    inner: S,
    shares: Arc<CallShares>,
}

impl<S> Service<Request<Body>> for Intake<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is used, and its clone stays.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let shape = Shape::of(request.uri().path());
        // Calls without a caller are bounded by their small size and by their number.
        let memory = request.extensions().get::<Arc<Caller>>().map(|caller| self.shares.memory(&caller.name));
        let answer_memory = request.extensions().get::<Arc<Caller>>().map(|caller| self.shares.memory(&caller.name));
        Box::pin(async move {
            let mut memory = memory;
            let request = match shape {
                Shape::Conversation { max_bytes } => request.map(|body| Body::new(Limited::new(body, max_bytes))),
                Shape::Unary { max_bytes } | Shape::Watch { max_bytes } => {
                    match received(request, max_bytes, memory.as_mut()).await {
                        Ok(request) => request,
                        Err(refusal) => return Ok(refusal),
                    }
                }
            };
            let answer = inner.call(request).await?;
            drop(memory);
            match (shape, answer_memory) {
                (Shape::Unary { .. }, Some(memory)) => Ok(kept_until_sent(answer, memory).await),
                _ => Ok(answer),
            }
        })
    }
}

/// The request with its message, whole and not compressed.
async fn received(
    request: Request<Body>,
    max_bytes: usize,
    memory: Option<&mut Memory>,
) -> Result<Request<Body>, Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let encoding = parts.headers.remove(ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    if encoding.as_ref().is_some_and(|name| name != "gzip" && name != "identity") {
        let mut refusal = Status::unimplemented("grpc-encoding is neither gzip nor identity").into_http();
        refusal.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,identity"));
        return Err(refusal);
    }
    let is_gzip = encoding.is_some_and(|name| name == "gzip");
    let receive = receive(body, max_bytes, is_gzip, memory);
    let message = match tokio::time::timeout(RECEIVE_TIMEOUT, receive).await {
        Ok(message) => message.map_err(|status| status.into_http())?,
        Err(_) => return Err(not_received(RECEIVE_TIMEOUT).into_http()),
    };
    Ok(Request::from_parts(parts, Body::new(Full::new(message))))
}

async fn receive(
    mut body: Body,
    max_bytes: usize,
    is_gzip: bool,
    mut memory: Option<&mut Memory>,
) -> Result<Bytes, Status> {
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if received.len() + data.len() > max_bytes + PREFIX_BYTES {
            return Err(too_long(max_bytes));
        }
        if let Some(memory) = memory.as_deref_mut() {
            memory.grow(data.len())?;
        }
        received.extend_from_slice(&data);
    }
    // Without a message: what that means, the service says.
    if received.is_empty() {
        return Ok(Bytes::new());
    }
    let flag = received[0];
    let length = received.get(1..PREFIX_BYTES).map(|mut length| length.get_u32() as usize);
    if length.is_none_or(|length| received.len() != PREFIX_BYTES + length) {
        return Err(invalid("(message)", "is not one whole message"));
    }
    let framed = match flag {
        0 => received.freeze(),
        1 if is_gzip => framed(&decompress(&received[PREFIX_BYTES..], max_bytes, memory)?),
        _ => return Err(invalid("(message)", "is compressed, but grpc-encoding does not say gzip")),
    };
    if framed.len() > MAX_MESSAGE_BYTES && bytes_beside_photo(&framed[PREFIX_BYTES..]) > MAX_MESSAGE_BYTES as u64 {
        return Err(invalid("(message)", &format!("is over {MAX_MESSAGE_BYTES} bytes beside reference_photo")));
    }
    Ok(framed)
}

fn too_long(max_bytes: usize) -> Status {
    invalid("(message)", &format!("is over {max_bytes} bytes"))
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// Stops where it grows too long, however small it was.
fn decompress(compressed: &[u8], max_bytes: usize, mut memory: Option<&mut Memory>) -> Result<Vec<u8>, Status> {
    let mut decoder = GzDecoder::new(compressed);
    let mut message = Vec::new();
    loop {
        let read = (&mut decoder)
            .take(STEP_BYTES as u64)
            .read_to_end(&mut message)
            .map_err(|_| invalid("(message)", "is not gzip, as grpc-encoding says"))?;
        if read == 0 {
            return Ok(message);
        }
        if message.len() > max_bytes {
            return Err(too_long(max_bytes));
        }
        if let Some(memory) = memory.as_deref_mut() {
            memory.grow(read)?;
        }
    }
}

/// Bytes of a message's fields but the photo's. Many small fields take many times their size when
/// they are decoded; a photo, which takes what it has, is the one that may be long. What is no
/// message is found out by the decoder.
fn bytes_beside_photo(mut message: &[u8]) -> u64 {
    let mut others = 0;
    while message.has_remaining() {
        let before = message.remaining();
        let Ok(key) = prost::encoding::decode_varint(&mut message) else { return others };
        let length = match key & 7 {
            0 => {
                if prost::encoding::decode_varint(&mut message).is_err() {
                    return others;
                }
                0
            }
            1 => 8,
            2 => match prost::encoding::decode_varint(&mut message) {
                Ok(length) => length,
                Err(_) => return others,
            },
            5 => 4,
            // Groups are not of proto3: their parts are counted as they come.
            _ => 0,
        };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= message.remaining()) else {
            return others;
        };
        message.advance(length);
        if key != PHOTO_FIELD << 3 | 2 {
            others += (before - message.remaining()) as u64;
        }
    }
    others
}

/// The answer of a unary call is there at once. It counts as its caller's until it was sent, so
/// that answers that nobody reads do not pile up.
async fn kept_until_sent(answer: Response<Body>, mut memory: Memory) -> Response<Body> {
    let (parts, mut body) = answer.into_parts();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.as_ref().ok().and_then(|frame| frame.data_ref())
            && let Err(status) = memory.grow(data.len())
        {
            return status.into_http();
        }
        frames.push(frame);
    }
    if frames.is_empty() {
        return Response::from_parts(parts, Body::empty());
    }
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    Response::from_parts(parts, GuardedBody::holding(body, memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb;
    use flate2::{Compression, write::GzEncoder};
    use prost::Message;
    use prost_types::FileDescriptorSet;
    use std::io::Write;

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    fn compressed(message: &[u8]) -> Bytes {
        let mut framed = framed(&gzip(message)).to_vec();
        framed[0] = 1;
        framed.into()
    }

    async fn receive_all(bytes: impl Into<Bytes>, max_bytes: usize, is_gzip: bool) -> Result<Bytes, String> {
        let body = Body::new(Full::new(bytes.into()));
        receive(body, max_bytes, is_gzip, None).await.map_err(|status| status.message().to_owned())
    }

    #[tokio::test]
    async fn a_message_comes_whole_and_plain() {
        assert_eq!(receive_all(framed(b"abc"), 10, false).await.unwrap(), framed(b"abc"));
        assert_eq!(receive_all(compressed(b"abc"), 100, true).await.unwrap(), framed(b"abc"));
        assert!(receive_all(Bytes::new(), 10, false).await.unwrap().is_empty());
        for (bytes, is_gzip) in [
            (compressed(b"abc"), false),
            (Bytes::from_static(b"\0\0\0\0\x09abc"), false),
            (Bytes::from_static(b"\0\0"), false),
            (Bytes::from_static(b"\x01\0\0\0\x03abc"), true),
            ([framed(b"a"), framed(b"b")].concat().into(), false),
        ] {
            let problem = receive_all(bytes.clone(), 100, is_gzip).await.unwrap_err();
            assert!(problem.starts_with("(message): is "), "{bytes:?}: {problem}");
        }
    }

    #[tokio::test]
    async fn what_grows_too_long_is_refused_before_it_has_grown() {
        let bomb = compressed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 70_000);
        assert_eq!(receive_all(bomb, 100_000, true).await.unwrap_err(), "(message): is over 100000 bytes");
        assert_eq!(receive_all(framed(&[0; 11]), 10, false).await.unwrap_err(), "(message): is over 10 bytes");
    }

    #[test]
    fn only_a_photo_may_be_long() {
        let photo = pb::CreateVerificationRequest { reference_photo: vec![7; 100_000], ..Default::default() };
        assert_eq!(bytes_beside_photo(&photo.encode_to_vec()), 0);
        let labels = (0..10_000).map(|i| (i.to_string(), String::new())).collect();
        let many = pb::CreateVerificationRequest { labels, ..photo };
        let length = many.encoded_len() - 100_004;
        assert_eq!(bytes_beside_photo(&many.encode_to_vec()), length as u64);
        assert_eq!(bytes_beside_photo(&[0xFF; 12]), 0);
        assert_eq!(bytes_beside_photo(&[0x12, 0x7F]), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_come_is_not_waited_for() {
        let never = Body::new(StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, Status>>()));
        let refusal = received(Request::new(never), 10, None).await.err().unwrap();
        assert_eq!(Status::from_header_map(refusal.headers()).unwrap().code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_callers_messages_have_a_bound_in_all() {
        let limits = super::super::CallLimits {
            calls_per_caller: 1,
            streams_per_caller: 1,
            waits_per_caller: 1,
            message_bytes: 2_000,
        };
        let shares = CallShares::new(limits);
        let mut memory = shares.memory("orders");
        let body = || Body::new(Full::new(framed(&[0; 900])));
        receive(body(), 10_000, false, Some(&mut memory)).await.unwrap();
        let mut more = shares.memory("orders");
        let status = receive(body(), 10_000, false, Some(&mut more)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("limits.message_mib"), "{}", status.message());
        drop(memory);
        let answer = Response::new(Body::new(Full::new(Bytes::from_static(&[0; 1_100]))));
        let refused = kept_until_sent(answer, shares.memory("orders")).await;
        assert_eq!(Status::from_header_map(refused.headers()).unwrap().code(), tonic::Code::ResourceExhausted);
    }

    #[test]
    fn shapes_are_those_of_the_contract() {
        let set = FileDescriptorSet::decode(crate::grpc::DESCRIPTORS).unwrap();
        let mut methods = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let is_watch = matches!(Shape::of(&path), Shape::Watch { .. });
                    assert_eq!(is_watch, method.server_streaming(), "{path}");
                    assert_eq!(goes_on(&path), method.server_streaming(), "{path}");
                    assert!(!method.client_streaming(), "{path}");
                    methods += 1;
                }
            }
        }
        assert!(methods > 8);
        assert_eq!(Shape::of("/grpc.health.v1.Health/Check"), Shape::Unary { max_bytes: MAX_OPEN_BYTES });
        assert!(matches!(Shape::of("/grpc.reflection.v1.ServerReflection/x"), Shape::Conversation { .. }));
    }
}
