//! The schema of a database, and the migrations that lead to it.

use super::{
    super::{Error, SchemaVersions},
    failure::{failed, of_migration},
};
use rusqlite::Connection;

mod migrations {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

pub(super) fn versions(connection: &Connection) -> rusqlite::Result<SchemaVersions> {
    let known = migrations::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history')";
    let was_migrated: bool = connection.query_row(sql, [], |row| row.get(0))?;
    let sql = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    let found = if was_migrated { connection.query_row(sql, [], |row| row.get(0))? } else { 0 };
    Ok(SchemaVersions { found, known: known.unwrap_or_default() })
}

/// Brings a database up to date.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    versions(connection).map_err(failed("open"))?.check_known()?;
    migrations::migrations::runner().run(connection).map(drop).map_err(of_migration)
}
