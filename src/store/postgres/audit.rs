//! Table `audit_events`.

use super::{
    super::row::{AuditFilter, AuditRow},
    session::{all, execute},
};
use deadpool_postgres::GenericClient;
use tokio_postgres::{Error as PgError, Row, types::ToSql};

pub(super) async fn insert(client: &impl GenericClient, event: &AuditRow) -> Result<(), PgError> {
    let sql =
        "INSERT INTO audit_events (at_ms, actor, action, verification_id, credential) VALUES ($1, $2, $3, $4, $5)";
    let AuditRow { at_ms, actor, action, verification_id, credential } = event;
    execute(client, sql, &[at_ms, actor, action, verification_id, credential]).await.map(drop)
}

pub(super) async fn of(client: &impl GenericClient, verification_id: &str) -> Result<Vec<AuditRow>, PgError> {
    let sql = "SELECT * FROM audit_events WHERE verification_id = $1 ORDER BY seq";
    all(client, sql, &[&verification_id], audit_row).await
}

/// Newest first by place. A time is not a place (clocks are set), so it is a condition that rows
/// are held against; it gives a lower bound of the places, though.
pub(super) async fn list(client: &impl GenericClient, filter: &AuditFilter) -> Result<Vec<(i64, AuditRow)>, PgError> {
    let AuditFilter { verification_id, credential, actor, action, from_ms, before_ms, before_seq, limit } = filter;
    let (before_seq, limit) = (before_seq.unwrap_or(i64::MAX), i64::from(*limit));
    let mut sql = "SELECT * FROM audit_events WHERE seq < $1".to_owned();
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&before_seq];
    for (column, text) in
        [("verification_id", verification_id), ("credential", credential), ("actor", actor), ("action", action)]
    {
        if !text.is_empty() {
            values.push(text);
            sql += &format!(" AND {column} = ${}", values.len());
        }
    }
    if !credential.is_empty() {
        // As the partial index has it.
        sql += " AND credential <> ''";
    }
    if from_ms.is_some() {
        values.push(from_ms);
        let from = values.len();
        sql += &format!(" AND at_ms >= ${from} AND seq >= (SELECT min(seq) FROM audit_events WHERE at_ms >= ${from})");
    }
    if before_ms.is_some() {
        values.push(before_ms);
        sql += &format!(" AND at_ms < ${}", values.len());
    }
    values.push(&limit);
    sql += &format!(" ORDER BY seq DESC LIMIT ${}", values.len());
    all(client, &sql, &values, |row| Ok((row.try_get("seq")?, audit_row(row)?))).await
}

fn audit_row(row: &Row) -> Result<AuditRow, PgError> {
    Ok(AuditRow {
        at_ms: row.try_get("at_ms")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        verification_id: row.try_get("verification_id")?,
        credential: row.try_get("credential")?,
    })
}
