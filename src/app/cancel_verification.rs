//! CancelVerification: the caller has lost interest.

use super::{App, Error, record::Record, settle::note_change};
use crate::{
    domain::{
        audit::AuditAction,
        caller::Caller,
        event::EventKind,
        fault::Fault,
        ids::VerificationId,
        verification::{State, Verification},
    },
    store::row::Effects,
    tencent::Urgency,
};
use std::sync::Arc;

impl App {
    /// Cancels a pending verification; a canceled one stays so. The vendor is asked first: a pass
    /// that was not seen yet has passed. While the vendor cannot be asked for now, nothing is
    /// canceled; where it refuses for good, the caller's word counts.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::AlreadyFinal`] when the outcome is decided.
    pub async fn cancel_verification(
        self: &Arc<Self>,
        caller: &Caller,
        unverified_id: &str,
        urgency: Urgency,
    ) -> Result<Verification, Error> {
        let id = VerificationId::parse(unverified_id)
            .map_err(|problem| Error::InvalidFields(vec![Fault { field: "verification_id".into(), problem }]))?;
        let id = id.to_string();
        let row = self.store.find(&id).await?.filter(|row| row.created.caller == caller.name);
        match self.settle(self.open(row)?, urgency).await {
            Ok(_) => {}
            Err(error) if error.is_worth_a_retry() => return Err(error),
            Err(error) => {
                tracing::warn!(verification_id = %id, error = %error, "canceled without a word of the vendor")
            }
        }
        loop {
            let row = self.store.find(&id).await?.filter(|row| row.created.caller == caller.name);
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
            let (progress, mac) = canceled.progress(&self.keyring);
            if self.store.advance(&id, before.version, progress, mac, effects).await? {
                note_change(&before, &canceled.verification);
                return Ok(canceled.verification);
            }
        }
    }
}
