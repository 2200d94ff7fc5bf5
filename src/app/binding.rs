//! Protects a verification's row from changes: a MAC over its owner and its verdict, under a key of
//! the keyring.
//!
//! Sealed values are bound to their row and its owner by themselves. State, times and codes are in
//! the clear, so that the store can look for them: the MAC keeps a writer to the database from
//! giving a verification to another caller, or a verdict to one that has another.

use super::Error;
use crate::{
    store::row::{NewRow, ProgressRow, RowMac, VerificationRow},
    vault::Keyring,
};

/// The part of what is bound that never changes.
#[derive(Clone)]
pub(super) struct Binding(Vec<u8>);

impl Binding {
    pub(super) fn of(created: &NewRow) -> Self {
        Self(encoded(&(
            &created.id,
            (&created.caller, &created.flow, &created.rule_id, &created.credential),
            (&created.reference, &created.intention, &created.request_id),
            (created.created_at_ms, created.expires_at_ms, created.result_until_ms),
        )))
    }

    /// The MAC of the row as it will be stored.
    pub(super) fn mac(
        &self,
        keyring: &Keyring,
        version: i64,
        progress: &ProgressRow,
        redacted_at_ms: Option<i64>,
    ) -> RowMac {
        let (key_id, mac) = keyring.row_mac(&self.message(version, progress, redacted_at_ms));
        RowMac { key_id: key_id.to_owned(), mac }
    }

    /// Refuses a row that was not written by a gateway with this keyring.
    ///
    /// # Errors
    /// The fault, without the row's content.
    pub(super) fn verify(&self, keyring: &Keyring, row: &VerificationRow) -> Result<(), Error> {
        let message = self.message(row.version, &row.progress, row.redacted_at_ms);
        let RowMac { key_id, mac } = &row.mac;
        let problem = if mac.is_empty() {
            "has none: a build from before 0.2.0 wrote the row (`faceid-gateway bind-rows` gives it one), or somebody took it away"
                .to_owned()
        } else if !keyring.has(key_id) {
            format!("is made with key {key_id:?}, which is not in the keyring (vault.keys): add that key again")
        } else if keyring.verifies_row(key_id, &message, mac) {
            return Ok(());
        } else {
            "does not fit the row: its caller, flow, state, times or codes were changed behind the gateway's back"
                .to_owned()
        };
        Err(Error::UnreadableRow { id: row.created.id.clone(), column: "mac", problem })
    }

    fn message(&self, version: i64, progress: &ProgressRow, redacted_at_ms: Option<i64>) -> Vec<u8> {
        let mut message = self.0.clone();
        message.extend(encoded(&(
            version,
            (&progress.state, progress.settled_at_ms, progress.checked_at_ms, &progress.check_request_id),
            (progress.last_attempt_code, progress.last_attempt_at_ms, progress.attempts_exhausted),
            (progress.result_lost, progress.evidence_lost, progress.sealed_result.is_some()),
            redacted_at_ms,
        )));
        message
    }
}

/// JSON, in which no two lists of values look alike, also one after the other.
fn encoded(values: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(values).expect("texts and numbers")
}
