//! Evidence that a store cannot claim.

use crate::{
    evidence::{BlobKey, OwnerError, StoreError},
    store,
};

/// Evidence that a store cannot claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error(
        "the evidence has blobs, and store.url has none of their verifications (the first is {example}): the database was \
         removed or replaced, or is another store's. Put back the database that belongs to the evidence, or give evidence.url \
         a new, empty place"
    )]
    UnknownBlobs { example: BlobKey },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        Self::Owner(error.into())
    }
}
