//! The photos, videos and sounds of a full answer: real files of realistic size, made once per
//! process. What differs between verifications is the [`Mark`] near the beginning of each file,
//! which is put in when the file is sent.

mod film;
mod jpeg;
mod mark;
mod noise;

use std::iter;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use film::{MP4_MARK_AT, WAV_MARK_AT};
use jpeg::{CARD_BACK, CARD_FRONT, FACE};
pub(super) use mark::Mark;
use noise::Noise;

/// How many best frames the vendor gives at most.
pub(super) const MAX_BEST_FRAMES: usize = 10;
/// The smallest video, in bytes: all of its boxes and hardly any content.
pub(super) const MIN_VIDEO_BYTES: usize = 1_000;
/// The largest video, in bytes. It takes no memory here, but may in whoever reads it.
pub(super) const MAX_VIDEO_BYTES: usize = 1 << 30;

const PHOTO_BYTES: usize = 200_000;
const AVATAR_BYTES: usize = 24_000;
const VIDEO_BYTES: usize = 1_500_000;

/// Every medium that an answer can carry.
pub(super) struct Media {
    pub(super) card_front: Medium,
    pub(super) card_back: Medium,
    /// The card cut out of its photo.
    pub(super) cut_front: Medium,
    pub(super) cut_back: Medium,
    pub(super) avatar: Medium,
    /// The best one first.
    pub(super) best_frames: Vec<Medium>,
    pub(super) liveness_video: Medium,
    pub(super) intention_video: Medium,
    pub(super) intention_frame: Medium,
    pub(super) intention_audio: Medium,
}

/// The media of this process. They are the same for every token but for their marks.
pub(super) fn media() -> &'static Media {
    static MEDIA: LazyLock<Media> = LazyLock::new(|| Media {
        card_front: Medium::photo(CARD_FRONT, PHOTO_BYTES, 1),
        card_back: Medium::photo(CARD_BACK, PHOTO_BYTES - 20_000, 2),
        cut_front: Medium::photo(CARD_FRONT, PHOTO_BYTES / 2, 3),
        cut_back: Medium::photo(CARD_BACK, PHOTO_BYTES / 2, 4),
        avatar: Medium::photo(FACE, AVATAR_BYTES, 5),
        best_frames: (0..MAX_BEST_FRAMES)
            .map(|n| Medium::photo(FACE, PHOTO_BYTES - 4_000 * n, 10 + n as u32))
            .collect(),
        liveness_video: Medium::video(VIDEO_BYTES, 30),
        intention_video: Medium::video(VIDEO_BYTES / 2, 31),
        intention_frame: Medium::photo(FACE, PHOTO_BYTES, 32),
        intention_audio: Medium::of("audio/wav", &film::wav(2), WAV_MARK_AT),
    });
    &MEDIA
}

/// A liveness video of `size` bytes, from [`MIN_VIDEO_BYTES`] to [`MAX_VIDEO_BYTES`].
pub(super) fn liveness_video(size: usize) -> Medium {
    Medium::video(size, 30)
}

/// A file, in base64 as the answer carries it, but for its mark. Copies share its bytes.
#[derive(Debug, Clone)]
pub(super) struct Medium {
    content_type: &'static str,
    before_mark: Bytes,
    after_mark: Arc<[Bytes]>,
}

/// How much of a video's content differs, in bytes; then it begins again. A multiple of three, so
/// that it is base64 of its own, and more than what gzip looks back for repetitions.
const VIDEO_BLOCK: usize = 49_152;

impl Medium {
    /// A file whose blank mark begins at `mark_at`, a multiple of three.
    fn of(content_type: &'static str, file: &[u8], mark_at: usize) -> Self {
        let after_mark = encoded(&file[mark_at + mark::LENGTH..]);
        Self { content_type, before_mark: encoded(&file[..mark_at]), after_mark: Arc::new([after_mark]) }
    }

    fn photo(drawing: &[u8], size: usize, seed: u32) -> Self {
        Self::of("image/jpeg", &jpeg::jpeg(drawing, size, seed), jpeg::MARK_AT)
    }

    /// A video of `size` bytes, which must be enough for its boxes. One block of content serves it
    /// from end to end, so that it takes the same memory whatever its size.
    fn video(size: usize, seed: u32) -> Self {
        let content = Noise(seed).bytes(VIDEO_BLOCK);
        let mut opening = film::mp4_opening(size);
        opening.extend(&content[..(3 - opening.len() % 3) % 3]);
        let left = size.saturating_sub(opening.len());
        let (blocks, rest) = (left / VIDEO_BLOCK, left % VIDEO_BLOCK);
        let after_mark = iter::once(encoded(&opening[MP4_MARK_AT + mark::LENGTH..]))
            .chain(iter::repeat_n(encoded(&content), blocks))
            .chain(iter::once(encoded(&content[..rest])));
        let before_mark = encoded(&opening[..MP4_MARK_AT]);
        Self { content_type: "video/mp4", before_mark, after_mark: after_mark.collect() }
    }

    /// The file's base64, piece by piece, with `mark` in its place.
    pub(super) fn marked(&self, mark: Mark) -> impl Iterator<Item = Bytes> {
        let mark = encoded(mark.as_bytes());
        [self.before_mark.clone(), mark].into_iter().chain(self.after_mark.iter().cloned())
    }

    /// The same as a `writing` has it, fit to stand in a JSON string.
    pub(super) fn written(&self, mark: Mark, writing: Writing) -> Vec<Bytes> {
        let pieces = self.marked(mark);
        match writing {
            Writing::Plain => pieces.collect(),
            Writing::Lines => {
                let base64: Vec<u8> = pieces.flatten().collect();
                let lines: Vec<&[u8]> = base64.chunks(LINE_LENGTH).collect();
                vec![lines.join(&b"\\r\\n"[..]).into()]
            }
            Writing::Unpadded => pieces.map(unpadded).collect(),
            Writing::DataUrl => {
                let prefix = format!("data:{};base64,", self.content_type);
                iter::once(prefix.into()).chain(pieces).collect()
            }
        }
    }
}

/// How a medium's base64 is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    Plain,
    /// With line breaks, as in e-mail.
    Lines,
    Unpadded,
    /// With the prefix of a data URL.
    DataUrl,
}

/// Where the account keeps the videos of all attempts: the vendor's data storage service (document
/// 104229).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Storage {
    /// They are in the answer.
    #[default]
    Inline,
    /// In a bucket of the account; the answer has their places.
    Cos,
    /// The account lacks the service, and whoever asks for them is refused.
    Unauthorized,
}

/// As long are the lines of base64 in e-mail.
const LINE_LENGTH: usize = 76;

fn unpadded(base64: Bytes) -> Bytes {
    let length = base64.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    base64.slice(..length)
}

fn encoded(bytes: &[u8]) -> Bytes {
    STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(medium: &Medium, mark: Mark) -> Vec<u8> {
        STANDARD.decode(medium.marked(mark).collect::<Vec<_>>().concat()).unwrap()
    }

    fn mark() -> Mark {
        Mark::new("TOKEN", "seq", 7)
    }

    /// The markers of a JPEG in their order, up to its scan; panics where the structure is broken.
    fn markers(file: &[u8]) -> Vec<u8> {
        assert_eq!((&file[..2], &file[file.len() - 2..]), (&[0xFF, 0xD8][..], &[0xFF, 0xD9][..]));
        let (mut markers, mut at) = (Vec::new(), 2);
        while markers.last() != Some(&0xDA) {
            assert_eq!(file[at], 0xFF, "a marker at {at}");
            markers.push(file[at + 1]);
            at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        }
        markers
    }

    /// The kinds of an MP4's boxes in their order; panics where the chain does not end with the
    /// file.
    fn boxes(file: &[u8]) -> Vec<&str> {
        let (mut kinds, mut at) = (Vec::new(), 0);
        while at < file.len() {
            kinds.push(std::str::from_utf8(&file[at + 4..at + 8]).unwrap());
            at += u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        }
        assert_eq!(at, file.len());
        kinds
    }

    #[test]
    fn pictures_are_whole_jpegs_of_realistic_size() {
        let media = media();
        let frames = media.best_frames.iter();
        for photo in [&media.card_front, &media.card_back].into_iter().chain(frames) {
            let file = file(photo, mark());
            assert!((150_000..=250_000).contains(&file.len()), "{}", file.len());
            let mut markers = markers(&file);
            markers.dedup();
            // APP0, comments, DQT, SOF0 (baseline), DHT, SOS
            assert_eq!(markers, [0xE0, 0xFE, 0xDB, 0xC0, 0xC4, 0xDA]);
        }
        assert_ne!(file(&media.best_frames[0], mark()), file(&media.best_frames[1], mark()));
    }

    #[test]
    fn a_video_is_a_chain_of_boxes_of_exactly_the_size_asked_for() {
        assert_eq!(file(&media().liveness_video, mark()).len(), VIDEO_BYTES);
        let sizes = (MIN_VIDEO_BYTES..MIN_VIDEO_BYTES + 4).chain([VIDEO_BLOCK * 2 - 1, VIDEO_BLOCK * 3 + 1]);
        for size in sizes {
            let file = file(&liveness_video(size), mark());
            assert_eq!((file.len(), boxes(&file)), (size, vec!["ftyp", "free", "moov", "mdat"]));
        }
    }

    #[test]
    fn each_medium_carries_its_mark_in_place_of_the_blank_one() {
        let media = media();
        let text = String::from_utf8(mark().as_bytes().to_vec()).unwrap();
        // The beginning of SHA-256("TOKEN"), that of SHA-256("seq"), and the number.
        assert_eq!(text, "f98103e9217f099208569d295c1b276f1821348636c268c84f5260d71c7e332a2c94bf0b007");
        for medium in [&media.card_back, &media.avatar, &media.liveness_video, &media.intention_audio] {
            let file = file(medium, mark());
            let places = file.windows(mark::LENGTH).filter(|window| *window == mark().as_bytes()).count();
            let blanks = file.windows(mark::LENGTH).filter(|window| **window == mark::BLANK).count();
            assert_eq!((places, blanks), (1, 0));
        }
    }

    #[test]
    fn each_writing_is_of_the_same_file() {
        let photo = &media().best_frames[0];
        let written = |writing| String::from_utf8(photo.written(mark(), writing).concat()).unwrap();
        let plain = written(Writing::Plain);
        assert!(plain.ends_with('='), "a file whose padding can be left out");
        assert_eq!(written(Writing::Unpadded), plain.trim_end_matches('='));
        assert_eq!(written(Writing::DataUrl), format!("data:image/jpeg;base64,{plain}"));
        let lines = written(Writing::Lines);
        assert!(lines.split("\\r\\n").all(|line| line.len() <= LINE_LENGTH));
        assert_eq!(lines.replace("\\r\\n", ""), plain);
    }

    #[test]
    fn marks_tell_tokens_attempts_and_pieces_apart() {
        for other in [Mark::new("OTHER", "seq", 7), Mark::new("TOKEN", "other", 7), Mark::new("TOKEN", "seq", 8)] {
            assert_ne!(other, mark());
        }
    }
}
