//! Reads that may take long: lists, sums, backlogs.
//!
//! They have connections and threads of their own, so that nothing that is quick waits for them; each ends after a time; and no
//! caller has more than one of them under way while others wait.

use super::{
    super::{Error, ErrorKind},
    failure::failed,
};
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How many run at once: half of what a small machine has, so that the rest stays with those that are quick.
pub(super) const CONNECTIONS: usize = 2;
/// How many of one caller run at once.
const RUNNING_PER_CALLER: usize = 1;
/// How many of one caller wait.
const WAITING_PER_CALLER: usize = 32;
/// How long one waits for its turn, and then runs.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// SQLite asks after so many steps of a statement whether to go on: well under a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

pub(super) struct SlowReads {
    turns: Arc<Mutex<Turns>>,
    time_limit: Duration,
}

#[derive(Default)]
struct Turns {
    idle: Vec<Connection>,
    waiting: Vec<Waiter>,
    /// By caller; who has none running or waiting is not in it.
    callers: BTreeMap<String, CallerTurns>,
    /// Counts the turns that were given.
    given: u64,
}

#[derive(Default)]
struct CallerTurns {
    running: usize,
    waiting: usize,
    /// The number of its last turn.
    last: u64,
}

struct Waiter {
    caller: String,
    hand_over: oneshot::Sender<Turn>,
}

/// A connection for one read. Goes to the next when dropped.
struct Turn {
    connection: Option<Connection>,
    caller: String,
    turns: Arc<Mutex<Turns>>,
}

impl SlowReads {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let turns = Turns { idle: connections, ..Turns::default() };
        Self { turns: Arc::new(Mutex::new(turns)), time_limit: TIME_LIMIT }
    }

    /// Reads on a thread of its own, in the turn of `caller`. When the returned future is dropped the read is interrupted.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        caller: &str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turn(operation, caller).await?;
        let abandoned = Abandoned::default();
        let (is_abandoned, deadline) = (Arc::clone(&abandoned.0), Instant::now() + self.time_limit);
        let work = move || {
            let connection = turn.connection.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
            let must_end = move || is_abandoned.load(Ordering::Relaxed) || Instant::now() >= deadline;
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(must_end))?;
            read(connection)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Err(error)) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
                let problem = format!("it was stopped after {} s", self.time_limit.as_secs());
                Err(Error::new(operation, ErrorKind::TooSlow, problem))
            }
            Ok(read) => read.map_err(failed(operation)),
            Err(panicked) => Err(Error::new(operation, ErrorKind::Transient, panicked)),
        }
    }

    async fn turn(&self, operation: &'static str, caller: &str) -> Result<Turn, Error> {
        let busy = |problem: &str| Error::new(operation, ErrorKind::Transient, problem);
        let (hand_over, handed_over) = oneshot::channel();
        {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let of_caller = turns.callers.entry(caller.to_owned()).or_default();
            if of_caller.waiting >= WAITING_PER_CALLER {
                return Err(busy("too many reads of this caller wait"));
            }
            of_caller.waiting += 1;
            turns.waiting.push(Waiter { caller: caller.to_owned(), hand_over });
        }
        give_turns(&self.turns);
        match tokio::time::timeout(self.time_limit, handed_over).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(busy("the store is closed")),
            Err(_) => Err(busy("it had no turn: other reads take long")),
        }
    }
}

/// Gives the connections that are free to those that wait.
fn give_turns(shared: &Arc<Mutex<Turns>>) {
    loop {
        let (waiter, turn) = {
            let mut turns = shared.lock().unwrap_or_else(PoisonError::into_inner);
            turns.forget_gone();
            let Some(next) = turns.next() else { return };
            let Some(connection) = turns.idle.pop() else { return };
            let waiter = turns.waiting.remove(next);
            turns.given += 1;
            let given = turns.given;
            let of_caller = turns.callers.entry(waiter.caller.clone()).or_default();
            of_caller.waiting -= 1;
            of_caller.running += 1;
            of_caller.last = given;
            let turn = Turn { connection: Some(connection), caller: waiter.caller.clone(), turns: Arc::clone(shared) };
            (waiter, turn)
        };
        // A turn that nobody takes comes back when it is dropped, without the lock.
        drop(waiter.hand_over.send(turn));
    }
}

impl Turns {
    /// The place of the next one: of those whose caller may run one more, the caller whose last turn is longest ago, in the order of
    /// their coming.
    fn next(&self) -> Option<usize> {
        let eligible = self.waiting.iter().enumerate().filter_map(|(at, waiter)| {
            let of_caller = self.callers.get(&waiter.caller)?;
            (of_caller.running < RUNNING_PER_CALLER).then_some((of_caller.last, at))
        });
        eligible.min().map(|(_, at)| at)
    }

    /// Those that wait no longer.
    fn forget_gone(&mut self) {
        let callers = &mut self.callers;
        self.waiting.retain(|waiter| {
            let waits = !waiter.hand_over.is_closed();
            if !waits && let Some(of_caller) = callers.get_mut(&waiter.caller) {
                of_caller.waiting -= 1;
            }
            waits
        });
        callers.retain(|_, of_caller| of_caller.running + of_caller.waiting > 0);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(of_caller) = turns.callers.get_mut(&self.caller) {
                of_caller.running -= 1;
            }
            if let Some(connection) = self.connection.take() {
                // Else it would interrupt the next read.
                drop(connection.progress_handler(0, None::<fn() -> bool>));
                turns.idle.push(connection);
            }
        }
        give_turns(&self.turns);
    }
}

/// Set when nobody waits for the answer any more.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    fn slow_reads(time_limit: Duration) -> Arc<SlowReads> {
        let connections = (0..CONNECTIONS).map(|_| Connection::open_in_memory().unwrap()).collect();
        Arc::new(SlowReads { time_limit, ..SlowReads::new(connections) })
    }

    fn endless(connection: &Connection) -> rusqlite::Result<i64> {
        connection.query_row(ENDLESS, [], |row| row.get(0))
    }

    fn one(connection: &Connection) -> rusqlite::Result<i64> {
        connection.query_row("SELECT 1", [], |row| row.get(0))
    }

    #[tokio::test]
    async fn what_takes_too_long_is_stopped_and_the_connection_serves_on() {
        let reads = slow_reads(Duration::from_millis(50));
        for _ in 0..CONNECTIONS + 1 {
            assert_eq!(reads.read("list", "a", endless).await.unwrap_err().kind, ErrorKind::TooSlow);
        }
        assert_eq!(reads.read("list", "a", one).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_stopped() {
        let reads = slow_reads(Duration::from_secs(600));
        let patience = Duration::from_millis(50);
        for _ in 0..CONNECTIONS + 1 {
            assert!(tokio::time::timeout(patience, reads.read("list", "a", endless)).await.is_err());
        }
        assert_eq!(reads.read("list", "a", one).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn one_caller_does_not_take_all_turns() {
        let reads = slow_reads(Duration::from_secs(600));
        let greedy: Vec<_> = (0..10)
            .map(|_| {
                let reads = Arc::clone(&reads);
                tokio::spawn(async move { reads.read("list", "greedy", endless).await.map(drop) })
            })
            .collect();
        while reads.turns.lock().unwrap().waiting.len() < 9 {
            tokio::task::yield_now().await;
        }
        assert_eq!(reads.read("list", "modest", one).await.unwrap(), 1);
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let reads = slow_reads(Duration::from_secs(600));
        let mut waiting: Vec<_> = (0..=WAITING_PER_CALLER)
            .map(|_| {
                let reads = Arc::clone(&reads);
                tokio::spawn(async move { reads.read("list", "greedy", endless).await.map(drop) })
            })
            .collect();
        while reads.turns.lock().unwrap().waiting.len() < WAITING_PER_CALLER {
            tokio::task::yield_now().await;
        }
        assert_eq!(reads.read("list", "greedy", one).await.unwrap_err().kind, ErrorKind::Transient);
        waiting.drain(..).for_each(|waiter| waiter.abort());
    }
}
