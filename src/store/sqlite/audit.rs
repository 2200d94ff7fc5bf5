//! Table `audit_events`.

use super::super::row::{AuditFilter, AuditRow};
use rusqlite::{Connection, Row, ToSql, params};

pub(super) fn insert(connection: &Connection, event: &AuditRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit_events (at_ms, actor, action, verification_id, credential) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![event.at_ms, event.actor, event.action, event.verification_id, event.credential])?;
    Ok(())
}

pub(super) fn of(connection: &Connection, verification_id: &str) -> rusqlite::Result<Vec<AuditRow>> {
    connection
        .prepare_cached("SELECT * FROM audit_events WHERE verification_id = ?1 ORDER BY seq")?
        .query_map([verification_id], audit_row)?
        .collect()
}

/// Newest first by place. A time is not a place (clocks are set), so it is a condition that rows
/// are held against; it gives a lower bound of the places, though.
pub(super) fn list(connection: &Connection, filter: &AuditFilter) -> rusqlite::Result<Vec<(i64, AuditRow)>> {
    let AuditFilter { verification_id, credential, actor, action, from_ms, before_ms, before_seq, limit } = filter;
    let before_seq = before_seq.unwrap_or(i64::MAX);
    let mut conditions = vec!["seq < ?"];
    let mut values: Vec<&dyn ToSql> = vec![&before_seq];
    // By the most selective filter.
    let index = [
        (credential, "INDEXED BY audit_events_by_credential"),
        (verification_id, "INDEXED BY audit_events_by_verification"),
        (actor, "INDEXED BY audit_events_by_actor"),
        (action, "INDEXED BY audit_events_by_action"),
    ];
    let index = index.into_iter().find(|(text, _)| !text.is_empty()).map_or("", |(_, index)| index);
    for (condition, text) in [
        ("verification_id = ?", verification_id),
        ("credential = ? AND credential <> ''", credential),
        ("actor = ?", actor),
        ("action = ?", action),
    ] {
        if !text.is_empty() {
            conditions.push(condition);
            values.push(text);
        }
    }
    if from_ms.is_some() {
        conditions.push(
            "at_ms >= ? AND seq >= (SELECT min(seq) FROM audit_events INDEXED BY audit_events_by_time WHERE at_ms >= ?)",
        );
        values.extend([from_ms as &dyn ToSql, from_ms]);
    }
    if before_ms.is_some() {
        conditions.push("at_ms < ?");
        values.push(before_ms);
    }
    values.push(limit);
    let sql =
        format!("SELECT * FROM audit_events {index} WHERE {} ORDER BY seq DESC LIMIT ?", conditions.join(" AND "));
    connection
        .prepare_cached(&sql)?
        .query_map(values.as_slice(), |row| Ok((row.get("seq")?, audit_row(row)?)))?
        .collect()
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        at_ms: row.get("at_ms")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        verification_id: row.get("verification_id")?,
        credential: row.get("credential")?,
    })
}
