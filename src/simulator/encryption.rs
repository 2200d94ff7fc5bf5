//! Field encryption (document 47180), the vendor's side: opens what a client has encrypted, and
//! encrypts answers with its key.
//!
//! Ciphers and paddings are other code than the gateway's: RSA by aws-lc, AES-CBC by RustCrypto,
//! and SM2 decryption and GCM written here (`sm`) over the curve and the block cipher alone.

mod sm;

use std::sync::OnceLock;

use aes::Aes256;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sm2::elliptic_curve::Generate;
use sm2::pkcs8::{EncodePublicKey, LineEnding};

use super::error::ApiError;

/// The private keys: random, one pair of each kind, made when first needed.
#[derive(Default)]
pub(super) struct PrivateKeys {
    rsa: OnceLock<PrivateDecryptingKey>,
    sm2: OnceLock<sm2::SecretKey>,
}

impl PrivateKeys {
    /// For AES-256-CBC; PEM.
    pub(super) fn rsa_public_key(&self) -> String {
        let der = self.rsa().public_key().as_der().expect("a public key has a DER");
        pem("PUBLIC KEY", der.as_ref())
    }

    /// For SM4-GCM; PEM.
    pub(super) fn sm2_public_key(&self) -> String {
        self.sm2().public_key().to_public_key_pem(LineEnding::LF).expect("a public key has a PEM")
    }

    fn rsa(&self) -> &PrivateDecryptingKey {
        self.rsa.get_or_init(|| PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a machine has randomness"))
    }

    fn sm2(&self) -> &sm2::SecretKey {
        self.sm2.get_or_init(sm2::SecretKey::generate)
    }

    fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Option<Vec<u8>> {
        match algorithm {
            Algorithm::Aes256Cbc => {
                let key = Pkcs1PrivateDecryptingKey::new(self.rsa().clone()).ok()?;
                let mut clear = vec![0; key.min_output_size()];
                key.decrypt(wrapped, &mut clear).ok().map(|clear| clear.to_vec())
            }
            Algorithm::Sm4Gcm => sm::decrypt_sm2(self.sm2(), wrapped),
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Algorithm {
    #[serde(rename = "AES-256-CBC")]
    Aes256Cbc,
    #[serde(rename = "SM4-GCM")]
    Sm4Gcm,
}

/// `Encryption` of a request.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Encryption {
    encrypt_list: Option<Vec<String>>,
    ciphertext_blob: Option<String>,
    iv: Option<String>,
    algorithm: Option<String>,
    tag_list: Option<Vec<String>>,
}

/// The key of a call, taken out of its request.
pub(super) struct Session {
    pub(super) algorithm: Algorithm,
    key: Vec<u8>,
    iv: Vec<u8>,
    wrapped_key: String,
    encrypt_list: Vec<String>,
    tags: Vec<Vec<u8>>,
}

impl Session {
    /// # Errors
    /// `InvalidParameterValue` for what is not of the form, `DecryptSystemError` for a key that is
    /// not encrypted for us.
    pub(super) fn open(keys: &PrivateKeys, encryption: Encryption) -> Result<Self, ApiError> {
        let algorithm = match encryption.algorithm.as_deref() {
            None | Some("" | "AES-256-CBC") => Algorithm::Aes256Cbc,
            Some("SM4-GCM") => Algorithm::Sm4Gcm,
            Some(_) => return Err(ApiError::bad_value("Encryption.Algorithm must be AES-256-CBC or SM4-GCM.")),
        };
        let wrapped_key = encryption.ciphertext_blob.unwrap_or_default();
        let wrapped = decode("Encryption.CiphertextBlob", &wrapped_key)?;
        let key = keys.unwrap(algorithm, &wrapped).ok_or_else(|| decrypt_error("The key in CiphertextBlob"))?;
        let (key_length, iv_length) = match algorithm {
            Algorithm::Aes256Cbc => (32, 16),
            Algorithm::Sm4Gcm => (16, 12),
        };
        if key.len() != key_length || !key.iter().all(u8::is_ascii_graphic) {
            return Err(decrypt_error("The key in CiphertextBlob"));
        }
        let encrypt_list = encryption.encrypt_list.unwrap_or_default();
        // With nothing encrypted in the request no Iv is needed.
        let iv = decode("Encryption.Iv", &encryption.iv.unwrap_or_default())?;
        if iv.len() != iv_length && !(iv.is_empty() && encrypt_list.is_empty()) {
            return Err(ApiError::bad_value(format!("Encryption.Iv must be base64 of {iv_length} bytes.")));
        }
        let tags = encryption.tag_list.unwrap_or_default();
        let tags: Vec<Vec<u8>> = tags.iter().map(|tag| decode("Encryption.TagList", tag)).collect::<Result<_, _>>()?;
        if algorithm == Algorithm::Sm4Gcm && tags.len() != encrypt_list.len() {
            return Err(ApiError::bad_value("Encryption.TagList must have one tag for each field of EncryptList."));
        }
        Ok(Self { algorithm, key, iv, wrapped_key, encrypt_list, tags })
    }

    /// Puts the clear text of each listed field in its place.
    ///
    /// # Errors
    /// `UnsupportEncryptField` for another field than those of `fields`, `DecryptSystemError` for
    /// what does not open.
    pub(super) fn open_fields(&self, fields: &mut [(&str, &mut Option<String>)]) -> Result<(), ApiError> {
        for (position, name) in self.encrypt_list.iter().enumerate() {
            let field = fields.iter_mut().find(|(known, _)| known == name);
            let Some((name, Some(value))) = field.map(|(name, value)| (name, value.as_mut())) else {
                return Err(ApiError::new(
                    "InvalidParameter.UnsupportEncryptField",
                    "EncryptList names a field that is not sent or is not to be encrypted.",
                ));
            };
            let tag = self.tags.get(position).map(Vec::as_slice).unwrap_or_default();
            let clear = self.decrypt(&decode(name, value)?, tag).and_then(|clear| String::from_utf8(clear).ok());
            *value = clear.ok_or_else(|| decrypt_error(name))?;
        }
        Ok(())
    }

    fn decrypt(&self, ciphertext: &[u8], tag: &[u8]) -> Option<Vec<u8>> {
        match self.algorithm {
            Algorithm::Aes256Cbc => {
                let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&self.key, &self.iv).ok()?;
                cipher.decrypt_padded_vec::<Pkcs7>(ciphertext).ok()
            }
            Algorithm::Sm4Gcm => sm::decrypt_gcm(self.key.as_slice().try_into().ok()?, &self.iv, ciphertext, tag),
        }
    }

    /// Encrypts the personal fields of an answer, where it has them, and says so in its
    /// `Encryption`. The documented ones are those of the text; those of each attempt (`attempts`)
    /// have been seen too.
    pub(super) fn seal_fields(&self, content: &mut Value, attempts: bool) {
        let mut sealing = Sealing::of(self);
        if let Some(text) = content.get_mut("Text") {
            sealing.seal_in(text, "Response.Text", ["IdCard", "Name", "OcrIdCard", "OcrName"]);
            let details = text.get_mut("LivenessDetail").and_then(Value::as_array_mut).filter(|_| attempts);
            for (nth, detail) in details.into_iter().flatten().enumerate() {
                sealing.seal_in(detail, &format!("Response.Text.LivenessDetail[{nth}]"), ["Idcard", "Name"]);
            }
        }
        content["Encryption"] = sealing.object();
    }

    /// The answer, encrypted as a whole.
    pub(super) fn seal_body(&self, body: &[u8]) -> Value {
        let mut sealing = Sealing::of(self);
        let encrypted = sealing.seal("EncryptedBody", body);
        json!({ "Encryption": sealing.object(), "EncryptedBody": encrypted })
    }
}

/// An answer that is being encrypted: with the key of its request and an Iv of its own.
struct Sealing<'a> {
    session: &'a Session,
    iv: Vec<u8>,
    encrypt_list: Vec<String>,
    tags: Vec<String>,
}

impl<'a> Sealing<'a> {
    fn of(session: &'a Session) -> Self {
        let iv: [u8; 16] = rand::random();
        let length = if session.algorithm == Algorithm::Aes256Cbc { 16 } else { 12 };
        Self { session, iv: iv[..length].to_vec(), encrypt_list: Vec::new(), tags: Vec::new() }
    }

    /// Encrypts those of the fields that have a text.
    fn seal_in<const N: usize>(&mut self, part: &mut Value, path: &str, fields: [&str; N]) {
        for field in fields {
            let text = part.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
            if let Some(text) = text {
                part[field] = json!(self.seal(&format!("{path}.{field}"), text.as_bytes()));
            }
        }
    }

    fn seal(&mut self, name: &str, clear: &[u8]) -> String {
        self.encrypt_list.push(name.to_owned());
        let key = &self.session.key;
        let ciphertext = match self.session.algorithm {
            Algorithm::Aes256Cbc => {
                let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key, &self.iv).expect("both were measured");
                cipher.encrypt_padded_vec::<Pkcs7>(clear)
            }
            Algorithm::Sm4Gcm => {
                let key = key.as_slice().try_into().expect("it was measured");
                let (ciphertext, tag) = sm::encrypt_gcm(key, &self.iv, clear);
                self.tags.push(STANDARD.encode(tag));
                ciphertext
            }
        };
        STANDARD.encode(ciphertext)
    }

    fn object(self) -> Value {
        json!({
            "EncryptList": self.encrypt_list,
            "CiphertextBlob": self.session.wrapped_key,
            "Iv": STANDARD.encode(self.iv),
            "Algorithm": self.session.algorithm,
            "TagList": self.tags,
        })
    }
}

/// Cuts four characters of base64, one to three bytes, off each encrypted part of an answer.
pub(super) fn spoil(response: &mut Value) {
    let listed = response.pointer("/Encryption/EncryptList").and_then(Value::as_array).cloned().unwrap_or_default();
    for path in listed.iter().filter_map(Value::as_str) {
        let pointer = format!("/{}", path.trim_start_matches("Response.").replace(['.', '['], "/").replace(']', ""));
        if let Some(Value::String(base64)) = response.pointer_mut(&pointer) {
            base64.truncate(base64.len().saturating_sub(4));
        }
    }
}

fn decode(name: &str, base64: &str) -> Result<Vec<u8>, ApiError> {
    STANDARD.decode(base64).map_err(|_| ApiError::bad_value(format!("{name} must be base64 with padding.")))
}

fn decrypt_error(what: &str) -> ApiError {
    ApiError::new("FailedOperation.DecryptSystemError", format!("{what} cannot be decrypted."))
}

#[cfg(test)]
mod tests;
