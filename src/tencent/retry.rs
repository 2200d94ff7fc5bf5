//! Whether a call that failed is made again, and when.
//!
//! Every action that the client knows may be repeated. DetectAuth makes a new BizToken each time:
//! one whose answer was lost is never shown to a user, ends by itself after 7,200 s, and costs
//! nothing (the vendor bills attempts, not tokens: document 103606). GetDetectInfoEnhanced and
//! GetWeChatBillDetails only read; the vendor allows any number of reads (document 41957). So it
//! does not matter whether the vendor had already worked when a connection broke.

use super::{catalogue::ErrorClass, error::ErrorKind};
use std::time::Duration;
use tower::retry::budget::{Budget, TpsBudget};

/// The first try and up to three more.
pub(super) const MAX_TRIES: u32 = 4;

const PAUSE: Duration = Duration::from_millis(100);
/// After a throttle: the vendor counts by the second.
const THROTTLED_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Retries that an endpoint is given at most: one for five first tries, and ten a second for those
/// that have few calls. What fails as a whole is not asked several times as much.
pub(super) fn budget() -> TpsBudget {
    TpsBudget::new(Duration::from_secs(10), 10, 0.2)
}

/// Whether a further try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    No,
    /// With a signature of the right time.
    SignAgain,
    /// After the vendor's counting has gone on.
    Throttled,
    /// Soon, and elsewhere if there is another endpoint.
    Soon,
}

pub(super) fn repeat(kind: &ErrorKind) -> Repeat {
    match kind.class() {
        ErrorClass::Clock => Repeat::SignAgain,
        ErrorClass::Throttled => Repeat::Throttled,
        ErrorClass::Transient => match kind {
            ErrorKind::HttpStatus(status) if *status < 500 && !matches!(status, 408 | 429) => Repeat::No,
            // Large again the next time. The documented shape is what the vendor does not keep to
            // here, not the connection.
            ErrorKind::TooLarge { .. } => Repeat::No,
            ErrorKind::Unintelligible { request_id, .. } if !request_id.is_empty() => Repeat::No,
            ErrorKind::CircuitOpen { .. } => Repeat::No,
            _ => Repeat::Soon,
        },
        ErrorClass::Quota
        | ErrorClass::Overload
        | ErrorClass::Credential
        | ErrorClass::Account
        | ErrorClass::Storage
        | ErrorClass::Flow
        | ErrorClass::Token
        | ErrorClass::Request
        | ErrorClass::Unknown => Repeat::No,
    }
}

/// How long to wait before the next try, after `tries`: anything up to a limit that doubles (full
/// jitter), so that calls which failed together do not come back together. `jitter` from 0 to 1.
pub(super) fn pause(repeat: Repeat, tries: u32, jitter: f64) -> Duration {
    let first = match repeat {
        Repeat::No | Repeat::SignAgain => return Duration::ZERO,
        Repeat::Throttled => THROTTLED_PAUSE,
        Repeat::Soon => PAUSE,
    };
    let limit = first.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    limit.mul_f64(jitter.clamp(0.0, 1.0))
}

/// Takes a retry from a budget, if there is one left.
pub(super) fn withdraw(budget: &TpsBudget) -> bool {
    budget.withdraw()
}

/// Counts a first try.
pub(super) fn deposit(budget: &TpsBudget) {
    budget.deposit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> ErrorKind {
        ErrorKind::Refused { code: code.into(), request_id: "r-1".into() }
    }

    fn unintelligible(request_id: &str) -> ErrorKind {
        ErrorKind::Unintelligible { problem: "cut off".into(), request_id: request_id.into() }
    }

    #[test]
    fn only_what_may_help_is_repeated() {
        for (kind, expected) in [
            (refused("InternalError"), Repeat::Soon),
            (refused("RequestLimitExceeded"), Repeat::Throttled),
            (refused("AuthFailure.SignatureExpire"), Repeat::SignAgain),
            (refused("AuthFailure.SignatureFailure"), Repeat::No),
            (refused("UnauthorizedOperation.Arrears"), Repeat::No),
            (refused("FailedOperation.StsUnAuthErrError"), Repeat::No),
            (refused("InvalidParameterValue.BizTokenExpired"), Repeat::No),
            (refused("InvalidParameterValue.RuleIdNotExist"), Repeat::No),
            (refused("MissingParameter"), Repeat::No),
            (refused("Brand.New"), Repeat::No),
            (ErrorKind::Timeout { timeout_ms: 1 }, Repeat::Soon),
            (ErrorKind::HttpStatus(502), Repeat::Soon),
            (ErrorKind::HttpStatus(429), Repeat::Soon),
            (ErrorKind::HttpStatus(403), Repeat::No),
            (unintelligible(""), Repeat::Soon),
            (unintelligible("r-1"), Repeat::No),
            (ErrorKind::TooLarge { limit_bytes: 1 }, Repeat::No),
            (ErrorKind::CircuitOpen { retry_after_ms: 1 }, Repeat::No),
            (ErrorKind::Overloaded { max_in_flight: 1 }, Repeat::No),
            (ErrorKind::QuotaExhausted { per_second: 1, retry_after_ms: 1 }, Repeat::No),
        ] {
            assert_eq!(repeat(&kind), expected, "{kind}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_are_jittered_in_full() {
        let longest = |repeat| (1..=6).map(|tries| pause(repeat, tries, 1.0).as_millis()).collect::<Vec<_>>();
        assert_eq!(longest(Repeat::Soon), [100, 200, 400, 800, 1600, 2000]);
        assert_eq!(longest(Repeat::Throttled), [500, 1000, 2000, 2000, 2000, 2000]);
        assert_eq!(pause(Repeat::Soon, 3, 0.0), Duration::ZERO);
        assert_eq!(pause(Repeat::Soon, 3, 0.25), Duration::from_millis(100));
        assert_eq!(pause(Repeat::SignAgain, 1, 1.0), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_do_not_multiply_the_load_of_a_vendor_that_is_down() {
        let budget = budget();
        let mut retries = 0;
        for _ in 0..100 {
            for _ in 0..10 {
                deposit(&budget);
                for _ in 1..MAX_TRIES {
                    retries += u32::from(withdraw(&budget));
                }
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((250..=400).contains(&retries), "{retries} retries of 1,000 calls in ten seconds");
    }
}
