//! The ledger, and what it comes to: table `usage_days` is kept exact by every write that counts.

use super::{
    super::row::{AttemptRow, ChargeRow, UsageDay, UsageFilter},
    session::{all, execute, optional},
};
use crate::domain::bill_day::BillDay;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Error as PgError;

/// Adds to a day: verifications, attempts, charged attempts.
pub(super) async fn add(
    transaction: &Transaction<'_>,
    at_ms: i64,
    caller: &str,
    flow: &str,
    [verifications, attempts, charged]: [i64; 3],
) -> Result<(), PgError> {
    // Taken away is only what is there: so the row exists, and the insert's own values, which the
    // table's checks would refuse, are never negative.
    let sql = "INSERT INTO usage_days (day, caller, flow, verifications, attempts, charged_attempts) \
               VALUES ($1, $2, $3, greatest($4::bigint, 0), greatest($5::bigint, 0), greatest($6::bigint, 0)) \
               ON CONFLICT (day, caller, flow) DO UPDATE SET \
               verifications = usage_days.verifications + $4, attempts = usage_days.attempts + $5, \
               charged_attempts = usage_days.charged_attempts + $6";
    let day = BillDay::epoch_days_at(at_ms);
    execute(transaction, sql, &[&day, &caller, &flow, &verifications, &attempts, &charged]).await.map(drop)
}

/// An attempt that is known learns what was not known of it, and may so come to another day or get
/// a price. The verification's row is locked by the write that this is an effect of.
pub(super) async fn put_attempt(transaction: &Transaction<'_>, attempt: &AttemptRow) -> Result<(), PgError> {
    let sql = "SELECT created_at_ms, caller, flow FROM verifications WHERE id = $1 FOR NO KEY UPDATE";
    let of = optional(transaction, sql, &[&attempt.verification_id], |row| {
        let (caller, flow): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        Ok((row.try_get::<_, i64>(0)?, caller, flow))
    })
    .await?;
    // Without it the insert below fails: the attempt refers to it.
    let (created_at_ms, caller, flow) = of.unwrap_or_default();
    let sql = "SELECT at_ms, code, charged FROM attempts WHERE verification_id = $1 AND seq = $2";
    let known: Option<AttemptRow> = optional(transaction, sql, &[&attempt.verification_id, &attempt.seq], |row| {
        Ok(AttemptRow {
            at_ms: row.try_get("at_ms")?,
            code: row.try_get("code")?,
            charged: row.try_get("charged")?,
            ..attempt.clone()
        })
    })
    .await?;
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
    let sql = "INSERT INTO attempts (verification_id, seq, at_ms, code, charged, counted_at_ms) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (verification_id, seq) DO UPDATE SET \
               at_ms = excluded.at_ms, code = excluded.code, charged = excluded.charged, \
               counted_at_ms = excluded.counted_at_ms";
    execute(
        transaction,
        sql,
        &[&next.verification_id, &next.seq, &next.at_ms, &next.code, &next.charged, &counted_at_ms(&next)],
    )
    .await?;
    let more = charged(&next) - known.as_ref().map_or(0, charged);
    if more != 0 {
        let sql = "UPDATE verifications SET charged_attempts = charged_attempts + $2 WHERE id = $1";
        execute(transaction, sql, &[&next.verification_id, &more]).await?;
    }
    if let Some(known) = &known {
        add(transaction, counted_at_ms(known), &caller, &flow, [0, -1, -charged(known)]).await?;
    }
    add(transaction, counted_at_ms(&next), &caller, &flow, [0, 1, charged(&next)]).await
}

pub(super) async fn by_day(client: &impl GenericClient, filter: &UsageFilter) -> Result<Vec<UsageDay>, PgError> {
    let sql = "SELECT * FROM usage_days WHERE day >= $1 AND day <= $2 AND ($3 = '' OR caller = $3) \
               AND ($4 = '' OR flow = $4) AND verifications + attempts > 0 ORDER BY day, caller, flow";
    let UsageFilter { first_day, last_day, caller, flow } = filter;
    all(client, sql, &[first_day, last_day, caller, flow], |row| {
        let count = |column: &str| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(UsageDay {
            day: row.try_get("day")?,
            caller: row.try_get("caller")?,
            flow: row.try_get("flow")?,
            verifications: count("verifications")?,
            attempts: count("attempts")?,
            charged_attempts: count("charged_attempts")?,
        })
    })
    .await
}

pub(super) async fn charges(
    client: &impl GenericClient,
    rule_id: &str,
    from_ms: i64,
    before_ms: i64,
) -> Result<Vec<ChargeRow>, PgError> {
    let sql = "SELECT v.id, v.token_hash, a.seq FROM attempts a JOIN verifications v ON v.id = a.verification_id \
               WHERE a.charged AND a.counted_at_ms >= $2 AND a.counted_at_ms < $3 AND v.rule_id = $1 \
               ORDER BY v.id, a.seq";
    let attempts: Vec<(String, Vec<u8>, String)> = all(client, sql, &[&rule_id, &from_ms, &before_ms], |row| {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    })
    .await?;
    let mut rows: Vec<ChargeRow> = Vec::new();
    for (verification_id, token_hash, seq) in attempts {
        match rows.last_mut().filter(|row| row.verification_id == verification_id) {
            Some(row) => row.seqs.push(seq),
            None => rows.push(ChargeRow { verification_id, token_hash, seqs: vec![seq] }),
        }
    }
    Ok(rows)
}
