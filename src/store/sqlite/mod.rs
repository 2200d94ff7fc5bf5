//! The store on SQLite: one file, WAL, one writer, full durability. For one replica.

mod audit;
pub mod backup;
mod credentials;
mod effects;
mod evidence;
mod export;
mod failure;
mod identity;
mod inspect;
mod jobs;
mod keys;
mod lock;
mod schema;
mod slow_reads;
mod usage;
mod verifications;
mod watched_file;
mod webhooks;
mod writer;

pub use export::Export;

use super::{
    Creation, Error, ErrorKind, Refusal, Store,
    row::{
        AuditFilter, AuditRow, CardUse, ChargeRow, CredentialRow, Effects, EventRow, EvidenceRow, JobRow, KeyUseRow,
        ListFilter, NewJob, NewRow, ProgressRow, Resealed, RowMac, SealedValue, Unsettled, UsageDay, UsageFilter,
        VerificationRow,
    },
    signals::{EventKey, EventSignal, EventSignals},
};
use crate::domain::{job::JobKind, store_identity::StoreIdentity};
use async_trait::async_trait;
use failure::failed;
use lock::ProcessLock;
use parking_lot::Mutex;
use rusqlite::{
    Connection, OpenFlags, params, params_from_iter,
    trace::{TraceEvent, TraceEventCodes},
};
use slow_reads::SlowReads;
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use verifications::{BY_REQUEST_ID, select_where};
use watched_file::WatchedFile;
use writer::{BUSY_TIMEOUT, Writer};

/// Point reads run on the runtime's own threads: one takes less than the hop to another thread.
/// More connections than cores gain nothing then.
const READERS: usize = 4;
/// A commit that is not older shows that the store can be written: readiness costs no more than a
/// flush in so long.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

const FORGET_BATCH: u32 = 500;
/// Whose turns the gateway's own slow reads take.
const GAUGES: &str = "(gauges)";
const VAULT: &str = "(vault)";

/// A SQLite database.
pub struct SqliteStore {
    readers: Vec<Mutex<Connection>>,
    next_reader: AtomicUsize,
    slow_reads: SlowReads,
    writer: Writer,
    /// Moves the log into the database beside the writer. None: the database is only read. Opened
    /// at the start, as a later one might open another file.
    log_mover: Option<Arc<Mutex<Connection>>>,
    /// No other process has the database. None: it is only read. Given back last, when the writer
    /// is done.
    _lock: Option<ProcessLock>,
    events: Arc<EventSignals>,
}

impl SqliteStore {
    /// Opens the database in `path`, makes it and its folder where missing, and brings its schema
    /// up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or a migration fails.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_traced(path, None)
    }

    /// As [`SqliteStore::open`]; `trace` is told of every statement that is run.
    ///
    /// # Errors
    /// See [`SqliteStore::open`].
    pub fn open_traced(path: &Path, trace: Option<fn(TraceEvent<'_>)>) -> Result<Self, Error> {
        let unusable = |operation| move |error| Error::new(operation, ErrorKind::Refused(Refusal::CannotOpen), error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(unusable("create folder"))?;
        }
        let lock = ProcessLock::take(path)?;
        let mut connection = Connection::open(path).map_err(failed("open"))?;
        restrict_to_owner(path).map_err(unusable("restrict file"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("open"))?;
        // FULL: in WAL mode a commit is on the disk when it returns, also after a power cut.
        // secure_delete: what is erased is overwritten, not only left out.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                 PRAGMA secure_delete = ON;",
            )
            .map_err(failed("open"))?;
        schema::migrate(&mut connection)?;
        identity::ensure(&connection).map_err(failed("identity"))?;
        // Nobody else has the lock: the processes that held these are dead.
        jobs::free_leases(&connection).map_err(failed("free leases"))?;
        connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, trace);
        let reader = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(path, flags)?;
            reader.busy_timeout(BUSY_TIMEOUT)?;
            reader.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, trace);
            Ok(reader)
        };
        let readers = Self::readers(reader).map_err(failed("open"))?;
        let slow_reads = Self::slow_reads(reader).map_err(failed("open"))?;
        let log_mover = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed("open"))?;
        let file = WatchedFile::of_open(path).map_err(unusable("watch file"))?;
        let writer = Writer::start(connection, Some(file)).map_err(unusable("start writer"))?;
        Ok(Self {
            readers,
            next_reader: AtomicUsize::new(0),
            slow_reads,
            writer,
            log_mover: Some(Arc::new(Mutex::new(log_mover))),
            _lock: Some(lock),
            events: Arc::default(),
        })
    }

    fn readers(open: impl Fn() -> rusqlite::Result<Connection>) -> rusqlite::Result<Vec<Mutex<Connection>>> {
        (0..READERS).map(|_| open().map(Mutex::new)).collect()
    }

    fn slow_reads(open: impl Fn() -> rusqlite::Result<Connection>) -> rusqlite::Result<SlowReads> {
        Ok(SlowReads::new((0..slow_reads::CONNECTIONS).map(|_| open()).collect::<rusqlite::Result<_>>()?))
    }

    /// A point read: by a primary key or a unique index, or a bounded piece of an index.
    fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let reader = self.readers[turn].lock();
        read(&reader).map_err(failed(operation))
    }

    fn find_where(
        &self,
        operation: &'static str,
        condition: &str,
        params: impl rusqlite::Params,
    ) -> Result<Option<VerificationRow>, Error> {
        self.read(operation, |reader| select_where(reader, condition, params))
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    async fn identity(&self) -> Result<StoreIdentity, Error> {
        self.read("identity", identity::read)
    }

    async fn create_or_find(&self, new: NewRow, mac: RowMac, effects: Effects) -> Result<Creation, Error> {
        let events = EventKey::of(&effects);
        let creation = self
            .writer
            .write("create_or_find", move |connection| {
                if let Some(request_id) = &new.request_id
                    && let Some(found) = select_where(connection, BY_REQUEST_ID, params![new.caller, request_id])?
                {
                    return Ok(Creation::Found(Box::new(found)));
                }
                verifications::insert(connection, &new, &mac)?;
                effects::apply(connection, &effects)?;
                Ok(Creation::Created)
            })
            .await?;
        if matches!(creation, Creation::Created) {
            self.events.notify(&events);
        }
        Ok(creation)
    }

    async fn find(&self, id: &str) -> Result<Option<VerificationRow>, Error> {
        self.find_where("find", "id = ?1", params![id])
    }

    async fn find_by_request_id(&self, caller: &str, request_id: &str) -> Result<Option<VerificationRow>, Error> {
        self.find_where("find_by_request_id", BY_REQUEST_ID, params![caller, request_id])
    }

    async fn find_by_token_hash(&self, hashes: Vec<Vec<u8>>) -> Result<Option<VerificationRow>, Error> {
        if hashes.is_empty() {
            return Ok(None);
        }
        let marks = vec!["?"; hashes.len()].join(", ");
        self.find_where("find_by_token_hash", &format!("token_hash IN ({marks})"), params_from_iter(hashes))
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<VerificationRow>, Error> {
        let caller = filter.caller.clone();
        self.slow_reads.read("list", &caller, move |reader| verifications::list(reader, &filter)).await
    }

    async fn advance(
        &self,
        id: &str,
        expected_version: i64,
        next: ProgressRow,
        mac: RowMac,
        effects: Effects,
    ) -> Result<bool, Error> {
        let id = id.to_owned();
        let events = EventKey::of(&effects);
        let advanced = self
            .writer
            .write("advance", move |connection| {
                let advanced = verifications::advance(connection, &id, expected_version, &next, &mac)?;
                if advanced {
                    effects::apply(connection, &effects)?;
                    verifications::count_charged_attempts(connection, &id)?;
                }
                Ok(advanced)
            })
            .await?;
        if advanced {
            self.events.notify(&events);
        }
        Ok(advanced)
    }

    async fn put_evidence(&self, job: &JobRow, rows: Vec<EvidenceRow>, effects: Effects) -> Result<bool, Error> {
        let job = job.clone();
        let events = EventKey::of(&effects);
        let stored = self
            .writer
            .write("put_evidence", move |connection| {
                let stored = jobs::is_held(connection, &job)? && evidence::put(connection, &job.subject, &rows)?;
                if stored {
                    effects::apply(connection, &effects)?;
                }
                Ok(stored)
            })
            .await?;
        if stored {
            self.events.notify(&events);
        }
        Ok(stored)
    }

    async fn evidence_of(&self, verification_id: &str) -> Result<Vec<EvidenceRow>, Error> {
        self.read("evidence_of", |reader| evidence::of(reader, verification_id))
    }

    async fn erase_evidence(&self, verification_id: &str, at_ms: i64, effects: Effects) -> Result<(), Error> {
        let id = verification_id.to_owned();
        self.writer
            .write("erase_evidence", move |connection| {
                evidence::erase(connection, &id, at_ms)?;
                effects::apply(connection, &effects)
            })
            .await
    }

    async fn note_blobs_deleted(&self, verification_id: &str) -> Result<(), Error> {
        let id = verification_id.to_owned();
        self.writer.write("note_blobs_deleted", move |connection| evidence::note_blobs_deleted(connection, &id)).await
    }

    async fn has_job(&self, kind: JobKind, subject: &str) -> Result<bool, Error> {
        self.read("has_job", |reader| jobs::exists(reader, kind, subject))
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
        let id = id.to_owned();
        let events = EventKey::of(&effects);
        let redacted = self
            .writer
            .write("redact", move |connection| {
                let redacted = verifications::redact(connection, &id, expected_version, at_ms, keep_session, &mac)?;
                if redacted {
                    evidence::erase(connection, &id, at_ms)?;
                    effects::apply(connection, &effects)?;
                }
                Ok(redacted)
            })
            .await?;
        if redacted {
            self.events.notify(&events);
        }
        Ok(redacted)
    }

    async fn scrub(&self) -> Result<(), Error> {
        // Erased cells are overwritten (secure_delete), but the write-ahead log has the pages as
        // they were. Most of it is moved into the database beside the writer, which has little left
        // to do then.
        self.writer.check_file("scrub")?;
        let log_mover = self.log_mover.clone();
        let moved = tokio::task::spawn_blocking(move || {
            log_mover.map_or(Ok(()), |mover| mover.lock().query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())))
        });
        moved.await.map_err(|error| Error::new("scrub", ErrorKind::Transient, error))?.map_err(failed("scrub"))?;
        self.writer.empty_log().await
    }

    async fn mark_fetched(&self, id: &str, at_ms: i64) -> Result<(), Error> {
        let id = id.to_owned();
        self.writer
            .write("mark_fetched", move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE verifications SET result_fetched_at_ms = ?2 \
                         WHERE id = ?1 AND result_fetched_at_ms IS NULL",
                    )?
                    .execute(params![id, at_ms])?;
                Ok(())
            })
            .await
    }

    async fn append_audit(&self, event: AuditRow) -> Result<(), Error> {
        self.writer.write("append_audit", move |connection| audit::insert(connection, &event)).await
    }

    async fn audit_events(&self, filter: AuditFilter) -> Result<Vec<(i64, AuditRow)>, Error> {
        self.slow_reads.read("audit_events", "(audit)", move |reader| audit::list(reader, &filter)).await
    }

    async fn audit_of(&self, verification_id: &str) -> Result<Vec<AuditRow>, Error> {
        self.read("audit_of", |reader| audit::of(reader, verification_id))
    }

    async fn events_after(&self, caller: &str, flow: &str, seq: i64, limit: u32) -> Result<Vec<EventRow>, Error> {
        self.read("events_after", |reader| effects::events_after(reader, caller, flow, seq, limit))
    }

    async fn last_event(&self) -> Result<i64, Error> {
        self.read("last_event", |reader| {
            reader.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))
        })
    }

    fn event_signal(&self, key: EventKey) -> EventSignal {
        self.events.subscribe(key)
    }

    async fn add_job(&self, job: NewJob) -> Result<(), Error> {
        self.writer.write("add_job", move |connection| effects::insert_job(connection, &job)).await
    }

    async fn keep_only_job(&self, kind: JobKind, subject: &str) -> Result<(), Error> {
        let subject = subject.to_owned();
        self.writer.write("keep_only_job", move |connection| jobs::keep_only(connection, kind, &subject)).await
    }

    async fn claim_jobs(
        &self,
        kind: JobKind,
        now_ms: i64,
        lease_until_ms: i64,
        limit: u32,
    ) -> Result<Vec<JobRow>, Error> {
        // Most looks find nothing: they are reads, and take no turn of the writer.
        if !self.read("claim_jobs", |reader| jobs::any_due(reader, kind, now_ms))? {
            return Ok(Vec::new());
        }
        let lease_token = uuid::Uuid::new_v4().to_string();
        self.writer
            .write("claim_jobs", move |connection| {
                jobs::claim(connection, kind, now_ms, lease_until_ms, limit, &lease_token)
            })
            .await
    }

    async fn finish_job(&self, job: &JobRow) -> Result<(), Error> {
        let job = job.clone();
        self.writer.write("finish_job", move |connection| jobs::finish(connection, &job)).await
    }

    async fn reschedule_job(&self, job: &JobRow, due_at_ms: i64, failures: u32) -> Result<(), Error> {
        let job = job.clone();
        self.writer
            .write("reschedule_job", move |connection| jobs::reschedule(connection, &job, due_at_ms, failures))
            .await
    }

    async fn undelivered(&self, verification_id: &str, limit: u32) -> Result<Vec<EventRow>, Error> {
        self.read("undelivered", |reader| webhooks::undelivered(reader, verification_id, limit))
    }

    async fn note_delivered(&self, job: &JobRow, seq: i64, now_ms: i64) -> Result<(), Error> {
        let job = job.clone();
        self.writer
            .write("note_delivered", move |connection| webhooks::note_delivered(connection, &job, seq, now_ms))
            .await
    }

    async fn park_webhook(&self, job: &JobRow, now_ms: i64) -> Result<(), Error> {
        let job = job.clone();
        self.writer.write("park_webhook", move |connection| webhooks::park(connection, &job, now_ms)).await
    }

    async fn parked_webhooks(&self) -> Result<u64, Error> {
        self.slow_reads.read("parked_webhooks", GAUGES, webhooks::count_parked).await
    }

    async fn first_due(&self, kind: JobKind) -> Result<Option<i64>, Error> {
        self.slow_reads.read("first_due", GAUGES, move |reader| jobs::first_due(reader, kind)).await
    }

    async fn unsettled(&self, now_ms: i64) -> Result<Unsettled, Error> {
        self.slow_reads.read("unsettled", GAUGES, move |reader| jobs::unsettled(reader, now_ms)).await
    }

    async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageDay>, Error> {
        self.slow_reads.read("usage", "(usage)", move |reader| usage::by_day(reader, &filter)).await
    }

    async fn charges(&self, rule_id: &str, from_ms: i64, before_ms: i64) -> Result<Vec<ChargeRow>, Error> {
        let rule_id = rule_id.to_owned();
        let read = move |reader: &Connection| usage::charges(reader, &rule_id, from_ms, before_ms);
        self.slow_reads.read("charges", "(usage)", read).await
    }

    async fn id_card_uses(
        &self,
        hashes: Vec<Vec<u8>>,
        caller: &str,
        expired_after_ms: i64,
    ) -> Result<Vec<CardUse>, Error> {
        self.read("id_card_uses", |reader| verifications::id_card_uses(reader, &hashes, caller, expired_after_ms))
    }

    async fn forget_id_cards(&self, expired_before_ms: i64) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            // Some at a time: other writes need not wait for all of a day's.
            let write = move |connection: &Connection| {
                verifications::forget_id_cards(connection, expired_before_ms, FORGET_BATCH)
            };
            let of_batch = self.writer.write("forget_id_cards", write).await?;
            forgotten += of_batch;
            if of_batch < u64::from(FORGET_BATCH) {
                return Ok(forgotten);
            }
        }
    }

    async fn create_credential(&self, credential: CredentialRow, effects: Effects) -> Result<bool, Error> {
        self.writer
            .write("create_credential", move |connection| {
                let created = credentials::create(connection, &credential)?;
                if created {
                    effects::apply(connection, &effects)?;
                }
                Ok(created)
            })
            .await
    }

    async fn find_credential(&self, name: &str) -> Result<Option<CredentialRow>, Error> {
        self.read("find_credential", |reader| credentials::select(reader, Some(name))).map(|mut found| found.pop())
    }

    async fn credentials(&self) -> Result<Vec<CredentialRow>, Error> {
        self.read("credentials", |reader| credentials::select(reader, None))
    }

    async fn change_credential(&self, next: CredentialRow, effects: Effects) -> Result<bool, Error> {
        self.writer
            .write("change_credential", move |connection| {
                let changed = credentials::change(connection, &next)?;
                if changed {
                    effects::apply(connection, &effects)?;
                }
                Ok(changed)
            })
            .await
    }

    async fn delete_credential(&self, name: &str, expected_version: i64, effects: Effects) -> Result<bool, Error> {
        let name = name.to_owned();
        self.writer
            .write("delete_credential", move |connection| {
                let deleted = credentials::delete(connection, &name, expected_version)?;
                if deleted {
                    effects::apply(connection, &effects)?;
                }
                Ok(deleted)
            })
            .await
    }

    async fn unsettled_with_credential(&self, name: &str) -> Result<u64, Error> {
        let name = name.to_owned();
        self.slow_reads
            .read("unsettled_with_credential", "(credentials)", move |reader| credentials::unsettled(reader, &name))
            .await
    }

    async fn note_key_pair_used(&self, id: &str, at_ms: i64) -> Result<(), Error> {
        let id = id.to_owned();
        self.writer.write("note_key_pair_used", move |connection| credentials::note_used(connection, &id, at_ms)).await
    }

    async fn note_key_pair_tested(&self, id: &str, at_ms: i64, code: &str, effects: Effects) -> Result<(), Error> {
        let (id, code) = (id.to_owned(), code.to_owned());
        self.writer
            .write("note_key_pair_tested", move |connection| {
                credentials::note_tested(connection, &id, at_ms, &code)?;
                effects::apply(connection, &effects)
            })
            .await
    }

    async fn key_use(&self) -> Result<Vec<KeyUseRow>, Error> {
        self.slow_reads.read("key_use", VAULT, keys::in_use).await
    }

    async fn sealing_keys(&self) -> Result<BTreeSet<String>, Error> {
        self.slow_reads.read("sealing_keys", VAULT, keys::sealing).await
    }

    async fn not_sealed_with(&self, key_id: &str, limit: u32) -> Result<Vec<SealedValue>, Error> {
        let key_id = key_id.to_owned();
        let read = move |reader: &Connection| keys::not_sealed_with(reader, &key_id, limit);
        self.slow_reads.read("not_sealed_with", VAULT, read).await
    }

    async fn sealed_with(&self, key_id: &str, limit: u32) -> Result<Vec<SealedValue>, Error> {
        let key_id = key_id.to_owned();
        let read = move |reader: &Connection| keys::sealed_with(reader, &key_id, limit);
        self.slow_reads.read("sealed_with", VAULT, read).await
    }

    async fn unbound(&self, limit: u32) -> Result<Vec<VerificationRow>, Error> {
        self.slow_reads.read("unbound", VAULT, move |reader| keys::rows_bound_with(reader, "", limit)).await
    }

    async fn reseal(&self, values: Vec<Resealed>) -> Result<u64, Error> {
        self.writer.write("reseal", move |connection| keys::reseal(connection, &values)).await
    }

    async fn key_checks(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.read("key_checks", keys::checks)
    }

    async fn put_key_check(&self, key_id: &str, sealed_check: Vec<u8>) -> Result<(), Error> {
        let key_id = key_id.to_owned();
        self.writer.write("put_key_check", move |connection| keys::put_check(connection, &key_id, &sealed_check)).await
    }

    /// One: no other process has the database.
    async fn beat(&self, _: &str, _: Duration) -> Result<u32, Error> {
        Ok(1)
    }

    async fn leave(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        self.read("ping", identity::read)?;
        if self.writer.has_committed_within(PROBE_INTERVAL) {
            // A file that was removed since is not noticed by a commit of before.
            return self.writer.check_file("ping");
        }
        self.writer.write("ping", identity::probe).await
    }
}

/// The database names callers and flows: nobody but the gateway's user needs to read it.
fn restrict_to_owner(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}
