//! Base64 that arrives in pieces, in every spelling that leaves no doubt about what it stands for.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The characters that are decoded at a time; makes pieces of 48 KiB.
pub(super) const BLOCK_CHARS: usize = 64 * 1024;
const MAX_PREFIX_CHARS: usize = 256;
const MAX_PADDING: u8 = 2;

/// Padding is taken off before, so that it may be missing.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotBase64;

#[derive(Default)]
pub(super) struct Decoder {
    stage: Stage,
    /// Characters that are not decoded yet; in the prefix, the prefix.
    block: Vec<u8>,
    padding: u8,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Stage {
    /// It may begin with `data:`.
    #[default]
    Start,
    Prefix,
    Content,
}

impl Decoder {
    /// Takes characters until there is something to give, and gives it: always a whole block.
    /// Leaves the others in `chars`.
    pub(super) fn push(&mut self, chars: &mut &[u8]) -> Result<Option<Vec<u8>>, NotBase64> {
        while let Some((char, after)) = chars.split_first() {
            *chars = after;
            match (self.stage, *char) {
                (_, b' ' | b'\n' | b'\r' | b'\t') => {}
                (Stage::Prefix, char) => self.push_prefix(char)?,
                (_, b'=') => {
                    self.padding += 1;
                    if self.padding > MAX_PADDING {
                        return Err(NotBase64);
                    }
                }
                _ if self.padding > 0 => return Err(NotBase64),
                (_, char) => self.block.push(match char {
                    b'-' => b'+',
                    b'_' => b'/',
                    char => char,
                }),
            }
            if self.stage == Stage::Start && self.block.len() == b"data:".len() {
                let is_prefix = self.block.eq_ignore_ascii_case(b"data:");
                self.stage = if is_prefix { Stage::Prefix } else { Stage::Content };
            }
            if self.block.len() == BLOCK_CHARS {
                return self.decode().map(Some);
            }
        }
        Ok(None)
    }

    /// What is left at the end of the characters; None where nothing is.
    pub(super) fn finish(&mut self) -> Result<Option<Vec<u8>>, NotBase64> {
        if self.block.is_empty() && self.padding == 0 {
            return Ok(None);
        }
        if self.block.is_empty() || self.stage == Stage::Prefix {
            return Err(NotBase64);
        }
        self.decode().map(Some)
    }

    /// `data:image/jpeg;base64,`
    fn push_prefix(&mut self, char: u8) -> Result<(), NotBase64> {
        if char != b',' {
            self.block.push(char);
            return if self.block.len() > MAX_PREFIX_CHARS { Err(NotBase64) } else { Ok(()) };
        }
        if !self.block.to_ascii_lowercase().ends_with(b";base64") {
            return Err(NotBase64);
        }
        self.block.clear();
        self.stage = Stage::Content;
        Ok(())
    }

    fn decode(&mut self) -> Result<Vec<u8>, NotBase64> {
        let decoded = ENGINE.decode(&self.block).map_err(|_| NotBase64);
        self.block.clear();
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, size: usize) -> Result<Vec<u8>, NotBase64> {
        let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
        for mut chars in text.as_bytes().chunks(size) {
            while !chars.is_empty() {
                decoded.extend(decoder.push(&mut chars)?.unwrap_or_default());
            }
        }
        decoded.extend(decoder.finish()?.unwrap_or_default());
        Ok(decoded)
    }

    #[test]
    fn every_unambiguous_spelling_is_read() {
        for text in [
            "//79AQ==",
            "//79AQ",
            "//79AQ=",
            "__79AQ",
            "//79\r\nAQ==\n",
            " //79 AQ",
            "data:image/jpeg;base64,//79AQ==",
            "DATA:image/png;charset=utf-8;BASE64,__79\nAQ",
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(decode(text, size), Ok(vec![0xFF, 0xFE, 0xFD, 0x01]), "{text}");
            }
        }
        for nothing in ["", " \n", "data:image/jpeg;base64,"] {
            assert_eq!(decode(nothing, 2), Ok(vec![]), "{nothing:?}");
        }
    }

    #[test]
    fn what_may_stand_for_something_else_is_not() {
        for text in [
            "Q",
            "QUJDQ",
            "====",
            "=",
            "QQ===",
            "QQ==QQ==",
            "QUJD*",
            "QUJD\"",
            "QUJD\0",
            "QUJD漢",
            "data:",
            "data:image/jpeg,QUJD",
            "data:QUJD",
            "https://x",
        ] {
            assert_eq!(decode(text, 4), Err(NotBase64), "{text}");
        }
        let endless = format!("data:{};base64,QUJD", "x".repeat(MAX_PREFIX_CHARS));
        assert_eq!(decode(&endless, 7), Err(NotBase64));
    }

    #[test]
    fn memory_does_not_grow_with_the_text() {
        let mut decoder = Decoder::default();
        let text = vec![b'A'; 10 * BLOCK_CHARS + 1];
        let (mut chars, mut total) = (text.as_slice(), 0);
        while !chars.is_empty() {
            total += decoder.push(&mut chars).unwrap().map_or(0, |bytes| bytes.len());
            assert!(decoder.block.capacity() <= 2 * BLOCK_CHARS);
        }
        assert_eq!(total, 10 * BLOCK_CHARS / 4 * 3);
    }
}
