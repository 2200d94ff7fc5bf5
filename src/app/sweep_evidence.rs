//! Whose evidence it is, and the sweep of blobs that no row tells of.
//!
//! A wrong database beside the evidence must not cost a blob. So a store claims its evidence by a
//! marker; a blob of a verification that the store does not have is never deleted; one run of the
//! sweep names what the next may delete; and a run that would delete many deletes none. What was
//! written before the database was restored is not looked at.

use super::{
    App, Error,
    claim_error::ClaimError,
    fetch_evidence::{blob_path, verification_of},
};
use crate::{
    domain::job::JobKind,
    evidence::{BlobKey, EvidenceStore, Ownership},
    store::{Store, row::JobRow},
};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// A blob this old whose row has not come will have none.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_hours(24);
/// From one run to the next: time to read what the log says and to stop the gateway.
const SWEEP_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// So many blobs of unmarked evidence are looked at for one that is known.
const LOOKED_AT_FOR_CLAIM: usize = 1000;
/// One run deletes at most so many, or one in so many of the blobs: more than that is no leftover
/// of killed processes.
const FEW_ORPHANS: u64 = 4;
const ORPHANS_SHARE: u64 = 4;
/// More are not kept in memory from one run to the next.
const MAX_ORPHANS: usize = 10_000;

/// Sees that the evidence is the store's, and marks it so where it has no marker yet: evidence from
/// before there were markers is known by its blobs.
///
/// # Errors
/// When it is another store's, or seems to be; or when one of the two cannot be read.
pub async fn claim_evidence(store: &dyn Store, evidence: &EvidenceStore) -> Result<(), ClaimError> {
    let identity = store.identity().await?;
    match evidence.check_owner(identity).await? {
        Ownership::Ours => return Ok(()),
        Ownership::OursOfEarlierEpoch => {}
        Ownership::Unmarked => check_blobs_are_known(store, evidence).await?,
    }
    evidence.set_owner(identity).await?;
    tracing::info!(store = %identity, "the evidence is marked as this store's");
    Ok(())
}

async fn check_blobs_are_known(store: &dyn Store, evidence: &EvidenceStore) -> Result<(), ClaimError> {
    let mut blobs = evidence.written(Timestamp::MIN..Timestamp::MAX);
    let mut unknown = None;
    let mut looked_at = 0;
    while let Some(key) = blobs.next().await {
        let key = key?;
        let Some(verification_id) = verification_of(&key) else { continue };
        if store.find(&verification_id).await?.is_some() {
            return Ok(());
        }
        unknown.get_or_insert(key);
        looked_at += 1;
        if looked_at >= LOOKED_AT_FOR_CLAIM {
            break;
        }
    }
    match unknown {
        None => Ok(()),
        Some(example) => Err(ClaimError::UnknownBlobs { example }),
    }
}

/// Result of a run of the sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Of verifications that this store does not have. They are left alone.
    pub foreign: u64,
    /// Blobs without a row, of verifications that it has.
    pub orphans: u64,
    pub deleted: u64,
    /// Whether nothing was deleted because there were too many.
    pub held_back: bool,
}

impl App {
    /// Sweeps, and has the job come again.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again.
    pub async fn sweep_evidence_due(&self, job: &JobRow) -> Result<(), Error> {
        if let Some(Err(error)) = self.stopping.run_until_cancelled(self.sweep_orphans()).await {
            tracing::error!(error = %error, "evidence without a row was not swept");
        }
        let next = self.clock.now() + SWEEP_INTERVAL;
        Ok(self.store.reschedule_job(job, next.as_millisecond(), 0).await?)
    }

    /// Removes blobs that no row tells of: what a process that was killed between blob and row
    /// left, when nobody tried again. It removes only those that the run before this one has found
    /// too.
    ///
    /// # Errors
    /// When the evidence is not this store's, or a store fails.
    pub async fn sweep_orphans(&self) -> Result<Sweep, Error> {
        claim_evidence(&*self.store, &self.evidence).await?;
        let cutoff = self.clock.now() - ORPHAN_AGE;
        let (mut sweep, found) = self.find_orphans(cutoff).await?;
        let announced = self.orphans.take();
        if sweep.orphans > FEW_ORPHANS.max(sweep.blobs / ORPHANS_SHARE) {
            sweep.held_back = true;
        } else {
            let (known, new): (BTreeSet<_>, BTreeSet<_>) = found.into_iter().partition(|key| announced.contains(key));
            for key in known {
                self.evidence.delete(&key).await?;
                sweep.deleted += 1;
            }
            for key in &new {
                tracing::warn!(blob = %key, "no row tells of this blob: the next sweep deletes it");
            }
            self.orphans.announce(new);
            self.evidence.remove_unfinished(cutoff).await?;
        }
        tell(&sweep);
        Ok(sweep)
    }

    async fn find_orphans(&self, cutoff: Timestamp) -> Result<(Sweep, Vec<BlobKey>), Error> {
        let (mut sweep, mut found) = (Sweep::default(), Vec::new());
        // A restored database does not know of the last blobs from before it was: a later backup
        // may.
        let restored_at = self.identity.restored_at().unwrap_or(Timestamp::MIN);
        let mut keys = self.evidence.written(restored_at..cutoff.max(restored_at));
        while let Some(key) = keys.next().await {
            let key = key?;
            // Not everything in a bucket is ours.
            let Some(verification_id) = verification_of(&key) else { continue };
            sweep.blobs += 1;
            if self.store.find(&verification_id).await?.is_none() {
                sweep.foreign += 1;
                continue;
            }
            // In this order: a fetch that ends in between has its rows by then.
            if self.store.has_job(JobKind::FetchEvidence, &verification_id).await? {
                continue;
            }
            let rows = self.store.evidence_of(&verification_id).await?;
            if !rows.iter().any(|row| !row.blob_deleted && blob_path(row) == key.as_str()) {
                sweep.orphans += 1;
                if found.len() < MAX_ORPHANS {
                    found.push(key);
                }
            }
        }
        Ok((sweep, found))
    }
}

fn tell(sweep: &Sweep) {
    let Sweep { blobs, foreign, orphans, deleted, held_back } = sweep;
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
    {
        metrics::gauge!("faceid_evidence_orphans").set((*orphans - *deleted) as f64);
        metrics::gauge!("faceid_evidence_foreign_blobs").set(*foreign as f64);
    }
    if *held_back {
        tracing::error!(
            blobs,
            orphans,
            "nothing is swept: too many blobs have no row. Is the database older than the evidence? If they are meant to go, \
             delete them by hand"
        );
    } else if *deleted > 0 {
        tracing::info!(deleted, blobs, "deleted evidence that no row tells of");
    }
    if *foreign > 0 {
        tracing::error!(
            foreign,
            blobs,
            "the evidence has blobs of verifications that this store does not have; they are left alone"
        );
    }
}
