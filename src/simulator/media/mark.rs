//! Marks that tell the media of one verification from those of all others.

use aws_lc_rs::digest::{SHA256, digest};

/// In bytes. A multiple of three, so that in base64 it is text of its own.
pub(super) const LENGTH: usize = TOKEN_DIGITS + SEQ_DIGITS + NUMBER_DIGITS;

/// Placeholder in generated files; it is replaced whenever they are sent.
pub(super) const BLANK: [u8; LENGTH] = [b'-'; LENGTH];

const TOKEN_DIGITS: usize = 48;
const SEQ_DIGITS: usize = 24;
const NUMBER_DIGITS: usize = 3;

/// 75 ASCII characters that stand near the beginning of every medium: 48 hexadecimal digits of
/// SHA-256(BizToken), 24 of SHA-256(Seq), and three decimal ones that number the pieces which show
/// the same thing in the same attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulator) struct Mark([u8; LENGTH]);

impl Mark {
    pub(in crate::simulator) fn new(biz_token: &str, seq: &str, number: usize) -> Self {
        let hash = |text: &str| hex::encode(digest(&SHA256, text.as_bytes()));
        let (token, seq) = (hash(biz_token), hash(seq));
        let text = format!("{}{}{:03}", &token[..TOKEN_DIGITS], &seq[..SEQ_DIGITS], number % 1000);
        let mut mark = BLANK;
        mark.iter_mut().zip(text.bytes()).for_each(|(blank, digit)| *blank = digit);
        Self(mark)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
