//! The simulator's signature check against the official SDK's answers. Includes
//! `src/simulator/verify.rs` alone: it needs nothing of ours, so the signer and its judge cannot
//! share a mistake.

#[path = "../src/simulator/verify.rs"]
#[allow(dead_code, unused_imports, reason = "the test needs only a part of the module")]
mod verify;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use verify::{KeyPair, UnverifiedRequest, verify};

#[derive(Deserialize)]
struct VectorFile {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret_id: String,
    secret_key: String,
    timestamp: i64,
    host: String,
    action: String,
    version: String,
    content_type: String,
    body: String,
    authorization: String,
}

fn vectors() -> Vec<Vector> {
    let file: VectorFile =
        serde_json::from_str(include_str!("vectors/tc3/tc3.json")).expect("tc3.json is what make_vectors.py wrote");
    assert!(!file.vectors.is_empty());
    file.vectors
}

/// The code of the refusal, if the vector's request, with this body and at this time, is refused.
fn refusal(vector: &Vector, secret_key: &str, body: &str, now_s: i64) -> Option<&'static str> {
    let headers = HeaderMap::from_iter(
        [
            ("host", vector.host.as_str()),
            ("content-type", &vector.content_type),
            ("x-tc-action", &vector.action),
            ("x-tc-version", &vector.version),
            ("x-tc-timestamp", &vector.timestamp.to_string()),
            ("authorization", &vector.authorization),
        ]
        .map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("the SDK sent it as a header"))
        }),
    );
    let request = UnverifiedRequest { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
    let key = KeyPair { secret_id: vector.secret_id.clone(), secret_key: secret_key.to_owned() };
    verify(&request, &[key], now_s).err().map(|refusal| refusal.code())
}

#[test]
fn what_the_sdk_signed_is_accepted_within_five_minutes() {
    for vector in vectors() {
        for skew in [-300, 0, 300] {
            let refused = refusal(&vector, &vector.secret_key, &vector.body, vector.timestamp + skew);
            assert_eq!(refused, None, "{} at {skew} s", vector.name);
        }
        for skew in [-301, 301] {
            let refused = refusal(&vector, &vector.secret_key, &vector.body, vector.timestamp + skew);
            assert_eq!(refused, Some("AuthFailure.SignatureExpire"), "{} at {skew} s", vector.name);
        }
    }
}

#[test]
fn another_key_or_body_is_refused() {
    for vector in vectors() {
        let changed = format!("{} ", vector.body);
        for (key, body) in [("another key", &vector.body), (vector.secret_key.as_str(), &changed)] {
            let refused = refusal(&vector, key, body, vector.timestamp);
            assert_eq!(refused, Some("AuthFailure.SignatureFailure"), "{}", vector.name);
        }
    }
}
