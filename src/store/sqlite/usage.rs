//! The ledger, and what it comes to: table `usage_days` is kept exact by every write that counts.

use super::super::row::{AttemptRow, ChargeRow, UsageDay, UsageFilter};
use crate::domain::bill_day::BillDay;
use rusqlite::{Connection, OptionalExtension, named_params, params};

/// Adds to a day: verifications, attempts, charged attempts.
pub(super) fn add(
    connection: &Connection,
    at_ms: i64,
    caller: &str,
    flow: &str,
    [verifications, attempts, charged]: [i64; 3],
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            // What is taken away is there: an upsert would first hold the negative row against the
            // table's checks.
            "INSERT INTO usage_days (day, caller, flow, verifications, attempts, charged_attempts) \
             VALUES (?1, ?2, ?3, 0, 0, 0) ON CONFLICT (day, caller, flow) DO NOTHING",
        )?
        .execute(params![BillDay::epoch_days_at(at_ms), caller, flow])?;
    connection
        .prepare_cached(
            "UPDATE usage_days SET verifications = verifications + ?4, attempts = attempts + ?5, \
             charged_attempts = charged_attempts + ?6 WHERE day = ?1 AND caller = ?2 AND flow = ?3",
        )?
        .execute(params![BillDay::epoch_days_at(at_ms), caller, flow, verifications, attempts, charged])?;
    Ok(())
}

/// An attempt that is known learns what was not known of it, and may so come to another day or get
/// a price.
pub(super) fn put_attempt(connection: &Connection, attempt: &AttemptRow) -> rusqlite::Result<()> {
    let (created_at_ms, caller, flow): (i64, String, String) = connection
        .prepare_cached("SELECT created_at_ms, caller, flow FROM verifications WHERE id = ?1")?
        .query_row([&attempt.verification_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let known: Option<AttemptRow> = connection
        .prepare_cached("SELECT at_ms, code, charged FROM attempts WHERE verification_id = ?1 AND seq = ?2")?
        .query_row(params![attempt.verification_id, attempt.seq], |row| {
            Ok(AttemptRow {
                at_ms: row.get("at_ms")?,
                code: row.get("code")?,
                charged: row.get("charged")?,
                ..attempt.clone()
            })
        })
        .optional()?;
    let next = match &known {
        None => attempt.clone(),
        Some(known) => AttemptRow {
            at_ms: attempt.at_ms.or(known.at_ms),
            code: attempt.code.or(known.code),
            charged: attempt.charged.or(known.charged),
            ..attempt.clone()
        },
    };
    if known.as_ref() == Some(&next) {
        return Ok(());
    }
    let counted_at_ms = |attempt: &AttemptRow| attempt.at_ms.unwrap_or(created_at_ms);
    let charged = |attempt: &AttemptRow| i64::from(attempt.charged == Some(true));
    connection
        .prepare_cached(
            "INSERT INTO attempts (verification_id, seq, at_ms, code, charged, counted_at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (verification_id, seq) DO UPDATE SET at_ms = excluded.at_ms, \
             code = excluded.code, charged = excluded.charged, counted_at_ms = excluded.counted_at_ms",
        )?
        .execute(params![next.verification_id, next.seq, next.at_ms, next.code, next.charged, counted_at_ms(&next)])?;
    if let Some(known) = &known {
        add(connection, counted_at_ms(known), &caller, &flow, [0, -1, -charged(known)])?;
    }
    add(connection, counted_at_ms(&next), &caller, &flow, [0, 1, charged(&next)])
}

pub(super) fn by_day(connection: &Connection, filter: &UsageFilter) -> rusqlite::Result<Vec<UsageDay>> {
    connection
        .prepare_cached(
            "SELECT * FROM usage_days WHERE day >= :first AND day <= :last AND (:caller = '' OR caller = :caller) \
             AND (:flow = '' OR flow = :flow) AND verifications + attempts > 0 ORDER BY day, caller, flow",
        )?
        .query_map(
            named_params! {
                ":first": filter.first_day,
                ":last": filter.last_day,
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
            "SELECT v.id, v.token_hash, a.seq FROM attempts a INDEXED BY attempts_charged \
             CROSS JOIN verifications v ON v.id = a.verification_id \
             WHERE a.charged = 1 AND a.counted_at_ms >= ?2 AND a.counted_at_ms < ?3 AND v.rule_id = ?1 \
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
