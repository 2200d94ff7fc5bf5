//! How far the vendor's clock is from this machine's, learned from its answers.
//!
//! The vendor refuses signatures that are more than 5 minutes off (`AuthFailure.SignatureExpire`),
//! and tells its time in the HTTP header `Date` of the refusal. [`VendorClock`] is the machine's
//! clock put right by that: signatures are made with it, and so are the rules that depend on the
//! vendor's time (the life of a token, of a result).

use crate::domain::clock::Clock;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use tokio::time::Instant;

/// `Date` has whole seconds, and an answer takes time: less than this is no difference.
const NOISE_MS: i64 = 2000;
/// So many answers in a row must tell of the same difference before it is believed without a
/// refusal.
const AGREEING: usize = 8;
/// From here on an operator must hear of it: the vendor's limit is 300 s.
const WARN_FROM_MS: i64 = 30_000;
/// An answer that took longer says too little about the time at which its `Date` was written.
const LONGEST_ANSWER_MS: i64 = 5000;

/// The vendor's time, as far as it is known.
pub struct VendorClock {
    machine: Arc<dyn Clock>,
    offset_ms: AtomicI64,
    /// How far the last answers were from the offset, while they were further than noise.
    deviations_ms: Mutex<Vec<i64>>,
}

/// When a question left, by both clocks of the machine, and what the vendor's was taken to be.
#[derive(Clone, Copy)]
pub(super) struct Departure {
    at: Timestamp,
    instant: Instant,
    offset_ms: i64,
}

impl Departure {
    /// The time for a request's signature.
    pub(super) fn vendor_time(self) -> Timestamp {
        self.at + SignedDuration::from_millis(self.offset_ms)
    }
}

/// How far the vendor's clock is from the machine's, as one answer told it.
#[derive(Clone, Copy)]
pub(super) struct DateOffset {
    ms: i64,
}

impl VendorClock {
    /// Believes the machine until the vendor contradicts.
    pub fn new(machine: Arc<dyn Clock>) -> Self {
        metrics::gauge!("faceid_vendor_clock_offset_seconds").set(0.0);
        Self { machine, offset_ms: AtomicI64::new(0), deviations_ms: Mutex::default() }
    }

    /// Offset that is added to the machine's time: positive when the machine is late.
    pub fn offset(&self) -> SignedDuration {
        SignedDuration::from_millis(self.offset_ms.load(Ordering::SeqCst))
    }

    /// A question leaves, signed for the vendor's time as `told` has it, or as it is known.
    pub(super) fn departure(&self, told: Option<DateOffset>) -> Departure {
        let offset_ms = told.map_or_else(|| self.offset_ms.load(Ordering::SeqCst), |told| told.ms);
        Departure { at: self.machine.now(), instant: Instant::now(), offset_ms }
    }

    /// What the `Date` of a refused signature tells. None: the time is not what was wrong with it,
    /// or it cannot be told.
    pub(super) fn offset_from_date(&self, departure: Departure, date: Option<&HeaderValue>) -> Option<DateOffset> {
        let told_ms = self.told_ms(departure, date)?;
        ((told_ms - departure.offset_ms).abs() > NOISE_MS).then_some(DateOffset { ms: told_ms })
    }

    /// Takes an offset for everything from now on. Only when the vendor has accepted a signature
    /// for it: one answer that tells a wrong time, of a cache or of one machine among the vendor's,
    /// must not make the others fail.
    pub(super) fn believe(&self, told: DateOffset) {
        let before_ms = self.offset_ms.load(Ordering::SeqCst);
        if (told.ms - before_ms).abs() > NOISE_MS {
            self.set(if told.ms.abs() <= NOISE_MS { 0 } else { told.ms });
        }
    }

    /// Corrects the offset when answer after answer contradicts it. One alone may have been slow,
    /// or the machine's clock was just being set.
    pub(super) fn refine(&self, departure: Departure, date: Option<&HeaderValue>) {
        let Some(told_ms) = self.told_ms(departure, date) else { return };
        let offset_ms = self.offset_ms.load(Ordering::SeqCst);
        let deviation_ms = told_ms - offset_ms;
        let mut deviations_ms = self.deviations_ms.lock();
        let agrees = deviations_ms.first().is_none_or(|first| (first - deviation_ms).abs() <= NOISE_MS);
        if deviation_ms.abs() <= NOISE_MS || !agrees {
            deviations_ms.clear();
        }
        if deviation_ms.abs() <= NOISE_MS {
            return;
        }
        deviations_ms.push(deviation_ms);
        if deviations_ms.len() >= AGREEING {
            deviations_ms.sort_unstable();
            let corrected_ms = offset_ms + deviations_ms[AGREEING / 2];
            deviations_ms.clear();
            self.set(if corrected_ms.abs() <= NOISE_MS { 0 } else { corrected_ms });
        }
    }

    /// The offset by this answer alone.
    fn told_ms(&self, departure: Departure, date: Option<&HeaderValue>) -> Option<i64> {
        let date = DateTimeParser::new().parse_timestamp(date?.to_str().ok()?).ok()?;
        let took_ms = i64::try_from(departure.instant.elapsed().as_millis()).ok()?;
        let by_the_clock_ms = self.machine.now().as_millisecond() - departure.at.as_millisecond();
        // The machine's clock was set meanwhile: it says nothing.
        if took_ms > LONGEST_ANSWER_MS || (by_the_clock_ms - took_ms).abs() > NOISE_MS / 2 {
            return None;
        }
        // The header says the second that had begun, somewhere on the way.
        Some(date.as_millisecond() + 500 - (departure.at.as_millisecond() + took_ms / 2))
    }

    fn set(&self, offset_ms: i64) {
        let before_ms = self.offset_ms.swap(offset_ms, Ordering::SeqCst);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
        metrics::gauge!("faceid_vendor_clock_offset_seconds").set(offset_ms as f64 / 1000.0);
        let offset_s = offset_ms / 1000;
        if offset_ms.abs() >= WARN_FROM_MS {
            tracing::warn!(offset_s, "this machine's clock differs from the vendor's by this much: set it (NTP)");
        } else if before_ms.abs() >= WARN_FROM_MS {
            tracing::info!(offset_s, "this machine's clock agrees with the vendor's again");
        }
    }
}

impl Clock for VendorClock {
    fn now(&self) -> Timestamp {
        self.machine.now() + self.offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::{MovableClock, SystemClock};

    fn date(at: Timestamp) -> HeaderValue {
        let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
        HeaderValue::from_str(&text).unwrap()
    }

    fn vendor_at(seconds: i64) -> HeaderValue {
        date(SystemClock.now() + SignedDuration::from_secs(seconds))
    }

    fn clock() -> VendorClock {
        VendorClock::new(Arc::new(SystemClock))
    }

    fn is_about(clock: &VendorClock, seconds: i64) -> bool {
        (clock.offset().as_millis() - i128::from(seconds * 1000)).abs() < 1500
    }

    #[test]
    fn what_a_refusal_tells_is_believed_when_a_signature_for_it_was_accepted() {
        let clock = clock();
        let told = clock.offset_from_date(clock.departure(None), Some(&vendor_at(-600))).expect("it is off");
        assert_eq!(clock.offset(), SignedDuration::ZERO, "one answer alone may be wrong");
        let again = clock.departure(Some(told));
        let signed_for = again.vendor_time().duration_since(SystemClock.now()).as_secs();
        assert!((-602..=-598).contains(&signed_for), "{signed_for}");
        assert!(clock.offset_from_date(again, Some(&vendor_at(-600))).is_none(), "it is not the time");
        clock.believe(told);
        assert!(is_about(&clock, -600), "{}", clock.offset());
        let told = clock.now().duration_since(SystemClock.now()).as_secs();
        assert!((-602..=-598).contains(&told), "{told}");
        // The machine was put right.
        clock.believe(clock.offset_from_date(clock.departure(None), Some(&vendor_at(0))).expect("it was off"));
        assert_eq!(clock.offset(), SignedDuration::ZERO);
    }

    #[test]
    fn a_refusal_with_the_right_time_or_none_teaches_nothing() {
        let clock = clock();
        for date in [Some(vendor_at(1)), None, Some(HeaderValue::from_static("yesterday"))] {
            assert!(clock.offset_from_date(clock.departure(None), date.as_ref()).is_none(), "{date:?}");
        }
    }

    #[test]
    fn answers_correct_it_only_when_they_agree() {
        let clock = clock();
        for seconds in [60, 60, 60, 0, 60, 60, 90, 60, 60, 60, 60, 60, 60, 60] {
            clock.refine(clock.departure(None), Some(&vendor_at(seconds)));
            assert_eq!(clock.offset(), SignedDuration::ZERO);
        }
        clock.refine(clock.departure(None), Some(&vendor_at(60)));
        assert!(is_about(&clock, 60), "{}", clock.offset());
        for _ in 0..20 {
            clock.refine(clock.departure(None), Some(&vendor_at(61)));
        }
        assert!(is_about(&clock, 60), "a second is noise: {}", clock.offset());
    }

    #[test]
    fn a_clock_that_is_set_during_a_call_says_nothing() {
        let machine = Arc::new(MovableClock::default());
        let clock = VendorClock::new(Arc::clone(&machine) as _);
        let departure = clock.departure(None);
        machine.advance(SignedDuration::from_secs(7203));
        assert!(clock.offset_from_date(departure, Some(&vendor_at(0))).is_none());
    }
}
