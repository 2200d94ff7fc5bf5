//! Keeps calls away from an endpoint that is down, and finds out when it is back.

use parking_lot::{Mutex, MutexGuard};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Consecutive failures that open the circuit, whatever came before. An endpoint that fails every
/// other call, which is worth calling while there is no better one, reaches this once in a million
/// tries.
const CONSECUTIVE_FAILURES: u32 = 20;
/// Consecutive failures that open it when this share of the window's tries has failed: at a few
/// calls a minute twenty take too long.
const CONSECUTIVE_FAILURES_AT_SHARE: u32 = 5;
const FAILED_SHARE: f64 = 0.75;
/// Tries older than one to two of these are forgotten.
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// How long it stays open before a probe. Not longer after each probe that fails: one caller in
/// five seconds is no burden, and all callers wait for the end of it.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// A circuit breaker. Closed: calls pass. Open: none does. Half-open: one does, and decides.
pub(super) struct Breaker {
    endpoint: String,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    in_a_row: u32,
    /// Tries and failures of this half of the window, and of the one before.
    now: Counts,
    before: Counts,
    half_began: Instant,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    tries: u32,
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// Permission for one call, whose outcome must be reported. Dropped without a report, it says
/// nothing about the endpoint.
pub(super) struct Permit {
    breaker: Arc<Breaker>,
    is_probe: bool,
    is_told: bool,
}

impl Breaker {
    pub(super) fn new(endpoint: &str) -> Self {
        let breaker = Self {
            endpoint: endpoint.to_owned(),
            state: Mutex::new(State {
                phase: Phase::Closed,
                in_a_row: 0,
                now: Counts::default(),
                before: Counts::default(),
                half_began: Instant::now(),
            }),
        };
        breaker.show(Phase::Closed);
        breaker
    }

    /// A permit, or how long there will be none.
    pub(super) fn permit(self: &Arc<Self>) -> Result<Permit, Duration> {
        let mut state = self.state();
        let is_probe = match state.phase {
            Phase::Closed => false,
            _ => {
                let wait = state.wait();
                if !wait.is_zero() {
                    return Err(wait);
                }
                self.enter(&mut state, Phase::HalfOpen);
                true
            }
        };
        Ok(Permit { breaker: Arc::clone(self), is_probe, is_told: false })
    }

    /// How long no permit will be given; zero when one would.
    pub(super) fn wait(&self) -> Duration {
        self.state().wait()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        self.show(phase);
    }

    fn show(&self, phase: Phase) {
        let value = match phase {
            Phase::Closed => 0.0,
            Phase::HalfOpen => 1.0,
            Phase::Open { .. } => 2.0,
        };
        metrics::gauge!("faceid_vendor_breaker_state", "endpoint" => self.endpoint.clone()).set(value);
    }

    fn note(&self, is_probe: bool, failed: bool) {
        let mut state = self.state();
        state.count(failed);
        if is_probe && !failed {
            tracing::info!(endpoint = %self.endpoint, "the endpoint is back: circuit closed");
            (state.now, state.before) = Default::default();
            self.enter(&mut state, Phase::Closed);
        } else if is_probe {
            self.enter(&mut state, Phase::Open { until: Instant::now() + OPEN_FOR });
        } else if failed && state.phase == Phase::Closed && state.is_too_much() {
            tracing::warn!(endpoint = %self.endpoint, open_s = OPEN_FOR.as_secs(), "the endpoint keeps failing: circuit open");
            self.enter(&mut state, Phase::Open { until: Instant::now() + OPEN_FOR });
        }
    }
}

impl State {
    fn wait(&self) -> Duration {
        match self.phase {
            Phase::Closed => Duration::ZERO,
            Phase::Open { until } => until.saturating_duration_since(Instant::now()),
            // The probe in flight decides soon.
            Phase::HalfOpen => Duration::from_secs(1),
        }
    }

    fn count(&mut self, failed: bool) {
        let age = self.half_began.elapsed();
        if age >= HALF_WINDOW {
            self.before = if age < HALF_WINDOW * 2 { self.now } else { Counts::default() };
            self.now = Counts::default();
            self.half_began = Instant::now();
        }
        self.now.tries += 1;
        self.now.failures += u32::from(failed);
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
    }

    fn is_too_much(&self) -> bool {
        let tries = f64::from(self.now.tries + self.before.tries);
        let failures = f64::from(self.now.failures + self.before.failures);
        self.in_a_row >= CONSECUTIVE_FAILURES
            || self.in_a_row >= CONSECUTIVE_FAILURES_AT_SHARE && failures >= tries * FAILED_SHARE
    }
}

impl Permit {
    /// The endpoint answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.tell(false);
    }

    /// The endpoint did not answer, or something else did in its place.
    pub(super) fn failed(mut self) {
        self.tell(true);
    }

    fn tell(&mut self, failed: bool) {
        self.is_told = true;
        self.breaker.note(self.is_probe, failed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe && !self.is_told {
            // The probe learnt nothing: the next caller may probe.
            let mut state = self.breaker.state();
            self.breaker.enter(&mut state, Phase::Open { until: Instant::now() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Arc<Breaker> {
        Arc::new(Breaker::new("test"))
    }

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.permit().ok().unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_and_closes_by_one_probe() {
        let breaker = breaker();
        fail(&breaker, 4);
        breaker.permit().ok().unwrap().answered();
        fail(&breaker, 4);
        assert!(breaker.wait().is_zero());
        fail(&breaker, 1);
        assert_eq!(breaker.permit().err(), Some(OPEN_FOR));

        tokio::time::advance(OPEN_FOR).await;
        let probe = breaker.permit().ok().unwrap();
        assert!(breaker.permit().is_err(), "one at a time");
        probe.failed();
        assert_eq!(breaker.permit().err(), Some(OPEN_FOR));

        tokio::time::advance(OPEN_FOR).await;
        breaker.permit().ok().unwrap().answered();
        fail(&breaker, 4);
        assert!(breaker.wait().is_zero(), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_caller_goes_away_decides_nothing() {
        let breaker = breaker();
        fail(&breaker, CONSECUTIVE_FAILURES_AT_SHARE);
        tokio::time::advance(OPEN_FOR).await;
        drop(breaker.permit().ok().unwrap());
        breaker.permit().ok().unwrap().answered();
        assert!(breaker.wait().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_answers_half_of_the_calls_is_still_asked() {
        let breaker = breaker();
        for _ in 0..20 {
            fail(&breaker, 4);
            for _ in 0..4 {
                breaker.permit().ok().unwrap().answered();
            }
        }
        fail(&breaker, CONSECUTIVE_FAILURES - 1);
        assert!(breaker.wait().is_zero());
        // Old successes do not keep it closed.
        tokio::time::advance(HALF_WINDOW * 3).await;
        fail(&breaker, 1);
        assert!(!breaker.wait().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_after_many_good_calls_is_seen_at_once() {
        let breaker = breaker();
        for _ in 0..1000 {
            breaker.permit().ok().unwrap().answered();
        }
        fail(&breaker, CONSECUTIVE_FAILURES - 1);
        assert!(breaker.wait().is_zero());
        fail(&breaker, 1);
        assert_eq!(breaker.wait(), OPEN_FOR);
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_open_it_too() {
        let breaker = breaker();
        for _ in 0..CONSECUTIVE_FAILURES_AT_SHARE {
            tokio::time::advance(Duration::from_secs(60)).await;
            fail(&breaker, 1);
        }
        assert!(!breaker.wait().is_zero());
    }
}
