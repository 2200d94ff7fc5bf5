//! Tables `credentials` and `key_pairs`.

use super::{
    super::row::{CredentialRow, KeyPairRow},
    session::{all, execute, one},
};
use crate::domain::{job::JobKind, sealed::key_id};
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::{Error as PgError, Row};

/// False: the name is taken.
pub(super) async fn create(transaction: &Transaction<'_>, credential: &CredentialRow) -> Result<bool, PgError> {
    let CredentialRow { name, version, origin, disabled_at_ms, key_pairs } = credential;
    let sql = "INSERT INTO credentials (name, version, origin, disabled_at_ms) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (name) DO NOTHING";
    let is_added = execute(transaction, sql, &[name, version, origin, disabled_at_ms]).await? == 1;
    if is_added {
        insert_pairs(transaction, name, key_pairs).await?;
    }
    Ok(is_added)
}

/// False: it has another version.
pub(super) async fn change(transaction: &Transaction<'_>, next: &CredentialRow) -> Result<bool, PgError> {
    let sql = "UPDATE credentials SET version = version + 1, origin = $3, disabled_at_ms = $4 \
               WHERE name = $1 AND version = $2";
    let is_changed =
        execute(transaction, sql, &[&next.name, &next.version, &next.origin, &next.disabled_at_ms]).await? == 1;
    if is_changed {
        delete_pairs(transaction, &next.name).await?;
        insert_pairs(transaction, &next.name, &next.key_pairs).await?;
    }
    Ok(is_changed)
}

/// False: it has another version.
pub(super) async fn delete(transaction: &Transaction<'_>, name: &str, expected_version: i64) -> Result<bool, PgError> {
    // The version is written by whoever is first, before the pairs, which refer to the credential.
    let sql = "UPDATE credentials SET version = version + 1 WHERE name = $1 AND version = $2";
    let is_there = execute(transaction, sql, &[&name, &expected_version]).await? == 1;
    if is_there {
        delete_pairs(transaction, name).await?;
        execute(transaction, "DELETE FROM credentials WHERE name = $1", &[&name]).await?;
    }
    Ok(is_there)
}

/// `name` None: all.
pub(super) async fn select(client: &impl GenericClient, name: Option<&str>) -> Result<Vec<CredentialRow>, PgError> {
    // One statement, so that a credential and its pairs are of the same moment.
    let sql = "SELECT name, version, origin, disabled_at_ms, id, sealed_key_pair, created_at_ms, used_at_ms, \
               tested_at_ms, test_code FROM credentials LEFT JOIN key_pairs ON credential = name \
               WHERE $1::text IS NULL OR name = $1 ORDER BY name, rank DESC";
    let rows = all(client, sql, &[&name], |row| Ok((credential_row(row)?, key_pair_row(row)?))).await?;
    let mut credentials: Vec<CredentialRow> = Vec::new();
    for (credential, pair) in rows {
        if credentials.last().is_none_or(|last| last.name != credential.name) {
            credentials.push(credential);
        }
        if let (Some(last), Some(pair)) = (credentials.last_mut(), pair) {
            last.key_pairs.push(pair);
        }
    }
    Ok(credentials)
}

/// Settled ones whose evidence is still to be fetched are among them.
pub(super) async fn unsettled(client: &impl GenericClient, name: &str) -> Result<i64, PgError> {
    let sql = "SELECT count(DISTINCT subject) FROM jobs JOIN verifications ON id = subject \
               WHERE kind IN ($2, $3) AND credential = $1";
    one(client, sql, &[&name, &JobKind::Settle.name(), &JobKind::FetchEvidence.name()]).await
}

pub(super) async fn note_used(client: &impl GenericClient, id: &str, at_ms: i64) -> Result<(), PgError> {
    let sql = "UPDATE key_pairs SET used_at_ms = greatest(used_at_ms, $2) WHERE id = $1";
    execute(client, sql, &[&id, &at_ms]).await.map(drop)
}

pub(super) async fn note_tested(client: &impl GenericClient, id: &str, at_ms: i64, code: &str) -> Result<(), PgError> {
    let sql = "UPDATE key_pairs SET tested_at_ms = $2, test_code = $3 WHERE id = $1";
    execute(client, sql, &[&id, &at_ms, &code]).await.map(drop)
}

async fn delete_pairs(transaction: &Transaction<'_>, credential: &str) -> Result<(), PgError> {
    execute(transaction, "DELETE FROM key_pairs WHERE credential = $1", &[&credential]).await.map(drop)
}

async fn insert_pairs(transaction: &Transaction<'_>, credential: &str, pairs: &[KeyPairRow]) -> Result<(), PgError> {
    let sql = "INSERT INTO key_pairs (id, credential, rank, sealed_key_pair, key_id, created_at_ms, used_at_ms, \
               tested_at_ms, test_code) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    for (rank, pair) in (1_i64..).zip(pairs.iter().rev()) {
        let KeyPairRow { id, sealed_key_pair, created_at_ms, used_at_ms, tested } = pair;
        let (tested_at_ms, test_code) = tested.clone().unzip();
        let sealing_key = key_id(sealed_key_pair);
        execute(
            transaction,
            sql,
            &[
                id,
                &credential,
                &rank,
                sealed_key_pair,
                &sealing_key,
                created_at_ms,
                used_at_ms,
                &tested_at_ms,
                &test_code,
            ],
        )
        .await?;
    }
    Ok(())
}

fn credential_row(row: &Row) -> Result<CredentialRow, PgError> {
    Ok(CredentialRow {
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        origin: row.try_get("origin")?,
        disabled_at_ms: row.try_get("disabled_at_ms")?,
        key_pairs: Vec::new(),
    })
}

/// None: the credential has no pairs.
fn key_pair_row(row: &Row) -> Result<Option<KeyPairRow>, PgError> {
    let Some(id) = row.try_get("id")? else { return Ok(None) };
    let tested_at_ms: Option<i64> = row.try_get("tested_at_ms")?;
    let test_code: Option<String> = row.try_get("test_code")?;
    Ok(Some(KeyPairRow {
        id,
        sealed_key_pair: row.try_get("sealed_key_pair")?,
        created_at_ms: row.try_get("created_at_ms")?,
        used_at_ms: row.try_get("used_at_ms")?,
        tested: tested_at_ms.zip(test_code),
    }))
}
