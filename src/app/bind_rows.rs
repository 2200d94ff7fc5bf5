//! Rows of builds from before 0.2.0, which no MAC binds: an operator says once that they are to be
//! believed as they are.
//!
//! A start does not do it by itself: an attacker with write access to the database could delete
//! the MACs and have new ones made.

use super::{
    Error,
    binding::Binding,
    cell::{Cell, RESULT, SESSION, SUBJECT},
};
use crate::{
    store::{
        Store,
        row::{Resealed, SealedValue, VerificationRow},
    },
    vault::Keyring,
};

/// So many rows are written together.
const BATCH: u32 = 100;

/// Rows that were bound, and those that were not.
#[derive(Debug, Default)]
pub struct BoundRows {
    pub bound: u64,
    /// Why some rows were left as they are.
    pub left: Vec<Error>,
}

/// Binds each row that has no MAC to its caller, its flow and its verdict, as they are now. A stop
/// on the way costs nothing.
///
/// # Errors
/// When the store fails.
pub async fn bind_rows(keyring: &Keyring, store: &dyn Store) -> Result<BoundRows, Error> {
    let mut all = BoundRows::default();
    loop {
        // Those that are left are found again each time, before the others.
        let skipped = u32::try_from(all.left.len()).unwrap_or(u32::MAX - BATCH);
        let (mut values, mut bound) = (Vec::new(), 0);
        all.left.clear();
        for row in store.unbound(BATCH + skipped).await? {
            match bind(keyring, row) {
                Ok(resealed) => {
                    values.extend(resealed);
                    bound += 1;
                }
                Err(error) => all.left.push(error),
            }
        }
        if bound == 0 {
            return Ok(all);
        }
        store.reseal(values).await?;
        all.bound += bound;
    }
}

fn bind(keyring: &Keyring, row: VerificationRow) -> Result<Vec<Resealed>, Error> {
    let key_id = keyring.first_id().to_owned();
    let created = &row.created;
    let columns = [
        (SESSION, Some(&created.sealed_session)),
        (SUBJECT, Some(&created.sealed_subject)),
        (RESULT, row.progress.sealed_result.as_ref()),
    ];
    let mut resealed = Vec::new();
    for (column, sealed) in columns {
        // An empty one was erased.
        let Some(sealed) = sealed.filter(|sealed| !sealed.is_empty()) else { continue };
        let cell = Cell::of(created, row.version, column);
        let plain = cell.open_unbound(keyring, sealed)?;
        let was = SealedValue::Verification {
            id: created.id.clone(),
            caller: created.caller.clone(),
            flow: created.flow.clone(),
            version: row.version,
            column,
            sealed: sealed.clone(),
        };
        resealed.push(Resealed { was, sealed: cell.seal(keyring, &plain), key_id: key_id.clone(), token_hash: None });
    }
    let mac = Binding::of(created).mac(keyring, row.version, &row.progress, row.redacted_at_ms);
    let was = SealedValue::Row(Box::new(row));
    resealed.push(Resealed { was, sealed: mac.mac, key_id: mac.key_id, token_hash: None });
    Ok(resealed)
}
