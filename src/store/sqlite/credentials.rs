//! Tables `credentials` and `key_pairs`.

use super::super::row::{CredentialRow, KeyPairRow};
use crate::domain::{job::JobKind, sealed::key_id};
use rusqlite::{Connection, Row, params};

/// False: the name is taken.
pub(super) fn create(connection: &Connection, credential: &CredentialRow) -> rusqlite::Result<bool> {
    let CredentialRow { name, version, origin, disabled_at_ms, key_pairs } = credential;
    let added = connection.execute(
        "INSERT INTO credentials (name, version, origin, disabled_at_ms) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (name) DO NOTHING",
        params![name, version, origin, disabled_at_ms],
    )?;
    if added == 1 {
        insert_pairs(connection, name, key_pairs)?;
    }
    Ok(added == 1)
}

/// False: it has another version.
pub(super) fn change(connection: &Connection, next: &CredentialRow) -> rusqlite::Result<bool> {
    let changed = connection.execute(
        "UPDATE credentials SET version = version + 1, origin = ?3, disabled_at_ms = ?4 WHERE name = ?1 AND version = ?2",
        params![next.name, next.version, next.origin, next.disabled_at_ms],
    )?;
    if changed == 1 {
        delete_pairs(connection, &next.name)?;
        insert_pairs(connection, &next.name, &next.key_pairs)?;
    }
    Ok(changed == 1)
}

/// False: it has another version.
pub(super) fn delete(connection: &Connection, name: &str, expected_version: i64) -> rusqlite::Result<bool> {
    let exists: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM credentials WHERE name = ?1 AND version = ?2)")?
        .query_row(params![name, expected_version], |row| row.get(0))?;
    if exists {
        delete_pairs(connection, name)?;
        connection.execute("DELETE FROM credentials WHERE name = ?1", [name])?;
    }
    Ok(exists)
}

/// `name` None: all.
pub(super) fn select(connection: &Connection, name: Option<&str>) -> rusqlite::Result<Vec<CredentialRow>> {
    // One statement, so that a credential and its pairs are of the same moment.
    let mut select = connection.prepare_cached(
        "SELECT name, version, origin, disabled_at_ms, id, sealed_key_pair, created_at_ms, used_at_ms, tested_at_ms, \
         test_code FROM credentials LEFT JOIN key_pairs ON credential = name WHERE ?1 IS NULL OR name = ?1 \
         ORDER BY name, rank DESC",
    )?;
    let mut rows = select.query([name])?;
    let mut credentials: Vec<CredentialRow> = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get("name")?;
        if credentials.last().is_none_or(|last| last.name != name) {
            credentials.push(CredentialRow {
                name,
                version: row.get("version")?,
                origin: row.get("origin")?,
                disabled_at_ms: row.get("disabled_at_ms")?,
                key_pairs: Vec::new(),
            });
        }
        if let (Some(last), Some(pair)) = (credentials.last_mut(), key_pair_row(row)?) {
            last.key_pairs.push(pair);
        }
    }
    Ok(credentials)
}

/// Settled ones whose evidence is still to be fetched are among them.
pub(super) fn unsettled(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT count(DISTINCT subject) FROM jobs JOIN verifications ON id = subject \
             WHERE kind IN (?2, ?3) AND credential = ?1",
        )?
        .query_row([name, JobKind::Settle.name(), JobKind::FetchEvidence.name()], |row| row.get(0))
}

pub(super) fn note_used(connection: &Connection, id: &str, at_ms: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE key_pairs SET used_at_ms = max(coalesce(used_at_ms, 0), ?2) WHERE id = ?1")?
        .execute(params![id, at_ms])?;
    Ok(())
}

pub(super) fn note_tested(connection: &Connection, id: &str, at_ms: i64, code: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE key_pairs SET tested_at_ms = ?2, test_code = ?3 WHERE id = ?1")?
        .execute(params![id, at_ms, code])?;
    Ok(())
}

fn delete_pairs(connection: &Connection, credential: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM key_pairs WHERE credential = ?1", [credential])?;
    Ok(())
}

fn insert_pairs(connection: &Connection, credential: &str, pairs: &[KeyPairRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO key_pairs (id, credential, rank, sealed_key_pair, key_id, created_at_ms, used_at_ms, tested_at_ms, test_code) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (rank, pair) in (1_u32..).zip(pairs.iter().rev()) {
        let (tested_at_ms, test_code) = pair.tested.clone().unzip();
        insert.execute(params![
            pair.id,
            credential,
            rank,
            pair.sealed_key_pair,
            key_id(&pair.sealed_key_pair),
            pair.created_at_ms,
            pair.used_at_ms,
            tested_at_ms,
            test_code
        ])?;
    }
    Ok(())
}

/// None: the credential has no pairs.
fn key_pair_row(row: &Row<'_>) -> rusqlite::Result<Option<KeyPairRow>> {
    let Some(id) = row.get("id")? else { return Ok(None) };
    let (tested_at_ms, test_code): (Option<i64>, Option<String>) = (row.get("tested_at_ms")?, row.get("test_code")?);
    Ok(Some(KeyPairRow {
        id,
        sealed_key_pair: row.get("sealed_key_pair")?,
        created_at_ms: row.get("created_at_ms")?,
        used_at_ms: row.get("used_at_ms")?,
        tested: tested_at_ms.zip(test_code),
    }))
}
