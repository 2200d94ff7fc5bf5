//! The evidence fetcher's use case: photos, videos and sounds, taken before the vendor deletes
//! them.

use super::{App, Error, record::Record};
use crate::{
    domain::{
        event::EventKind,
        evidence::{EvidencePart, MAX_EVIDENCE_BYTES, MediaKind, NotKept, UnkeptMedium, sniff},
        flow::{EvidenceSelection, Flow},
        ids::{EvidenceId, VerificationId},
        intention::IntentionMode,
        job::JobKind,
        key_pair::KeyPair,
        schedule::backoff,
        verification::{State, Verification},
    },
    evidence::{BlobKey, PutError},
    store::row::{Effects, EvidenceRow, JobRow, NewJob},
    tencent::{BesideMedia, MediaEvent, MediaQuery, MediaStream, MediumError},
    vault::Place,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use std::{pin::pin, sync::Arc};
use strum::VariantArray;

/// How often an answer without any media is asked for again: over some minutes.
const TRIES_FOR_NOTHING: u32 = 5;

/// Result of a request for media.
#[derive(Default)]
struct Fetched {
    rows: Vec<EvidenceRow>,
    unkept: Vec<UnkeptMedium>,
    beside: BesideMedia,
    /// Parts that the vendor has answered for, be it with nothing.
    answered: Vec<EvidencePart>,
}

impl Fetched {
    fn skip(&mut self, medium: UnkeptMedium) {
        let (kind, reason) = (medium.kind.name(), medium.why.name());
        metrics::counter!("faceid_evidence_not_kept_total", "kind" => kind, "reason" => reason).increment(1);
        self.unkept.push(medium);
    }

    /// The parts that are still missing.
    fn without_found(&self, wish: EvidenceSelection) -> EvidenceSelection {
        let wish = without_stored(wish, &self.rows);
        self.unkept.iter().fold(wish, |wish, medium| wish.without(medium.kind.part()))
    }
}

impl App {
    /// Fetches what the flow keeps: streams each medium from the vendor into a sealed blob, then
    /// stores the rows together. At first it asks for everything at once, later for each part
    /// alone, so that one that cannot be had costs nothing else.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again.
    pub async fn fetch_evidence_due(&self, job: &JobRow) -> Result<(), Error> {
        let record = self.find(&job.subject).await?;
        let terms = self.terms();
        let Some(flow) = terms.flows.get(&record.verification.flow).filter(|_| record.session.is_some()) else {
            return Ok(self.store.finish_job(job).await?);
        };
        let stored = self.store.evidence_of(&job.subject).await?;
        let missing = without_stored(flow.evidence, &stored);
        if missing.is_nothing() {
            return Ok(self.store.finish_job(job).await?);
        }
        let mut fetched = Fetched::default();
        let fetch = self.fetch_missing(&record, missing, job.failures > 0, &stored, &mut fetched);
        let Some(outcome) = self.stopping.run_until_cancelled(fetch).await else {
            // The gateway stops: another one, or this one when it is back, goes on at once.
            self.delete_blobs_of(&fetched.rows).await?;
            return Ok(self.store.reschedule_job(job, self.clock.now().as_millisecond(), job.failures).await?);
        };
        let has_nothing = stored.is_empty() && fetched.rows.is_empty() && fetched.unkept.is_empty();
        let told = record.result.iter().flat_map(|result| &result.unkept_media);
        let still_missing = told.fold(fetched.without_found(missing), |wish, medium| wish.without(medium.kind.part()));
        if !self.store_fetched(job, &record.verification, flow, fetched).await? {
            return Ok(self.store.finish_job(job).await?);
        }
        let now = self.clock.now();
        let is_forgotten = record.verification.is_forgotten(now);
        match outcome {
            Ok(()) if !has_nothing => Ok(self.store.finish_job(job).await?),
            // The vendor may not have it ready yet.
            Ok(()) if !is_forgotten && job.failures < TRIES_FOR_NOTHING => self.reschedule_evidence(job).await,
            Ok(()) if !is_forgotten => Ok(self.store.finish_job(job).await?),
            Err(error) if !is_forgotten || error.is_clock_skew() => {
                if error.was_not_asked() {
                    // The fetch is still to come; it has not failed.
                    let next = now + backoff(0, rand::random());
                    return Ok(self.store.reschedule_job(job, next.as_millisecond(), job.failures).await?);
                }
                tracing::warn!(verification_id = %job.subject, error = %error, "evidence not fetched yet");
                self.reschedule_evidence(job).await
            }
            lost => {
                if !still_missing.is_nothing() {
                    let error = lost.err().map(|error| error.to_string()).unwrap_or_default();
                    tracing::error!(verification_id = %job.subject, error, "evidence lost: the vendor keeps it 3 days");
                    self.lose_evidence(&job.subject, now).await?;
                }
                Ok(self.store.finish_job(job).await?)
            }
        }
    }

    async fn reschedule_evidence(&self, job: &JobRow) -> Result<(), Error> {
        let next = self.clock.now() + backoff(job.failures, rand::random());
        Ok(self.store.reschedule_job(job, next.as_millisecond(), job.failures + 1).await?)
    }

    /// Blobs whose rows were not stored. What is left of them, if this fails too, is swept.
    async fn delete_blobs_of(&self, rows: &[EvidenceRow]) -> Result<(), Error> {
        for row in rows {
            self.evidence.delete(&blob_key(row)?).await?;
        }
        Ok(())
    }

    /// False: the verification was redacted meanwhile, or somebody else has the job.
    async fn store_fetched(
        &self,
        job: &JobRow,
        verification: &Verification,
        flow: &Flow,
        fetched: Fetched,
    ) -> Result<bool, Error> {
        let Fetched { rows, unkept, beside, answered } = fetched;
        let has_found = !rows.is_empty() || !unkept.is_empty();
        // First: a reader of the rows then also sees why others are missing.
        self.add_to_result(&job.subject, &answered, unkept, beside).await?;
        if !has_found {
            return Ok(true);
        }
        let mut effects = Effects::default();
        if let Some(ended_at) = verification.state.settled_at() {
            let due_at_ms = (ended_at + flow.evidence_retention).as_millisecond();
            effects.jobs.push(evidence_retention_job(&job.subject, due_at_ms));
        }
        if !rows.is_empty() {
            self.announce(&mut effects, verification, EventKind::EvidenceStored, self.clock.now());
        }
        let is_stored = self.store.put_evidence(job, rows.clone(), effects).await?;
        if !is_stored {
            self.delete_blobs_of(&rows).await?;
        }
        Ok(is_stored)
    }

    /// What the vendor tells only together with the photos, and what of them is not kept.
    async fn add_to_result(
        &self,
        id: &str,
        answered: &[EvidencePart],
        unkept: Vec<UnkeptMedium>,
        BesideMedia { front_warnings, back_warnings, vendor_raw }: BesideMedia,
    ) -> Result<(), Error> {
        loop {
            let mut record = self.find(id).await?;
            let Some(result) = record.result.as_mut() else { return Ok(()) };
            let before = result.clone();
            if !front_warnings.is_empty() || !back_warnings.is_empty() {
                result.id_card.front_warnings.clone_from(&front_warnings);
                result.id_card.back_warnings.clone_from(&back_warnings);
            }
            result.vendor_raw.extend(vendor_raw.clone());
            result.unkept_media.retain(|medium| !answered.contains(&medium.kind.part()));
            result.unkept_media.extend(unkept.iter().cloned());
            if *result == before {
                return Ok(());
            }
            let version = record.verification.version;
            let (progress, mac) = record.progress(&self.keyring);
            if self.store.advance(id, version, progress, mac, Effects::default()).await? {
                return Ok(());
            }
        }
    }

    /// The vendor has deleted what the flow keeps. This must not happen; when it does, it is told.
    async fn lose_evidence(&self, id: &str, at: Timestamp) -> Result<(), Error> {
        loop {
            let mut record = self.find(id).await?;
            record.verification.evidence_lost = true;
            let mut effects = Effects::default();
            self.announce(&mut effects, &record.verification, EventKind::EvidenceLost, at);
            let version = record.verification.version;
            let (progress, mac) = record.progress(&self.keyring);
            if self.store.advance(id, version, progress, mac, effects).await? {
                metrics::counter!("faceid_evidence_lost_total").increment(1);
                return Ok(());
            }
        }
    }

    /// # Errors
    /// The first; what came of the other questions is in `fetched` all the same.
    async fn fetch_missing(
        &self,
        record: &Record,
        missing: EvidenceSelection,
        each_alone: bool,
        stored: &[EvidenceRow],
        fetched: &mut Fetched,
    ) -> Result<(), Error> {
        let told = record.result.as_ref().and_then(|result| result.intention.as_ref()?.mode);
        let intention = record.verification.intention.or(told);
        let mut outcome = Ok(());
        for (wish, intention) in questions(missing, intention, each_alone) {
            // A step has one mode: what was found of one ends the search.
            if fetched.without_found(wish).is_nothing() {
                continue;
            }
            let size: u64 = stored.iter().chain(&fetched.rows).map(|row| row.size_bytes).sum();
            let limit_bytes = MAX_EVIDENCE_BYTES.saturating_sub(size);
            let (rows, unkept) = (fetched.rows.len(), fetched.unkept.len());
            match self.fetch(record, MediaQuery { wish, intention, limit_bytes }, fetched).await {
                Ok(()) => {
                    fetched.answered.extend(EvidencePart::VARIANTS.iter().copied().filter(|part| wish.has(*part)))
                }
                Err(error) => {
                    // An answer counts as a whole.
                    fetched.unkept.truncate(unkept);
                    self.delete_blobs_of(&fetched.rows.split_off(rows)).await?;
                    let is_of_this_question = matches!(error, Error::Vendor(_)) && !error.was_not_asked();
                    outcome = outcome.and(Err(error));
                    if !is_of_this_question {
                        break;
                    }
                }
            }
        }
        outcome
    }

    async fn fetch(&self, record: &Record, query: MediaQuery, fetched: &mut Fetched) -> Result<(), Error> {
        let verification = &record.verification;
        let token = &record.session()?.token;
        let fetch =
            |pair: Arc<KeyPair>| async move { self.tencent.fetch_media(&pair, verification, token, query).await };
        let mut media = self.credentials.with_key_pair(&verification.credential, fetch).await?;
        while let Some(event) = media.next().await? {
            match event {
                MediaEvent::Start { kind, index, seq } => {
                    match self.keep(&verification.id.to_string(), kind, index, seq.clone(), &mut media).await? {
                        Ok(row) => fetched.rows.push(row),
                        Err(why) => {
                            fetched.skip(UnkeptMedium { kind, position: index, attempt_seq: seq, why, text: None });
                        }
                    }
                }
                MediaEvent::Skipped(medium) => fetched.skip(medium),
                // `keep` takes the pieces after a start.
                MediaEvent::Bytes(_) | MediaEvent::End | MediaEvent::Broken(_) => {}
                // It comes last, and tells that what came before counts.
                MediaEvent::Finished(beside) => fetched.beside.add(*beside),
            }
        }
        Ok(())
    }

    /// The row of a medium that is stored, or why it cannot be.
    async fn keep(
        &self,
        verification_id: &str,
        kind: MediaKind,
        position: u32,
        attempt_seq: Option<String>,
        media: &mut MediaStream,
    ) -> Result<Result<EvidenceRow, NotKept>, Error> {
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
        let stored = match self.evidence.put(&self.keyring, place(&key), &key, source).await {
            Ok(stored) => stored,
            Err(PutError::Source(MediumError::NotKept(why))) => return Ok(Err(why)),
            Err(PutError::Source(MediumError::Vendor(vendor))) => return Err(Error::Vendor(vendor)),
            Err(PutError::Store(store)) => return Err(Error::Evidence(store)),
        };
        row.size_bytes = stored.size;
        row.sha256 = Some(stored.sha256.to_vec());
        row.sealed_key = Some(stored.sealed_key);
        Ok(Ok(row))
    }

    /// The job that fetches a verification's evidence, if its flow keeps any and there was
    /// something to see.
    pub(super) fn evidence_job(&self, verification: &Verification) -> Option<NewJob> {
        let ended_at = match verification.state {
            State::Passed { at } | State::Failed { at } => at,
            State::Pending | State::Expired { .. } | State::Canceled { .. } => return None,
        };
        let terms = self.terms();
        let flow = terms.flows.get(&verification.flow)?;
        if flow.evidence.is_nothing() || verification.redacted_at.is_some() || verification.result_lost {
            return None;
        }
        Some(NewJob {
            kind: JobKind::FetchEvidence,
            subject: verification.id.to_string(),
            due_at_ms: ended_at.as_millisecond(),
            // In the order in which the vendor forgets them.
            rank_ms: verification.created_at.as_millisecond(),
        })
    }

    pub(super) fn blobs_job(&self, verification_id: &str) -> NewJob {
        let now_ms = self.clock.now().as_millisecond();
        NewJob { kind: JobKind::DeleteBlobs, subject: verification_id.to_owned(), due_at_ms: now_ms, rank_ms: now_ms }
    }
}

fn without_stored(wish: EvidenceSelection, rows: &[EvidenceRow]) -> EvidenceSelection {
    let kinds = rows.iter().filter_map(|row| row.kind.parse::<MediaKind>().ok());
    kinds.fold(wish, |wish, kind| wish.without(kind.part()))
}

/// Requests to send in turn: the parts of each, and the mode of its intention step.
fn questions(
    missing: EvidenceSelection,
    intention: Option<IntentionMode>,
    each_alone: bool,
) -> Vec<(EvidenceSelection, Option<IntentionMode>)> {
    if !each_alone {
        return vec![(missing, intention)];
    }
    let mut questions = Vec::new();
    for part in EvidencePart::VARIANTS.iter().copied().filter(|part| missing.has(*part)) {
        let modes: &[_] = match (part, intention) {
            (EvidencePart::Intention, None) => &[Some(IntentionMode::ReadAloud), Some(IntentionMode::Questions)],
            _ => &[intention],
        };
        questions.extend(modes.iter().map(|mode| (EvidenceSelection::only(part), *mode)));
    }
    questions
}

/// Where the key of a blob is sealed for: the path names the verification, the kind and the
/// position.
pub(super) fn place(key: &BlobKey) -> Place<'_> {
    Place { table: "evidence", row: key.as_str(), column: "sealed_key", bound: &[] }
}

pub(super) fn blob_key(row: &EvidenceRow) -> Result<BlobKey, Error> {
    BlobKey::parse(&blob_path(row)).map_err(|problem| Error::UnreadableRow {
        id: row.id.clone(),
        column: "kind",
        problem,
    })
}

/// The key of a row's blob. With the row's id: each try writes blobs of its own.
pub fn blob_path(row: &EvidenceRow) -> String {
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
