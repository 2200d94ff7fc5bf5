//! The photos, videos and sounds of a full answer: real files of realistic size, made once per process.
//!
//! The pictures are baseline JPEGs that any decoder opens. The encoder knows one trick only: every block of 8 × 8
//! pixels has one colour, so that a block is its DC coefficient and an end-of-block code.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How many best frames the vendor gives at most.
pub(super) const MAX_BEST_FRAMES: usize = 10;

const PHOTO_BYTES: usize = 200_000;
const AVATAR_BYTES: usize = 24_000;
const VIDEO_BYTES: usize = 1_500_000;

/// Every medium, in base64 as the answer carries it.
pub(super) struct Media {
    pub(super) card_front: String,
    pub(super) card_back: String,
    /// The card cut out of its photo.
    pub(super) cut_front: String,
    pub(super) cut_back: String,
    pub(super) avatar: String,
    /// The best one first.
    pub(super) best_frames: Vec<String>,
    pub(super) liveness_video: String,
    pub(super) intention_video: String,
    pub(super) intention_frame: String,
    pub(super) intention_audio: String,
}

/// The media of this process; they are the same for every token.
pub(super) fn media() -> &'static Media {
    static MEDIA: LazyLock<Media> = LazyLock::new(|| Media {
        card_front: encoded(jpeg(640, 400, card_front, PHOTO_BYTES, 1)),
        card_back: encoded(jpeg(640, 400, card_back, PHOTO_BYTES - 20_000, 2)),
        cut_front: encoded(jpeg(512, 320, card_front, PHOTO_BYTES / 2, 3)),
        cut_back: encoded(jpeg(512, 320, card_back, PHOTO_BYTES / 2, 4)),
        avatar: encoded(jpeg(160, 200, face, AVATAR_BYTES, 5)),
        best_frames: (0..MAX_BEST_FRAMES)
            .map(|n| encoded(jpeg(480, 640, face, PHOTO_BYTES - 4_000 * n, 10 + n as u32)))
            .collect(),
        liveness_video: encoded(mp4(VIDEO_BYTES, 30)),
        intention_video: encoded(mp4(VIDEO_BYTES / 2, 31)),
        intention_frame: encoded(jpeg(480, 640, face, PHOTO_BYTES, 32)),
        intention_audio: encoded(wav(2)),
    });
    &MEDIA
}

fn encoded(bytes: Vec<u8>) -> String {
    STANDARD.encode(bytes)
}

/// A colour in JPEG's own space: luminance, blue and red difference.
type YCbCr = [u8; 3];

/// A picture as a function: the colour at a place, both coordinates from -1 to 1.
type Picture = fn(x: f32, y: f32) -> YCbCr;

fn face(x: f32, y: f32) -> YCbCr {
    let in_ellipse = |cx: f32, cy: f32, rx: f32, ry: f32| ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) < 1.0;
    let (background, skin, dark, lips) = ([210, 132, 120], [180, 112, 148], [50, 128, 128], [130, 110, 175]);
    if in_ellipse(-0.22, -0.15, 0.09, 0.05) || in_ellipse(0.22, -0.15, 0.09, 0.05) {
        dark
    } else if in_ellipse(0.0, 0.32, 0.2, 0.05) {
        lips
    } else if in_ellipse(0.0, 0.0, 0.52, 0.62) {
        skin
    } else if in_ellipse(0.0, -0.2, 0.6, 0.65) {
        dark
    } else if in_ellipse(0.0, 1.2, 0.95, 0.6) {
        [90, 150, 115]
    } else {
        background
    }
}

fn card_front(x: f32, y: f32) -> YCbCr {
    let in_box = |left: f32, top: f32, right: f32, bottom: f32| x > left && x < right && y > top && y < bottom;
    if !in_box(-0.92, -0.88, 0.92, 0.88) {
        [70, 128, 128]
    } else if in_box(0.35, -0.6, 0.8, 0.4) {
        face((x - 0.575) / 0.225, (y + 0.1) / 0.5)
    } else if in_box(-0.8, 0.55, 0.7, 0.65) {
        [60, 128, 128]
    } else if x < 0.2 && x > -0.8 && y < 0.45 && (y * 10.0).rem_euclid(2.0) < 0.7 {
        [80, 130, 126]
    } else {
        [215, 138, 122]
    }
}

fn card_back(x: f32, y: f32) -> YCbCr {
    if x.abs() > 0.92 || y.abs() > 0.88 {
        [70, 128, 128]
    } else if ((x + 0.6) / 0.2).powi(2) + ((y + 0.45) / 0.32).powi(2) < 1.0 {
        [110, 100, 200]
    } else if x > -0.3 && x < 0.8 && ((y > -0.6 && y < -0.5) || (y > -0.3 && y < -0.2)) {
        [60, 128, 128]
    } else if x > -0.4 && x < 0.7 && y > 0.4 && (y * 10.0).rem_euclid(2.5) < 1.0 {
        [80, 128, 128]
    } else {
        [212, 126, 134]
    }
}

/// Draws `picture` on `width` × `height` pixels (multiples of 8) and pads the file to about `size` bytes with comment
/// segments, which decoders skip.
fn jpeg(width: u16, height: u16, picture: Picture, size: usize, seed: u32) -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8];
    segment(&mut file, 0xE0, b"JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00");
    let [h1, h0] = height.to_be_bytes();
    let [w1, w0] = width.to_be_bytes();
    // A DC step of 8 makes one unit of the coefficient one level of the colour.
    let quantization: Vec<u8> = std::iter::once(0).chain(std::iter::repeat_n(8, 64)).collect();
    segment(&mut file, 0xDB, &quantization);
    segment(&mut file, 0xC0, &[8, h1, h0, w1, w0, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    segment(&mut file, 0xC4, &[&[0x00][..], &DC_LENGTHS, &DC_SYMBOLS].concat());
    // One code of one bit: end of block. It is the only AC code that flat blocks need.
    segment(&mut file, 0xC4, &[0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    let scan = scan(width / 8, height / 8, picture);
    let mut noise = Noise(seed);
    let mut padding = size.saturating_sub(file.len() + scan.len() + 20);
    while padding > 4 {
        let length = (padding - 4).min(60_000);
        segment(&mut file, 0xFE, &noise.bytes(length));
        padding -= length + 4;
    }
    segment(&mut file, 0xDA, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
    file.extend(scan);
    file.extend([0xFF, 0xD9]);
    file
}

fn segment(file: &mut Vec<u8>, marker: u8, content: &[u8]) {
    // The callers' contents are all shorter than the 65,533 bytes that a segment holds.
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    file.extend([0xFF, marker]);
    file.extend(length.to_be_bytes());
    file.extend(content);
}

/// The luminance DC table of the JPEG standard's annex K: lengths of the codes, then the sizes they stand for.
const DC_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// The same table the other way round: code and its length, by size.
const DC_CODES: [(u32, u32); 9] =
    [(0b00, 2), (0b010, 3), (0b011, 3), (0b100, 3), (0b101, 3), (0b110, 3), (0b1110, 4), (0b11110, 5), (0b111110, 6)];

/// The entropy-coded data.
fn scan(columns: u16, rows: u16, picture: Picture) -> Vec<u8> {
    let place = |n: u16, of: u16| (f32::from(n) + 0.5) / f32::from(of) * 2.0 - 1.0;
    let mut bits = BitWriter::default();
    let mut last = [0; 3];
    for row in 0..rows {
        for column in 0..columns {
            let colour = picture(place(column, columns), place(row, rows));
            for (last, level) in last.iter_mut().zip(colour) {
                let level = i32::from(level) - 128;
                let difference = level - std::mem::replace(last, level);
                let size = 32 - difference.unsigned_abs().leading_zeros();
                let (code, length) = DC_CODES[size as usize];
                bits.write(code, length);
                // Negative differences are written as their one's complement.
                let amplitude = if difference < 0 { difference - 1 } else { difference };
                bits.write(amplitude as u32 & ((1 << size) - 1), size);
                bits.write(0, 1);
            }
        }
    }
    bits.finish()
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    pending: u32,
    pending_length: u32,
}

impl BitWriter {
    fn write(&mut self, bits: u32, length: u32) {
        self.pending = self.pending << length | bits;
        self.pending_length += length;
        while self.pending_length >= 8 {
            self.pending_length -= 8;
            let byte = (self.pending >> self.pending_length) as u8;
            self.bytes.push(byte);
            if byte == 0xFF {
                // A zero after it keeps it from being read as a marker.
                self.bytes.push(0);
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.write(0x7F, 7);
        self.bytes
    }
}

/// A file with the boxes of an MP4: type, a movie header, and media data that do not compress.
fn mp4(size: usize, seed: u32) -> Vec<u8> {
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
    file.extend(mp4_box(*b"moov", &mp4_box(*b"mvhd", &movie_header)));
    let media_length = size.saturating_sub(file.len() + 8);
    file.extend(mp4_box(*b"mdat", &Noise(seed).bytes(media_length)));
    file
}

fn mp4_box(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &kind, content].concat()
}

/// Silence, 16 kHz mono in 16 bits.
fn wav(seconds: u32) -> Vec<u8> {
    let data_length = seconds * 32_000;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data_length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(16_000_u32.to_le_bytes());
    file.extend(32_000_u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(data_length.to_le_bytes());
    file.resize(44 + data_length as usize, 0);
    file
}

/// Bytes that do not compress, the same for the same seed (xorshift).
struct Noise(u32);

impl Noise {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            (self.0 >> 16) as u8
        };
        (0..length).map(|_| next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The markers of a JPEG in their order; panics where the structure is broken.
    fn markers(file: &[u8]) -> Vec<u8> {
        assert_eq!(file[..2], [0xFF, 0xD8]);
        let (mut markers, mut at) = (vec![0xD8], 2);
        loop {
            assert_eq!(file[at], 0xFF, "a marker at {at}");
            let marker = file[at + 1];
            markers.push(marker);
            at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
            if marker == 0xDA {
                break;
            }
        }
        let end = (at..file.len() - 1).find(|&n| file[n] == 0xFF && file[n + 1] != 0).unwrap();
        assert_eq!(end, file.len() - 2, "the scan runs to the last marker");
        markers.push(file[end + 1]);
        markers
    }

    #[test]
    fn pictures_are_whole_jpegs_of_realistic_size() {
        let media = media();
        let frames = media.best_frames.iter();
        for photo in [&media.card_front, &media.card_back].into_iter().chain(frames) {
            let file = STANDARD.decode(photo).unwrap();
            assert!((150_000..=250_000).contains(&file.len()), "{}", file.len());
            let mut markers = markers(&file);
            markers.retain(|marker| *marker != 0xFE);
            // SOI, APP0, DQT, SOF0, DHT, DHT, SOS, EOI
            assert_eq!(markers, [0xD8, 0xE0, 0xDB, 0xC0, 0xC4, 0xC4, 0xDA, 0xD9]);
        }
        assert_ne!(media.best_frames[0], media.best_frames[1]);
    }

    /// Decodes the scan again, with the table's own codes, and expects the picture that was drawn.
    #[test]
    fn the_scan_decodes_to_the_picture() {
        let (columns, rows) = (60, 80);
        let mut bytes = scan(columns, rows, face).into_iter();
        let mut bits = std::iter::from_fn(|| {
            let byte = bytes.next()?;
            if byte == 0xFF {
                assert_eq!(bytes.next(), Some(0));
            }
            Some(byte)
        })
        .flat_map(|byte| (0..8).rev().map(move |n| u32::from(byte >> n & 1)));
        let mut read = |length: u32| (0..length).fold(0, |value, _| value << 1 | bits.next().unwrap());

        let mut last = [128_i32; 3];
        for n in 0..u32::from(columns) * u32::from(rows) {
            for level in &mut last {
                let (mut code, mut length) = (read(1), 1);
                let size = loop {
                    if let Some(size) = DC_CODES.iter().position(|known| *known == (code, length)) {
                        break size as u32;
                    }
                    (code, length) = (code << 1 | read(1), length + 1);
                };
                let amplitude = read(size) as i32;
                let negative = size > 0 && amplitude >> (size - 1) == 0;
                *level += if negative { amplitude - (1 << size) + 1 } else { amplitude };
                assert_eq!(read(1), 0, "end of block");
            }
            let place = |n: u32, of: u16| (n as f32 + 0.5) / f32::from(of) * 2.0 - 1.0;
            let drawn = face(place(n % u32::from(columns), columns), place(n / u32::from(columns), rows));
            assert_eq!(last, drawn.map(i32::from), "block {n}");
        }
    }

    #[test]
    fn a_video_is_a_chain_of_boxes() {
        let file = STANDARD.decode(&media().liveness_video).unwrap();
        assert_eq!(file.len(), VIDEO_BYTES);
        let (mut kinds, mut at) = (Vec::new(), 0);
        while at < file.len() {
            kinds.push(file[at + 4..at + 8].to_vec());
            at += u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        }
        assert_eq!((kinds, at), (vec![b"ftyp".to_vec(), b"moov".to_vec(), b"mdat".to_vec()], file.len()));
    }
}
