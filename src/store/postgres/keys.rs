//! Which key of the keyring seals what, and table `vault_keys`.

use super::{
    super::row::{KeyUseRow, Resealed, SealedValue, VerificationRow},
    evidence,
    session::{all, execute, optional},
    verifications::verification_row,
};
use deadpool_postgres::{GenericClient, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Error as PgError, Row};

const SEALING: [&str; 3] = ["session_key_id", "subject_key_id", "result_key_id"];
/// The request's fingerprint and the redirect's MAC; the token's hash; the row's MAC.
const HASHING: [&str; 3] = ["made_key_id", "token_key_id", "mac_key_id"];

pub(super) async fn in_use(client: &impl GenericClient) -> Result<Vec<KeyUseRow>, PgError> {
    let mut keys: BTreeMap<String, KeyUseRow> = BTreeMap::new();
    let mut add = |id: String, note: &mut dyn FnMut(&mut KeyUseRow)| {
        // Empty: nothing is sealed there, or it was erased.
        if !id.is_empty() {
            note(keys.entry(id.clone()).or_insert_with(|| KeyUseRow { key_id: id, ..KeyUseRow::default() }));
        }
    };
    let grouped = |columns: [&str; 3]| {
        let columns = columns.join(", ");
        format!("SELECT {columns}, count(*), max(created_at_ms) FROM verifications GROUP BY {columns}")
    };
    let group = |row: &Row| {
        let keys: [String; 3] = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
        Ok((keys, row.try_get::<_, i64>(3)?.unsigned_abs(), row.try_get::<_, Option<i64>>(4)?))
    };
    for ([session, subject, result], rows, _) in all(client, &grouped(SEALING), &[], group).await? {
        add(session, &mut |key| key.sessions += rows);
        add(subject, &mut |key| key.subjects += rows);
        add(result, &mut |key| key.results += rows);
    }
    for ([made, token, mac], rows, newest) in all(client, &grouped(HASHING), &[], group).await? {
        add(token, &mut |key| key.token_hashes += rows);
        add(mac, &mut |key| key.rows += rows);
        add(made, &mut |key| key.newest_made_at_ms = key.newest_made_at_ms.max(newest));
    }
    let counted = |row: &Row| Ok((row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?.unsigned_abs()));
    for (id, rows) in all(client, "SELECT key_id, count(*) FROM evidence GROUP BY key_id", &[], counted).await? {
        add(id, &mut |key| key.evidence_keys += rows);
    }
    for (id, rows) in all(client, "SELECT key_id, count(*) FROM key_pairs GROUP BY key_id", &[], counted).await? {
        add(id, &mut |key| key.key_pairs += rows);
    }
    Ok(keys.into_values().collect())
}

/// The keys that seal something.
pub(super) async fn sealing(client: &impl GenericClient) -> Result<BTreeSet<String>, PgError> {
    let mut keys: BTreeSet<String> = combinations(client, SEALING).await?.into_iter().flatten().collect();
    keys.extend(combinations(client, HASHING).await?.into_iter().map(|[_, _, mac]| mac));
    let mut last = String::new();
    let next = "SELECT key_id FROM evidence WHERE key_id > $1 ORDER BY key_id LIMIT 1";
    while let Some(key) = optional(client, next, &[&last], |row| row.try_get::<_, String>(0)).await? {
        keys.insert(std::mem::replace(&mut last, key));
    }
    keys.insert(last);
    keys.extend(all(client, "SELECT DISTINCT key_id FROM key_pairs", &[], |row| row.try_get::<_, String>(0)).await?);
    keys.remove("");
    Ok(keys)
}

/// The combinations of keys that occur, but for that of what is erased. There are few: from each
/// the index leads to the next, past all rows between.
async fn combinations(client: &impl GenericClient, [a, b, c]: [&str; 3]) -> Result<Vec<[String; 3]>, PgError> {
    let sql = format!(
        "SELECT {a}, {b}, {c} FROM verifications WHERE ({a}, {b}, {c}) > ($1, $2, $3) ORDER BY {a}, {b}, {c} LIMIT 1"
    );
    let mut found = vec![<[String; 3]>::default()];
    while let Some([a, b, c]) = found.last() {
        let keys = |row: &Row| Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?]);
        let Some(next) = optional(client, &sql, &[a, b, c], keys).await? else { break };
        found.push(next);
    }
    // The search begins before all keys: with what is erased.
    found.remove(0);
    Ok(found)
}

/// Verifications whose MAC is made with this key; empty: those that have none.
pub(super) async fn rows_bound_with(
    client: &impl GenericClient,
    key_id: &str,
    limit: u32,
) -> Result<Vec<VerificationRow>, PgError> {
    let mut found = Vec::new();
    let erased = std::iter::once(<[String; 3]>::default());
    let bound = erased.chain(combinations(client, HASHING).await?).filter(|[_, _, mac]| mac == key_id);
    for [made, token, mac] in bound {
        let sql =
            "SELECT * FROM verifications WHERE made_key_id = $1 AND token_key_id = $2 AND mac_key_id = $3 LIMIT $4";
        found.append(&mut all(client, sql, &[&made, &token, &mac, &i64::from(limit)], verification_row).await?);
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}

/// The keys that seal something and are not `key_id` give the places to look at: each look goes by
/// an index.
pub(super) async fn not_sealed_with(
    client: &impl GenericClient,
    key_id: &str,
    limit: u32,
) -> Result<Vec<SealedValue>, PgError> {
    let mut found = Vec::new();
    for key in sealing(client).await?.into_iter().filter(|key| key != key_id) {
        found.append(&mut sealed_with(client, &key, limit).await?);
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}

pub(super) async fn sealed_with(
    client: &impl GenericClient,
    key_id: &str,
    limit: u32,
) -> Result<Vec<SealedValue>, PgError> {
    let at_most = i64::from(limit);
    let sql = "SELECT id, sealed_key_pair FROM key_pairs WHERE key_id = $1 LIMIT $2";
    let pair = |row: &Row| Ok(SealedValue::KeyPair { id: row.try_get(0)?, sealed: row.try_get(1)? });
    let mut found = all(client, sql, &[&key_id, &at_most], pair).await?;
    let sql = "SELECT * FROM evidence WHERE key_id = $1 LIMIT $2";
    let row = |row: &Row| evidence::evidence_row(row).map(SealedValue::Evidence);
    found.append(&mut all(client, sql, &[&key_id, &at_most], row).await?);
    let groups = combinations(client, SEALING).await?;
    for [session, subject, result] in groups.into_iter().filter(|keys| keys.iter().any(|key| key == key_id)) {
        let sql = "SELECT * FROM verifications WHERE session_key_id = $1 AND subject_key_id = $2 AND result_key_id = $3 \
                   LIMIT $4";
        let columns = |row: &Row| columns_with(row, key_id);
        let rows = all(client, sql, &[&session, &subject, &result, &at_most], columns).await?;
        found.extend(rows.into_iter().flatten());
        if found.len() >= limit as usize {
            return Ok(found);
        }
    }
    let rows = rows_bound_with(client, key_id, limit).await?;
    found.extend(rows.into_iter().map(|row| SealedValue::Row(Box::new(row))));
    Ok(found)
}

fn columns_with(row: &Row, key_id: &str) -> Result<Vec<SealedValue>, PgError> {
    let mut found = Vec::new();
    for (column, of) in ["sealed_session", "sealed_subject", "sealed_result"].into_iter().zip(SEALING) {
        if row.try_get::<_, &str>(of)? == key_id {
            found.push(SealedValue::Verification {
                id: row.try_get("id")?,
                caller: row.try_get("caller")?,
                flow: row.try_get("flow")?,
                version: row.try_get("version")?,
                column,
                sealed: row.try_get(column)?,
            });
        }
    }
    Ok(found)
}

/// What was erased or replaced meanwhile stays as it is.
pub(super) async fn reseal(transaction: &Transaction<'_>, values: &[Resealed]) -> Result<u64, PgError> {
    let mut count = 0;
    for Resealed { was, sealed, key_id, token_hash } in values {
        count += match was {
            SealedValue::Verification { id, column, sealed: old, .. } => {
                let (hash, hashing_key) = token_hash.clone().unzip();
                let key_column = column.replacen("sealed_", "", 1) + "_key_id";
                let sql = format!(
                    "UPDATE verifications SET {column} = $3, {key_column} = $6, token_hash = coalesce($4, token_hash), \
                     token_key_id = coalesce($5, token_key_id) WHERE id = $1 AND {column} = $2"
                );
                execute(transaction, &sql, &[id, old, sealed, &hash, &hashing_key, key_id]).await?
            }
            SealedValue::Row(row) => {
                let sql =
                    "UPDATE verifications SET mac = $3, mac_key_id = $4 WHERE id = $1 AND mac = $2 AND version = $5";
                execute(transaction, sql, &[&row.created.id, &row.mac.mac, sealed, key_id, &row.version]).await?
            }
            SealedValue::Evidence(row) => {
                let sql = "UPDATE evidence SET sealed_key = $3, key_id = $4 WHERE id = $1 AND sealed_key = $2";
                execute(transaction, sql, &[&row.id, &row.sealed_key, sealed, key_id]).await?
            }
            SealedValue::KeyPair { id, sealed: old } => {
                let sql =
                    "UPDATE key_pairs SET sealed_key_pair = $3, key_id = $4 WHERE id = $1 AND sealed_key_pair = $2";
                execute(transaction, sql, &[id, old, sealed, key_id]).await?
            }
        };
    }
    Ok(count)
}

pub(super) async fn checks(client: &impl GenericClient) -> Result<Vec<(String, Vec<u8>)>, PgError> {
    let sql = "SELECT id, check_value FROM vault_keys ORDER BY id";
    all(client, sql, &[], |row| Ok((row.try_get(0)?, row.try_get(1)?))).await
}

pub(super) async fn put_check(client: &impl GenericClient, key_id: &str, sealed_check: &[u8]) -> Result<(), PgError> {
    let sql = "INSERT INTO vault_keys (id, check_value) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    execute(client, sql, &[&key_id, &sealed_check]).await.map(drop)
}
