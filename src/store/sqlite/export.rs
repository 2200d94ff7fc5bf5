//! Reads all rows, to be moved to another engine.

use super::{SqliteStore, failure::failed};
use crate::domain::store_identity::StoreIdentity;
use crate::store::{
    Error, ErrorKind, Store,
    moving::{BATCH, Cell},
};
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// A database that no other process has while it is read.
pub struct Export {
    path: PathBuf,
    store: SqliteStore,
}

impl Export {
    /// Takes the database, and brings its schema up to date.
    ///
    /// # Errors
    /// When a process has it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), store: SqliteStore::open(path)? })
    }

    /// Which store it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn identity(&self) -> Result<StoreIdentity, Error> {
        self.store.identity().await
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn count(&self, table: &str) -> Result<u64, Error> {
        self.store
            .read("count", |reader| reader.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)))
    }

    /// The rows of a table in the order of `key`, in batches, read on a thread of its own.
    pub fn rows(&self, table: &str, columns: &[String], key: &str) -> mpsc::Receiver<Result<Vec<Vec<Cell>>, Error>> {
        let (sender, receiver) = mpsc::channel(2);
        let sql = format!("SELECT {} FROM {table} ORDER BY {key}", columns.join(", "));
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&path, &sql, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }
}

fn read(path: &Path, sql: &str, to: &mpsc::Sender<Result<Vec<Vec<Cell>>, Error>>) -> Result<(), Error> {
    let failed = failed("export");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(&failed)?;
    let mut select = connection.prepare(sql).map_err(&failed)?;
    let width = select.column_count();
    let mut rows = select.query([]).map_err(&failed)?;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.next().map_err(&failed)? {
        let mut cells = Vec::with_capacity(width);
        for column in 0..width {
            cells.push(cell(row.get_ref(column).map_err(&failed)?)?);
        }
        batch.push(cells);
        if batch.len() == BATCH && to.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
            return Ok(());
        }
    }
    let _ = to.blocking_send(Ok(batch));
    Ok(())
}

fn cell(value: ValueRef<'_>) -> Result<Cell, Error> {
    let damaged = |problem: &str| Error::new("export", ErrorKind::Corrupt, problem);
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(_) => return Err(damaged("a number is not whole")),
        ValueRef::Text(text) => {
            Cell::Text(std::str::from_utf8(text).map_err(|_| damaged("a text is not UTF-8"))?.to_owned())
        }
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    })
}
