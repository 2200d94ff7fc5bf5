//! Times of the contract.

use crate::domain::fault::Faults;
use jiff::Timestamp;

/// The last second that a timestamp of the contract can name: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// A time that a caller may give.
pub(super) fn optional_time(
    field: &str,
    time: Option<prost_types::Timestamp>,
    faults: &mut Faults,
) -> Option<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = time?;
    // The last hours of the year 9999 are beyond what we reckon with, and after everything that is.
    let is_last = (Timestamp::MAX.as_second()..=LAST_SECOND).contains(&seconds) && (0..1_000_000_000).contains(&nanos);
    let time = if is_last { Ok(Timestamp::MAX) } else { Timestamp::new(seconds, nanos) };
    faults.check(field, time.map_err(|_| "is not a time".to_owned()))
}

pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_reach_to_the_end_of_the_year_9999() {
        let read = |seconds, nanos| {
            let mut faults = Faults::default();
            optional_time("at", Some(prost_types::Timestamp { seconds, nanos }), &mut faults)
        };
        assert_eq!(read(0, 5), Timestamp::new(0, 5).ok());
        assert_eq!(read(LAST_SECOND, 999_999_999), Some(Timestamp::MAX));
        for (seconds, nanos) in [(LAST_SECOND + 1, 0), (LAST_SECOND, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert_eq!(read(seconds, nanos), None, "{seconds} {nanos}");
        }
    }
}
