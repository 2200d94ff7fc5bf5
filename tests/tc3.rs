//! The signer against the official SDK's answers, each step apart. Includes `src/tc3/` alone: it
//! needs nothing of ours.

#[path = "../src/tc3/mod.rs"]
mod tc3;

use serde::Deserialize;
use tc3::{SigningKey, SigningRequest, sign};

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
    service: String,
    host: String,
    content_type: String,
    body: String,
    canonical_request: String,
    string_to_sign: String,
    signature: String,
    authorization: String,
}

fn vectors() -> Vec<Vector> {
    let file: VectorFile =
        serde_json::from_str(include_str!("vectors/tc3/tc3.json")).expect("tc3.json is what make_vectors.py wrote");
    file.vectors
}

fn sign_vector(vector: &Vector) -> tc3::Signature {
    let key =
        SigningKey::derive(&vector.secret_key, &vector.service, vector.timestamp).expect("a timestamp of our age");
    let headers = [("Host", vector.host.as_str()), ("Content-Type", vector.content_type.as_str())];
    sign(
        &SigningRequest { headers: &headers, body: vector.body.as_bytes(), timestamp: vector.timestamp },
        &vector.secret_id,
        &key,
    )
}

#[test]
fn the_vectors_cover_what_matters() {
    let names: Vec<String> = vectors().into_iter().map(|vector| vector.name).collect();
    for needed in ["plain_ascii", "session_token", "last_second_of_day", "first_second_of_day"] {
        assert!(names.iter().any(|name| name == needed), "{needed} is missing in {names:?}");
    }
    assert!(vectors().iter().any(|vector| !vector.body.is_ascii()), "no vector has a non-ASCII name");
}

#[test]
fn canonical_requests_are_the_sdks() {
    for vector in vectors() {
        assert_eq!(sign_vector(&vector).canonical_request, vector.canonical_request, "{}", vector.name);
    }
}

#[test]
fn strings_to_sign_are_the_sdks() {
    for vector in vectors() {
        assert_eq!(sign_vector(&vector).string_to_sign, vector.string_to_sign, "{}", vector.name);
    }
}

#[test]
fn signatures_are_the_sdks() {
    for vector in vectors() {
        let signed = sign_vector(&vector);
        assert_eq!(signed.signature, vector.signature, "{}", vector.name);
        assert_eq!(signed.authorization, vector.authorization, "{}", vector.name);
    }
}

#[test]
fn a_key_is_for_its_utc_day_only() {
    let before_midnight = 1_700_092_799; // 2023-11-15T23:59:59Z
    let key = SigningKey::derive("key", "faceid", before_midnight).expect("a timestamp of our age");
    assert!(key.is_for(before_midnight));
    assert!(!key.is_for(before_midnight + 1));
    assert!(SigningKey::derive("key", "faceid", i64::MAX).is_err());
}
