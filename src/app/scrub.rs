//! Erased rows may still stand in the store's files: a job removes them, until nothing is left.
//!
//! The job is stored with the erasure, in one transaction, so that no erasure is without it. It is
//! not the erasure's business whether it succeeds at once: a process that reads the database (a
//! backup, an open prompt) holds the log for as long as it reads.

use super::{App, Error};
use crate::{
    domain::job::JobKind,
    store::{
        ErrorKind,
        row::{Effects, JobRow, NewJob},
    },
};
use jiff::SignedDuration;

const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

impl App {
    /// Plans a scrub with no erasure.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn plan_scrub(&self) -> Result<(), Error> {
        Ok(self.store.add_job(self.scrub_job()).await?)
    }

    /// Scrubs the store, and comes again later while a reader holds what is to be removed.
    ///
    /// # Errors
    /// When the store fails otherwise: the job's lease ends by itself, and it is tried again.
    pub async fn scrub_due(&self, job: &JobRow) -> Result<(), Error> {
        let scrubbed = self.store.scrub().await;
        metrics::gauge!("faceid_store_scrub_pending").set(if scrubbed.is_ok() { 0.0 } else { 1.0 });
        match scrubbed {
            Ok(()) => Ok(self.store.finish_job(job).await?),
            Err(error) if error.kind == ErrorKind::Transient => {
                let pause = pause_after(job.failures);
                tracing::warn!(
                    error = %error,
                    failures = job.failures + 1,
                    retry_after_s = pause.as_secs(),
                    "what was erased still stands in the store's log"
                );
                let due_at = self.clock.now() + pause;
                Ok(self.store.reschedule_job(job, due_at.as_millisecond(), job.failures + 1).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds the scrub to what an erasure does.
    pub(super) fn with_scrub(&self, mut effects: Effects) -> Effects {
        effects.jobs.push(self.scrub_job());
        effects
    }

    fn scrub_job(&self) -> NewJob {
        let now_ms = self.clock.now().as_millisecond();
        NewJob { kind: JobKind::Scrub, subject: String::new(), due_at_ms: now_ms, rank_ms: now_ms }
    }
}

fn pause_after(failures: u32) -> SignedDuration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_minute() {
        let pauses = [0, 1, 2, 5, 6, 1000].map(|failures| pause_after(failures).as_secs());
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60]);
    }
}
