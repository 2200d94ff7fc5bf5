//! Signatures of Standard Webhooks 1.0 with a shared secret, as a pure function: time is an
//! argument.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use std::ops::RangeInclusive;

/// Of the message, the same each time that it is sent.
pub const ID_HEADER: &str = "webhook-id";
/// Of this try, in seconds since the UNIX epoch. Receivers refuse what is some minutes off.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Headers that [`sign`] makes.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

const SECRET_PREFIX: &str = "whsec_";
const SECRET_BYTES: RangeInclusive<usize> = 24..=64;

/// Signs a message: the value of `webhook-signature`, with one signature for each secret, separated
/// by spaces.
///
/// `id` must have no full stop, or the signature could be that of another message too.
pub fn sign(id: &str, timestamp: i64, body: &[u8], secrets: &[Secret]) -> String {
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(secret.0.expose_secret()).expect("HMAC takes keys of any length");
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    signatures.join(" ")
}

/// A secret that the gateway shares with the receiver of a caller's events.
#[derive(Clone, Debug)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Reads `whsec_` and 24 to 64 bytes in base64, the form that the receivers' libraries take.
    ///
    /// # Errors
    /// The fault, without the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or_else(|| format!("does not start with {SECRET_PREFIX}"))?;
        // The error's own text quotes a character of the secret.
        let bytes =
            BASE64_STANDARD.decode(encoded).map_err(|_| format!("is not base64 with padding after {SECRET_PREFIX}"))?;
        let (length, secret) = (bytes.len(), Self(SecretSlice::from(bytes)));
        if SECRET_BYTES.contains(&length) {
            Ok(secret)
        } else {
            let (min, max) = SECRET_BYTES.into_inner();
            Err(format!("has {length} bytes after {SECRET_PREFIX}; from {min} to {max} are allowed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    fn text_of(bytes: &[u8]) -> String {
        format!("{SECRET_PREFIX}{}", BASE64_STANDARD.encode(bytes))
    }

    proptest! {
        #[test]
        fn signs_like_the_standards_own_library(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), SECRET_BYTES), 1..4),
            id in "[A-Za-z0-9_-]{1,64}",
            timestamp in 0..=i64::MAX,
            body in ".{0,200}",
        ) {
            let texts: Vec<String> = keys.iter().map(|key| text_of(key)).collect();
            let secrets: Vec<Secret> = texts.iter().map(|text| Secret::parse(text).unwrap()).collect();
            let expected: Vec<String> = texts
                .iter()
                .map(|text| Webhook::new(text).unwrap().sign(&id, timestamp, body.as_bytes()).unwrap())
                .collect();
            prop_assert_eq!(sign(&id, timestamp, body.as_bytes(), &secrets), expected.join(" "));
        }
    }

    #[test]
    fn each_part_of_a_message_is_signed() {
        let secrets = [Secret::parse(&text_of(&[1; 32])).unwrap()];
        let signature = sign("evt_1", 1_700_000_000, b"{}", &secrets);
        assert_ne!(signature, sign("evt_2", 1_700_000_000, b"{}", &secrets));
        assert_ne!(signature, sign("evt_1", 1_700_000_001, b"{}", &secrets));
        assert_ne!(signature, sign("evt_1", 1_700_000_000, b"[]", &secrets));
        assert_ne!(signature, sign("evt_1", 1_700_000_000, b"{}", &[Secret::parse(&text_of(&[2; 32])).unwrap()]));
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        for (length, fits) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(Secret::parse(&text_of(&vec![7; length])).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn a_bad_secret_is_explained_without_it() {
        for (text, expected) in [
            ("", "does not start with whsec_"),
            ("S3CRETS3CRETS3CRETS3CRETS3CRETS3", "does not start with whsec_"),
            ("WHSEC_S3CRETS3CRETS3CRETS3CRETS3CRETS3", "does not start with whsec_"),
            ("whsec_S3CRETS3CRETS3CRETS3CRETS3CRETS", "is not base64"),
            ("whsec_S3CRET-_CRETS3CRETS3CRETS3CRETS3", "is not base64"),
            ("whsec_S3CRETS3CRETS3CRETS3CRETS3CRETS3\n", "is not base64"),
            ("whsec_S3CRETS3", "has 6 bytes after whsec_; from 24 to 64 are allowed"),
        ] {
            let problem = Secret::parse(text).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains("S3CRET"), "{text}: {problem}");
        }
    }
}
