//! SM2 decryption (GB/T 32918.4) and SM4-GCM (NIST SP 800-38D), step by step from the standards.

use sm2::elliptic_curve::sec1::ToSec1Point;
use sm2::{ProjectivePoint, PublicKey, SecretKey};
use sm3::{Digest, Sm3};
use sm4::Sm4;
use sm4::cipher::{BlockCipherEncrypt, KeyInit};

const POINT_BYTES: usize = 65;
const HASH_BYTES: usize = 32;

/// Opens C1 ‖ C3 ‖ C2; `None` when it is not for this key.
pub(super) fn decrypt_sm2(key: &SecretKey, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let (c1, rest) = ciphertext.split_at_checked(POINT_BYTES)?;
    let (c3, c2) = rest.split_at_checked(HASH_BYTES)?;
    // Points that are not on the curve are refused here.
    let c1 = PublicKey::from_sec1_bytes(c1).ok()?;
    let shared = c1.to_projective() * key.to_nonzero_scalar().as_ref();
    let shared = ProjectivePoint::to_affine(&shared).to_sec1_point(false);
    let (x, y) = shared.as_bytes()[1..].split_at(HASH_BYTES);

    let mut clear = Vec::with_capacity(c2.len());
    for (number, chunk) in (1_u32..).zip(c2.chunks(HASH_BYTES)) {
        let mask = Sm3::new().chain_update(x).chain_update(y).chain_update(number.to_be_bytes()).finalize();
        clear.extend(chunk.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    }
    let hash = Sm3::new().chain_update(x).chain_update(&clear).chain_update(y).finalize();
    (hash.as_slice() == c3).then_some(clear)
}

pub(super) fn encrypt_gcm(key: [u8; 16], iv: &[u8], clear: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let gcm = Gcm::new(key, iv);
    let ciphertext = gcm.apply(clear);
    let tag = gcm.tag(&ciphertext);
    (ciphertext, tag)
}

/// `None` when the tag is another.
pub(super) fn decrypt_gcm(key: [u8; 16], iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> Option<Vec<u8>> {
    let gcm = Gcm::new(key, iv);
    (gcm.tag(ciphertext) == tag).then(|| gcm.apply(ciphertext))
}

struct Gcm {
    cipher: Sm4,
    /// The Iv of 12 bytes, and a counter of 4.
    first_block: [u8; 16],
}

impl Gcm {
    fn new(key: [u8; 16], iv: &[u8]) -> Self {
        let mut first_block = [0; 16];
        first_block[..12].copy_from_slice(iv);
        Self { cipher: Sm4::new(&key.into()), first_block }
    }

    fn block(&self, counter: u32) -> [u8; 16] {
        let mut block = self.first_block;
        block[12..].copy_from_slice(&counter.to_be_bytes());
        self.encrypt(block)
    }

    fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.cipher.encrypt_block(&mut block);
        block.into()
    }

    /// Counter mode: encrypts, and decrypts. The counter 1 is the tag's.
    fn apply(&self, text: &[u8]) -> Vec<u8> {
        let blocks = (2_u32..).zip(text.chunks(16));
        blocks.flat_map(|(counter, chunk)| chunk.iter().zip(self.block(counter)).map(|(a, b)| a ^ b)).collect()
    }

    fn tag(&self, ciphertext: &[u8]) -> [u8; 16] {
        let h = u128::from_be_bytes(self.encrypt([0; 16]));
        let mut hash = 0;
        for chunk in ciphertext.chunks(16) {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            hash = multiply(hash ^ u128::from_be_bytes(block), h);
        }
        // The lengths in bits: no additional data, and the ciphertext.
        hash = multiply(hash ^ (ciphertext.len() as u128 * 8), h);
        (hash ^ u128::from_be_bytes(self.block(1))).to_be_bytes()
    }
}

/// In GF(2^128), where the first bit is the lowest power.
fn multiply(x: u128, y: u128) -> u128 {
    const REDUCTION: u128 = 0xE1 << 120;
    let (mut product, mut power) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= power;
        }
        power = if power & 1 == 1 { power >> 1 ^ REDUCTION } else { power >> 1 };
    }
    product
}
