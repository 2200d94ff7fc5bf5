//! The evidence fetcher's use case: photos, videos and sounds, taken before the vendor deletes them.

use super::{App, Error, record::Record};
use crate::{
    domain::{
        audit::AuditAction,
        event::EventKind,
        evidence::{MediaKind, sniff},
        flow::EvidenceWish,
        ids::{EvidenceId, VerificationId},
        job::JobKind,
        key_pair::KeyPair,
        schedule::backoff,
        verification::{State, Verification},
    },
    evidence::{BlobKey, PutError},
    store::row::{Effects, EvidenceRow, JobRow, NewJob},
    tencent::{CardWarnings, MediaEvent, MediaStream},
    vault::Place,
};
use futures_util::{StreamExt, stream};
use std::{pin::pin, sync::Arc};

/// How often an answer without any media is asked for again: over some minutes.
const TRIES_FOR_NOTHING: u32 = 5;

impl App {
    /// Fetches what the flow keeps: streams each medium from the vendor into a sealed blob, then stores the rows together.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again.
    pub async fn fetch_evidence_due(&self, job: &JobRow) -> Result<(), Error> {
        let record = self.find(&job.subject).await?;
        let Some(flow) = self.flows.get(&record.verification.flow).filter(|_| record.session.is_some()) else {
            return Ok(self.store.finish_job(job).await?);
        };
        let mut rows = Vec::new();
        let fetched = self.stopping.run_until_cancelled(self.fetch_evidence(&record, flow.evidence, &mut rows)).await;
        let verification = &record.verification;
        let now = self.clock.now();
        match fetched {
            Some(Ok(())) if rows.is_empty() && job.failures < TRIES_FOR_NOTHING => {
                // The vendor may not have it ready yet.
                self.put_off_evidence(job).await
            }
            Some(Ok(())) => {
                let mut effects = Effects::default();
                if let Some(ended_at) = verification.state.settled_at() {
                    let due_at_ms = (ended_at + flow.evidence_retention).as_millisecond();
                    effects.jobs.push(evidence_retention_job(&job.subject, due_at_ms));
                }
                if !rows.is_empty() {
                    self.announce(&mut effects, verification, EventKind::EvidenceStored, now);
                }
                if !self.store.put_evidence(job, rows.clone(), effects).await? {
                    self.delete_blobs_of(&rows).await?;
                }
                Ok(())
            }
            // The gateway stops: another one, or this one when it is back, goes on at once.
            None => {
                self.delete_blobs_of(&rows).await?;
                Ok(self.store.put_off_job(job, now.as_millisecond(), job.failures).await?)
            }
            Some(Err(error)) => {
                self.delete_blobs_of(&rows).await?;
                if verification.is_forgotten(now) && !error.is_clock_skew() {
                    metrics::counter!("faceid_evidence_lost_total").increment(1);
                    tracing::error!(verification_id = %job.subject, error = %error, "evidence lost: the vendor keeps it 3 days");
                    return Ok(self.store.finish_job(job).await?);
                }
                if error.was_not_asked() {
                    // The fetch is still to come; it has not failed.
                    let next = now + backoff(0, rand::random());
                    return Ok(self.store.put_off_job(job, next.as_millisecond(), job.failures).await?);
                }
                tracing::warn!(verification_id = %job.subject, error = %error, "evidence not fetched yet");
                self.put_off_evidence(job).await
            }
        }
    }

    async fn put_off_evidence(&self, job: &JobRow) -> Result<(), Error> {
        let next = self.clock.now() + backoff(job.failures, rand::random());
        Ok(self.store.put_off_job(job, next.as_millisecond(), job.failures + 1).await?)
    }

    /// Blobs whose rows were not stored. What is left of them, if this fails too, is swept.
    async fn delete_blobs_of(&self, rows: &[EvidenceRow]) -> Result<(), Error> {
        for row in rows {
            self.evidence.delete(&blob_key(row)?).await?;
        }
        Ok(())
    }

    async fn fetch_evidence(
        &self,
        record: &Record,
        wish: EvidenceWish,
        rows: &mut Vec<EvidenceRow>,
    ) -> Result<(), Error> {
        let verification = &record.verification;
        let token = &record.session()?.token;
        let fetch =
            |pair: Arc<KeyPair>| async move { self.tencent.fetch_media(&pair, verification, token, wish).await };
        let mut media = self.credentials.with_key_pair(&verification.credential, fetch).await?;
        while let Some(event) = media.next().await? {
            match event {
                MediaEvent::Start { kind, index, seq } => {
                    rows.push(self.keep(&verification.id.to_string(), kind, index, seq, &mut media).await?);
                }
                // What follows a start is taken by `keep`.
                MediaEvent::Bytes(_) | MediaEvent::End => {}
                // It comes last, and tells that what came before counts.
                MediaEvent::Finished(warnings) => {
                    self.add_card_warnings(&verification.id.to_string(), warnings).await?;
                }
            }
        }
        Ok(())
    }

    /// Adds to the result what the vendor tells only together with the photos.
    async fn add_card_warnings(&self, id: &str, CardWarnings { front, back }: CardWarnings) -> Result<(), Error> {
        loop {
            let mut record = self.find(id).await?;
            let Some(result) = record.result.as_mut().filter(|_| !front.is_empty() || !back.is_empty()) else {
                return Ok(());
            };
            result.id_card.front_warnings.clone_from(&front);
            result.id_card.back_warnings.clone_from(&back);
            let version = record.verification.version;
            if self.store.advance(id, version, record.progress(&self.keyring), Effects::default()).await? {
                return Ok(());
            }
        }
    }

    async fn keep(
        &self,
        verification_id: &str,
        kind: MediaKind,
        position: u32,
        attempt_seq: Option<String>,
        media: &mut MediaStream,
    ) -> Result<EvidenceRow, Error> {
        let mut bytes = pin!(media.bytes());
        let first = bytes.next().await;
        let content_type = match &first {
            Some(Ok(first)) => sniff(first),
            _ => "application/octet-stream",
        };
        let at = self.clock.now();
        let mut row = EvidenceRow {
            id: EvidenceId::generate(at).to_string(),
            verification_id: verification_id.to_owned(),
            kind: kind.name().to_owned(),
            position,
            attempt_seq,
            content_type: content_type.to_owned(),
            size_bytes: 0,
            sha256: None,
            sealed_key: None,
            stored_at_ms: at.as_millisecond(),
            erased_at_ms: None,
            blob_deleted: false,
        };
        let key = blob_key(&row)?;
        let source = stream::iter(first).chain(bytes);
        let stored =
            self.evidence.put(&self.keyring, place(&key), &key, source).await.map_err(|error| match error {
                PutError::Source(vendor) => Error::Vendor(vendor),
                PutError::Store(store) => Error::Evidence(store),
            })?;
        row.size_bytes = stored.size;
        row.sha256 = Some(stored.sha256.to_vec());
        row.sealed_key = Some(stored.sealed_key);
        Ok(row)
    }

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
        self.store.erase_evidence(&job.subject, self.clock.now().as_millisecond(), effects).await?;
        self.store.scrub().await?;
        Ok(self.store.finish_job(job).await?)
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

    /// The job that fetches a verification's evidence, if its flow keeps any and there was something to see.
    pub(super) fn evidence_job(&self, verification: &Verification) -> Option<NewJob> {
        let ended_at = match verification.state {
            State::Passed { at } | State::Failed { at } => at,
            State::Pending | State::Expired { .. } | State::Canceled { .. } => return None,
        };
        let flow = self.flows.get(&verification.flow)?;
        if flow.evidence.is_nothing() || verification.redacted_at.is_some() || verification.result_lost {
            return None;
        }
        Some(NewJob {
            kind: JobKind::FetchEvidence,
            subject: verification.id.to_string(),
            due_at_ms: ended_at.as_millisecond(),
            // What the vendor forgets first goes first.
            rank_ms: verification.created_at.as_millisecond(),
        })
    }

    pub(super) fn blobs_job(&self, verification_id: &str) -> NewJob {
        let now_ms = self.clock.now().as_millisecond();
        NewJob { kind: JobKind::DeleteBlobs, subject: verification_id.to_owned(), due_at_ms: now_ms, rank_ms: now_ms }
    }
}

/// Where the key of a blob is sealed for.
pub(super) fn place(key: &BlobKey) -> Place<'_> {
    Place { table: "evidence", row: key.as_str(), column: "sealed_key" }
}

pub(super) fn blob_key(row: &EvidenceRow) -> Result<BlobKey, Error> {
    BlobKey::parse(&blob_path(row)).map_err(|problem| Error::UnreadableRow {
        id: row.id.clone(),
        column: "kind",
        problem,
    })
}

/// With the row's id: each try writes blobs of its own.
pub(super) fn blob_path(row: &EvidenceRow) -> String {
    format!("{}/{}-{}-{}", row.verification_id, row.kind, row.position, row.id)
}

/// The verification that a blob of ours belongs to.
pub(super) fn verification_of(key: &BlobKey) -> Option<String> {
    let (verification_id, name) = key.as_str().split_once('/')?;
    let kind = name.split('-').next()?;
    VerificationId::parse(verification_id).ok()?;
    kind.parse::<MediaKind>().ok()?;
    Some(verification_id.to_owned())
}

fn evidence_retention_job(verification_id: &str, due_at_ms: i64) -> NewJob {
    NewJob { kind: JobKind::EraseEvidence, subject: verification_id.to_owned(), due_at_ms, rank_ms: due_at_ms }
}
