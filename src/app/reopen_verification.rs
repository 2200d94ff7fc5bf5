//! ReopenVerification: url and token again, for a caller that lost them.

use super::{App, CreatedVerification, Error, create_verification::opened};
use crate::domain::{
    audit::AuditAction,
    caller::Caller,
    fault::Fault,
    ids::VerificationId,
    verification::{AlreadyFinal, State},
};

impl App {
    /// Gives what CreateVerification had answered, while the user can still use it.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::TokenEnded`] when the user cannot.
    pub async fn reopen_verification(
        &self,
        caller: &Caller,
        unverified_id: &str,
    ) -> Result<CreatedVerification, Error> {
        let id = VerificationId::parse(unverified_id)
            .map_err(|problem| Error::InvalidFields(vec![Fault { field: "verification_id".into(), problem }]))?;
        let id = id.to_string();
        let record = self.open(self.store.find(&id).await?.filter(|row| row.created.caller == caller.name))?;
        if record.verification.redacted_at.is_some() {
            return Err(Error::Redacted);
        }
        if record.verification.state != State::Pending {
            return Err(AlreadyFinal.into());
        }
        if record.verification.token_expired(self.clock.now()) {
            return Err(Error::TokenEnded);
        }
        self.audit(&caller.name, AuditAction::Reopened, &id).await?;
        let todays = self.terms().flows.get(&record.verification.flow).map(|flow| flow.access_mode);
        opened(record, todays)
    }
}
