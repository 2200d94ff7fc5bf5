//! How many calls are on their way at once.
//!
//! A slow vendor makes calls pile up, and each holds a photo, an answer, a connection. Beyond the
//! limit a call is refused at once, while there is still memory to say so. Background work has half
//! of the places and waits for one: it never keeps out a caller.

use super::{error::ErrorKind, options::Urgency};
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

pub(super) struct InFlight {
    max: usize,
    all: Arc<Semaphore>,
    background: Arc<Semaphore>,
    visitors: Arc<Semaphore>,
}

/// A place, given back when dropped.
pub(super) struct Place {
    priority: &'static str,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl InFlight {
    pub(super) fn new(max: usize) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Self { max, all: places(max), background: places(max / 2), visitors: places(max / 8) }
    }

    /// A place: for a caller now or never, for a visitor or background work by `until`.
    pub(super) async fn enter(&self, urgency: Urgency, until: Instant) -> Result<Place, ErrorKind> {
        let priority = urgency.name();
        let permits = match urgency {
            Urgency::Interactive { .. } => Arc::clone(&self.all).try_acquire_owned().ok().map(|place| (place, None)),
            Urgency::Visitor | Urgency::Background => timeout_at(until, async {
                let part = if urgency == Urgency::Visitor { &self.visitors } else { &self.background };
                let share = Arc::clone(part).acquire_owned().await.ok()?;
                Some((Arc::clone(&self.all).acquire_owned().await.ok()?, Some(share)))
            })
            .await
            .ok()
            .flatten(),
        };
        let Some(permits) = permits else {
            metrics::counter!("faceid_vendor_calls_shed_total", "priority" => priority).increment(1);
            return Err(ErrorKind::Overloaded { max_in_flight: self.max });
        };
        metrics::gauge!("faceid_vendor_calls_in_flight", "priority" => priority).increment(1.0);
        Ok(Place { priority, _permits: permits })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("faceid_vendor_calls_in_flight", "priority" => self.priority).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CALLER: Urgency = Urgency::Interactive { deadline: None };

    #[tokio::test(start_paused = true)]
    async fn callers_are_refused_and_background_work_waits() {
        let in_flight = InFlight::new(4);
        let soon = || Instant::now() + Duration::from_secs(5);
        let mut places = Vec::new();
        for _ in 0..2 {
            places.push(in_flight.enter(Urgency::Background, soon()).await.ok().unwrap());
        }
        assert!(in_flight.enter(Urgency::Background, soon()).await.is_err(), "half of the places");
        for _ in 0..2 {
            places.push(in_flight.enter(CALLER, soon()).await.ok().unwrap());
        }
        let refused = in_flight.enter(CALLER, soon()).await.err().unwrap();
        assert!(matches!(refused, ErrorKind::Overloaded { max_in_flight: 4 }), "{refused}");
        let (waited, ()) = tokio::join!(in_flight.enter(Urgency::Background, soon()), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            places.clear();
        });
        assert!(waited.is_ok());
    }
}
