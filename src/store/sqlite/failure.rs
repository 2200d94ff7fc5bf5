//! The meaning of SQLite's errors.

use super::super::{Error, ErrorKind, Refusal};
use rusqlite::ErrorCode;

/// For `map_err`.
pub(super) fn failed(operation: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |error| Error::new(operation, kind(&error), error)
}

/// The whole batch is lost, or, after a fault of the disk, perhaps not.
pub(super) fn of_commit(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => ErrorKind::Ambiguous,
        _ => kind(&error),
    };
    Error::new("commit", kind, error)
}

pub(super) fn of_migration(error: refinery::Error) -> Error {
    Error::new("migrate", ErrorKind::Refused(Refusal::CannotOpen), error)
}

pub(super) fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ErrorKind::Refused(Refusal::DiskFull),
        Some(ErrorCode::ReadOnly) => ErrorKind::Refused(Refusal::ReadOnly),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::NotADatabase) => {
            ErrorKind::Refused(Refusal::CannotOpen)
        }
        Some(ErrorCode::ConstraintViolation) => ErrorKind::Conflict,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted
            | ErrorCode::OutOfMemory
            | ErrorCode::SystemIoFailure
            | ErrorCode::FileLockingProtocolFailed,
        ) => ErrorKind::Transient,
        // A page, a value or a schema that is not what it should be.
        _ => ErrorKind::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{Connection, ffi};

    fn of(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn each_failure_says_what_can_be_done() {
        for (code, expected) in [
            (ffi::SQLITE_BUSY, ErrorKind::Transient),
            (ffi::SQLITE_INTERRUPT, ErrorKind::Transient),
            (ffi::SQLITE_IOERR_READ, ErrorKind::Transient),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, ErrorKind::Conflict),
            (ffi::SQLITE_CORRUPT, ErrorKind::Corrupt),
            (ffi::SQLITE_FULL, ErrorKind::Refused(Refusal::DiskFull)),
            (ffi::SQLITE_READONLY_DBMOVED, ErrorKind::Refused(Refusal::ReadOnly)),
        ] {
            assert_eq!(kind(&of(code)), expected, "{code}");
        }
        assert_eq!(of_commit(of(ffi::SQLITE_IOERR_FSYNC)).kind, ErrorKind::Ambiguous);
        assert_eq!(of_commit(of(ffi::SQLITE_FULL)).kind, ErrorKind::Refused(Refusal::DiskFull));
    }

    #[test]
    fn a_value_of_another_type_is_corrupt() {
        let connection = Connection::open_in_memory().unwrap();
        let error = connection.query_row("SELECT 'text'", [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert_eq!(kind(&error), ErrorKind::Corrupt);
    }
}
