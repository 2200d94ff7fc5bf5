//! The vendor's side of TC3-HMAC-SHA256: does this request carry a signature that we accept, and if
//! not, why not?
//!
//! This is a second, independent reading of the vendor's signing rules. It shares neither code nor
//! HMAC backend with the client that signs, and it imports nothing of this crate, so that a mistake
//! in one of the two cannot hide in the other. It is a pure function; the time is an argument.
//!
//! On a wrong signature it also says which line the client got wrong; `diagnosis` explains how it
//! can know.

// The explicit paths let another crate include this file alone by `#[path]` and still find its
// children.
#[path = "verify/diagnosis.rs"]
mod diagnosis;
#[path = "verify/signing.rs"]
mod signing;

pub use diagnosis::{Diagnosis, Mistake};
pub use signing::UnverifiedRequest;

use signing::{Authorization, Malformed, SigningInput, same_signature, text};

/// How far `X-TC-Timestamp` may be off, in seconds, either way.
pub const MAX_CLOCK_SKEW_S: i64 = 300;

/// The service that a request is for unless another is said.
const SERVICE: &str = "faceid";

/// One API key of an account. It has no `Debug`: the key must not reach a log.
#[derive(Clone)]
pub struct KeyPair {
    pub secret_id: String,
    pub secret_key: String,
}

/// Checks the signature of `request` against the `keys` of the account, at `now_s` (UNIX seconds).
///
/// # Errors
/// A [`Refusal`], which knows the code that the vendor answers with.
pub fn verify(request: &UnverifiedRequest<'_>, keys: &[KeyPair], now_s: i64) -> Result<(), Refusal> {
    verify_for(SERVICE, request, keys, now_s).map(|_| ())
}

/// As [`verify`], for another service of the vendor. Gives the SecretId that signed.
///
/// # Errors
/// A [`Refusal`], which knows the code that the vendor answers with.
pub fn verify_for(
    service: &'static str,
    request: &UnverifiedRequest<'_>,
    keys: &[KeyPair],
    now_s: i64,
) -> Result<String, Refusal> {
    for name in ["x-tc-action", "x-tc-version", "x-tc-timestamp"] {
        if text(request.headers, name).is_none() {
            return Err(Refusal::MissingHeader(name));
        }
    }
    let timestamp = text(request.headers, "x-tc-timestamp").unwrap_or_default();
    let timestamp_s: i64 = timestamp.parse().map_err(|_| Refusal::TimestampNotANumber)?;
    let authorization = Authorization::parse(request.headers)?;

    if now_s.abs_diff(timestamp_s) > MAX_CLOCK_SKEW_S.unsigned_abs() {
        return Err(Refusal::SignatureExpire { timestamp_s, now_s });
    }
    authorization.check_scope(service, timestamp_s)?;
    let key = keys.iter().find(|key| key.secret_id == authorization.secret_id).ok_or(Refusal::SecretIdNotFound)?;

    let expected = SigningInput::expected(service, request, &authorization, timestamp_s)?;
    for signed in [&expected, &expected.without_port()] {
        if same_signature(&signed.signature(&key.secret_key), authorization.signature) {
            return Ok(key.secret_id.clone());
        }
    }
    Err(Refusal::SignatureFailure(diagnosis::diagnose(expected, request, &authorization, &key.secret_key)))
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the header {0} is missing")]
    MissingHeader(&'static str),
    #[error("x-tc-timestamp must be UNIX seconds in decimal digits")]
    TimestampNotANumber,
    #[error("the Authorization header is not acceptable: {0}")]
    InvalidAuthorization(String),
    #[error(
        "the signature has expired: x-tc-timestamp is {timestamp_s}, the server's clock says {now_s}, \
         and they may differ by {MAX_CLOCK_SKEW_S} s"
    )]
    SignatureExpire { timestamp_s: i64, now_s: i64 },
    #[error("the SecretId is not known")]
    SecretIdNotFound,
    #[error("the signature does not match the request: {0}")]
    SignatureFailure(Diagnosis),
}

impl Refusal {
    /// The vendor's code for this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::MissingHeader(_) => "MissingParameter",
            Refusal::TimestampNotANumber => "InvalidParameter",
            Refusal::InvalidAuthorization(_) => "AuthFailure.InvalidAuthorization",
            Refusal::SignatureExpire { .. } => "AuthFailure.SignatureExpire",
            Refusal::SecretIdNotFound => "AuthFailure.SecretIdNotFound",
            Refusal::SignatureFailure(_) => "AuthFailure.SignatureFailure",
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Timestamp => Self::TimestampNotANumber,
            Malformed::Authorization(reason) => Self::InvalidAuthorization(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{signing::bare_host, *};
    use http::HeaderMap;

    const SECRET_ID: &str = "AKIDexample00000000000000000000000001";
    const BODY: &[u8] = r#"{"RuleId": "1", "Name": "韦小宝"}"#.as_bytes();

    /// The parts of a request that these tests vary.
    struct Sample {
        timestamp: &'static str,
        credential: &'static str,
        signed_headers: &'static str,
        signature: &'static str,
    }

    // The expected values were computed with Python's `hmac` and `hashlib`, step by step as the
    // vendor describes them: key "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE", and the headers and the body
    // of this module.
    const RIGHT: Sample = Sample {
        timestamp: "1700000000",
        credential: "AKIDexample00000000000000000000000001/2023-11-14/faceid/tc3_request",
        signed_headers: "content-type;host;x-tc-action",
        signature: "fd80651451577070837c4cfc6812581dd82aebaf153de2d4ff9ed1bae16b88e8",
    };

    impl Sample {
        fn headers(&self) -> HeaderMap {
            let authorization = format!(
                "TC3-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}",
                self.credential, self.signed_headers, self.signature
            );
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("authorization", authorization.as_str()),
                ("content-type", "application/json; charset=utf-8"),
                ("host", "faceid.tencentcloudapi.com"),
                ("x-tc-action", "DetectAuth"),
                ("x-tc-timestamp", self.timestamp),
                ("x-tc-version", "2018-03-01"),
            ] {
                headers.insert(name, value.parse().unwrap());
            }
            headers
        }

        fn verify_at(&self, now_s: i64) -> Result<(), Refusal> {
            check(&self.headers(), now_s)
        }

        fn code(&self) -> &'static str {
            self.verify_at(1_700_000_000).map_or_else(|refusal| refusal.code(), |()| "OK")
        }
    }

    fn check(headers: &HeaderMap, now_s: i64) -> Result<(), Refusal> {
        let request = UnverifiedRequest { method: "POST", path: "/", query: "", headers, body: BODY };
        let key =
            KeyPair { secret_id: SECRET_ID.to_owned(), secret_key: "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE".to_owned() };
        verify(&request, &[key], now_s)
    }

    #[test]
    fn each_step_gives_the_known_answer() {
        let headers = RIGHT.headers();
        let request = UnverifiedRequest { method: "POST", path: "/", query: "", headers: &headers, body: BODY };
        let authorization = Authorization::parse(&headers).unwrap();
        let input = SigningInput::expected(SERVICE, &request, &authorization, 1_700_000_000).unwrap();
        assert_eq!(
            input.canonical_request(),
            "POST\n/\n\ncontent-type:application/json; charset=utf-8\nhost:faceid.tencentcloudapi.com\n\
             x-tc-action:detectauth\n\ncontent-type;host;x-tc-action\n\
             5d6e1e147ba630db34282322e5306c27eca1c6bf774713acdd583a0fe8c14b61"
        );
        assert_eq!(
            input.string_to_sign(),
            "TC3-HMAC-SHA256\n1700000000\n2023-11-14/faceid/tc3_request\n\
             950fe0f83585baab6e799f6da316cb5b8e13dc6877e42303cb9cd10d1cedcc41"
        );
        assert_eq!(input.signature("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"), RIGHT.signature);
        assert_eq!(RIGHT.code(), "OK");
    }

    #[test]
    fn the_date_turns_at_midnight_in_utc() {
        let before = Sample {
            timestamp: "1700006399",
            signature: "6e45d8c9a661e052686b1756a1ecc0a44bd1c4fe6abaab36b254a400bafce765",
            ..RIGHT
        };
        let after = Sample {
            timestamp: "1700006400",
            credential: "AKIDexample00000000000000000000000001/2023-11-15/faceid/tc3_request",
            signature: "2306035ae181455c09e07e1a7409b6c09685d635ca972e828cba0ca6b9c35903",
            ..RIGHT
        };
        assert_eq!([before.verify_at(1_700_006_400), after.verify_at(1_700_006_400)], [Ok(()), Ok(())]);
    }

    #[test]
    fn five_minutes_are_allowed_and_no_more() {
        assert_eq!(RIGHT.verify_at(1_700_000_300), Ok(()));
        assert_eq!(RIGHT.verify_at(1_699_999_700), Ok(()));
        for now_s in [1_700_000_301, 1_699_999_699, i64::MAX, i64::MIN] {
            let refusal = RIGHT.verify_at(now_s).unwrap_err();
            assert_eq!(refusal, Refusal::SignatureExpire { timestamp_s: 1_700_000_000, now_s });
            assert_eq!(refusal.code(), "AuthFailure.SignatureExpire");
        }
    }

    #[test]
    fn every_refusal_has_the_vendors_code() {
        let wrong_signature = Sample { signature: "00", ..RIGHT };
        assert_eq!(wrong_signature.code(), "AuthFailure.SignatureFailure");
        let other_key = Sample { credential: "AKIDother/2023-11-14/faceid/tc3_request", ..RIGHT };
        assert_eq!(other_key.code(), "AuthFailure.SecretIdNotFound");
        assert_eq!(Sample { timestamp: "now", ..RIGHT }.code(), "InvalidParameter");
        for (credential, signed_headers) in [
            ("AKIDexample00000000000000000000000001", RIGHT.signed_headers),
            ("AKIDexample00000000000000000000000001/2023-11-14/cvm/tc3_request", RIGHT.signed_headers),
            ("AKIDexample00000000000000000000000001/2023-11-14/faceid/tc2_request", RIGHT.signed_headers),
            ("AKIDexample00000000000000000000000001/2023-11-15/faceid/tc3_request", RIGHT.signed_headers),
            (RIGHT.credential, "host;x-tc-action"),
            (RIGHT.credential, "content-type;x-tc-action"),
            (RIGHT.credential, "content-type;host;x-absent"),
        ] {
            let sample = Sample { credential, signed_headers, ..RIGHT };
            assert_eq!(sample.code(), "AuthFailure.InvalidAuthorization", "{credential} {signed_headers}");
        }
    }

    #[test]
    fn a_body_may_be_left_unsigned() {
        let signed = Sample { signature: "ca81366e0698a4457956d53449b3b80d7bc9dcae68f83ab8db057c46902285e5", ..RIGHT };
        assert_eq!(signed.code(), "AuthFailure.SignatureFailure", "without the header that says so");
        let mut headers = signed.headers();
        headers.insert("x-tc-content-sha256", "UNSIGNED-PAYLOAD".parse().unwrap());
        assert_eq!(check(&headers, 1_700_000_000), Ok(()));
    }

    #[test]
    fn the_port_of_the_host_may_be_left_unsigned() {
        let mut headers = RIGHT.headers();
        headers.insert("host", "faceid.tencentcloudapi.com:9000".parse().unwrap());
        assert_eq!(check(&headers, 1_700_000_000), Ok(()));
        assert_eq!(["[::1]:9000", "[::1]", "a:1", "a"].map(bare_host), ["[::1]", "[::1]", "a", "a"]);
    }

    #[test]
    fn a_local_date_in_the_scope_is_recognised() {
        let credential = "AKIDexample00000000000000000000000001/2023-11-15/faceid/tc3_request";
        let refusal = Sample { credential, ..RIGHT }.verify_at(1_700_000_000).unwrap_err();
        assert!(refusal.to_string().contains("local date (+08:00)"), "{refusal}");
    }

    #[test]
    fn missing_headers_are_named() {
        for name in ["x-tc-action", "x-tc-version", "x-tc-timestamp"] {
            let mut headers = RIGHT.headers();
            headers.remove(name);
            let refusal = check(&headers, 1_700_000_000).unwrap_err();
            assert_eq!((&refusal, refusal.code()), (&Refusal::MissingHeader(name), "MissingParameter"));
        }
        let mut headers = RIGHT.headers();
        headers.remove("authorization");
        assert_eq!(check(&headers, 1_700_000_000).unwrap_err().code(), "AuthFailure.InvalidAuthorization");
        headers.insert("authorization", "Bearer x".parse().unwrap());
        assert_eq!(check(&headers, 1_700_000_000).unwrap_err().code(), "AuthFailure.InvalidAuthorization");
    }
}
