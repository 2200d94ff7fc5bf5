//! How much a caller may call. Counted in this process: with several replicas each counts for
//! itself.

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use std::{num::NonZeroU32, time::Duration};

/// A caller's limits. None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Calls of any kind.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Calls of CreateVerification, which count as requests too.
    pub creates_per_minute: Option<NonZeroU32>,
}

/// A caller's remaining calls: a bucket of a minute's calls that fills again evenly.
pub struct CallerQuota {
    caller: String,
    config: QuotaConfig,
    requests: Option<DefaultDirectRateLimiter>,
    creates: Option<DefaultDirectRateLimiter>,
}

/// A call over the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    pub caller: String,
    /// The setting that limits: `requests_per_minute` or `creates_per_minute`.
    pub setting: &'static str,
    pub per_minute: u32,
    /// When one more call is free.
    pub retry_after: Duration,
}

impl CallerQuota {
    /// Full buckets for the caller of this name.
    pub fn new(caller: &str, config: QuotaConfig) -> Self {
        let limiter = |limit: Option<NonZeroU32>| limit.map(|limit| RateLimiter::direct(Quota::per_minute(limit)));
        Self {
            caller: caller.to_owned(),
            config,
            requests: limiter(config.requests_per_minute),
            creates: limiter(config.creates_per_minute),
        }
    }

    pub(super) fn config(&self) -> QuotaConfig {
        self.config
    }

    /// Takes one call out of the quota. `is_create`: it is a CreateVerification.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn admit(&self, is_create: bool) -> Result<(), OverQuota> {
        self.take(self.requests.as_ref(), "requests_per_minute")?;
        if is_create { self.take(self.creates.as_ref(), "creates_per_minute") } else { Ok(()) }
    }

    fn take(&self, limiter: Option<&DefaultDirectRateLimiter>, setting: &'static str) -> Result<(), OverQuota> {
        let Some(limiter) = limiter else { return Ok(()) };
        limiter.check().map_err(|until| OverQuota {
            caller: self.caller.clone(),
            setting,
            per_minute: until.quota().burst_size().get(),
            retry_after: until.wait_time_from(DefaultClock::default().now()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(requests: u32, creates: u32) -> CallerQuota {
        let config = QuotaConfig {
            requests_per_minute: NonZeroU32::new(requests),
            creates_per_minute: NonZeroU32::new(creates),
        };
        CallerQuota::new("orders", config)
    }

    #[test]
    fn creates_are_limited_apart_and_count_as_requests() {
        let quota = quota(3, 1);
        assert_eq!(quota.admit(true), Ok(()));
        let refused = quota.admit(true).unwrap_err();
        assert_eq!((refused.setting, refused.per_minute, refused.caller.as_str()), ("creates_per_minute", 1, "orders"));
        assert!((50..=60).contains(&refused.retry_after.as_secs()), "{refused:?}");
        assert_eq!(quota.admit(false), Ok(()));
        let refused = quota.admit(false).unwrap_err();
        assert_eq!(refused.setting, "requests_per_minute");
        assert!(refused.retry_after <= Duration::from_secs(20), "{refused:?}");
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let quota = quota(0, 0);
        assert!((0..10_000).all(|_| quota.admit(true).is_ok()));
    }
}
