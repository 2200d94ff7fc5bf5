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
use crate::domain::flow::Flows;
use arc_swap::ArcSwap;
use encryption::FieldEncryption;
use std::{collections::BTreeMap, sync::Arc};

/// The product, for all flows that use it.
pub(super) struct H5 {
    client: Arc<Client>,
    /// How the calls of flows are encrypted, by flow; the others are not.
    field_encryption: ArcSwap<BTreeMap<String, FieldEncryption>>,
}

impl H5 {
    pub(super) fn new(client: Arc<Client>, field_encryption: BTreeMap<String, FieldEncryption>) -> Self {
        Self { client, field_encryption: ArcSwap::from_pointee(field_encryption) }
    }

    /// A flow that is not among `flows` any more keeps what it had: its verifications are still
    /// asked about.
    pub(super) fn encrypt_fields(&self, flows: &Flows, mut field_encryption: BTreeMap<String, FieldEncryption>) {
        for (flow, encryption) in self.field_encryption.load().iter() {
            if !flows.contains_key(flow) {
                field_encryption.insert(flow.clone(), encryption.clone());
            }
        }
        self.field_encryption.store(Arc::new(field_encryption));
    }
}
