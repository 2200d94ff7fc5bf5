//! Table `store`: which store this is.

use crate::domain::store_identity::StoreIdentity;
use rusqlite::{Connection, params, types::Type};

/// Gives a new database its identity. One that has one keeps it.
pub(super) fn ensure(connection: &Connection) -> rusqlite::Result<()> {
    let StoreIdentity { id, epoch } = StoreIdentity::generate();
    connection.execute(
        "INSERT INTO store (only_row, id, epoch) VALUES (1, ?1, ?2) ON CONFLICT (only_row) DO NOTHING",
        params![id.hyphenated().to_string(), epoch],
    )?;
    Ok(())
}

pub(super) fn read(connection: &Connection) -> rusqlite::Result<StoreIdentity> {
    connection.prepare_cached("SELECT id, epoch FROM store")?.query_row([], |row| {
        let id: String = row.get("id")?;
        let id =
            id.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?;
        Ok(StoreIdentity { id, epoch: row.get("epoch")? })
    })
}

/// After a restore.
pub(super) fn set_epoch(connection: &Connection, epoch: u32) -> rusqlite::Result<()> {
    connection.execute("UPDATE store SET epoch = ?1", [epoch]).map(drop)
}

/// Commits something.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE store SET probes = probes + 1")?.execute([])?;
    Ok(())
}
