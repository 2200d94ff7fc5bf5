//! AES-256-CBC with PKCS#7 padding.

use crate::tencent::error::ErrorKind;
use aws_lc_rs::{
    cipher::{
        AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    error::Unspecified,
    iv::FixedLength,
};

pub(super) const KEY_BYTES: usize = 32;
pub(super) const IV_BYTES: usize = 16;

pub(super) fn encrypt(key: &[u8], iv: &[u8], clear: &[u8]) -> Result<Vec<u8>, ErrorKind> {
    let encrypt = || -> Result<Vec<u8>, Unspecified> {
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key)?)?;
        let mut text = clear.to_vec();
        key.less_safe_encrypt(&mut text, EncryptionContext::Iv128(FixedLength::try_from(iv)?))?;
        Ok(text)
    };
    encrypt().map_err(|_| ErrorKind::Unencryptable)
}

/// None: the length, or any byte of the padding, is not as it must be.
pub(super) fn decrypt(key: &[u8], iv: &[u8], mut ciphertext: Vec<u8>) -> Option<Vec<u8>> {
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key).ok()?).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::try_from(iv).ok()?);
    let length = key.decrypt(&mut ciphertext, context).ok()?.len();
    ciphertext.truncate(length);
    Some(ciphertext)
}
