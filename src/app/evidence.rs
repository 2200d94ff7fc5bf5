//! Evidence as callers see it.

use crate::{domain::evidence::MediaKind, store::row::EvidenceRow};
use jiff::Timestamp;

/// A photo, video or sound, without its content and the key of that.
pub struct Evidence {
    pub id: String,
    /// None for a kind that a newer version of the gateway wrote.
    pub kind: Option<MediaKind>,
    /// Among those of its kind, from 0.
    pub position: u32,
    /// The attempt that it is of.
    pub attempt_seq: Option<String>,
    pub content_type: String,
    pub size_bytes: u64,
    /// None when erased.
    pub sha256: Option<Vec<u8>>,
    pub stored_at: Option<Timestamp>,
    pub erased_at: Option<Timestamp>,
}

impl From<EvidenceRow> for Evidence {
    fn from(row: EvidenceRow) -> Self {
        let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
        Self {
            kind: row.kind.parse().ok(),
            id: row.id,
            position: row.position,
            attempt_seq: row.attempt_seq,
            content_type: row.content_type,
            size_bytes: row.size_bytes,
            sha256: row.sha256,
            stored_at: time(row.stored_at_ms),
            erased_at: row.erased_at_ms.and_then(time),
        }
    }
}
