//! Work that nobody waits for.
//!
//! Jobs are claimed by lease: a worker that dies gives its jobs back by doing nothing. How many run
//! at once is bounded, and a stop lets those that run finish; what outlasts it is given back.

mod gauges;
mod replicas;

use crate::{
    app::{App, Error},
    domain::job::JobKind,
    store::row::JobRow,
};
use jiff::SignedDuration;
use replicas::Replica;
use std::{sync::Arc, time::Duration};
use strum::VariantArray;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::task::TaskTracker;

/// How often the store is asked what is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How much evidence is fetched at once: each has some MB under way.
const EVIDENCE_CONCURRENCY: usize = 4;
/// How often hashes of ID cards that do not count any more are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after a start evidence is swept at the earliest: time to notice that the gateway was
/// started on a wrong database.
const FIRST_SWEEP_AFTER: Duration = Duration::from_secs(3600);

/// How often temporary key pairs are looked at.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);

/// How many webhooks are sent at once: one slow receiver must not hold up the others.
const WEBHOOK_CONCURRENCY: usize = 32;

/// The workers of a gateway.
pub struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts them; they stop when the app does. `settle_concurrency`: how many verifications are
    /// settled at once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn start(app: &Arc<App>, settle_concurrency: usize) -> Result<Self, Error> {
        let replica = Replica::join(Arc::clone(app)).await?;
        let of_kind = |kind: JobKind, concurrency| tokio::spawn(run_jobs(Arc::clone(app), kind, concurrency));
        let runs = JobKind::VARIANTS.iter().filter_map(|kind| match kind {
            JobKind::Settle => Some(of_kind(*kind, settle_concurrency)),
            JobKind::Webhook => Some(of_kind(*kind, WEBHOOK_CONCURRENCY)),
            JobKind::FetchEvidence => Some(of_kind(*kind, EVIDENCE_CONCURRENCY)),
            JobKind::Redact | JobKind::EraseEvidence | JobKind::DeleteBlobs | JobKind::Rewrap => {
                Some(of_kind(*kind, 1))
            }
            // Planned before they run.
            JobKind::SweepEvidence | JobKind::Scrub => None,
        });
        let others = [
            tokio::spawn(sweep_evidence(Arc::clone(app))),
            tokio::spawn(scrub(Arc::clone(app))),
            tokio::spawn(forget_id_cards(Arc::clone(app))),
            tokio::spawn(renew(Arc::clone(app))),
            tokio::spawn(gauges::keep(Arc::clone(app))),
            tokio::spawn(replica.live()),
        ];
        Ok(Self(runs.chain(others).collect()))
    }

    /// Waits until all that was begun is done.
    ///
    /// # Errors
    /// When a worker had panicked.
    pub async fn stopped(self) -> Result<(), tokio::task::JoinError> {
        for worker in self.0 {
            worker.await?;
        }
        Ok(())
    }
}

/// How long a claim lasts: longer than the job can take. A claim of a process that has ended ends
/// at the next start.
fn lease(kind: JobKind) -> SignedDuration {
    SignedDuration::from_mins(match kind {
        // Two calls to the vendor, each of at most four tries of 60 s, and writes.
        JobKind::Settle => 9,
        // One such call, and up to 5 minutes for the media.
        JobKind::FetchEvidence => 12,
        // Some deliveries of at most some seconds each; or writes alone.
        JobKind::Webhook | JobKind::Redact | JobKind::EraseEvidence | JobKind::DeleteBlobs | JobKind::Rewrap => 3,
        // Writes all that is in the store's log into the store.
        JobKind::Scrub => 10,
        // Lists a bucket.
        JobKind::SweepEvidence => 60,
    })
}

async fn do_job(app: &Arc<App>, job: &JobRow) -> Result<(), Error> {
    match job.kind {
        JobKind::Settle => app.settle_due(job).await,
        JobKind::Redact => app.redact_due(job).await,
        JobKind::Webhook => app.deliver_due(job).await,
        JobKind::FetchEvidence => app.fetch_evidence_due(job).await,
        JobKind::EraseEvidence => app.erase_evidence_due(job).await,
        JobKind::DeleteBlobs => app.delete_blobs_due(job).await,
        JobKind::Rewrap => app.rewrap_due(job).await,
        JobKind::SweepEvidence => app.sweep_evidence_due(job).await,
        JobKind::Scrub => app.scrub_due(job).await,
    }
}

/// Claims and does jobs until the app stops, `concurrency` at once, and lets those that run finish.
async fn run_jobs(app: Arc<App>, kind: JobKind, concurrency: usize) {
    let slots = Arc::new(Semaphore::new(concurrency));
    let running = TaskTracker::new();
    while !app.stopping().is_cancelled() {
        let free = u32::try_from(slots.available_permits()).unwrap_or(u32::MAX);
        let jobs = if free == 0 { Vec::new() } else { claim(&app, kind, free).await };
        let found_all = free > 0 && jobs.len() < free as usize;
        for job in jobs {
            let slot = Arc::clone(&slots).acquire_owned().await;
            let app = Arc::clone(&app);
            running.spawn(async move {
                run(&app, &job).await;
                drop(slot);
            });
        }
        // With more to do than slots, the next look waits for a slot; else for the time to pass.
        let pause = async {
            if found_all {
                tokio::time::sleep(LOOK_INTERVAL).await;
            } else {
                drop(slots.acquire().await);
            }
        };
        app.stopping().run_until_cancelled(pause).await;
    }
    running.close();
    running.wait().await;
}

async fn claim(app: &App, kind: JobKind, limit: u32) -> Vec<JobRow> {
    let claimed = app.claim_jobs(kind, lease(kind), limit).await;
    claimed.unwrap_or_else(|error| {
        tracing::warn!(kind = kind.name(), error = %error, "no jobs could be claimed");
        Vec::new()
    })
}

async fn run(app: &Arc<App>, job: &JobRow) {
    let kind = job.kind.name();
    let outcome = match app.giving_up().run_until_cancelled(do_job(app, job)).await {
        Some(Ok(())) => "ok",
        None => {
            if let Err(error) = app.give_back(job).await {
                tracing::warn!(kind, subject = %job.subject, error = %error, "a job could not be given back; its lease will end");
            }
            "given_back"
        }
        Some(Err(error)) => {
            tracing::error!(kind, subject = %job.subject, error = %error, "a job failed; its lease will end");
            "failed"
        }
    };
    metrics::counter!("faceid_jobs_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// Temporary key pairs are renewed ahead of their end, whether or not somebody calls.
async fn renew(app: Arc<App>) {
    let mut tick = tokio::time::interval(RENEW_INTERVAL);
    while app.stopping().run_until_cancelled(tick.tick()).await.is_some() {
        app.stopping().run_until_cancelled(app.renew_key_pairs()).await;
    }
}

async fn sweep_evidence(app: Arc<App>) {
    if app.stopping().run_until_cancelled(tokio::time::sleep(FIRST_SWEEP_AFTER)).await.is_none() {
        return;
    }
    if let Err(error) = app.plan_sweep().await {
        tracing::warn!(error = %error, "the sweep of the evidence could not be planned: the next start tries again");
    }
    run_jobs(app, JobKind::SweepEvidence, 1).await;
}

/// A process that was killed may have left something in the log without a job for it.
async fn scrub(app: Arc<App>) {
    if let Err(error) = app.plan_scrub().await {
        tracing::warn!(error = %error, "the scrub of the store's log could not be planned: the next erasure plans one");
    }
    run_jobs(app, JobKind::Scrub, 1).await;
}

async fn forget_id_cards(app: Arc<App>) {
    let mut tick = tokio::time::interval(FORGET_INTERVAL);
    while app.stopping().run_until_cancelled(tick.tick()).await.is_some() {
        match app.forget_id_cards().await {
            Ok(forgotten) => tracing::debug!(forgotten, "forgot hashes of ID cards that do not count any more"),
            Err(error) => tracing::warn!(error = %error, "hashes of ID cards could not be erased; it is tried again"),
        }
    }
}
