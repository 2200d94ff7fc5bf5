//! Table `jobs`: claimed by lease.

use super::{
    super::row::{JobRow, Unsettled},
    session::{Params, all, execute, one, optional},
};
use crate::domain::job::JobKind;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Error as PgError;

/// So many of those that are due for longest are claimed by rank.
const RANKED_AT_ONCE: u32 = 1000;

/// When jobs are claimed: they are due by the clock of the gateway, which said when, and leased by
/// the database's, so that replicas whose clocks differ agree when a lease has ended.
pub(super) struct ClaimTime {
    pub(super) now_ms: i64,
    pub(super) database_now_ms: i64,
    /// In the database's time.
    pub(super) lease_until_ms: i64,
}

pub(super) async fn any_due(client: &impl GenericClient, kind: JobKind, time: &ClaimTime) -> Result<bool, PgError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = $1 AND due_at_ms <= $2 \
               AND (lease_until_ms IS NULL OR lease_until_ms <= $3))";
    one(client, sql, &[&kind.name(), &time.now_ms, &time.database_now_ms]).await
}

pub(super) async fn keep_only(client: &impl GenericClient, kind: JobKind, subject: &str) -> Result<(), PgError> {
    execute(client, "DELETE FROM jobs WHERE kind = $1 AND subject <> $2", &[&kind.name(), &subject]).await.map(drop)
}

pub(super) async fn exists(client: &impl GenericClient, kind: JobKind, subject: &str) -> Result<bool, PgError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = $1 AND subject = $2)";
    one(client, sql, &[&kind.name(), &subject]).await
}

/// Two that claim at once each pass over what the other has locked.
pub(super) async fn claim(
    client: &impl GenericClient,
    kind: JobKind,
    time: &ClaimTime,
    limit: u32,
    lease_token: &str,
) -> Result<Vec<JobRow>, PgError> {
    // Those that are due for longest, so that a long backlog is not sorted with each claim.
    let sql = "WITH due AS MATERIALIZED (SELECT subject FROM jobs WHERE kind = $1 AND due_at_ms <= $2 \
                   AND (lease_until_ms IS NULL OR lease_until_ms <= $7) ORDER BY due_at_ms LIMIT $6), \
               picked AS MATERIALIZED (SELECT subject FROM jobs WHERE kind = $1 AND due_at_ms <= $2 \
                   AND (lease_until_ms IS NULL OR lease_until_ms <= $7) AND subject IN (SELECT subject FROM due) \
                   ORDER BY rank_ms LIMIT $5 FOR UPDATE SKIP LOCKED) \
               UPDATE jobs SET lease_token = $4, lease_until_ms = $3 \
               FROM picked WHERE jobs.kind = $1 AND jobs.subject = picked.subject \
               RETURNING jobs.rank_ms, jobs.subject, jobs.failures";
    let (limit, ranked) = (i64::from(limit), i64::from(RANKED_AT_ONCE.max(limit)));
    let ClaimTime { now_ms, database_now_ms, lease_until_ms } = time;
    let params: Params<'_> = &[&kind.name(), now_ms, lease_until_ms, &lease_token, &limit, &ranked, database_now_ms];
    let mut jobs: Vec<(i64, JobRow)> = all(client, sql, params, |row| {
        let failures: i64 = row.try_get("failures")?;
        let job = JobRow {
            kind,
            subject: row.try_get("subject")?,
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            lease_token: lease_token.to_owned(),
        };
        Ok((row.try_get("rank_ms")?, job))
    })
    .await?;
    // RETURNING has no order.
    jobs.sort_by(|(a, job_a), (b, job_b)| (a, &job_a.subject).cmp(&(b, &job_b.subject)));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// Whether the lease was not lost to somebody else. It is not until the transaction ends.
pub(super) async fn is_held(transaction: &Transaction<'_>, job: &JobRow) -> Result<bool, PgError> {
    let sql = "SELECT 1 FROM jobs WHERE kind = $1 AND subject = $2 AND lease_token = $3 FOR UPDATE";
    let held = optional(transaction, sql, &[&job.kind.name(), &job.subject, &job.lease_token], |_| Ok(())).await?;
    Ok(held.is_some())
}

pub(super) async fn finish(client: &impl GenericClient, job: &JobRow) -> Result<(), PgError> {
    let sql = "DELETE FROM jobs WHERE kind = $1 AND subject = $2 AND lease_token = $3";
    execute(client, sql, &[&job.kind.name(), &job.subject, &job.lease_token]).await.map(drop)
}

pub(super) async fn reschedule(
    client: &impl GenericClient,
    job: &JobRow,
    due_at_ms: i64,
    failures: u32,
) -> Result<(), PgError> {
    let sql = "UPDATE jobs SET due_at_ms = $4, failures = $5, lease_token = NULL, lease_until_ms = NULL, \
               rank_ms = CASE WHEN $6 THEN $4 ELSE rank_ms END \
               WHERE kind = $1 AND subject = $2 AND lease_token = $3";
    let yields = job.kind.yields_after_failure();
    let failures = i64::from(failures);
    execute(client, sql, &[&job.kind.name(), &job.subject, &job.lease_token, &due_at_ms, &failures, &yields])
        .await
        .map(drop)
}

pub(super) async fn first_due(client: &impl GenericClient, kind: JobKind) -> Result<Option<i64>, PgError> {
    let sql = "SELECT due_at_ms FROM jobs WHERE kind = $1 ORDER BY due_at_ms LIMIT 1";
    optional(client, sql, &[&kind.name()], |row| row.try_get(0)).await
}

pub(super) async fn unsettled(client: &impl GenericClient, now_ms: i64) -> Result<Unsettled, PgError> {
    const HOUR_MS: i64 = 3_600_000;
    let settle = JobKind::Settle.name();
    let sql = "SELECT count(*) FILTER (WHERE rank_ms > $1), \
               count(*) FILTER (WHERE rank_ms <= $1 AND rank_ms > $2), \
               count(*) FILTER (WHERE rank_ms <= $2 AND rank_ms > $3), \
               count(*) FILTER (WHERE rank_ms <= $3) FROM jobs WHERE kind = $4";
    let ages = [2, 24, 48].map(|hours| now_ms - hours * HOUR_MS);
    let by_age = optional(client, sql, &[&ages[0], &ages[1], &ages[2], &settle], |row| {
        let mut by_age = [0; 4];
        for (age, count) in by_age.iter_mut().enumerate() {
            *count = row.try_get::<_, i64>(age)?.unsigned_abs();
        }
        Ok(by_age)
    })
    .await?;
    let sql = "SELECT created_at_ms, result_until_ms FROM jobs JOIN verifications ON id = subject \
               WHERE jobs.kind = $1 ORDER BY rank_ms LIMIT 1";
    let oldest = optional(client, sql, &[&settle], |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?;
    Ok(Unsettled { by_age: by_age.unwrap_or_default(), oldest })
}
