//! What every product of the vendor takes and gives, in the domain's words.

use crate::domain::{evidence::MediaKind, ids::BizToken};
use bytes::Bytes;
use url::Url;

/// A verification that the vendor has opened.
pub struct Opened {
    pub token: BizToken,
    /// For the user's browser.
    pub url: Url,
    /// The vendor's id of the call.
    pub request_id: String,
}

/// What the vendor's ledger of a day has of one token.
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

/// What comes out of an answer with media, in its order.
pub enum MediaEvent {
    /// A medium begins. There is no event of one that is null, missing or empty.
    Start {
        kind: MediaKind,
        /// How many of this kind came before in this answer.
        index: u32,
        /// Which attempt a liveness video is of, where the answer says so before the video.
        seq: Option<String>,
    },
    /// A piece of the medium that began last: 48 KiB, or the last piece, which may be shorter. Never empty.
    Bytes(Bytes),
    /// The medium is whole.
    End,
    /// The last event, with what the vendor says only beside the photos. What came before counts once it has come.
    Finished(CardWarnings),
}

/// The vendor's warnings about the photos of an ID card.
#[derive(Default)]
pub struct CardWarnings {
    pub front: Vec<i64>,
    pub back: Vec<i64>,
}
