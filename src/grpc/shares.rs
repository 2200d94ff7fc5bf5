//! Shares of concurrent calls, streams, waits and message memory: each caller is limited on its
//! own.

use super::{listener::ConnectionInfo, status::over_share};
use crate::shares::{Full, Share, Shares};
use metrics::Gauge;
use std::{net::IpAddr, sync::Arc};
use tonic::Status;

/// Calls without a caller (health, reflection) at a time: on one connection, and of those the ones
/// that go on; of one peer; of all.
const OPEN_CALLS_PER_CONNECTION: usize = 16;
const OPEN_STREAMS_PER_CONNECTION: usize = 4;
const OPEN_CALLS_PER_PEER: usize = 256;
const OPEN_CALLS: usize = 1024;
/// How many callers can use their whole part of something at once. Beyond that they share what
/// there is.
const FULL_PARTS: usize = 8;
/// A caller may hold this part of the memory for messages.
const PARTS_OF_MEMORY: usize = 2;

/// How much each caller may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls of any kind.
    pub calls_per_caller: usize,
    /// WatchVerifications and DownloadEvidence.
    pub streams_per_caller: usize,
    /// GetResults that wait.
    pub waits_per_caller: usize,
    /// Bytes of all messages that were received and not yet answered, or not yet sent. One caller
    /// may have half of it.
    pub message_bytes: usize,
}

/// The shares of a gateway.
pub(super) struct CallShares {
    calls: Arc<Shares<String>>,
    streams: Arc<Shares<String>>,
    waits: Arc<Shares<String>>,
    message_bytes: Arc<Shares<String>>,
    open_calls: Arc<Shares<IpAddr>>,
    /// Keyed by connection id.
    open_calls_of_one: Arc<Shares<u64>>,
    open_streams_of_one: Arc<Shares<u64>>,
}

impl CallShares {
    pub(super) fn new(limits: CallLimits) -> Arc<Self> {
        let counted = |per_caller: usize| Shares::new(per_caller, per_caller.saturating_mul(FULL_PARTS));
        Arc::new(Self {
            calls: counted(limits.calls_per_caller),
            streams: counted(limits.streams_per_caller),
            waits: counted(limits.waits_per_caller),
            message_bytes: Shares::new(limits.message_bytes / PARTS_OF_MEMORY, limits.message_bytes),
            open_calls: Shares::new(OPEN_CALLS_PER_PEER, OPEN_CALLS),
            open_calls_of_one: Shares::new(OPEN_CALLS_PER_CONNECTION, OPEN_CALLS),
            open_streams_of_one: Shares::new(OPEN_STREAMS_PER_CONNECTION, OPEN_CALLS),
        })
    }

    pub(super) fn call(&self, caller: &str) -> Result<Share<String>, Status> {
        take(&self.calls, caller, "limits.calls_per_caller")
    }

    pub(super) fn stream(&self, caller: &str) -> Result<GoingOn, Status> {
        let share = take(&self.streams, caller, "limits.streams_per_caller")?;
        Ok(GoingOn::count(share, metrics::gauge!("faceid_streams_open")))
    }

    pub(super) fn wait(&self, caller: &str) -> Result<GoingOn, Status> {
        let share = take(&self.waits, caller, "limits.waits_per_caller")?;
        Ok(GoingOn::count(share, metrics::gauge!("faceid_waits_open")))
    }

    /// On a connection that may have no caller.
    pub(super) fn open_call(&self, connection: &ConnectionInfo, is_stream: bool) -> Result<OpenCall, Status> {
        let id = connection.place.id();
        let of_one = |full| over_share("this connection", "calls without a caller", full);
        let of_peer = |full| over_share("this peer", "calls without a caller", full);
        Ok(OpenCall {
            _of_one: self.open_calls_of_one.take(id, 1).map_err(of_one)?,
            _stream: is_stream.then(|| self.open_streams_of_one.take(id, 1)).transpose().map_err(of_one)?,
            _of_peer: self.open_calls.take(connection.peer.ip, 1).map_err(of_peer)?,
        })
    }

    /// Memory for messages; grows while they are received.
    pub(super) fn memory(&self, caller: &str) -> Memory {
        let share = self.message_bytes.take(caller.to_owned(), 0).expect("nothing fits always");
        Memory { caller: caller.to_owned(), share }
    }
}

/// The shares that a call without a caller holds.
pub(super) struct OpenCall {
    _of_one: Share<u64>,
    _stream: Option<Share<u64>>,
    _of_peer: Share<IpAddr>,
}

/// A stream or a wait, counted while it goes on.
pub(super) struct GoingOn {
    _share: Share<String>,
    gauge: Gauge,
}

impl GoingOn {
    fn count(share: Share<String>, gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self { _share: share, gauge }
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

/// The memory that the messages of a call take.
pub(super) struct Memory {
    caller: String,
    share: Share<String>,
}

impl Memory {
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Status> {
        let refused = |full| over_share(&format!("caller {}", self.caller), "limits.message_mib", full);
        self.share.grow(bytes).map_err(refused)
    }
}

fn take(shares: &Arc<Shares<String>>, caller: &str, setting: &'static str) -> Result<Share<String>, Status> {
    let refused = |full: Full| over_share(&format!("caller {caller}"), setting, full);
    shares.take(caller.to_owned(), 1).map_err(refused)
}
