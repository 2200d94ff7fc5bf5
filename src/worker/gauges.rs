//! Gauges of what is not done yet: an alert on these comes long before anything is lost.

use crate::{app::App, domain::job::JobKind};
use std::{sync::Arc, time::Duration};
use strum::VariantArray;

const INTERVAL: Duration = Duration::from_secs(15);
const AGES: [&str; 4] = ["under_2h", "under_1d", "under_2d", "over_2d"];

pub(super) async fn keep(app: Arc<App>) {
    let mut tick = tokio::time::interval(INTERVAL);
    while app.stopping().run_until_cancelled(tick.tick()).await.is_some() {
        match app.parked_webhooks().await {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
            Ok(count) => metrics::gauge!("faceid_webhooks_parked").set(count as f64),
            Err(error) => tracing::warn!(error = %error, "parked webhooks could not be counted"),
        }
        for kind in JobKind::VARIANTS {
            match app.overdue(*kind).await {
                Ok(time) => {
                    metrics::gauge!("faceid_jobs_overdue_seconds", "kind" => kind.name()).set(time.as_secs_f64())
                }
                Err(error) => tracing::warn!(error = %error, "how late jobs are could not be told"),
            }
        }
        match app.backlog().await {
            Ok(backlog) => {
                for (age, count) in AGES.into_iter().zip(backlog.by_age) {
                    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
                    metrics::gauge!("faceid_unsettled", "age" => age).set(count as f64);
                }
                let oldest = backlog.oldest.map(|(age, left)| (age.as_secs_f64(), left.as_secs_f64()));
                let (age, left) = oldest.unwrap_or((0.0, f64::INFINITY));
                metrics::gauge!("faceid_unsettled_oldest_age_seconds").set(age);
                metrics::gauge!("faceid_unsettled_time_left_seconds").set(left);
            }
            Err(error) => tracing::warn!(error = %error, "unsettled verifications could not be counted"),
        }
    }
}
