//! Bounds the cost of browsers: the callback is open to everyone who has its URL, and the URL can
//! be replayed.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The vendor is asked no sooner again about one verification for a browser.
const ASK_INTERVAL: Duration = Duration::from_secs(2);
/// Refusals that are looked up and written down at once; of more, the metric alone tells.
const REFUSALS_UNDER_WAY: usize = 4;

/// Recent vendor calls on behalf of browsers, and refusals being written to the audit trail.
pub struct Visits {
    asked: Mutex<HashMap<String, Instant>>,
    refusals: Arc<Semaphore>,
}

impl Default for Visits {
    fn default() -> Self {
        Self { asked: Mutex::default(), refusals: Arc::new(Semaphore::new(REFUSALS_UNDER_WAY)) }
    }
}

impl Visits {
    /// Whether the vendor may be asked about this verification now: then it counts as asked.
    ///
    /// # Errors
    /// When it may be asked again.
    pub(super) fn may_ask(&self, id: &str) -> Result<(), Instant> {
        let mut asked = self.asked.lock();
        // Bounded: only entries of the last two seconds stay.
        asked.retain(|_, at| at.elapsed() < ASK_INTERVAL);
        if let Some(at) = asked.get(id) {
            return Err(*at + ASK_INTERVAL);
        }
        asked.insert(id.to_owned(), Instant::now());
        Ok(())
    }

    /// A place for writing a refusal down, if there is one.
    pub(super) fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_verification_is_asked_about_once_in_two_seconds() {
        let visits = Visits::default();
        visits.may_ask("a").unwrap();
        let again = visits.may_ask("a").unwrap_err();
        assert_eq!(again, Instant::now() + ASK_INTERVAL);
        visits.may_ask("b").unwrap();
        tokio::time::sleep_until(again).await;
        visits.may_ask("a").unwrap();
        assert_eq!(visits.asked.lock().len(), 1, "what is old is forgotten");
    }
}
