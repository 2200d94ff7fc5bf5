//! 人脸核身 H5: the user's browser visits the vendor's page, in WeChat or outside of it.
//!
//! In reading order: `wire` and `tree` (the vendor's JSON), `open`, `ask`, `findings`,
//! [`encryption`], [`media`], `bill`, [`probe`].

mod ask;
mod bill;
pub mod encryption;
pub(super) mod findings;
pub mod media;
mod open;
pub mod probe;
pub(super) mod tree;
pub(super) mod wire;

use super::client::Client;
use encryption::FieldEncryption;
use std::{collections::BTreeMap, sync::Arc};

/// The product, for all flows that use it.
pub(super) struct H5 {
    client: Arc<Client>,
    /// How the calls of flows are encrypted, by flow; the others are not.
    field_encryption: BTreeMap<String, FieldEncryption>,
}

impl H5 {
    pub(super) fn new(client: Arc<Client>, field_encryption: BTreeMap<String, FieldEncryption>) -> Self {
        Self { client, field_encryption }
    }
}
