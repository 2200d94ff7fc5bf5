//! A GetDetectInfoEnhanced answer with photos, videos and sounds, read while it arrives.
//!
//! Such an answer is JSON of up to tens of MB, nearly all of which is base64 in a few known places (`shape`). `parser` takes
//! those out; [`MediaStream`] hands them on, with a few pieces in memory at a time, whatever the size.

mod parser;
mod shape;

use super::{H5, ask::ACTION, tree::Tree, wire::GetDetectInfoEnhancedRequest};
use crate::{
    domain::{
        flow::EvidenceWish, ids::BizToken, intention::IntentionMode, key_pair::KeyPair, verification::Verification,
    },
    tencent::{
        answer::{Unpacked, read_answer},
        attempt::{Exchange, Limits, Question, by},
        call::Call,
        client::Client,
        error::{Error, ErrorKind},
        in_flight::Place,
        options::{CallOptions, Urgency},
        terms::{CardWarnings, MediaEvent},
    },
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use parser::MediaParser;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;
use tracing::Instrument;

/// For a whole answer with media, which takes as long as its reader does. What the vendor may take between two pieces is
/// the client's timeout.
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
}

/// What a piece of the answer brought.
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
        wish: EvidenceWish,
    ) -> Result<MediaStream, Error> {
        let is_encrypted = self.field_encryption.contains_key(&verification.flow);
        let request = GetDetectInfoEnhancedRequest {
            biz_token: token.expose(),
            rule_id: &verification.rule_id,
            info_type: &info_type(wish, verification.intention, is_encrypted),
            best_frames_count: wish.best_frame.then_some(BEST_FRAMES),
            is_cut_id_card_image: wish.id_card.then_some(true),
            is_need_id_card_avatar: wish.id_card.then_some(true),
            is_return_all_video: wish.video.then_some(true),
            ..GetDetectInfoEnhancedRequest::default()
        };
        let options = CallOptions { credential: &verification.credential, urgency: Urgency::Background };
        self.client.fetch_media(pair, &request, options).await
    }
}

impl Client {
    /// As `get_detect_info_enhanced`, for answers with media. Waits for the
    /// first event, so that a refusal comes from here; up to there a failed try is followed by another. The call is counted when
    /// its last event or an error has come.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    async fn fetch_media(
        &self,
        pair: &KeyPair,
        request: &GetDetectInfoEnhancedRequest<'_>,
        options: CallOptions<'_>,
    ) -> Result<MediaStream, Error> {
        let mut call = Call::begin(ACTION);
        let span = call.span.clone();
        let opened = self.open_media(&mut call, pair, request, options).instrument(span).await;
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
        options: CallOptions<'_>,
    ) -> Result<(Reading, Progress, Place), ErrorKind> {
        let body = serde_json::to_vec(request).expect("requests are plain data").into();
        // The vendor has more to put together than a text.
        let question = Question { pair, body, options, first_byte: self.transport.timeout };
        let limits = Limits::of(options.urgency, self.transport.timeout);
        let place = self.transport.in_flight.enter(options.urgency, limits.begin_until).await?;
        let read = |Exchange { response, .. }| async {
            let (timeout, end) = (self.transport.timeout, Instant::now() + WHOLE_TIMEOUT);
            let mut reading = Reading { response, timeout, end, parser: Some(MediaParser::new()) };
            let first = reading.read_on().await?;
            Ok((reading, first))
        };
        let attempted = self.transport.attempt(call, limits, &question, read).await?;
        let (reading, first) = attempted.read;
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
                return read_answer(&parser.finish()?).map(|unpacked| Progress::End(Box::new(unpacked)));
            };
            let Some(parser) = &mut self.parser else { return Ok(Progress::Events(Vec::new())) };
            let events: Vec<_> = parser.feed(&piece)?.into_iter().collect();
            if !events.is_empty() {
                return Ok(Progress::Events(events));
            }
        }
    }
}

impl MediaStream {
    /// The next event; None after the last one and after an error. A call that is dropped has lost nothing.
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
    /// As [`MediaStream::next`].
    pub fn bytes(&mut self) -> impl Stream<Item = Result<Bytes, Error>> {
        stream::unfold(Some(self), |media| async {
            let media = media?;
            match media.next().await {
                Ok(Some(MediaEvent::Bytes(bytes))) => Some((Ok(bytes), Some(media))),
                Ok(_end) => None,
                Err(error) => Some((Err(error), None)),
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
                let mut root = unpacked.body.root();
                let mut card = root.object("IdCardData");
                self.events.push_back(MediaEvent::Finished(CardWarnings {
                    front: card.integers("WarnInfos"),
                    back: card.integers("BackWarnInfos"),
                }));
            }
        }
    }
}

/// The digits of what is asked for. Media come as they are, so that they can be streamed; with an encrypted flow the text,
/// which would come in the clear beside them and which nobody reads here, is left out.
fn info_type(wish: EvidenceWish, intention: Option<IntentionMode>, is_encrypted: bool) -> String {
    let mut digits = String::from(if is_encrypted { "" } else { "1" });
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

/// Reads an answer that comes in pieces of `piece_bytes`: each medium by kind, number and content, and the rest. None if it
/// cannot be read.
#[cfg(fuzzing)]
pub fn fuzz_media(answer: &[u8], piece_bytes: usize) -> Option<(Vec<(&'static str, u32, Vec<u8>)>, Vec<u8>)> {
    let mut parser = MediaParser::new();
    let mut media: Vec<(&'static str, u32, Vec<u8>)> = Vec::new();
    for piece in answer.chunks(piece_bytes) {
        for event in parser.feed(piece).ok()? {
            match event {
                MediaEvent::Start { kind, index, .. } => media.push((kind.name(), index, Vec::new())),
                MediaEvent::Bytes(bytes) => media.last_mut().expect("a medium has begun").2.extend_from_slice(&bytes),
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
            self.client.fetch_media(&self.pair, &self.request(), OPTIONS).await
        }
    }

    fn client(address: &str, timeout: Duration) -> Client {
        let endpoint = format!("http://{address}/").parse().unwrap();
        let config = ClientConfig { timeout, ..ClientConfig::new(endpoint) };
        Client::new(&config, Arc::new(VendorClock::new(Arc::new(SystemClock)))).unwrap()
    }

    type Found = BTreeMap<(MediaKind, u32), (Option<String>, Vec<u8>)>;

    async fn read(media: &mut MediaStream) -> Result<Found, Error> {
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
                Some(MediaEvent::Bytes(_) | MediaEvent::End) | None => panic!("outside of a medium"),
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
            (json!({ "kind": "http_status", "status": 502 }), "HTTP 502"),
            (json!({ "kind": "html_200" }), "not JSON"),
            (json!({ "kind": "not_json" }), "documented JSON"),
            (json!({ "kind": "reset" }), "unreachable"),
            (json!({ "kind": "huge", "size_bytes": 100_000_000 }), "over 16777216 bytes"),
        ] {
            // Of its own, since an endpoint that fails again and again is left alone.
            let world = World::start().await;
            let mut planned = fault.clone();
            planned["times"] = json!(4);
            world.control("/faults", planned).await;
            let error = match world.fetch().await {
                Err(error) => error,
                Ok(mut media) => read(&mut media).await.err().unwrap_or_else(|| panic!("{fault} was read")),
            };
            assert!(error.to_string().contains(expected), "{fault}: {error}");
            assert_eq!((error.action, error.kind.class()), (ACTION, ErrorClass::Transient), "{fault}");
        }
        let world = World::start().await;
        let unknown = GetDetectInfoEnhancedRequest { biz_token: "UNKNOWN", ..world.request() };
        let refused = world.client.fetch_media(&world.pair, &unknown, OPTIONS).await.err().unwrap();
        assert_eq!(refused.kind.class(), ErrorClass::Token);
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
            let fetch = client.fetch_media(&pair, &request, OPTIONS);
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
