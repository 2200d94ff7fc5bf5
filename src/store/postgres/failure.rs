//! The meaning of PostgreSQL's errors, and what of them may be told.

use super::super::{Error, ErrorKind, Refusal};
use std::{error::Error as StdError, fmt, io};
use tokio_postgres::{Error as PgError, error::SqlState};

/// A failure without what it was about: PostgreSQL puts values of rows into its details, and into
/// the messages of some classes of errors.
#[derive(Debug)]
struct Told {
    problem: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl StdError for Told {}

/// For `map_err`.
pub(super) fn failed(operation: &'static str) -> impl Fn(PgError) -> Error {
    move |error| of(operation, &error)
}

pub(super) fn of(operation: &'static str, error: &PgError) -> Error {
    Error::new(operation, kind(error), Told { problem: told(error) })
}

/// Within a transaction, which so did nothing.
pub(super) fn of_write(operation: &'static str, error: &PgError) -> Error {
    let error = of(operation, error);
    // It waited for others: less of it cannot be written.
    Error { kind: if error.kind == ErrorKind::TooSlow { ErrorKind::Transient } else { error.kind }, ..error }
}

/// The answer to a COMMIT did not come, or it was a refusal.
pub(super) fn of_commit(operation: &'static str, error: &PgError) -> Error {
    let is_refusal = error.as_db_error().is_some() && !is_lost(error);
    let kind = if is_refusal { kind(error) } else { ErrorKind::Ambiguous };
    Error::new(operation, kind, Told { problem: told(error) })
}

/// No connection could be had.
pub(super) fn of_pool(operation: &'static str, error: &deadpool_postgres::PoolError) -> Error {
    match error {
        deadpool_postgres::PoolError::Backend(error) => of(operation, error),
        deadpool_postgres::PoolError::Timeout(_) => {
            let problem = "no connection was free in time: PostgreSQL is slow, or store.max_connections is too low";
            Error::new(operation, ErrorKind::Transient, problem)
        }
        error => Error::new(operation, ErrorKind::Transient, Told { problem: error.to_string() }),
    }
}

/// Whether the transaction did nothing and may be tried again at once: another one was in its way.
pub(super) fn is_collision(error: &PgError) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

/// Whether the connection ended, here or further on. A pooler that has lost the server says class
/// 08, a server that is being stopped 57P, and 40003 is of engines that do not know how a commit
/// ended.
pub(super) fn is_lost(error: &PgError) -> bool {
    let is_told = |code: &str| code == "40003" || code.starts_with("08") || code.starts_with("57P");
    error.is_closed() || error.code().is_some_and(|state| is_told(state.code()))
}

fn kind(error: &PgError) -> ErrorKind {
    let Some(state) = error.code() else {
        // A value that is of another type than the schema says is the only other kind.
        return if error.is_closed() || is_io(error) { ErrorKind::Transient } else { ErrorKind::Corrupt };
    };
    match *state {
        SqlState::DISK_FULL => ErrorKind::Refused(Refusal::DiskFull),
        SqlState::READ_ONLY_SQL_TRANSACTION => ErrorKind::Refused(Refusal::ReadOnly),
        SqlState::QUERY_CANCELED => ErrorKind::TooSlow,
        _ => match &state.code()[..2] {
            "23" => ErrorKind::Conflict,
            // Authorization, no such database, no such table or no right to it.
            "28" | "3D" | "42" => ErrorKind::Refused(Refusal::CannotOpen),
            "22" | "XX" => ErrorKind::Corrupt,
            _ => ErrorKind::Transient,
        },
    }
}

fn is_io(error: &PgError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn told(error: &PgError) -> String {
    let Some(refused) = error.as_db_error() else {
        let mut told = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            told = format!("{told}: {error}");
            source = error.source();
        }
        return told;
    };
    let state = refused.code().code();
    // Data exceptions and violated constraints quote values.
    if state.starts_with("22") || state.starts_with("23") {
        let named = |what, name: Option<&str>| name.map(|name| format!(", {what} {name}")).unwrap_or_default();
        return format!(
            "SQLSTATE {state}{}{}",
            named("table", refused.table()),
            named("constraint", refused.constraint())
        );
    }
    format!("SQLSTATE {state}: {}", refused.message())
}
