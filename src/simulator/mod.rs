//! The vendor, for development and tests: Tencent Cloud FaceID (人脸核身) as far as a gateway sees
//! it.
//!
//! [`start`] opens two listeners. One is the vendor: `POST /` is its API, with a signature check of
//! its own ([`verify`]); `/h5` is the page to which a user's browser is sent, where a developer
//! chooses how the verification ends; `/shop/…` is a merchant to come back to. The other is the
//! control port, by which scripts let users act, move the clock and make the vendor fail. The
//! vendor's listener is STS too, and the metadata service of the vendor's machines.
//!
//! Reading order: `api` (a call from signature to envelope), `detect` (the two actions of a
//! verification), `answer` (the full result) with `findings`, `shape`, `media` and `body`,
//! `encryption`, `bill` (the ledger of a day), `state` (what is remembered), `attempt` and `quota`,
//! `page`, `control`. Nothing here uses the gateway's code: what the two have in common they have
//! read in the vendor's documentation, each for itself.

mod answer;
mod api;
mod attempt;
mod bill;
mod body;
mod clock;
mod codes;
mod connection;
mod control;
mod detect;
mod encryption;
mod error;
mod faults;
mod findings;
mod identity;
mod keys;
mod media;
mod page;
mod query;
mod quota;
mod random;
mod rule;
mod shape;
mod shared;
mod shop;
mod state;
mod sts;
pub mod verify;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::map_response_with_state;
use axum::routing::{get, post};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use rule::{Comparison, IntentionMode, Rule};

use clock::Clock;
use connection::{ResetSwitch, ResettableListener};
use encryption::PrivateKeys;
use keys::Keys;
use random::random_text;
use shared::Shared;
use state::State;
use verify::KeyPair;

/// How a simulator is set up. It has no `Debug`: the key must not reach a log.
pub struct SimulatorConfig {
    /// Where the vendor's API, the H5 page and the demo shop listen.
    pub listen: SocketAddr,
    /// Where the control port listens. It asks for no authentication: keep it on loopback.
    pub control_listen: SocketAddr,
    /// The API key that is accepted from the start; the control port adds others.
    pub secret_id: String,
    /// The key's secret.
    pub secret_key: String,
    /// The business flows that exist.
    pub rules: Vec<Rule>,
    /// The address of this machine by which browsers reach the simulator, where that is not how its
    /// client does.
    pub reached_as: Option<IpAddr>,
}

impl SimulatorConfig {
    /// Two free ports on loopback, random credentials, and [`Rule::defaults`].
    pub fn loopback() -> Self {
        let free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: free_port,
            control_listen: free_port,
            secret_id: format!("AKID{}", random_text(32)),
            secret_key: random_text(32),
            rules: Rule::defaults(),
            reached_as: None,
        }
    }
}

/// Starts a simulator; it runs until it is shut down or dropped.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn start(config: SimulatorConfig) -> std::io::Result<Simulator> {
    let api_listener = TcpListener::bind(config.listen).await?;
    let control_listener = TcpListener::bind(config.control_listen).await?;
    let (api_addr, control_addr) = (api_listener.local_addr()?, control_listener.local_addr()?);
    // Made now rather than in the first full answer, which would be late for it.
    media::media();

    let rules: Vec<&str> = config.rules.iter().map(|rule| rule.rule_id.as_str()).collect();
    tracing::info!(%api_addr, %control_addr, ?rules, "simulator of the vendor is listening");
    if !control_addr.ip().is_loopback() {
        tracing::warn!(%control_addr, "the control port asks for no authentication and is not on loopback");
    }

    let key = KeyPair { secret_id: config.secret_id, secret_key: config.secret_key };
    let shared = Arc::new(Shared {
        encryption_keys: PrivateKeys::default(),
        key: key.clone(),
        clock: Clock::system(),
        api_addr,
        reached_as: config.reached_as,
        keys: Mutex::new(Keys::new(key)),
        state: Mutex::new(State::new(config.rules)),
    });
    let stop = CancellationToken::new();
    let api = axum::serve(
        ResettableListener { listener: api_listener, shared: Arc::clone(&shared) },
        api_router(&shared).into_make_service_with_connect_info::<ResetSwitch>(),
    )
    .with_graceful_shutdown(stop.clone().cancelled_owned());
    let control =
        axum::serve(control_listener, control::router(&shared)).with_graceful_shutdown(stop.clone().cancelled_owned());
    // `axum::serve` never fails: it waits out the errors of accepting.
    let servers = vec![tokio::spawn(async { drop(api.await) }), tokio::spawn(async { drop(control.await) })];
    Ok(Simulator { shared, api_addr, control_addr, stop: stop.drop_guard(), servers })
}

/// A running simulator.
#[must_use = "a simulator that is dropped stops"]
pub struct Simulator {
    shared: Arc<Shared>,
    api_addr: SocketAddr,
    control_addr: SocketAddr,
    stop: DropGuard,
    servers: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// The address of the vendor's API and of the H5 page.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// The address of the control port.
    pub fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// The SecretId that is accepted.
    pub fn secret_id(&self) -> &str {
        &self.shared.key.secret_id
    }

    /// The SecretKey that belongs to it.
    pub fn secret_key(&self) -> &str {
        &self.shared.key.secret_key
    }

    /// The public key for AES-256-CBC, as PEM. Its pair is random, like that of
    /// [`Self::sm2_public_key`].
    pub fn rsa_public_key(&self) -> String {
        self.shared.encryption_keys.rsa_public_key()
    }

    /// The public key for SM4-GCM, as PEM.
    pub fn sm2_public_key(&self) -> String {
        self.shared.encryption_keys.sm2_public_key()
    }

    /// Stops listening and waits a moment for calls in flight; longer ones are cut off.
    pub async fn shutdown(self) {
        self.stop.disarm().cancel();
        for mut server in self.servers {
            if tokio::time::timeout(GRACE, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}

const GRACE: Duration = Duration::from_secs(2);

fn api_router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/", post(api::call).get(api::call))
        .route("/h5", get(page::h5))
        .route("/h5/outcome", post(page::submit_outcome))
        .route("/product", get(shop::product))
        .route("/shop/{page}", get(shop::shop))
        .route("/latest/meta-data/cam/security-credentials/", get(sts::role_name))
        .route("/latest/meta-data/cam/security-credentials/{role}", get(sts::role_credentials))
        .layer(map_response_with_state(shared.clone(), shared::stamp_date))
        .with_state(shared.clone())
}

#[cfg(test)]
mod tests;
