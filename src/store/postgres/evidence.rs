//! Table `evidence`.

use super::{
    super::row::EvidenceRow,
    session::{all, execute, optional},
};
use crate::domain::sealed::key_id;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::{Error as PgError, Row};

/// Keeps a verification as it is until the transaction ends. False: it is redacted.
pub(super) async fn lock_unredacted(transaction: &Transaction<'_>, verification_id: &str) -> Result<bool, PgError> {
    let sql = "SELECT 1 FROM verifications WHERE id = $1 AND redacted_at_ms IS NULL FOR NO KEY UPDATE";
    Ok(optional(transaction, sql, &[&verification_id], |_| Ok(())).await?.is_some())
}

pub(super) async fn insert(transaction: &Transaction<'_>, rows: &[EvidenceRow]) -> Result<(), PgError> {
    let sql = "INSERT INTO evidence (id, verification_id, kind, position, attempt_seq, content_type, size_bytes, sha256, \
               sealed_key, key_id, stored_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    for row in rows {
        execute(
            transaction,
            sql,
            &[
                &row.id,
                &row.verification_id,
                &row.kind,
                &i64::from(row.position),
                &row.attempt_seq,
                &row.content_type,
                &i64::try_from(row.size_bytes).unwrap_or(i64::MAX),
                &row.sha256,
                &row.sealed_key,
                &key_id(row.sealed_key.as_deref().unwrap_or_default()),
                &row.stored_at_ms,
            ],
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn of(client: &impl GenericClient, verification_id: &str) -> Result<Vec<EvidenceRow>, PgError> {
    let sql = "SELECT * FROM evidence WHERE verification_id = $1 ORDER BY kind, position";
    all(client, sql, &[&verification_id], evidence_row).await
}

pub(super) fn evidence_row(row: &Row) -> Result<EvidenceRow, PgError> {
    let (position, size_bytes): (i64, i64) = (row.try_get("position")?, row.try_get("size_bytes")?);
    Ok(EvidenceRow {
        id: row.try_get("id")?,
        verification_id: row.try_get("verification_id")?,
        kind: row.try_get("kind")?,
        position: u32::try_from(position).unwrap_or(u32::MAX),
        attempt_seq: row.try_get("attempt_seq")?,
        content_type: row.try_get("content_type")?,
        size_bytes: u64::try_from(size_bytes).unwrap_or_default(),
        sha256: row.try_get("sha256")?,
        sealed_key: row.try_get("sealed_key")?,
        stored_at_ms: row.try_get("stored_at_ms")?,
        erased_at_ms: row.try_get("erased_at_ms")?,
        blob_deleted: row.try_get("blob_deleted")?,
    })
}

pub(super) async fn erase(transaction: &Transaction<'_>, verification_id: &str, at_ms: i64) -> Result<(), PgError> {
    let sql = "UPDATE evidence SET sealed_key = NULL, key_id = '', sha256 = NULL, erased_at_ms = $2 \
               WHERE verification_id = $1 AND erased_at_ms IS NULL";
    execute(transaction, sql, &[&verification_id, &at_ms]).await.map(drop)
}

pub(super) async fn note_blobs_deleted(client: &impl GenericClient, verification_id: &str) -> Result<(), PgError> {
    let sql = "UPDATE evidence SET blob_deleted = true WHERE verification_id = $1 AND erased_at_ms IS NOT NULL";
    execute(client, sql, &[&verification_id]).await.map(drop)
}
