//! The store on SQLite: one file, WAL, one writer, full durability. For one replica.

mod writer;

use super::{
    Creation, Error, Store,
    row::{AuditRow, NewRow, ProgressRow, VerificationRow},
};
use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, named_params, params, params_from_iter};
use std::{
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use writer::Writer;

mod migrations {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

/// Readers run on the runtime's own threads: a point read takes less than the hop to a blocking pool. More connections than
/// cores gain nothing then.
const READERS: usize = 4;

/// A SQLite database.
pub struct SqliteStore {
    readers: Vec<Mutex<Connection>>,
    next_reader: AtomicUsize,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the database in `path`, makes it and its folder where missing, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or a migration fails.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: rusqlite::Error| Error::new("open", error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| Error::new("create folder", error))?;
        }
        let mut connection = Connection::open(path).map_err(failed)?;
        restrict_to_owner(path)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        // FULL: in WAL mode a commit is on the disk when it returns, also after a power cut.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .map_err(failed)?;
        migrations::migrations::runner().run(&mut connection).map_err(|error| Error::new("migrate", error))?;
        let readers = (0..READERS)
            .map(|_| {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let reader = Connection::open_with_flags(path, flags)?;
                reader.busy_timeout(Duration::from_secs(5))?;
                Ok(Mutex::new(reader))
            })
            .collect::<rusqlite::Result<_>>()
            .map_err(failed)?;
        let writer = Writer::start(connection).map_err(|error| Error::new("start writer", error))?;
        Ok(Self { readers, next_reader: AtomicUsize::new(0), writer })
    }

    fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let reader = self.readers[turn].lock().unwrap_or_else(PoisonError::into_inner);
        read(&reader).map_err(|error| Error::new(operation, error))
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
    async fn create_or_find(&self, new: NewRow, event: AuditRow) -> Result<Creation, Error> {
        self.writer
            .write("create_or_find", move |connection| {
                if let Some(request_id) = &new.request_id
                    && let Some(found) = select_where(connection, BY_REQUEST_ID, params![new.caller, request_id])?
                {
                    return Ok(Creation::Found(Box::new(found)));
                }
                insert(connection, &new)?;
                insert_audit(connection, &event)?;
                Ok(Creation::Created)
            })
            .await
    }

    async fn find(&self, id: &str) -> Result<Option<VerificationRow>, Error> {
        self.find_where("find", "id = ?1", params![id])
    }

    async fn find_by_request_id(&self, caller: &str, request_id: &str) -> Result<Option<VerificationRow>, Error> {
        self.find_where("find_by_request_id", BY_REQUEST_ID, params![caller, request_id])
    }

    async fn find_by_token_hash(&self, hashes: Vec<Vec<u8>>) -> Result<Option<VerificationRow>, Error> {
        let marks = vec!["?"; hashes.len()].join(", ");
        self.find_where("find_by_token_hash", &format!("token_hash IN ({marks})"), params_from_iter(hashes))
    }

    async fn advance(&self, id: &str, expected_version: i64, next: ProgressRow) -> Result<bool, Error> {
        let id = id.to_owned();
        self.writer
            .write("advance", move |connection| {
                let changed = connection.prepare_cached(ADVANCE)?.execute(named_params! {
                    ":id": id,
                    ":expected_version": expected_version,
                    ":state": next.state,
                    ":settled_at_ms": next.settled_at_ms,
                    ":checked_at_ms": next.checked_at_ms,
                    ":check_request_id": next.check_request_id,
                    ":last_attempt_code": next.last_attempt_code,
                    ":last_attempt_at_ms": next.last_attempt_at_ms,
                    ":attempts_exhausted": next.attempts_exhausted,
                    ":sealed_result": next.sealed_result,
                })?;
                Ok(changed == 1)
            })
            .await
    }

    async fn append_audit(&self, event: AuditRow) -> Result<(), Error> {
        self.writer.write("append_audit", move |connection| insert_audit(connection, &event)).await
    }

    async fn audit_of(&self, verification_id: &str) -> Result<Vec<AuditRow>, Error> {
        self.read("audit_of", |reader| {
            reader
                .prepare_cached(
                    "SELECT at_ms, actor, action, verification_id FROM audit_events \
                     WHERE verification_id = ?1 ORDER BY seq",
                )?
                .query_map([verification_id], |row| {
                    Ok(AuditRow {
                        at_ms: row.get("at_ms")?,
                        actor: row.get("actor")?,
                        action: row.get("action")?,
                        verification_id: row.get("verification_id")?,
                    })
                })?
                .collect()
        })
    }

    async fn put_credential(&self, name: &str, sealed_key_pair: Vec<u8>) -> Result<(), Error> {
        let name = name.to_owned();
        self.writer
            .write("put_credential", move |connection| {
                connection.execute(
                    "INSERT INTO credentials (name, sealed_key_pair) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET sealed_key_pair = excluded.sealed_key_pair",
                    params![name, sealed_key_pair],
                )?;
                Ok(())
            })
            .await
    }

    async fn find_credential(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read("find_credential", |reader| {
            reader
                .prepare_cached("SELECT sealed_key_pair FROM credentials WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }

    async fn ping(&self) -> Result<(), Error> {
        self.read("ping", |reader| reader.query_row("SELECT count(*) FROM credentials", [], |_| Ok(())))?;
        // An empty batch: shows that the writer lives and that a transaction can begin, and costs no flush.
        self.writer.write("ping", |_| Ok(())).await
    }
}

const BY_REQUEST_ID: &str = "caller = ?1 AND request_id = ?2";

const ADVANCE: &str = "UPDATE verifications SET version = version + 1, state = :state, settled_at_ms = :settled_at_ms, \
     checked_at_ms = :checked_at_ms, check_request_id = :check_request_id, last_attempt_code = :last_attempt_code, \
     last_attempt_at_ms = :last_attempt_at_ms, attempts_exhausted = :attempts_exhausted, sealed_result = :sealed_result \
     WHERE id = :id AND version = :expected_version";

fn select_where(
    connection: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Option<VerificationRow>> {
    connection
        .prepare_cached(&format!("SELECT * FROM verifications WHERE {condition}"))?
        .query_row(params, verification_row)
        .optional()
}

fn insert(connection: &Connection, new: &NewRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO verifications (id, version, caller, flow, rule_id, credential, reference, intention, request_id, \
             request_fingerprint, token_hash, vendor_request_id, created_at_ms, sealed_session, sealed_subject, state, \
             attempts_exhausted) VALUES (:id, 1, :caller, :flow, :rule_id, :credential, :reference, :intention, \
             :request_id, :request_fingerprint, :token_hash, :vendor_request_id, :created_at_ms, :sealed_session, \
             :sealed_subject, 'pending', 0)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":caller": new.caller,
            ":flow": new.flow,
            ":rule_id": new.rule_id,
            ":credential": new.credential,
            ":reference": new.reference,
            ":intention": new.intention,
            ":request_id": new.request_id,
            ":request_fingerprint": new.request_fingerprint,
            ":token_hash": new.token_hash,
            ":vendor_request_id": new.vendor_request_id,
            ":created_at_ms": new.created_at_ms,
            ":sealed_session": new.sealed_session,
            ":sealed_subject": new.sealed_subject,
        })?;
    Ok(())
}

fn insert_audit(connection: &Connection, event: &AuditRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO audit_events (at_ms, actor, action, verification_id) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![event.at_ms, event.actor, event.action, event.verification_id])?;
    Ok(())
}

fn verification_row(row: &Row<'_>) -> rusqlite::Result<VerificationRow> {
    Ok(VerificationRow {
        made: NewRow {
            id: row.get("id")?,
            caller: row.get("caller")?,
            flow: row.get("flow")?,
            rule_id: row.get("rule_id")?,
            credential: row.get("credential")?,
            reference: row.get("reference")?,
            intention: row.get("intention")?,
            request_id: row.get("request_id")?,
            request_fingerprint: row.get("request_fingerprint")?,
            token_hash: row.get("token_hash")?,
            vendor_request_id: row.get("vendor_request_id")?,
            created_at_ms: row.get("created_at_ms")?,
            sealed_session: row.get("sealed_session")?,
            sealed_subject: row.get("sealed_subject")?,
        },
        version: row.get("version")?,
        progress: ProgressRow {
            state: row.get("state")?,
            settled_at_ms: row.get("settled_at_ms")?,
            checked_at_ms: row.get("checked_at_ms")?,
            check_request_id: row.get("check_request_id")?,
            last_attempt_code: row.get("last_attempt_code")?,
            last_attempt_at_ms: row.get("last_attempt_at_ms")?,
            attempts_exhausted: row.get("attempts_exhausted")?,
            sealed_result: row.get("sealed_result")?,
        },
    })
}

/// The database names callers and flows: nobody but the gateway's user needs to read it.
#[cfg(unix)]
fn restrict_to_owner(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| Error::new("restrict file", error))
}

#[cfg(not(unix))]
fn restrict_to_owner(_path: &Path) -> Result<(), Error> {
    Ok(())
}
