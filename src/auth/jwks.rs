//! The keys of the JWTs' issuer (JWKS, RFC 7517), from a file or an address, kept fresh.
//!
//! Keys that could be fetched once are kept until others come: an issuer that is down for an hour
//! stops nobody.

use crate::{
    bounded_body::{self, ReadError},
    reload::FileWatch,
};
use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use std::{fs, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use url::Url;

/// A set of a hundred RSA keys has some 50 KiB.
const MAX_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 100;
/// For one fetch, from connecting to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// After a fetch that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Tokens with key ids that nobody knows do not make us ask more often than this: anyone can make
/// one up.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(5);

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    File(PathBuf),
    Url(Url),
}

/// The key set could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("it could not be fetched: {0}")]
    Fetch(#[from] reqwest::Error),
    #[error("it was answered with HTTP status {0}")]
    Status(u16),
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    #[error("it is not a JSON Web Key Set")]
    NotJwks,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("it has no key that can verify a signature (RSA, EC or Ed25519)")]
    NoKey,
}

/// Keys that are kept fresh.
pub(super) struct Jwks {
    source: JwksSource,
    http: reqwest::Client,
    keys: ArcSwap<KeySet>,
    /// When the issuer was last asked. Held while it is asked: other calls that need a new key wait
    /// for the same answer.
    asked_at: Mutex<Option<Instant>>,
}

impl Jwks {
    /// Reads or fetches the keys, and keeps them fresh until `stop`.
    ///
    /// # Errors
    /// When a file has no usable keys. An issuer that does not answer is asked again.
    pub(super) async fn start(
        source: JwksSource,
        refresh_interval: Duration,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let empty = ArcSwap::from_pointee(KeySet::default());
        let jwks = Arc::new(Self { source, http, keys: empty, asked_at: Mutex::new(None) });
        let keeper = Arc::clone(&jwks);
        match &jwks.source {
            JwksSource::File(path) => {
                let mut watch = FileWatch::new(vec![path.clone()]);
                jwks.refresh().await?;
                tokio::spawn(async move {
                    while stop.run_until_cancelled(watch.changed()).await.is_some() {
                        keeper.try_refresh().await;
                    }
                });
            }
            JwksSource::Url(_) => {
                let mut fresh = jwks.try_refresh().await;
                tokio::spawn(async move {
                    loop {
                        let pause = if fresh { refresh_interval } else { refresh_interval.min(RETRY_INTERVAL) };
                        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                            return;
                        }
                        fresh = keeper.try_refresh().await;
                    }
                });
            }
        }
        Ok(jwks)
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Asks the issuer again because a token names a key that is not in `known`, unless it was
    /// asked a moment ago or somebody else just did. Gives the keys as they are then.
    pub(super) async fn look_again(&self, known: &Arc<KeySet>) -> Arc<KeySet> {
        if matches!(self.source, JwksSource::Url(_)) {
            let mut asked_at = self.asked_at.lock().await;
            let just_asked = asked_at.is_some_and(|at| at.elapsed() < UNKNOWN_KEY_INTERVAL);
            if Arc::ptr_eq(known, &self.keys()) && !just_asked {
                self.try_refresh().await;
                // Stamped after the fetch, so that waiters do not repeat it.
                *asked_at = Some(Instant::now());
            }
        }
        self.keys()
    }

    /// Whether the keys could be had. Where not, those from before are kept.
    async fn try_refresh(&self) -> bool {
        let refreshed = self.refresh().await;
        let outcome = if refreshed.is_ok() { "ok" } else { "failed" };
        metrics::counter!("faceid_jwks_refreshes_total", "outcome" => outcome).increment(1);
        if let Err(error) = &refreshed {
            let kept = self.keys().keys.len();
            tracing::warn!(error = %error, kept, "the keys of the JWTs' issuer could not be refreshed; those from before count");
        }
        refreshed.is_ok()
    }

    async fn refresh(&self) -> Result<(), Error> {
        let json = match &self.source {
            JwksSource::File(path) => {
                fs::read(path).map_err(|source| Error::Unreadable { path: path.clone(), source })?
            }
            JwksSource::Url(url) => self.fetch(url.clone()).await?,
        };
        let keys = KeySet::parse(&json)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    async fn fetch(&self, url: Url) -> Result<Vec<u8>, Error> {
        let answer = self.http.get(url).send().await?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Error::Status(answer.status().as_u16()));
        }
        bounded_body::read(answer, MAX_BYTES).await.map_err(|error| match error {
            ReadError::TooLarge { .. } => Error::TooLong,
            ReadError::Broken(error) => Error::Fetch(error),
        })
    }
}

/// The keys that verify signatures.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    /// The one algorithm that the issuer uses it for, where it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Takes what can verify a signature, and leaves out what cannot: keys for encryption, shared
    /// secrets, unknown kinds.
    fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_BYTES {
            return Err(Error::TooLong);
        }
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| Error::NotJwks)?;
        if set.keys.len() > MAX_KEYS {
            return Err(Error::TooMany);
        }
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::of).collect();
        if keys.is_empty() { Err(Error::NoKey) } else { Ok(Self { keys }) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for a token that names it. One that names none can only be of an issuer that has a
    /// single key.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let fits =
            |key: &&Key| key.key.family() == algorithm.family() && key.algorithm.is_none_or(|only| only == algorithm);
        match (id, self.keys.as_slice()) {
            (Some(_), keys) => keys.iter().filter(|key| key.id.as_deref() == id).find(fits),
            (None, [only]) => Some(only).filter(fits),
            (None, _) => None,
        }
        .map(|key| &key.key)
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(named) => Some(Algorithm::try_from(named).ok()?),
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (key.family() != AlgorithmFamily::Hmac).then(|| Self { id: jwk.common.key_id.clone(), algorithm, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    const SECRET: &str = r#""kty":"oct","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE""#;

    fn set(keys: &[String]) -> Result<KeySet, Error> {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes())
    }

    #[test]
    fn only_what_verifies_signatures_is_taken() {
        let keys = set(&[
            format!("{{{ED},\"kid\":\"a\",\"use\":\"sig\"}}"),
            format!("{{{ED},\"kid\":\"b\",\"use\":\"enc\"}}"),
            format!("{{{SECRET},\"kid\":\"c\"}}"),
            "{\"kty\":\"new\",\"kid\":\"d\"}".to_owned(),
        ])
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(keys.keys.len(), 1);
        assert!(keys.find(Some("a"), Algorithm::EdDSA).is_some());
        assert!(keys.find(None, Algorithm::EdDSA).is_some());
        assert!(keys.find(Some("a"), Algorithm::RS256).is_none());
        assert!(keys.find(Some("c"), Algorithm::HS256).is_none());
        let secret = format!("{{{SECRET},\"kid\":\"c\"}}");
        assert!(matches!(set(&[secret]), Err(Error::NoKey)));
    }

    #[test]
    fn a_token_without_a_key_id_does_not_choose_among_several() {
        let key = |id: &str| format!("{{{ED},\"kid\":\"{id}\"}}");
        let keys = set(&[key("a"), key("b")]).unwrap_or_else(|error| panic!("{error}"));
        assert!(keys.find(None, Algorithm::EdDSA).is_none());
        assert!(keys.find(Some("b"), Algorithm::EdDSA).is_some());
    }

    #[test]
    fn what_is_too_much_or_no_set_is_refused() {
        assert!(matches!(KeySet::parse(b"[]"), Err(Error::NotJwks)));
        assert!(matches!(KeySet::parse(b"{\"keys\":[]}"), Err(Error::NoKey)));
        assert!(matches!(KeySet::parse(&vec![b' '; MAX_BYTES + 1]), Err(Error::TooLong)));
        let many: Vec<String> = (0..=MAX_KEYS).map(|i| format!("{{{ED},\"kid\":\"{i}\"}}")).collect();
        assert!(matches!(set(&many), Err(Error::TooMany)));
    }
}
