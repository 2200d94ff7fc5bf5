//! How many calls of one action are answered in a second.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// The account's quota, off by default. It counts real time: a clock that is moved must neither
/// lift nor stretch it.
#[derive(Default)]
pub(super) struct Quota {
    per_second: Option<NonZeroU32>,
    windows: HashMap<&'static str, Window>,
}

/// The calls of one action since `began`, which was the first call that no earlier window held.
struct Window {
    began: Instant,
    calls: u32,
}

impl Quota {
    /// Sets the number of calls per action and second, `None` for any number, and begins to count
    /// afresh.
    pub(super) fn set(&mut self, per_second: Option<NonZeroU32>) {
        *self = Self { per_second, windows: HashMap::new() };
    }

    pub(super) fn per_second(&self) -> Option<NonZeroU32> {
        self.per_second
    }

    /// Whether a call of `action` may be answered at `now`. Calls that may not do not count.
    pub(super) fn admits(&mut self, action: &'static str, now: Instant) -> bool {
        let Some(per_second) = self.per_second else {
            return true;
        };
        let window = self.windows.entry(action).or_insert(Window { began: now, calls: 0 });
        if now.saturating_duration_since(window.began) >= WINDOW {
            *window = Window { began: now, calls: 0 };
        }
        if window.calls >= per_second.get() {
            return false;
        }
        window.calls += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_its_own_calls_in_each_second() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!((0..1000).all(|_| quota.admits("A", start)), "off by default");
        quota.set(NonZeroU32::new(2));
        let mut admits = |action, ms| quota.admits(action, at(ms));
        assert_eq!([admits("A", 0), admits("A", 500), admits("A", 999)], [true, true, false]);
        assert!(admits("B", 999));
        assert_eq!([admits("A", 1000), admits("A", 1001), admits("A", 1002)], [true, true, false]);
        quota.set(None);
        assert!(quota.admits("A", at(1003)));
    }
}
