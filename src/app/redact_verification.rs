//! RedactVerification: erase a person, keep the skeleton. The flow's retention does the same by
//! itself.

use super::{App, Error};
use crate::{
    domain::{
        audit::AuditAction,
        caller::Caller,
        event::EventKind,
        fault::Fault,
        ids::VerificationId,
        job::JobKind,
        verification::{State, Verification},
    },
    store::row::{Effects, JobRow, NewJob},
};
use jiff::SignedDuration;

/// Actor in the audit trail of a redaction at the end of the retention.
const RETENTION: &str = "retention";
/// A flow that was taken out of the configuration has no retention of its own any more.
const RETENTION_WITHOUT_FLOW: SignedDuration = SignedDuration::from_hours(24);

impl App {
    /// Erases the personal data of a verification that is not pending.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::StillPending`] while the user may still come back.
    pub async fn redact_verification(&self, caller: &Caller, unverified_id: &str) -> Result<Verification, Error> {
        let id = VerificationId::parse(unverified_id)
            .map_err(|problem| Error::InvalidFields(vec![Fault { field: "verification_id".into(), problem }]))?;
        let id = id.to_string();
        let row = self.store.find(&id).await?.filter(|row| row.created.caller == caller.name);
        if self.open(row)?.verification.state == State::Pending {
            return Err(Error::StillPending);
        }
        self.redact(&caller.name, &id).await
    }

    /// Erases what a flow keeps no longer.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again.
    pub async fn redact_due(&self, job: &JobRow) -> Result<(), Error> {
        self.redact(RETENTION, &job.subject).await?;
        Ok(self.store.finish_job(job).await?)
    }

    async fn redact(&self, actor: &str, id: &str) -> Result<Verification, Error> {
        loop {
            let record = self.find(id).await?;
            let verification = &record.verification;
            if verification.redacted_at.is_some() {
                // The process that redacted may have died before this; and the last look may have
                // ended meanwhile.
                if record.session.is_some() && !self.store.has_job(JobKind::Settle, id).await? {
                    self.erase_session(id).await?;
                }
                return Ok(record.verification);
            }
            let at = self.clock.now();
            let audit = vec![self.audit_event(actor, AuditAction::Redacted, id)];
            let mut effects = Effects { audit, jobs: vec![self.blobs_job(id)], ..Effects::default() };
            self.announce(&mut effects, verification, EventKind::Redacted, at);
            let effects = self.with_scrub(effects);
            // A canceled verification is still asked about for the ledger, until its last look.
            let is_canceled = matches!(verification.state, State::Canceled { .. });
            let keep_session = is_canceled && self.store.has_job(JobKind::Settle, id).await?;
            let mac = record.mac_when_redacted(&self.keyring, at);
            self.store.redact(id, verification.version, at.as_millisecond(), keep_session, mac, effects).await?;
        }
    }

    /// Erases the token that a redacted verification had kept for its last look.
    pub(super) async fn erase_session(&self, id: &str) -> Result<(), Error> {
        loop {
            let record = self.find(id).await?;
            let at = self.clock.now();
            let mac = record.mac_when_redacted(&self.keyring, at);
            let (version, effects) = (record.verification.version, self.with_scrub(Effects::default()));
            if self.store.redact(id, version, at.as_millisecond(), false, mac, effects).await? {
                return Ok(());
            }
        }
    }

    /// The jobs of a verification that has ended: none while it is pending.
    pub(super) fn jobs_at_the_end(&self, verification: &Verification) -> Vec<NewJob> {
        self.retention_job(verification).into_iter().chain(self.evidence_job(verification)).collect()
    }

    /// The job that ends the retention of a verification that has ended.
    fn retention_job(&self, verification: &Verification) -> Option<NewJob> {
        let ended_at = verification.state.settled_at()?;
        let terms = self.terms();
        let flow = terms.flows.get(&verification.flow);
        let retention = flow.map_or(RETENTION_WITHOUT_FLOW, |flow| flow.result_retention);
        let due_at_ms = (ended_at + retention).as_millisecond();
        Some(NewJob { kind: JobKind::Redact, subject: verification.id.to_string(), due_at_ms, rank_ms: due_at_ms })
    }
}
