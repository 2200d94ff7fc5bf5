//! Arguments and answers of every product of the vendor, in the domain's words.

use super::error::Error;
use crate::domain::{
    evidence::{MediaKind, NotKept, UnkeptMedium},
    flow::EvidenceSelection,
    ids::BizToken,
    intention::IntentionMode,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use url::Url;

/// A verification that the vendor has opened.
pub struct Opened {
    pub token: BizToken,
    /// For the user's browser.
    pub url: Url,
    /// The vendor's id of the call.
    pub request_id: String,
}

/// One token's entry in the vendor's ledger of a day.
pub struct Charge {
    /// None: what the ledger says is no token.
    pub token: Option<BizToken>,
    /// The last characters: enough to find the token in the vendor's console, too little to use it.
    pub token_tail: String,
    /// How many charges the ledger counts.
    pub charges: u64,
    /// Those that it lists, by their `Seq`, where they have one.
    pub entries: Vec<Option<String>>,
}

/// Which media to ask for.
#[derive(Clone, Copy)]
pub struct MediaQuery {
    pub wish: EvidenceSelection,
    /// The intention step that the verification had, where that is known.
    pub intention: Option<IntentionMode>,
    /// Limit on the media of the answer together; one that breaks it is not handed out, the others
    /// are.
    pub limit_bytes: u64,
}

/// Pieces of an answer with media, in their order.
pub enum MediaEvent {
    /// A medium begins. There is no event of one that is null, missing or empty.
    Start {
        kind: MediaKind,
        /// How many of this kind came before in this answer.
        index: u32,
        /// Which attempt a liveness video is of, where the answer says so before the video.
        seq: Option<String>,
    },
    /// A piece of the medium that began last: 48 KiB, or the last piece, which may be shorter.
    /// Never empty.
    Bytes(Bytes),
    /// The medium is whole.
    End,
    /// The medium that began last cannot be kept: what came of it is void, and no more comes.
    Broken(NotKept),
    /// A medium that cannot be kept. Nothing else comes of it.
    Skipped(UnkeptMedium),
    /// The last event, with what the answer holds beside the media. What came before counts once it
    /// has come.
    Finished(Box<BesideMedia>),
}

/// Facts that the vendor gives only together with media.
#[derive(Default)]
pub struct BesideMedia {
    /// Warnings about the photos of an ID card.
    pub front_warnings: Vec<i64>,
    pub back_warnings: Vec<i64>,
    /// Fields without a place of their own: dotted JSON path to JSON text.
    pub vendor_raw: BTreeMap<String, String>,
}

impl BesideMedia {
    /// Adds what another answer says.
    pub fn add(&mut self, other: Self) {
        self.front_warnings.extend(other.front_warnings);
        self.back_warnings.extend(other.back_warnings);
        self.vendor_raw.extend(other.vendor_raw);
    }
}

/// Why the bytes of a medium end before it does.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    #[error(transparent)]
    Vendor(#[from] Error),
    /// The medium alone: the answer goes on.
    #[error(transparent)]
    NotKept(#[from] NotKept),
}
