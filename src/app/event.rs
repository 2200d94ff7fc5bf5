//! Events of a verification's life.

use super::{App, Error, binding::Binding};
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

impl App {
    /// Whether the verification's own row, which its MAC binds, bears an event out: the log itself
    /// is not bound. A final state never changes, and an event that tells of none decides nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn bears_out(&self, event: &NewEvent) -> Result<bool, Error> {
        let problem = match self.store.find(&event.verification_id).await? {
            None => Some("it is not there".to_owned()),
            Some(row) => {
                let is_its = row.created.caller == event.caller && row.created.flow == event.flow;
                let is_told = event.state == StateName::Pending.as_str() || event.state == row.progress.state;
                match Binding::of(&row.created).verify(&self.keyring, &row) {
                    Err(error) => Some(error.to_string()),
                    Ok(()) if is_its && is_told => None,
                    Ok(()) => Some("it has another owner or another state".to_owned()),
                }
            }
        };
        if let Some(problem) = &problem {
            metrics::counter!("faceid_unreadable_rows_total").increment(1);
            tracing::error!(
                verification_id = %event.verification_id,
                problem,
                "an event is not borne out by its verification, and is not passed on"
            );
        }
        Ok(problem.is_none())
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
