//! The ledger, added up.

use super::super::row::{ChargeRow, UsageDay, UsageFilter};
use rusqlite::{Connection, named_params, params};

pub(super) fn by_day(connection: &Connection, filter: &UsageFilter) -> rusqlite::Result<Vec<UsageDay>> {
    connection
        .prepare_cached(
            "SELECT (at_ms + :offset) / 86400000 AS day, caller, flow, sum(verifications) AS verifications, \
             sum(attempts) AS attempts, sum(charged) AS charged_attempts FROM ( \
               SELECT created_at_ms AS at_ms, caller, flow, 1 AS verifications, 0 AS attempts, 0 AS charged \
               FROM verifications WHERE created_at_ms >= :from AND created_at_ms < :before \
               UNION ALL \
               SELECT coalesce(a.at_ms, v.created_at_ms) AS at_ms, v.caller, v.flow, 0, 1, coalesce(a.charged, 0) \
               FROM attempts a JOIN verifications v ON v.id = a.verification_id \
               WHERE coalesce(a.at_ms, v.created_at_ms) >= :from AND coalesce(a.at_ms, v.created_at_ms) < :before \
             ) WHERE (:caller = '' OR caller = :caller) AND (:flow = '' OR flow = :flow) \
             GROUP BY day, caller, flow ORDER BY day, caller, flow",
        )?
        .query_map(
            named_params! {
                ":offset": filter.zone_offset_ms,
                ":from": filter.from_ms,
                ":before": filter.before_ms,
                ":caller": filter.caller,
                ":flow": filter.flow,
            },
            |row| {
                Ok(UsageDay {
                    day: row.get("day")?,
                    caller: row.get("caller")?,
                    flow: row.get("flow")?,
                    verifications: row.get("verifications")?,
                    attempts: row.get("attempts")?,
                    charged_attempts: row.get("charged_attempts")?,
                })
            },
        )?
        .collect()
}

pub(super) fn charges(
    connection: &Connection,
    rule_id: &str,
    from_ms: i64,
    before_ms: i64,
) -> rusqlite::Result<Vec<ChargeRow>> {
    connection
        .prepare_cached(
            "SELECT v.id, v.token_hash, a.seq FROM attempts a JOIN verifications v \
             ON v.id = a.verification_id WHERE v.rule_id = ?1 AND a.charged = 1 AND coalesce(a.at_ms, v.created_at_ms) >= ?2 AND coalesce(a.at_ms, v.created_at_ms) < ?3 \
             ORDER BY v.id, a.seq",
        )?
        .query_map(params![rule_id, from_ms, before_ms], |row| {
            Ok((row.get("id")?, row.get("token_hash")?, row.get("seq")?))
        })?
        .try_fold(Vec::new(), |mut rows: Vec<ChargeRow>, attempt| {
            let (verification_id, token_hash, seq): (String, Vec<u8>, String) = attempt?;
            match rows.last_mut().filter(|row| row.verification_id == verification_id) {
                Some(row) => row.seqs.push(seq),
                None => rows.push(ChargeRow { verification_id, token_hash, seqs: vec![seq] }),
            }
            Ok(rows)
        })
}
