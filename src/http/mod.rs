//! The plain HTTP door: the browser's callback, health and metrics.

mod callback;
pub mod server;

use crate::app::App;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What the HTTP door needs.
#[derive(Clone)]
pub struct HttpState {
    pub app: Arc<App>,
    pub metrics: PrometheusHandle,
    /// Set when the process is about to stop.
    pub stopping: Arc<AtomicBool>,
}

/// The routes.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/callback", get(callback::callback))
        .route("/metrics", get(render_metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(state)
}

async fn render_metrics(State(state): State<HttpState>) -> String {
    state.metrics.render()
}

async fn readyz(State(state): State<HttpState>) -> (StatusCode, String) {
    if state.stopping.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    match state.app.ready().await {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(error) => {
            tracing::warn!(error = %error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.store_message()))
        }
    }
}
