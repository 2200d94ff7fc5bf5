//! The vault: keys, and how values are sealed with them.

pub mod keyring;

pub use keyring::{Keyring, Place};
