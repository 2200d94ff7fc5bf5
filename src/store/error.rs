//! Why the store could not serve.

use std::{error::Error as StdError, fmt};

/// An operation of the store that failed.
#[derive(Debug, thiserror::Error)]
#[error("store: {operation} failed: {cause}")]
pub struct Error {
    pub operation: &'static str,
    pub kind: ErrorKind,
    pub cause: Box<dyn StdError + Send + Sync>,
}

/// The meaning of a failure for the caller of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing was done. The same may succeed in a moment.
    Transient,
    /// Another write was quicker, or a rule of the schema forbids it. Nothing was done.
    Conflict,
    /// It may have been done or not: read it again.
    Ambiguous,
    /// A read was stopped because it took too long: less of it may be told.
    TooSlow,
    /// A stored value is damaged: asking again does not help.
    Corrupt,
    /// Nothing is done before an operator acts.
    Refused(Refusal),
}

/// Why a store does nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    DiskFull,
    ReadOnly,
    /// The database at the path of the configuration is not the one that was opened.
    FileGone,
    CannotOpen,
    /// Another process has it.
    InUse,
    /// A newer version of the gateway has migrated it.
    NewerSchema,
}

impl Error {
    pub(crate) fn new(
        operation: &'static str,
        kind: ErrorKind,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { operation, kind, cause: cause.into() }
    }
}

impl ErrorKind {
    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Conflict => "conflict",
            Self::Ambiguous => "ambiguous",
            Self::TooSlow => "too_slow",
            Self::Corrupt => "corrupt",
            Self::Refused(Refusal::DiskFull) => "disk_full",
            Self::Refused(Refusal::ReadOnly) => "read_only",
            Self::Refused(Refusal::FileGone) => "file_gone",
            Self::Refused(Refusal::CannotOpen) => "cannot_open",
            Self::Refused(Refusal::InUse) => "in_use",
            Self::Refused(Refusal::NewerSchema) => "newer_schema",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "its disk is full",
            Self::ReadOnly => "its database can only be read",
            Self::CannotOpen => "its database cannot be opened",
            Self::InUse => "another process has its database",
            Self::NewerSchema => "its database is of a newer version of the gateway",
            Self::FileGone => "its database file was removed or replaced while the gateway ran",
        })
    }
}
