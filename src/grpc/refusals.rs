//! Traces of callers that are refused: counted all, and logged as far as a flood leaves the log
//! readable. Says who and from where, never what was shown.

use super::observe::code_in;
use crate::auth::{Refused, identity::Peer};
use http::{HeaderMap, request::Parts};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// One line of a kind in this time; it says how many were left out.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

static LOGINS: Seldom = Seldom::new();
static RIGHTS: Seldom = Seldom::new();

/// A call that showed no caller that is known.
pub(super) fn note_login(refused: &Refused, call: &Parts, peer: Option<&Peer>) {
    metrics::counter!("faceid_logins_refused_total", "kind" => refused.kind()).increment(1);
    if let Some(left_out) = LOGINS.now() {
        let (kind, peer, method) = (refused.kind(), peer.map(|peer| peer.ip.to_string()), call.uri.path());
        let method = method.get(..128).unwrap_or(method);
        tracing::warn!(kind, peer, method, left_out, error = %refused, "login refused");
    }
}

/// A call that its caller has no right to, by the answer.
pub(super) fn note_missing_right(caller: &str, method: &str, peer: Option<&Peer>, answer: &HeaderMap) {
    if code_in(answer) != Some(Code::PermissionDenied) {
        return;
    }
    metrics::counter!("faceid_rights_missing_total", "caller" => caller.to_owned()).increment(1);
    if let Some(left_out) = RIGHTS.now() {
        let peer = peer.map(|peer| peer.ip.to_string());
        tracing::warn!(caller, peer, method, left_out, "call refused: its caller lacks a right or a flow");
    }
}

/// Lets one through in a while.
struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// How many were left out since the last one; None: this one is left out, too.
    fn now(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_and_a_number() {
        let seldom = Seldom::new();
        assert_eq!(seldom.now(), Some(0));
        assert!((0..9).all(|_| seldom.now().is_none()));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(seldom.now(), Some(9));
    }
}
