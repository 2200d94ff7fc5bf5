//! The end of evidence: its keys and references, then its blobs.

use super::{App, Error, fetch_evidence::blob_key};
use crate::{
    domain::audit::AuditAction,
    store::row::{Effects, JobRow},
};

impl App {
    /// Erases evidence that the flow keeps no longer.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again.
    pub async fn erase_evidence_due(&self, job: &JobRow) -> Result<(), Error> {
        let effects = Effects {
            audit: vec![self.audit_event("retention", AuditAction::EvidenceErased, &job.subject)],
            jobs: vec![self.blobs_job(&job.subject)],
            ..Effects::default()
        };
        let effects = self.with_scrub(effects);
        self.store.erase_evidence(&job.subject, self.clock.now().as_millisecond(), effects).await?;
        self.erase_references(&job.subject).await?;
        Ok(self.store.finish_job(job).await?)
    }

    /// Where the vendor has evidence is kept no longer than evidence.
    async fn erase_references(&self, id: &str) -> Result<(), Error> {
        loop {
            let mut record = self.find(id).await?;
            let media = record.result.iter_mut().flat_map(|result| &mut result.unkept_media);
            if media.filter_map(|medium| medium.text.take()).count() == 0 {
                return Ok(());
            }
            let version = record.verification.version;
            let (progress, mac) = record.progress(&self.keyring);
            if self.store.advance(id, version, progress, mac, self.with_scrub(Effects::default())).await? {
                return Ok(());
            }
        }
    }

    /// Deletes the blobs of erased evidence, which nothing opens any more.
    ///
    /// # Errors
    /// When the evidence's store fails: the job's lease ends by itself, and it is tried again.
    pub async fn delete_blobs_due(&self, job: &JobRow) -> Result<(), Error> {
        for row in self.store.evidence_of(&job.subject).await? {
            if row.erased_at_ms.is_some() && !row.blob_deleted {
                self.evidence.delete(&blob_key(&row)?).await?;
            }
        }
        self.store.note_blobs_deleted(&job.subject).await?;
        Ok(self.store.finish_job(job).await?)
    }
}
