//! The evidence: photos, videos and sounds, as sealed blobs in a local folder or an S3-compatible
//! bucket.
//!
//! A blob is sealed with a data key of its own. That key, sealed in turn by the keyring, belongs
//! into the row that tells of the blob: erasing the row's key erases the blob, wherever copies of
//! it may be.
//!
//! [`store`] is what the rest of the gateway uses; `seal` is the format of a blob, `upload` how one
//! is written so that it appears whole or not at all; `owner` tells whose evidence it is.

mod owner;
mod seal;
pub mod store;
mod upload;

pub use owner::{OwnerError, Ownership};
pub use store::{BlobKey, EvidenceStore, GetError, OpenError, PutError, StoreError, StoredBlob};
