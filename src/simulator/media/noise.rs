//! Filler for files that must have a size.

/// Bytes that do not compress, the same for the same seed (xorshift).
pub(super) struct Noise(pub(super) u32);

impl Noise {
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            (self.0 >> 16) as u8
        };
        (0..length).map(|_| next()).collect()
    }
}
