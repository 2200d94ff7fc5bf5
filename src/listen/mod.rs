//! Takes in connections, so many in all and so many of one peer, and cuts those that do not move.
//!
//! A new connection is never refused for the sake of one that does nothing: where all places are
//! taken, the oldest that is not in use makes room. So connections without a handshake, a preface
//! or a caller cost the others nothing.

mod io;

pub use io::GuardedIo;

use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// When no connection can be accepted (no file descriptors left), how long to wait before trying
/// again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a peer may take for a handshake or a preface; while places are scarce, only the shorter
/// time.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);
const OPENING_TIMEOUT_WHILE_SCARCE: Duration = Duration::from_secs(2);

/// How many connections a listener holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceLimits {
    pub total: usize,
    pub per_peer: usize,
}

/// The places of a listener.
pub struct Places {
    listener: &'static str,
    limits: PlaceLimits,
    taken: Mutex<Taken>,
    all: CancellationToken,
}

#[derive(Default)]
struct Taken {
    next_id: u64,
    /// In the order in which they came.
    by_id: BTreeMap<u64, Entry>,
    by_peer: HashMap<IpAddr, usize>,
}

struct Entry {
    peer: IpAddr,
    is_in_use: bool,
    cut: CancellationToken,
}

/// A connection's place; free again when dropped.
pub struct Place {
    handle: PlaceHandle,
    cut: CancellationToken,
}

/// Says whether the connection of a place is in use.
#[derive(Clone)]
pub struct PlaceHandle {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    /// `listener` names it in logs and metrics.
    pub fn new(listener: &'static str, limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self { listener, limits, taken: Mutex::default(), all: CancellationToken::new() })
    }

    /// The next connection that has found a place. An IPv4 client of an IPv6 listener is that IPv4
    /// client.
    pub async fn accept(self: &Arc<Self>, listener: &TcpListener) -> (GuardedIo<TcpStream>, IpAddr) {
        loop {
            match listener.accept().await {
                Ok((tcp, address)) => {
                    let peer = address.ip().to_canonical();
                    if let Some(place) = self.take(peer) {
                        return (GuardedIo::new(tcp, place), peer);
                    }
                    metrics::counter!("faceid_connections_refused_total", "listener" => self.listener).increment(1);
                    tracing::debug!(listener = self.listener, %peer, "connection refused: every place is in use");
                }
                Err(error) => {
                    tracing::warn!(listener = self.listener, error = %error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// How long a new connection of this peer may take until it is ready.
    pub fn opening_timeout(&self, peer: IpAddr) -> Duration {
        let taken = self.taken();
        let own = taken.by_peer.get(&peer).copied().unwrap_or_default();
        let is_scarce = taken.by_id.len() * 2 > self.limits.total || own * 2 > self.limits.per_peer;
        if is_scarce { OPENING_TIMEOUT_WHILE_SCARCE } else { OPENING_TIMEOUT }
    }

    /// Cuts every connection, and those that still come.
    pub fn cut_all(&self) {
        self.all.cancel();
    }

    /// A place for a new connection of a peer. None: all are taken, by connections that are in use.
    fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.by_peer.get(&peer).copied().unwrap_or_default();
        if own >= self.limits.per_peer {
            self.make_room(&mut taken, |entry| entry.peer == peer)?;
        } else if taken.by_id.len() >= self.limits.total {
            // The peer with the most has to give first.
            let largest = taken.by_peer.iter().max_by_key(|(_, count)| **count).map(|(peer, _)| *peer);
            self.make_room(&mut taken, |entry| Some(entry.peer) == largest)
                .or_else(|| self.make_room(&mut taken, |_| true))?;
        }
        let id = taken.next_id;
        taken.next_id += 1;
        let cut = self.all.child_token();
        taken.by_id.insert(id, Entry { peer, is_in_use: false, cut: cut.clone() });
        *taken.by_peer.entry(peer).or_default() += 1;
        Some(Place { handle: PlaceHandle { places: Arc::clone(self), id }, cut })
    }

    /// Cuts the oldest of these connections that is not in use.
    fn make_room(&self, taken: &mut Taken, of: impl Fn(&Entry) -> bool) -> Option<()> {
        let id = taken.by_id.iter().find(|(_, entry)| !entry.is_in_use && of(entry)).map(|(id, _)| *id)?;
        taken.remove(id)?.cut.cancel();
        metrics::counter!("faceid_connections_cut_total", "listener" => self.listener).increment(1);
        Some(())
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Taken {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.by_id.remove(&id)?;
        if let Some(count) = self.by_peer.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&entry.peer);
            }
        }
        Some(entry)
    }
}

impl Place {
    /// Says whether the connection is in use.
    pub fn handle(&self) -> PlaceHandle {
        self.handle.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handle.places.taken().remove(self.handle.id);
    }
}

impl PlaceHandle {
    /// Unlike any other's of the listener, before or after.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A connection in use is not cut to make room for another.
    pub fn set_in_use(&self, is_in_use: bool) {
        if let Some(entry) = self.places.taken().by_id.get_mut(&self.id) {
            entry.is_in_use = is_in_use;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn places(total: usize, per_peer: usize) -> Arc<Places> {
        Places::new("test", PlaceLimits { total, per_peer })
    }

    #[test]
    fn the_oldest_that_is_not_in_use_makes_room() {
        let places = places(10, 2);
        let [first, second] = [(); 2].map(|()| places.take(ip(1)).unwrap());
        first.handle().set_in_use(true);
        let third = places.take(ip(1)).unwrap();
        assert!(second.cut.is_cancelled() && !first.cut.is_cancelled());
        third.handle().set_in_use(true);
        assert!(places.take(ip(1)).is_none());
        assert!(places.take(ip(2)).is_some(), "another peer has its own share");
        drop((first, second, third));
        assert!(places.taken().by_id.is_empty() && places.taken().by_peer.is_empty());
    }

    #[test]
    fn the_peer_with_the_most_gives_first() {
        let places = places(3, 3);
        let lone = places.take(ip(1)).unwrap();
        let many = [(); 2].map(|()| places.take(ip(2)).unwrap());
        let newcomer = places.take(ip(3)).unwrap();
        assert!(!lone.cut.is_cancelled() && many[0].cut.is_cancelled() && !many[1].cut.is_cancelled());
        places.cut_all();
        assert!(lone.cut.is_cancelled() && newcomer.cut.is_cancelled());
    }

    #[test]
    fn there_is_less_time_while_places_are_scarce() {
        let places = places(100, 4);
        let _held = [(); 3].map(|()| places.take(ip(1)).unwrap());
        assert_eq!(places.opening_timeout(ip(1)), OPENING_TIMEOUT_WHILE_SCARCE);
        assert_eq!(places.opening_timeout(ip(2)), OPENING_TIMEOUT);
    }
}
