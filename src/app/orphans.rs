//! Blobs that one sweep of the evidence announces, and the next may delete.

use crate::evidence::BlobKey;
use parking_lot::Mutex;
use std::{collections::BTreeSet, mem};

/// Blobs without a row that the last sweep announced.
#[derive(Default)]
pub(super) struct Orphans(Mutex<BTreeSet<BlobKey>>);

impl Orphans {
    /// Those of the last sweep; none are left.
    pub(super) fn take(&self) -> BTreeSet<BlobKey> {
        mem::take(&mut *self.0.lock())
    }

    /// Remembers them for the next sweep.
    pub(super) fn announce(&self, found: BTreeSet<BlobKey>) {
        *self.0.lock() = found;
    }
}
