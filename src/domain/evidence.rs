//! Evidence: the photos, videos and sounds of a verification.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// Limit on all evidence of a verification: 64 MiB of base64.
pub const MAX_EVIDENCE_BYTES: u64 = 48 * 1024 * 1024;

/// Subject of a medium.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MediaKind {
    /// The face, as it was compared.
    BestFrame,
    IdCardFront,
    IdCardBack,
    /// The card cut out of its photo.
    IdCardFrontProcessed,
    IdCardBackProcessed,
    /// The portrait cut out of the card.
    IdCardAvatar,
    LivenessVideo,
    IntentionVideo,
    /// The face in the intention step.
    IntentionPhoto,
    IntentionAudio,
    IntentionScreenshot,
}

impl MediaKind {
    /// The name that is stored.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The part of the evidence that it belongs to.
    pub fn part(self) -> EvidencePart {
        match self {
            Self::BestFrame => EvidencePart::BestFrame,
            Self::IdCardFront
            | Self::IdCardBack
            | Self::IdCardFrontProcessed
            | Self::IdCardBackProcessed
            | Self::IdCardAvatar => EvidencePart::IdCard,
            Self::LivenessVideo => EvidencePart::Video,
            Self::IntentionVideo | Self::IntentionPhoto | Self::IntentionAudio | Self::IntentionScreenshot => {
                EvidencePart::Intention
            }
        }
    }

    /// Whether content that begins with these bytes (a dozen is enough) can be what the kind shows.
    /// Sounds come in more formats than are known here, so any content passes for one.
    pub fn fits(self, first: &[u8]) -> bool {
        match self {
            Self::LivenessVideo | Self::IntentionVideo => sniff(first).starts_with("video/"),
            Self::IntentionAudio => true,
            Self::BestFrame
            | Self::IdCardFront
            | Self::IdCardBack
            | Self::IdCardFrontProcessed
            | Self::IdCardBackProcessed
            | Self::IdCardAvatar
            | Self::IntentionPhoto
            | Self::IntentionScreenshot => sniff(first).starts_with("image/"),
        }
    }
}

/// A part of the evidence: a flow keeps it or not as a whole, and the vendor gives it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum EvidencePart {
    BestFrame,
    IdCard,
    Video,
    Intention,
}

/// Why a medium that the vendor has was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantArray, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NotKept {
    /// A path or URL in a storage instead of the content.
    #[error("a reference instead of the content")]
    Reference,
    #[error("not base64")]
    NotBase64,
    /// With it, the evidence of the verification would be over its limits.
    #[error("over the limits on the evidence of a verification")]
    TooLarge,
    /// Not an image or a video where one belongs.
    #[error("not the kind of content that belongs there")]
    WrongContent,
}

impl NotKept {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A medium that the vendor has and that was not kept. Its text may be personal: no Debug.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UnkeptMedium {
    pub kind: MediaKind,
    /// Among those of its kind, from 0; kept ones count too.
    pub position: u32,
    /// The attempt that it is of, where the vendor said.
    pub attempt_seq: Option<String>,
    pub why: NotKept,
    /// What stood in its place, where that is short: of a reference the path or URL.
    pub text: Option<String>,
}

/// Content type of a JPEG photo.
pub const JPEG: &str = "image/jpeg";
/// Content type of a PNG photo.
pub const PNG: &str = "image/png";

/// The content type that the first bytes of a medium (a dozen is enough) give it; what anyone says
/// of it is not asked.
pub fn sniff(first: &[u8]) -> &'static str {
    match first {
        [0xFF, 0xD8, 0xFF, ..] => JPEG,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => PNG,
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => "image/bmp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', b'i', _, ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', b'1', ..] => "image/heic",
        [_, _, _, _, b'f', b't', b'y', b'p', b'q', b't', b' ', b' ', ..]
        | [_, _, _, _, b'm', b'o', b'o', b'v', ..]
        | [_, _, _, _, b'm', b'd', b'a', b't', ..]
        | [_, _, _, _, b'w', b'i', b'd', b'e', ..] => "video/quicktime",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "video/webm",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => "video/x-msvideo",
        [b'F', b'L', b'V', 1, ..] => "video/x-flv",
        [0, 0, 1, 0xBA, ..] => "video/mpeg",
        [0x47, ..] if first.get(188) == Some(&0x47) => "video/mp2t",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        [b'#', b'!', b'A', b'M', b'R', b'-', b'W', b'B', ..] => "audio/amr-wb",
        [b'#', b'!', b'A', b'M', b'R', ..] => "audio/amr",
        [b'I', b'D', b'3', ..] => "audio/mpeg",
        [0xFF, second, ..] if is_mp3_sync(*second) => "audio/mpeg",
        _ => "application/octet-stream",
    }
}

/// Eleven bits are set where a frame begins. The layer must not be 0, which is reserved in MP3 and
/// marks AAC, nor the version 1, which is reserved too.
fn is_mp3_sync(second: u8) -> bool {
    second & 0b1110_0000 == 0b1110_0000 && second & 0b0000_0110 != 0 && second & 0b0001_1000 != 0b0000_1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_that_reads_back() {
        for kind in MediaKind::VARIANTS {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        for unknown in ["", "Best_Frame", "best_frame ", "video"] {
            assert!(unknown.parse::<MediaKind>().is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_kind_is_sealed_under_the_name_that_its_row_has() {
        for kind in MediaKind::VARIANTS {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for why in NotKept::VARIANTS {
            assert_eq!(serde_json::to_value(why).unwrap(), why.name());
        }
    }

    #[test]
    fn a_picture_is_no_video_and_a_text_is_neither() {
        const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0";
        const MP4: &[u8] = b"\0\0\0\x18ftypisom";
        for (kind, fitting, wrong) in [
            (MediaKind::BestFrame, JPEG, MP4),
            (MediaKind::IdCardBackProcessed, b"RIFF\x24\0\0\0WEBPVP8 ", b"<Error><Code>NoSuchKey"),
            (MediaKind::LivenessVideo, MP4, JPEG),
            (MediaKind::IntentionVideo, b"\x1A\x45\xDF\xA3", b"null"),
        ] {
            assert!(kind.fits(fitting) && !kind.fits(wrong), "{}", kind.name());
        }
        assert!(MediaKind::IntentionAudio.fits(b"anything"));
        let transport_stream = [&[0x47][..], &[0; 187], &[0x47]].concat();
        assert!(MediaKind::LivenessVideo.fits(&transport_stream) && !MediaKind::LivenessVideo.fits(b"G"));
    }

    #[test]
    fn content_types_are_told_by_the_first_bytes() {
        for (first, expected) in [
            (&b"\xFF\xD8\xFF\xE0\0\x10JFIF"[..], "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"\0\0\0\x18ftypisom", "video/mp4"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"RIFF\x24\0\0\0ACON", "application/octet-stream"),
            (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
            (b"\0\0\0\x18ftypheic", "image/heic"),
            (b"#!AMR\n\x3c", "audio/amr"),
            (b"#!AMR-WB\n", "audio/amr-wb"),
            (b"ID3\x04\0", "audio/mpeg"),
            (b"\xFF\xFB\x90\x64", "audio/mpeg"),
            (b"\xFF\xF3\x40", "audio/mpeg"),
            (b"\xFF\xF1\x50\x80", "application/octet-stream"),
            (b"\xFF\xEB\x90", "application/octet-stream"),
            (b"\xFF", "application/octet-stream"),
            (b"\xFF\xD8", "application/octet-stream"),
            (b"GIF89a", "image/gif"),
            (b"GIF", "application/octet-stream"),
            (b"", "application/octet-stream"),
        ] {
            assert_eq!(sniff(first), expected, "{first:?}");
        }
    }
}
