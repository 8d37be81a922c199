//! What a runner has and takes.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, OrgId, RunnerId},
};

use crate::db::{Db, DbError, Row, Target, Tx, query};

/// What a runner takes.
#[derive(Clone, Debug)]
pub(in crate::runs) struct RunnerTakes {
    pub(in crate::runs) org: Option<OrgId>,
    pub(in crate::runs) slots: i64,
    /// Between commas, with one at each end.
    pub(in crate::runs) labels: String,
    /// The same.
    pub(in crate::runs) platforms: String,
    /// What all its machines may have together; without end if it does not say.
    pub(in crate::runs) memory_mib: i64,
    /// The same.
    pub(in crate::runs) cpus: i64,
}

fn takes(row: &Row) -> Result<RunnerTakes, DbError> {
    Ok(RunnerTakes {
        org: row.get("org_id")?,
        slots: row.get("slots")?,
        labels: row.get("labels")?,
        platforms: row.get("platforms")?,
        memory_mib: row.get::<Option<i64>>("memory_mib")?.unwrap_or(i64::MAX),
        cpus: row.get::<Option<i64>>("cpus")?.unwrap_or(i64::MAX),
    })
}

/// What a runner takes. `None` when it shall take nothing new.
pub(in crate::runs) async fn runner_takes(db: &Db, runner: RunnerId) -> Result<Option<RunnerTakes>, DbError> {
    query(
        "SELECT org_id, slots, labels, platforms, memory_mib, cpus FROM runners \
         WHERE id = $1 AND revoked_at IS NULL AND NOT draining",
    )
    .bind(runner)
    .optional(db)
    .await?
    .as_ref()
    .map(takes)
    .transpose()
}

/// The same, and locks it until the transaction ends: claims of one runner come
/// one after the other, and none comes after its revocation.
pub(in crate::runs) async fn lock_runner(
    tx: &mut Tx,
    runner: RunnerId,
) -> Result<Option<RunnerTakes>, DbError> {
    query(
        "UPDATE runners SET slots = slots WHERE id = $1 AND revoked_at IS NULL AND NOT draining \
         RETURNING org_id, slots, labels, platforms, memory_mib, cpus",
    )
    .bind(runner)
    .optional(tx)
    .await?
    .as_ref()
    .map(takes)
    .transpose()
}

/// What the machines of a runner's jobs have.
#[derive(Clone, Copy, Debug)]
pub(in crate::runs) struct Used {
    pub(in crate::runs) jobs: i64,
    pub(in crate::runs) memory_mib: i64,
    pub(in crate::runs) cpus: i64,
}

fn used(row: &Row) -> Result<Used, DbError> {
    Ok(Used { jobs: row.get("jobs")?, memory_mib: row.get("memory_used")?, cpus: row.get("cpus_used")? })
}

/// What of a runner is in use.
pub(in crate::runs) async fn used_of_runner(
    target: impl Into<Target<'_>>,
    runner: RunnerId,
) -> Result<Used, DbError> {
    let row = query(
        "SELECT COUNT(*) AS jobs, CAST(COALESCE(SUM(memory_mib), 0) AS BIGINT) AS memory_used, \
         CAST(COALESCE(SUM(cpus), 0) AS BIGINT) AS cpus_used \
         FROM attempts WHERE runner_id = $1 AND state = 'running'",
    )
    .bind(runner)
    .one(target)
    .await?;
    used(&row)
}

/// A runner that an organisation's jobs may come to, as it is now.
#[derive(Clone, Debug)]
pub(in crate::runs) struct RunnerNow {
    pub(in crate::runs) takes: RunnerTakes,
    pub(in crate::runs) used: Used,
    pub(in crate::runs) draining: bool,
    /// Whether it keeps its room for another attempt than the one asked about.
    pub(in crate::runs) keeps: bool,
}

/// The runners that an organisation's jobs may come to and that were heard of
/// since `silence`.
pub(in crate::runs) async fn runners_now(
    db: &Db,
    org: OrgId,
    silence: Timestamp,
    attempt: AttemptId,
) -> Result<Vec<RunnerNow>, DbError> {
    query(
        "SELECT x.org_id, x.slots, x.labels, x.platforms, x.memory_mib, x.cpus, x.draining, \
         (SELECT COUNT(*) FROM attempts a WHERE a.runner_id = x.id AND a.state = 'running') AS jobs, \
         (SELECT CAST(COALESCE(SUM(a.memory_mib), 0) AS BIGINT) FROM attempts a \
          WHERE a.runner_id = x.id AND a.state = 'running') AS memory_used, \
         (SELECT CAST(COALESCE(SUM(a.cpus), 0) AS BIGINT) FROM attempts a \
          WHERE a.runner_id = x.id AND a.state = 'running') AS cpus_used, \
         (SELECT COUNT(*) FROM attempts a WHERE a.kept_by = x.id AND a.state = 'queued' AND a.id <> $3) AS keeps \
         FROM runners x WHERE x.revoked_at IS NULL AND x.left_at IS NULL AND x.last_seen_at > $2 \
         AND (x.org_id IS NULL OR x.org_id = $1) ORDER BY x.id LIMIT 1000",
    )
    .bind(org)
    .bind(silence)
    .bind(attempt)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        Ok(RunnerNow {
            takes: takes(row)?,
            used: used(row)?,
            draining: row.get("draining")?,
            keeps: row.get::<i64>("keeps")? > 0,
        })
    })
    .collect()
}

/// The attempt that a runner has with this lease.
pub(in crate::runs) async fn held_with(
    target: impl Into<Target<'_>>,
    runner: RunnerId,
    token_hash: &[u8],
) -> Result<Option<AttemptId>, DbError> {
    query("SELECT id FROM attempts WHERE runner_id = $1 AND lease_token = $2 AND state = 'running'")
        .bind(runner)
        .bind(token_hash)
        .optional(target)
        .await?
        .map(|row| row.get("id"))
        .transpose()
}

/// Whether a runner has this attempt, or had it.
pub(in crate::runs) async fn is_of_runner(
    db: &Db,
    runner: RunnerId,
    attempt: AttemptId,
) -> Result<bool, DbError> {
    query("SELECT 1 AS one FROM attempts WHERE id = $1 AND runner_id = $2")
        .bind(attempt)
        .bind(runner)
        .optional(db)
        .await
        .map(|row| row.is_some())
}

/// The attempts that a runner has, and whether they are to be cancelled.
pub(in crate::runs) async fn held_by_runner(
    db: &Db,
    runner: RunnerId,
) -> Result<Vec<(AttemptId, bool)>, DbError> {
    query(
        "SELECT id, cancel_requested_at FROM attempts WHERE state = 'running' AND runner_id = $1 \
         ORDER BY queued_at, id",
    )
    .bind(runner)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((row.get("id")?, row.get::<Option<Timestamp>>("cancel_requested_at")?.is_some())))
    .collect()
}

/// Notes at a runner why a job ended with an error on it.
pub(in crate::runs) async fn note_error(
    tx: &mut Tx,
    runner: RunnerId,
    reason: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    query("UPDATE runners SET last_error = $2, last_error_at = $3 WHERE id = $1")
        .bind(runner)
        .bind(reason)
        .bind(now)
        .execute(tx)
        .await
        .map(|_| ())
}
