//! Copies of a database: made while a gateway is at work on it, and put in its place.

use super::{SqliteStore, evidence, failure::failed, identity, keys, lock::ProcessLock, restrict_to_owner, schema};
use crate::{
    domain::store_identity::StoreIdentity,
    store::{Error, ErrorKind, Refusal, row::EvidenceRow},
};
use rusqlite::Connection;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// What a copy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFacts {
    pub identity: StoreIdentity,
    pub schema: i64,
    /// The ids of the vault's keys that something in it is sealed with.
    pub vault_keys: BTreeSet<String>,
}

impl SqliteStore {
    /// Writes the database as it is at one moment into a new file, without what was erased. Writers
    /// go on meanwhile; their log is not emptied before the copy is done.
    ///
    /// # Errors
    /// When the database cannot be read, or the file not be written.
    pub fn copy_to(&self, to: &Path) -> Result<(), Error> {
        let to_text = to.to_str().ok_or_else(|| cannot_open("copy")(io::Error::other("the path is not UTF-8")))?;
        self.read("copy", |reader| reader.execute("VACUUM INTO ?1", [to_text]).map(drop))?;
        restrict_to_owner(to).and_then(|()| File::open(to)?.sync_all()).map_err(cannot_open("copy"))
    }

    /// What a copy says of itself. Reads all of it, and so finds a damaged page.
    ///
    /// # Errors
    /// When it is damaged, or of another schema than this program's.
    pub fn copy_facts(&self) -> Result<CopyFacts, Error> {
        let schema = self.schema_versions()?;
        schema.check_known()?;
        if schema.found != schema.known {
            let problem = format!(
                "its schema is {}, and this version of the gateway works with {}: back it up with the version that serves, or \
                 copy the files while no gateway runs",
                schema.found, schema.known
            );
            return Err(Error::new("copy", ErrorKind::Refused(Refusal::CannotOpen), problem));
        }
        self.read("copy", |reader| {
            check_integrity(reader)?;
            Ok(CopyFacts {
                identity: identity::read(reader)?,
                schema: schema.found,
                vault_keys: keys::sealing(reader)?,
            })
        })
    }

    /// Gives each row of evidence whose blob is still to be there, in the order of verifications.
    ///
    /// # Errors
    /// When the database cannot be read; or the first that `take` gives.
    pub fn each_kept_evidence(&self, mut take: impl FnMut(&EvidenceRow) -> io::Result<()>) -> Result<(), Error> {
        self.read("copy", |reader| {
            let mut select = reader.prepare(
                "SELECT * FROM evidence WHERE erased_at_ms IS NULL ORDER BY verification_id, kind, position",
            )?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let row = evidence::evidence_row(row)?;
                if let Err(error) = take(&row) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })?
        .map_err(cannot_open("copy"))
    }
}

/// A place without a database, held until the process ends or this is dropped: no gateway starts on
/// it meanwhile.
pub struct EmptyPlace {
    database: PathBuf,
    _lock: ProcessLock,
}

impl EmptyPlace {
    /// Sees that there is no database at `path`, nor a part of one, and that no process has it.
    ///
    /// # Errors
    /// When there is one.
    pub fn take(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(cannot_open("create folder"))?;
        }
        let lock = ProcessLock::take(path)?;
        // A log that is left beside it would be taken for the restored database's.
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let part = beside(path, suffix);
            if part.try_exists().map_err(cannot_open("restore"))? {
                let problem = format!("{} is there: move it away first, it may be wanted again", part.display());
                return Err(Error::new("restore", ErrorKind::Refused(Refusal::CannotOpen), problem));
            }
        }
        Ok(Self { database: path.to_owned(), _lock: lock })
    }

    /// Where the copy is to be written: beside its place, on the same volume.
    pub fn draft(&self) -> PathBuf {
        beside(&self.database, "-restoring")
    }

    /// Gives the draft its new epoch and puts it in its place, whole or not at all.
    ///
    /// # Errors
    /// When it is no database of this gateway, or cannot be written.
    pub fn put(self, epoch: u32) -> Result<(), Error> {
        let draft = self.draft();
        restrict_to_owner(&draft).map_err(cannot_open("restore"))?;
        let connection = Connection::open(&draft).map_err(failed("restore"))?;
        // A journal on the disk would outlive a kill, and be played into the next draft, of perhaps
        // another backup.
        connection.pragma_update(None, "journal_mode", "MEMORY").map_err(failed("restore"))?;
        schema::versions(&connection).map_err(failed("restore"))?.check_known()?;
        identity::set_epoch(&connection, epoch).map_err(failed("restore"))?;
        connection.close().map_err(|(_, error)| failed("restore")(error))?;
        let put = || {
            File::open(&draft)?.sync_all()?;
            fs::rename(&draft, &self.database)?;
            let folder = self.database.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(cannot_open("restore"))
    }
}

fn check_integrity(reader: &Connection) -> rusqlite::Result<()> {
    let found: String = reader.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(found)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside: OsString = path.to_owned().into_os_string();
    beside.push(suffix);
    beside.into()
}

fn cannot_open(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::new(operation, ErrorKind::Refused(Refusal::CannotOpen), error)
}
