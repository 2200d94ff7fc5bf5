//! Table `verifications`.

use super::{
    super::row::{CardUse, ListFilter, NewRow, ProgressRow, RowMac, VerificationRow},
    usage,
};
use crate::domain::sealed::key_id;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params, params};
use std::collections::BTreeSet;

/// Caller, request id.
pub(super) const BY_REQUEST_ID: &str = "caller = ?1 AND request_id = ?2";

pub(super) fn select_where(
    connection: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Option<VerificationRow>> {
    connection
        .prepare_cached(&format!("SELECT * FROM verifications WHERE {condition}"))?
        .query_row(params, verification_row)
        .optional()
}

pub(super) fn insert(connection: &Connection, new: &NewRow, mac: &RowMac) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO verifications (id, version, caller, flow, rule_id, credential, reference, intention, request_id, \
             request_fingerprint, token_hash, id_card_hash, token_key_id, made_key_id, vendor_request_id, created_at_ms, \
             expires_at_ms, result_until_ms, sealed_session, \
             session_key_id, sealed_subject, subject_key_id, state, attempts_exhausted, mac, mac_key_id) VALUES (:id, 1, :caller, :flow, :rule_id, :credential, \
             :reference, :intention, :request_id, :request_fingerprint, :token_hash, :id_card_hash, :key_id, :key_id, \
             :vendor_request_id, :created_at_ms, :expires_at_ms, :result_until_ms, :sealed_session, :session_key_id, \
             :sealed_subject, :subject_key_id, 'pending', 0, :mac, :mac_key_id)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":caller": new.caller,
            ":flow": new.flow,
            ":rule_id": new.rule_id,
            ":credential": new.credential,
            ":reference": new.reference,
            ":intention": new.intention,
            ":request_id": new.request_id,
            ":key_id": new.key_id,
            ":request_fingerprint": new.request_fingerprint,
            ":token_hash": new.token_hash,
            ":id_card_hash": new.id_card_hash,
            ":vendor_request_id": new.vendor_request_id,
            ":created_at_ms": new.created_at_ms,
            ":expires_at_ms": new.expires_at_ms,
            ":result_until_ms": new.result_until_ms,
            ":sealed_session": new.sealed_session,
            ":session_key_id": key_id(&new.sealed_session),
            ":sealed_subject": new.sealed_subject,
            ":subject_key_id": key_id(&new.sealed_subject),
            ":mac": mac.mac,
            ":mac_key_id": mac.key_id,
        })?;
    usage::add(connection, new.created_at_ms, &new.caller, &new.flow, [1, 0, 0])
}

/// False: the verification has another version.
pub(super) fn advance(
    connection: &Connection,
    id: &str,
    expected_version: i64,
    next: &ProgressRow,
    mac: &RowMac,
) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE verifications SET version = version + 1, state = :state, settled_at_ms = :settled_at_ms, \
             checked_at_ms = :checked_at_ms, check_request_id = :check_request_id, \
             last_attempt_code = :last_attempt_code, last_attempt_at_ms = :last_attempt_at_ms, \
             attempts_exhausted = :attempts_exhausted, result_lost = :result_lost, evidence_lost = :evidence_lost, \
             sealed_result = :sealed_result, result_key_id = :result_key_id, mac = :mac, mac_key_id = :mac_key_id \
             WHERE id = :id AND version = :expected_version",
        )?
        .execute(named_params! {
            ":id": id,
            ":expected_version": expected_version,
            ":state": next.state,
            ":settled_at_ms": next.settled_at_ms,
            ":checked_at_ms": next.checked_at_ms,
            ":check_request_id": next.check_request_id,
            ":last_attempt_code": next.last_attempt_code,
            ":last_attempt_at_ms": next.last_attempt_at_ms,
            ":attempts_exhausted": next.attempts_exhausted,
            ":result_lost": next.result_lost,
            ":evidence_lost": next.evidence_lost,
            ":sealed_result": next.sealed_result,
            ":result_key_id": key_id(next.sealed_result.as_deref().unwrap_or_default()),
            ":mac": mac.mac,
            ":mac_key_id": mac.key_id,
        })?;
    Ok(changed == 1)
}

/// False: the verification has another version.
pub(super) fn redact(
    connection: &Connection,
    id: &str,
    expected_version: i64,
    at_ms: i64,
    keep_session: bool,
    mac: &RowMac,
) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE verifications SET version = version + 1, sealed_subject = x'', subject_key_id = '', \
             sealed_result = NULL, result_key_id = '', request_fingerprint = x'', id_card_hash = NULL, \
             sealed_session = CASE WHEN ?4 THEN sealed_session ELSE x'' END, \
             session_key_id = CASE WHEN ?4 THEN session_key_id ELSE '' END, \
             redacted_at_ms = coalesce(redacted_at_ms, ?3), mac = ?5, mac_key_id = ?6 WHERE id = ?1 AND version = ?2",
        )?
        .execute(params![id, expected_version, at_ms, keep_session, mac.mac, mac.key_id])?;
    Ok(changed == 1)
}

pub(super) fn count_charged_attempts(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE verifications SET charged_attempts = \
             (SELECT count(*) FROM attempts WHERE verification_id = ?1 AND charged = 1) WHERE id = ?1",
        )?
        .execute(params![id])?;
    Ok(())
}

pub(super) fn id_card_uses(
    connection: &Connection,
    hashes: &[Vec<u8>],
    caller: &str,
    expired_after_ms: i64,
) -> rusqlite::Result<Vec<CardUse>> {
    let sql = format!(
        "SELECT coalesce(attempts.at_ms, created_at_ms) AS used_at_ms, caller = ? AS is_own FROM verifications \
         LEFT JOIN attempts ON attempts.verification_id = verifications.id \
         WHERE expires_at_ms > ? AND (attempts.seq IS NOT NULL OR (caller = ? AND state = 'pending')) \
         AND id_card_hash IN ({})",
        vec!["?"; hashes.len()].join(", ")
    );
    let mut values: Vec<&dyn ToSql> = vec![&caller, &expired_after_ms, &caller];
    values.extend(hashes.iter().map(|hash| hash as &dyn ToSql));
    let card_use = |row: &Row<'_>| Ok(CardUse { at_ms: row.get("used_at_ms")?, is_own: row.get("is_own")? });
    connection.prepare_cached(&sql)?.query_map(values.as_slice(), card_use)?.collect()
}

pub(super) fn forget_id_cards(connection: &Connection, expired_before_ms: i64, limit: u32) -> rusqlite::Result<u64> {
    let forgotten = connection
        .prepare_cached(
            "UPDATE verifications SET id_card_hash = NULL WHERE id IN (SELECT id FROM verifications \
             INDEXED BY verifications_with_id_card WHERE id_card_hash IS NOT NULL AND expires_at_ms < ?1 LIMIT ?2)",
        )?
        .execute(params![expired_before_ms, limit])?;
    Ok(forgotten as u64)
}

/// Of several states each is looked up by the index: together they would have to be sorted.
pub(super) fn list(connection: &Connection, filter: &ListFilter) -> rusqlite::Result<Vec<VerificationRow>> {
    let states: BTreeSet<&str> = filter.states.iter().map(String::as_str).collect();
    if states.is_empty() {
        return list_of_state(connection, filter, None);
    }
    // Of one moment: else one that changes its state meanwhile is found twice or not at all.
    let moment = connection.unchecked_transaction()?;
    let mut rows = Vec::new();
    for state in states {
        rows.append(&mut list_of_state(&moment, filter, Some(state))?);
    }
    let place = |row: &VerificationRow| (row.created.created_at_ms, row.created.id.clone());
    rows.sort_by_cached_key(place);
    if !filter.oldest_first {
        rows.reverse();
    }
    rows.truncate(filter.limit as usize);
    Ok(rows)
}

fn list_of_state(
    connection: &Connection,
    filter: &ListFilter,
    state: Option<&str>,
) -> rusqlite::Result<Vec<VerificationRow>> {
    // What leaves the fewest decides. The planner cannot know: without statistics all indexes are
    // the same to it.
    let index = match state {
        _ if !filter.reference.is_empty() => "verifications_by_reference",
        _ if filter.never_fetched => "verifications_never_fetched",
        Some(_) => "verifications_by_state",
        None if !filter.flow.is_empty() => "verifications_by_flow",
        None => "verifications_by_caller",
    };
    let mut conditions = vec!["caller = ?".to_owned()];
    let mut values: Vec<&dyn ToSql> = vec![&filter.caller];
    if let Some(state) = &state {
        conditions.push("state = ?".to_owned());
        values.push(state);
    }
    if !filter.flow.is_empty() {
        conditions.push("flow = ?".to_owned());
        values.push(&filter.flow);
    }
    if !filter.reference.is_empty() {
        conditions.push("reference = ? AND reference <> ''".to_owned());
        values.push(&filter.reference);
    }
    for (comparison, at_ms) in [(">=", &filter.created_from_ms), ("<", &filter.created_before_ms)] {
        if at_ms.is_some() {
            conditions.push(format!("created_at_ms {comparison} ?"));
            values.push(at_ms);
        }
    }
    if filter.never_fetched {
        conditions.push("state <> 'pending' AND result_fetched_at_ms IS NULL".into());
    }
    let (comparison, order) = if filter.oldest_first { (">", "ASC") } else { ("<", "DESC") };
    if let Some((created_at_ms, id)) = &filter.after {
        conditions.push(format!("(created_at_ms, id) {comparison} (?, ?)"));
        values.extend([created_at_ms as &dyn ToSql, id]);
    }
    values.push(&filter.limit);
    let sql = format!(
        "SELECT * FROM verifications INDEXED BY {index} WHERE {} ORDER BY created_at_ms {order}, id {order} LIMIT ?",
        conditions.join(" AND ")
    );
    connection.prepare_cached(&sql)?.query_map(values.as_slice(), verification_row)?.collect()
}

pub(super) fn verification_row(row: &Row<'_>) -> rusqlite::Result<VerificationRow> {
    Ok(VerificationRow {
        created: NewRow {
            id: row.get("id")?,
            caller: row.get("caller")?,
            flow: row.get("flow")?,
            rule_id: row.get("rule_id")?,
            credential: row.get("credential")?,
            reference: row.get("reference")?,
            intention: row.get("intention")?,
            request_id: row.get("request_id")?,
            key_id: row.get("made_key_id")?,
            request_fingerprint: row.get("request_fingerprint")?,
            token_hash: row.get("token_hash")?,
            id_card_hash: row.get("id_card_hash")?,
            vendor_request_id: row.get("vendor_request_id")?,
            created_at_ms: row.get("created_at_ms")?,
            expires_at_ms: row.get("expires_at_ms")?,
            result_until_ms: row.get("result_until_ms")?,
            sealed_session: row.get("sealed_session")?,
            sealed_subject: row.get("sealed_subject")?,
        },
        version: row.get("version")?,
        progress: ProgressRow {
            state: row.get("state")?,
            settled_at_ms: row.get("settled_at_ms")?,
            checked_at_ms: row.get("checked_at_ms")?,
            check_request_id: row.get("check_request_id")?,
            last_attempt_code: row.get("last_attempt_code")?,
            last_attempt_at_ms: row.get("last_attempt_at_ms")?,
            attempts_exhausted: row.get("attempts_exhausted")?,
            result_lost: row.get("result_lost")?,
            evidence_lost: row.get("evidence_lost")?,
            sealed_result: row.get("sealed_result")?,
        },
        mac: RowMac { key_id: row.get("mac_key_id")?, mac: row.get("mac")? },
        charged_attempts: row.get("charged_attempts")?,
        result_fetched_at_ms: row.get("result_fetched_at_ms")?,
        redacted_at_ms: row.get("redacted_at_ms")?,
    })
}
