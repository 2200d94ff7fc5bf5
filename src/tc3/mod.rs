//! Tencent Cloud's request signature, version 3 (TC3-HMAC-SHA256), as pure functions: time is an
//! argument.
//!
//! The steps are those of the vendor's document and are kept apart so that each can be tested and,
//! when a signature is refused, looked at: canonical request → string to sign → signature →
//! `Authorization` header.

mod canonical;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const TERMINATOR: &str = "tc3_request";

/// A request to be signed: a POST to `/` with an empty query, which is all that the vendor's JSON
/// API uses.
pub struct SigningRequest<'a> {
    /// Name and value of each header to sign, exactly as sent. `content-type` and `host` are
    /// mandatory for the vendor.
    pub headers: &'a [(&'a str, &'a str)],
    /// The bytes of the body, exactly as sent.
    pub body: &'a [u8],
    /// Seconds since the UNIX epoch, the same as in `X-TC-Timestamp`. The vendor refuses more than
    /// 300 s of difference.
    pub timestamp: i64,
}

/// A signature and the two texts that it was made from. None of the three is secret.
pub struct Signature {
    /// Step 1.
    pub canonical_request: String,
    /// Step 2.
    pub string_to_sign: String,
    /// Step 3: lower-case hex.
    pub signature: String,
    /// Step 4: value of the `Authorization` header. Names the SecretId: mark it sensitive.
    pub authorization: String,
}

/// Signs one request.
///
/// `key` must have been derived for the UTC day of `request.timestamp`: [`SigningKey::is_for`]
/// tells.
pub fn sign(request: &SigningRequest<'_>, secret_id: &str, key: &SigningKey) -> Signature {
    let canonical = canonical::canonical_request(request.headers, request.body);
    let scope = &key.scope;
    let string_to_sign = format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        request.timestamp,
        hex::encode(Sha256::digest(canonical.text.as_bytes())),
    );
    let signature = hex::encode(hmac_sha256(key.key.as_slice(), string_to_sign.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={secret_id}/{scope}, SignedHeaders={}, Signature={signature}",
        canonical.signed_headers
    );
    Signature { canonical_request: canonical.text, string_to_sign, signature, authorization }
}

/// The key of one SecretKey for one service and one UTC day. Deriving it takes three HMACs, so it
/// is worth keeping.
pub struct SigningKey {
    key: Zeroizing<[u8; 32]>,
    scope: String,
    date: String,
}

impl SigningKey {
    /// Derives the key for the UTC day of `timestamp` (seconds since the UNIX epoch).
    ///
    /// # Errors
    /// When `timestamp` is no date of the years -9999 to 9999.
    pub fn derive(secret_key: &str, service: &str, timestamp: i64) -> Result<Self, TimestampOutOfRange> {
        let date = utc_date(timestamp)?;
        let seed = Zeroizing::new(format!("TC3{secret_key}"));
        let by_date = hmac_sha256(seed.as_bytes(), date.as_bytes());
        let by_service = hmac_sha256(by_date.as_slice(), service.as_bytes());
        let key = hmac_sha256(by_service.as_slice(), TERMINATOR.as_bytes());
        Ok(Self { key, scope: format!("{date}/{service}/{TERMINATOR}"), date })
    }

    /// Whether this key signs requests of `timestamp`'s day.
    pub fn is_for(&self, timestamp: i64) -> bool {
        utc_date(timestamp).is_ok_and(|date| date == self.date)
    }
}

/// The timestamp is no date that can be written as YYYY-MM-DD.
#[derive(Clone, Copy, Debug)]
pub struct TimestampOutOfRange(pub i64);

impl fmt::Display for TimestampOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seconds since the UNIX epoch is out of the calendar's range", self.0)
    }
}

impl std::error::Error for TimestampOutOfRange {}

/// The scope's date is the UTC one, whatever the machine's time zone: a local date breaks every
/// signature made between midnight here and midnight there.
fn utc_date(timestamp: i64) -> Result<String, TimestampOutOfRange> {
    let instant = jiff::Timestamp::from_second(timestamp).map_err(|_| TimestampOutOfRange(timestamp))?;
    Ok(instant.strftime("%Y-%m-%d").to_string())
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}
