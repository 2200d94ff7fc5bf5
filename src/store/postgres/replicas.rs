//! Table `replicas`: who lives, by the database's clock.

use super::session::{execute, one};
use deadpool_postgres::GenericClient;
use std::time::Duration;
use tokio_postgres::Error as PgError;

/// One that has been silent for so long will not come back under its name.
const FORGOTTEN_AFTER_S: f64 = 3600.0;

pub(super) async fn note(client: &impl GenericClient, replica: &str) -> Result<(), PgError> {
    let sql = "INSERT INTO replicas (id, beat_at) VALUES ($1, clock_timestamp()) \
               ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at";
    execute(client, sql, &[&replica]).await?;
    let sql = "DELETE FROM replicas WHERE beat_at < clock_timestamp() - make_interval(secs => $1)";
    execute(client, sql, &[&FORGOTTEN_AFTER_S]).await.map(drop)
}

pub(super) async fn count(client: &impl GenericClient, within: Duration) -> Result<i64, PgError> {
    let sql = "SELECT count(*) FROM replicas WHERE beat_at > clock_timestamp() - make_interval(secs => $1)";
    one(client, sql, &[&within.as_secs_f64()]).await
}

pub(super) async fn forget(client: &impl GenericClient, replica: &str) -> Result<(), PgError> {
    execute(client, "DELETE FROM replicas WHERE id = $1", &[&replica]).await.map(drop)
}
