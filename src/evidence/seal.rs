//! The format of a sealed blob.
//!
//! ```text
//! blob  = version 1 | sealed chunk | sealed chunk | …      each of 64 KiB of plaintext, only the last may be shorter
//! chunk = AES-256-GCM under the blob's data key: ciphertext, tag
//! nonce = 7 zeros | number of the chunk, 4 bytes | 1 for the last one, else 0
//! aad   = "faceid-gateway evidence" 0 | key of the blob
//! ```
//!
//! This is the STREAM construction of RustCrypto's `aead-stream` (BE32): a chunk opens only in its
//! place, and only the true last one opens as the last. A blob that was cut, extended or reordered
//! does not open, nor does one that lies under another blob's key. Nonces need no randomness
//! because a data key seals one blob only.

use crate::vault::{Keyring, Place, keyring};
use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::{Aes256Gcm, KeyInit};
use bytes::Bytes;
use std::mem;
use zeroize::Zeroizing;

/// Plaintext in a chunk.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// A chunk as it is stored.
pub(super) const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// The first byte of a blob.
pub(super) const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// The key of one blob.
pub(super) struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

/// Seals or opens the chunks of one blob, in order.
pub(super) struct ChunkCipher {
    stream: StreamBE32<Aes256Gcm>,
    aad: Vec<u8>,
    /// None: there were as many as a blob may have, 256 TiB of them.
    next: Option<u32>,
}

/// A chunk does not open: altered, out of place, or of another blob.
#[derive(Debug)]
pub(super) struct DoesNotOpen;

/// Cuts a stream into chunks of one size. Which chunk is the last is known only at the end of the
/// stream: until then one is held back.
pub(super) struct Cutter {
    size: usize,
    chunk: Vec<u8>,
}

impl DataKey {
    pub(super) fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// Seals the key for its place in the store.
    pub(super) fn seal(&self, keyring: &Keyring, place: Place<'_>) -> Vec<u8> {
        keyring.seal(place, self.0.as_slice())
    }

    pub(super) fn open(keyring: &Keyring, place: Place<'_>, sealed: &[u8]) -> Result<Self, keyring::OpenError> {
        let plain = keyring.open(place, sealed)?;
        Ok(Self(Zeroizing::new(plain.as_slice().try_into().map_err(|_| keyring::OpenError::Malformed)?)))
    }
}

impl ChunkCipher {
    /// For the blob of this key.
    pub(super) fn new(data_key: &DataKey, blob_key: &str) -> Self {
        let aad = [b"faceid-gateway evidence\0", blob_key.as_bytes()].concat();
        let cipher = Aes256Gcm::new((&*data_key.0).into());
        Self { stream: StreamBE32::from_aead(cipher, &Default::default()), aad, next: Some(0) }
    }

    pub(super) fn seal(&mut self, mut chunk: Vec<u8>, is_last: bool) -> Bytes {
        let number = self.take_number().expect("a blob has fewer than 2^32 chunks");
        self.stream
            .encrypt_in_place(number, is_last, &self.aad, &mut chunk)
            .expect("AES-GCM encrypts up to 64 GiB into a growing buffer");
        chunk.into()
    }

    pub(super) fn open(&mut self, mut chunk: Vec<u8>, is_last: bool) -> Result<Bytes, DoesNotOpen> {
        let number = self.take_number().ok_or(DoesNotOpen)?;
        self.stream.decrypt_in_place(number, is_last, &self.aad, &mut chunk).map_err(|_| DoesNotOpen)?;
        Ok(chunk.into())
    }

    fn take_number(&mut self) -> Option<u32> {
        let number = self.next?;
        self.next = number.checked_add(1);
        Some(number)
    }
}

impl Cutter {
    pub(super) fn new(size: usize) -> Self {
        Self { size, chunk: Self::empty() }
    }

    /// Takes from the front of `input`. Some: a chunk that is not the last; call again. None:
    /// `input` is used up.
    pub(super) fn cut(&mut self, input: &mut Bytes) -> Option<Vec<u8>> {
        let room = self.size - self.chunk.len();
        self.chunk.extend_from_slice(&input.split_to(room.min(input.len())));
        (!input.is_empty()).then(|| mem::replace(&mut self.chunk, Self::empty()))
    }

    /// The last chunk; empty when there was no input at all.
    pub(super) fn rest(self) -> Vec<u8> {
        self.chunk
    }

    /// With room for a chunk and its tag, whichever of the two sizes is cut.
    fn empty() -> Vec<u8> {
        Vec::with_capacity(SEALED_CHUNK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, prelude::BASE64_STANDARD};
    use proptest::prelude::*;

    const PLACE: Place<'_> = Place { table: "evidence", row: "r1", column: "sealed_key", bound: &[] };

    fn cut(size: usize, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(size);
        let mut chunks = Vec::new();
        for piece in pieces {
            let mut piece = Bytes::copy_from_slice(piece);
            chunks.extend(std::iter::from_fn(|| cutter.cut(&mut piece)));
        }
        chunks.push(cutter.rest());
        chunks
    }

    #[test]
    fn a_full_chunk_may_be_the_last() {
        assert_eq!(cut(2, &[]), [b""]);
        assert_eq!(cut(2, &[b"", b"a", b""]), [b"a"]);
        assert_eq!(cut(2, &[b"ab"]), [b"ab"]);
        assert_eq!(cut(2, &[b"ab", b"c"]), [&b"ab"[..], b"c"]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_depend_on_the_pieces(input: Vec<u8>, at in 0usize..100, size in 1usize..50) {
            let (front, back) = input.split_at(at.min(input.len()));
            let chunks = cut(size, &[front, back]);
            prop_assert_eq!(&chunks, &cut(size, &[&input]));
            prop_assert_eq!(chunks.concat(), input);
            let (last, full) = chunks.split_last().unwrap();
            prop_assert!(full.iter().all(|chunk| chunk.len() == size) && last.len() <= size);
        }
    }

    #[test]
    fn a_chunk_opens_only_in_its_place() {
        let key = DataKey::generate();
        let mut sealing = ChunkCipher::new(&key, "a/1");
        let (first, second) = (sealing.seal(b"same".to_vec(), false), sealing.seal(b"same".to_vec(), true));
        assert_ne!(first, second);
        let opens = |blob_key: &str, chunks: &[(&Bytes, bool)]| {
            let mut opening = ChunkCipher::new(&key, blob_key);
            chunks.iter().all(|(chunk, is_last)| opening.open(chunk.to_vec(), *is_last).is_ok())
        };
        assert!(opens("a/1", &[(&first, false), (&second, true)]));
        assert!(!opens("a/1", &[(&first, true)]), "cut after the first");
        assert!(!opens("a/1", &[(&second, true)]), "without the first");
        assert!(!opens("a/1", &[(&second, false)]), "reordered");
        assert!(!opens("a/1", &[(&first, false), (&second, false)]), "extended");
        assert!(!opens("a/2", &[(&first, false)]), "of another blob");
    }

    #[test]
    fn a_data_key_of_another_length_does_not_open() {
        let ring = Keyring::parse(&format!("k1:{}", BASE64_STANDARD.encode([1; 32]))).unwrap();
        let key = DataKey::generate();
        assert_eq!(DataKey::open(&ring, PLACE, &key.seal(&ring, PLACE)).unwrap().0, key.0);
        for plain in [vec![], vec![1; 31], vec![1; 33]] {
            let sealed = ring.seal(PLACE, &plain);
            assert!(matches!(DataKey::open(&ring, PLACE, &sealed), Err(keyring::OpenError::Malformed)), "{plain:?}");
        }
    }
}
