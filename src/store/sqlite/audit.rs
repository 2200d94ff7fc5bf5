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

pub(super) fn list(connection: &Connection, filter: &AuditFilter) -> rusqlite::Result<Vec<(i64, AuditRow)>> {
    let AuditFilter { verification_id, credential, actor, action, from_ms, before_ms, before_seq, limit } = filter;
    let mut conditions = vec!["true"];
    let mut values: Vec<&dyn ToSql> = Vec::new();
    for (condition, text) in [
        ("verification_id = ?", verification_id),
        ("credential = ?", credential),
        ("actor = ?", actor),
        ("action = ?", action),
    ] {
        if !text.is_empty() {
            conditions.push(condition);
            values.push(text);
        }
    }
    for (condition, number) in [("at_ms >= ?", from_ms), ("at_ms < ?", before_ms), ("seq < ?", before_seq)] {
        if number.is_some() {
            conditions.push(condition);
            values.push(number);
        }
    }
    values.push(limit);
    let sql = format!("SELECT * FROM audit_events WHERE {} ORDER BY seq DESC LIMIT ?", conditions.join(" AND "));
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
