//! The store on PostgreSQL, for several replicas at once. READ COMMITTED: what must stay as it was
//! read is locked, and every check that a write depends on is part of a statement that writes.

mod audit;
mod connect;
mod credentials;
mod effects;
mod evidence;
mod failure;
mod follower;
mod identity;
mod import;
mod jobs;
mod keys;
mod replicas;
mod schema;
mod session;
mod skew;
mod usage;
mod verifications;
mod webhooks;

pub use connect::{PostgresOptions, PostgresTls};
pub use import::{Column, Import};

use super::{
    Creation, Error, ErrorKind, Refusal, SchemaVersions, Store,
    row::{
        AuditFilter, AuditRow, CardUse, ChargeRow, CredentialRow, Effects, EventRow, EvidenceRow, JobRow, KeyUseRow,
        ListFilter, NewJob, NewRow, ProgressRow, Resealed, RowMac, SealedValue, Unsettled, UsageDay, UsageFilter,
        VerificationRow,
    },
    signals::{EventKey, EventSignal, EventSignals},
    turns::{Turn, Turns},
};
use crate::domain::{job::JobKind, store_identity::StoreIdentity};
use async_trait::async_trait;
use connect::Alone;
use deadpool_postgres::Pool;
use failure::failed;
use follower::Follower;
use parking_lot::Mutex;
use session::{read, write};
use skew::Skew;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// A commit that is not older shows that the store can be written.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How many reads that may take long run at once, each on a connection of the pool.
const SLOW_READS: usize = 2;
/// How long one of them waits for its turn.
const SLOW_READ_PATIENCE: Duration = Duration::from_secs(5);
const FORGET_BATCH: u32 = 500;
/// Whose turns the gateway's own slow reads take.
const GAUGES: &str = "(gauges)";
const VAULT: &str = "(vault)";

/// A PostgreSQL database.
pub struct PostgresStore {
    pool: Pool,
    slow_reads: Turns<()>,
    events: Arc<EventSignals>,
    follower: Follower,
    skew: Skew,
    committed_at: Mutex<Option<Instant>>,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// When PostgreSQL is not reached or refuses, or a migration fails.
    pub async fn open(options: &PostgresOptions) -> Result<Self, Error> {
        let mut client = Alone::connect(options).await?;
        schema::migrate(&mut client.client).await?;
        if schema::is_being_moved_to(&client.client).await.map_err(failed("open"))? {
            let problem = "a store is being moved there: run `faceid-gateway migrate --from …` again, to its end";
            return Err(Error::new("open", ErrorKind::Refused(Refusal::InUse), problem));
        }
        Self::open_migrated(options).await
    }

    /// Connects, and changes nothing: to look at a store that gateways have.
    ///
    /// # Errors
    /// When PostgreSQL is not reached or refuses. A schema of another version is none: see
    /// [`PostgresStore::schema_versions`].
    pub async fn open_migrated(options: &PostgresOptions) -> Result<Self, Error> {
        let pool = options.pool()?;
        let skew = Skew::measured(&pool).await?;
        let last = read!(pool, "open", |client| effects::last_event(client))?;
        let events = Arc::<EventSignals>::default();
        let follower = Follower::start(options.clone(), pool.clone(), Arc::clone(&events), last);
        Ok(Self {
            pool,
            slow_reads: Turns::new(vec![(); SLOW_READS], SLOW_READ_PATIENCE),
            events,
            follower,
            skew,
            committed_at: Mutex::default(),
        })
    }

    /// How far the database is migrated.
    ///
    /// # Errors
    /// When PostgreSQL is not reached or refuses.
    pub async fn schema_versions(options: &PostgresOptions) -> Result<SchemaVersions, Error> {
        let client = Alone::connect(options).await?;
        schema::versions(&client.client).await.map_err(failed("open"))
    }

    /// A connection for one that may take long, in the turn of `caller`.
    async fn turn(&self, operation: &'static str, caller: &str) -> Result<Turn<()>, Error> {
        self.slow_reads.next(operation, caller).await
    }

    fn note_commit(&self) {
        *self.committed_at.lock() = Some(Instant::now());
    }

    /// Wakes who waits for these, here and at the other replicas.
    fn announce(&self, events: &[EventKey]) {
        if !events.is_empty() {
            self.events.notify(events);
            self.follower.tell_others();
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn engine(&self) -> &'static str {
        "postgresql"
    }

    async fn identity(&self) -> Result<StoreIdentity, Error> {
        let identity = read!(self.pool, "identity", |client| identity::read(client))?;
        identity.ok_or_else(|| Error::new("identity", ErrorKind::Corrupt, "table store has no row that can be read"))
    }

    async fn create_or_find(&self, new: NewRow, mac: RowMac, effects: Effects) -> Result<Creation, Error> {
        let creation = write!(self, "create_or_find", |transaction| async {
            if verifications::insert(transaction, &new, &mac).await? {
                effects::apply(transaction, &effects).await?;
                return Ok(Some(Creation::Created));
            }
            let request_id = new.request_id.as_deref().unwrap_or_default();
            let found = verifications::find_by_request_id(transaction, &new.caller, request_id).await?;
            Ok(found.map(|row| Creation::Found(Box::new(row))))
        });
        let creation = match creation {
            // The answer to its commit was lost: it is read again.
            Err(error) if error.kind == ErrorKind::Ambiguous => match self.find(&new.id).await {
                Ok(Some(_)) => Creation::Created,
                _ => return Err(error),
            },
            creation => creation?.ok_or_else(|| {
                Error::new("create_or_find", ErrorKind::Transient, "the request id is being used by another call")
            })?,
        };
        if matches!(creation, Creation::Created) {
            self.announce(&EventKey::of(&effects));
        }
        Ok(creation)
    }

    async fn find(&self, id: &str) -> Result<Option<VerificationRow>, Error> {
        read!(self.pool, "find", |client| verifications::find(client, id))
    }

    async fn find_by_request_id(&self, caller: &str, request_id: &str) -> Result<Option<VerificationRow>, Error> {
        read!(self.pool, "find_by_request_id", |client| verifications::find_by_request_id(client, caller, request_id))
    }

    async fn find_by_token_hash(&self, hashes: Vec<Vec<u8>>) -> Result<Option<VerificationRow>, Error> {
        read!(self.pool, "find_by_token_hash", |client| verifications::find_by_token_hash(client, &hashes))
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<VerificationRow>, Error> {
        let _turn = self.turn("list", &filter.caller).await?;
        read!(self.pool, "list", |client| verifications::list(client, &filter))
    }

    async fn advance(
        &self,
        id: &str,
        expected_version: i64,
        next: ProgressRow,
        mac: RowMac,
        effects: Effects,
    ) -> Result<bool, Error> {
        let advanced = write!(self, "advance", |transaction| async {
            let advanced = verifications::advance(transaction, id, expected_version, &next, &mac).await?;
            if advanced {
                effects::apply(transaction, &effects).await?;
            }
            Ok(advanced)
        })?;
        if advanced {
            self.announce(&EventKey::of(&effects));
        }
        Ok(advanced)
    }

    async fn put_evidence(&self, job: &JobRow, rows: Vec<EvidenceRow>, effects: Effects) -> Result<bool, Error> {
        let stored = write!(self, "put_evidence", |transaction| async {
            // In the order of every write that has both: the verification, then its jobs.
            let stored =
                evidence::lock_unredacted(transaction, &job.subject).await? && jobs::is_held(transaction, job).await?;
            if stored {
                evidence::insert(transaction, &rows).await?;
                effects::apply(transaction, &effects).await?;
            }
            Ok(stored)
        })?;
        if stored {
            self.announce(&EventKey::of(&effects));
        }
        Ok(stored)
    }

    async fn evidence_of(&self, verification_id: &str) -> Result<Vec<EvidenceRow>, Error> {
        read!(self.pool, "evidence_of", |client| evidence::of(client, verification_id))
    }

    async fn erase_evidence(&self, verification_id: &str, at_ms: i64, effects: Effects) -> Result<(), Error> {
        write!(self, "erase_evidence", |transaction| async {
            evidence::erase(transaction, verification_id, at_ms).await?;
            effects::apply(transaction, &effects).await
        })
    }

    async fn note_blobs_deleted(&self, verification_id: &str) -> Result<(), Error> {
        write!(self, "note_blobs_deleted", |transaction| evidence::note_blobs_deleted(transaction, verification_id))
    }

    async fn has_job(&self, kind: JobKind, subject: &str) -> Result<bool, Error> {
        read!(self.pool, "has_job", |client| jobs::exists(client, kind, subject))
    }

    async fn redact(
        &self,
        id: &str,
        expected_version: i64,
        at_ms: i64,
        keep_session: bool,
        mac: RowMac,
        effects: Effects,
    ) -> Result<bool, Error> {
        let redacted = write!(self, "redact", |transaction| async {
            let redacted = verifications::redact(transaction, id, expected_version, at_ms, keep_session, &mac).await?;
            if redacted {
                evidence::erase(transaction, id, at_ms).await?;
                effects::apply(transaction, &effects).await?;
            }
            Ok(redacted)
        })?;
        if redacted {
            self.announce(&EventKey::of(&effects));
        }
        Ok(redacted)
    }

    /// Nothing: PostgreSQL overwrites the old versions of rows when it vacuums, and keeps its log
    /// for as long as its operator says. docs/REPLICAS.md tells what to set.
    async fn scrub(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn mark_fetched(&self, id: &str, at_ms: i64) -> Result<(), Error> {
        write!(self, "mark_fetched", |transaction| verifications::mark_fetched(transaction, id, at_ms))
    }

    async fn append_audit(&self, event: AuditRow) -> Result<(), Error> {
        write!(self, "append_audit", |transaction| audit::insert(transaction, &event))
    }

    async fn audit_events(&self, filter: AuditFilter) -> Result<Vec<(i64, AuditRow)>, Error> {
        let _turn = self.turn("audit_events", "(audit)").await?;
        read!(self.pool, "audit_events", |client| audit::list(client, &filter))
    }

    async fn audit_of(&self, verification_id: &str) -> Result<Vec<AuditRow>, Error> {
        read!(self.pool, "audit_of", |client| audit::of(client, verification_id))
    }

    async fn events_after(&self, caller: &str, flow: &str, seq: i64, limit: u32) -> Result<Vec<EventRow>, Error> {
        read!(self.pool, "events_after", |client| effects::events_after(client, caller, flow, seq, limit))
    }

    async fn last_event(&self) -> Result<i64, Error> {
        read!(self.pool, "last_event", |client| effects::last_event(client))
    }

    fn event_signal(&self, key: EventKey) -> EventSignal {
        self.events.subscribe(key)
    }

    async fn add_job(&self, job: NewJob) -> Result<(), Error> {
        write!(self, "add_job", |transaction| effects::insert_job(transaction, &job))
    }

    async fn keep_only_job(&self, kind: JobKind, subject: &str) -> Result<(), Error> {
        write!(self, "keep_only_job", |transaction| jobs::keep_only(transaction, kind, subject))
    }

    async fn claim_jobs(
        &self,
        kind: JobKind,
        now_ms: i64,
        lease_until_ms: i64,
        limit: u32,
    ) -> Result<Vec<JobRow>, Error> {
        let skew_ms = self.skew.ms(&self.pool).await;
        let time = jobs::ClaimTime {
            now_ms,
            database_now_ms: now_ms.saturating_add(skew_ms),
            lease_until_ms: lease_until_ms.saturating_add(skew_ms),
        };
        // Most looks find nothing, and need no transaction.
        if !read!(self.pool, "claim_jobs", |client| jobs::any_due(client, kind, &time))? {
            return Ok(Vec::new());
        }
        let token = uuid::Uuid::new_v4().to_string();
        write!(self, "claim_jobs", |transaction| jobs::claim(transaction, kind, &time, limit, &token))
    }

    async fn finish_job(&self, job: &JobRow) -> Result<(), Error> {
        write!(self, "finish_job", |transaction| jobs::finish(transaction, job))
    }

    async fn reschedule_job(&self, job: &JobRow, due_at_ms: i64, failures: u32) -> Result<(), Error> {
        write!(self, "reschedule_job", |transaction| jobs::reschedule(transaction, job, due_at_ms, failures))
    }

    async fn undelivered(&self, verification_id: &str, limit: u32) -> Result<Vec<EventRow>, Error> {
        read!(self.pool, "undelivered", |client| webhooks::undelivered(client, verification_id, limit))
    }

    async fn note_delivered(&self, job: &JobRow, seq: i64, now_ms: i64) -> Result<(), Error> {
        write!(self, "note_delivered", |transaction| webhooks::note_delivered(transaction, job, seq, now_ms))
    }

    async fn park_webhook(&self, job: &JobRow, now_ms: i64) -> Result<(), Error> {
        write!(self, "park_webhook", |transaction| webhooks::park(transaction, job, now_ms))
    }

    async fn parked_webhooks(&self) -> Result<u64, Error> {
        let _turn = self.turn("parked_webhooks", GAUGES).await?;
        read!(self.pool, "parked_webhooks", |client| webhooks::count_parked(client)).map(i64::unsigned_abs)
    }

    async fn first_due(&self, kind: JobKind) -> Result<Option<i64>, Error> {
        let _turn = self.turn("first_due", GAUGES).await?;
        read!(self.pool, "first_due", |client| jobs::first_due(client, kind))
    }

    async fn unsettled(&self, now_ms: i64) -> Result<Unsettled, Error> {
        let _turn = self.turn("unsettled", GAUGES).await?;
        read!(self.pool, "unsettled", |client| jobs::unsettled(client, now_ms))
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageDay>, Error> {
        let _turn = self.turn("usage", "(usage)").await?;
        read!(self.pool, "usage", |client| usage::by_day(client, &filter))
    }

    async fn charges(&self, rule_id: &str, from_ms: i64, before_ms: i64) -> Result<Vec<ChargeRow>, Error> {
        let _turn = self.turn("charges", "(usage)").await?;
        read!(self.pool, "charges", |client| usage::charges(client, rule_id, from_ms, before_ms))
    }

    async fn id_card_uses(
        &self,
        hashes: Vec<Vec<u8>>,
        caller: &str,
        expired_after_ms: i64,
    ) -> Result<Vec<CardUse>, Error> {
        read!(self.pool, "id_card_uses", |client| verifications::id_card_uses(
            client,
            &hashes,
            caller,
            expired_after_ms
        ))
    }

    async fn forget_id_cards(&self, expired_before_ms: i64) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            // Some at a time: other writes need not wait for all of a day's.
            let of_batch = write!(self, "forget_id_cards", |transaction| verifications::forget_id_cards(
                transaction,
                expired_before_ms,
                FORGET_BATCH
            ))?;
            forgotten += of_batch;
            if of_batch < u64::from(FORGET_BATCH) {
                return Ok(forgotten);
            }
        }
    }

    async fn create_credential(&self, credential: CredentialRow, effects: Effects) -> Result<bool, Error> {
        write!(self, "create_credential", |transaction| async {
            let created = credentials::create(transaction, &credential).await?;
            if created {
                effects::apply(transaction, &effects).await?;
            }
            Ok(created)
        })
    }

    async fn find_credential(&self, name: &str) -> Result<Option<CredentialRow>, Error> {
        let found = read!(self.pool, "find_credential", |client| credentials::select(client, Some(name)));
        found.map(|mut found| found.pop())
    }

    async fn credentials(&self) -> Result<Vec<CredentialRow>, Error> {
        read!(self.pool, "credentials", |client| credentials::select(client, None))
    }

    async fn change_credential(&self, next: CredentialRow, effects: Effects) -> Result<bool, Error> {
        write!(self, "change_credential", |transaction| async {
            let changed = credentials::change(transaction, &next).await?;
            if changed {
                effects::apply(transaction, &effects).await?;
            }
            Ok(changed)
        })
    }

    async fn delete_credential(&self, name: &str, expected_version: i64, effects: Effects) -> Result<bool, Error> {
        write!(self, "delete_credential", |transaction| async {
            let deleted = credentials::delete(transaction, name, expected_version).await?;
            if deleted {
                effects::apply(transaction, &effects).await?;
            }
            Ok(deleted)
        })
    }

    async fn unsettled_with_credential(&self, name: &str) -> Result<u64, Error> {
        let _turn = self.turn("unsettled_with_credential", "(credentials)").await?;
        let counted = read!(self.pool, "unsettled_with_credential", |client| credentials::unsettled(client, name));
        counted.map(i64::unsigned_abs)
    }

    async fn note_key_pair_used(&self, id: &str, at_ms: i64) -> Result<(), Error> {
        write!(self, "note_key_pair_used", |transaction| credentials::note_used(transaction, id, at_ms))
    }

    async fn note_key_pair_tested(&self, id: &str, at_ms: i64, code: &str, effects: Effects) -> Result<(), Error> {
        write!(self, "note_key_pair_tested", |transaction| async {
            credentials::note_tested(transaction, id, at_ms, code).await?;
            effects::apply(transaction, &effects).await
        })
    }

    async fn sealing_keys(&self) -> Result<BTreeSet<String>, Error> {
        let _turn = self.turn("sealing_keys", VAULT).await?;
        read!(self.pool, "sealing_keys", |client| keys::sealing(client))
    }

    async fn key_use(&self) -> Result<Vec<KeyUseRow>, Error> {
        let _turn = self.turn("key_use", VAULT).await?;
        read!(self.pool, "key_use", |client| keys::in_use(client))
    }

    async fn not_sealed_with(&self, key_id: &str, limit: u32) -> Result<Vec<SealedValue>, Error> {
        let _turn = self.turn("not_sealed_with", VAULT).await?;
        read!(self.pool, "not_sealed_with", |client| keys::not_sealed_with(client, key_id, limit))
    }

    async fn sealed_with(&self, key_id: &str, limit: u32) -> Result<Vec<SealedValue>, Error> {
        let _turn = self.turn("sealed_with", VAULT).await?;
        read!(self.pool, "sealed_with", |client| keys::sealed_with(client, key_id, limit))
    }

    async fn unbound(&self, limit: u32) -> Result<Vec<VerificationRow>, Error> {
        let _turn = self.turn("unbound", VAULT).await?;
        read!(self.pool, "unbound", |client| keys::rows_bound_with(client, "", limit))
    }

    async fn reseal(&self, values: Vec<Resealed>) -> Result<u64, Error> {
        write!(self, "reseal", |transaction| keys::reseal(transaction, &values))
    }

    async fn key_checks(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        read!(self.pool, "key_checks", |client| keys::checks(client))
    }

    async fn put_key_check(&self, key_id: &str, sealed_check: Vec<u8>) -> Result<(), Error> {
        write!(self, "put_key_check", |transaction| keys::put_check(transaction, key_id, &sealed_check))
    }

    async fn beat(&self, replica: &str, within: Duration) -> Result<u32, Error> {
        // Committed before it is counted: of two that come at once, one at least sees both.
        write!(self, "beat", |transaction| replicas::note(transaction, replica))?;
        let alive = read!(self.pool, "beat", |client| replicas::count(client, within))?;
        Ok(u32::try_from(alive).unwrap_or(u32::MAX).max(1))
    }

    async fn leave(&self, replica: &str) -> Result<(), Error> {
        write!(self, "leave", |transaction| replicas::forget(transaction, replica))
    }

    async fn ping(&self) -> Result<(), Error> {
        self.identity().await?;
        if self.committed_at.lock().is_some_and(|at| at.elapsed() < PROBE_INTERVAL) {
            return Ok(());
        }
        write!(self, "ping", |transaction| identity::probe(transaction))
    }
}
