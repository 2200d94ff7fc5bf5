//! Side effects of a write: audit events, tables `events` and `attempts`, and new `jobs`.

use super::{
    super::row::{Effects, EventRow, NewEvent, NewJob},
    audit,
    session::{all, execute, one},
    usage,
};
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::{Error as PgError, Row};

/// To be the last of a transaction: from the first event on, all others that have events wait for
/// its end.
pub(super) async fn apply(transaction: &Transaction<'_>, effects: &Effects) -> Result<(), PgError> {
    let Effects { audit: trail, events, jobs, attempts } = effects;
    for event in trail {
        audit::insert(transaction, event).await?;
    }
    for job in jobs {
        insert_job(transaction, job).await?;
    }
    for attempt in attempts {
        usage::put_attempt(transaction, attempt).await?;
    }
    for event in events {
        insert_event(transaction, event).await?;
    }
    Ok(())
}

async fn insert_event(transaction: &Transaction<'_>, event: &NewEvent) -> Result<(), PgError> {
    let sql = "WITH place AS (UPDATE event_places SET last = last + 1 RETURNING last) \
               INSERT INTO events (seq, at_ms, caller, verification_id, flow, kind, state, last_attempt_code) \
               SELECT last, $1, $2, $3, $4, $5, $6, $7 FROM place";
    let NewEvent { at_ms, caller, verification_id, flow, kind, state, last_attempt_code } = event;
    execute(transaction, sql, &[at_ms, caller, verification_id, flow, kind, state, last_attempt_code]).await.map(drop)
}

pub(super) async fn insert_job(client: &impl GenericClient, job: &NewJob) -> Result<(), PgError> {
    let sql = if job.kind.starts_over_on_demand() {
        "INSERT INTO jobs (kind, subject, due_at_ms, rank_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (kind, subject) DO UPDATE SET due_at_ms = excluded.due_at_ms, lease_token = NULL, \
         lease_until_ms = NULL"
    } else {
        // An update and not DO NOTHING: a job that is being finished by another transaction would be
        // taken for one that is there.
        "INSERT INTO jobs (kind, subject, due_at_ms, rank_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (kind, subject) DO UPDATE SET failures = jobs.failures"
    };
    execute(client, sql, &[&job.kind.name(), &job.subject, &job.due_at_ms, &job.rank_ms]).await.map(drop)
}

pub(super) async fn events_after(
    client: &impl GenericClient,
    caller: &str,
    flow: &str,
    seq: i64,
    limit: u32,
) -> Result<Vec<EventRow>, PgError> {
    let limit = i64::from(limit);
    if flow.is_empty() {
        let sql = "SELECT * FROM events WHERE caller = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        return all(client, sql, &[&caller, &seq, &limit], event_row).await;
    }
    let sql = "SELECT * FROM events WHERE caller = $1 AND flow = $2 AND seq > $3 ORDER BY seq LIMIT $4";
    all(client, sql, &[&caller, &flow, &seq, &limit], event_row).await
}

/// Of all callers.
pub(super) async fn all_events_after(
    client: &impl GenericClient,
    seq: i64,
    limit: u32,
) -> Result<Vec<EventRow>, PgError> {
    let sql = "SELECT * FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";
    all(client, sql, &[&seq, &i64::from(limit)], event_row).await
}

pub(super) async fn last_event(client: &impl GenericClient) -> Result<i64, PgError> {
    one(client, "SELECT last FROM event_places", &[]).await
}

pub(super) fn event_row(row: &Row) -> Result<EventRow, PgError> {
    Ok(EventRow {
        seq: row.try_get("seq")?,
        event: NewEvent {
            at_ms: row.try_get("at_ms")?,
            caller: row.try_get("caller")?,
            verification_id: row.try_get("verification_id")?,
            flow: row.try_get("flow")?,
            kind: row.try_get("kind")?,
            state: row.try_get("state")?,
            last_attempt_code: row.try_get("last_attempt_code")?,
        },
    })
}
