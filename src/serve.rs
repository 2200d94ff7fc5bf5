//! The composition root: builds the gateway from its configuration, and takes it down again. The only place that makes
//! adapters.

use crate::{
    app::App,
    config::{AuthMode, Config, StoreUrl},
    domain::clock::Clock,
    grpc::{self, Authenticator, TokenHolder},
    http::{self, HttpState},
    store::{Store, sqlite::SqliteStore},
    telemetry, tencent,
    vault::{CredentialVault, credential::Put},
};
use anyhow::Context;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpIncoming;
use tonic_health::{ServingStatus, server::HealthReporter};

/// How long a stop waits for calls in flight: less than the 30 s that Kubernetes gives by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// A running gateway.
pub struct Gateway {
    /// Where the contract is served.
    pub grpc_addr: SocketAddr,
    /// Where browsers, scrapers and probes connect.
    pub http_addr: SocketAddr,
    /// What it runs; tests look at its store.
    pub app: Arc<App>,
    health: HealthReporter,
    stopping: Arc<AtomicBool>,
    stop_grpc: CancellationToken,
    stop_http: CancellationToken,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    http: JoinHandle<std::io::Result<()>>,
}

impl Gateway {
    /// Builds the gateway and serves.
    ///
    /// # Errors
    /// When the store, the vault, a credential or a listener fails: the error says which and what to do.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics_handle();
        let store = open_store(&config.store)?;
        let keyring = Arc::new(config.keyring);
        let credentials = CredentialVault::new(Arc::clone(&keyring), Arc::clone(&store));
        for (name, pair) in &config.credentials {
            match credentials.put(name, pair).await? {
                Put::Unchanged => {}
                Put::Added => tracing::info!(credential = %name, "sealed into the vault"),
                Put::Replaced => {
                    tracing::warn!(credential = %name, "the vault's key pair was replaced by the configuration's")
                }
            }
        }
        for flow in config.flows.values() {
            credentials.get(&flow.credential).await.with_context(|| format!("flow {} cannot be served", flow.name))?;
        }
        let app = Arc::new(App {
            tencent: tencent::Client::new(&config.tencent, Arc::clone(&clock))?,
            clock,
            store,
            keyring,
            credentials,
            flows: config.flows,
            own_callback: config.own_callback,
            detached: TaskTracker::new(),
        });
        let authenticator = match config.auth {
            AuthMode::Off => Authenticator::Off,
            AuthMode::Tokens => Authenticator::Tokens(
                config
                    .callers
                    .into_iter()
                    .map(|known| TokenHolder { caller: Arc::new(known.caller), token_sha256: known.token_sha256 })
                    .collect(),
            ),
        };

        let grpc_listener = bind("grpc.listen", config.grpc_listen).await?;
        let http_listener = bind("http.listen", config.http_listen).await?;
        let (grpc_addr, http_addr) = (grpc_listener.local_addr()?, http_listener.local_addr()?);
        let (stop_grpc, stop_http) = (CancellationToken::new(), CancellationToken::new());
        let stopping = Arc::new(AtomicBool::new(false));
        let (router, health) = grpc::server(Arc::clone(&app), authenticator).await?;
        let incoming = TcpIncoming::from(grpc_listener).with_nodelay(Some(true));
        let grpc = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop_grpc.clone().cancelled_owned()));
        let state = HttpState { app: Arc::clone(&app), metrics, stopping: Arc::clone(&stopping) };
        let http = tokio::spawn(
            axum::serve(http_listener, http::router(state))
                .with_graceful_shutdown(stop_http.clone().cancelled_owned())
                .into_future(),
        );
        tracing::info!(%grpc_addr, %http_addr, "serving");
        Ok(Self { grpc_addr, http_addr, app, health, stopping, stop_grpc, stop_http, grpc, http })
    }

    /// Says NOT_SERVING, lets calls and detached work finish, and stops.
    ///
    /// # Errors
    /// When that takes longer than 25 seconds, or a listener had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping: no new calls, finishing those in flight");
        self.stopping.store(true, Ordering::SeqCst);
        self.say_not_serving().await;
        self.stop_grpc.cancel();
        let finish = async {
            self.grpc.await??;
            self.app.drain().await;
            self.stop_http.cancel();
            self.http.await??;
            anyhow::Ok(())
        };
        tokio::time::timeout(DRAIN_TIMEOUT, finish).await.with_context(|| {
            format!("calls were still in flight {} s after the stop; they are cut off", DRAIN_TIMEOUT.as_secs())
        })??;
        tracing::info!("stopped");
        Ok(())
    }

    /// Watchers of the health read NOT_SERVING, then their streams end: one that stays open would hold up the stop.
    async fn say_not_serving(&self) {
        let mut health = self.health.clone();
        for service in ["", grpc::VERIFICATION_SERVICE] {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        tokio::task::yield_now().await;
        for service in ["", grpc::VERIFICATION_SERVICE] {
            health.clear_service_status(service).await;
        }
    }
}

fn open_store(url: &StoreUrl) -> anyhow::Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Sqlite(path) => {
            let store = SqliteStore::open(path).with_context(|| format!("store.url sqlite:{}", path.display()))?;
            Ok(Arc::new(store))
        }
    }
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting} {address} cannot be listened on"))
}

/// Waits for SIGTERM or Ctrl-C.
///
/// # Errors
/// When the process cannot listen for signals.
pub async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
