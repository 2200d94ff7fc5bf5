//! By how much the database's clock is ahead of this machine's: leases are in the database's time,
//! so that replicas whose clocks differ agree when one has ended.

use super::{
    super::Error,
    session::{one, read},
};
use crate::domain::clock::{Clock, SystemClock};
use deadpool_postgres::Pool;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How long a measurement counts.
const MEASURED_FOR: Duration = Duration::from_secs(60);
/// Less is within what a measurement over the network is off by.
const NOTICEABLE_MS: i64 = 50;

pub(super) struct Skew(Mutex<(i64, Instant)>);

impl Skew {
    pub(super) async fn measured(pool: &Pool) -> Result<Self, Error> {
        Ok(Self(Mutex::new((measure(pool).await?, Instant::now()))))
    }

    /// As last measured, when it cannot be measured now.
    pub(super) async fn ms(&self, pool: &Pool) -> i64 {
        let (skew_ms, at) = *self.0.lock();
        if at.elapsed() < MEASURED_FOR {
            return skew_ms;
        }
        let measured = measure(pool).await.unwrap_or(skew_ms);
        *self.0.lock() = (measured, Instant::now());
        measured
    }
}

async fn measure(pool: &Pool) -> Result<i64, Error> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    // Prepared and connected before it counts.
    read!(pool, "clock", |client| one::<i64>(client, sql, &[]))?;
    let before = SystemClock.now().as_millisecond();
    let theirs = read!(pool, "clock", |client| one::<i64>(client, sql, &[]))?;
    let ours = i64::midpoint(before, SystemClock.now().as_millisecond());
    let skew_ms = theirs - ours;
    Ok(if skew_ms.abs() < NOTICEABLE_MS { 0 } else { skew_ms })
}
