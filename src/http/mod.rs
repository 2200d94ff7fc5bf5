//! The plain HTTP doors: the browser's callback, and apart from it what operators need.

mod callback;
pub mod server;

use crate::{app::App, telemetry};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// State of the admin routes.
#[derive(Clone)]
pub struct AdminState {
    pub app: Arc<App>,
    pub metrics: PrometheusHandle,
    /// Set when the process is about to stop.
    pub stopping: Arc<AtomicBool>,
}

/// Routes for browsers.
pub fn public_router(app: Arc<App>) -> Router {
    Router::new().route("/callback", get(callback::callback)).with_state(app)
}

/// Routes for scrapers and probes.
pub fn admin_router(state: AdminState) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(state)
}

async fn render_metrics(State(state): State<AdminState>) -> String {
    telemetry::process_metrics().collect();
    state.metrics.render()
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, String) {
    if state.stopping.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    match state.app.ready().await {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(error) => {
            tracing::warn!(error = %error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.public_message()))
        }
    }
}
