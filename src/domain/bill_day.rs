//! Days of the vendor's bill: Beijing time (UTC+8, no summer time).

use jiff::{
    SignedDuration, Timestamp,
    civil::Date,
    tz::{self, Offset},
};

/// Beijing's difference from UTC.
pub const ZONE: Offset = tz::offset(8);

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A day of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BillDay(Date);

impl BillDay {
    /// Reads "YYYY-MM-DD".
    ///
    /// # Errors
    /// The fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let date: Date = text.parse().map_err(|_| "is not a date as YYYY-MM-DD".to_owned())?;
        if date.to_string() == text && (1971..=9000).contains(&date.year()) {
            Ok(Self(date))
        } else {
            Err("is not a date as YYYY-MM-DD".into())
        }
    }

    /// The day that is `days` after 1970-01-01.
    pub fn from_epoch_days(days: i64) -> Option<Self> {
        let begin = Timestamp::from_second(days.checked_mul(86_400)?).ok()?;
        Some(Self(Offset::UTC.to_datetime(begin).date()))
    }

    /// How many days after 1970-01-01 the day of an instant is, in milliseconds since the UNIX
    /// epoch.
    pub fn epoch_days_at(at_ms: i64) -> i64 {
        (at_ms + i64::from(ZONE.seconds()) * 1000).div_euclid(86_400_000)
    }

    /// How many days after 1970-01-01 it is.
    pub fn epoch_days(self) -> i64 {
        Self::epoch_days_at(self.begin().as_millisecond())
    }

    /// Its first instant.
    pub fn begin(self) -> Timestamp {
        ZONE.to_timestamp(self.0.at(0, 0, 0, 0)).expect("years up to 9000 are in range")
    }

    /// The first instant of the next day.
    pub fn end(self) -> Timestamp {
        self.begin() + DAY
    }
}

impl std::fmt::Display for BillDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_beijing() {
        let day = BillDay::parse("2026-03-01").unwrap();
        assert_eq!(day.begin().to_string(), "2026-02-28T16:00:00Z");
        assert_eq!(day.end().to_string(), "2026-03-01T16:00:00Z");
        let days = (day.begin().as_second() + 8 * 3600) / 86_400;
        assert_eq!(BillDay::from_epoch_days(days), Some(day));
        assert_eq!(day.epoch_days(), days);
        assert_eq!(BillDay::epoch_days_at(day.begin().as_millisecond() - 1), days - 1);
        assert_eq!(day.to_string(), "2026-03-01");
    }

    #[test]
    fn only_dates_are_read() {
        for text in ["", "2026-3-1", "20260301", "2026-02-30", "2026-03-01T00:00", "-002026-03-01", "9999-12-31"] {
            assert!(BillDay::parse(text).is_err(), "{text}");
        }
    }
}
