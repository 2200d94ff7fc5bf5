//! CancelVerification: the caller has lost interest.

use super::{App, AuditAction, Error, event::EventKind, record::Record, settle::note_change};
use crate::{
    domain::{
        caller::Caller,
        fault::Fault,
        ids::VerificationId,
        verification::{State, Verification},
    },
    store::row::Effects,
};

impl App {
    /// Cancels a pending verification; one that is canceled stays so.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::AlreadyFinal`] when the outcome is decided.
    pub async fn cancel_verification(&self, caller: &Caller, unverified_id: &str) -> Result<Verification, Error> {
        let id = VerificationId::parse(unverified_id)
            .map_err(|problem| Error::InvalidFields(vec![Fault { field: "verification_id".into(), problem }]))?;
        let id = id.to_string();
        loop {
            let row = self.store.find(&id).await?.filter(|row| row.made.caller == caller.name);
            let record = self.open(row)?;
            let before = record.verification.clone();
            if matches!(before.state, State::Canceled { .. }) {
                return Ok(before);
            }
            let at = self.clock.now();
            let canceled = Record { verification: record.verification.cancel(at)?, ..record };
            let mut effects = Effects {
                audit: vec![self.audit_event(&caller.name, AuditAction::Canceled, &id)],
                jobs: self.jobs_at_the_end(&canceled.verification),
                ..Effects::default()
            };
            self.announce(&mut effects, &canceled.verification, EventKind::Canceled, at);
            if self.store.advance(&id, before.version, canceled.progress(&self.keyring), effects).await? {
                note_change(&before, &canceled.verification);
                return Ok(canceled.verification);
            }
        }
    }
}
