//! Photos: small drawings, grown to a realistic size by comments, which decoders skip.

use super::mark;
use super::noise::Noise;

pub(super) const FACE: &[u8] = include_bytes!("face.jpg");
pub(super) const CARD_FRONT: &[u8] = include_bytes!("card_front.jpg");
pub(super) const CARD_BACK: &[u8] = include_bytes!("card_back.jpg");

/// Where the mark begins, in bytes: after SOI, APP0 and the head of the comment.
pub(super) const MARK_AT: usize = HEAD + 4;
/// SOI and a JFIF's APP0, with which each drawing begins.
const HEAD: usize = 20;
/// How much of a comment is used, in bytes; a segment holds 65,533.
const MAX_COMMENT: usize = 60_000;

/// `drawing` with comments up to about `size` bytes. The first of them is a [`mark::BLANK`], at
/// [`MARK_AT`].
pub(super) fn jpeg(drawing: &[u8], size: usize, seed: u32) -> Vec<u8> {
    let (head, rest) = drawing.split_at(HEAD);
    let mut file = head.to_vec();
    comment(&mut file, &mark::BLANK);
    let mut noise = Noise(seed);
    let mut padding = size.saturating_sub(file.len() + rest.len());
    while padding > 4 {
        let length = (padding - 4).min(MAX_COMMENT);
        comment(&mut file, &noise.bytes(length));
        padding -= length + 4;
    }
    file.extend(rest);
    file
}

fn comment(file: &mut Vec<u8>, content: &[u8]) {
    // No caller's content is longer than MAX_COMMENT.
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    file.extend([0xFF, 0xFE]);
    file.extend(length.to_be_bytes());
    file.extend(content);
}
