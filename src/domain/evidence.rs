//! Evidence: the photos, videos and sounds of a verification.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// What a medium shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray)]
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
}

/// Content type of a JPEG photo.
pub const JPEG: &str = "image/jpeg";
/// Content type of a PNG photo.
pub const PNG: &str = "image/png";

/// The content type that the first bytes of a medium (a dozen is enough) give it; what anyone says of it is not asked.
pub fn sniff(first: &[u8]) -> &'static str {
    match first {
        [0xFF, 0xD8, 0xFF, ..] => JPEG,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => PNG,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        [b'#', b'!', b'A', b'M', b'R', b'-', b'W', b'B', ..] => "audio/amr-wb",
        [b'#', b'!', b'A', b'M', b'R', ..] => "audio/amr",
        [b'I', b'D', b'3', ..] => "audio/mpeg",
        [0xFF, second, ..] if is_mp3_sync(*second) => "audio/mpeg",
        _ => "application/octet-stream",
    }
}

/// Eleven bits are set where a frame begins. The layer must not be 0, which is reserved in MP3 and marks AAC, nor the
/// version 1, which is reserved too.
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
    fn content_types_are_told_by_the_first_bytes() {
        for (first, expected) in [
            (&b"\xFF\xD8\xFF\xE0\0\x10JFIF"[..], "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"\0\0\0\x18ftypisom", "video/mp4"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"RIFF\x24\0\0\0AVI LIST", "application/octet-stream"),
            (b"#!AMR\n\x3c", "audio/amr"),
            (b"#!AMR-WB\n", "audio/amr-wb"),
            (b"ID3\x04\0", "audio/mpeg"),
            (b"\xFF\xFB\x90\x64", "audio/mpeg"),
            (b"\xFF\xF3\x40", "audio/mpeg"),
            (b"\xFF\xF1\x50\x80", "application/octet-stream"),
            (b"\xFF\xEB\x90", "application/octet-stream"),
            (b"\xFF", "application/octet-stream"),
            (b"\xFF\xD8", "application/octet-stream"),
            (b"GIF89a", "application/octet-stream"),
            (b"", "application/octet-stream"),
        ] {
            assert_eq!(sniff(first), expected, "{first:?}");
        }
    }
}
