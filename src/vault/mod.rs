//! The vault: keys, and what is sealed with them.

pub mod credential;
pub mod key_use;
pub mod keyring;

pub use credential::CredentialVault;
pub use key_use::{KeyUse, key_use};
pub use keyring::{Keyring, Place};
