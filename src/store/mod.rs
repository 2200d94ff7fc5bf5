//! What the gateway remembers.
//!
//! The methods are shaped by use case. Everything secret or personal arrives sealed (see [`crate::vault`]): the store sees
//! ciphertext and keyed hashes only. Every method that returns `Ok` for a write has made it durable.

pub mod row;
pub mod sqlite;

use async_trait::async_trait;
use row::{AuditRow, NewRow, ProgressRow, VerificationRow};

/// The store's contract. The conformance suite in `tests/it/store.rs` holds every implementation to it.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a new verification together with its first audit event, or finds the one that this caller made with the same
    /// request id.
    async fn create_or_find(&self, new: NewRow, event: AuditRow) -> Result<Creation, Error>;

    /// The verification of this id.
    async fn find(&self, id: &str) -> Result<Option<VerificationRow>, Error>;

    /// The verification that this caller made with this request id.
    async fn find_by_request_id(&self, caller: &str, request_id: &str) -> Result<Option<VerificationRow>, Error>;

    /// The verification whose token has one of these hashes.
    async fn find_by_token_hash(&self, hashes: Vec<Vec<u8>>) -> Result<Option<VerificationRow>, Error>;

    /// Replaces the progress of a verification, if it still has the version that the change was made from. The version
    /// rises by one. False: it has another version (or does not exist); read it again.
    async fn advance(&self, id: &str, expected_version: i64, next: ProgressRow) -> Result<bool, Error>;

    /// Appends to the audit trail.
    async fn append_audit(&self, event: AuditRow) -> Result<(), Error>;

    /// The audit trail of a verification, oldest first.
    async fn audit_of(&self, verification_id: &str) -> Result<Vec<AuditRow>, Error>;

    /// Puts a sealed credential under a name, in place of another one.
    async fn put_credential(&self, name: &str, sealed_key_pair: Vec<u8>) -> Result<(), Error>;

    /// The sealed credential of a name.
    async fn find_credential(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Whether the store reads and writes.
    async fn ping(&self) -> Result<(), Error>;
}

/// What [`Store::create_or_find`] did.
#[derive(Debug)]
pub enum Creation {
    Created,
    /// The caller's request id was taken: by this verification.
    Found(Box<VerificationRow>),
}

/// The store could not serve.
#[derive(Debug, thiserror::Error)]
#[error("store: {operation} failed: {source}")]
pub struct Error {
    pub operation: &'static str,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    pub(crate) fn new(operation: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { operation, source: source.into() }
    }
}
