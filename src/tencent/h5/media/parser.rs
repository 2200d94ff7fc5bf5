//! Decodes the media of an answer that arrives in pieces.
//!
//! [`MediaParser`] decodes the base64 in the places of [`ANSWER`] as it comes and keeps the rest for serde, with an empty
//! string in the place of each medium. It follows strings and brackets only, and leaves everything else to serde: what
//! is kept is JSON if and only if the answer was, so nothing that came out counts before serde has read the rest.

use super::shape::{
    ANSWER,
    Shape::{self, List, Medium, Object},
};
use crate::{
    domain::evidence::MediaKind,
    tencent::{client::MAX_ANSWER_BYTES, error::ErrorKind, terms::MediaEvent},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::mem;
use strum::VariantArray;

/// The longest answer that is read.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The longest answer without its media: as of a call that asks for text.
const MAX_REST_BYTES: usize = MAX_ANSWER_BYTES;
/// As deep as serde_json reads.
const MAX_DEPTH: usize = 128;
/// The vendor's sequence ids have 36 characters; a longer one is none.
const MAX_SEQ_BYTES: usize = 128;
/// The base64 that is decoded at a time; makes pieces of 48 KiB.
const BLOCK_CHARS: usize = 64 * 1024;

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
    #[error("{0} is there twice")]
    Duplicate(&'static str),
    #[error("the {} is not base64", .0.name())]
    NotBase64(MediaKind),
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
    /// Base64 that is not decoded yet. One block is held back, because only the last may have padding.
    block: Vec<u8>,
    /// How many media of each kind there were.
    counts: [u32; MediaKind::VARIANTS.len()],
}

enum State {
    /// Not in a string.
    Between,
    /// In a string of the rest, which begins at `start` there.
    Text { start: usize, role: Role, escaped: bool },
    /// In a medium.
    Medium { kind: MediaKind, has_begun: bool, escape: Escape },
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Key,
    Seq,
    Other,
}

#[derive(Clone, Copy)]
enum Escape {
    None,
    Begun,
    Unicode { digits: u8, value: u32 },
}

struct Container {
    shape: Shape,
    is_object: bool,
    /// Whether the next string is a key.
    at_key: bool,
    /// What the value of the last key is.
    value: Shape,
    /// A bit for each field of the shape that was there.
    seen: u32,
    seq: Option<String>,
}

impl MediaParser {
    pub(super) fn new() -> Self {
        Self {
            received: 0,
            state: State::Between,
            open: Vec::new(),
            whole: ANSWER,
            rest: Vec::new(),
            block: Vec::new(),
            counts: [0; MediaKind::VARIANTS.len()],
        }
    }

    /// Takes the next piece and gives what came out of it, up to its size.
    ///
    /// # Errors
    /// When the answer is over a limit, or its media are not where or what they should be. Then all is void, and what is fed
    /// after it has no meaning.
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
                State::Medium { .. } => self.read_medium(piece, &mut events)?,
            };
        }
        Ok(events)
    }

    /// Ends the answer, and gives what was in it besides the media. Whether that is JSON is for the reader to find out.
    ///
    /// # Errors
    /// When the answer is not at its end.
    pub(super) fn finish(self) -> Result<Vec<u8>, MediaError> {
        let is_between = matches!(self.state, State::Between);
        if is_between && self.open.is_empty() { Ok(self.rest) } else { Err(MediaError::Cut) }
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
            (shape @ Object(_), true) | (shape @ List(_), false) => shape,
            _ => Shape::Other,
        };
        self.open.push(Container { shape, is_object, at_key: is_object, value: Shape::Other, seen: 0, seq: None });
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
            Some(container) => container.value,
        }
    }

    fn begin_string(&mut self) -> Result<(), MediaError> {
        let is_key = self.open.last().is_some_and(|container| container.at_key);
        let role = match if is_key { Shape::Other } else { self.next_shape() } {
            Medium(kind) => {
                self.keep(b"\"\"")?;
                self.state = State::Medium { kind, has_begun: false, escape: Escape::None };
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
                    if let Some(at) = fields.iter().position(|(name, _)| *name == key) {
                        let (name, value) = fields[at];
                        if container.seen & (1 << at) != 0 {
                            return Err(MediaError::Duplicate(name));
                        }
                        container.seen |= 1 << at;
                        container.value = value;
                    }
                }
            }
            Role::Seq => container.seq = Some(read()?).filter(|seq| (1..=MAX_SEQ_BYTES).contains(&seq.len())),
            Role::Other => {}
        }
        Ok(())
    }

    fn read_medium<'a>(&mut self, piece: &'a [u8], events: &mut Vec<MediaEvent>) -> Result<&'a [u8], MediaError> {
        let State::Medium { kind, escape, .. } = self.state else { return Ok(piece) };
        let not_base64 = MediaError::NotBase64(kind);
        let Some((first, after_first)) = piece.split_first() else { return Ok(piece) };
        let (next, after) = match (escape, *first) {
            (Escape::None, b'"') => {
                self.end_medium(events)?;
                return Ok(after_first);
            }
            (Escape::None, b'\\') => (Escape::Begun, after_first),
            (Escape::None, _) => {
                let length = piece.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(piece.len());
                let (base64, after) = piece.split_at(length);
                self.take_base64(base64, events)?;
                (Escape::None, after)
            }
            (Escape::Begun, b'/') => {
                self.take_base64(b"/", events)?;
                (Escape::None, after_first)
            }
            (Escape::Begun, b'u') => (Escape::Unicode { digits: 0, value: 0 }, after_first),
            // The other escapes stand for characters that base64 does not have.
            (Escape::Begun, _) => return Err(not_base64),
            (Escape::Unicode { digits, value }, digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(MediaError::NotJson)?;
                let value = value * 16 + digit;
                if digits == 3 {
                    let char = u8::try_from(value).map_err(|_| not_base64)?;
                    self.take_base64(&[char], events)?;
                    (Escape::None, after_first)
                } else {
                    (Escape::Unicode { digits: digits + 1, value }, after_first)
                }
            }
        };
        if let State::Medium { escape, .. } = &mut self.state {
            *escape = next;
        }
        Ok(after)
    }

    fn take_base64(&mut self, mut base64: &[u8], events: &mut Vec<MediaEvent>) -> Result<(), MediaError> {
        while !base64.is_empty() {
            if self.block.len() == BLOCK_CHARS {
                self.decode_block(false, events)?;
            }
            let room = BLOCK_CHARS - self.block.len();
            let (fitting, later) = base64.split_at(room.min(base64.len()));
            self.block.extend_from_slice(fitting);
            base64 = later;
        }
        Ok(())
    }

    fn decode_block(&mut self, is_last: bool, events: &mut Vec<MediaEvent>) -> Result<(), MediaError> {
        let State::Medium { kind, has_begun, .. } = &mut self.state else { return Ok(()) };
        let is_padded = self.block.last() == Some(&b'=');
        let decoded = BASE64_STANDARD.decode(&self.block).ok().filter(|_| is_last || !is_padded);
        let bytes = decoded.ok_or(MediaError::NotBase64(*kind))?;
        self.block.clear();
        if !mem::replace(has_begun, true) {
            let index = self.counts[*kind as usize];
            self.counts[*kind as usize] += 1;
            let seq = self.open.last().and_then(|container| container.seq.clone());
            events.push(MediaEvent::Start { kind: *kind, index, seq });
        }
        events.push(MediaEvent::Bytes(bytes.into()));
        Ok(())
    }

    fn end_medium(&mut self, events: &mut Vec<MediaEvent>) -> Result<(), MediaError> {
        // Empty only when the whole string is: a block is decoded when there is more.
        if !self.block.is_empty() {
            self.decode_block(true, events)?;
            events.push(MediaEvent::End);
        }
        self.state = State::Between;
        Ok(())
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
    use super::*;
    use crate::{
        domain::evidence::MediaKind::*,
        tencent::answer::{Unpacked, read_answer},
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    type Found = (MediaKind, u32, Option<String>, Vec<u8>);

    const PIECE_BYTES: usize = BLOCK_CHARS / 4 * 3;

    /// Feeds an answer in pieces of these sizes, over and over; checks the order of events and the sizes of what comes out.
    fn take_out(answer: &[u8], sizes: &[usize]) -> Result<(Vec<Found>, Vec<u8>), MediaError> {
        let mut parser = MediaParser::new();
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
                        found.push((kind, index, seq, Vec::new()));
                    }
                    MediaEvent::Bytes(bytes) => {
                        assert!(is_open && last_length == PIECE_BYTES && (1..=PIECE_BYTES).contains(&bytes.len()));
                        last_length = bytes.len();
                        found.last_mut().unwrap().3.extend_from_slice(&bytes);
                    }
                    MediaEvent::End => assert!(mem::replace(&mut is_open, false)),
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

    fn medium(seed: u8, length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 253) as u8 ^ seed).collect()
    }

    fn base64(seed: u8, length: usize) -> String {
        BASE64_STANDARD.encode(medium(seed, length))
    }

    /// Every place that a medium can have.
    fn full_answer() -> String {
        json!({ "Response": {
            "Text": { "ErrCode": 0, "Name": "张\"三\\", "LivenessDetail": [{ "Seq": "s-1", "Video": "QUJD" }] },
            "BestFrame": { "BestFrame": base64(1, 70_000), "BestFrames": [base64(2, 1), "", base64(3, 2)], "New": ["QUJD"] },
            "IdCardData": {
                "OcrFront": base64(4, 3), "OcrBack": base64(5, PIECE_BYTES), "ProcessedFrontImage": base64(6, PIECE_BYTES + 1),
                "ProcessedBackImage": base64(7, 5), "Avatar": base64(8, 2 * PIECE_BYTES), "WarnInfos": [-9102, -9103],
                "BackWarnInfos": null,
            },
            "VideoData": {
                "LivenessVideo": base64(9, 200_000),
                "LivenessVideos": [{ "Seq": "s-1", "Video": base64(10, 30) }, { "Video": base64(11, 31) }, { "Seq": "s-3" }],
            },
            "IntentionVerifyData": {
                "IntentionVerifyVideo": base64(12, 40), "AsrResult": "同意", "ErrorCode": 0,
                "IntentionVerifyBestFrame": base64(13, 41), "IntentionVerifyAudio": base64(14, 42),
            },
            "IntentionQuestionResult": {
                "Video": base64(15, 50), "ScreenShot": [base64(16, 51)], "Audios": [base64(17, 52), base64(18, 53)],
            },
            "IntentionActionResult": { "Details": [
                { "Video": base64(19, 60), "ScreenShot": [base64(20, 61), base64(21, 62)] },
                { "Video": base64(22, 63), "ScreenShot": null },
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
        let seq = |seq: &str| Some(seq.to_owned());
        let mut expected = vec![
            (BestFrame, 0, None, medium(1, 70_000)),
            (BestFrame, 1, None, medium(2, 1)),
            (BestFrame, 2, None, medium(3, 2)),
            (IdCardFront, 0, None, medium(4, 3)),
            (IdCardBack, 0, None, medium(5, PIECE_BYTES)),
            (IdCardFrontProcessed, 0, None, medium(6, PIECE_BYTES + 1)),
            (IdCardBackProcessed, 0, None, medium(7, 5)),
            (IdCardAvatar, 0, None, medium(8, 2 * PIECE_BYTES)),
            (LivenessVideo, 0, None, medium(9, 200_000)),
            (LivenessVideo, 1, seq("s-1"), medium(10, 30)),
            (LivenessVideo, 2, None, medium(11, 31)),
            // serde_json writes the fields in the order of the alphabet: the nods come before the questions.
            (IntentionVideo, 0, None, medium(19, 60)),
            (IntentionVideo, 1, None, medium(22, 63)),
            (IntentionVideo, 2, None, medium(15, 50)),
            (IntentionVideo, 3, None, medium(12, 40)),
            (IntentionPhoto, 0, None, medium(13, 41)),
            (IntentionAudio, 0, None, medium(17, 52)),
            (IntentionAudio, 1, None, medium(18, 53)),
            (IntentionAudio, 2, None, medium(14, 42)),
            (IntentionScreenshot, 0, None, medium(20, 61)),
            (IntentionScreenshot, 1, None, medium(21, 62)),
            (IntentionScreenshot, 2, None, medium(16, 51)),
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
        assert_eq!(videos.len(), 3);
        assert_eq!((&videos[2]["Seq"], &videos[2]["Video"]), (&json!("s-3"), &Value::Null));
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
        let answer = r#" { "Response" :{"Best\u0046rame": {"BestFrame" : "\/\u002f\u002B\u0041QQ\u003D\u003d" } } } "#;
        let (found, _) = read(answer.as_bytes(), &[1]).ok().unwrap();
        assert!(found == [(BestFrame, 0, None, BASE64_STANDARD.decode("//+AQQ==").unwrap())]);
    }

    #[test]
    fn what_is_not_strict_base64_is_refused() {
        let long = base64(1, PIECE_BYTES);
        let padded_block = format!("{}Q==", &long[..long.len() - 3]);
        for base64 in [
            "QUI",
            "QUI==",
            "QQ",
            "Q",
            "====",
            "QQ=QQQ==",
            "QQ==QQ==",
            "QR==",
            "QUJ-",
            "QUJ_",
            "QUJD\\n",
            "QUJD ",
            "QUJD\\\"",
            "QUJD\\u000a",
            "\\u0451UJD",
            "\\uD83D\\uDE00",
            "QUJD\\b",
            "QUJD漢",
            "QUJD\u{1}",
            &format!("{padded_block}QUJD"),
            &format!("{long}Q"),
            &format!("{long}="),
        ] {
            let text = error(&format!(r#"{{"Response":{{"BestFrame":{{"BestFrame":"{base64}"}}}}}}"#));
            assert!(text.contains("the best_frame is not base64") && !text.contains("QUJ"), "{base64:.20}: {text}");
        }
        let (found, _) =
            read(format!(r#"{{"Response":{{"BestFrame":{{"BestFrame":"{padded_block}"}}}}}}"#).as_bytes(), &[1000])
                .ok()
                .unwrap();
        assert_eq!(found[0].3.len(), PIECE_BYTES - 2, "a last block may be full and padded");
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
            (r#"{"Response":{"BestFrame":{"BestFrame":"QUJ\u00g0"}}}"#, "not JSON"),
            (r#"{"Response":{"New":"\x"}}"#, "not JSON"),
            (r#"{"Response":{"BestFrame":{"BestFrame":"QUJD","BestFrame":"QUJD"}}}"#, "BestFrame is there twice"),
            (r#"{"Response":{"BestFrame":{},"Best\u0046rame":{}}}"#, "BestFrame is there twice"),
            (r#"{"Response":{"VideoData":{"LivenessVideos":[{"Seq":"1","Seq":"2"}]}}}"#, "Seq is there twice"),
            (r#"{"Response":{},"Response":{}}"#, "Response is there twice"),
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

        let mut parser = MediaParser::new();
        let spaces = vec![b' '; MAX_REST_BYTES];
        assert!(parser.feed(&spaces).is_ok());
        let too_large = |limit_bytes| Some(MediaError::TooLarge { limit_bytes });
        assert_eq!(parser.feed(b" ").err(), too_large(MAX_REST_BYTES));

        let mut parser = MediaParser::new();
        parser.feed(br#"{"Response":{"BestFrame":{"BestFrame":""#).unwrap();
        let base64 = vec![b'A'; 1 << 20];
        for _ in 0..63 {
            let events = parser.feed(&base64).unwrap();
            assert!(events.len() <= 18 && parser.rest.len() < 100 && parser.block.capacity() <= BLOCK_CHARS * 2);
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
    fn with_serde(answer: &[u8]) -> Option<Vec<Vec<u8>>> {
        let body = read_answer::<Value>(answer).ok()?.body;
        let single =
            ["/BestFrame/BestFrame", "/IdCardData/OcrFront", "/IdCardData/OcrBack", "/VideoData/LivenessVideo"];
        let list = |path: &str| body.pointer(path).and_then(Value::as_array).into_iter().flatten();
        let strings = single.iter().filter_map(|path| body.pointer(path));
        let listed = list("/BestFrame/BestFrames");
        let filmed = list("/VideoData/LivenessVideos").filter_map(|video| video.get("Video"));
        let all = strings.chain(listed).chain(filmed).filter_map(Value::as_str).filter(|base64| !base64.is_empty());
        all.map(|base64| BASE64_STANDARD.decode(base64).ok()).collect()
    }

    fn small_answer(front: &[u8], video: &[u8]) -> Vec<u8> {
        json!({ "Response": {
            "BestFrame": { "BestFrame": "QUI=", "BestFrames": ["QUJD", ""] },
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
            let mut found: Vec<_> = whole.0.into_iter().map(|(_, _, _, bytes)| bytes).collect();
            let mut expected = with_serde(&answer).unwrap();
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }

        /// An altered answer is read exactly when serde reads it whole, and then the same.
        #[test]
        fn an_altered_answer_is_read_as_serde_reads_it(
            at: prop::sample::Index,
            byte in prop::sample::select(b"\"\\{}[],:A=/u0 \xFFB".to_vec()),
            insert: bool,
            size in 1usize..50,
        ) {
            let mut answer = small_answer(b"front", b"a video");
            let at = at.index(answer.len());
            if insert { answer.insert(at, byte) } else { answer[at] = byte }
            let found = read(&answer, &[size]).ok().map(|(found, _)| {
                let mut found: Vec<_> = found.into_iter().map(|(_, _, _, bytes)| bytes).collect();
                found.sort();
                found
            });
            let expected = with_serde(&answer).map(|mut expected| {
                expected.sort();
                expected
            });
            prop_assert_eq!(found, expected);
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
