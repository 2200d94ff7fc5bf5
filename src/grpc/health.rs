//! Health follows the store: a gateway that cannot write takes no calls.

use super::contract::service_names;
use crate::app::App;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tonic_health::{ServingStatus, server::HealthReporter};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a trouble that lasts is told again.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Until the app stops.
pub async fn follow_store(app: Arc<App>, health: HealthReporter) {
    let mut tick = tokio::time::interval(LOOK_INTERVAL);
    let mut was_ready = true;
    let mut told_at: Option<Instant> = None;
    while app.stopping.run_until_cancelled(tick.tick()).await.is_some() {
        let Some(found) = app.stopping.run_until_cancelled(app.ready()).await else { return };
        let is_ready = found.is_ok();
        metrics::gauge!("faceid_store_ready").set(if is_ready { 1.0 } else { 0.0 });
        match found {
            Ok(()) => {
                if told_at.take().is_some() {
                    tracing::info!("the store reads and writes again: ready");
                }
            }
            Err(error) if told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) => {
                told_at = Some(Instant::now());
                tracing::error!(error = %error, "NOT READY: the store cannot be written, and calls are refused");
            }
            Err(_) => {}
        }
        if is_ready != was_ready {
            was_ready = is_ready;
            set(&health, if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        }
    }
}

/// The same for all services.
pub async fn set(health: &HealthReporter, status: ServingStatus) {
    // The empty name is the process.
    for service in service_names().into_iter().chain([String::new()]) {
        health.set_service_status(service, status).await;
    }
}
