//! Tencent's key pairs, sealed in the store.

use super::keyring::{Keyring, OpenError, Place};
use crate::{
    domain::key_pair::KeyPair,
    store::{self, Store},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Credentials by name.
pub struct CredentialVault {
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
}

/// A credential that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("credential {0} is not in the vault")]
    Absent(String),
    #[error("credential {name}: {source}")]
    Unreadable { name: String, source: OpenError },
    #[error("credential {0}: what was sealed is no key pair")]
    Corrupt(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What [`CredentialVault::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Added,
    Replaced,
    Unchanged,
}

impl CredentialVault {
    pub fn new(keyring: Arc<Keyring>, store: Arc<dyn Store>) -> Self {
        Self { keyring, store }
    }

    /// Puts a key pair under a name, in place of another one.
    ///
    /// # Errors
    /// When the store fails, or holds a credential that the keyring does not open.
    pub async fn put(&self, name: &str, pair: &KeyPair) -> Result<Put, CredentialError> {
        let put = match self.get(name).await {
            Ok(stored) if stored == *pair => return Ok(Put::Unchanged),
            Ok(_) => Put::Replaced,
            Err(CredentialError::Absent(_)) => Put::Added,
            Err(error) => return Err(error),
        };
        let plain = SealedKeyPair {
            secret_id: pair.secret_id.expose_secret().to_owned(),
            secret_key: pair.secret_key.expose_secret().to_owned(),
        };
        let json = zeroize::Zeroizing::new(serde_json::to_vec(&plain).expect("two strings are JSON"));
        self.store.put_credential(name, self.keyring.seal(place(name), &json)).await?;
        Ok(put)
    }

    /// The key pair of a name.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn get(&self, name: &str) -> Result<KeyPair, CredentialError> {
        let sealed = self.store.find_credential(name).await?.ok_or_else(|| CredentialError::Absent(name.to_owned()))?;
        let json = self
            .keyring
            .open(place(name), &sealed)
            .map_err(|source| CredentialError::Unreadable { name: name.to_owned(), source })?;
        let plain: SealedKeyPair =
            serde_json::from_slice(&json).map_err(|_| CredentialError::Corrupt(name.to_owned()))?;
        Ok(KeyPair { secret_id: plain.secret_id.into(), secret_key: plain.secret_key.into() })
    }
}

/// What is sealed: JSON, which gets new fields easily.
#[derive(Serialize, Deserialize)]
struct SealedKeyPair {
    secret_id: String,
    secret_key: String,
}

fn place(name: &str) -> Place<'_> {
    Place { table: "credentials", row: name, column: "sealed_key_pair" }
}
