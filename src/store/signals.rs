//! Wakes waiters for events: of one verification, or of one caller.

use super::row::Effects;
use parking_lot::{Mutex, MutexGuard};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// Whose events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventKey {
    /// A verification, by id.
    Verification(String),
    /// A caller, by name.
    Caller(String),
}

impl EventKey {
    /// All that the events of a write are about.
    pub fn of(effects: &Effects) -> Vec<Self> {
        let both = |event: &super::row::NewEvent| {
            [Self::Verification(event.verification_id.clone()), Self::Caller(event.caller.clone())]
        };
        effects.events.iter().flat_map(both).collect()
    }
}

/// The waiters.
#[derive(Default)]
pub struct EventSignals(Mutex<HashMap<EventKey, watch::Sender<()>>>);

/// Changes when there are events of what it was made for.
pub struct EventSignal {
    signals: Arc<EventSignals>,
    key: EventKey,
    receiver: watch::Receiver<()>,
}

impl EventSignals {
    /// A signal of the events under `key`, from now on.
    pub fn subscribe(self: &Arc<Self>, key: EventKey) -> EventSignal {
        let receiver = self.lock().entry(key.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        EventSignal { signals: Arc::clone(self), key, receiver }
    }

    /// Wakes the waiters for one of these.
    pub fn notify(&self, keys: &[EventKey]) {
        let waiting = self.lock();
        for sender in keys.iter().filter_map(|key| waiting.get(key)) {
            sender.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventKey, watch::Sender<()>>> {
        self.0.lock()
    }
}

impl EventSignal {
    /// Forgets the events so far: to be called before they are read, so that one that comes in
    /// between is not missed.
    pub fn forget(&mut self) {
        self.receiver.borrow_and_update();
    }

    /// Waits for an event after the last [`EventSignal::forget`].
    pub async fn changed(&mut self) {
        // The sender lives as long as this receiver does.
        self.receiver.changed().await.ok();
    }

    /// Whether there was one.
    pub fn has_changed(&self) -> bool {
        self.receiver.has_changed().unwrap_or(false)
    }
}

impl Drop for EventSignal {
    fn drop(&mut self) {
        let mut waiting = self.signals.lock();
        if waiting.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_those_are_woken_who_wait_for_it() {
        let signals = Arc::new(EventSignals::default());
        let key = |id: &str| EventKey::Verification(id.to_owned());
        let [mut first, second, mut third] = ["a", "a", "b"].map(|id| signals.subscribe(key(id)));
        signals.notify(&[key("a"), EventKey::Caller("a".to_owned())]);
        assert!(first.has_changed() && second.has_changed() && !third.has_changed());
        first.changed().await;
        first.forget();
        assert!(!first.has_changed());
        drop((first, second));
        assert_eq!(signals.lock().len(), 1);
        signals.notify(&[key("a"), key("b")]);
        third.changed().await;
        drop(third);
        assert!(signals.lock().is_empty());
    }
}
