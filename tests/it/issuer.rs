//! An issuer of JWTs, with keys that can be changed, and whose key set can be asked for by HTTP.

use axum::{Router, routing::get};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;

pub const ISSUER: &str = "https://issuer.test";
pub const AUDIENCE: &str = "faceid-gateway";

/// A key of an issuer.
pub struct IssuerKey {
    id: String,
    pair: KeyPair,
}

impl IssuerKey {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), pair: KeyPair::generate().expect("a key") }
    }

    pub fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.pair.public_key_raw();
        let coordinate = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": coordinate(1..33), "y": coordinate(33..65)})
    }

    /// A token with these claims in place of those that a good one has. Null removes a claim.
    pub fn token(&self, subject: &str, now_s: i64, claims: Value) -> String {
        let mut all = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now_s + 300, "nbf": now_s});
        let (Some(all_claims), Value::Object(claims)) = (all.as_object_mut(), claims) else { panic!("claims") };
        for (name, value) in claims {
            if value.is_null() {
                all_claims.remove(&name)
            } else {
                all_claims.insert(name, value)
            };
        }
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        encode(&self.header(Algorithm::ES256), &all, &key).expect("a token")
    }

    /// A token whose signature is a MAC, with what everybody knows of this key as the shared
    /// secret.
    pub fn token_with_public_secret(&self, subject: &str, now_s: i64) -> String {
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now_s + 300});
        let secret = EncodingKey::from_secret(self.pair.public_key_raw());
        encode(&self.header(Algorithm::HS256), &claims, &secret).expect("a token")
    }

    fn header(&self, algorithm: Algorithm) -> Header {
        Header { kid: Some(self.id.clone()), ..Header::new(algorithm) }
    }
}

pub fn key_set(keys: &[&IssuerKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Answers with its key set, and counts how often.
#[derive(Clone)]
pub struct KeyServer {
    pub address: SocketAddr,
    content: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
}

impl KeyServer {
    pub async fn start(content: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server =
            Self { address, content: Arc::new(Mutex::new(content)), asked: Arc::default(), silent: Arc::default() };
        let answering = server.clone();
        let answer = move || {
            answering.asked.fetch_add(1, Ordering::SeqCst);
            let (content, silent) = (answering.content.lock().expect("no panic").clone(), answering.silent.clone());
            async move {
                if silent.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                content
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks", get(answer))).await });
        server
    }

    pub fn publish(&self, content: String) {
        *self.content.lock().expect("no panic") = content;
    }

    /// From now on it takes questions and does not answer.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The section [auth.jwt] with keys at `source`, such as `jwks_file = "…"`.
pub fn jwt_section(source: &str) -> String {
    format!("[auth.jwt]\n{source}\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n")
}
