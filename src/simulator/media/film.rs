//! Videos and sounds: files of the right structure, with nothing to see or to hear.

use super::mark;

/// Where the mark of an MP4 begins, in bytes: after the file type, the head of the free box and two
/// spaces.
pub(super) const MP4_MARK_AT: usize = 42;
/// Where the mark of a WAV begins, in bytes: after the format and the heads of the comment and one
/// space.
pub(super) const WAV_MARK_AT: usize = 57;

/// The boxes of an MP4 of `size` bytes, up to the media data that are still to come: file type, the
/// mark in a free box, a movie header.
pub(super) fn mp4_opening(size: usize) -> Vec<u8> {
    let mut movie_header = vec![0; 100];
    movie_header[12..16].copy_from_slice(&1000_u32.to_be_bytes()); // units per second
    movie_header[16..20].copy_from_slice(&6000_u32.to_be_bytes()); // six seconds
    movie_header[20..24].copy_from_slice(&0x0001_0000_u32.to_be_bytes()); // normal speed
    movie_header[24..26].copy_from_slice(&0x0100_u16.to_be_bytes()); // full volume
    for (at, one) in [(36, 0x0001_0000_u32), (52, 0x0001_0000), (68, 0x4000_0000)] {
        movie_header[at..at + 4].copy_from_slice(&one.to_be_bytes()); // the unit matrix
    }
    movie_header[96..100].copy_from_slice(&2_u32.to_be_bytes()); // next track

    let mut file = mp4_box(*b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41");
    file.extend(mp4_box(*b"free", &[b"  ", &mark::BLANK[..]].concat()));
    file.extend(mp4_box(*b"moov", &mp4_box(*b"mvhd", &movie_header)));
    let media_length = u32::try_from(size.saturating_sub(file.len())).unwrap_or(u32::MAX);
    file.extend(media_length.to_be_bytes());
    file.extend(b"mdat");
    file
}

fn mp4_box(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &kind, content].concat()
}

/// Silence, 16 kHz mono in 16 bits, with the mark as its comment.
pub(super) fn wav(seconds: usize) -> Vec<u8> {
    let mut format = b"\x01\0\x01\0".to_vec(); // PCM, one channel
    format.extend(16_000_u32.to_le_bytes()); // samples per second
    format.extend(32_000_u32.to_le_bytes()); // bytes per second
    format.extend(b"\x02\0\x10\0"); // bytes and bits per sample
    let comment = wav_chunk(*b"ICMT", &[b" ", &mark::BLANK[..]].concat());
    let chunks = [
        b"WAVE".to_vec(),
        wav_chunk(*b"fmt ", &format),
        wav_chunk(*b"LIST", &[b"INFO", &comment[..]].concat()),
        wav_chunk(*b"data", &vec![0; seconds * 32_000]),
    ];
    wav_chunk(*b"RIFF", &chunks.concat())
}

/// Contents of an odd length would need a byte of padding; there are none here.
fn wav_chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [&kind, &length.to_le_bytes()[..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_is_a_chain_of_chunks_that_fills_the_file() {
        let file = wav(2);
        let length = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((&file[..4], length(4), &file[8..12]), (&b"RIFF"[..], file.len() - 8, &b"WAVE"[..]));
        let (mut kinds, mut at) = (Vec::new(), 12);
        while at < file.len() {
            kinds.push(&file[at..at + 4]);
            at += 8 + length(at + 4);
        }
        assert_eq!((kinds, at), (vec![&b"fmt "[..], b"LIST", b"data"], file.len()));
    }
}
