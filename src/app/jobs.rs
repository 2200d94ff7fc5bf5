//! The queue of jobs, as the workers see it. The use case that plans a job also says how it is
//! done.

use super::{App, Error};
use crate::{
    domain::job::JobKind,
    store::row::{JobRow, NewJob},
};
use jiff::SignedDuration;

/// Verifications that are not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// How many there are by their age: under 2 hours, under a day, under 2 days, older.
    pub by_age: [u64; 4],
    /// Age of the oldest, and how long the vendor still knows its result.
    pub oldest: Option<(SignedDuration, SignedDuration)>,
}

impl App {
    /// Claims up to `limit` jobs that are due, for as long as `lease`. While no endpoint of the
    /// vendor is up, jobs that need it stay where they are: claimed, they would only be
    /// rescheduled, over and over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim_jobs(&self, kind: JobKind, lease: SignedDuration, limit: u32) -> Result<Vec<JobRow>, Error> {
        if kind.asks_vendor() && self.tencent.is_down() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let lease_until = now + lease;
        Ok(self.store.claim_jobs(kind, now.as_millisecond(), lease_until.as_millisecond(), limit).await?)
    }

    /// Gives a claimed job back: it is due for whoever looks next.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself.
    pub async fn give_back(&self, job: &JobRow) -> Result<(), Error> {
        Ok(self.store.reschedule_job(job, self.clock.now().as_millisecond(), job.failures).await?)
    }

    /// Plans a sweep of the evidence, unless there is one already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn plan_sweep(&self) -> Result<(), Error> {
        let now_ms = self.clock.now().as_millisecond();
        let job = NewJob { kind: JobKind::SweepEvidence, subject: String::new(), due_at_ms: now_ms, rank_ms: now_ms };
        Ok(self.store.add_job(job).await?)
    }

    /// Counts the verifications that are not settled yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let now_ms = self.clock.now().as_millisecond();
        let unsettled = self.store.unsettled(now_ms).await?;
        let oldest = unsettled.oldest.map(|(created_at_ms, result_until_ms)| {
            let from = SignedDuration::from_millis;
            (from(now_ms - created_at_ms), from(result_until_ms - now_ms))
        });
        Ok(Backlog { by_age: unsettled.by_age, oldest })
    }

    /// For how long the job of a kind that was due first has been due; none where none is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn overdue(&self, kind: JobKind) -> Result<SignedDuration, Error> {
        let now_ms = self.clock.now().as_millisecond();
        let first_due = self.store.first_due(kind).await?.unwrap_or(now_ms);
        Ok(SignedDuration::from_millis((now_ms - first_due).max(0)))
    }

    /// Counts the webhooks that are sent no more until their receiver is mended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn parked_webhooks(&self) -> Result<u64, Error> {
        Ok(self.store.parked_webhooks().await?)
    }
}
