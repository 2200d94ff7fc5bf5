//! A GetDetectInfoEnhanced answer with photos, videos and sounds, read while it arrives.
//!
//! Such an answer is JSON of up to tens of MB, nearly all of which is base64 in a few known places
//! (`shape`). `parser` takes those out, each by itself (`medium`, `decoder`); [`MediaStream`] hands
//! them on, with a few pieces in memory at a time, whatever the size.

mod decoder;
mod medium;
mod parser;
mod shape;

use super::{
    H5,
    ask::ACTION,
    findings::{read_beside_media, read_media_of_other_types},
    tree::Tree,
    wire::GetDetectInfoEnhancedRequest,
};
use crate::{
    domain::{
        flow::EvidenceSelection, ids::BizToken, intention::IntentionMode, key_pair::KeyPair, verification::Verification,
    },
    tencent::{
        answer::{Unpacked, read_answer},
        attempt::{Exchange, Limits, Question, by},
        call::Call,
        catalogue::ErrorClass,
        client::Client,
        error::{Error, ErrorKind},
        in_flight::Place,
        options::{CallOptions, Urgency},
        retry::{self, Repeat},
        terms::{MediaEvent, MediaQuery, MediumError},
    },
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use parser::MediaParser;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;
use tracing::Instrument;

/// For a whole answer with media, which takes as long as its reader does. What the vendor may take
/// between two pieces is the client's timeout.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The vendor keeps up to 10.
const BEST_FRAMES: u32 = 10;

/// An answer on its way.
pub struct MediaStream {
    reading: Reading,
    call: Call,
    events: VecDeque<MediaEvent>,
    /// It is a call on its way until the reader is done.
    _place: Place,
}

/// How far an answer was read.
struct Reading {
    response: reqwest::Response,
    /// For each piece.
    timeout: Duration,
    end: Instant,
    /// None when the answer has ended, well or not.
    parser: Option<MediaParser>,
    /// Whether the vendor answers, and not a proxy on the way.
    is_vendors: bool,
}

/// Content of a piece of the answer.
enum Progress {
    Events(Vec<MediaEvent>),
    End(Box<Unpacked<Tree>>),
}

impl H5 {
    /// Asks for the media of a verification that its flow wishes for.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub(in crate::tencent) async fn fetch_media(
        &self,
        pair: &KeyPair,
        verification: &Verification,
        token: &BizToken,
        MediaQuery { wish, intention, limit_bytes }: MediaQuery,
    ) -> Result<MediaStream, Error> {
        let mut request = GetDetectInfoEnhancedRequest {
            biz_token: token.expose(),
            rule_id: &verification.rule_id,
            info_type: &info_type(wish, intention),
            best_frames_count: wish.best_frame.then_some(BEST_FRAMES),
            is_cut_id_card_image: wish.id_card.then_some(true),
            is_need_id_card_avatar: wish.id_card.then_some(true),
            is_return_all_video: wish.video.then_some(true),
            ..GetDetectInfoEnhancedRequest::default()
        };
        let options = CallOptions { credential: &verification.credential, urgency: Urgency::Background };
        match self.client.fetch_media(pair, &request, limit_bytes, options).await {
            // All videos are kept in a storage of the account, which it may not have; the one of
            // the last attempt needs none.
            Err(error) if wish.video && error.class() == ErrorClass::Storage => {
                tracing::warn!(
                    verification_id = %verification.id, error = %error,
                    "the vendor may not use the account's storage: fetching the last attempt's video alone"
                );
                request.is_return_all_video = None;
                self.client.fetch_media(pair, &request, limit_bytes, options).await
            }
            answered => answered,
        }
    }
}

impl Client {
    /// As `get_detect_info_enhanced`, for answers with media. Waits for the first event, so that a
    /// refusal comes from here; up to there a failed try is followed by another. The call is
    /// counted when its last event or an error has come.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    async fn fetch_media(
        &self,
        pair: &KeyPair,
        request: &GetDetectInfoEnhancedRequest<'_>,
        limit_bytes: u64,
        options: CallOptions<'_>,
    ) -> Result<MediaStream, Error> {
        let mut call = Call::begin(ACTION);
        let span = call.span.clone();
        let opened = self.open_media(&mut call, pair, request, limit_bytes, options).instrument(span).await;
        let (reading, first, place) = opened.map_err(|kind| call.failed(kind))?;
        let mut media = MediaStream { reading, call, events: VecDeque::new(), _place: place };
        media.note(first);
        Ok(media)
    }

    async fn open_media(
        &self,
        call: &mut Call,
        pair: &KeyPair,
        request: &GetDetectInfoEnhancedRequest<'_>,
        limit_bytes: u64,
        options: CallOptions<'_>,
    ) -> Result<(Reading, Progress, Place), ErrorKind> {
        let body = serde_json::to_vec(request).expect("requests are plain data").into();
        // The vendor has more to put together than a text.
        let question = Question { pair, body, options, first_byte: self.transport.timeout };
        let limits = Limits::of(options.urgency, self.transport.timeout);
        let place = self.transport.in_flight.enter(options.urgency, limits.begin_until).await?;
        let read = |Exchange { response, .. }| async {
            let (timeout, end) = (self.transport.timeout, Instant::now() + WHOLE_TIMEOUT);
            let parser = Some(MediaParser::new(limit_bytes));
            let mut reading = Reading { response, timeout, end, parser, is_vendors: false };
            match reading.read_on().await {
                Ok(first) => Ok(Ok((reading, first))),
                // Perhaps about one medium alone: the next question is for less, and no endpoint is
                // to blame.
                Err(kind) if reading.is_about_content(&kind) => Ok(Err(kind)),
                Err(kind) => Err(kind),
            }
        };
        let (reading, first) = self.transport.attempt(call, limits, &question, read).await?.read?;
        Ok((reading, first, place))
    }
}

impl Reading {
    /// Reads until there is something to tell.
    async fn read_on(&mut self) -> Result<Progress, ErrorKind> {
        loop {
            let next_by = self.end.min(Instant::now() + self.timeout);
            let read = by(next_by, self.response.chunk()).await?;
            let Some(piece) = read.map_err(ErrorKind::unreachable)? else {
                let Some(parser) = self.parser.take() else { return Ok(Progress::Events(Vec::new())) };
                let rest = parser.finish().inspect_err(|_cut| self.is_vendors = false)?;
                return read_answer(&rest).map(|unpacked| Progress::End(Box::new(unpacked)));
            };
            let Some(parser) = &mut self.parser else { return Ok(Progress::Events(Vec::new())) };
            let fed = parser.feed(&piece);
            self.is_vendors = parser.has_response();
            let events = fed?;
            if !events.is_empty() {
                return Ok(Progress::Events(events));
            }
        }
    }

    /// Whether the vendor's own answer is what cannot be used, or its word that something failed
    /// behind it.
    fn is_about_content(&self, kind: &ErrorKind) -> bool {
        match kind {
            ErrorKind::Unintelligible { .. } => self.is_vendors,
            ErrorKind::Refused { .. } => retry::repeat(kind) == Repeat::Soon,
            _ => false,
        }
    }
}

impl MediaStream {
    /// The next event; None after the last one and after an error. A call that is dropped has lost
    /// nothing.
    ///
    /// # Errors
    /// See [`ErrorKind`]. What came before the error does not count.
    pub async fn next(&mut self) -> Result<Option<MediaEvent>, Error> {
        self.read_until_event().await?;
        Ok(self.events.pop_front())
    }

    /// The bytes of the medium that began last, up to its end.
    ///
    /// # Errors
    /// See [`MediumError`].
    pub fn bytes(&mut self) -> impl Stream<Item = Result<Bytes, MediumError>> {
        stream::unfold(Some(self), |media| async {
            let media = media?;
            match media.next().await {
                Ok(Some(MediaEvent::Bytes(bytes))) => Some((Ok(bytes), Some(media))),
                Ok(Some(MediaEvent::Broken(why))) => Some((Err(why.into()), None)),
                Ok(_end) => None,
                Err(error) => Some((Err(error.into()), None)),
            }
        })
    }

    async fn read_until_event(&mut self) -> Result<(), Error> {
        while self.events.is_empty() && self.reading.parser.is_some() {
            let span = self.call.span.clone();
            match self.reading.read_on().instrument(span).await {
                Ok(progress) => self.note(progress),
                Err(kind) => {
                    self.reading.parser = None;
                    return Err(self.call.failed(kind));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, progress: Progress) {
        match progress {
            Progress::Events(events) => self.events.extend(events),
            Progress::End(mut unpacked) => {
                self.call.succeeded(&unpacked.request_id);
                self.events.extend(read_media_of_other_types(&mut unpacked.body).into_iter().map(MediaEvent::Skipped));
                self.events.push_back(MediaEvent::Finished(Box::new(read_beside_media(unpacked.body))));
            }
        }
    }
}

/// The digits of what is asked for. Without the text, which nobody reads here: with an encrypted
/// flow it would come in the clear, as the media do, so that they can be streamed.
fn info_type(wish: EvidenceSelection, intention: Option<IntentionMode>) -> String {
    let mut digits = String::new();
    for (wished, digit) in [(wish.id_card, '2'), (wish.best_frame, '3'), (wish.video, '4')] {
        if wished {
            digits.push(digit);
        }
    }
    if wish.intention {
        digits.push_str(match intention {
            None => "56",
            Some(IntentionMode::ReadAloud) => "5",
            Some(IntentionMode::Questions | IntentionMode::Nods) => "6",
        });
    }
    digits
}

/// Reads an answer that comes in pieces of `piece_bytes`: each medium by kind, number and content,
/// and the rest. One that cannot be kept has the reason for its content. None if the answer cannot
/// be read.
#[cfg(fuzzing)]
pub fn fuzz_media(answer: &[u8], piece_bytes: usize) -> Option<(Vec<(&'static str, u32, Vec<u8>)>, Vec<u8>)> {
    let mut parser = MediaParser::new(1 << 20);
    let mut media: Vec<(&'static str, u32, Vec<u8>)> = Vec::new();
    for piece in answer.chunks(piece_bytes) {
        for event in parser.feed(piece).ok()? {
            match event {
                MediaEvent::Start { kind, index, .. } => media.push((kind.name(), index, Vec::new())),
                MediaEvent::Bytes(bytes) => media.last_mut().expect("a medium has begun").2.extend_from_slice(&bytes),
                MediaEvent::Broken(why) => media.last_mut().expect("a medium has begun").2 = why.name().into(),
                MediaEvent::Skipped(medium) => {
                    media.push((medium.kind.name(), medium.position, medium.why.name().into()));
                }
                MediaEvent::End | MediaEvent::Finished(_) => {}
            }
        }
    }
    Some((media, parser.finish().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::clock::SystemClock,
        domain::evidence::MediaKind,
        simulator::{self, Simulator, SimulatorConfig},
        tencent::{ErrorClass, VendorClock, answer::Answer, h5::wire::DetectAuthRequest, options::ClientConfig},
    };
    use base64::{Engine, prelude::BASE64_STANDARD};
    use futures_util::TryStreamExt;
    use serde_json::{Value, json};
    use std::{collections::BTreeMap, sync::Arc};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    struct World {
        simulator: Simulator,
        client: Client,
        pair: KeyPair,
        token: String,
    }

    const OPTIONS: CallOptions<'_> =
        CallOptions { credential: "main", urgency: Urgency::Interactive { deadline: None } };

    /// The read-aloud flow of the simulator.
    const RULE_ID: &str = "3";

    impl World {
        /// A user has passed, at the second try.
        async fn start() -> Self {
            let simulator = simulator::start(SimulatorConfig::loopback()).await.unwrap();
            let client = client(&simulator.api_addr().to_string(), Duration::from_secs(30));
            let pair = KeyPair::sealed_before(simulator.secret_id(), simulator.secret_key());
            let (name, id_card) = (Some("张三"), Some("11010519491231002X"));
            let order = DetectAuthRequest { rule_id: RULE_ID, name, id_card, ..DetectAuthRequest::default() };
            let token =
                client.detect_auth(&pair, &order, None, OPTIONS).await.unwrap_or_else(|error| panic!("{error}"));
            let world = Self { simulator, client, pair, token: { token }.body.root().text("BizToken").unwrap() };
            for code in [1004, 0] {
                world.control(&format!("/tokens/{}/attempts", world.token), json!({ "code": code })).await;
            }
            world
        }

        async fn control(&self, path: &str, body: Value) {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let url = format!("http://{}{path}", self.simulator.control_addr());
            let answer = http.post(url).body(body.to_string()).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }

        fn request(&self) -> GetDetectInfoEnhancedRequest<'_> {
            GetDetectInfoEnhancedRequest {
                biz_token: &self.token,
                rule_id: RULE_ID,
                info_type: "0",
                best_frames_count: Some(3),
                is_cut_id_card_image: Some(true),
                is_need_id_card_avatar: Some(true),
                is_return_all_video: Some(true),
                ..GetDetectInfoEnhancedRequest::default()
            }
        }

        async fn fetch(&self) -> Result<MediaStream, Error> {
            self.client.fetch_media(&self.pair, &self.request(), u64::MAX, OPTIONS).await
        }
    }

    fn client(address: &str, timeout: Duration) -> Client {
        let endpoint = format!("http://{address}/").parse().unwrap();
        let config = ClientConfig { timeout, ..ClientConfig::new(endpoint) };
        Client::new(&config, Arc::new(VendorClock::new(Arc::new(SystemClock)))).unwrap()
    }

    type Found = BTreeMap<(MediaKind, u32), (Option<String>, Vec<u8>)>;

    async fn read(media: &mut MediaStream) -> Result<Found, MediumError> {
        let mut found = Found::new();
        loop {
            match media.next().await? {
                Some(MediaEvent::Start { kind, index, seq }) => {
                    let bytes: Vec<Bytes> = media.bytes().try_collect().await?;
                    assert!(found.insert((kind, index), (seq, bytes.concat())).is_none());
                }
                Some(MediaEvent::Finished(_)) => {
                    assert!(media.next().await?.is_none());
                    return Ok(found);
                }
                Some(MediaEvent::Skipped(medium)) => panic!("the {} is skipped: {}", medium.kind.name(), medium.why),
                Some(MediaEvent::Bytes(_) | MediaEvent::End | MediaEvent::Broken(_)) | None => {
                    panic!("outside of a medium")
                }
            }
        }
    }

    #[tokio::test]
    async fn fetches_everything_that_the_vendor_has() {
        let world = World::start().await;
        let mut found = read(&mut world.fetch().await.ok().unwrap()).await.ok().unwrap();
        let whole: Answer<Value> =
            world.client.call(ACTION, &world.pair, &world.request(), OPTIONS, Ok).await.ok().unwrap();
        let whole = whole.body;

        let (frames, videos) = (&whole["BestFrame"]["BestFrames"], &whole["VideoData"]["LivenessVideos"]);
        let (frames, videos) = (frames.as_array().unwrap(), videos.as_array().unwrap());
        assert_eq!((frames.len(), videos.len()), (3, 2));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let one = |kind, path| ((kind, 0), (None, text(whole.pointer(path).unwrap())));
        let mut expected: BTreeMap<_, _> = [
            one(MediaKind::IdCardFront, "/IdCardData/OcrFront"),
            one(MediaKind::IdCardBack, "/IdCardData/OcrBack"),
            one(MediaKind::IdCardFrontProcessed, "/IdCardData/ProcessedFrontImage"),
            one(MediaKind::IdCardBackProcessed, "/IdCardData/ProcessedBackImage"),
            one(MediaKind::IdCardAvatar, "/IdCardData/Avatar"),
            one(MediaKind::IntentionVideo, "/IntentionVerifyData/IntentionVerifyVideo"),
            one(MediaKind::IntentionPhoto, "/IntentionVerifyData/IntentionVerifyBestFrame"),
            one(MediaKind::IntentionAudio, "/IntentionVerifyData/IntentionVerifyAudio"),
            one(MediaKind::BestFrame, "/BestFrame/BestFrame"),
            one(MediaKind::LivenessVideo, "/VideoData/LivenessVideo"),
        ]
        .into();
        for (index, frame) in (1..).zip(frames) {
            expected.insert((MediaKind::BestFrame, index), (None, text(frame)));
        }
        for (index, video) in (1..).zip(videos) {
            expected.insert((MediaKind::LivenessVideo, index), (Some(text(&video["Seq"])), text(&video["Video"])));
        }
        assert_eq!(found.len(), expected.len());
        for (place, (seq, base64)) in expected {
            let (found_seq, bytes) = found.remove(&place).unwrap();
            assert!(bytes == BASE64_STANDARD.decode(base64).unwrap() && found_seq == seq, "{place:?}");
        }
    }

    #[tokio::test]
    async fn failures_are_those_of_any_call() {
        for (fault, expected) in [
            (
                json!({ "kind": "error_code", "code": "FailedOperation.UnKnown" }),
                "refused with FailedOperation.UnKnown",
            ),
            (json!({ "kind": "http_status", "status": 502 }), "HTTP status 502"),
            (json!({ "kind": "html_200" }), "not JSON"),
            (json!({ "kind": "not_json" }), "documented JSON"),
            (json!({ "kind": "reset" }), "unreachable"),
            (json!({ "kind": "huge", "size_bytes": 100_000_000 }), "larger than 16777216 bytes"),
        ] {
            // Of its own, since an endpoint that fails again and again is left alone.
            let world = World::start().await;
            let mut planned = fault.clone();
            planned["times"] = json!(4);
            world.control("/faults", planned).await;
            let error = match world.fetch().await {
                Err(error) => error,
                Ok(mut media) => match read(&mut media).await {
                    Err(MediumError::Vendor(error)) => error,
                    Err(MediumError::NotKept(why)) => panic!("{fault}: {why}"),
                    Ok(_) => panic!("{fault} was read"),
                },
            };
            assert!(error.to_string().contains(expected), "{fault}: {error}");
            assert_eq!((error.action, error.kind.class()), (ACTION, ErrorClass::Transient), "{fault}");
        }
        let world = World::start().await;
        let unknown = GetDetectInfoEnhancedRequest { biz_token: "UNKNOWN", ..world.request() };
        let refused = world.client.fetch_media(&world.pair, &unknown, u64::MAX, OPTIONS).await.err().unwrap();
        assert_eq!(refused.class(), ErrorClass::Token);
        assert!(refused.kind.request_id().is_some());
    }

    #[tokio::test]
    async fn an_answer_that_ends_in_the_middle_is_an_error_after_its_first_media() {
        let world = World::start().await;
        world.control("/faults", json!({ "kind": "cut_json" })).await;
        let mut media = world.fetch().await.ok().unwrap();
        assert!(matches!(media.next().await, Ok(Some(MediaEvent::Start { .. }))));
        let error = loop {
            if let Err(error) = media.next().await {
                break error;
            }
        };
        assert!(error.to_string().contains("cut off"), "{error}");
        assert!(matches!(media.next().await, Ok(None)));
    }

    #[tokio::test]
    async fn nulls_are_an_answer_without_media() {
        let world = World::start().await;
        world.control("/faults", json!({ "kind": "nulls" })).await;
        let found = read(&mut world.fetch().await.ok().unwrap()).await.ok().unwrap();
        assert!(found.is_empty());
    }

    #[tokio::test]
    async fn a_vendor_that_falls_silent_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&listener.local_addr().unwrap().to_string(), Duration::from_millis(200));
        let pair = KeyPair::sealed_before("id", "key");
        let request = GetDetectInfoEnhancedRequest::default();
        for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"Response\":{"] {
            let fetch = client.fetch_media(&pair, &request, u64::MAX, OPTIONS);
            let fall_silent = async {
                let (mut connection, _) = listener.accept().await.unwrap();
                // An answer before its question would be an error of its own.
                connection.read_u8().await.unwrap();
                connection.write_all(begun.as_bytes()).await.unwrap();
                // Held open until the client gives up.
                std::future::pending::<()>().await;
                drop(connection);
            };
            let error = tokio::select! {
                fetched = fetch => fetched.err().unwrap(),
                () = fall_silent => unreachable!("it never ends"),
            };
            assert!(matches!(error.kind, ErrorKind::Timeout { .. }), "{begun}: {error}");
        }
    }
}
