//! One medium of an answer: a JSON string that should be base64, decoded while it arrives.
//!
//! Line breaks, missing padding, the URL-safe alphabet and a `data:` prefix are accepted: they
//! leave no doubt about the content. What cannot be kept is read to its end all the same, a piece
//! at a time, so that it costs nothing else of the answer.

use super::decoder::{Decoder, NotBase64};
use crate::{
    domain::evidence::{MediaKind, NotKept, UnkeptMedium},
    tencent::terms::MediaEvent,
};
use std::mem;

/// The longest text that is told of a medium that is not kept: room for a signed URL.
const MAX_TEXT_BYTES: usize = 4096;
/// Stands for a character that base64 does not have.
const NEVER_BASE64: u8 = 0;

/// A medium on its way.
pub(super) struct Medium {
    kind: MediaKind,
    index: u32,
    seq: Option<String>,
    escape: Escape,
    decoder: Decoder,
    progress: Progress,
    /// The string as it stands in the JSON, up to one byte more than a text that is told.
    raw: Vec<u8>,
}

enum Progress {
    /// Nothing was handed out.
    Waiting,
    /// So much was handed out.
    Begun { bytes: u64 },
    /// It cannot be kept, which is told at its end: by then it is known whether it is a reference.
    Unkept(NotKept),
    /// There is nothing more to tell of it.
    Told,
}

#[derive(Clone, Copy)]
enum Escape {
    None,
    Begun,
    Unicode { digits: u8, value: u32 },
}

impl Medium {
    pub(super) fn new(kind: MediaKind, index: u32, seq: Option<String>) -> Self {
        let (escape, progress) = (Escape::None, Progress::Waiting);
        Self { kind, index, seq, escape, decoder: Decoder::default(), progress, raw: Vec::new() }
    }

    /// One that is over a limit before it begins.
    pub(super) fn beyond_the_limit(kind: MediaKind, index: u32, is_first: bool) -> Self {
        let progress = if is_first { Progress::Unkept(NotKept::TooLarge) } else { Progress::Told };
        Self { progress, ..Self::new(kind, index, None) }
    }

    pub(super) fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Takes a piece up to the quote that ends the string. Gives what comes after it; None while
    /// the string goes on. `left_bytes`: how much may still be handed out of the whole answer.
    pub(super) fn take<'a>(
        &mut self,
        mut piece: &'a [u8],
        left_bytes: &mut u64,
        events: &mut Vec<MediaEvent>,
    ) -> Option<&'a [u8]> {
        while let Some((first, after_first)) = piece.split_first() {
            let (length, next) = match (self.escape, *first) {
                (Escape::None, b'"') => {
                    self.end(left_bytes, events);
                    return Some(after_first);
                }
                (Escape::None, b'\\') => (1, Escape::Begun),
                (Escape::None, _) => {
                    let length = piece.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(piece.len());
                    self.decode(&piece[..length], left_bytes, events);
                    (length, Escape::None)
                }
                (Escape::Begun, b'u') => (1, Escape::Unicode { digits: 0, value: 0 }),
                (Escape::Begun, letter) => {
                    self.decode(&[unescaped(letter)], left_bytes, events);
                    (1, Escape::None)
                }
                (Escape::Unicode { digits, value }, digit) => {
                    let value =
                        char::from(digit).to_digit(16).map_or(u32::MAX, |digit| value.saturating_mul(16) | digit);
                    if digits == 3 {
                        self.decode(&[u8::try_from(value).unwrap_or(NEVER_BASE64)], left_bytes, events);
                        (1, Escape::None)
                    } else {
                        (1, Escape::Unicode { digits: digits + 1, value })
                    }
                }
            };
            self.note(&piece[..length]);
            self.escape = next;
            piece = &piece[length..];
        }
        None
    }

    /// Whether there was a medium at all: an empty text is none.
    pub(super) fn was_there(&self) -> bool {
        !matches!(self.progress, Progress::Waiting) && !self.raw.is_empty()
    }

    fn note(&mut self, raw: &[u8]) {
        let room = (MAX_TEXT_BYTES + 1).saturating_sub(self.raw.len());
        self.raw.extend_from_slice(&raw[..room.min(raw.len())]);
    }

    fn decode(&mut self, mut chars: &[u8], left_bytes: &mut u64, events: &mut Vec<MediaEvent>) {
        while !chars.is_empty() && matches!(self.progress, Progress::Waiting | Progress::Begun { .. }) {
            match self.decoder.push(&mut chars) {
                Ok(Some(bytes)) => self.hand_out(bytes, left_bytes, events),
                Ok(None) => {}
                Err(NotBase64) => self.give_up(NotKept::NotBase64, left_bytes, events),
            }
        }
    }

    fn end(&mut self, left_bytes: &mut u64, events: &mut Vec<MediaEvent>) {
        if matches!(self.progress, Progress::Waiting | Progress::Begun { .. }) {
            match self.decoder.finish() {
                Ok(Some(bytes)) => self.hand_out(bytes, left_bytes, events),
                Ok(None) => {}
                Err(NotBase64) => self.give_up(NotKept::NotBase64, left_bytes, events),
            }
        }
        match self.progress {
            Progress::Begun { .. } => events.push(MediaEvent::End),
            Progress::Unkept(why) if self.was_there() => {
                let text = self.text();
                let is_reference = why != NotKept::TooLarge && text.as_deref().is_some_and(looks_like_reference);
                events.push(MediaEvent::Skipped(UnkeptMedium {
                    kind: self.kind,
                    position: self.index,
                    attempt_seq: self.seq.take(),
                    why: if is_reference { NotKept::Reference } else { why },
                    text,
                }));
            }
            Progress::Waiting | Progress::Unkept(_) | Progress::Told => {}
        }
    }

    fn hand_out(&mut self, bytes: Vec<u8>, left_bytes: &mut u64, events: &mut Vec<MediaEvent>) {
        let length = bytes.len() as u64;
        let before = match self.progress {
            Progress::Begun { bytes } => bytes,
            _ if self.kind.fits(&bytes) => 0,
            _ => return self.give_up(NotKept::WrongContent, left_bytes, events),
        };
        if length > *left_bytes {
            return self.give_up(NotKept::TooLarge, left_bytes, events);
        }
        if matches!(self.progress, Progress::Waiting) {
            events.push(MediaEvent::Start { kind: self.kind, index: self.index, seq: self.seq.take() });
        }
        *left_bytes -= length;
        self.progress = Progress::Begun { bytes: before + length };
        events.push(MediaEvent::Bytes(bytes.into()));
    }

    fn give_up(&mut self, why: NotKept, left_bytes: &mut u64, events: &mut Vec<MediaEvent>) {
        self.decoder = Decoder::default();
        self.progress = match mem::replace(&mut self.progress, Progress::Told) {
            Progress::Begun { bytes } => {
                // A medium that is not kept leaves its room to the others.
                *left_bytes += bytes;
                events.push(MediaEvent::Broken(why));
                Progress::Told
            }
            _ => Progress::Unkept(why),
        };
    }

    /// The whole string, unless it is too long or no JSON.
    fn text(&self) -> Option<String> {
        let json = [b"\"", self.raw.as_slice(), b"\""].concat();
        serde_json::from_slice(&json).ok().filter(|_| self.raw.len() <= MAX_TEXT_BYTES)
    }
}

/// The base64 character that an escape stands for, if it is one.
fn unescaped(letter: u8) -> u8 {
    match letter {
        b'/' => b'/',
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => NEVER_BASE64,
    }
}

/// Whether a text that is no medium is a URL, or a path in a storage.
fn looks_like_reference(text: &str) -> bool {
    let text = text.trim();
    if text.contains(|char: char| char.is_whitespace() || char.is_control()) || text.starts_with("data:") {
        return false;
    }
    let has_extension = text.rsplit_once('.').is_some_and(|(name, extension)| {
        !name.is_empty() && (2..=4).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    let is_path = match text.strip_prefix('/') {
        Some(path) => path.contains('/'),
        None => text.contains('/') && text.contains([':', '.', '%', '-', '_']),
    };
    has_extension || is_path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_what_is_merely_broken() {
        for reference in [
            "https://bucket.cos.ap-guangzhou.myqcloud.com/s.mp4?sign=a%2Fb",
            "cos://bucket-1250000000/faceid/2026/s.mp4",
            "/faceid/20261126/0a1b2c3d",
            "faceid/2026-11-26/0a1b2c3d",
            "s.mp4",
            " /人脸/视频.mp4 ",
        ] {
            assert!(looks_like_reference(reference), "{reference}");
        }
        for broken in
            ["", "null", "QUJD*", "not here/yet", "<Error>x</Error> y", "data:text/plain,a/b.c", "QUJD/RUZH", "."]
        {
            assert!(!looks_like_reference(broken), "{broken}");
        }
    }
}
