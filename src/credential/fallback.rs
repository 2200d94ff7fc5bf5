//! Calls to the vendor with the key pairs of a credential.

use super::{Credentials, error::CallError};
use crate::{
    domain::key_pair::KeyPair,
    tencent::{self, ErrorClass},
};
use std::sync::Arc;

impl Credentials {
    /// Calls the vendor with the first key pair of a credential, and when the vendor refuses that
    /// pair, with the next.
    ///
    /// # Errors
    /// When the credential has no usable pair, or the call fails. When all pairs were refused: what
    /// was said of the first.
    pub async fn with_key_pair<T, F>(&self, credential: &str, call: impl Fn(Arc<KeyPair>) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, tencent::Error>>,
    {
        let mut refusal = None;
        for live in self.live_pairs(credential).await? {
            match call(live.pair).await {
                Err(error) if error.class() == ErrorClass::Credential => {
                    self.note_refused(&live.id);
                    tracing::warn!(credential, key_pair = %live.id, error = %error, "the vendor refuses a key pair");
                    // An operator mends the pair that should be used.
                    if live.is_first || refusal.is_none() {
                        refusal = Some(error);
                    }
                }
                answered => {
                    if !live.is_first {
                        let name = credential.to_owned();
                        metrics::counter!("faceid_credential_fallback_total", "credential" => name).increment(1);
                    }
                    if answered.is_ok() {
                        self.note_used(&live.id).await;
                    }
                    return Ok(answered?);
                }
            }
        }
        Err(refusal.expect("a credential that can be used has a key pair").into())
    }
}
