//! Single-flight: concurrent callers for one key share one call.

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Work that is under way, by what it is about.
pub struct Flights<T: Clone>(Mutex<HashMap<String, Flight<T>>>);

/// Work that several wait for. It goes on when all of them have gone away, if somebody drives it.
pub type Flight<T> = Shared<BoxFuture<'static, T>>;

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The work about `subject` that is under way; else what `begin` makes, and whether it was made
    /// now: then the caller must drive it to its end, and [`Flights::land`] it, also when it
    /// panics.
    pub(super) fn join(&self, subject: &str, begin: impl FnOnce() -> BoxFuture<'static, T>) -> (Flight<T>, bool) {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(subject) {
            return (flight.clone(), false);
        }
        let flight = begin().shared();
        flights.insert(subject.to_owned(), flight.clone());
        (flight, true)
    }

    /// Removes the flight; the next caller starts a new one.
    pub(super) fn land(&self, subject: &str) {
        self.0.lock().remove(subject);
    }
}
