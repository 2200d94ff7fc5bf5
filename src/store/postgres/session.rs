//! Reads and transactions on the connections of a pool.

use super::{
    super::Error,
    failure::{is_collision, is_lost, of_commit, of_pool, of_write},
};
use deadpool_postgres::{Client, GenericClient, Pool, Transaction};
use std::time::Duration;
use tokio_postgres::{Error as PgError, Row, error::SqlState, types::ToSql};

pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How often a transaction is tried when others are in its way.
const TRIES: u32 = 4;
/// How long the second try waits; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Reads on a connection of a pool: each statement sees one moment. A macro, as the future of a
/// closure that borrows cannot be said to be `Send`.
macro_rules! read {
    ($pool:expr, $operation:expr, |$client:ident| $work:expr) => {{
        let mut is_again = false;
        loop {
            let $client = &$crate::store::postgres::session::client(&$pool, $operation).await?;
            match $work.await {
                // A connection that ended while it was idle is noticed only by its use.
                Err(error)
                    if !is_again
                        && ($crate::store::postgres::failure::is_lost(&error)
                            || $crate::store::postgres::session::forgot_stale_plans(&$pool, &error)) =>
                {
                    is_again = true;
                }
                read => break read.map_err($crate::store::postgres::failure::failed($operation)),
            }
        }
    }};
}

/// All or nothing. What is done must depend on nothing but the database: it is done again when
/// another transaction was in its way, or when the connection is lost before the commit.
macro_rules! write {
    ($store:expr, $operation:expr, |$transaction:ident| $work:expr) => {{
        let mut tries = $crate::store::postgres::session::Tries::new($operation, &$store.pool);
        loop {
            let mut client = $crate::store::postgres::session::client(&$store.pool, $operation).await?;
            let worked = async {
                let begun = client.transaction().await?;
                let $transaction = &begun;
                let done = $work.await?;
                Ok((begun, done))
            };
            if let Some(done) = tries.end(worked.await).await {
                if done.is_ok() {
                    $store.note_commit();
                }
                break done;
            }
        }
    }};
}

pub(super) use {read, write};

/// The tries of a transaction.
pub(super) struct Tries<'a> {
    pool: &'a Pool,
    operation: &'static str,
    left: u32,
    pause: Duration,
}

impl<'a> Tries<'a> {
    pub(super) fn new(operation: &'static str, pool: &'a Pool) -> Self {
        Self { pool, operation, left: TRIES - 1, pause: FIRST_PAUSE }
    }

    /// Commits. None: nothing was done, and it is to be tried again.
    pub(super) async fn end<T>(&mut self, worked: Result<(Transaction<'_>, T), PgError>) -> Option<Result<T, Error>> {
        let (error, is_commit) = match worked {
            Ok((transaction, done)) => match transaction.commit().await {
                Ok(()) => return Some(Ok(done)),
                Err(error) => (error, true),
            },
            Err(error) => (error, false),
        };
        let is_undone =
            is_collision(&error) || forgot_stale_plans(self.pool, &error) || (is_lost(&error) && !is_commit);
        if !is_undone || self.left == 0 {
            let told = if is_commit { of_commit(self.operation, &error) } else { of_write(self.operation, &error) };
            return Some(Err(told));
        }
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        None
    }
}

/// Whether a statement was prepared before its table got a column, as when a newer version of the
/// gateway migrates while this one serves. All are prepared anew then.
pub(super) fn forgot_stale_plans(pool: &Pool, error: &PgError) -> bool {
    let is_stale = error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED);
    if is_stale {
        pool.manager().statement_caches.clear();
    }
    is_stale
}

pub(super) async fn client(pool: &Pool, operation: &'static str) -> Result<Client, Error> {
    pool.get().await.map_err(|error| of_pool(operation, &error))
}

pub(super) async fn execute(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<u64, PgError> {
    let statement = client.prepare_cached(sql).await?;
    client.execute(&statement, params).await
}

pub(super) async fn all<T>(
    client: &impl GenericClient,
    sql: &str,
    params: Params<'_>,
    row: impl Fn(&Row) -> Result<T, PgError>,
) -> Result<Vec<T>, PgError> {
    let statement = client.prepare_cached(sql).await?;
    client.query(&statement, params).await?.iter().map(row).collect()
}

pub(super) async fn optional<T>(
    client: &impl GenericClient,
    sql: &str,
    params: Params<'_>,
    row: impl Fn(&Row) -> Result<T, PgError>,
) -> Result<Option<T>, PgError> {
    let statement = client.prepare_cached(sql).await?;
    client.query_opt(&statement, params).await?.as_ref().map(row).transpose()
}

/// The first column of the one row.
pub(super) async fn one<T>(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<T, PgError>
where
    T: for<'r> tokio_postgres::types::FromSql<'r>,
{
    let statement = client.prepare_cached(sql).await?;
    client.query_one(&statement, params).await?.try_get(0)
}
