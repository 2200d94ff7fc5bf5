//! The reconciler's use case: settle what nobody asks for, well before the vendor forgets it.

use super::{App, Error, record::Record, settle::note_change};
use crate::{
    domain::{
        event::EventKind,
        job::JobKind,
        reason::Reason,
        schedule::backoff,
        verification::{State, Verification},
    },
    store::row::{Effects, JobRow, NewJob},
    tencent::Urgency,
};
use jiff::Timestamp;
use std::sync::Arc;

impl App {
    /// Looks at a verification, and ends the job or reschedules it.
    ///
    /// A failure is rescheduled with a growing, jittered pause, whatever its class: an operator may
    /// mend what the vendor refuses. Only when the vendor has forgotten does the look end without
    /// an answer.
    ///
    /// # Errors
    /// When the store fails, or the row cannot be read: the job's lease ends by itself, and it is
    /// tried again.
    pub async fn settle_due(self: &Arc<Self>, job: &JobRow) -> Result<(), Error> {
        let record = self.find(&job.subject).await?;
        let asked_about = record.verification.clone();
        if record.verification.state.is_decided() || record.session.is_none() {
            return self.end_of_looks(job).await;
        }
        match self.check(record, Urgency::Background).await.map(|checked| checked.record) {
            Ok(record) if record.verification.state.is_decided() => self.end_of_looks(job).await,
            // Canceled, and the user can make no more attempts.
            Ok(record)
                if record.verification.state != State::Pending && was_asked_after_the_end(&record.verification) =>
            {
                self.end_of_looks(job).await
            }
            // The token has ended and the answer has no result: treated as a failure.
            Ok(record) if was_asked_after_the_end(&record.verification) => {
                self.reschedule(job, &asked_about, true).await
            }
            Ok(_) => {
                let Verification { created_at, expires_at, .. } = asked_about;
                let next = self.poll_schedule.next(created_at, expires_at, self.clock.now());
                Ok(self.store.reschedule_job(job, next.as_millisecond(), 0).await?)
            }
            Err(error) if error.reason() == Reason::StoreUnavailable => Err(error),
            // The look is still to come; it has not failed.
            Err(error) if error.was_not_asked() => {
                let next = self.clock.now() + backoff(0, rand::random());
                Ok(self.store.reschedule_job(job, next.as_millisecond(), job.failures).await?)
            }
            Err(error) => {
                tracing::warn!(verification_id = %job.subject, failures = job.failures + 1, error = %error, "not settled yet");
                self.reschedule(job, &asked_about, !error.is_clock_skew()).await
            }
        }
    }

    /// `clock_is_right`: with a clock that is days off, every result would seem forgotten.
    async fn reschedule(&self, job: &JobRow, verification: &Verification, clock_is_right: bool) -> Result<(), Error> {
        let now = self.clock.now();
        if clock_is_right && verification.is_forgotten(now) {
            self.lose_result(&job.subject, now).await?;
            return self.end_of_looks(job).await;
        }
        let next = now + backoff(job.failures, rand::random());
        Ok(self.store.reschedule_job(job, next.as_millisecond(), job.failures + 1).await?)
    }

    /// The vendor will not be asked any more. A verification that was redacted meanwhile needs its
    /// token no longer.
    async fn end_of_looks(&self, job: &JobRow) -> Result<(), Error> {
        // In this order: a redaction that does not see the end of the job is seen here.
        self.store.finish_job(job).await?;
        let record = self.find(&job.subject).await?;
        if record.verification.redacted_at.is_some() && record.session.is_some() {
            self.erase_session(&job.subject).await?;
        }
        Ok(())
    }

    /// The vendor has deleted what it knew. This must not happen; when it does, it is told.
    async fn lose_result(&self, id: &str, at: Timestamp) -> Result<(), Error> {
        loop {
            let record = self.find(id).await?;
            let before = record.verification.clone();
            if before.state != State::Pending {
                return Ok(());
            }
            let mut lost = Record { verification: record.verification.lose_result(at), ..record };
            let terms = self.terms();
            let flow = terms.flows.get(&lost.verification.flow);
            lost.verification.evidence_lost = flow.is_some_and(|flow| !flow.evidence.is_nothing());
            let jobs = self.jobs_at_the_end(&lost.verification);
            let mut effects = Effects { jobs, ..Effects::default() };
            self.announce(&mut effects, &lost.verification, EventKind::Settled, at);
            let (progress, mac) = lost.progress(&self.keyring);
            if self.store.advance(id, before.version, progress, mac, effects).await? {
                metrics::counter!("faceid_results_lost_total").increment(1);
                tracing::error!(verification_id = %id, "the vendor has forgotten the result before it could be asked for");
                note_change(&before, &lost.verification);
                return Ok(());
            }
        }
    }

    /// The job that settles a verification with a token of this time.
    pub(super) fn settle_job(&self, id: &str, created_at: Timestamp, expires_at: Timestamp) -> NewJob {
        NewJob {
            kind: JobKind::Settle,
            subject: id.to_owned(),
            due_at_ms: self.poll_schedule.next(created_at, expires_at, created_at).as_millisecond(),
            // In the order in which the vendor forgets them.
            rank_ms: created_at.as_millisecond(),
        }
    }
}

/// By the time that the vendor took the last question for: this machine's clock may just have been
/// found to be off.
fn was_asked_after_the_end(verification: &Verification) -> bool {
    verification.checked_at.is_some_and(|asked_at| verification.token_expired(asked_at))
}
