//! Table `webhook_cursors`: how far events were delivered.

use super::{
    super::row::{EventRow, JobRow},
    effects::event_row,
    jobs,
};
use rusqlite::{Connection, params};

pub(super) fn undelivered(
    connection: &Connection,
    verification_id: &str,
    limit: u32,
) -> rusqlite::Result<Vec<EventRow>> {
    connection
        .prepare_cached(
            "SELECT * FROM events WHERE verification_id = ?1 AND seq > coalesce( \
             (SELECT delivered_seq FROM webhook_cursors WHERE verification_id = ?1), 0) ORDER BY seq LIMIT ?2",
        )?
        .query_map(params![verification_id, limit], event_row)?
        .collect()
}

/// An event that comes while its job is under way finds the job there and adds none: so the job may
/// end only in the same transaction that sees that there is no later event.
pub(super) fn note_delivered(connection: &Connection, job: &JobRow, seq: i64, now_ms: i64) -> rusqlite::Result<()> {
    if !jobs::is_held(connection, job)? {
        return Ok(());
    }
    set_cursor(connection, &job.subject, seq, None)?;
    if undelivered(connection, &job.subject, 1)?.is_empty() {
        jobs::finish(connection, job)
    } else {
        jobs::reschedule(connection, job, now_ms, 0)
    }
}

pub(super) fn park(connection: &Connection, job: &JobRow, now_ms: i64) -> rusqlite::Result<()> {
    if !jobs::is_held(connection, job)? {
        return Ok(());
    }
    set_cursor(connection, &job.subject, 0, Some(now_ms))?;
    jobs::finish(connection, job)
}

fn set_cursor(
    connection: &Connection,
    verification_id: &str,
    seq: i64,
    parked_at_ms: Option<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO webhook_cursors (verification_id, delivered_seq, parked_at_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT (verification_id) DO UPDATE SET delivered_seq = max(delivered_seq, excluded.delivered_seq), \
             parked_at_ms = excluded.parked_at_ms",
        )?
        .execute(params![verification_id, seq, parked_at_ms])?;
    Ok(())
}

pub(super) fn count_parked(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM webhook_cursors WHERE parked_at_ms IS NOT NULL";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}
