//! Follows the log of events, whoever writes it, and wakes those who wait for one.
//!
//! Looking at the log is what it rests on: nothing is lost with a notification. LISTEN/NOTIFY only
//! shortens the time until the next look.

use super::{
    super::{
        Error,
        signals::{EventKey, EventSignals},
    },
    PostgresOptions, effects,
    failure::of,
    session::read,
};
use deadpool_postgres::Pool;
use futures_util::future::poll_fn;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::AbortHandle};
use tokio_postgres::{AsyncMessage, Error as PgError};

/// Between two looks at the log when no notification comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const BATCH: u32 = 1000;
/// Before a lost connection is made again.
const PAUSE: Duration = Duration::from_secs(5);
/// By which time after LISTEN a notification of our own has come back.
const ECHO_PATIENCE: Duration = Duration::from_secs(5);

/// Stops when dropped.
pub(super) struct Follower {
    wakers: Arc<Wakers>,
    tasks: [AbortHandle; 2],
}

#[derive(Default)]
struct Wakers {
    /// There may be new events.
    look: Notify,
    /// This replica has stored some: the others are to look.
    tell: Notify,
}

impl Follower {
    /// Follows from this place on.
    pub(super) fn start(options: PostgresOptions, pool: Pool, events: Arc<EventSignals>, last: i64) -> Self {
        let wakers = Arc::<Wakers>::default();
        let looks = tokio::spawn(follow(Arc::clone(&wakers), pool, events, last));
        let listens = tokio::spawn(listen_always(Arc::clone(&wakers), options));
        Self { wakers, tasks: [looks.abort_handle(), listens.abort_handle()] }
    }

    /// Events were committed here.
    pub(super) fn tell_others(&self) {
        self.wakers.tell.notify_one();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn follow(wakers: Arc<Wakers>, pool: Pool, events: Arc<EventSignals>, mut last: i64) {
    loop {
        let _ = tokio::time::timeout(LOOK_INTERVAL, wakers.look.notified()).await;
        if let Err(error) = wake_for_new(&pool, &events, &mut last).await {
            // Readiness tells of it too.
            tracing::debug!(%error, "the log of events could not be looked at");
        }
    }
}

async fn wake_for_new(pool: &Pool, events: &EventSignals, last: &mut i64) -> Result<(), Error> {
    loop {
        let after = *last;
        let rows = read!(pool, "follow", |client| effects::all_events_after(client, after, BATCH))?;
        let Some(newest) = rows.last() else { return Ok(()) };
        *last = newest.seq;
        let is_all = rows.len() < BATCH as usize;
        let both = |row: super::super::row::EventRow| {
            [EventKey::Verification(row.event.verification_id), EventKey::Caller(row.event.caller)]
        };
        events.notify(&rows.into_iter().flat_map(both).collect::<Vec<_>>());
        if is_all {
            return Ok(());
        }
    }
}

async fn listen_always(wakers: Arc<Wakers>, options: PostgresOptions) {
    loop {
        if let Err(error) = listen(&wakers, &options).await {
            tracing::warn!(error = %of("listen", &error), "no notifications from PostgreSQL: waits and watches take longer");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens and tells until the connection ends.
async fn listen(wakers: &Wakers, options: &PostgresOptions) -> Result<(), PgError> {
    let (client, mut connection) = options.connect_alone().await?;
    let has_echo = AtomicBool::new(false);
    let hear = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => {
                    has_echo.store(true, Ordering::Relaxed);
                    wakers.look.notify_one();
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    };
    let tell = async {
        client.batch_execute("LISTEN faceid_events").await?;
        loop {
            client.batch_execute("NOTIFY faceid_events").await?;
            if !has_echo.load(Ordering::Relaxed) {
                tokio::time::sleep(ECHO_PATIENCE).await;
                if !has_echo.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "PostgreSQL's notifications do not arrive, as behind a pooler in transaction mode: waits and watches \
                         take up to a second longer"
                    );
                }
            }
            wakers.tell.notified().await;
        }
    };
    tokio::select! {
        ended = hear => ended,
        ended = tell => ended,
    }
}
