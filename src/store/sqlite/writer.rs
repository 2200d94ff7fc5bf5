//! The one writer of a SQLite database: takes what is waiting, commits it together, then answers.
//!
//! A commit at full durability costs one flush to the disk, however much is in it: while one is under way the next batch
//! gathers. Each write of a batch stands in its own savepoint, so one that fails takes nothing with it.

use super::super::Error;
use rusqlite::{Connection, TransactionBehavior};
use std::thread;
use tokio::sync::{mpsc, oneshot};

/// How many writes wait before callers do.
const QUEUE: usize = 1024;
/// How many writes are committed together at most: keeps the first of them from waiting for too many others.
const MAX_BATCH: usize = 256;

/// Takes the batch's transaction, or why there is none, and gives what to call once the batch is committed or lost.
type Job = Box<dyn FnOnce(Result<&mut rusqlite::Transaction<'_>, &rusqlite::Error>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;

pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("sqlite-writer".into()).spawn(move || run(connection, jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
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
                Ok(batch) => in_savepoint(batch, write).map_err(|error| Error::new(operation, error)),
                Err(error) => Err(Error::new(operation, error.to_string())),
            };
            // A caller that went away is not an error: its write counts all the same.
            Box::new(move |committed| drop(answer.send(committed.and(written))))
        });
        let gone = || Error::new(operation, "the writer has stopped");
        self.queue.as_ref().ok_or_else(gone)?.send(job).await.map_err(|_| gone())?;
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

fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        commit_together(&mut connection, batch);
    }
}

fn commit_together(connection: &mut Connection, batch: Vec<Job>) {
    let mut transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            batch.into_iter().for_each(|job| job(Err(&error))(Ok(())));
            return;
        }
    };
    let replies: Vec<Reply> = batch.into_iter().map(|job| job(Ok(&mut transaction))).collect();
    let committed = transaction.commit().map_err(|error| error.to_string());
    for reply in replies {
        reply(committed.clone().map_err(|error| Error::new("commit", error)));
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
