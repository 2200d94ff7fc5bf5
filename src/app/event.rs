//! What is told of a verification's life.

use crate::{
    domain::{
        event::EventKind,
        verification::{StateName, Verification},
    },
    store::row::{EventRow, NewEvent},
};
use jiff::Timestamp;

/// Something that happened to a verification.
pub struct Event {
    /// Rises in the order of commits.
    pub sequence: i64,
    pub at: Option<Timestamp>,
    pub kind: EventKind,
    pub verification_id: String,
    pub flow: String,
    /// The state after it.
    pub state: StateName,
    pub last_attempt_code: Option<i64>,
}

impl Event {
    /// None for a kind or a state that a newer version of the gateway wrote.
    pub(super) fn of(row: EventRow) -> Option<Self> {
        let EventRow { seq, event } = row;
        Some(Self {
            sequence: seq,
            at: Timestamp::from_millisecond(event.at_ms).ok(),
            kind: event.kind.parse().ok()?,
            verification_id: event.verification_id,
            flow: event.flow,
            state: event.state.parse().ok()?,
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
        state: verification.state.name().as_str().to_owned(),
        last_attempt_code: verification.last_attempt.map(|attempt| attempt.code),
    }
}
