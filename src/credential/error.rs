//! Errors of credentials.

use crate::{store, tencent, vault::keyring::OpenError};

/// A credential that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("credential {0} is not in the vault: add it with `credential add`, or to the configuration")]
    Absent(String),
    #[error("credential {0} is disabled: rotate it to put a new key pair in use")]
    Disabled(String),
    #[error("credential {name}: {source}")]
    Unreadable { name: String, source: OpenError },
    #[error("credential {0}: what was sealed is no key pair")]
    Corrupt(String),
    /// Its source refuses to give a key pair, and will go on doing so.
    #[error("credential {name}: {problem}")]
    Refused { name: String, problem: String },
    /// Its source gives no key pair now.
    #[error("credential {name}: {problem}")]
    Unavailable { name: String, problem: String },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A call with the key pairs of a credential that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Vendor(#[from] tencent::Error),
}
