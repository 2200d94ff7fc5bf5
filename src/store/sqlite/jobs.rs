//! Table `jobs`: claimed by lease.

use super::super::row::{JobRow, Unsettled};
use crate::domain::job::JobKind;
use rusqlite::{Connection, OptionalExtension, params};

/// So many of those that are due for longest are claimed by rank.
const RANKED_AT_ONCE: u32 = 1000;

/// Ends all leases.
pub(super) fn free_leases(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("UPDATE jobs SET lease_token = NULL, lease_until_ms = NULL WHERE lease_token IS NOT NULL", [])
}

pub(super) fn any_due(connection: &Connection, kind: JobKind, now_ms: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = ?1 AND due_at_ms <= ?2 \
             AND (lease_until_ms IS NULL OR lease_until_ms <= ?2))",
        )?
        .query_row(params![kind.name(), now_ms], |row| row.get(0))
}

pub(super) fn keep_only(connection: &Connection, kind: JobKind, subject: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM jobs WHERE kind = ?1 AND subject <> ?2")?
        .execute(params![kind.name(), subject])?;
    Ok(())
}

pub(super) fn exists(connection: &Connection, kind: JobKind, subject: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = ?1 AND subject = ?2)")?
        .query_row(params![kind.name(), subject], |row| row.get(0))
}

pub(super) fn claim(
    connection: &Connection,
    kind: JobKind,
    now_ms: i64,
    lease_until_ms: i64,
    limit: u32,
    lease_token: &str,
) -> rusqlite::Result<Vec<JobRow>> {
    let mut jobs: Vec<(i64, JobRow)> = connection
        .prepare_cached(
            // Those that are due for longest, so that a long backlog is not sorted with each claim.
            "UPDATE jobs SET lease_token = ?4, lease_until_ms = ?3 WHERE kind = ?1 AND subject IN \
             (SELECT subject FROM (SELECT subject, rank_ms FROM jobs INDEXED BY jobs_due WHERE kind = ?1 AND due_at_ms <= ?2 \
              AND (lease_until_ms IS NULL OR lease_until_ms <= ?2) ORDER BY due_at_ms LIMIT ?6) ORDER BY rank_ms LIMIT ?5) \
             RETURNING rank_ms, subject, failures, lease_token",
        )?
        .query_map(params![kind.name(), now_ms, lease_until_ms, lease_token, limit, RANKED_AT_ONCE.max(limit)], |row| {
            let job = JobRow {
                kind,
                subject: row.get("subject")?,
                failures: row.get("failures")?,
                lease_token: row.get("lease_token")?,
            };
            Ok((row.get("rank_ms")?, job))
        })?
        .collect::<rusqlite::Result<_>>()?;
    // RETURNING has no order.
    jobs.sort_by(|(a, job_a), (b, job_b)| (a, &job_a.subject).cmp(&(b, &job_b.subject)));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// Whether the lease was not lost to somebody else.
pub(super) fn is_held(connection: &Connection, job: &JobRow) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = ?1 AND subject = ?2 AND lease_token = ?3)")?
        .query_row(params![job.kind.name(), job.subject, job.lease_token], |row| row.get(0))
}

pub(super) fn finish(connection: &Connection, job: &JobRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM jobs WHERE kind = ?1 AND subject = ?2 AND lease_token = ?3")?
        .execute(params![job.kind.name(), job.subject, job.lease_token])?;
    Ok(())
}

pub(super) fn reschedule(connection: &Connection, job: &JobRow, due_at_ms: i64, failures: u32) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE jobs SET due_at_ms = ?4, failures = ?5, lease_token = NULL, lease_until_ms = NULL, \
             rank_ms = CASE WHEN ?6 THEN ?4 ELSE rank_ms END \
             WHERE kind = ?1 AND subject = ?2 AND lease_token = ?3",
        )?
        .execute(params![
            job.kind.name(),
            job.subject,
            job.lease_token,
            due_at_ms,
            failures,
            job.kind.yields_after_failure()
        ])?;
    Ok(())
}

pub(super) fn first_due(connection: &Connection, kind: JobKind) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT min(due_at_ms) FROM jobs INDEXED BY jobs_due WHERE kind = ?1")?
        .query_row([kind.name()], |row| row.get(0))
}

pub(super) fn unsettled(connection: &Connection, now_ms: i64) -> rusqlite::Result<Unsettled> {
    const HOUR_MS: i64 = 3_600_000;
    let settle = JobKind::Settle.name();
    let mut unsettled = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE rank_ms > ?1), count(*) FILTER (WHERE rank_ms > ?2), \
             count(*) FILTER (WHERE rank_ms > ?3), count(*) FROM jobs INDEXED BY jobs_by_rank WHERE kind = ?4",
        )?
        .query_row(params![now_ms - 2 * HOUR_MS, now_ms - 24 * HOUR_MS, now_ms - 48 * HOUR_MS, settle], |row| {
            let younger_than: [u64; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(Unsettled {
                by_age: [
                    younger_than[0],
                    younger_than[1] - younger_than[0],
                    younger_than[2] - younger_than[1],
                    younger_than[3] - younger_than[2],
                ],
                oldest: None,
            })
        })?;
    unsettled.oldest = connection
        .prepare_cached(
            "SELECT created_at_ms, result_until_ms FROM jobs INDEXED BY jobs_by_rank JOIN verifications ON id = subject \
             WHERE kind = ?1 ORDER BY rank_ms LIMIT 1",
        )?
        .query_row([settle], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(unsettled)
}
