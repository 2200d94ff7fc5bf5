//! Table `verifications`.

use super::{
    super::row::{CardUse, ListFilter, NewRow, ProgressRow, RowMac, VerificationRow},
    session::{all, execute, optional},
    usage,
};
use crate::domain::sealed::key_id;
use deadpool_postgres::{GenericClient, Transaction};
use std::collections::BTreeSet;
use tokio_postgres::{Error as PgError, Row, types::ToSql};

pub(super) async fn find(client: &impl GenericClient, id: &str) -> Result<Option<VerificationRow>, PgError> {
    optional(client, "SELECT * FROM verifications WHERE id = $1", &[&id], verification_row).await
}

pub(super) async fn find_by_request_id(
    client: &impl GenericClient,
    caller: &str,
    request_id: &str,
) -> Result<Option<VerificationRow>, PgError> {
    let sql = "SELECT * FROM verifications WHERE caller = $1 AND request_id = $2";
    optional(client, sql, &[&caller, &request_id], verification_row).await
}

pub(super) async fn find_by_token_hash(
    client: &impl GenericClient,
    hashes: &[Vec<u8>],
) -> Result<Option<VerificationRow>, PgError> {
    let sql = "SELECT * FROM verifications WHERE token_hash = ANY($1) LIMIT 1";
    optional(client, sql, &[&hashes], verification_row).await
}

/// False: the caller has used the request id. Of two that use it at once one waits for the other's
/// commit.
pub(super) async fn insert(transaction: &Transaction<'_>, new: &NewRow, mac: &RowMac) -> Result<bool, PgError> {
    let sql = "INSERT INTO verifications (id, version, caller, flow, rule_id, credential, reference, intention, \
               request_id, request_fingerprint, token_hash, id_card_hash, token_key_id, made_key_id, \
               vendor_request_id, created_at_ms, expires_at_ms, result_until_ms, sealed_session, session_key_id, \
               sealed_subject, subject_key_id, state, mac, mac_key_id) \
               VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
               'pending', $21, $22) ON CONFLICT (caller, request_id) WHERE request_id IS NOT NULL DO NOTHING";
    let inserted = execute(
        transaction,
        sql,
        &[
            &new.id,
            &new.caller,
            &new.flow,
            &new.rule_id,
            &new.credential,
            &new.reference,
            &new.intention,
            &new.request_id,
            &new.request_fingerprint,
            &new.token_hash,
            &new.id_card_hash,
            &new.key_id,
            &new.vendor_request_id,
            &new.created_at_ms,
            &new.expires_at_ms,
            &new.result_until_ms,
            &new.sealed_session,
            &key_id(&new.sealed_session),
            &new.sealed_subject,
            &key_id(&new.sealed_subject),
            &mac.mac,
            &mac.key_id,
        ],
    )
    .await?;
    let is_inserted = inserted == 1;
    if is_inserted {
        usage::add(transaction, new.created_at_ms, &new.caller, &new.flow, [1, 0, 0]).await?;
    }
    Ok(is_inserted)
}

/// False: the verification has another version.
pub(super) async fn advance(
    transaction: &Transaction<'_>,
    id: &str,
    expected_version: i64,
    next: &ProgressRow,
    mac: &RowMac,
) -> Result<bool, PgError> {
    let sql = "UPDATE verifications SET version = version + 1, state = $3, settled_at_ms = $4, checked_at_ms = $5, \
               check_request_id = $6, last_attempt_code = $7, last_attempt_at_ms = $8, attempts_exhausted = $9, \
               result_lost = $10, evidence_lost = $11, sealed_result = $12, result_key_id = $13, mac = $14, \
               mac_key_id = $15 WHERE id = $1 AND version = $2";
    let changed = execute(
        transaction,
        sql,
        &[
            &id,
            &expected_version,
            &next.state,
            &next.settled_at_ms,
            &next.checked_at_ms,
            &next.check_request_id,
            &next.last_attempt_code,
            &next.last_attempt_at_ms,
            &next.attempts_exhausted,
            &next.result_lost,
            &next.evidence_lost,
            &next.sealed_result,
            &key_id(next.sealed_result.as_deref().unwrap_or_default()),
            &mac.mac,
            &mac.key_id,
        ],
    )
    .await?;
    Ok(changed == 1)
}

/// False: the verification has another version.
pub(super) async fn redact(
    transaction: &Transaction<'_>,
    id: &str,
    expected_version: i64,
    at_ms: i64,
    keep_session: bool,
    mac: &RowMac,
) -> Result<bool, PgError> {
    let sql = "UPDATE verifications SET version = version + 1, sealed_subject = '', subject_key_id = '', \
               sealed_result = NULL, result_key_id = '', request_fingerprint = '', id_card_hash = NULL, \
               sealed_session = CASE WHEN $4 THEN sealed_session ELSE '' END, \
               session_key_id = CASE WHEN $4 THEN session_key_id ELSE '' END, \
               redacted_at_ms = coalesce(redacted_at_ms, $3), mac = $5, mac_key_id = $6 \
               WHERE id = $1 AND version = $2";
    let changed =
        execute(transaction, sql, &[&id, &expected_version, &at_ms, &keep_session, &mac.mac, &mac.key_id]).await?;
    Ok(changed == 1)
}

pub(super) async fn mark_fetched(client: &impl GenericClient, id: &str, at_ms: i64) -> Result<(), PgError> {
    let sql = "UPDATE verifications SET result_fetched_at_ms = $2 WHERE id = $1 AND result_fetched_at_ms IS NULL";
    execute(client, sql, &[&id, &at_ms]).await.map(drop)
}

pub(super) async fn id_card_uses(
    client: &impl GenericClient,
    hashes: &[Vec<u8>],
    caller: &str,
    expired_after_ms: i64,
) -> Result<Vec<CardUse>, PgError> {
    let sql = "SELECT coalesce(attempts.at_ms, created_at_ms) AS used_at_ms, caller = $2 AS is_own FROM verifications \
               LEFT JOIN attempts ON attempts.verification_id = verifications.id \
               WHERE expires_at_ms > $3 AND (attempts.seq IS NOT NULL OR (caller = $2 AND state = 'pending')) \
               AND id_card_hash = ANY($1)";
    all(client, sql, &[&hashes, &caller, &expired_after_ms], |row| {
        Ok(CardUse { at_ms: row.try_get("used_at_ms")?, is_own: row.try_get("is_own")? })
    })
    .await
}

pub(super) async fn forget_id_cards(
    client: &impl GenericClient,
    expired_before_ms: i64,
    limit: u32,
) -> Result<u64, PgError> {
    let sql = "UPDATE verifications SET id_card_hash = NULL WHERE id IN (SELECT id FROM verifications \
               WHERE id_card_hash IS NOT NULL AND expires_at_ms < $1 LIMIT $2)";
    execute(client, sql, &[&expired_before_ms, &i64::from(limit)]).await
}

/// One statement, so that all is of one moment. Of several states each is looked up by the index:
/// together they would have to be sorted.
pub(super) async fn list(client: &impl GenericClient, filter: &ListFilter) -> Result<Vec<VerificationRow>, PgError> {
    let limit = i64::from(filter.limit);
    let (comparison, order) = if filter.oldest_first { (">", "ASC") } else { ("<", "DESC") };
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&filter.caller, &limit];
    let mut conditions = "caller = $1".to_owned();
    if !filter.flow.is_empty() {
        values.push(&filter.flow);
        conditions += &format!(" AND flow = ${}", values.len());
    }
    if !filter.reference.is_empty() {
        values.push(&filter.reference);
        conditions += &format!(" AND reference = ${} AND reference <> ''", values.len());
    }
    for (sign, at_ms) in [(">=", &filter.created_from_ms), ("<", &filter.created_before_ms)] {
        if at_ms.is_some() {
            values.push(at_ms);
            conditions += &format!(" AND created_at_ms {sign} ${}", values.len());
        }
    }
    if filter.never_fetched {
        conditions += " AND state <> 'pending' AND result_fetched_at_ms IS NULL";
    }
    if let Some((created_at_ms, id)) = &filter.after {
        values.extend([created_at_ms as &(dyn ToSql + Sync), id]);
        let at = values.len();
        conditions += &format!(" AND (created_at_ms, id) {comparison} (${}, ${at})", at - 1);
    }
    let order = format!("ORDER BY created_at_ms {order}, id {order} LIMIT $2");
    let states: BTreeSet<&String> = filter.states.iter().collect();
    let sql = if states.is_empty() {
        format!("SELECT * FROM verifications WHERE {conditions} {order}")
    } else {
        let mut each = Vec::new();
        for state in states {
            values.push(state);
            let at = values.len();
            each.push(format!("(SELECT * FROM verifications WHERE {conditions} AND state = ${at} {order})"));
        }
        format!("SELECT * FROM ({}) AS listed {order}", each.join(" UNION ALL "))
    };
    all(client, &sql, &values, verification_row).await
}

pub(super) fn verification_row(row: &Row) -> Result<VerificationRow, PgError> {
    let charged_attempts: i64 = row.try_get("charged_attempts")?;
    Ok(VerificationRow {
        created: NewRow {
            id: row.try_get("id")?,
            caller: row.try_get("caller")?,
            flow: row.try_get("flow")?,
            rule_id: row.try_get("rule_id")?,
            credential: row.try_get("credential")?,
            reference: row.try_get("reference")?,
            intention: row.try_get("intention")?,
            request_id: row.try_get("request_id")?,
            key_id: row.try_get("made_key_id")?,
            request_fingerprint: row.try_get("request_fingerprint")?,
            token_hash: row.try_get("token_hash")?,
            id_card_hash: row.try_get("id_card_hash")?,
            vendor_request_id: row.try_get("vendor_request_id")?,
            created_at_ms: row.try_get("created_at_ms")?,
            expires_at_ms: row.try_get("expires_at_ms")?,
            result_until_ms: row.try_get("result_until_ms")?,
            sealed_session: row.try_get("sealed_session")?,
            sealed_subject: row.try_get("sealed_subject")?,
        },
        version: row.try_get("version")?,
        progress: ProgressRow {
            state: row.try_get("state")?,
            settled_at_ms: row.try_get("settled_at_ms")?,
            checked_at_ms: row.try_get("checked_at_ms")?,
            check_request_id: row.try_get("check_request_id")?,
            last_attempt_code: row.try_get("last_attempt_code")?,
            last_attempt_at_ms: row.try_get("last_attempt_at_ms")?,
            attempts_exhausted: row.try_get("attempts_exhausted")?,
            result_lost: row.try_get("result_lost")?,
            evidence_lost: row.try_get("evidence_lost")?,
            sealed_result: row.try_get("sealed_result")?,
        },
        mac: RowMac { key_id: row.try_get("mac_key_id")?, mac: row.try_get("mac")? },
        charged_attempts: u32::try_from(charged_attempts).unwrap_or(u32::MAX),
        result_fetched_at_ms: row.try_get("result_fetched_at_ms")?,
        redacted_at_ms: row.try_get("redacted_at_ms")?,
    })
}
