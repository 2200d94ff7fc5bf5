//! The vault: keys, and what is sealed with them.

pub mod credential;
pub mod keyring;

pub use credential::CredentialVault;
pub use keyring::{Keyring, Place};
