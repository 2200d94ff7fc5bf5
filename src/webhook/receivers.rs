//! Keeps one receiver from holding up the others: each has slots of its own, and one that does not
//! answer is asked seldom.

use super::SendError;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use std::{collections::HashMap, sync::Arc};

/// Webhooks of one receiver under way at once.
const SLOTS: usize = 8;
/// After so many failures in a row a receiver is asked once in a while.
const FAILURES_IN_A_ROW: u32 = 5;
const OPEN_FOR: SignedDuration = SignedDuration::from_secs(30);
/// When a webhook that found no slot looks again.
const NO_SLOT_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The longest `Retry-After` that is honoured.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// State of every receiver, by caller name.
#[derive(Default)]
pub struct Receivers(Mutex<HashMap<String, Receiver>>);

#[derive(Default)]
struct Receiver {
    under_way: usize,
    failures_in_a_row: u32,
    closed_until: Option<Timestamp>,
    /// It wants no more events (410), until its URL is changed.
    is_gone: bool,
}

/// Whether a webhook may be sent now.
pub enum Admission {
    Now(Slot),
    /// Not before this time.
    Later(Timestamp),
    /// Never: the receiver wants none.
    Gone,
}

/// A receiver's slot, given back when dropped.
pub struct Slot {
    receivers: Arc<Receivers>,
    caller: String,
}

impl Receivers {
    /// Whether an event may be sent to the caller now.
    pub fn admit(self: &Arc<Self>, caller: &str, now: Timestamp) -> Admission {
        let mut receivers = self.lock();
        let receiver = receivers.entry(caller.to_owned()).or_default();
        if receiver.is_gone {
            return Admission::Gone;
        }
        let is_failing = receiver.failures_in_a_row >= FAILURES_IN_A_ROW;
        if let Some(until) = receiver.closed_until.filter(|until| now < *until) {
            return Admission::Later(until);
        }
        // One probe at a time, until a webhook is taken again.
        if receiver.under_way >= if is_failing { 1 } else { SLOTS } {
            return Admission::Later(now + if is_failing { OPEN_FOR } else { NO_SLOT_PAUSE });
        }
        receiver.under_way += 1;
        Admission::Now(Slot { receivers: Arc::clone(self), caller: caller.to_owned() })
    }

    /// What was learnt of a receiver does not hold for the one that took its place.
    pub fn forget(&self, caller: &str) {
        if let Some(receiver) = self.lock().get_mut(caller) {
            *receiver = Receiver { under_way: receiver.under_way, ..Receiver::default() };
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Receiver>> {
        self.0.lock()
    }
}

impl Slot {
    /// Learns from what came of the webhook.
    pub fn note(&self, outcome: Result<(), &SendError>, now: Timestamp) {
        let mut receivers = self.receivers.lock();
        let Some(receiver) = receivers.get_mut(&self.caller) else { return };
        match outcome {
            Ok(()) => {
                receiver.failures_in_a_row = 0;
                receiver.closed_until = None;
            }
            Err(SendError::Gone) => receiver.is_gone = true,
            Err(error) => {
                if error.is_of_the_receiver() {
                    receiver.failures_in_a_row = receiver.failures_in_a_row.saturating_add(1);
                }
                let told = error.retry_after(now).map(|pause| pause.min(LONGEST_PAUSE));
                let own = (receiver.failures_in_a_row >= FAILURES_IN_A_ROW).then_some(OPEN_FOR);
                if let Some(pause) = told.max(own) {
                    receiver.closed_until = Some(now + pause);
                    metrics::counter!("faceid_webhook_receivers_paused_total", "caller" => self.caller.clone())
                        .increment(1);
                }
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(receiver) = self.receivers.lock().get_mut(&self.caller) {
            receiver.under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn slot(receivers: &Arc<Receivers>, caller: &str, now: Timestamp) -> Slot {
        match receivers.admit(caller, now) {
            Admission::Now(slot) => slot,
            Admission::Later(until) => panic!("later: {until}"),
            Admission::Gone => panic!("gone"),
        }
    }

    fn later(receivers: &Arc<Receivers>, caller: &str, now: Timestamp) -> SignedDuration {
        match receivers.admit(caller, now) {
            Admission::Later(until) => until.duration_since(now),
            Admission::Now(_) | Admission::Gone => panic!("not later"),
        }
    }

    #[test]
    fn a_receiver_takes_no_more_than_its_slots() {
        let receivers = Arc::new(Receivers::default());
        let slots: Vec<Slot> = (0..SLOTS).map(|_| slot(&receivers, "slow", NOW)).collect();
        assert_eq!(later(&receivers, "slow", NOW), NO_SLOT_PAUSE);
        drop(slot(&receivers, "quick", NOW));
        drop(slots);
        drop(slot(&receivers, "slow", NOW));
    }

    #[test]
    fn a_receiver_that_fails_is_probed_once_in_a_while() {
        let receivers = Arc::new(Receivers::default());
        for _ in 0..FAILURES_IN_A_ROW {
            slot(&receivers, "dead", NOW).note(Err(&SendError::Status { code: 500, retry_after: None }), NOW);
        }
        assert_eq!(later(&receivers, "dead", NOW), OPEN_FOR);
        let probe = slot(&receivers, "dead", NOW + OPEN_FOR);
        assert_eq!(later(&receivers, "dead", NOW + OPEN_FOR), OPEN_FOR, "one probe at a time");
        probe.note(Ok(()), NOW + OPEN_FOR);
        drop(probe);
        let _both = [(); 2].map(|()| slot(&receivers, "dead", NOW + OPEN_FOR));
    }

    #[test]
    fn a_refusal_of_one_event_says_nothing_of_the_others() {
        let receivers = Arc::new(Receivers::default());
        for _ in 0..20 {
            slot(&receivers, "picky", NOW).note(Err(&SendError::Status { code: 400, retry_after: None }), NOW);
        }
        drop(slot(&receivers, "picky", NOW));
    }

    #[test]
    fn what_the_receiver_says_is_honoured() {
        let receivers = Arc::new(Receivers::default());
        let busy = |after: &str| SendError::Status { code: 503, retry_after: Some(after.to_owned()) };
        slot(&receivers, "busy", NOW).note(Err(&busy("120")), NOW);
        assert_eq!(later(&receivers, "busy", NOW), SignedDuration::from_secs(120));
        slot(&receivers, "date", NOW).note(Err(&busy("Thu, 01 Jan 1970 00:02:00 GMT")), NOW);
        assert_eq!(later(&receivers, "date", NOW), SignedDuration::from_secs(120));
        slot(&receivers, "long", NOW).note(Err(&busy("999999999")), NOW);
        assert_eq!(later(&receivers, "long", NOW), LONGEST_PAUSE);
        slot(&receivers, "odd", NOW).note(Err(&busy("soon")), NOW);
        drop(slot(&receivers, "odd", NOW));
        slot(&receivers, "gone", NOW).note(Err(&SendError::Gone), NOW);
        assert!(matches!(receivers.admit("gone", NOW), Admission::Gone));
    }
}
