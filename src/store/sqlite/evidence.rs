//! Table `evidence`.

use super::super::row::EvidenceRow;
use crate::domain::sealed::key_id;
use rusqlite::{Connection, Row, named_params, params};

/// False: the verification is redacted.
pub(super) fn put(connection: &Connection, verification_id: &str, rows: &[EvidenceRow]) -> rusqlite::Result<bool> {
    let is_kept: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM verifications WHERE id = ?1 AND redacted_at_ms IS NULL)")?
        .query_row([verification_id], |row| row.get(0))?;
    if !is_kept {
        return Ok(false);
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO evidence (id, verification_id, kind, position, attempt_seq, content_type, size_bytes, sha256, \
         sealed_key, key_id, stored_at_ms) VALUES (:id, :verification_id, :kind, :position, :attempt_seq, :content_type, \
         :size_bytes, :sha256, :sealed_key, :key_id, :stored_at_ms)",
    )?;
    for row in rows {
        insert.execute(named_params! {
            ":id": row.id,
            ":verification_id": row.verification_id,
            ":kind": row.kind,
            ":position": row.position,
            ":attempt_seq": row.attempt_seq,
            ":content_type": row.content_type,
            ":size_bytes": row.size_bytes,
            ":sha256": row.sha256,
            ":sealed_key": row.sealed_key,
            ":key_id": key_id(row.sealed_key.as_deref().unwrap_or_default()),
            ":stored_at_ms": row.stored_at_ms,
        })?;
    }
    Ok(true)
}

pub(super) fn of(connection: &Connection, verification_id: &str) -> rusqlite::Result<Vec<EvidenceRow>> {
    connection
        .prepare_cached("SELECT * FROM evidence WHERE verification_id = ?1 ORDER BY kind, position")?
        .query_map([verification_id], evidence_row)?
        .collect()
}

pub(super) fn evidence_row(row: &Row<'_>) -> rusqlite::Result<EvidenceRow> {
    Ok(EvidenceRow {
        id: row.get("id")?,
        verification_id: row.get("verification_id")?,
        kind: row.get("kind")?,
        position: row.get("position")?,
        attempt_seq: row.get("attempt_seq")?,
        content_type: row.get("content_type")?,
        size_bytes: row.get("size_bytes")?,
        sha256: row.get("sha256")?,
        sealed_key: row.get("sealed_key")?,
        stored_at_ms: row.get("stored_at_ms")?,
        erased_at_ms: row.get("erased_at_ms")?,
        blob_deleted: row.get("blob_deleted")?,
    })
}

pub(super) fn erase(connection: &Connection, verification_id: &str, at_ms: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE evidence SET sealed_key = NULL, key_id = '', sha256 = NULL, erased_at_ms = ?2 \
             WHERE verification_id = ?1 AND erased_at_ms IS NULL",
        )?
        .execute(params![verification_id, at_ms])?;
    Ok(())
}

pub(super) fn note_blobs_deleted(connection: &Connection, verification_id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE evidence SET blob_deleted = 1 WHERE verification_id = ?1 AND erased_at_ms IS NOT NULL")?
        .execute([verification_id])?;
    Ok(())
}
