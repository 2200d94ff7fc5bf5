//! Which key of the keyring seals what, and table `vault_keys`.

use super::{
    super::row::{EvidenceRow, KeyUseRow, Resealed, SealedValue, VerificationRow},
    evidence, verifications,
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use std::collections::{BTreeMap, BTreeSet};

/// Session, subject, result.
type SealingKeys = [String; 3];
/// The request's fingerprint and the redirect's MAC; the token's hash; the row's MAC.
type HashingKeys = [String; 3];

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
    for [made, token, mac] in hashing_groups(connection)? {
        let (rows, newest): (u64, Option<i64>) = connection
            .prepare_cached(
                "SELECT count(*), max(created_at_ms) FROM verifications \
                 WHERE made_key_id = ?1 AND token_key_id = ?2 AND mac_key_id = ?3",
            )?
            .query_row(params![made, token, mac], |row| Ok((row.get(0)?, row.get(1)?)))?;
        add(token, &mut |key| key.token_hashes += rows);
        add(mac, &mut |key| key.rows += rows);
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
    keys.extend(hashing_groups(connection)?.into_iter().map(|[_, _, mac]| mac));
    keys.extend(evidence_keys(connection)?);
    let mut select = connection.prepare_cached("SELECT DISTINCT key_id FROM key_pairs")?;
    for key in select.query_map([], |row| row.get(0))? {
        keys.insert(key?);
    }
    keys.remove("");
    Ok(keys)
}

fn groups(connection: &Connection) -> rusqlite::Result<Vec<SealingKeys>> {
    combinations(connection, "verifications_by_sealing_key", ["session_key_id", "subject_key_id", "result_key_id"])
}

fn hashing_groups(connection: &Connection) -> rusqlite::Result<Vec<HashingKeys>> {
    combinations(connection, "verifications_by_hashing_key", ["made_key_id", "token_key_id", "mac_key_id"])
}

/// The combinations of keys that occur, but for that of what is erased. There are few: from each
/// the index leads to the next, past all rows between. It takes a look for each column: SQLite
/// begins `(a, b, c) > (?, ?, ?)` at the first row that is equal, and would walk through all of
/// those.
fn combinations(connection: &Connection, index: &str, [a, b, c]: [&str; 3]) -> rusqlite::Result<Vec<[String; 3]>> {
    let looks = [format!("{a} = ?1 AND {b} = ?2 AND {c} > ?3"), format!("{a} = ?1 AND {b} > ?2"), format!("{a} > ?1")];
    let mut found = Vec::new();
    let mut last = <[String; 3]>::default();
    'combinations: loop {
        for (look, given) in looks.iter().zip([3, 2, 1]) {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {a}, {b}, {c} FROM verifications INDEXED BY {index} WHERE {look} ORDER BY {a}, {b}, {c} LIMIT 1"
            ))?;
            let keys = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
            if let Some(next) = select.query_row(params_from_iter(&last[..given]), keys).optional()? {
                found.push(std::mem::replace(&mut last, next));
                continue 'combinations;
            }
        }
        found.push(last);
        // The search begins before all keys: with what is erased.
        found.remove(0);
        return Ok(found);
    }
}

/// Verifications whose MAC is made with this key; empty: those that have none.
pub(super) fn rows_bound_with(
    connection: &Connection,
    key_id: &str,
    limit: u32,
) -> rusqlite::Result<Vec<VerificationRow>> {
    let mut found = Vec::new();
    let erased = std::iter::once(HashingKeys::default());
    for [made, token, mac] in erased.chain(hashing_groups(connection)?).filter(|[_, _, mac]| mac == key_id) {
        let mut select = connection.prepare_cached(
            "SELECT * FROM verifications INDEXED BY verifications_by_hashing_key \
             WHERE made_key_id = ?1 AND token_key_id = ?2 AND mac_key_id = ?3 LIMIT ?4",
        )?;
        for row in select.query_map(params![made, token, mac, limit], verifications::verification_row)? {
            found.push(row?);
        }
        if found.len() >= limit as usize {
            break;
        }
    }
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

/// The keys that seal something and are not `key_id` give the places to look at: each look goes by
/// an index.
pub(super) fn not_sealed_with(connection: &Connection, key_id: &str, limit: u32) -> rusqlite::Result<Vec<SealedValue>> {
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
            return Ok(found);
        }
    }
    found.extend(rows_bound_with(connection, key_id, limit)?.into_iter().map(|row| SealedValue::Row(Box::new(row))));
    Ok(found)
}

fn columns_with(row: &Row<'_>, key_id: &str) -> rusqlite::Result<Vec<SealedValue>> {
    let mut found = Vec::new();
    for (column, of) in
        [("sealed_session", "session_key_id"), ("sealed_subject", "subject_key_id"), ("sealed_result", "result_key_id")]
    {
        if row.get::<_, String>(of)? == key_id {
            found.push(SealedValue::Verification {
                id: row.get("id")?,
                caller: row.get("caller")?,
                flow: row.get("flow")?,
                version: row.get("version")?,
                column,
                sealed: row.get(column)?,
            });
        }
    }
    Ok(found)
}

/// What was erased or replaced meanwhile stays as it is.
pub(super) fn reseal(connection: &Connection, values: &[Resealed]) -> rusqlite::Result<u64> {
    let mut count = 0;
    for value in values {
        let Resealed { was, sealed, key_id, token_hash } = value;
        count += match was {
            SealedValue::Verification { id, column, sealed: old, .. } => {
                let (hash, hashing_key) = token_hash.clone().unzip();
                let key_column = column.replacen("sealed_", "", 1) + "_key_id";
                connection
                    .prepare_cached(&format!(
                        "UPDATE verifications SET {column} = ?3, {key_column} = ?6, token_hash = coalesce(?4, token_hash), \
                         token_key_id = coalesce(?5, token_key_id) WHERE id = ?1 AND {column} = ?2"
                    ))?
                    .execute(params![id, old, sealed, hash, hashing_key, key_id])?
            }
            SealedValue::Row(row) => connection
                .prepare_cached(
                    "UPDATE verifications SET mac = ?3, mac_key_id = ?4 WHERE id = ?1 AND mac = ?2 AND version = ?5",
                )?
                .execute(params![row.created.id, row.mac.mac, sealed, key_id, row.version])?,
            SealedValue::Evidence(row) => connection
                .prepare_cached("UPDATE evidence SET sealed_key = ?3, key_id = ?4 WHERE id = ?1 AND sealed_key = ?2")?
                .execute(params![row.id, row.sealed_key, sealed, key_id])?,
            SealedValue::KeyPair { id, sealed: old } => connection
                .prepare_cached(
                    "UPDATE key_pairs SET sealed_key_pair = ?3, key_id = ?4 WHERE id = ?1 AND sealed_key_pair = ?2",
                )?
                .execute(params![id, old, sealed, key_id])?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    #[test]
    fn a_start_takes_as_many_steps_with_many_rows_as_with_few() {
        let [few, many] = [10, 1000].map(|rows| steps_of_a_start(&with_rows(rows)));
        assert!(many <= few, "{few} steps, and {many}");
    }

    #[test]
    fn every_combination_of_keys_is_found_once() {
        let connection = with_rows(100);
        let second = "UPDATE verifications SET subject_key_id = 'k2', mac_key_id = 'k0' WHERE id < '3'; \
                      UPDATE verifications SET session_key_id = '', result_key_id = 'k9' WHERE id >= '8'; \
                      UPDATE verifications SET session_key_id = '', subject_key_id = '' WHERE id = '50'";
        connection.execute_batch(second).unwrap();
        let expected = [["", "k1", "k9"], ["k1", "k1", ""], ["k1", "k2", ""]];
        assert_eq!(groups(&connection).unwrap(), expected, "and not what is erased");
        assert_eq!(hashing_groups(&connection).unwrap(), [["k1", "k1", "k0"], ["k1", "k1", "k1"]]);
        let all = ["k0", "k1", "k2", "k9"].map(str::to_owned);
        assert_eq!(sealing(&connection).unwrap(), BTreeSet::from(all));
    }

    fn with_rows(rows: u32) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        let insert = "INSERT INTO verifications (id, version, caller, flow, rule_id, credential, reference, request_fingerprint, \
                      token_hash, vendor_request_id, created_at_ms, sealed_session, sealed_subject, state, \
                      attempts_exhausted, session_key_id, subject_key_id, made_key_id, token_key_id, mac_key_id) \
                      VALUES (?1, 1, '', '', '', '', '', x'', CAST(?1 AS BLOB), '', 0, x'', x'', 'pending', 0, \
                      'k1', 'k1', 'k1', 'k1', 'k1')";
        for i in 0..rows {
            connection.execute(insert, [i.to_string()]).unwrap();
        }
        connection
    }

    fn steps_of_a_start(connection: &Connection) -> u64 {
        sealing(connection).unwrap(); // prepares the statements
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        connection.progress_handler(1, Some(count)).unwrap();
        assert_eq!(sealing(connection).unwrap().len(), 1);
        connection.progress_handler(0, None::<fn() -> bool>).unwrap();
        steps.load(Ordering::Relaxed)
    }
}
