//! Gauges of what is not settled yet: an alert on these comes long before anything is lost.

use crate::app::App;
use jiff::SignedDuration;
use std::{sync::Arc, time::Duration};

const INTERVAL: Duration = Duration::from_secs(15);
const AGES: [&str; 4] = ["under_2h", "under_1d", "under_2d", "over_2d"];

pub(super) async fn keep(app: Arc<App>) {
    let mut tick = tokio::time::interval(INTERVAL);
    while app.stopping.run_until_cancelled(tick.tick()).await.is_some() {
        let now = app.clock.now();
        match app.store.parked_webhooks().await {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
            Ok(count) => metrics::gauge!("faceid_webhooks_parked").set(count as f64),
            Err(error) => tracing::warn!(error = %error, "parked webhooks could not be counted"),
        }
        match app.store.unsettled(now.as_millisecond()).await {
            Ok(unsettled) => {
                for (age, count) in AGES.into_iter().zip(unsettled.by_age) {
                    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
                    metrics::gauge!("faceid_unsettled", "age" => age).set(count as f64);
                }
                let seconds = |ms: i64| SignedDuration::from_millis(ms).as_secs_f64();
                let now_ms = now.as_millisecond();
                let (age, left) = unsettled.oldest.map_or((0.0, f64::INFINITY), |(created_at_ms, result_until_ms)| {
                    (seconds(now_ms - created_at_ms), seconds(result_until_ms - now_ms))
                });
                metrics::gauge!("faceid_unsettled_oldest_age_seconds").set(age);
                metrics::gauge!("faceid_unsettled_time_left_seconds").set(left);
            }
            Err(error) => tracing::warn!(error = %error, "unsettled verifications could not be counted"),
        }
    }
}
