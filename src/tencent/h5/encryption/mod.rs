//! Field encryption (document 47180): names and ID numbers are encrypted inside of the TLS
//! connection, with a key that only this call and the vendor know.
//!
//! Each call has a key of its own, from the operating system's randomness; it is never used for a
//! second call and is wiped when the call has ended. It travels encrypted with the vendor's public
//! key. The vendor encrypts its answer with the same key.
//!
//! Two limits are the vendor's format and cannot be helped here. One `Iv` serves all fields of a
//! call: with SM4-GCM the fields of a call are encrypted with the same key stream, so that two
//! ciphertexts show how the texts differ; AES-256-CBC tells of two fields only whether they begin
//! with the same 16 bytes. And AES-256-CBC has no tag: that an answer was not altered is TLS's
//! promise. TLS stays the first line with either.

mod aes_cbc;
mod answer;
mod public_key;
mod sm4_gcm;

pub use public_key::PublicKey;

use super::wire::{DetectAuthRequest, Encryption, GetDetectInfoEnhancedRequest};
use crate::tencent::error::ErrorKind;
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::{TryRng, rngs::SysRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How the calls of a flow are encrypted.
#[derive(Clone)]
pub struct FieldEncryption {
    pub public_key: PublicKey,
    /// Whether answers are encrypted as a whole; else their names and ID numbers only.
    pub whole_response: bool,
}

/// The two ciphers that the vendor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The key is encrypted by RSA, PKCS#1 v1.5.
    #[serde(rename = "aes_256_cbc")]
    Aes256Cbc,
    /// The key is encrypted by SM2, C1C3C2.
    Sm4Gcm,
}

impl Algorithm {
    fn vendor_name(self) -> &'static str {
        match self {
            Self::Aes256Cbc => "AES-256-CBC",
            Self::Sm4Gcm => "SM4-GCM",
        }
    }

    fn key_bytes(self) -> usize {
        match self {
            Self::Aes256Cbc => aes_cbc::KEY_BYTES,
            Self::Sm4Gcm => sm4_gcm::KEY_BYTES,
        }
    }

    fn iv_bytes(self) -> usize {
        match self {
            Self::Aes256Cbc => aes_cbc::IV_BYTES,
            Self::Sm4Gcm => sm4_gcm::IV_BYTES,
        }
    }
}

impl FieldEncryption {
    /// A key for one call.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub(super) fn begin(&self) -> Result<CallKey, ErrorKind> {
        let algorithm = self.public_key.algorithm();
        let key = printable_key(algorithm.key_bytes())?;
        let mut iv = vec![0; algorithm.iv_bytes()];
        fill_randomly(&mut iv)?;
        let wrapped_key = self.public_key.wrap(&key)?;
        Ok(CallKey { algorithm, key, iv, wrapped_key, whole_response: self.whole_response })
    }
}

/// The key of one call and what goes with it.
pub(super) struct CallKey {
    algorithm: Algorithm,
    key: Zeroizing<Vec<u8>>,
    iv: Vec<u8>,
    wrapped_key: Vec<u8>,
    whole_response: bool,
}

/// The encrypted fields of a DetectAuth.
pub(super) struct SealedIdentity {
    id_card: Option<String>,
    name: Option<String>,
    /// None when there is nothing to encrypt.
    encryption: Option<Encryption>,
}

impl CallKey {
    /// Encrypts what is personal in a DetectAuth: `IdCard` and `Name`, as far as they are given.
    pub(super) fn seal(&self, request: &DetectAuthRequest<'_>) -> Result<SealedIdentity, ErrorKind> {
        let (mut listed, mut tags) = (Vec::new(), Vec::new());
        let mut seal = |name: &str, value: Option<&str>| -> Result<Option<String>, ErrorKind> {
            let Some(value) = value else { return Ok(None) };
            let ciphertext = match self.algorithm {
                Algorithm::Aes256Cbc => aes_cbc::encrypt(&self.key, &self.iv, value.as_bytes())?,
                Algorithm::Sm4Gcm => {
                    let (ciphertext, tag) = sm4_gcm::encrypt(&self.key, &self.iv, value.as_bytes())?;
                    tags.push(BASE64_STANDARD.encode(tag));
                    ciphertext
                }
            };
            listed.push(name.to_owned());
            Ok(Some(BASE64_STANDARD.encode(ciphertext)))
        };
        let id_card = seal("IdCard", request.id_card)?;
        let name = seal("Name", request.name)?;
        let encryption = (!listed.is_empty()).then(|| self.object(listed, tags));
        Ok(SealedIdentity { id_card, name, encryption })
    }

    /// The request, asking for an encrypted answer.
    pub(super) fn asking<'a>(&self, request: &GetDetectInfoEnhancedRequest<'a>) -> GetDetectInfoEnhancedRequest<'a> {
        GetDetectInfoEnhancedRequest {
            encryption: Some(self.object(Vec::new(), Vec::new())),
            // `IsEncrypt` is given up by the vendor: that there is an `Encryption` says it.
            is_encrypt_response: self.whole_response.then_some(true),
            ..*request
        }
    }

    fn object(&self, encrypt_list: Vec<String>, tags: Vec<String>) -> Encryption {
        Encryption {
            encrypt_list: Some(encrypt_list),
            ciphertext_blob: Some(BASE64_STANDARD.encode(&self.wrapped_key)),
            iv: Some(BASE64_STANDARD.encode(&self.iv)),
            algorithm: Some(self.algorithm.vendor_name().to_owned()),
            tag_list: (self.algorithm == Algorithm::Sm4Gcm).then_some(tags),
            ..Encryption::default()
        }
    }
}

impl SealedIdentity {
    /// The request with the encrypted fields in place of the clear ones.
    pub(super) fn put_into<'a>(&'a self, request: &'a DetectAuthRequest<'a>) -> DetectAuthRequest<'a> {
        DetectAuthRequest {
            id_card: self.id_card.as_deref(),
            name: self.name.as_deref(),
            encryption: self.encryption.clone(),
            ..request.clone()
        }
    }
}

/// The vendor wants keys of printable characters (document 47180). These are the 94 of ASCII
/// without the space, each as likely as the others: 6.55 bits a character, 209 bits for AES-256 and
/// 104 for SM4.
fn printable_key(length: usize) -> Result<Zeroizing<Vec<u8>>, ErrorKind> {
    let mut key = Zeroizing::new(Vec::with_capacity(length));
    let mut random = Zeroizing::new([0; 64]);
    while key.len() < length {
        let missing = length - key.len();
        fill_randomly(random.as_mut())?;
        // From 188 = 2 · 94 on, the remainder would make the first characters likelier.
        let characters = random.iter().filter(|byte| **byte < 188).map(|byte| b'!' + byte % 94);
        key.extend(characters.take(missing));
    }
    Ok(key)
}

fn fill_randomly(bytes: &mut [u8]) -> Result<(), ErrorKind> {
    SysRng.try_fill_bytes(bytes).map_err(|_| ErrorKind::Unencryptable)
}

#[cfg(test)]
mod tests;
