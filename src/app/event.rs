//! What is told of a verification's life.

use super::record::state_name;
use crate::{
    domain::verification::Verification,
    store::row::{EventRow, NewEvent},
};
use jiff::Timestamp;

/// What can happen to a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Its evidence was stored.
    EvidenceStored,
}

impl EventKind {
    /// The name that is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Attempted => "attempted",
            Self::Settled => "settled",
            Self::Canceled => "canceled",
            Self::Redacted => "redacted",
            Self::EvidenceStored => "evidence_stored",
        }
    }

    /// Reads a stored name.
    fn parse(name: &str) -> Option<Self> {
        [Self::Created, Self::Attempted, Self::Settled, Self::Canceled, Self::Redacted, Self::EvidenceStored]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Something that happened to a verification.
pub struct Event {
    /// Rises in the order of commits.
    pub sequence: i64,
    pub at: Option<Timestamp>,
    pub kind: EventKind,
    pub verification_id: String,
    pub flow: String,
    /// Stored name of the state after it.
    pub state: String,
    pub last_attempt_code: Option<i64>,
}

impl Event {
    /// None for a kind that a newer version of the gateway wrote.
    pub(super) fn of(row: EventRow) -> Option<Self> {
        let EventRow { seq, event } = row;
        Some(Self {
            sequence: seq,
            at: Timestamp::from_millisecond(event.at_ms).ok(),
            kind: EventKind::parse(&event.kind)?,
            verification_id: event.verification_id,
            flow: event.flow,
            state: event.state,
            last_attempt_code: event.last_attempt_code,
        })
    }
}

/// The event that leaves `verification` as it is.
pub(super) fn new_event(verification: &Verification, kind: EventKind, at: Timestamp) -> NewEvent {
    NewEvent {
        at_ms: at.as_millisecond(),
        caller: verification.caller.clone(),
        verification_id: verification.id.to_string(),
        flow: verification.flow.clone(),
        kind: kind.name().to_owned(),
        state: state_name(verification.state).to_owned(),
        last_attempt_code: verification.last_attempt.map(|attempt| attempt.code),
    }
}
