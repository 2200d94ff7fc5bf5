//! The gateway's store.
//!
//! The methods are shaped by use case. Everything secret or personal arrives sealed (see
//! [`crate::vault`]): the store sees ciphertext and keyed hashes only. Every method that returns
//! `Ok` for a write has made it durable.

mod error;
pub mod moving;
mod observed;
pub mod postgres;
pub mod row;
mod schema;
pub mod signals;
pub mod sqlite;
mod turns;

pub use error::{Error, ErrorKind, Refusal};
pub use observed::ObservedStore;
pub use schema::SchemaVersions;

use crate::domain::{job::JobKind, store_identity::StoreIdentity};
use async_trait::async_trait;
use row::{
    AuditFilter, AuditRow, CardUse, ChargeRow, CredentialRow, Effects, EventRow, EvidenceRow, JobRow, KeyUseRow,
    ListFilter, NewJob, NewRow, ProgressRow, Resealed, RowMac, SealedValue, Unsettled, UsageDay, UsageFilter,
    VerificationRow,
};
use signals::{EventKey, EventSignal};
use std::{collections::BTreeSet, time::Duration};

/// The store's contract. The conformance suite in `tests/it/store.rs` holds every implementation to
/// it.
#[async_trait]
pub trait Store: Send + Sync {
    /// What kind of database it is, for people: `sqlite`.
    fn engine(&self) -> &'static str;

    /// Which store it is.
    async fn identity(&self) -> Result<StoreIdentity, Error>;

    /// Stores a new verification with its MAC and its effects, or finds the one that this caller
    /// made with the same request id.
    async fn create_or_find(&self, new: NewRow, mac: RowMac, effects: Effects) -> Result<Creation, Error>;

    /// The verification of this id.
    async fn find(&self, id: &str) -> Result<Option<VerificationRow>, Error>;

    /// The verification that this caller made with this request id.
    async fn find_by_request_id(&self, caller: &str, request_id: &str) -> Result<Option<VerificationRow>, Error>;

    /// The verification whose token has one of these hashes.
    async fn find_by_token_hash(&self, hashes: Vec<Vec<u8>>) -> Result<Option<VerificationRow>, Error>;

    /// A page of verifications, in the order of (creation time, id).
    async fn list(&self, filter: ListFilter) -> Result<Vec<VerificationRow>, Error>;

    /// Replaces the progress of a verification, with effects, if it still has the version that the
    /// change was made from. The version rises by one. False: it has another version (or does not
    /// exist), and nothing was done; read it again.
    async fn advance(
        &self,
        id: &str,
        expected_version: i64,
        next: ProgressRow,
        mac: RowMac,
        effects: Effects,
    ) -> Result<bool, Error>;

    /// Stores evidence that a job fetched, with effects. False: the lease was lost to somebody
    /// else, or the verification was redacted meanwhile; nothing was stored.
    async fn put_evidence(&self, job: &JobRow, rows: Vec<EvidenceRow>, effects: Effects) -> Result<bool, Error>;

    /// The evidence of a verification, by kind and position.
    async fn evidence_of(&self, verification_id: &str) -> Result<Vec<EvidenceRow>, Error>;

    /// Erases the keys of a verification's evidence, with effects.
    async fn erase_evidence(&self, verification_id: &str, at_ms: i64, effects: Effects) -> Result<(), Error>;

    /// Notes that the blobs of erased evidence are gone.
    async fn note_blobs_deleted(&self, verification_id: &str) -> Result<(), Error>;

    /// Whether there is such a job.
    async fn has_job(&self, kind: JobKind, subject: &str) -> Result<bool, Error>;

    /// Empties the sealed columns of a verification and of its evidence, with effects, if it still
    /// has this version. `keep_session`: the token is still needed to ask the vendor for the
    /// ledger. `mac`: of the row as it is then. False: it has another version.
    async fn redact(
        &self,
        id: &str,
        expected_version: i64,
        at_ms: i64,
        keep_session: bool,
        mac: RowMac,
        effects: Effects,
    ) -> Result<bool, Error>;

    /// Removes what was erased from the store's files, where it may still stand after a write. No
    /// write waits for it: a reader that has the files open is a transient failure.
    async fn scrub(&self) -> Result<(), Error>;

    /// Notes when a final state was first told to the caller.
    async fn mark_fetched(&self, id: &str, at_ms: i64) -> Result<(), Error>;

    /// Appends to the audit trail.
    async fn append_audit(&self, event: AuditRow) -> Result<(), Error>;

    /// A page of the audit trail with each event's place in it, newest first.
    async fn audit_events(&self, filter: AuditFilter) -> Result<Vec<(i64, AuditRow)>, Error>;

    /// The audit trail of a verification, oldest first.
    async fn audit_of(&self, verification_id: &str) -> Result<Vec<AuditRow>, Error>;

    /// Events of a caller after a place in the log, in order; of one flow, unless that is empty.
    async fn events_after(&self, caller: &str, flow: &str, seq: i64, limit: u32) -> Result<Vec<EventRow>, Error>;

    /// The place of the newest event; 0 when there is none.
    async fn last_event(&self) -> Result<i64, Error>;

    /// Changes whenever events of this key were stored.
    fn event_signal(&self, key: EventKey) -> EventSignal;

    /// Adds a job, unless there is one of its kind and subject. One that
    /// [starts over](JobKind::starts_over_on_demand) is due as demanded then, and loses its lease.
    async fn add_job(&self, job: NewJob) -> Result<(), Error>;

    /// Removes the jobs of a kind, except the one of this subject. A run that is under way has lost
    /// its lease.
    async fn keep_only_job(&self, kind: JobKind, subject: &str) -> Result<(), Error>;

    /// Leases up to `limit` jobs of a kind that are due at `now_ms` and not leased, lowest rank
    /// first among the thousand that are due for longest.
    async fn claim_jobs(
        &self,
        kind: JobKind,
        now_ms: i64,
        lease_until_ms: i64,
        limit: u32,
    ) -> Result<Vec<JobRow>, Error>;

    /// Removes a job that is done, unless its lease was lost to somebody else.
    async fn finish_job(&self, job: &JobRow) -> Result<(), Error>;

    /// Gives a job back for another time, unless its lease was lost to somebody else.
    async fn reschedule_job(&self, job: &JobRow, due_at_ms: i64, failures: u32) -> Result<(), Error>;

    /// Events of a verification that were not delivered to its caller's webhook, in order.
    async fn undelivered(&self, verification_id: &str, limit: u32) -> Result<Vec<EventRow>, Error>;

    /// Notes that the events up to `seq` of a job's verification were delivered. Ends the job,
    /// unless there are later events: then it is due at `now_ms`. Nothing is done when the lease
    /// was lost to somebody else.
    async fn note_delivered(&self, job: &JobRow, seq: i64, now_ms: i64) -> Result<(), Error>;

    /// Ends a job whose events cannot be delivered; they stay where they are.
    async fn park_webhook(&self, job: &JobRow, now_ms: i64) -> Result<(), Error>;

    /// How many verifications have events that could not be delivered.
    async fn parked_webhooks(&self) -> Result<u64, Error>;

    /// When the job of a kind that is due first is due, or was: also while it is done.
    async fn first_due(&self, kind: JobKind) -> Result<Option<i64>, Error>;

    /// How much is not settled yet.
    async fn unsettled(&self, now_ms: i64) -> Result<Unsettled, Error>;

    /// Usage by day, caller and flow, in that order. A verification counts on the day of its
    /// creation, an attempt on its own.
    async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageDay>, Error>;

    /// Charged attempts that were made in a time, by verification, of the flows with this RuleId.
    async fn charges(&self, rule_id: &str, from_ms: i64, before_ms: i64) -> Result<Vec<ChargeRow>, Error>;

    /// When the ID card with one of these hashes was used, in verifications that expire after a
    /// time: at each attempt, whoever's it was, and at the creation of each pending verification of
    /// this caller that has none.
    async fn id_card_uses(
        &self,
        hashes: Vec<Vec<u8>>,
        caller: &str,
        expired_after_ms: i64,
    ) -> Result<Vec<CardUse>, Error>;

    /// Erases the ID cards' hashes of verifications that expired before a time. Gives their number.
    async fn forget_id_cards(&self, expired_before_ms: i64) -> Result<u64, Error>;

    /// Stores a new credential, with effects. False: the name is taken.
    async fn create_credential(&self, credential: CredentialRow, effects: Effects) -> Result<bool, Error>;

    /// The credential of a name.
    async fn find_credential(&self, name: &str) -> Result<Option<CredentialRow>, Error>;

    /// All credentials, by name.
    async fn credentials(&self) -> Result<Vec<CredentialRow>, Error>;

    /// Puts `next` in place of a credential, with effects, if that still has the version in `next`.
    /// The version rises by one; key pairs that are not in `next` are erased. False: it has another
    /// version (or does not exist), and nothing was done.
    async fn change_credential(&self, next: CredentialRow, effects: Effects) -> Result<bool, Error>;

    /// Erases a credential with its key pairs, with effects, if it still has this version.
    async fn delete_credential(&self, name: &str, expected_version: i64, effects: Effects) -> Result<bool, Error>;

    /// How many verifications of a credential the vendor is still to be asked about.
    async fn unsettled_with_credential(&self, name: &str) -> Result<u64, Error>;

    /// Notes when a key pair was used.
    async fn note_key_pair_used(&self, id: &str, at_ms: i64) -> Result<(), Error>;

    /// Notes what came of testing a key pair, with effects.
    async fn note_key_pair_tested(&self, id: &str, at_ms: i64, code: &str, effects: Effects) -> Result<(), Error>;

    /// The ids of the keys that something is sealed with. Cheap enough for every start.
    async fn sealing_keys(&self) -> Result<BTreeSet<String>, Error>;

    /// Uses of each key of the keyring, by key id. Counts all rows.
    async fn key_use(&self) -> Result<Vec<KeyUseRow>, Error>;

    /// Some values that are sealed with another key than this one; MACs of rows count as values.
    async fn not_sealed_with(&self, key_id: &str, limit: u32) -> Result<Vec<SealedValue>, Error>;

    /// Some values that are sealed with this key.
    async fn sealed_with(&self, key_id: &str, limit: u32) -> Result<Vec<SealedValue>, Error>;

    /// Some verifications of the first versions, whose rows no MAC binds.
    async fn unbound(&self, limit: u32) -> Result<Vec<VerificationRow>, Error>;

    /// Puts values in place of those that they were made from, where those still stand. Says how
    /// many did.
    async fn reseal(&self, values: Vec<Resealed>) -> Result<u64, Error>;

    /// The check value that each key sealed when it was first seen, by key id.
    async fn key_checks(&self) -> Result<Vec<(String, Vec<u8>)>, Error>;

    /// Keeps what was sealed with a key that is seen for the first time. One that is there stays.
    async fn put_key_check(&self, key_id: &str, sealed_check: Vec<u8>) -> Result<(), Error>;

    /// Notes that a replica lives, and says how many have done so within a time, by the store's
    /// clock. A store of one process says 1.
    async fn beat(&self, replica: &str, within: Duration) -> Result<u32, Error>;

    /// Forgets a replica that stops.
    async fn leave(&self, replica: &str) -> Result<(), Error>;

    /// Whether the store reads and writes: commits something, unless a commit has just succeeded.
    async fn ping(&self) -> Result<(), Error>;
}

/// Result of [`Store::create_or_find`].
#[derive(Debug)]
pub enum Creation {
    Created,
    /// The caller's request id was taken: by this verification.
    Found(Box<VerificationRow>),
}
