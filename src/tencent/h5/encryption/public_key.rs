//! The vendor's public key, as the console shows it, and what is encrypted with it: the keys of
//! calls.

use super::Algorithm;
use crate::tencent::error::ErrorKind;
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::rngs::SysRng;
use rsa::{pkcs1::DecodeRsaPublicKey, pkcs8::DecodePublicKey};
use sm2::pke::{EncryptingKey, Mode};

/// An RSA key for AES-256-CBC, or an SM2 key for SM4-GCM.
#[derive(Clone)]
pub enum PublicKey {
    /// 1,024 to 8,192 bits. Under 2,048 is weak by today's rules, but what the vendor's key has is
    /// not ours to choose.
    Rsa(rsa::PublicKey),
    Sm2(sm2::PublicKey),
}

impl PublicKey {
    /// Reads a key for `algorithm`: PEM (`PUBLIC KEY`; for RSA `RSA PUBLIC KEY` too), the base64
    /// inside of it, or the base64 of the whole, which are the forms seen with the vendor; for SM2
    /// also the point in hex: 04, x, y.
    ///
    /// # Errors
    /// The fault, without the text.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Self, String> {
        let der = der_of(text).unwrap_or_default();
        let (rsa, sm2) = (rsa_key(&der), sm2_key(&der).or_else(|| sm2_point(text)));
        match (algorithm, rsa, sm2) {
            (Algorithm::Aes256Cbc, Some(key), _) => Ok(Self::Rsa(key)),
            (Algorithm::Sm4Gcm, _, Some(key)) => Ok(Self::Sm2(key)),
            (Algorithm::Aes256Cbc, None, Some(_)) => {
                Err("is an SM2 key; aes_256_cbc needs the console's RSA key".into())
            }
            (Algorithm::Sm4Gcm, Some(_), None) => Err("is an RSA key; sm4_gcm needs the console's SM2 key".into()),
            (Algorithm::Aes256Cbc, None, None) => {
                Err("is not an RSA public key of 1024 to 8192 bits: PEM, or the base64 of it".into())
            }
            (Algorithm::Sm4Gcm, None, None) => {
                Err("is not an SM2 public key: PEM, the base64 of it, or the point in hex".into())
            }
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Aes256Cbc,
            Self::Sm2(_) => Algorithm::Sm4Gcm,
        }
    }

    /// Encrypts the key of a call.
    pub(super) fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        match self {
            // Only the holder of the private key could be asked about paddings (RUSTSEC-2023-0071),
            // which is not us.
            Self::Rsa(public) => public.pkcs1v15_encrypt_with_rng(&mut SysRng, key).ok(),
            Self::Sm2(public) => EncryptingKey::new_with_mode(*public, Mode::C1C3C2).encrypt(&mut SysRng, key).ok(),
        }
        .ok_or(ErrorKind::Unencryptable)
    }
}

/// What is inside of a PEM, however its lines are broken, with or without its first and last line.
fn der_of(text: &str) -> Option<Vec<u8>> {
    let base64: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let decoded = BASE64_STANDARD.decode(base64).ok()?;
    match std::str::from_utf8(&decoded) {
        Ok(pem) if pem.starts_with("-----BEGIN ") => der_of(pem),
        _ => Some(decoded),
    }
}

fn rsa_key(der: &[u8]) -> Option<rsa::PublicKey> {
    rsa::PublicKey::from_public_key_der(der).or_else(|_| rsa::PublicKey::from_pkcs1_der(der)).ok()
}

fn sm2_key(der: &[u8]) -> Option<sm2::PublicKey> {
    sm2::PublicKey::from_public_key_der(der).ok()
}

fn sm2_point(text: &str) -> Option<sm2::PublicKey> {
    sm2::PublicKey::from_sec1_bytes(&hex::decode(text.trim()).ok()?).ok()
}
