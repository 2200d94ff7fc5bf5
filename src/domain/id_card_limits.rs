//! How often one ID card may be used: the vendor's limits (document 108625).
//!
//! The vendor counts liveness comparisons with an ID card, over all that its customers do, and
//! answers the one too many with code 2018: the user has then stood before the camera for nothing.
//! We know only of our own: each attempt that the vendor has told of is a use, whoever's caller it
//! was; and each verification of the same caller that is pending and has no attempt, as if its user
//! were at it. One that ended without an attempt is none.

use jiff::{SignedDuration, Timestamp};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// The longest time that a use counts.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The limits. 0: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdCardLimits {
    pub per_minute: usize,
    /// Of any 24 hours: nobody says when the vendor's day begins.
    pub per_day: usize,
}

/// An ID card that has to rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an ID card may be used {limit} times within a {}; counted were its attempts, and this caller's pending verifications of it",
    self.window_name()
)]
pub struct LimitReached {
    pub limit: usize,
    pub window: SignedDuration,
    /// When one more use is free.
    pub retry_after: SignedDuration,
}

impl IdCardLimits {
    /// Whether there is anything to count.
    pub fn are_on(self) -> bool {
        self.per_minute > 0 || self.per_day > 0
    }

    /// Judges one more use, now, of a card that was used at these times.
    ///
    /// # Errors
    /// The limit that is reached; of two, the one that takes longer.
    pub fn check(self, mut uses: Vec<Timestamp>, now: Timestamp) -> Result<(), LimitReached> {
        uses.sort_unstable();
        let reached = |(limit, window): (usize, SignedDuration)| {
            let since = now - window;
            let within = &uses[uses.partition_point(|at| *at <= since)..];
            // One more is free when this one has grown old, and all before it.
            let last_to_go = within.get(within.len().checked_sub(limit)?).filter(|_| limit > 0)?;
            Some(LimitReached { limit, window, retry_after: last_to_go.duration_since(since) })
        };
        let limits = [(self.per_minute, MINUTE), (self.per_day, DAY)];
        limits.into_iter().filter_map(reached).max_by_key(|reached| reached.retry_after).map_or(Ok(()), Err)
    }
}

impl LimitReached {
    /// The same with a coarse wait: whole minutes for a minute, whole hours for a day.
    pub fn rounded_up(self) -> Self {
        let step_s = if self.window == MINUTE { 60 } else { 3600 };
        let steps = self.retry_after.as_secs() / step_s + 1;
        Self { retry_after: SignedDuration::from_secs(steps * step_s), ..self }
    }

    /// `minute` or `day`.
    pub fn window_name(&self) -> &'static str {
        if self.window == MINUTE { "minute" } else { "day" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn check(limits: IdCardLimits, seconds_ago: &[i64]) -> Result<(), (usize, i64)> {
        let at = |ago: &i64| Timestamp::from_second(NOW - ago).unwrap();
        limits
            .check(seconds_ago.iter().map(at).collect(), Timestamp::from_second(NOW).unwrap())
            .map_err(|reached| (reached.limit, reached.retry_after.as_secs()))
    }

    #[test]
    fn what_is_older_than_its_window_does_not_count() {
        let limits = IdCardLimits { per_minute: 2, per_day: 3 };
        assert_eq!(check(limits, &[]), Ok(()));
        assert_eq!(check(limits, &[60, 59]), Ok(()));
        assert_eq!(check(limits, &[59, 10]), Err((2, 1)));
        assert_eq!(check(limits, &[86_400, 3_600, 60]), Ok(()));
        assert_eq!(check(limits, &[86_399, 3_600, 60]), Err((3, 1)));
    }

    #[test]
    fn the_wait_ends_when_one_use_is_free() {
        let limits = IdCardLimits { per_minute: 2, per_day: 0 };
        // Four uses where two are allowed: the second newest has to grow old.
        assert_eq!(check(limits, &[50, 40, 30, 20]), Err((2, 30)));
    }

    #[test]
    fn the_longer_wait_is_told() {
        assert_eq!(check(IdCardLimits { per_minute: 1, per_day: 1 }, &[10]), Err((1, 86_390)));
        assert_eq!(check(IdCardLimits { per_minute: 0, per_day: 0 }, &[1; 100]), Ok(()));
        assert!(!IdCardLimits { per_minute: 0, per_day: 0 }.are_on());
    }

    #[test]
    fn the_text_says_which_limit() {
        let reached = LimitReached { limit: 15, window: MINUTE, retry_after: MINUTE };
        assert_eq!(
            reached.to_string(),
            "an ID card may be used 15 times within a minute; counted were its attempts, and this caller's pending verifications of it"
        );
    }

    #[test]
    fn a_coarse_wait_is_never_shorter() {
        let rounded = |window, secs| {
            let reached = LimitReached { limit: 1, window, retry_after: SignedDuration::from_secs(secs) };
            reached.rounded_up().retry_after.as_secs()
        };
        assert_eq!((rounded(MINUTE, 1), rounded(MINUTE, 59)), (60, 60));
        assert_eq!((rounded(DAY, 1), rounded(DAY, 3_600), rounded(DAY, 86_399)), (3_600, 7_200, 86_400));
    }
}
