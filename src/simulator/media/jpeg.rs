//! Baseline JPEGs that any decoder opens, of a face and of both sides of an ID card.
//!
//! The encoder knows one trick only: every block of 8 × 8 pixels has one colour, so that a block is its DC coefficient
//! and an end-of-block code.

use super::mark;
use super::noise::Noise;

/// Where the mark begins, in bytes: after SOI, APP0 and the head of the comment.
pub(super) const MARK_AT: usize = 24;

/// A colour in JPEG's own space: luminance, blue and red difference.
type YCbCr = [u8; 3];

/// A picture as a function: the colour at a place, both coordinates from -1 to 1.
pub(super) type Picture = fn(x: f32, y: f32) -> YCbCr;

pub(super) fn face(x: f32, y: f32) -> YCbCr {
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

pub(super) fn card_front(x: f32, y: f32) -> YCbCr {
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

pub(super) fn card_back(x: f32, y: f32) -> YCbCr {
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
/// segments, which decoders skip. The first of them is a [`mark::BLANK`], at [`MARK_AT`].
pub(super) fn jpeg(width: u16, height: u16, picture: Picture, size: usize, seed: u32) -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8];
    segment(&mut file, 0xE0, b"JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00");
    segment(&mut file, 0xFE, &mark::BLANK);
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
