//! The names of things.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// Checks the name of a flow, a caller or a credential.
///
/// # Errors
/// The fault.
pub fn check_name(text: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits { Ok(()) } else { Err("is not 1 to 64 characters of A-Z, a-z, 0-9, '-', '_' and '.'".into()) }
}

/// Names a verification: a UUID of version 7, so that ids sort by time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerificationId(Uuid);

/// Names a photo, video or sound: a UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EvidenceId(Uuid);

impl VerificationId {
    /// A new id, made at `now`.
    pub fn generate(now: Timestamp) -> Self {
        Self(uuid_at(now))
    }

    /// Reads an id in the one form that we write: 36 characters, lower case, with hyphens.
    ///
    /// # Errors
    /// The fault, for the caller.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_uuid(text).map(Self).ok_or_else(|| format!("is not a verification id: {FORM}"))
    }
}

impl EvidenceId {
    /// A new id, made at `now`.
    pub fn generate(now: Timestamp) -> Self {
        Self(uuid_at(now))
    }

    /// Reads an id in the one form that we write.
    ///
    /// # Errors
    /// The fault, for the caller.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_uuid(text).map(Self).ok_or_else(|| format!("is not an evidence id: {FORM}"))
    }
}

impl fmt::Display for VerificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Display for EvidenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

const FORM: &str = "a UUID of 36 characters in lower case";

fn uuid_at(now: Timestamp) -> Uuid {
    let unix_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &rand::random()).into_uuid()
}

fn parse_uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.hyphenated().to_string() == text)
}

/// The vendor's token of a verification. A secret: its holder can read the result from the vendor's
/// page.
#[derive(Clone)]
pub struct BizToken(SecretString);

impl BizToken {
    /// The vendor's tokens have 36 characters; the limit leaves room for another form.
    const MAX_CHARS: usize = 128;

    /// Takes a token that came from outside.
    ///
    /// # Errors
    /// The fault, for the caller.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plausible = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if plausible {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "is not a token of the vendor: 1 to {} characters of A-Z, a-z, 0-9, '-' and '_'",
                Self::MAX_CHARS
            ))
        }
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for BizToken {
    /// Takes the same time wherever the two differ.
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_time() {
        let early = VerificationId::generate(Timestamp::from_second(1_700_000_000).unwrap());
        let late = VerificationId::generate(Timestamp::from_second(1_700_000_001).unwrap());
        assert_eq!(VerificationId::parse(&early.to_string()), Ok(early));
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn only_our_own_form_of_an_id_is_read() {
        for text in ["", "1", "0190B5F0-0000-7000-8000-000000000000", "{0190b5f0-0000-7000-8000-000000000000}", "漢"] {
            assert!(VerificationId::parse(text).unwrap_err().contains("verification id"), "{text}");
            assert!(EvidenceId::parse(text).unwrap_err().contains("evidence id"), "{text}");
        }
    }

    #[test]
    fn tokens_are_bounded_and_compared_whole() {
        assert!(BizToken::parse("").is_err());
        assert!(BizToken::parse(&"A".repeat(129)).is_err());
        assert!(BizToken::parse("A B").is_err());
        let token = BizToken::parse("CE661F1A-0F1E").unwrap();
        assert!(token == BizToken::parse("CE661F1A-0F1E").unwrap());
        assert!(token != BizToken::parse("CE661F1A-0F1F").unwrap());
        assert!(token != BizToken::parse("CE661F1A-0F1").unwrap());
    }
}
