//! Side effects of a write: audit events, tables `events` and `attempts`, and new `jobs`.

use super::{
    super::row::{Effects, EventRow, NewEvent, NewJob},
    audit, usage,
};
use rusqlite::{Connection, Row, params};

pub(super) fn apply(connection: &Connection, effects: &Effects) -> rusqlite::Result<()> {
    let Effects { audit: trail, events, jobs, attempts } = effects;
    trail.iter().try_for_each(|event| audit::insert(connection, event))?;
    events.iter().try_for_each(|event| insert_event(connection, event))?;
    jobs.iter().try_for_each(|job| insert_job(connection, job))?;
    attempts.iter().try_for_each(|attempt| usage::put_attempt(connection, attempt))
}

fn insert_event(connection: &Connection, event: &NewEvent) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO events (at_ms, caller, verification_id, flow, kind, state, last_attempt_code) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            event.at_ms,
            event.caller,
            event.verification_id,
            event.flow,
            event.kind,
            event.state,
            event.last_attempt_code
        ])?;
    Ok(())
}

pub(super) fn insert_job(connection: &Connection, job: &NewJob) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO jobs (kind, subject, due_at_ms, rank_ms) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (kind, subject) DO UPDATE SET due_at_ms = excluded.due_at_ms, lease_token = NULL, \
             lease_until_ms = NULL WHERE ?5",
        )?
        .execute(params![job.kind.name(), job.subject, job.due_at_ms, job.rank_ms, job.kind.starts_over_on_demand()])?;
    Ok(())
}

pub(super) fn events_after(
    connection: &Connection,
    caller: &str,
    flow: &str,
    seq: i64,
    limit: u32,
) -> rusqlite::Result<Vec<EventRow>> {
    if flow.is_empty() {
        return connection
            .prepare_cached(
                "SELECT * FROM events INDEXED BY events_by_caller WHERE caller = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![caller, seq, limit], event_row)?
            .collect();
    }
    connection
        .prepare_cached(
            "SELECT * FROM events INDEXED BY events_by_flow WHERE caller = ?1 AND flow = ?2 AND seq > ?3 \
             ORDER BY seq LIMIT ?4",
        )?
        .query_map(params![caller, flow, seq, limit], event_row)?
        .collect()
}

pub(super) fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        seq: row.get("seq")?,
        event: NewEvent {
            at_ms: row.get("at_ms")?,
            caller: row.get("caller")?,
            verification_id: row.get("verification_id")?,
            flow: row.get("flow")?,
            kind: row.get("kind")?,
            state: row.get("state")?,
            last_attempt_code: row.get("last_attempt_code")?,
        },
    })
}
