//! How many calls a second an account makes of one action.
//!
//! The vendor counts calls per account and action, so many a second as [`ActionQuotas`] says, and
//! refuses what is beyond (`RequestLimitExceeded`). A bucket holds that many tokens; each comes
//! back a second after it was taken, so in no second more calls leave than are allowed. If the
//! bucket is empty, calls queue, callers before background work; each has a share that the other
//! cannot take.
//!
//! When the vendor refuses all the same (another program uses the account, or the limit is lower
//! than configured), the bucket shrinks, and grows back while calls are answered. Replicas that
//! share a store share the limit evenly ([`Quotas::share_with`]); a share of less than a call a
//! second is one call in a longer time.

use super::{
    error::ErrorKind,
    options::{ActionQuotas, Urgency},
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout_at},
};

/// A second, and what calls may be pushed together by on their way.
const TOKEN_AWAY: Duration = Duration::from_millis(1050);
/// While both wait, of so many tokens one is for background work.
const ONE_FOR_BACKGROUND_IN: u32 = 5;
/// Share of the tokens that background work may hold; the rest is kept for callers.
const BACKGROUND_SHARE: f64 = 0.5;
/// What a refusal leaves of the limit, how often at most, and how little of what is configured may
/// be left.
const SHRINK: f64 = 0.7;
const SHRINK_INTERVAL: Duration = Duration::from_secs(1);
const LEAST: f64 = 0.05;
/// What comes back of what is configured, and how often, while calls are answered.
const GROW: f64 = 0.02;
const GROW_INTERVAL: Duration = Duration::from_secs(1);

/// The buckets of all accounts and actions.
pub(super) struct Quotas {
    per_second: Mutex<ActionQuotas>,
    buckets: Mutex<HashMap<(String, &'static str), Arc<Bucket>>>,
    replicas: Arc<AtomicU32>,
}

pub(super) struct Bucket {
    credential: String,
    action: &'static str,
    state: Mutex<State>,
}

struct State {
    /// How many replicas share the limit; 0: not known, and no token is given.
    replicas: Arc<AtomicU32>,
    configured: f64,
    /// The limit as learnt from refusals; at most `configured`.
    allowed: f64,
    changed_at: Instant,
    /// When each token that is away was taken, and whether for background work; oldest first.
    away: VecDeque<(Instant, bool)>,
    background_away: usize,
    callers: VecDeque<oneshot::Sender<()>>,
    background: VecDeque<oneshot::Sender<()>>,
    /// Callers served in a row while background work waited.
    callers_in_a_row: u32,
    /// Whether a task serves the waiters.
    is_served: bool,
}

impl Quotas {
    pub(super) fn new(per_second: ActionQuotas) -> Self {
        Self { per_second: Mutex::new(per_second), buckets: Mutex::default(), replicas: Arc::new(AtomicU32::new(1)) }
    }

    /// The limits from now on. What was learnt from refusals stays where it is below them.
    pub(super) fn set(&self, per_second: ActionQuotas) {
        // As in `bucket`, so that no bucket is made with the limit of before.
        let buckets = self.buckets.lock();
        *self.per_second.lock() = per_second;
        for bucket in buckets.values() {
            bucket.configure(per_second.per_second(bucket.action));
        }
    }

    /// From now on this replica has its part of each limit when it is split between so many. 0: it
    /// has none, as it is not known how many there are.
    pub(super) fn share_with(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    pub(super) fn bucket(&self, credential: &str, action: &'static str) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry((credential.to_owned(), action)).or_insert_with(|| {
            let per_second = self.per_second.lock().per_second(action);
            Arc::new(Bucket::new(credential, action, per_second, Arc::clone(&self.replicas)))
        });
        Arc::clone(bucket)
    }
}

impl Bucket {
    fn new(credential: &str, action: &'static str, per_second: u32, replicas: Arc<AtomicU32>) -> Self {
        let configured = f64::from(per_second);
        let bucket = Self {
            credential: credential.to_owned(),
            action,
            state: Mutex::new(State {
                replicas,
                configured,
                allowed: configured,
                changed_at: Instant::now(),
                away: VecDeque::new(),
                background_away: 0,
                callers: VecDeque::new(),
                background: VecDeque::new(),
                callers_in_a_row: 0,
                is_served: false,
            }),
        };
        bucket.show(configured);
        bucket
    }

    /// Takes a token; waits for one until `until`, and not at all where it would come later.
    pub(super) async fn take(self: &Arc<Self>, urgency: Urgency, until: Instant) -> Result<(), ErrorKind> {
        let asked = Instant::now();
        // Visitors stand with background work: both go after callers.
        let outcome = self.wait_in_line(!matches!(urgency, Urgency::Interactive { .. }), until).await;
        let waited = asked.elapsed();
        let priority = urgency.name();
        metrics::histogram!("faceid_vendor_quota_wait_seconds", "action" => self.action, "priority" => priority)
            .record(waited);
        if matches!(outcome, Err(ErrorKind::QuotaExhausted { .. })) {
            metrics::counter!("faceid_vendor_quota_exhausted_total", "action" => self.action, "priority" => priority)
                .increment(1);
        }
        outcome
    }

    async fn wait_in_line(self: &Arc<Self>, is_background: bool, until: Instant) -> Result<(), ErrorKind> {
        let token = {
            let mut state = self.state();
            let now = Instant::now();
            state.take_back(now);
            let at = state.expected_at(now, is_background);
            // There is a token, and no time left to use it: no limit was met.
            if until < now && at <= now {
                return Err(ErrorKind::Timeout { timeout_ms: 0 });
            }
            if at > until {
                return Err(self.exhausted(&state, at.saturating_duration_since(now)));
            }
            let (given, token) = oneshot::channel();
            let line = if is_background { &mut state.background } else { &mut state.callers };
            line.push_back(given);
            state.give(now);
            if state.somebody_waits() && !state.is_served {
                state.is_served = true;
                tokio::spawn(Arc::clone(self).serve());
            }
            token
        };
        match timeout_at(until, token).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.exhausted(&self.state(), TOKEN_AWAY)),
        }
    }

    /// Gives tokens to waiters until there are none left.
    async fn serve(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let now = Instant::now();
                state.take_back(now);
                state.give(now);
                if !state.somebody_waits() {
                    state.is_served = false;
                    return;
                }
                // Remaining waiters wait for a token that is in use.
                let back_at = state.away.front().map_or(now, |(taken, _)| *taken) + state.token_away();
                // How many replicas there are may change meanwhile.
                back_at.min(now + TOKEN_AWAY)
            };
            sleep_until(next).await;
        }
    }

    /// The vendor found that there were too many calls.
    pub(super) fn refused(&self) {
        let mut state = self.state();
        if state.allowed >= state.configured || state.changed_at.elapsed() >= SHRINK_INTERVAL {
            let least = (state.configured * LEAST).max(1.0);
            self.change(&mut state, |allowed| (allowed * SHRINK).max(least));
        }
    }

    /// The vendor took the call.
    pub(super) fn accepted(&self) {
        let mut state = self.state();
        let configured = state.configured;
        if state.allowed < configured && state.changed_at.elapsed() >= GROW_INTERVAL {
            self.change(&mut state, |allowed| (allowed + configured * GROW).min(configured));
        }
    }

    fn configure(&self, per_second: u32) {
        let mut state = self.state();
        let was_shrunk = state.allowed < state.configured;
        state.configured = f64::from(per_second);
        let configured = state.configured;
        self.change(&mut state, |allowed| if was_shrunk { allowed.min(configured) } else { configured });
    }

    fn change(&self, state: &mut State, to: impl FnOnce(f64) -> f64) {
        state.allowed = to(state.allowed);
        state.changed_at = Instant::now();
        self.show(state.allowed);
    }

    fn show(&self, allowed: f64) {
        metrics::gauge!("faceid_vendor_quota_per_second", "credential" => self.credential.clone(), "action" => self.action)
            .set(allowed);
    }

    fn exhausted(&self, state: &State, wait: Duration) -> ErrorKind {
        ErrorKind::QuotaExhausted { per_second: state.limit(), retry_after_ms: wait.as_millis() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// This replica's calls a second; 0 when it has no share.
    fn share(&self) -> f64 {
        match self.replicas.load(Ordering::Relaxed) {
            0 => 0.0,
            replicas => self.allowed / f64::from(replicas),
        }
    }

    /// How many tokens there are.
    fn limit(&self) -> usize {
        whole_tokens(self.share())
    }

    fn background_limit(&self) -> usize {
        whole_tokens(self.share() * BACKGROUND_SHARE)
    }

    /// How long a token is away: longer where not even one is left for each second.
    fn token_away(&self) -> Duration {
        let share = self.share();
        if share > 0.0 && share < 1.0 { TOKEN_AWAY.div_f64(share) } else { TOKEN_AWAY }
    }

    /// Takes back the tokens that have been away long enough.
    fn take_back(&mut self, now: Instant) {
        while let Some((taken, is_background)) = self.away.front().copied() {
            if now < taken + self.token_away() {
                return;
            }
            self.away.pop_front();
            self.background_away -= usize::from(is_background);
        }
    }

    fn has_token(&self, is_background: bool) -> bool {
        self.away.len() < self.limit() && (!is_background || self.background_away < self.background_limit())
    }

    fn somebody_waits(&self) -> bool {
        !self.callers.is_empty() || !self.background.is_empty()
    }

    /// Gives the tokens that there are to those whose turn it is.
    fn give(&mut self, now: Instant) {
        while let Some((waiting, is_background)) = self.next_in_line() {
            // A waiter that has gone leaves its token to the next.
            if waiting.send(()).is_ok() {
                self.away.push_back((now, is_background));
                self.background_away += usize::from(is_background);
            }
        }
    }

    /// Whose turn it is, if there is a token for it.
    fn next_in_line(&mut self) -> Option<(oneshot::Sender<()>, bool)> {
        let background_can = !self.background.is_empty() && self.has_token(true);
        let background_must = background_can && self.callers_in_a_row + 1 >= ONE_FOR_BACKGROUND_IN;
        if !self.callers.is_empty() && self.has_token(false) && !background_must {
            self.callers_in_a_row = if self.background.is_empty() { 0 } else { self.callers_in_a_row + 1 };
            return Some((self.callers.pop_front()?, false));
        }
        if background_can {
            self.callers_in_a_row = 0;
            return Some((self.background.pop_front()?, true));
        }
        None
    }

    /// When a call that queues now would get its token, if no waiter leaves.
    fn expected_at(&self, now: Instant, is_background: bool) -> Instant {
        let one_in = ONE_FOR_BACKGROUND_IN as usize;
        let (ahead, limit) = if is_background {
            let own = self.background.len();
            let limit = self.background_limit();
            let passed_over = if self.callers.is_empty() { 0 } else { own * (one_in - 1) };
            ((own + passed_over).min(own + self.callers.len()), limit)
        } else {
            let own = self.callers.len();
            (own + (own / (one_in - 1)).min(self.background.len()), self.limit())
        };
        let free = limit.saturating_sub(if is_background { self.background_away } else { self.away.len() });
        if limit == 0 {
            return now + TOKEN_AWAY;
        }
        let Some(behind) = ahead.checked_sub(free) else { return now };
        let rounds = u32::try_from(behind / limit).unwrap_or(u32::MAX);
        let token = self.away.iter().filter(|(_, background)| !is_background || *background).nth(behind % limit);
        let back_at = token.map_or(now, |(taken, _)| *taken) + self.token_away();
        back_at + self.token_away().saturating_mul(rounds)
    }
}

/// One at least, where there is any share.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to what is configured, a u32")]
fn whole_tokens(share: f64) -> usize {
    if share > 0.0 { share.max(1.0) as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Urgency = Urgency::Interactive { deadline: None };
    const LONG: Duration = Duration::from_secs(60);

    fn quotas(detect_auth: u32) -> Quotas {
        Quotas::new(ActionQuotas { detect_auth, get_detect_info_enhanced: 50, get_wechat_bill_details: 2 })
    }

    fn bucket(per_second: u32) -> Arc<Bucket> {
        quotas(per_second).bucket("main", "DetectAuth")
    }

    #[tokio::test(start_paused = true)]
    async fn each_action_has_its_own_rate() {
        let quotas = quotas(3);
        for (action, per_second) in [("DetectAuth", 3), ("GetDetectInfoEnhanced", 50), ("GetWeChatBillDetails", 2)] {
            let bucket = quotas.bucket("main", action);
            let mut left_at_once = 0;
            while take(&bucket, CALLER, Duration::ZERO).await.is_ok() {
                left_at_once += 1;
            }
            assert_eq!(left_at_once, per_second, "{action}");
        }
    }

    /// When so many replicas, all of which always have a call to make, made theirs within a minute.
    async fn calls_of(replicas: u32, limit: u32) -> Vec<Duration> {
        let began = Instant::now();
        let calls = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..replicas {
            let quotas = quotas(limit);
            quotas.share_with(replicas);
            let (bucket, calls) = (quotas.bucket("main", "DetectAuth"), Arc::clone(&calls));
            tokio::spawn(async move {
                while take(&bucket, CALLER, LONG).await.is_ok() {
                    calls.lock().push(began.elapsed());
                }
            });
        }
        tokio::time::sleep(LONG).await;
        let mut calls = calls.lock().clone();
        calls.sort_unstable();
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_together_stay_within_the_limit_in_every_second() {
        for (replicas, limit, of_a_minute) in [(1, 10, 560), (3, 10, 500), (4, 100, 5_600)] {
            let calls = calls_of(replicas, limit).await;
            assert!(calls.len() >= of_a_minute, "{replicas} leave too much: {} of {limit} a second", calls.len());
            for window in calls.windows(limit as usize + 1) {
                assert!(window[limit as usize] - window[0] > Duration::from_secs(1), "{replicas}, {limit}: {window:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_replicas_than_calls_a_second_stay_within_the_limit_on_average() {
        let calls = calls_of(7, 2).await;
        assert!((90..=2 * 60 + 7).contains(&calls.len()), "{}", calls.len());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_share_no_call_is_made_and_with_one_again() {
        let quotas = quotas(2);
        let bucket = quotas.bucket("main", "DetectAuth");
        quotas.share_with(0);
        let refused = take(&bucket, CALLER, Duration::ZERO).await.unwrap_err();
        assert!(matches!(refused, ErrorKind::QuotaExhausted { .. }), "{refused}");
        let waiting = tokio::spawn({
            let bucket = Arc::clone(&bucket);
            async move { take(&bucket, CALLER, LONG).await }
        });
        settle().await;
        quotas.share_with(2);
        waiting.await.unwrap().unwrap();
    }

    async fn take(bucket: &Arc<Bucket>, urgency: Urgency, patience: Duration) -> Result<(), ErrorKind> {
        bucket.take(urgency, Instant::now() + patience).await
    }

    /// Lets tasks run that can, without time going on.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_time_is_not_out_of_quota() {
        tokio::time::advance(Duration::from_secs(1)).await;
        let over = Instant::now() - Duration::from_millis(1);
        let refused = bucket(10).take(CALLER, over).await.err().unwrap();
        assert!(matches!(refused, ErrorKind::Timeout { .. }), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn in_no_second_more_calls_leave_than_are_allowed() {
        let bucket = bucket(10);
        let began = Instant::now();
        let mut left = Vec::new();
        for _ in 0..35 {
            take(&bucket, CALLER, LONG).await.ok().unwrap();
            left.push(began.elapsed());
        }
        for (at, later) in left.iter().zip(&left[10..]) {
            assert!(*later - *at >= Duration::from_secs(1), "{left:?}");
        }
        assert!(began.elapsed() < Duration::from_millis(3200), "and not fewer");
    }

    #[tokio::test(start_paused = true)]
    async fn who_could_not_wait_so_long_is_told_at_once_how_long_it_would_be() {
        let bucket = bucket(2);
        for _ in 0..2 {
            take(&bucket, CALLER, LONG).await.ok().unwrap();
        }
        let began = Instant::now();
        let refused = take(&bucket, CALLER, Duration::from_millis(900)).await.err().unwrap();
        assert!(matches!(refused, ErrorKind::QuotaExhausted { per_second: 2, retry_after_ms: 1050 }), "{refused}");
        assert!(began.elapsed().is_zero());
        // Four wait for two rounds; a fifth would need a third.
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                tokio::spawn(async move { take(&bucket, CALLER, LONG).await })
            })
            .collect();
        settle().await;
        let refused = take(&bucket, CALLER, Duration::from_secs(3)).await.err().unwrap();
        assert!(matches!(refused, ErrorKind::QuotaExhausted { retry_after_ms: 3150, .. }), "{refused}");
        for waiting in waiting {
            assert!(waiting.await.unwrap().is_ok());
        }
        assert_eq!(began.elapsed().as_millis() / 10, 210);
    }

    /// Keeps `count` of each urgency waiting for a while, and counts the served of each.
    async fn serve_both(bucket: &Arc<Bucket>, callers: usize, background: usize) -> (usize, usize) {
        let (end, served) = (Instant::now() + Duration::from_secs(20), Arc::new(Mutex::new((0, 0))));
        let mut tasks = Vec::new();
        for i in 0..callers + background {
            let (bucket, served) = (Arc::clone(bucket), Arc::clone(&served));
            tasks.push(tokio::spawn(async move {
                let urgency = if i < callers { CALLER } else { Urgency::Background };
                while Instant::now() < end {
                    // One token a second for 300 of them: minutes.
                    take(&bucket, urgency, LONG * 20).await.ok().unwrap();
                    if Instant::now() > end {
                        return;
                    }
                    let mut served = served.lock();
                    if i < callers { served.0 += 1 } else { served.1 += 1 }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let served = served.lock();
        *served
    }

    #[tokio::test(start_paused = true)]
    async fn callers_go_before_background_work_which_still_has_its_share() {
        for per_second in [1, 2, 10, 100] {
            let (callers, background) = serve_both(&bucket(per_second), 300, 30).await;
            let share = background as f64 / (callers + background) as f64;
            assert!((0.1..0.3).contains(&share), "{per_second}: {callers} and {background}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn background_work_alone_leaves_half_to_a_caller_who_comes() {
        let bucket = bucket(10);
        for _ in 0..5 {
            take(&bucket, Urgency::Background, LONG).await.ok().unwrap();
        }
        assert!(take(&bucket, Urgency::Background, Duration::from_millis(500)).await.is_err());
        for _ in 0..5 {
            assert!(take(&bucket, CALLER, Duration::ZERO).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_the_token_to_the_next() {
        let bucket = bucket(1);
        take(&bucket, CALLER, LONG).await.ok().unwrap();
        let gone = {
            let bucket = Arc::clone(&bucket);
            tokio::spawn(async move { take(&bucket, CALLER, LONG).await })
        };
        settle().await;
        gone.abort();
        let began = Instant::now();
        take(&bucket, CALLER, LONG).await.ok().unwrap();
        assert!(began.elapsed() <= TOKEN_AWAY + Duration::from_millis(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn shrinks_when_the_vendor_refuses_and_grows_back() {
        let bucket = bucket(100);
        for _ in 0..50 {
            bucket.refused();
        }
        assert_eq!(bucket.state().limit(), 70, "refusals that come together count once");
        for _ in 0..100 {
            tokio::time::advance(SHRINK_INTERVAL).await;
            bucket.refused();
        }
        assert_eq!(bucket.state().limit(), 5);
        for _ in 0..60 {
            tokio::time::advance(GROW_INTERVAL).await;
            bucket.accepted();
        }
        assert_eq!(bucket.state().limit(), 100);
    }
}
