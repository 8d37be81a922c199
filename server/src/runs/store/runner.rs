//! What a runner has and takes.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, RunnerId},
};

use crate::db::{Db, DbError, Row, Target, Tx, query};

/// What a runner takes.
pub(in crate::runs) struct RunnerTakes {
    pub(in crate::runs) slots: i64,
    pub(in crate::runs) labels: String,
    pub(in crate::runs) platforms: String,
}

fn takes(row: &Row) -> Result<RunnerTakes, DbError> {
    Ok(RunnerTakes { slots: row.get("slots")?, labels: row.get("labels")?, platforms: row.get("platforms")? })
}

/// What a runner takes. `None` when it shall take nothing new.
pub(in crate::runs) async fn runner_takes(db: &Db, runner: RunnerId) -> Result<Option<RunnerTakes>, DbError> {
    query(
        "SELECT slots, labels, platforms FROM runners WHERE id = $1 AND revoked_at IS NULL AND NOT draining",
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
         RETURNING slots, labels, platforms",
    )
    .bind(runner)
    .optional(tx)
    .await?
    .as_ref()
    .map(takes)
    .transpose()
}

/// How many attempts a runner has.
pub(in crate::runs) async fn count_of_runner(tx: &mut Tx, runner: RunnerId) -> Result<i64, DbError> {
    query("SELECT COUNT(*) AS n FROM attempts WHERE runner_id = $1 AND state = 'running'")
        .bind(runner)
        .one(tx)
        .await?
        .get("n")
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
