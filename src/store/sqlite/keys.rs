//! Which key of the keyring seals what, and table `vault_keys`.

use super::{
    super::row::{EvidenceRow, KeyUseRow, Resealed, SealedValue},
    evidence,
};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

pub(super) fn in_use(connection: &Connection) -> rusqlite::Result<Vec<KeyUseRow>> {
    let mut keys: BTreeMap<String, KeyUseRow> = BTreeMap::new();
    let mut add = |id: Option<String>, note: &mut dyn FnMut(&mut KeyUseRow)| {
        // Empty: nothing is sealed there, or it was erased.
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            note(keys.entry(id.clone()).or_insert_with(|| KeyUseRow { key_id: id, ..KeyUseRow::default() }));
        }
    };
    // Few groups; the index alone answers.
    let mut select = connection.prepare_cached(
        "SELECT session_key_id, subject_key_id, result_key_id, count(*) AS rows FROM verifications GROUP BY 1, 2, 3",
    )?;
    let mut groups = select.query([])?;
    while let Some(group) = groups.next()? {
        let rows: u64 = group.get("rows")?;
        add(group.get("session_key_id")?, &mut |key| key.sessions += rows);
        add(group.get("subject_key_id")?, &mut |key| key.subjects += rows);
        add(group.get("result_key_id")?, &mut |key| key.results += rows);
    }
    let mut select = connection.prepare_cached(
        "SELECT made_key_id, token_key_id, count(*) AS rows, max(created_at_ms) AS newest FROM verifications GROUP BY 1, 2",
    )?;
    let mut groups = select.query([])?;
    while let Some(group) = groups.next()? {
        let (rows, newest): (u64, Option<i64>) = (group.get("rows")?, group.get("newest")?);
        add(group.get("token_key_id")?, &mut |key| key.token_hashes += rows);
        add(group.get("made_key_id")?, &mut |key| key.newest_made_at_ms = key.newest_made_at_ms.max(newest));
    }
    let mut select = connection.prepare_cached("SELECT key_id, count(*) AS rows FROM evidence GROUP BY 1")?;
    let mut groups = select.query([])?;
    while let Some(group) = groups.next()? {
        let rows: u64 = group.get("rows")?;
        add(group.get("key_id")?, &mut |key| key.evidence_keys += rows);
    }
    let mut select = connection.prepare_cached("SELECT key_id, count(*) AS rows FROM key_pairs GROUP BY 1")?;
    let mut groups = select.query([])?;
    while let Some(group) = groups.next()? {
        let rows: u64 = group.get("rows")?;
        add(group.get("key_id")?, &mut |key| key.key_pairs += rows);
    }
    Ok(keys.into_values().collect())
}

/// The keys that seal something and are not `key_id` give the places to look at: each look goes by an index.
pub(super) fn sealed_otherwise(
    connection: &Connection,
    key_id: &str,
    limit: u32,
) -> rusqlite::Result<Vec<SealedValue>> {
    let mut found = Vec::new();
    for key in in_use(connection)?.into_iter().filter(|key| key.key_id != key_id) {
        found.append(&mut sealed_with(connection, &key.key_id, limit)?);
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}

pub(super) fn sealed_with(connection: &Connection, key_id: &str, limit: u32) -> rusqlite::Result<Vec<SealedValue>> {
    let mut found = Vec::new();
    let mut select =
        connection.prepare_cached("SELECT id, sealed_key_pair FROM key_pairs WHERE key_id = ?1 LIMIT ?2")?;
    let pairs = select.query_map(params![key_id, limit], |row| {
        Ok(SealedValue::KeyPair { id: row.get("id")?, sealed: row.get("sealed_key_pair")? })
    })?;
    for pair in pairs {
        found.push(pair?);
    }
    let mut select = connection.prepare_cached("SELECT * FROM evidence WHERE key_id = ?1 LIMIT ?2")?;
    let rows: Vec<EvidenceRow> =
        select.query_map(params![key_id, limit], evidence::evidence_row)?.collect::<rusqlite::Result<_>>()?;
    found.extend(rows.into_iter().map(SealedValue::Evidence));
    // The groups in which the key occurs, so that each look is for one place in the index.
    let groups: Vec<[Option<String>; 3]> = connection
        .prepare_cached(
            "SELECT session_key_id, subject_key_id, result_key_id FROM verifications GROUP BY 1, 2, 3 \
             HAVING session_key_id IS ?1 OR subject_key_id IS ?1 OR result_key_id IS ?1",
        )?
        .query_map([key_id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?
        .collect::<rusqlite::Result<_>>()?;
    for [session, subject, result] in groups {
        let mut select = connection.prepare_cached(
            "SELECT * FROM verifications WHERE session_key_id IS ?1 AND subject_key_id IS ?2 AND result_key_id IS ?3 \
             LIMIT ?4",
        )?;
        let mut rows = select.query(params![session, subject, result, limit])?;
        while let Some(row) = rows.next()? {
            found.extend(columns_with(row, key_id)?);
        }
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}

fn columns_with(row: &Row<'_>, key_id: &str) -> rusqlite::Result<Vec<SealedValue>> {
    let mut found = Vec::new();
    for (column, of) in
        [("sealed_session", "session_key_id"), ("sealed_subject", "subject_key_id"), ("sealed_result", "result_key_id")]
    {
        if row.get::<_, Option<String>>(of)?.as_deref() == Some(key_id) {
            found.push(SealedValue::Verification { id: row.get("id")?, column, sealed: row.get(column)? });
        }
    }
    Ok(found)
}

/// What was erased or replaced meanwhile stays as it is.
pub(super) fn reseal(connection: &Connection, values: &[Resealed]) -> rusqlite::Result<u64> {
    let mut count = 0;
    for value in values {
        let Resealed { was, sealed, token_hash } = value;
        count += match was {
            SealedValue::Verification { id, column, sealed: old } => {
                let (hash, key_id) = token_hash.clone().unzip();
                connection
                    .prepare_cached(&format!(
                        "UPDATE verifications SET {column} = ?3, token_hash = coalesce(?4, token_hash), \
                         token_key_id = coalesce(?5, token_key_id) WHERE id = ?1 AND {column} = ?2"
                    ))?
                    .execute(params![id, old, sealed, hash, key_id])?
            }
            SealedValue::Evidence(row) => connection
                .prepare_cached("UPDATE evidence SET sealed_key = ?3 WHERE id = ?1 AND sealed_key = ?2")?
                .execute(params![row.id, row.sealed_key, sealed])?,
            SealedValue::KeyPair { id, sealed: old } => connection
                .prepare_cached("UPDATE key_pairs SET sealed_key_pair = ?3 WHERE id = ?1 AND sealed_key_pair = ?2")?
                .execute(params![id, old, sealed])?,
        };
    }
    Ok(count as u64)
}

pub(super) fn checks(connection: &Connection) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    connection
        .prepare_cached("SELECT id, check_value FROM vault_keys ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

pub(super) fn put_check(connection: &Connection, key_id: &str, sealed_check: &[u8]) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO vault_keys (id, check_value) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
        params![key_id, sealed_check],
    )?;
    Ok(())
}
