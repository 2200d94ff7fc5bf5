//! Which keys of the keyring are needed, and whether they are the right ones.

use crate::{
    store::{self, Store, row::KeyUseRow},
    vault::Keyring,
};

/// One key: of the keyring, or needed and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    pub in_keyring: bool,
    /// Whether it is the one that encrypts.
    pub is_first: bool,
    /// Its uses.
    pub used: KeyUseRow,
}

/// A keyring that does not fit what the store holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    #[error(
        "vault.keys lacks key {key_id:?}, which {needed} are sealed with: add it again (after the first key), and take it out \
         only when `vault rewrap` has moved them"
    )]
    Missing { key_id: String, needed: String },
    #[error("vault.keys has another key under the id {0:?} than the store was written with: put the right one back")]
    Wrong(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl KeyUse {
    /// Sealed values that need the key.
    pub fn sealed_values(&self) -> u64 {
        let KeyUseRow { sessions, subjects, results, rows, evidence_keys, key_pairs, .. } = &self.used;
        sessions + subjects + results + rows + evidence_keys + key_pairs
    }

    /// The rows that need the key, for people:
    /// `3 verifications.sealed_session, 1 key_pairs.sealed_key_pair`.
    pub fn needed_by(&self) -> String {
        let KeyUseRow { sessions, subjects, results, rows, evidence_keys, key_pairs, .. } = &self.used;
        [
            (sessions, "verifications.sealed_session"),
            (subjects, "verifications.sealed_subject"),
            (results, "verifications.sealed_result"),
            (rows, "verifications.mac"),
            (evidence_keys, "evidence.sealed_key"),
            (key_pairs, "key_pairs.sealed_key_pair"),
        ]
        .into_iter()
        .filter(|(rows, _)| **rows > 0)
        .map(|(rows, column)| format!("{rows} {column}"))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

/// Every key of the keyring, in its order, and then those that are needed and not in it.
///
/// # Errors
/// When the store fails.
pub async fn key_use(keyring: &Keyring, store: &dyn Store) -> Result<Vec<KeyUse>, store::Error> {
    let mut used = store.key_use().await?;
    let mut keys: Vec<KeyUse> = Vec::new();
    for key_id in keyring.key_ids() {
        let row = used.iter().position(|row| row.key_id == key_id).map(|at| used.remove(at));
        let row = row.unwrap_or_else(|| KeyUseRow { key_id: key_id.to_owned(), ..KeyUseRow::default() });
        keys.push(KeyUse { in_keyring: true, is_first: key_id == keyring.first_id(), used: row });
    }
    keys.extend(used.into_iter().map(|used| KeyUse { in_keyring: false, is_first: false, used }));
    Ok(keys)
}

/// What is wrong with the keyring: keys that are missing, and keys that are not those that the
/// store was written with. Changes nothing.
///
/// # Errors
/// When the store fails.
pub async fn key_faults(keyring: &Keyring, store: &dyn Store) -> Result<Vec<KeyFault>, store::Error> {
    let mut faults = Vec::new();
    // Counted only when there is something to tell: that takes long in a large store.
    if store.sealing_keys().await?.iter().any(|key_id| !keyring.has(key_id)) {
        let missing =
            key_use(keyring, store).await?.into_iter().filter(|key| !key.in_keyring && key.sealed_values() > 0);
        faults.extend(missing.map(|key| KeyFault::Missing { needed: key.needed_by(), key_id: key.used.key_id }));
    }
    for (key_id, sealed_check) in store.key_checks().await? {
        if keyring.key_ids().any(|known| known == key_id) && !keyring.is_same_key(&key_id, &sealed_check) {
            faults.push(KeyFault::Wrong(key_id));
        }
    }
    Ok(faults)
}

/// Remembers the keys that are seen for the first time, so that [`key_faults`] knows them again.
///
/// # Errors
/// When the store fails.
pub async fn remember_keys(keyring: &Keyring, store: &dyn Store) -> Result<(), store::Error> {
    let known = store.key_checks().await?;
    for key_id in keyring.key_ids().filter(|key_id| !known.iter().any(|(known, _)| known == key_id)) {
        if let Some(sealed_check) = keyring.seal_check(key_id) {
            store.put_key_check(key_id, sealed_check).await?;
        }
    }
    Ok(())
}
