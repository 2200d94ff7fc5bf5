//! The simulator's clock: the system's time and an offset that the control port moves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The only source of time in the simulator. Moving it lets tokens and results expire without
/// waiting.
pub(super) struct Clock {
    base: Base,
    offset_ms: AtomicI64,
}

enum Base {
    System,
    #[cfg(test)]
    Fixed(i64),
}

/// The offset may not pass ten years either way, so that every instant stays a valid date.
pub(super) const MAX_OFFSET_S: i64 = 10 * 366 * 24 * 3600;

impl Clock {
    pub(super) fn system() -> Self {
        Self { base: Base::System, offset_ms: AtomicI64::new(0) }
    }

    #[cfg(test)]
    pub(super) fn fixed(now_ms: i64) -> Self {
        Self { base: Base::Fixed(now_ms), offset_ms: AtomicI64::new(0) }
    }

    /// Milliseconds since the UNIX epoch.
    pub(super) fn now_ms(&self) -> i64 {
        self.base_ms() + self.offset_ms.load(Ordering::SeqCst)
    }

    /// How far the clock is ahead of the system's, in milliseconds.
    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::SeqCst)
    }

    /// Moves the clock by `seconds`, backwards when negative; `false` when that would pass
    /// [`MAX_OFFSET_S`].
    pub(super) fn advance(&self, seconds: i64) -> bool {
        let moved = |offset_ms: i64| {
            let offset_ms = seconds.checked_mul(1000)?.checked_add(offset_ms)?;
            (offset_ms.abs() <= MAX_OFFSET_S * 1000).then_some(offset_ms)
        };
        self.offset_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved).is_ok()
    }

    pub(super) fn reset(&self) {
        self.offset_ms.store(0, Ordering::SeqCst);
    }

    /// The value of an HTTP `Date` header; `None` only for instants that no calendar holds.
    pub(super) fn http_date(&self) -> Option<String> {
        let now = Timestamp::from_millisecond(self.now_ms()).ok()?;
        DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()
    }

    #[expect(clippy::disallowed_methods, reason = "the simulator's one reading of the machine's clock")]
    fn base_ms(&self) -> i64 {
        match self.base {
            Base::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)),
            #[cfg(test)]
            Base::Fixed(now_ms) => now_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_by_the_offset_and_comes_back() {
        let clock = Clock::fixed(1_700_000_000_000);
        assert!(clock.advance(7200));
        assert_eq!(clock.now_ms(), 1_700_007_200_000);
        assert!(clock.advance(-200));
        assert_eq!(clock.offset_ms(), 7_000_000);
        clock.reset();
        assert_eq!(clock.now_ms(), 1_700_000_000_000);
    }

    #[test]
    fn refuses_to_leave_the_calendar() {
        let clock = Clock::fixed(0);
        assert!(!clock.advance(i64::MAX));
        assert!(!clock.advance(MAX_OFFSET_S + 1));
        assert_eq!(clock.offset_ms(), 0);
    }

    #[test]
    fn writes_the_date_as_http_wants_it() {
        let date = Clock::fixed(784_111_777_000).http_date();
        assert_eq!(date.as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
}
