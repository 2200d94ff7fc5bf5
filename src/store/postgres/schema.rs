//! The schema of a database, and the migrations that lead to it.

use super::{
    super::{Error, ErrorKind, Refusal, SchemaVersions},
    failure::{failed, of},
    identity,
};
use tokio_postgres::{Client, Error as PgError};

mod migrations {
    refinery::embed_migrations!("src/store/migrations/postgres");
}

/// Of the lock that migrations are made under: no other program has reason to take it.
const LOCK: i64 = 0x6661_6365_6964_6777;

/// Brings a database up to date. Of several replicas that start at once one does it, and the others
/// wait.
pub(super) async fn migrate(client: &mut Client) -> Result<(), Error> {
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(failed("migrate"))?;
    versions(client).await.map_err(failed("open"))?.check_known()?;
    migrations::migrations::runner().run_async(client).await.map_err(|error| match driver_error(&error) {
        Some(error) => of("migrate", error),
        None => Error::new("migrate", ErrorKind::Refused(Refusal::CannotOpen), error),
    })?;
    let ensured = async {
        identity::ensure(client).await?;
        client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await
    };
    ensured.await.map(drop).map_err(failed("migrate"))
}

pub(super) async fn versions(client: &Client) -> Result<SchemaVersions, PgError> {
    let known = migrations::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
    let was_migrated = client.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await?;
    let sql = "SELECT coalesce(max(version), 0)::bigint FROM refinery_schema_history";
    let found = if was_migrated.try_get(0)? { client.query_one(sql, &[]).await?.try_get(0)? } else { 0 };
    Ok(SchemaVersions { found, known: known.unwrap_or_default() })
}

/// Whether a store is on its way here.
pub(super) async fn is_being_moved_to(client: &Client) -> Result<bool, PgError> {
    client.query_one("SELECT to_regclass('moving') IS NOT NULL", &[]).await?.try_get(0)
}

fn driver_error(error: &refinery::Error) -> Option<&PgError> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}
