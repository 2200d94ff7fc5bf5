//! SM4-GCM: GCM (NIST SP 800-38D) over the block cipher SM4 (GB/T 32907), with a 96-bit IV, a
//! 128-bit tag and no additional data.

use crate::tencent::error::ErrorKind;
use aes_gcm::{
    AesGcm, KeyInit,
    aead::{AeadInOut, Tag, consts::U12},
};
use sm4::Sm4;

pub(super) const KEY_BYTES: usize = 16;
pub(super) const IV_BYTES: usize = 12;
pub(super) const TAG_BYTES: usize = 16;

/// The GCM of that crate is written for any cipher with blocks of 16 bytes.
type Sm4Gcm = AesGcm<Sm4, U12>;

/// Gives the ciphertext, and its tag apart.
pub(super) fn encrypt(key: &[u8], iv: &[u8], clear: &[u8]) -> Result<(Vec<u8>, [u8; TAG_BYTES]), ErrorKind> {
    let encrypt = || {
        let cipher = Sm4Gcm::new_from_slice(key).ok()?;
        let mut text = clear.to_vec();
        let tag = cipher.encrypt_inout_detached(iv.try_into().ok()?, b"", text.as_mut_slice().into()).ok()?;
        Some((text, tag.into()))
    };
    encrypt().ok_or(ErrorKind::Unencryptable)
}

/// None: the tag is not that of the ciphertext.
pub(super) fn decrypt(key: &[u8], iv: &[u8], mut ciphertext: Vec<u8>, tag: &[u8]) -> Option<Vec<u8>> {
    let cipher = Sm4Gcm::new_from_slice(key).ok()?;
    let tag: &Tag<Sm4Gcm> = tag.try_into().ok()?;
    cipher.decrypt_inout_detached(iv.try_into().ok()?, b"", ciphertext.as_mut_slice().into(), tag).ok()?;
    Some(ciphertext)
}
