//! Splits the vendor's quotas between the replicas that live.
//!
//! The account's limit is never exceeded by all together: a replica that comes takes no part before
//! the others have noticed it, and one that cannot tell that it lives takes none before the others
//! count it as dead.

use crate::app::{App, Error};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const BEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Who was silent for so long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(8);
/// Who could not tell that it lives for so long has no part any more.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// By then every other replica has noticed a new one, and its calls of before are a second ago.
const NOTICED_AFTER: Duration = Duration::from_secs(4);

/// A replica among those that share the store.
pub(super) struct Replica {
    app: Arc<App>,
    id: String,
    /// From when on it may take its part.
    noticed_at: Instant,
    beaten_at: Instant,
}

impl Replica {
    /// Joins the others.
    pub(super) async fn join(app: Arc<App>) -> Result<Self, Error> {
        let id = uuid::Uuid::new_v4().to_string();
        let now = Instant::now();
        let alone = app.beat(&id, DEAD_AFTER).await? == 1;
        let noticed_at = if alone { now } else { now + NOTICED_AFTER };
        let replica = Self { app, id, noticed_at, beaten_at: now };
        replica.take_part(alone.into());
        Ok(replica)
    }

    /// Until the app stops.
    pub(super) async fn live(mut self) {
        let stopping = self.app.stopping().clone();
        while stopping.run_until_cancelled(tokio::time::sleep(BEAT_INTERVAL)).await.is_some() {
            // Before it is sent: the others' time begins later.
            let now = Instant::now();
            match tokio::time::timeout(BEAT_INTERVAL, self.app.beat(&self.id, DEAD_AFTER)).await {
                Ok(Ok(replicas)) => {
                    self.beaten_at = now;
                    self.take_part(if now < self.noticed_at { 0 } else { replicas });
                }
                Ok(Err(error)) => tracing::warn!(%error, "the other replicas do not know that this one lives"),
                Err(_) => {
                    tracing::warn!("the other replicas do not know that this one lives: the store does not answer")
                }
            }
            if self.beaten_at.elapsed() >= SILENT_AFTER {
                self.take_part(0);
            }
        }
        // Else its part lies idle until it counts as dead.
        if let Err(error) = self.app.leave(&self.id).await {
            tracing::debug!(%error, "the other replicas could not be told that this one stops");
        }
    }

    fn take_part(&self, replicas: u32) {
        metrics::gauge!("faceid_replicas").set(f64::from(replicas));
        self.app.share_quotas_with(replicas);
    }
}
