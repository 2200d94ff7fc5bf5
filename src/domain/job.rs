//! Work that nobody waits for.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// A kind of jobs. The names are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum JobKind {
    /// Settles a verification that nobody asks for.
    Settle,
    /// Erases the personal data of a verification that is kept no longer.
    Redact,
    /// Pushes a verification's events to its caller.
    Webhook,
    /// Fetches the photos, videos and sounds of a verification.
    #[strum(serialize = "evidence")]
    FetchEvidence,
    /// Erases evidence that is kept no longer.
    EraseEvidence,
    /// Deletes the blobs of erased evidence.
    DeleteBlobs,
    /// Re-encrypts everything with the key of the vault that is its subject. There is one at most.
    Rewrap,
    /// Deletes blobs that no row refers to. There is one.
    SweepEvidence,
    /// Removes from the store's files what was erased from its tables. There is one at most.
    Scrub,
}

impl JobKind {
    /// The name in the store.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is of no use while the vendor cannot be asked.
    pub fn asks_vendor(self) -> bool {
        match self {
            Self::Settle | Self::FetchEvidence => true,
            Self::Redact
            | Self::Webhook
            | Self::EraseEvidence
            | Self::DeleteBlobs
            | Self::Rewrap
            | Self::SweepEvidence
            | Self::Scrub => false,
        }
    }

    /// Whether a job that failed goes behind the others: a receiver that does not answer must not
    /// stand before all others for ever.
    pub fn yields_after_failure(self) -> bool {
        self == Self::Webhook
    }

    /// Whether a new demand takes the job away from a run that is under way: that run may have
    /// missed what came since it began.
    pub fn starts_over_on_demand(self) -> bool {
        self == Self::Scrub
    }
}
