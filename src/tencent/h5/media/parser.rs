//! Decodes the media of an answer that arrives in pieces.
//!
//! [`MediaParser`] takes the strings in the places of [`ANSWER`] out as they come (`medium`) and
//! keeps the rest for serde, with an empty string in the place of each. It follows strings and
//! brackets only, and leaves everything else to serde: nothing that came out counts before serde
//! has read the rest.

use super::{
    medium::Medium,
    shape::{
        ANSWER,
        Shape::{self, List, Object},
    },
};
use crate::{
    domain::evidence::MediaKind,
    tencent::{client::MAX_ANSWER_BYTES, error::ErrorKind, terms::MediaEvent},
};
use std::mem;
use strum::VariantArray;

/// The longest answer that is read, with media that are not kept.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// More media than any verification has; what comes after is not kept.
const MAX_MEDIA: u32 = 200;
/// The longest answer without its media: as of a call that asks for text.
const MAX_REST_BYTES: usize = MAX_ANSWER_BYTES;
/// As deep as serde_json reads.
const MAX_DEPTH: usize = 128;
/// The vendor's sequence ids have 36 characters; a longer one is none.
const MAX_SEQ_BYTES: usize = 128;
/// An answer whose media cannot be taken out. Says what is wrong, never with what.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MediaError {
    #[error("cut off")]
    Cut,
    #[error("not JSON")]
    NotJson,
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("over {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
}

impl From<MediaError> for ErrorKind {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
            other => Self::Unintelligible { problem: other.to_string(), request_id: String::new() },
        }
    }
}

/// Takes an answer in pieces of any size; what comes out does not depend on how it was cut.
pub(super) struct MediaParser {
    received: usize,
    state: State,
    /// The objects and lists that are open, the innermost last.
    open: Vec<Container>,
    /// What the whole answer is, until it has begun.
    whole: Shape,
    /// The answer so far, without its media.
    rest: Vec<u8>,
    /// Whether it has begun as the vendor's answers do.
    has_response: bool,
    /// How much may still be handed out.
    left_bytes: u64,
    /// How many media of each kind there were.
    counts: [u32; MediaKind::VARIANTS.len()],
}

enum State {
    /// Not in a string.
    Between,
    /// In a string of the rest, which begins at `start` there.
    Text {
        start: usize,
        role: Role,
        escaped: bool,
    },
    Medium(Box<Medium>),
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Key,
    Seq,
    Other,
}

struct Container {
    shape: Shape,
    is_object: bool,
    /// Whether the next string is a key.
    at_key: bool,
    /// What the value of the last key is.
    value: Shape,
    seq: Option<String>,
}

impl MediaParser {
    /// `limit_bytes`: for all media that are handed out.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            received: 0,
            state: State::Between,
            open: Vec::new(),
            whole: ANSWER,
            rest: Vec::new(),
            has_response: false,
            left_bytes: limit_bytes,
            counts: [0; MediaKind::VARIANTS.len()],
        }
    }

    /// Takes the next piece and gives what came out of it, up to its size.
    ///
    /// # Errors
    /// When the answer is over a limit or no JSON. Then all is void, and what is fed after it has
    /// no meaning.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> Result<Vec<MediaEvent>, MediaError> {
        self.received += piece.len();
        if self.received > MAX_BYTES {
            return Err(MediaError::TooLarge { limit_bytes: MAX_BYTES });
        }
        let mut events = Vec::new();
        while !piece.is_empty() {
            piece = match self.state {
                State::Between => self.read_between(piece)?,
                State::Text { .. } => self.read_text(piece)?,
                State::Medium(_) => self.read_medium(piece, &mut events),
            };
        }
        Ok(events)
    }

    /// Ends the answer, and gives what was in it besides the media. Whether that is JSON is for the
    /// reader to find out.
    ///
    /// # Errors
    /// When the answer is not at its end.
    pub(super) fn finish(self) -> Result<Vec<u8>, MediaError> {
        let is_between = matches!(self.state, State::Between);
        if is_between && self.open.is_empty() { Ok(self.rest) } else { Err(MediaError::Cut) }
    }

    /// Whether what was fed so far is of the vendor, whatever comes of it.
    pub(super) fn has_response(&self) -> bool {
        self.has_response
    }

    fn read_between<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], MediaError> {
        let length = piece.iter().position(|byte| *byte == b'"').unwrap_or(piece.len());
        let (between, after) = piece.split_at(length);
        self.keep(between)?;
        for byte in between {
            match byte {
                b'{' | b'[' => self.open_container(*byte == b'{')?,
                b'}' | b']' => self.close_container(*byte == b'}')?,
                b',' => {
                    if let Some(container) = self.open.last_mut() {
                        container.at_key = container.is_object;
                    }
                }
                _ => {}
            }
        }
        let Some((_quote, after)) = after.split_first() else { return Ok(after) };
        self.begin_string()?;
        Ok(after)
    }

    fn open_container(&mut self, is_object: bool) -> Result<(), MediaError> {
        if self.open.len() == MAX_DEPTH {
            return Err(MediaError::TooDeep);
        }
        let shape = match (self.next_shape(), is_object) {
            (shape @ Object(_), true) | (shape @ (List(_) | Shape::Medium(_)), false) => shape,
            _ => Shape::Other,
        };
        self.open.push(Container { shape, is_object, at_key: is_object, value: Shape::Other, seq: None });
        Ok(())
    }

    fn close_container(&mut self, is_object: bool) -> Result<(), MediaError> {
        let closed = self.open.pop().filter(|closed| closed.is_object == is_object);
        closed.map(|_| ()).ok_or(MediaError::NotJson)
    }

    /// The shape of the value that begins here.
    fn next_shape(&mut self) -> Shape {
        match self.open.last() {
            None => mem::replace(&mut self.whole, Shape::Other),
            Some(Container { shape: List(element), .. }) => **element,
            // A list where one medium is documented.
            Some(Container { shape: medium @ Shape::Medium(_), .. }) => *medium,
            Some(container) => container.value,
        }
    }

    fn begin_string(&mut self) -> Result<(), MediaError> {
        let is_key = self.open.last().is_some_and(|container| container.at_key);
        let role = match if is_key { Shape::Other } else { self.next_shape() } {
            // Or one medium where a list is documented.
            Shape::Medium(kind) | List(&Shape::Medium(kind)) => {
                self.keep(b"\"\"")?;
                self.state = State::Medium(Box::new(self.begin_medium(kind)));
                return Ok(());
            }
            Shape::Seq => Role::Seq,
            _ if is_key => Role::Key,
            _ => Role::Other,
        };
        self.state = State::Text { start: self.rest.len(), role, escaped: false };
        self.keep(b"\"")
    }

    fn read_text<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], MediaError> {
        let State::Text { start, role, escaped } = self.state else { return Ok(piece) };
        let length = if escaped {
            1
        } else {
            piece.iter().position(|byte| matches!(byte, b'"' | b'\\')).map_or(piece.len(), |at| at + 1)
        };
        let (text, after) = piece.split_at(length);
        self.keep(text)?;
        match text.last() {
            Some(b'"') if !escaped => {
                self.state = State::Between;
                self.end_text(start, role)?;
            }
            last => self.state = State::Text { start, role, escaped: !escaped && last == Some(&b'\\') },
        }
        Ok(after)
    }

    fn end_text(&mut self, start: usize, role: Role) -> Result<(), MediaError> {
        let Some(container) = self.open.last_mut() else { return Ok(()) };
        let read = || serde_json::from_slice::<String>(&self.rest[start..]).map_err(|_| MediaError::NotJson);
        match role {
            Role::Key => {
                container.at_key = false;
                container.value = Shape::Other;
                if let Object(fields) = container.shape {
                    let key = read()?;
                    let field = fields.iter().find(|(name, _)| *name == key);
                    container.value = field.map_or(Shape::Other, |(_, value)| *value);
                    self.has_response |= field.is_some();
                }
            }
            Role::Seq => container.seq = Some(read()?).filter(|seq| (1..=MAX_SEQ_BYTES).contains(&seq.len())),
            Role::Other => {}
        }
        Ok(())
    }

    fn begin_medium(&self, kind: MediaKind) -> Medium {
        let index = self.counts[kind as usize];
        let before: u32 = self.counts.iter().sum();
        if before >= MAX_MEDIA {
            return Medium::beyond_the_limit(kind, index, before == MAX_MEDIA);
        }
        let seq = self.open.last().and_then(|container| container.seq.clone());
        Medium::new(kind, index, seq)
    }

    fn read_medium<'a>(&mut self, piece: &'a [u8], events: &mut Vec<MediaEvent>) -> &'a [u8] {
        let State::Medium(medium) = &mut self.state else { return piece };
        let Some(after) = medium.take(piece, &mut self.left_bytes, events) else { return &[] };
        self.counts[medium.kind() as usize] += u32::from(medium.was_there());
        self.state = State::Between;
        after
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        if self.rest.len() + bytes.len() > MAX_REST_BYTES {
            return Err(MediaError::TooLarge { limit_bytes: MAX_REST_BYTES });
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::decoder::BLOCK_CHARS, *};
    use crate::{
        domain::evidence::MediaKind::*,
        tencent::answer::{Unpacked, read_answer},
    };
    use base64::{Engine, prelude::BASE64_STANDARD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    type Found = (MediaKind, u32, Option<String>, Content);

    /// A medium's bytes; or why it is not kept, with what was told in its place.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Content {
        Kept(Vec<u8>),
        Unkept(&'static str, Option<String>),
    }
    use Content::{Kept, Unkept};

    const PIECE_BYTES: usize = BLOCK_CHARS / 4 * 3;

    /// Feeds an answer in pieces of these sizes, over and over; checks the order of events and the
    /// sizes of what comes out.
    fn take_out(answer: &[u8], sizes: &[usize]) -> Result<(Vec<Found>, Vec<u8>), MediaError> {
        take_out_up_to(u64::MAX, answer, sizes)
    }

    fn take_out_up_to(limit_bytes: u64, answer: &[u8], sizes: &[usize]) -> Result<(Vec<Found>, Vec<u8>), MediaError> {
        let mut parser = MediaParser::new(limit_bytes);
        let (mut found, mut is_open, mut last_length) = (Vec::<Found>::new(), false, PIECE_BYTES);
        let mut left = answer;
        for size in sizes.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (piece, later) = left.split_at((*size).min(left.len()));
            left = later;
            for event in parser.feed(piece)? {
                match event {
                    MediaEvent::Start { kind, index, seq } => {
                        assert!(!mem::replace(&mut is_open, true));
                        last_length = PIECE_BYTES;
                        found.push((kind, index, seq, Kept(Vec::new())));
                    }
                    MediaEvent::Bytes(bytes) => {
                        assert!(is_open && last_length == PIECE_BYTES && (1..=PIECE_BYTES).contains(&bytes.len()));
                        last_length = bytes.len();
                        let Kept(content) = &mut found.last_mut().unwrap().3 else { panic!("it is not kept") };
                        content.extend_from_slice(&bytes);
                    }
                    MediaEvent::End => assert!(mem::replace(&mut is_open, false)),
                    MediaEvent::Broken(why) => {
                        assert!(mem::replace(&mut is_open, false));
                        found.last_mut().unwrap().3 = Unkept(why.name(), None);
                    }
                    MediaEvent::Skipped(medium) => {
                        assert!(!is_open);
                        let content = Unkept(medium.why.name(), medium.text);
                        found.push((medium.kind, medium.position, medium.attempt_seq, content));
                    }
                    MediaEvent::Finished(_) => panic!("a parser reads no answer"),
                }
            }
        }
        let rest = parser.finish()?;
        assert!(!is_open);
        Ok((found, rest))
    }

    /// The same, and then reads the rest.
    fn read(answer: &[u8], sizes: &[usize]) -> Result<(Vec<Found>, Unpacked<Value>), ErrorKind> {
        let (found, rest) = take_out(answer, sizes)?;
        Ok((found, read_answer(&rest)?))
    }

    fn error(answer: &str) -> String {
        let whole = read(answer.as_bytes(), &[usize::MAX]).err().unwrap_or_else(|| panic!("{answer} was read"));
        let bytewise = read(answer.as_bytes(), &[1]).err().unwrap();
        assert_eq!(whole.to_string(), bytewise.to_string());
        whole.to_string()
    }

    /// Passes for a picture with an even seed, for a video with an odd one.
    fn medium(seed: u8, length: usize) -> Vec<u8> {
        let magic: &[u8] = if seed.is_multiple_of(2) { b"\xFF\xD8\xFF" } else { b"\0\0\0\x20ftyp" };
        magic.iter().copied().chain((0..length - magic.len()).map(|at| (at % 253) as u8 ^ seed)).collect()
    }

    fn base64(seed: u8, length: usize) -> String {
        BASE64_STANDARD.encode(medium(seed, length))
    }

    fn best_frame(text: &str) -> String {
        format!(r#"{{"Response":{{"BestFrame":{{"BestFrame":"{text}"}}}}}}"#)
    }

    /// Every place that a medium can have.
    fn full_answer() -> String {
        json!({ "Response": {
            "Text": { "ErrCode": 0, "Name": "张\"三\\", "LivenessDetail": [{ "Seq": "s-1", "Video": "QUJD" }] },
            "BestFrame": { "BestFrame": base64(2, 70_000), "BestFrames": [base64(4, 4), "", base64(6, 5)], "New": ["QUJD"] },
            "IdCardData": {
                "OcrFront": base64(8, 6), "OcrBack": base64(10, PIECE_BYTES), "ProcessedFrontImage": base64(12, PIECE_BYTES + 1),
                "ProcessedBackImage": base64(14, 7), "Avatar": base64(16, 2 * PIECE_BYTES), "WarnInfos": [-9102, -9103],
                "BackWarnInfos": null,
            },
            "VideoData": {
                "LivenessVideo": base64(1, 200_000),
                "LivenessVideos": [
                    { "Seq": "s-1", "Video": base64(3, 30) }, { "Video": "cos/s-2.mp4" }, { "Video": base64(5, 31) }, { "Seq": "s-3" }
                ],
            },
            "IntentionVerifyData": {
                "IntentionVerifyVideo": base64(7, 40), "AsrResult": "同意", "ErrorCode": 0,
                "IntentionVerifyBestFrame": base64(18, 41), "IntentionVerifyAudio": base64(20, 42),
            },
            "IntentionQuestionResult": {
                "Video": base64(9, 50), "ScreenShot": [base64(22, 51)], "Audios": [base64(24, 52), base64(26, 53)],
            },
            "IntentionActionResult": { "Details": [
                { "Video": base64(11, 60), "ScreenShot": [base64(28, 61), base64(30, 62)] },
                { "Video": base64(13, 63), "ScreenShot": null },
            ] },
            "RequestId": "r-1",
        } })
        .to_string()
    }

    #[test]
    fn every_medium_comes_out_whole_however_the_answer_is_cut() {
        let answer = full_answer();
        let (mut found, rest) = take_out(answer.as_bytes(), &[usize::MAX]).ok().unwrap();
        for sizes in [&[1][..], &[7], &[65_536], &[1, 2, 3, 5, 100_003]] {
            assert!(take_out(answer.as_bytes(), sizes) == Ok((found.clone(), rest.clone())), "{sizes:?}");
        }
        found.sort();
        let kept = |kind, index, seed, length| (kind, index, None, Kept(medium(seed, length)));
        let mut expected = vec![
            kept(BestFrame, 0, 2, 70_000),
            kept(BestFrame, 1, 4, 4),
            kept(BestFrame, 2, 6, 5),
            kept(IdCardFront, 0, 8, 6),
            kept(IdCardBack, 0, 10, PIECE_BYTES),
            kept(IdCardFrontProcessed, 0, 12, PIECE_BYTES + 1),
            kept(IdCardBackProcessed, 0, 14, 7),
            kept(IdCardAvatar, 0, 16, 2 * PIECE_BYTES),
            kept(LivenessVideo, 0, 1, 200_000),
            (LivenessVideo, 1, Some("s-1".into()), Kept(medium(3, 30))),
            (LivenessVideo, 2, None, Unkept("reference", Some("cos/s-2.mp4".into()))),
            kept(LivenessVideo, 3, 5, 31),
            // serde_json writes the fields in the order of the alphabet: the nods come before the
            // questions.
            kept(IntentionVideo, 0, 11, 60),
            kept(IntentionVideo, 1, 13, 63),
            kept(IntentionVideo, 2, 9, 50),
            kept(IntentionVideo, 3, 7, 40),
            kept(IntentionPhoto, 0, 18, 41),
            kept(IntentionAudio, 0, 24, 52),
            kept(IntentionAudio, 1, 26, 53),
            kept(IntentionAudio, 2, 20, 42),
            kept(IntentionScreenshot, 0, 28, 61),
            kept(IntentionScreenshot, 1, 30, 62),
            kept(IntentionScreenshot, 2, 22, 51),
        ];
        expected.sort();
        assert!(found == expected);
    }

    #[test]
    fn the_rest_is_read_as_an_answer_without_media() {
        let (_, answer) = read(full_answer().as_bytes(), &[11]).ok().unwrap();
        assert_eq!(answer.request_id, "r-1");
        let body = answer.body;
        assert_eq!((&body["Text"]["ErrCode"], &body["Text"]["Name"]), (&json!(0), &json!("张\"三\\")));
        let card = &body["IdCardData"];
        assert_eq!((&card["WarnInfos"], &card["OcrFront"]), (&json!([-9102, -9103]), &json!("")));
        let frames = &body["BestFrame"];
        assert_eq!(frames["BestFrames"], json!(["", "", ""]));
        assert_eq!(frames["New"], json!(["QUJD"]), "only known places hold media");
        let videos = body["VideoData"]["LivenessVideos"].as_array().unwrap();
        assert_eq!(videos.len(), 4);
        assert_eq!((&videos[3]["Seq"], &videos[3]["Video"]), (&json!("s-3"), &Value::Null));
    }

    #[test]
    fn an_answer_without_media_has_no_events() {
        for answer in [
            r#"{"Response":{"Text":{"ErrCode":0},"BestFrame":null,"RequestId":"r"}}"#,
            r#"{"Response":{"BestFrame":{"BestFrame":null,"BestFrames":null},"VideoData":{"LivenessVideo":""}}}"#,
            r#"{"Response":{"BestFrame":{"BestFrames":[]},"IntentionActionResult":{"Details":[{"Video":null}]}}}"#,
        ] {
            assert!(read(answer.as_bytes(), &[3]).ok().unwrap().0.is_empty(), "{answer}");
        }
        let refusal = r#"{"Response":{"Error":{"Code":"InternalError","Message":"m"},"RequestId":"r-1"}}"#;
        let refused = read(refusal.as_bytes(), &[3]).err().unwrap();
        assert!(matches!(refused, ErrorKind::Refused { code, .. } if code == "InternalError"));
    }

    #[test]
    fn escapes_and_spaces_change_nothing() {
        let answer =
            r#" { "Response" :{"Best\u0046rame": {"BestFrame" : "\/9j\u002f\u002B\u0041QQ\u003D\u003d" } } } "#;
        let (found, _) = read(answer.as_bytes(), &[1]).ok().unwrap();
        assert!(found == [(BestFrame, 0, None, Kept(BASE64_STANDARD.decode("/9j/+AQQ").unwrap()))]);
    }

    #[test]
    fn every_spelling_of_base64_is_kept() {
        let picture = b"\xFF\xD8\xFF\xFB\xF0\x01\x02".to_vec();
        for text in [
            "/9j/+/ABAg==",
            "/9j/+/ABAg",
            "/9j/\\r\\n+/AB\\nAg==\\n",
            "\\/9j\\u002f+/A\\tB Ag\\u003d=",
            "_9j_-_ABAg",
            "data:image/jpeg;base64,/9j/+/ABAg==",
        ] {
            let (found, _) = read(best_frame(text).as_bytes(), &[1]).ok().unwrap();
            assert!(found == [(BestFrame, 0, None, Kept(picture.clone()))], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_told_and_costs_no_other() {
        let long = base64(2, PIECE_BYTES);
        let (url, escaped) =
            ("https://b.cos.ap-guangzhou.myqcloud.com/s.jpg?q=%E4&人", "https:\\/\\/b.c\\u006fm/\\uD83D\\uDE00.mp4");
        for (text, why, told) in [
            (url, "reference", Some(url)),
            (escaped, "reference", Some("https://b.com/😀.mp4")),
            ("/faceid/2026/s", "reference", Some("/faceid/2026/s")),
            ("Q", "not_base64", Some("Q")),
            ("QQ=QQQ==", "not_base64", Some("QQ=QQQ==")),
            ("QUJD\\\"", "not_base64", Some("QUJD\"")),
            ("QUJD\\b", "not_base64", Some("QUJD\u{8}")),
            ("not here!", "not_base64", Some("not here!")),
            // No JSON: there is no text to tell.
            ("QUJD\u{1}", "not_base64", None),
            ("QUJ\\u00g0", "not_base64", None),
            ("QUJD\\x", "not_base64", None),
            ("QUJD", "wrong_content", Some("QUJD")),
            ("data:text/html;base64,PGh0bWw+", "wrong_content", Some("data:text/html;base64,PGh0bWw+")),
            (&base64(1, 5_000), "wrong_content", None),
            // Found out after a piece of it had gone.
            (&format!("{long}Q"), "not_base64", None),
            (&format!("{long}*{long}"), "not_base64", None),
        ] {
            for size in [1, 1000, usize::MAX] {
                let answer = format!(
                    r#"{{"Response":{{"BestFrame":{{"BestFrame":"{text}","BestFrames":["{text}","/9j/AAAA"]}}}}}}"#
                );
                let (found, _) = read(answer.as_bytes(), &[size]).ok().unwrap_or_else(|| panic!("{text:.30}"));
                let unkept = Unkept(why, told.map(str::to_owned));
                let expected = [
                    (BestFrame, 0, None, unkept.clone()),
                    (BestFrame, 1, None, unkept),
                    (BestFrame, 2, None, Kept(b"\xFF\xD8\xFF\0\0\0".to_vec())),
                ];
                assert!(found == expected, "{text:.30}");
            }
        }
    }

    #[test]
    fn a_medium_that_breaks_the_limit_leaves_its_room_to_the_others() {
        let answer = json!({ "Response": {
            "BestFrame": { "BestFrame": base64(2, 1000), "BestFrames": [base64(4, 3 * PIECE_BYTES), base64(6, 2000), base64(8, 5)] },
        } })
        .to_string();
        let limit_bytes = 3000 + PIECE_BYTES as u64;
        let (found, _) = take_out_up_to(limit_bytes, answer.as_bytes(), &[1000]).unwrap();
        assert!(
            found
                == [
                    (BestFrame, 0, None, Kept(medium(2, 1000))),
                    (BestFrame, 1, None, Unkept("too_large", None)),
                    (BestFrame, 2, None, Kept(medium(6, 2000))),
                    (BestFrame, 3, None, Kept(medium(8, 5))),
                ]
        );
        let (found, _) = take_out_up_to(999, answer.as_bytes(), &[1000]).unwrap();
        assert_eq!(found[0].3, Unkept("too_large", Some(base64(2, 1000))));
        assert_eq!(found[3].3, Kept(medium(8, 5)));
    }

    #[test]
    fn more_media_than_any_verification_has_are_not_kept() {
        let frames = vec![base64(2, 5); MAX_MEDIA as usize + 7];
        let answer = json!({ "Response": { "BestFrame": { "BestFrames": frames } } }).to_string();
        let (found, _) = take_out(answer.as_bytes(), &[1000]).unwrap();
        assert_eq!(found.len(), MAX_MEDIA as usize + 1, "the first that is too many is told");
        let kept = found.iter().filter(|(.., content)| *content == Kept(medium(2, 5))).count();
        assert_eq!(kept, MAX_MEDIA as usize);
        assert!(matches!(&found.last().unwrap().3, Unkept("too_large", _)));
    }

    #[test]
    fn one_medium_and_a_list_of_them_are_taken_for_each_other() {
        let answer = r#"{"Response":{"BestFrame":{"BestFrame":["/9j/AAAA","/9j/AAAB"],"BestFrames":"/9j/AAAC"}}}"#;
        let (found, rest) = take_out(answer.as_bytes(), &[3]).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(rest, br#"{"Response":{"BestFrame":{"BestFrame":["",""],"BestFrames":""}}}"#);
    }

    #[test]
    fn malformed_answers_are_refused() {
        for (answer, expected) in [
            (r#"["QUJD"]"#, "another type"),
            (r#""QUJD""#, "another type"),
            ("", "cut off"),
            ("\"", "cut off"),
            ("<html>502</html>", "not JSON"),
            (r#"{"Response":{}}}"#, "not JSON"),
            (r#"{"Response":{}]"#, "not JSON"),
            (r#"{"Response":{}} {"Response":{}}"#, "not JSON"),
            (r#"{"Response":{"BestFrame":{"BestFrame" "QUJD"}}}"#, "not JSON"),
            (r#"{"Response":{"BestFrame":{"BestFrame":"QUJD""QUJD"}}}"#, "not JSON"),
            (r#"{"Response":{"BestFrame":{"BestFrames":["QUJD","QUJD",]}}}"#, "not JSON"),
            (r#"{"Response":{"BestFrame":{"BestFrame":"QUJD",}}}"#, "not JSON"),
            (r#"{"Response":{"BestFrame":{"Best\xFrame":"QUJD"}}}"#, "not JSON"),
            (r#"{"Response":{"New":"\x"}}"#, "not JSON"),
        ] {
            let text = error(answer);
            assert!(text.contains(expected) && !text.contains("QUJ"), "{answer}: {text}");
        }
    }

    #[test]
    fn a_cut_answer_is_refused_wherever_it_was_cut() {
        let answer =
            r#"{"Response":{"BestFrame":{"BestFrame":"QUJ\u0044","BestFrames":["QUI="]},"RequestId":"r\"\\"}}"#;
        assert!(read(answer.as_bytes(), &[1]).is_ok());
        for length in 0..answer.len() {
            let cut = read(&answer.as_bytes()[..length], &[5]).err().unwrap_or_else(|| panic!("{length}"));
            assert!(cut.to_string().contains("cut off"), "{length}: {cut}");
        }
    }

    #[test]
    fn nesting_and_sizes_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(take_out(nested(MAX_DEPTH).as_bytes(), &[7]).is_ok());
        assert_eq!(take_out(nested(MAX_DEPTH + 1).as_bytes(), &[7]), Err(MediaError::TooDeep));
        assert_eq!(take_out("{\"a\":".repeat(1_000_000).as_bytes(), &[7000]), Err(MediaError::TooDeep));

        let mut parser = MediaParser::new(u64::MAX);
        let spaces = vec![b' '; MAX_REST_BYTES];
        assert!(parser.feed(&spaces).is_ok());
        let too_large = |limit_bytes| Some(MediaError::TooLarge { limit_bytes });
        assert_eq!(parser.feed(b" ").err(), too_large(MAX_REST_BYTES));

        // Of what is not kept there is no end but that of the answer.
        let mut parser = MediaParser::new(1 << 20);
        parser.feed(br#"{"Response":{"BestFrame":{"BestFrame":"/9j/"#).unwrap();
        let base64 = vec![b'A'; 1 << 20];
        for _ in 0..255 {
            let events = parser.feed(&base64).unwrap();
            assert!(events.len() <= 18 && parser.rest.len() < 100);
        }
        assert_eq!(parser.feed(&base64).err(), too_large(MAX_BYTES));
    }

    #[test]
    fn a_sequence_id_that_is_none_is_not_handed_on() {
        for (seq, expected) in [("\"s\\u002d1\"", Some("s-1")), ("\"\"", None), ("null", None), ("7", None)] {
            let answer =
                format!(r#"{{"Response":{{"VideoData":{{"LivenessVideos":[{{"Seq":{seq},"Video":"QUJD"}}]}}}}}}"#);
            let (found, _) = take_out(answer.as_bytes(), &[1]).unwrap();
            assert_eq!(found[0].2.as_deref(), expected, "{seq}");
        }
        let long = "s".repeat(MAX_SEQ_BYTES + 1);
        let answer =
            format!(r#"{{"Response":{{"VideoData":{{"LivenessVideos":[{{"Seq":"{long}","Video":"QUJD"}}]}}}}}}"#);
        assert_eq!(take_out(answer.as_bytes(), &[1]).unwrap().0[0].2, None);
    }

    /// The media as serde reads them from the whole answer, for comparison.
    fn with_serde(answer: &[u8]) -> Vec<Content> {
        let body = read_answer::<Value>(answer).ok().unwrap().body;
        let single = ["/BestFrame/BestFrame", "/IdCardData/OcrFront"];
        let list = |path: &str| body.pointer(path).and_then(Value::as_array).into_iter().flatten();
        let strings = single.iter().filter_map(|path| body.pointer(path));
        let listed = list("/BestFrame/BestFrames");
        let filmed = list("/VideoData/LivenessVideos").filter_map(|video| video.get("Video"));
        let all = strings.chain(listed).chain(filmed).filter_map(Value::as_str).filter(|base64| !base64.is_empty());
        all.map(|base64| Kept(BASE64_STANDARD.decode(base64).unwrap())).collect()
    }

    fn small_answer(front: &[u8], video: &[u8]) -> Vec<u8> {
        let front = [b"\xFF\xD8\xFF", front].concat();
        let video = [b"\0\0\0\x20ftypisom", video].concat();
        json!({ "Response": {
            "BestFrame": { "BestFrame": "/9j/QUI=", "BestFrames": ["/9j/QUJD", ""] },
            "IdCardData": { "OcrFront": BASE64_STANDARD.encode(front), "WarnInfos": [1] },
            "VideoData": { "LivenessVideos": [{ "Seq": "s-1", "Video": BASE64_STANDARD.encode(video) }] },
            "Text": { "ErrCode": 0, "Name": "\\\"" },
            "RequestId": "r",
        } })
        .to_string()
        .replace('/', "\\/")
        .replace('+', "\\u002b")
        .into_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn splitting_never_matters(
            front in prop::collection::vec(any::<u8>(), 0..200),
            video in prop::collection::vec(any::<u8>(), 0..200),
            sizes in prop::collection::vec(1usize..100, 1..20),
        ) {
            let answer = small_answer(&front, &video);
            let whole = take_out(&answer, &[usize::MAX]).unwrap();
            prop_assert!(take_out(&answer, &sizes).unwrap() == whole);
            let mut found: Vec<_> = whole.0.into_iter().map(|(_, _, _, content)| content).collect();
            let mut expected = with_serde(&answer);
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }

        /// One broken character costs the medium that it is in, or the answer, and never another
        /// medium.
        #[test]
        fn a_character_that_is_altered_costs_no_other_medium(
            at: prop::sample::Index,
            byte in prop::sample::select(b"\\:A=/u0* \xFF.".to_vec()),
            insert: bool,
            sizes in prop::collection::vec(1usize..50, 1..5),
        ) {
            let mut answer = small_answer(b"front", b"a video");
            let at = at.index(answer.len());
            if insert { answer.insert(at, byte) } else { answer[at] = byte }
            let Ok(whole) = take_out(&answer, &[usize::MAX]) else { return Ok(()) };
            prop_assert!(take_out(&answer, &sizes).as_ref() == Ok(&whole));
            if read_answer::<Value>(&whole.1).is_ok() && whole.0.len() == 4 {
                let untouched = take_out(&small_answer(b"front", b"a video"), &[usize::MAX]).unwrap().0;
                let same = whole.0.iter().filter(|found| untouched.contains(found)).count();
                prop_assert!(same >= 3, "{same}");
            }
        }

        #[test]
        fn no_input_makes_it_panic(
            input in prop::collection::vec(prop::sample::select(b"\"\\{}[],:A=u0".to_vec()), 0..200)
        ) {
            let _any_result = take_out(&input, &[3]);
            let prefixed = [br#"{"Response":{"BestFrame":{"BestFrames":["#.as_slice(), &input].concat();
            let _any_result = take_out(&prefixed, &[3]);
        }
    }
}
