//! The one writer of a SQLite database: takes what is waiting, commits it together, then answers.
//!
//! A commit at full durability costs one flush to the disk, however much is in it: while one is
//! under way the next batch gathers. Each write of a batch stands in its own savepoint, so one that
//! fails takes nothing with it.

use super::{
    super::{Error, ErrorKind},
    failure::{failed, kind, of_commit},
    watched_file::WatchedFile,
};
use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// How long a statement waits for another process that is at the database, such as an open prompt.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many writes wait before callers do.
const QUEUE: usize = 1024;
/// How many writes are committed together at most: keeps the first of them from waiting for too
/// many others.
const MAX_BATCH: usize = 256;

/// Takes the batch's transaction, or why there is none, and gives what to call once the batch is
/// committed or lost, and how the write failed if it did.
type Job = Box<dyn FnOnce(Result<&mut rusqlite::Transaction<'_>, &Error>) -> (Reply, Option<ErrorKind>) + Send>;
type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;

enum Task {
    Write(Job),
    EmptyLog(Reply),
}

pub(super) struct Writer {
    queue: Option<mpsc::Sender<Task>>,
    thread: Option<thread::JoinHandle<()>>,
    /// None: the database is only read.
    file: Option<WatchedFile>,
    committed_at: CommittedAt,
}

/// When the last batch was committed; None when it was not.
type CommittedAt = Arc<Mutex<Option<Instant>>>;

impl Writer {
    pub(super) fn start(connection: Connection, file: Option<WatchedFile>) -> std::io::Result<Self> {
        let (queue, tasks) = mpsc::channel(QUEUE);
        let committed_at = CommittedAt::default();
        let database = Database { connection, file: file.clone(), committed_at: Arc::clone(&committed_at) };
        let thread = thread::Builder::new().name("sqlite-writer".into()).spawn(move || database.run(tasks))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), file, committed_at })
    }

    pub(super) fn has_committed_within(&self, time: Duration) -> bool {
        let committed_at = *self.committed_at.lock();
        committed_at.is_some_and(|at| at.elapsed() < time)
    }

    pub(super) fn check_file(&self, operation: &'static str) -> Result<(), Error> {
        self.file.as_ref().map_or(Ok(()), |file| file.check(operation))
    }

    /// Does a write and waits until it is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |batch| {
            let written = match batch {
                Ok(batch) => in_savepoint(batch, write).map_err(failed(operation)),
                Err(error) => Err(Error::new(operation, error.kind, error.cause.to_string())),
            };
            let failure = written.as_ref().err().map(|error| error.kind);
            // A caller that went away is not an error: its write counts all the same.
            (Box::new(move |committed| drop(answer.send(committed.and(written)))), failure)
        });
        self.hand_over(operation, Task::Write(job), answered).await
    }

    /// Moves all that is in the write-ahead log into the database, and empties the log. Fails at
    /// once while a reader holds it.
    pub(super) async fn empty_log(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.hand_over("empty_log", Task::EmptyLog(Box::new(move |emptied| drop(answer.send(emptied)))), answered).await
    }

    async fn hand_over<T>(
        &self,
        operation: &'static str,
        task: Task,
        answered: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let gone = || Error::new(operation, ErrorKind::Ambiguous, "the writer has stopped");
        self.queue.as_ref().ok_or_else(gone)?.send(task).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    /// Lets the thread finish what is queued.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// State of the writer's thread.
struct Database {
    connection: Connection,
    file: Option<WatchedFile>,
    committed_at: CommittedAt,
}

impl Database {
    fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        while let Some(first) = tasks.blocking_recv() {
            let mut batch = Vec::new();
            let mut log_replies = Vec::new();
            let mut next = Some(first);
            while let Some(task) = next {
                match task {
                    Task::Write(job) => batch.push(job),
                    Task::EmptyLog(reply) => log_replies.push(reply),
                }
                next = if batch.len() < MAX_BATCH { tasks.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                self.commit_together(batch);
            }
            if !log_replies.is_empty() {
                empty_log(&self.connection, log_replies);
            }
        }
    }

    /// A commit counts only when the database is still at its path then: else it went into a
    /// file that nobody will open again.
    fn commit_together(&mut self, batch: Vec<Job>) {
        let check_file = |operation| self.file.as_ref().map_or(Ok(()), |file| file.check(operation));
        let begun = check_file("begin").and_then(|()| {
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed("begin"))
        });
        let mut transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => {
                refused(&error, batch.len());
                note_commit(&self.committed_at, false);
                batch.into_iter().for_each(|job| job(Err(&error)).0(Ok(())));
                return;
            }
        };
        let mut replies: Vec<Reply> = Vec::with_capacity(batch.len());
        let mut lost = None;
        for job in batch {
            let (reply, failure) = match &lost {
                None => job(Ok(&mut transaction)),
                Some(error) => job(Err(error)),
            };
            replies.push(reply);
            // After some failures, as of a full disk, SQLite rolls back the whole transaction. What
            // is written after that would stand alone, and be committed at once.
            if lost.is_none() && transaction.is_autocommit() {
                let kind = failure.unwrap_or(ErrorKind::Ambiguous);
                lost = Some(Error::new("commit", kind, "the batch was rolled back when one of its writes failed"));
            }
        }
        let committed = match lost {
            None => transaction.commit().map_err(of_commit).and_then(|()| check_file("commit")),
            Some(lost) => Err(lost),
        };
        if let Err(error) = &committed {
            refused(error, replies.len());
        }
        note_commit(&self.committed_at, committed.is_ok());
        for reply in replies {
            reply(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::new(error.operation, error.kind, error.cause.to_string())),
            });
        }
    }
}

/// Before anybody is answered: a writer that has just heard of its commit finds it noted.
fn note_commit(committed_at: &CommittedAt, is_committed: bool) {
    *committed_at.lock() = is_committed.then(Instant::now);
}

fn refused(error: &Error, writes: usize) {
    metrics::counter!("faceid_store_refused_writes_total", "kind" => error.kind.name()).increment(writes as u64);
}

/// A reader that is in the middle of something holds the log. The writes that are queued must not
/// wait for it, so neither does this.
fn empty_log(connection: &Connection, replies: Vec<Reply>) {
    let without_waiting = || {
        connection.busy_timeout(Duration::ZERO)?;
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>("busy"));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        busy
    };
    let emptied = without_waiting().map_err(|error| (kind(&error), error.to_string())).and_then(|busy| match busy {
        0 => Ok(()),
        _ => Err((ErrorKind::Transient, "a reader holds the write-ahead log".into())),
    });
    for reply in replies {
        reply(emptied.clone().map_err(|(kind, problem)| Error::new("empty_log", kind, problem)));
    }
}

fn in_savepoint<T>(
    batch: &mut rusqlite::Transaction<'_>,
    write: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let savepoint = batch.savepoint()?;
    let written = write(&savepoint)?;
    savepoint.commit()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Refusal;
    use tempfile::TempDir;

    #[tokio::test]
    async fn a_full_disk_is_named_and_what_fits_is_still_written() {
        let folder = TempDir::new().unwrap();
        let connection = Connection::open(folder.path().join("small.db")).unwrap();
        let small = "PRAGMA journal_mode = WAL; PRAGMA max_page_count = 20; CREATE TABLE t (bytes BLOB)";
        connection.execute_batch(small).unwrap();
        let writer = Writer::start(connection, None).unwrap();
        let insert = async |bytes: i64| {
            let write = move |connection: &Connection| {
                connection.execute("INSERT INTO t VALUES (randomblob(?1))", [bytes]).map(drop)
            };
            writer.write("insert", write).await
        };
        insert(1000).await.unwrap();
        assert!(writer.has_committed_within(Duration::from_secs(60)));
        let error = insert(1_000_000).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused(Refusal::DiskFull), "{error}");
        insert(1000).await.unwrap();
    }

    #[tokio::test]
    async fn a_batch_that_sqlite_has_rolled_back_is_lost_as_a_whole() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("small.db");
        let connection = Connection::open(&path).unwrap();
        let small = "PRAGMA journal_mode = WAL; PRAGMA max_page_count = 20; CREATE TABLE t (bytes BLOB)";
        connection.execute_batch(small).unwrap();
        let writer = Writer::start(connection, None).unwrap();
        // The first holds the writer until the others are a batch.
        let (begun, has_begun) = oneshot::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let first = writer.write("wait", move |_| {
            let _ = begun.send(());
            let _ = goes_on.recv();
            Ok(())
        });
        let insert = |bytes: i64| {
            writer.write("insert", move |connection| {
                connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes]).map(drop)
            })
        };
        let others = async {
            has_begun.await.unwrap();
            tokio::join!(insert(1), insert(1_000_000), insert(2), async {
                tokio::task::yield_now().await;
                go_on.send(()).unwrap();
            })
        };
        let (first, (before, full, after, ())) = tokio::join!(first, others);
        first.unwrap();
        for lost in [before, full, after] {
            assert_eq!(lost.unwrap_err().kind, ErrorKind::Refused(Refusal::DiskFull));
        }
        let rows: i64 =
            Connection::open(&path).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "what is told to be lost is not there");
    }
}
