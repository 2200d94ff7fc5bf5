//! When to ask the vendor about a verification whose browser may never come back.

use super::verification::TOKEN_LIFETIME;
use jiff::{SignedDuration, Timestamp};

/// The first look after the token's end: the answer must have been asked for later than that.
const AFTER_THE_END: SignedDuration = SignedDuration::from_secs(2);
const SHORTEST_BACKOFF: SignedDuration = SignedDuration::from_secs(15);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_mins(15);

/// When a verification is looked at, counted from its creation; rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSchedule(Vec<SignedDuration>);

impl PollSchedule {
    /// Takes rising offsets within the token's life.
    ///
    /// # Errors
    /// The fault.
    pub fn new(offsets: Vec<SignedDuration>) -> Result<Self, String> {
        let rising = offsets.windows(2).all(|pair| pair[0] < pair[1]);
        let within = offsets.iter().all(|offset| offset.is_positive() && *offset < TOKEN_LIFETIME);
        if rising && within { Ok(Self(offsets)) } else { Err("is not rising minutes from 1 to 119".into()) }
    }

    /// When to look next, seen from `now`: at the next offset, and last of all right after the
    /// token's end.
    pub fn next(&self, created_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Timestamp {
        let mut offsets = self.0.iter().map(|offset| created_at + *offset);
        offsets.find(|at| *at > now && *at < expires_at).unwrap_or(expires_at + AFTER_THE_END)
    }
}

/// How long to wait after a look that failed for the `failures`th time. `jitter` from 0 to 1
/// spreads those that failed together.
pub fn backoff(failures: u32, jitter: f64) -> SignedDuration {
    let doubled = SHORTEST_BACKOFF.saturating_mul(1 << failures.min(10)).min(LONGEST_BACKOFF);
    doubled / 2 + SignedDuration::try_from_secs_f64(doubled.as_secs_f64() / 2.0 * jitter).unwrap_or(doubled / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn schedule() -> PollSchedule {
        PollSchedule::new([2, 5, 15].map(SignedDuration::from_mins).to_vec()).unwrap()
    }

    #[test]
    fn looks_at_each_offset_and_right_after_the_end() {
        for (now, next) in [(0, 120), (119, 120), (120, 300), (301, 900), (900, 7202), (7200, 7202)] {
            assert_eq!(schedule().next(at(0), at(7200), at(now)), at(next), "{now}");
        }
        assert_eq!(schedule().next(at(0), at(600), at(301)), at(602), "a token that ends before the next offset");
        assert_eq!(PollSchedule::new(vec![]).unwrap().next(at(0), at(7200), at(0)), at(7202));
    }

    #[test]
    fn offsets_rise_within_the_tokens_life() {
        for minutes in [vec![5, 2], vec![0], vec![120], vec![3, 3]] {
            assert!(PollSchedule::new(minutes.iter().map(|m| SignedDuration::from_mins(*m)).collect()).is_err());
        }
    }

    #[test]
    fn backs_off_from_seconds_to_a_quarter_of_an_hour() {
        assert_eq!(backoff(0, 0.0), SignedDuration::from_millis(7_500));
        assert_eq!(backoff(0, 1.0), SignedDuration::from_secs(15));
        assert_eq!(backoff(3, 1.0), SignedDuration::from_secs(120));
        assert_eq!(backoff(u32::MAX, 1.0), SignedDuration::from_mins(15));
    }
}
