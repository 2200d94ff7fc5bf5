//! Signs a request for the time at which it leaves, for every service of the vendor.

use super::error::ErrorKind;
use crate::{
    domain::key_pair::KeyPair,
    tc3::{self, SigningKey, SigningRequest},
};
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const JSON: &str = "application/json; charset=utf-8";
/// In place of a signature, where the vendor takes another proof.
const UNSIGNED: &str = "SKIP";

type Sha256Hash = [u8; 32];

/// Signs for one service and version of the vendor's API.
pub(super) struct Signer {
    /// The service's name in the signature's scope.
    service: String,
    version: &'static str,
    /// The derived keys of the day, each beside the hash of its SecretKey, which itself stays in
    /// memory only as long as a call needs it.
    keys: Mutex<Vec<(Sha256Hash, Arc<SigningKey>)>>,
}

/// A request to sign.
pub(super) struct Unsigned<'a> {
    pub(super) host: &'a HeaderValue,
    pub(super) action: &'static str,
    pub(super) body: &'a [u8],
    /// UNIX seconds, by the vendor's clock.
    pub(super) timestamp: i64,
}

impl Signer {
    pub(super) fn new(service: impl Into<String>, version: &'static str) -> Self {
        Self { service: service.into(), version, keys: Mutex::default() }
    }

    /// The headers of a request. Without a key pair it goes unsigned.
    pub(super) fn headers(&self, request: &Unsigned<'_>, pair: Option<&KeyPair>) -> Result<HeaderMap, ErrorKind> {
        let mut authorization = match pair {
            Some(pair) => header_value(&self.authorization(request, pair)?),
            None => HeaderValue::from_static(UNSIGNED),
        };
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(JSON)),
            (HOST, request.host.clone()),
            (AUTHORIZATION, authorization),
            (HeaderName::from_static("x-tc-action"), HeaderValue::from_static(request.action)),
            (HeaderName::from_static("x-tc-version"), HeaderValue::from_static(self.version)),
            (HeaderName::from_static("x-tc-timestamp"), HeaderValue::from(request.timestamp)),
        ]);
        // Sent and not signed, as the vendor's SDKs do it.
        if let Some(token) = pair.and_then(KeyPair::session_token) {
            let mut token = header_value(token.expose_secret());
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-tc-token"), token);
        }
        Ok(headers)
    }

    fn authorization(&self, request: &Unsigned<'_>, pair: &KeyPair) -> Result<String, ErrorKind> {
        let host = request.host.to_str().expect("a host is ASCII");
        let headers = [("content-type", JSON), ("host", host)];
        let Unsigned { body, timestamp, .. } = *request;
        let key = self.key(pair, timestamp)?;
        let request = SigningRequest { headers: &headers, body, timestamp };
        Ok(tc3::sign(&request, pair.secret_id().expose_secret(), &key).authorization)
    }

    /// The derived key of this SecretKey and day, kept for the day.
    fn key(&self, pair: &KeyPair, timestamp: i64) -> Result<Arc<SigningKey>, ErrorKind> {
        let secret_key = pair.secret_key().expose_secret();
        let hash = Sha256::digest(secret_key).into();
        let mut keys = self.keys.lock();
        if let Some((_, key)) = keys.iter().find(|(of, key)| *of == hash && key.is_for(timestamp)) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::derive(secret_key, &self.service, timestamp)?);
        keys.retain(|(_, key)| key.is_for(timestamp));
        keys.push((hash, Arc::clone(&key)));
        Ok(key)
    }
}

/// A checked key pair has visible ASCII only; anything else must not be sent, and the vendor
/// refuses this.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unsendable"))
}
