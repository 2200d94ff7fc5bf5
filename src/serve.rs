//! The composition root: builds the gateway from its configuration, and takes it down again. The
//! only place that makes adapters.

mod running;

use crate::{
    app::{self, App, BoundRows, ClaimError, Terms, claim_evidence, key_faults, remember_keys, unservable_flows},
    auth::Authenticator,
    config::{Config, CredentialConfig, DrainConfig, StoreUrl},
    credential::{CredentialVault, Credentials, Put, SourceKind},
    domain::{clock::Clock, key_pair::KeyPair},
    evidence::{EvidenceStore, OwnerError},
    grpc::{self, ServerInfo, health::Health, tls::ServerTls},
    http::{self, AdminState, server::Pace},
    listen::{PlaceLimits, Places},
    process,
    store::{ObservedStore, Store, postgres::PostgresStore, sqlite::SqliteStore},
    telemetry,
    tencent::{self, Products, VendorClock, sts::StsClient},
    vault::Keyring,
    webhook,
    worker::Workers,
};
use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use running::{Running, known, reload_signal, webhooks_of};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the last bytes may take, and how long streams that never end by themselves (health
/// watches, reflection) go on.
const STREAM_GRACE: Duration = Duration::from_secs(1);
/// Scrapers and probes are few.
const ADMIN_PLACES: PlaceLimits = PlaceLimits { total: 64, per_peer: 32 };
/// Far more callbacks than the vendor lets verifications be made. With a browser on each connection
/// the last one waits a second.
const CALLBACKS_PER_SECOND: u32 = 1000;
/// An answer may be long, and costs most where all of it are metrics. With a request on each
/// connection the last one waits 0.64 s.
const ADMIN_REQUESTS_PER_SECOND: u32 = 100;
/// Open files that are no connections of listeners: the store's, blobs, connections to the vendor,
/// to receivers and collectors.
const RESERVED_FILES: usize = 256;
/// How often samples of histograms are folded together; without it they pile up until somebody
/// scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How often the database's files and its disk are looked at.
const DISK_INTERVAL: Duration = Duration::from_secs(10);

/// A bucket that is silent for so long is asked later; its client would go on for minutes.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);

/// A running gateway.
pub struct Gateway {
    /// Where the contract is served.
    pub grpc_addr: SocketAddr,
    /// Where browsers connect.
    pub http_addr: SocketAddr,
    /// Where scrapers and probes connect.
    pub admin_addr: SocketAddr,
    /// The use cases that its doors lead to.
    pub app: Arc<App>,
    /// The store under them: replicas of one process share it.
    pub store: Arc<dyn Store>,
    health: Health,
    following_state: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    in_flight: TaskTracker,
    stop_grpc: CancellationToken,
    stop_http: CancellationToken,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    http: JoinHandle<()>,
    admin: JoinHandle<()>,
    places: [Arc<Places>; 3],
    workers: Workers,
    drain: DrainConfig,
}

impl Gateway {
    /// Builds the gateway and serves.
    ///
    /// # Errors
    /// When the store, the vault, a credential or a listener fails: the error says which and what
    /// to do.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let url = config.store.clone();
        Self::start_with(open_store(&url), config, clock, Router::new()).await
    }

    /// With more pages on the HTTP port than `/callback`.
    ///
    /// # Errors
    /// See [`Gateway::start`].
    pub async fn start_with_pages(config: Config, clock: Arc<dyn Clock>, pages: Router) -> anyhow::Result<Self> {
        let url = config.store.clone();
        Self::start_with(open_store(&url), config, clock, pages).await
    }

    /// On a store that is open: replicas of one process share it.
    ///
    /// # Errors
    /// See [`Gateway::start`].
    pub async fn start_on(store: Arc<dyn Store>, config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        Self::start_with(std::future::ready(Ok(store)), config, clock, Router::new()).await
    }

    async fn start_with(
        store: impl Future<Output = anyhow::Result<Arc<dyn Store>>>,
        config: Config,
        clock: Arc<dyn Clock>,
        pages: Router,
    ) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics_handle();
        let stopping = CancellationToken::new();
        // Certificates that are not valid now are found before anything is written.
        let tls = config.grpc_tls.map(|tls| ServerTls::start(tls, Arc::clone(&clock), stopping.clone()));
        let tls = tls.transpose().context("grpc.tls")?;
        let store = store.await?;
        let evidence = EvidenceStore::open(&config.evidence_url).context("evidence.url")?;
        check_evidence_is_ours(&*store, &evidence).await?;
        let keyring = Arc::new(config.keyring);
        check_keyring(&keyring, &*store).await?;
        let webhooks = webhooks_of(&config.callers);
        let authenticator = Authenticator::start(config.auth, known(config.callers), Arc::clone(&clock), &stopping);
        let authenticator = Arc::new(authenticator.await.context("auth.jwt.jwks_file")?);
        // Rules of the vendor go by the vendor's time; certificates and JWTs do not.
        let observed: Arc<dyn Store> = Arc::new(ObservedStore::new(Arc::clone(&store)));
        let vault = CredentialVault::new(Arc::clone(&keyring), Arc::clone(&observed));
        let clock = Arc::new(VendorClock::new(clock));
        let sts = StsClient::new(config.sts, &config.tencent, Arc::clone(&clock)).context("the client of STS")?;
        let (fixed, sources) = by_source(config.credentials);
        let credentials = Credentials::new(vault, Arc::clone(&observed), Arc::clone(&clock) as _, sts, sources);
        seal_credentials(&credentials, &fixed, &*clock).await?;
        let unservable = unservable_flows(&credentials, &config.flows).await;
        anyhow::ensure!(unservable.is_empty(), "{}", unservable.join("\n"));
        let client = tencent::Client::new(&config.tencent, Arc::clone(&clock)).context("the client of the vendor")?;
        let parts = app::Parts {
            tencent: Products::new(client, config.field_encryption),
            clock,
            store: observed,
            keyring,
            credentials,
            terms: Terms { flows: config.flows, webhooks, id_card_limits: config.id_card_limits },
            evidence,
            webhook_sender: webhook::Sender::new(webhook::Timeouts::default()).context("the sender of webhooks")?,
            own_callback: config.own_callback,
            poll_schedule: config.poll_schedule,
            stopping: stopping.clone(),
        };
        let app = Arc::new(App::new(parts).await?);
        if let StoreUrl::Sqlite(database) = config.store {
            tokio::spawn(watch_disk(database, stopping.clone()));
        }

        let grpc_listener = bind("grpc.listen", config.grpc_listen).await?;
        let http_listener = bind("http.listen", config.http_listen).await?;
        let admin_listener = bind("admin.listen", config.admin_listen).await?;
        let grpc_addr = grpc_listener.local_addr()?;
        let (http_addr, admin_addr) = (http_listener.local_addr()?, admin_listener.local_addr()?);
        let [grpc_places, http_places] = within_open_files([config.grpc_places, config.http_places]);
        let places =
            [Places::new("grpc", grpc_places), Places::new("http", http_places), Places::new("admin", ADMIN_PLACES)];
        let [grpc_places, http_places, admin_places] = places.clone();
        let (stop_grpc, stop_http) = (CancellationToken::new(), CancellationToken::new());
        let in_flight = TaskTracker::new();
        let (router, health) = grpc::server(
            Arc::clone(&app),
            Arc::clone(&authenticator),
            config.open,
            config.grpc_limits,
            server_info(&app),
            in_flight.clone(),
        )
        .await?;
        let grpc = tokio::spawn(grpc::serve(router, grpc_listener, grpc_places, tls, stop_grpc.clone()));
        if let Some((file, watch)) = config.file {
            let app = Arc::clone(&app);
            let running = Running { file, watch, written: config.written, authenticator, app };
            tokio::spawn(running.follow(reload_signal()?, stopping));
        }
        let stopping = Arc::new(AtomicBool::new(false));
        tokio::spawn(keep_metrics_small(metrics.clone(), stop_http.clone()));
        tokio::spawn(warm(Arc::clone(&app), stop_http.clone()));
        let following_state = tokio::spawn(health.clone().follow(Arc::clone(&app)));
        let workers = Workers::start(&app, config.reconcile_concurrency).await?;
        let public = http::public_router(Arc::clone(&app)).merge(pages);
        let pace = Pace::per_second(CALLBACKS_PER_SECOND);
        let http = tokio::spawn(http::server::serve(http_listener, http_places, pace, public, stop_http.clone()));
        let state = AdminState { app: Arc::clone(&app), metrics, stopping: Arc::clone(&stopping) };
        let private = http::admin_router(state);
        let pace = Pace::per_second(ADMIN_REQUESTS_PER_SECOND);
        let admin = tokio::spawn(http::server::serve(admin_listener, admin_places, pace, private, stop_http.clone()));
        tracing::info!(%grpc_addr, %http_addr, %admin_addr, "serving");
        let drain = config.drain;
        Ok(Self {
            grpc_addr,
            http_addr,
            admin_addr,
            app,
            store,
            health,
            following_state,
            stopping,
            in_flight,
            stop_grpc,
            stop_http,
            grpc,
            http,
            admin,
            places,
            workers,
            drain,
        })
    }

    /// Waits until a listener has failed, which it should not.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.grpc => anyhow::anyhow!("the gRPC server has ended: {ended:?}"),
            ended = &mut self.http => anyhow::anyhow!("the HTTP server has ended: {ended:?}"),
            ended = &mut self.admin => anyhow::anyhow!("the admin server has ended: {ended:?}"),
        }
    }

    /// Stops in its own time: see [`Gateway::stop_sooner`].
    ///
    /// # Errors
    /// As [`Gateway::stop_sooner`].
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop_sooner(std::future::pending()).await
    }

    /// Says NOT_SERVING and serves on for the delay of [`DrainConfig`]; then lets calls and
    /// detached work finish, and stops. Calls that do not end, because their client sends no end or
    /// reads no answer, are cut off after three fifths of its timeout, or as soon as `hurry` ends:
    /// nothing was promised to them. After four fifths jobs are given back.
    ///
    /// # Errors
    /// When work that had begun, and may have been promised, is not done within the timeout.
    pub async fn stop_sooner(self, hurry: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { app, health, stopping, in_flight, stop_grpc, stop_http, grpc, http, admin, places, .. } = self;
        let DrainConfig { delay, timeout } = self.drain;
        stopping.store(true, Ordering::SeqCst);
        // Else it could say SERVING once more.
        self.following_state.abort();
        health.stop().await;
        tokio::pin!(hurry);
        let mut is_hurried = false;
        if !delay.is_zero() {
            tracing::info!(delay_s = delay.as_secs(), "stopping: not ready, still serving");
            is_hurried = tokio::time::timeout(delay, &mut hurry).await.is_ok();
        }
        tracing::info!("stopping: no new calls, finishing those in flight");
        let ends_at = tokio::time::Instant::now() + timeout;
        app.stopping().cancel();
        stop_grpc.cancel();
        stop_http.cancel();
        in_flight.close();
        let servers = async {
            let only_endless_left = async {
                in_flight.wait().await;
                tokio::time::sleep(STREAM_GRACE).await;
            };
            let mut grpc = grpc;
            tokio::select! {
                _ = &mut grpc => {}
                () = only_endless_left => places[0].cut_all(),
            }
            http.await.ok();
            admin.await.ok();
        };
        let in_time = tokio::select! {
            ended = tokio::time::timeout(timeout * 3 / 5, servers) => ended.is_ok(),
            () = async { if !is_hurried { hurry.await } } => false,
        };
        if !in_time {
            tracing::warn!(calls = in_flight.len(), "the stop waits no longer: open connections are cut off");
        }
        places.iter().for_each(|places| places.cut_all());
        let work = async {
            // Calls that were cut off end at once.
            in_flight.wait().await;
            self.workers.stopped().await?;
            app.drain().await;
            anyhow::Ok(())
        };
        let give_up = async {
            tokio::time::sleep_until(ends_at - timeout / 5).await;
            tracing::warn!("the stop waits no longer for jobs: they are given back");
            app.giving_up().cancel();
            std::future::pending().await
        };
        let work = async {
            tokio::select! {
                done = tokio::time::timeout_at(ends_at, work) => done,
                never = give_up => never,
            }
        };
        work.await.with_context(|| {
            format!("work that had begun was not done after {} s and is cut off (drain.timeout_s)", timeout.as_secs())
        })??;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Both listeners together leave the store and the vendor the files that they need.
fn within_open_files(wanted: [PlaceLimits; 2]) -> [PlaceLimits; 2] {
    let open_files = process::open_files().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let free = open_files.saturating_sub(RESERVED_FILES + ADMIN_PLACES.total).max(2);
    let all: usize = wanted.iter().map(|limits| limits.total).sum();
    if all <= free {
        return wanted;
    }
    tracing::warn!(
        open_files,
        "the system allows fewer open files than max_connections of [grpc] and [http] need: fewer connections are held"
    );
    wanted.map(|limits| {
        let total = (limits.total * free / all).max(1);
        PlaceLimits { total, per_peer: limits.per_peer.min(total) }
    })
}

/// A credential's key pairs are in the vault, or come from a source.
type BySource = (Vec<(String, KeyPair)>, Vec<(String, SourceKind)>);

fn by_source(configured: Vec<(String, CredentialConfig)>) -> BySource {
    let (mut fixed, mut sources) = (Vec::new(), Vec::new());
    for (name, credential) in configured {
        match credential {
            CredentialConfig::Static(pair) => fixed.push((name, pair)),
            CredentialConfig::Source(kind) => sources.push((name, kind)),
        }
    }
    (fixed, sources)
}

/// Seals the configuration's key pairs where the vault has none of the name. What the vault has
/// goes before them.
async fn seal_credentials(
    credentials: &Credentials,
    configured: &[(String, KeyPair)],
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    for (name, pair) in configured {
        match credentials.vault.put_where_absent(name, pair, clock.now().as_millisecond()).await? {
            Put::Known => {}
            Put::Added => tracing::info!(credential = %name, "sealed into the vault"),
            Put::Preferred => tracing::warn!(
                credential = %name,
                "the vault's key pair was never accepted by the vendor: the configuration's goes before it"
            ),
            Put::Differs => tracing::warn!(
                credential = %name,
                "the configuration has another key pair than the vault, and the vault's is used: put the new pair in use with \
                 `faceid-gateway credential rotate`, or take it out of the configuration"
            ),
        }
    }
    Ok(())
}

/// A key that is missing, or is another one than the store was written with, is found now and not
/// at some row.
async fn check_keyring(keyring: &Keyring, store: &dyn Store) -> anyhow::Result<()> {
    let faults: Vec<String> = key_faults(keyring, store).await?.iter().map(ToString::to_string).collect();
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(remember_keys(keyring, store).await?)
}

/// Another store's evidence is not touched. A bucket that does not answer does not stop a start:
/// the sweep claims it before it deletes anything.
async fn check_evidence_is_ours(store: &dyn Store, evidence: &EvidenceStore) -> anyhow::Result<()> {
    let problem = match tokio::time::timeout(CLAIM_TIMEOUT, claim_evidence(store, evidence)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(ClaimError::Owner(OwnerError::Store(error)))) => error.to_string(),
        Ok(Err(error)) => return Err(anyhow::Error::new(error).context("evidence.url")),
        Err(_) => format!("no answer within {} s", CLAIM_TIMEOUT.as_secs()),
    };
    tracing::warn!(
        problem,
        "whether the evidence is this store's is not known yet: it is asked before the first sweep"
    );
    Ok(())
}

/// Beside the start, which does not wait for the vendor.
async fn warm(app: Arc<App>, stop: CancellationToken) {
    stop.run_until_cancelled(app.warm_vendor()).await;
}

/// Tells the size of the database and of its log, and what its disk has left.
async fn watch_disk(database: PathBuf, stop: CancellationToken) {
    let log = PathBuf::from(format!("{}-wal", database.display()));
    let mut tick = tokio::time::interval(DISK_INTERVAL);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        for (file, path) in [("database", &database), ("log", &log)] {
            let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
            metrics::gauge!("faceid_store_size_bytes", "file" => file).set(bytes as f64);
        }
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Ok(disk) = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))) {
            metrics::gauge!("faceid_store_disk_free_bytes").set((disk.f_bavail * disk.f_frsize) as f64);
        }
    }
}

async fn keep_metrics_small(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut tick = tokio::time::interval(METRICS_UPKEEP);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Brings the schema of the store up to date, as a start does.
///
/// # Errors
/// When the store cannot be opened, or a migration fails.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    open_store(&config.store).await.map(drop)
}

/// See [`app::bind_rows`]. No gateway may have the store meanwhile.
///
/// # Errors
/// When the store cannot be opened, or the keyring is not the one of the store.
pub async fn bind_rows(config: &Config) -> anyhow::Result<BoundRows> {
    let store = open_store(&config.store).await?;
    check_keyring(&config.keyring, &*store).await?;
    Ok(app::bind_rows(&config.keyring, &*store).await?)
}

fn server_info(app: &App) -> ServerInfo {
    let info = ServerInfo {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("FACEID_GATEWAY_COMMIT").unwrap_or_default(),
        asks_tencent_cloud: app.asks_tencent_cloud(),
        store_engine: app.store_engine(),
        started_at: Instant::now(),
    };
    metrics::gauge!(
        "faceid_build_info",
        "version" => info.version,
        "commit" => info.commit,
        "store" => info.store_engine,
        "vendor" => if info.asks_tencent_cloud { "tencent_cloud" } else { "other" }
    )
    .set(1.0);
    info
}

async fn open_store(url: &StoreUrl) -> anyhow::Result<Arc<dyn Store>> {
    let opened: Result<Arc<dyn Store>, _> = match url {
        StoreUrl::Sqlite(path) => SqliteStore::open(path).map(|store| Arc::new(store) as _),
        StoreUrl::Postgres(options) => PostgresStore::open(options).await.map(|store| Arc::new(store) as _),
    };
    opened.with_context(|| format!("store.url {url}"))
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting} {address} cannot be listened on"))
}

/// The signals that stop the process. A terminal that is gone, or a log rotation, is none.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the process cannot listen for signals.
    pub fn listen() -> std::io::Result<Self> {
        // Without a configuration file nothing else listens for it, and it would end the process.
        drop(signal(SignalKind::hangup())?);
        for kind in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            let mut ignored = signal(kind)?;
            tokio::spawn(async move {
                while ignored.recv().await.is_some() {
                    tracing::info!(signal = kind.as_raw_value(), "signal ignored");
                }
            });
        }
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for SIGTERM or Ctrl-C.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
