//! Tencent's key pairs, sealed in the store.

use super::error::CredentialError;
use crate::{
    domain::{
        audit::AuditAction,
        key_pair::{KeyPair, TEST_OK},
    },
    store::{
        Store,
        row::{AuditRow, CredentialRow, Effects, KeyPairRow},
    },
    vault::{Keyring, Place},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::{iter, sync::Arc};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// [`CredentialRow::origin`] of what the configuration brought.
pub const FROM_CONFIGURATION: &str = "configuration";
/// [`CredentialRow::origin`] of what a caller brought.
pub const FROM_API: &str = "api";

/// Seals key pairs and opens them.
pub struct CredentialVault {
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
}

/// Result of [`CredentialVault::put_where_absent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none of this name.
    Added,
    /// The pair is among those of the vault.
    Known,
    /// The vault has other pairs, none of which the vendor has accepted so far: the new one goes
    /// before them.
    Preferred,
    /// The vault has other pairs, which the vendor has accepted. They stay.
    Differs,
}

impl CredentialVault {
    /// The credentials of a store, sealed with a keyring.
    pub fn new(keyring: Arc<Keyring>, store: Arc<dyn Store>) -> Self {
        Self { keyring, store }
    }

    /// Puts a key pair of the configuration under a name that the vault does not have, or before
    /// pairs that the vendor has never accepted: a secret that was mistyped at the first start is
    /// mended where it was typed.
    ///
    /// # Errors
    /// When the store fails, or holds a credential that the keyring does not open.
    pub async fn put_where_absent(&self, name: &str, pair: &KeyPair, at_ms: i64) -> Result<Put, CredentialError> {
        if self.store.find_credential(name).await?.is_none() {
            let new = CredentialRow {
                name: name.to_owned(),
                version: 1,
                origin: FROM_CONFIGURATION.to_owned(),
                disabled_at_ms: None,
                key_pairs: vec![self.seal(name, pair, at_ms)],
            };
            let audit = AuditRow {
                at_ms,
                actor: FROM_CONFIGURATION.to_owned(),
                action: AuditAction::CredentialCreated.name().to_owned(),
                credential: name.to_owned(),
                ..AuditRow::default()
            };
            if self.store.create_credential(new, Effects { audit: vec![audit], ..Effects::default() }).await? {
                return Ok(Put::Added);
            }
        }
        // Another replica may have been quicker just now.
        let row = self.find(name).await?;
        for sealed in &row.key_pairs {
            if self.open(name, sealed)? == *pair {
                return Ok(Put::Known);
            }
        }
        if row.key_pairs.iter().any(was_accepted) {
            return Ok(Put::Differs);
        }
        self.put_before(row, pair, at_ms).await
    }

    async fn put_before(&self, row: CredentialRow, pair: &KeyPair, at_ms: i64) -> Result<Put, CredentialError> {
        let CredentialRow { name, key_pairs, .. } = &row;
        // Two are live at most.
        let key_pairs = iter::once(self.seal(name, pair, at_ms)).chain(key_pairs.first().cloned()).collect();
        let audit = AuditRow {
            at_ms,
            actor: FROM_CONFIGURATION.to_owned(),
            action: AuditAction::CredentialRotated.name().to_owned(),
            credential: name.clone(),
            ..AuditRow::default()
        };
        let effects = Effects { audit: vec![audit], ..Effects::default() };
        let is_changed = self.store.change_credential(CredentialRow { key_pairs, ..row }, effects).await?;
        // Else another replica, or an operator, was quicker: what they put there stays.
        Ok(if is_changed { Put::Preferred } else { Put::Differs })
    }

    /// The credential of a name, with its pairs sealed.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn find(&self, name: &str) -> Result<CredentialRow, CredentialError> {
        self.store.find_credential(name).await?.ok_or_else(|| CredentialError::Absent(name.to_owned()))
    }

    /// Seals a new key pair of a credential.
    pub fn seal(&self, credential: &str, pair: &KeyPair, at_ms: i64) -> KeyPairRow {
        let id = format!("{credential}.{}", uuid::Uuid::new_v4().simple());
        let plain = SealedKeyPair {
            secret_id: pair.secret_id().expose_secret().to_owned(),
            secret_key: pair.secret_key().expose_secret().to_owned(),
        };
        // Large enough from the start: a vector that grows leaves what it had where nobody wipes
        // it.
        let mut json = Zeroizing::new(Vec::with_capacity(2 * (plain.secret_id.len() + plain.secret_key.len()) + 64));
        serde_json::to_writer(&mut *json, &plain).expect("two strings are JSON");
        let sealed_key_pair = self.keyring.seal(place(&id), &json);
        KeyPairRow { id, sealed_key_pair, created_at_ms: at_ms, used_at_ms: None, tested: None }
    }

    /// Opens a key pair of a credential.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(&self, credential: &str, sealed: &KeyPairRow) -> Result<KeyPair, CredentialError> {
        let json = self
            .keyring
            .open(place(&sealed.id), &sealed.sealed_key_pair)
            .map_err(|source| CredentialError::Unreadable { name: credential.to_owned(), source })?;
        let plain: SealedKeyPair =
            serde_json::from_slice(&json).map_err(|_| CredentialError::Corrupt(credential.to_owned()))?;
        Ok(KeyPair::sealed_before(plain.secret_id.as_str(), plain.secret_key.as_str()))
    }
}

fn was_accepted(pair: &KeyPairRow) -> bool {
    pair.used_at_ms.is_some() || pair.tested.as_ref().is_some_and(|(_, code)| code == TEST_OK)
}

/// The sealed form: JSON, which gets new fields easily.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct SealedKeyPair {
    secret_id: String,
    secret_key: String,
}

/// Where a key pair is sealed for. The table's name is that of the first version, whose pairs still
/// open.
pub fn place(id: &str) -> Place<'_> {
    Place { table: "credentials", row: id, column: "sealed_key_pair", bound: &[] }
}
