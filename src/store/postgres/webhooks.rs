//! Table `webhook_cursors`: how far events were delivered.

use super::{
    super::row::{EventRow, JobRow},
    effects::event_row,
    jobs,
    session::{all, execute, one},
};
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Error as PgError;

pub(super) async fn undelivered(
    client: &impl GenericClient,
    verification_id: &str,
    limit: u32,
) -> Result<Vec<EventRow>, PgError> {
    let sql = "SELECT * FROM events WHERE verification_id = $1 AND seq > coalesce( \
               (SELECT delivered_seq FROM webhook_cursors WHERE verification_id = $1), 0) ORDER BY seq LIMIT $2";
    all(client, sql, &[&verification_id, &i64::from(limit)], event_row).await
}

/// An event that comes while its job is under way finds the job there and adds none: so the job may
/// end only in the same transaction that sees that there is no later event. The job is locked first:
/// a write that has an event adds its job, and so waits for this one, or this one for it.
pub(super) async fn note_delivered(
    transaction: &Transaction<'_>,
    job: &JobRow,
    seq: i64,
    now_ms: i64,
) -> Result<(), PgError> {
    if !jobs::is_held(transaction, job).await? {
        return Ok(());
    }
    set_cursor(transaction, &job.subject, seq, None).await?;
    if undelivered(transaction, &job.subject, 1).await?.is_empty() {
        jobs::finish(transaction, job).await
    } else {
        jobs::reschedule(transaction, job, now_ms, 0).await
    }
}

pub(super) async fn park(transaction: &Transaction<'_>, job: &JobRow, now_ms: i64) -> Result<(), PgError> {
    if !jobs::is_held(transaction, job).await? {
        return Ok(());
    }
    set_cursor(transaction, &job.subject, 0, Some(now_ms)).await?;
    jobs::finish(transaction, job).await
}

async fn set_cursor(
    transaction: &Transaction<'_>,
    verification_id: &str,
    seq: i64,
    parked_at_ms: Option<i64>,
) -> Result<(), PgError> {
    let sql = "INSERT INTO webhook_cursors (verification_id, delivered_seq, parked_at_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (verification_id) DO UPDATE SET \
               delivered_seq = greatest(webhook_cursors.delivered_seq, excluded.delivered_seq), \
               parked_at_ms = excluded.parked_at_ms";
    execute(transaction, sql, &[&verification_id, &seq, &parked_at_ms]).await.map(drop)
}

pub(super) async fn count_parked(client: &impl GenericClient) -> Result<i64, PgError> {
    one(client, "SELECT count(*) FROM webhook_cursors WHERE parked_at_ms IS NOT NULL", &[]).await
}
