//! Which key of the keyring seals what, and table `vault_keys`.

use super::{
    super::row::{EvidenceRow, KeyUseRow, Resealed, SealedValue},
    evidence,
};
use crate::domain::sealed::key_id;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use std::collections::{BTreeMap, BTreeSet};

/// Session, subject, result.
type SealingKeys = [String; 3];

pub(super) fn in_use(connection: &Connection) -> rusqlite::Result<Vec<KeyUseRow>> {
    let mut keys: BTreeMap<String, KeyUseRow> = BTreeMap::new();
    let mut add = |id: String, note: &mut dyn FnMut(&mut KeyUseRow)| {
        // Empty: nothing is sealed there, or it was erased.
        if !id.is_empty() {
            note(keys.entry(id.clone()).or_insert_with(|| KeyUseRow { key_id: id, ..KeyUseRow::default() }));
        }
    };
    for [session, subject, result] in groups(connection)? {
        let rows: u64 = connection
            .prepare_cached(
                "SELECT count(*) FROM verifications \
                 WHERE session_key_id = ?1 AND subject_key_id = ?2 AND result_key_id = ?3",
            )?
            .query_row(params![session, subject, result], |row| row.get(0))?;
        add(session, &mut |key| key.sessions += rows);
        add(subject, &mut |key| key.subjects += rows);
        add(result, &mut |key| key.results += rows);
    }
    for [made, token] in hashing_groups(connection)? {
        let (rows, newest): (u64, Option<i64>) = connection
            .prepare_cached(
                "SELECT count(*), max(created_at_ms) FROM verifications WHERE made_key_id = ?1 AND token_key_id = ?2",
            )?
            .query_row(params![made, token], |row| Ok((row.get(0)?, row.get(1)?)))?;
        add(token, &mut |key| key.token_hashes += rows);
        add(made, &mut |key| key.newest_made_at_ms = key.newest_made_at_ms.max(newest));
    }
    for id in evidence_keys(connection)? {
        let sql = "SELECT count(*) FROM evidence WHERE key_id = ?1";
        let rows: u64 = connection.prepare_cached(sql)?.query_row([&id], |row| row.get(0))?;
        add(id, &mut |key| key.evidence_keys += rows);
    }
    let mut select = connection.prepare_cached("SELECT key_id, count(*) AS rows FROM key_pairs GROUP BY 1")?;
    let mut pairs = select.query([])?;
    while let Some(group) = pairs.next()? {
        let rows: u64 = group.get("rows")?;
        add(group.get("key_id")?, &mut |key| key.key_pairs += rows);
    }
    Ok(keys.into_values().collect())
}

/// The keys that seal something.
pub(super) fn sealing(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut keys: BTreeSet<String> = groups(connection)?.into_iter().flatten().collect();
    keys.extend(evidence_keys(connection)?);
    let mut select = connection.prepare_cached("SELECT DISTINCT key_id FROM key_pairs")?;
    for key in select.query_map([], |row| row.get(0))? {
        keys.insert(key?);
    }
    keys.remove("");
    Ok(keys)
}

/// The combinations of keys that occur. There are few: from each the index leads to the next, past all rows between.
fn groups(connection: &Connection) -> rusqlite::Result<Vec<SealingKeys>> {
    let mut next = connection.prepare_cached(
        "SELECT session_key_id, subject_key_id, result_key_id FROM verifications INDEXED BY verifications_by_sealing_key \
         WHERE (session_key_id, subject_key_id, result_key_id) > (?1, ?2, ?3) \
         ORDER BY session_key_id, subject_key_id, result_key_id LIMIT 1",
    )?;
    // Before all keys but itself: all that is erased.
    let mut found = vec![SealingKeys::default()];
    while let Some(last) = found.last() {
        let keys = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
        match next.query_row(params_from_iter(last), keys).optional()? {
            Some(keys) => found.push(keys),
            None => break,
        }
    }
    found.remove(0);
    Ok(found)
}

fn hashing_groups(connection: &Connection) -> rusqlite::Result<Vec<[String; 2]>> {
    let mut next = connection.prepare_cached(
        "SELECT made_key_id, token_key_id FROM verifications INDEXED BY verifications_by_hashing_key \
         WHERE (made_key_id, token_key_id) > (?1, ?2) ORDER BY made_key_id, token_key_id LIMIT 1",
    )?;
    let mut found = vec![<[String; 2]>::default()];
    while let Some(last) = found.last() {
        match next.query_row(params_from_iter(last), |row| Ok([row.get(0)?, row.get(1)?])).optional()? {
            Some(keys) => found.push(keys),
            None => break,
        }
    }
    found.remove(0);
    Ok(found)
}

fn evidence_keys(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT key_id FROM evidence INDEXED BY evidence_by_key WHERE key_id > ?1 ORDER BY key_id LIMIT 1";
    let mut next = connection.prepare_cached(sql)?;
    let mut found: Vec<String> = Vec::new();
    while let Some(key) = next.query_row([found.last().map_or("", |key| key)], |row| row.get(0)).optional()? {
        found.push(key);
    }
    Ok(found)
}

/// The keys that seal something and are not `key_id` give the places to look at: each look goes by an index.
pub(super) fn sealed_otherwise(
    connection: &Connection,
    key_id: &str,
    limit: u32,
) -> rusqlite::Result<Vec<SealedValue>> {
    let mut found = Vec::new();
    for key in sealing(connection)?.into_iter().filter(|key| key != key_id) {
        found.append(&mut sealed_with(connection, &key, limit)?);
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
    for keys in groups(connection)?.into_iter().filter(|keys| keys.iter().any(|key| key == key_id)) {
        let [session, subject, result] = keys;
        let mut select = connection.prepare_cached(
            "SELECT * FROM verifications INDEXED BY verifications_by_sealing_key \
             WHERE session_key_id = ?1 AND subject_key_id = ?2 AND result_key_id = ?3 LIMIT ?4",
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
        if row.get::<_, String>(of)? == key_id {
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
                let (hash, hashing_key) = token_hash.clone().unzip();
                let key_column = column.replacen("sealed_", "", 1) + "_key_id";
                connection
                    .prepare_cached(&format!(
                        "UPDATE verifications SET {column} = ?3, {key_column} = ?6, token_hash = coalesce(?4, token_hash), \
                         token_key_id = coalesce(?5, token_key_id) WHERE id = ?1 AND {column} = ?2"
                    ))?
                    .execute(params![id, old, sealed, hash, hashing_key, key_id(sealed)])?
            }
            SealedValue::Evidence(row) => connection
                .prepare_cached("UPDATE evidence SET sealed_key = ?3, key_id = ?4 WHERE id = ?1 AND sealed_key = ?2")?
                .execute(params![row.id, row.sealed_key, sealed, key_id(sealed)])?,
            SealedValue::KeyPair { id, sealed: old } => connection
                .prepare_cached(
                    "UPDATE key_pairs SET sealed_key_pair = ?3, key_id = ?4 WHERE id = ?1 AND sealed_key_pair = ?2",
                )?
                .execute(params![id, old, sealed, key_id(sealed)])?,
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
