//! How far a database is migrated.

use super::{Error, ErrorKind, Refusal};

/// The newest migration of a database, and the newest that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersions {
    /// Of the database; 0: it was never migrated.
    pub found: i64,
    /// Of this program.
    pub known: i64,
}

impl SchemaVersions {
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
