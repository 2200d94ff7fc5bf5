//! Health follows the state: a gateway that cannot write takes no calls, and one without a key pair
//! opens no verifications.

use super::contract::service_names;
use crate::app::{App, NotReady};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;
use tonic_health::{ServingStatus, server::HealthReporter};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a trouble that lasts is told again.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// What the protocol calls the process as a whole.
const OVERALL: &str = "";
/// Needs a key pair. The other services mend what is wrong, or read what is there.
const VERIFICATIONS: &str = "faceid.v1.VerificationService";

/// The health of all services, as it was told last.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    told: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Health {
    /// All services serve.
    pub async fn serving(reporter: HealthReporter) -> Self {
        let health = Self { reporter, told: Arc::default() };
        for service in services() {
            for to in ["SERVING", "NOT_SERVING"] {
                metrics::counter!("faceid_health_transitions_total", "service" => shown(&service), "to" => to)
                    .increment(0);
            }
        }
        health.set(|_| true, "started").await;
        health
    }

    /// No service serves: the process stops.
    pub async fn stop(&self) {
        self.set(|_| false, "the process stops").await;
    }

    /// Follows the state until the app stops.
    pub async fn follow(self, app: Arc<App>) {
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        let mut told_at: Option<Instant> = None;
        while app.stopping().run_until_cancelled(tick.tick()).await.is_some() {
            let Some(found) = app.stopping().run_until_cancelled(app.ready()).await else { return };
            let store_is_ready = !matches!(found, Err(NotReady::Store(_)));
            metrics::gauge!("faceid_store_ready").set(if store_is_ready { 1.0 } else { 0.0 });
            match &found {
                Ok(()) => {
                    if told_at.take().is_some() {
                        tracing::info!("ready again");
                    }
                    self.set(|_| true, "ready").await;
                }
                Err(error) => {
                    if told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
                        told_at = Some(Instant::now());
                        tracing::error!(error = %error, "NOT READY: calls are refused");
                    }
                    let serves = |service: &str| store_is_ready && ![OVERALL, VERIFICATIONS].contains(&service);
                    self.set(serves, &error.public_message()).await;
                }
            }
        }
    }

    async fn set(&self, serves: impl Fn(&str) -> bool, why: &str) {
        for service in services() {
            let serves = serves(&service);
            let before = self.told.lock().insert(service.clone(), serves);
            if before == Some(serves) {
                continue;
            }
            let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(&service, status).await;
            let service = shown(&service);
            metrics::gauge!("faceid_health_serving", "service" => service.clone()).set(if serves { 1.0 } else { 0.0 });
            if before.is_some() {
                let to = if serves { "SERVING" } else { "NOT_SERVING" };
                tracing::warn!(service, to, why, "health has changed");
                metrics::counter!("faceid_health_transitions_total", "service" => service, "to" => to).increment(1);
            }
        }
    }
}

fn services() -> impl Iterator<Item = String> {
    service_names().into_iter().chain([OVERALL.to_owned()])
}

fn shown(service: &str) -> String {
    if service == OVERALL { "overall".to_owned() } else { service.to_owned() }
}
