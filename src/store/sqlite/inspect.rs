//! Looking at a database without changing it, also while a gateway is at work on it.

use super::{
    SqliteStore,
    failure::failed,
    schema,
    writer::{BUSY_TIMEOUT, Writer},
};
use crate::store::{Error, ErrorKind, Refusal, SchemaVersions};
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
};
use url::Url;

impl SqliteStore {
    /// Opens a database that is there, for reading: nothing is made or migrated, and every write
    /// fails.
    ///
    /// # Errors
    /// When the file is missing, cannot be opened, or is no database.
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        let unusable = |error| Error::new("open", ErrorKind::Refused(Refusal::CannotOpen), error);
        let uri = read_only_uri(path).map_err(unusable)?;
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&uri, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // Opening reads nothing; this does.
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(connection)
        };
        let readers = Self::readers(open).map_err(failed("open"))?;
        let slow_reads = Self::slow_reads(open).map_err(failed("open"))?;
        let writer = Writer::start(open().map_err(failed("open"))?, None).map_err(unusable)?;
        Ok(Self {
            readers,
            next_reader: AtomicUsize::new(0),
            slow_reads,
            writer,
            log_mover: None,
            _lock: None,
            events: Arc::default(),
        })
    }

    /// How far the database's schema is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn schema_versions(&self) -> Result<SchemaVersions, Error> {
        self.read("schema_versions", schema::versions)
    }

    /// The ids of the keys that values are sealed with, and how many with each: of every column
    /// that is called `sealed_…`. Reads each row once.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sealed_key_ids(&self) -> Result<BTreeMap<String, u64>, Error> {
        self.read("sealed_key_ids", |reader| {
            let mut ids = BTreeMap::new();
            for (table, column) in sealed_columns(reader)? {
                // A sealed value begins with its format, the length of the key id (at most 64), and
                // the key id.
                let length = format!("unicode(CAST(substr({column}, 2, 1) AS TEXT))");
                let sql = format!(
                    "SELECT CAST(substr({column}, 3, {length}) AS TEXT), count(*) FROM {table} \
                     WHERE length({column}) > 2 GROUP BY 1"
                );
                let mut statement = reader.prepare(&sql)?;
                let found = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))?;
                for found in found {
                    let (id, count) = found?;
                    *ids.entry(id).or_default() += count;
                }
            }
            Ok(ids)
        })
    }
}

/// SQLite makes `-wal` and `-shm` also for a reader, and a reader cannot take them away. They are
/// there while a gateway has the database open (or after it was killed), and then they are used.
/// Without `-wal` nobody is at work on it, and all of it is in the file: that is read as it is,
/// which also goes on a volume that cannot be written.
fn read_only_uri(path: &Path) -> io::Result<String> {
    // `-wal` lies beside the file itself, not beside a link to it.
    let path = path.canonicalize()?;
    let mut wal = path.clone().into_os_string();
    wal.push("-wal");
    let mut uri = Url::from_file_path(&path).map_err(|()| io::Error::from(io::ErrorKind::InvalidInput))?;
    if !Path::new(&wal).try_exists()? {
        uri.set_query(Some("immutable=1"));
    }
    Ok(uri.into())
}

fn sealed_columns(reader: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
               WHERE t.type = 'table' AND c.name GLOB 'sealed_*'";
    reader.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
