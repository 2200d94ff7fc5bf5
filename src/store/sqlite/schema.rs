//! The schema of a database, and the migrations that lead to it.

use super::{
    super::{Error, ErrorKind, Refusal},
    failure::{failed, of_migration},
};
use rusqlite::Connection;

mod migrations {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

/// The newest migration of a database, and the newest that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersions {
    /// Of the database; 0: it was never migrated.
    pub found: i64,
    /// Of this program.
    pub known: i64,
}

impl SchemaVersions {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let known = migrations::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history')";
        let was_migrated: bool = connection.query_row(sql, [], |row| row.get(0))?;
        let sql = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
        let found = if was_migrated { connection.query_row(sql, [], |row| row.get(0))? } else { 0 };
        Ok(Self { found, known: known.unwrap_or_default() })
    }

    /// Refuses a database that a newer version of the gateway has migrated.
    ///
    /// # Errors
    /// When it has: this version does not know what was changed.
    pub fn check_known(self) -> Result<(), Error> {
        if self.found <= self.known {
            return Ok(());
        }
        let problem = format!(
            "its schema is {}, and this version of the gateway knows schemas up to {}: a newer version was here. Run that, or go \
             back to a backup from before it",
            self.found, self.known
        );
        Err(Error::new("open", ErrorKind::Refused(Refusal::NewerSchema), problem))
    }
}

/// Brings a database up to date.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    SchemaVersions::of(connection).map_err(failed("open"))?.check_known()?;
    migrations::migrations::runner().run(connection).map(drop).map_err(of_migration)
}
