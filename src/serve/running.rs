//! Takes a changed configuration while the gateway serves.

use crate::{
    app::{App, Terms},
    auth::{Authenticator, KnownCaller},
    config::{self, CallerConfig, Config, ConfigError, Written},
    reload::FileWatch,
    telemetry,
    webhook::Endpoint,
};
use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The configuration that counts, and what goes by it.
pub(super) struct Running {
    pub(super) file: PathBuf,
    pub(super) watch: FileWatch,
    /// As it was at the start.
    pub(super) written: Written,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) app: Arc<App>,
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}", .0.join("\n"))]
    Flows(Vec<String>),
    #[error(transparent)]
    Log(#[from] telemetry::TelemetryError),
}

/// Signals upon which the configuration is read again at once.
///
/// # Errors
/// When the process cannot listen for signals.
pub(super) fn reload_signal() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

impl Running {
    /// Reads the file whenever it changes, and upon a signal, and takes all that can be taken
    /// without a restart: a new token counts, and one that is gone counts no more. A file that
    /// cannot be used changes nothing.
    pub(super) async fn follow(mut self, mut asked: Signal, stop: CancellationToken) {
        loop {
            let changed = async {
                tokio::select! {
                    () = self.watch.changed() => {}
                    _ = asked.recv() => {}
                }
            };
            if stop.run_until_cancelled(changed).await.is_none() {
                return;
            }
            let taken = self.take().await;
            metrics::gauge!("faceid_config_reload_failed").set(f64::from(u8::from(taken.is_err())));
            if let Err(error) = taken {
                metrics::counter!("faceid_config_reload_failures_total").increment(1);
                tracing::error!(error = %error, "the changed configuration cannot be used; the one from before stays");
            }
        }
    }

    async fn take(&mut self) -> Result<(), NotTaken> {
        let config = Config::load(&self.file, config::environment())?;
        let webhooks = webhooks_of(&config.callers);
        let terms = Terms { flows: config.flows, webhooks, id_card_limits: config.id_card_limits };
        let flows = terms.flows.len();
        // What can fail comes first: nothing is taken by halves.
        let quotas = config.tencent.quotas;
        self.app.replace_terms(terms, config.field_encryption, quotas).await.map_err(NotTaken::Flows)?;
        telemetry::set_log_filter(&config.log.filter)?;
        let callers = known(config.callers);
        tracing::info!(flows, callers = callers.len(), "the configuration was read again");
        self.authenticator.replace_callers(callers);
        if let Err(error) = self.app.note_callers_reloaded().await {
            tracing::error!(error = %error, "that callers were read again could not be written to the audit trail");
        }
        let waiting = self.written.waiting_for_restart(&config.written);
        metrics::gauge!("faceid_config_settings_waiting_for_restart").set(waiting.len() as f64);
        if !waiting.is_empty() {
            tracing::warn!(settings = waiting.join(", "), "changed settings count after a restart only");
        }
        // What changed since it was read is seen.
        if let Some((_, watch)) = config.file {
            self.watch = watch;
        }
        Ok(())
    }
}

pub(super) fn webhooks_of(callers: &[CallerConfig]) -> BTreeMap<String, Endpoint> {
    let webhook_of = |caller: &CallerConfig| Some((caller.known.caller.name.clone(), caller.webhook.clone()?));
    callers.iter().filter_map(webhook_of).collect()
}

pub(super) fn known(callers: Vec<CallerConfig>) -> Vec<KnownCaller> {
    callers.into_iter().map(|caller| caller.known).collect()
}
