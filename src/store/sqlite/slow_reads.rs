//! Reads that may take long: lists, sums, backlogs.
//!
//! They have connections and threads of their own, so that nothing that is quick waits for them;
//! each ends after a time; and no caller has more than one of them under way while others wait.

use super::{
    super::{Error, ErrorKind, turns::Turns},
    failure::failed,
};
use rusqlite::Connection;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How many run at once: half of what a small machine has, so that the rest stays with those that
/// are quick.
pub(super) const CONNECTIONS: usize = 2;
/// How long one waits for its turn, and then runs.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// SQLite asks after so many steps of a statement whether to go on: well under a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

pub(super) struct SlowReads {
    turns: Turns<Connection>,
    time_limit: Duration,
}

impl SlowReads {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        Self::limited(connections, TIME_LIMIT)
    }

    fn limited(connections: Vec<Connection>, time_limit: Duration) -> Self {
        Self { turns: Turns::new(connections, time_limit), time_limit }
    }

    /// Reads on a thread of its own, in the turn of `caller`. When the returned future is dropped
    /// the read is interrupted.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        caller: &str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.turns.next(operation, caller).await?;
        let abandoned = Abandoned::default();
        let (is_abandoned, deadline) = (Arc::clone(&abandoned.0), Instant::now() + self.time_limit);
        let work = move || {
            let must_end = move || is_abandoned.load(Ordering::Relaxed) || Instant::now() >= deadline;
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(must_end))?;
            let read = read(&connection);
            // Else it would interrupt the next read.
            connection.progress_handler(0, None::<fn() -> bool>)?;
            read
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
    use super::{super::super::turns::WAITING_PER_CALLER, *};

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    fn slow_reads(time_limit: Duration) -> Arc<SlowReads> {
        let connections = (0..CONNECTIONS).map(|_| Connection::open_in_memory().unwrap()).collect();
        Arc::new(SlowReads::limited(connections, time_limit))
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
        while reads.turns.waiting() < 9 {
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
        while reads.turns.waiting() < WAITING_PER_CALLER {
            tokio::task::yield_now().await;
        }
        assert_eq!(reads.read("list", "greedy", one).await.unwrap_err().kind, ErrorKind::Transient);
        waiting.drain(..).for_each(|waiter| waiter.abort());
    }
}
