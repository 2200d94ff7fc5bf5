//! State that all handlers of the simulator share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, header};
use parking_lot::{Mutex, MutexGuard};

use super::clock::Clock;
use super::encryption::PrivateKeys;
use super::keys::Keys;
use super::state;
use super::verify::KeyPair;

/// One simulator: its keys, its clock and its state.
pub(super) struct Shared {
    pub(super) key: KeyPair,
    pub(super) encryption_keys: PrivateKeys,
    pub(super) clock: Clock,
    pub(super) api_addr: SocketAddr,
    pub(super) reached_as: Option<IpAddr>,
    pub(super) keys: Mutex<Keys>,
    pub(super) state: Mutex<state::State>,
}

impl Shared {
    pub(super) fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, state::State> {
        self.state.lock()
    }

    /// Where the browser reaches this listener: as the configuration says, else as the client
    /// addressed it when that is loopback, else as it is bound.
    pub(super) fn base_url(&self, headers: &HeaderMap) -> String {
        if let Some(ip) = self.reached_as {
            return format!("http://{}", SocketAddr::new(ip, self.api_addr.port()));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if let Some(host) = host.filter(|host| is_loopback(host)) {
            return format!("http://{host}");
        }
        let mut reachable = self.api_addr;
        if reachable.ip().is_unspecified() {
            reachable.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{reachable}")
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    // A careless reader would take the part before an @ for the host.
    !host.contains('@')
        && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// Sets `Date` to the simulator's time: clients learn from it how far their clock is off.
pub(super) async fn stamp_date(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    let date = shared.clock.http_date().and_then(|date| HeaderValue::try_from(date).ok());
    if let Some(date) = date {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}
