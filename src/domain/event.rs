//! Kinds of events of a verification.

use strum::{EnumString, IntoStaticStr};

/// Kind of an event. The names are stored, and sent in webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    Created,
    /// The user made an attempt and may make another.
    Attempted,
    /// It became passed, failed or expired.
    Settled,
    /// Its caller canceled it.
    Canceled,
    /// Its personal data was erased.
    Redacted,
    /// Evidence was stored; what was not fetched with it may follow.
    EvidenceStored,
    /// The vendor has deleted evidence that its flow keeps before it was fetched.
    EvidenceLost,
}

impl EventKind {
    /// The name in the log of events and in webhooks.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
