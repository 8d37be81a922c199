//! Leases: who has an attempt, and how they give it back.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId, ProjectId, RunnerId},
    runs::State,
};

use crate::db::{Db, DbError, Tx, query};

/// Renews a lease. `None` when it is not this one that holds the attempt; else
/// whether somebody wants the attempt cancelled.
pub(in crate::runs) async fn renew_lease(
    db: &Db,
    attempt: AttemptId,
    token_hash: &[u8],
    until: Timestamp,
) -> Result<Option<bool>, DbError> {
    query(
        "UPDATE attempts SET lease_until = $3 WHERE id = $1 AND lease_token = $2 AND state = 'running' \
         RETURNING cancel_requested_at",
    )
    .bind(attempt)
    .bind(token_hash)
    .bind(until)
    .optional(db)
    .await?
    .map(|row| row.get::<Option<Timestamp>>("cancel_requested_at").map(|at| at.is_some()))
    .transpose()
}

/// Whether this token holds the attempt and nobody wants it cancelled.
pub(in crate::runs) async fn lease_is_quiet(
    db: &Db,
    attempt: AttemptId,
    token_hash: &[u8],
) -> Result<bool, DbError> {
    query(
        "SELECT 1 AS one FROM attempts WHERE id = $1 AND lease_token = $2 AND state = 'running' \
         AND cancel_requested_at IS NULL",
    )
    .bind(attempt)
    .bind(token_hash)
    .optional(db)
    .await
    .map(|row| row.is_some())
}

/// Whose lease may end an attempt.
pub(in crate::runs) enum Holder<'a> {
    /// The one who shows this token.
    Token(&'a [u8]),
    /// Nobody: the lease ended before this moment.
    LapsedBefore(Timestamp),
    /// A server that is dead: its executors' names begin so.
    Named(&'a str),
    /// This runner.
    Runner(RunnerId),
    /// Nobody yet: the attempt is still in the queue.
    Queue,
}

/// How an attempt ended, as the row will say.
pub(in crate::runs) struct End<'a> {
    pub(in crate::runs) state: State,
    pub(in crate::runs) reason: Option<&'a str>,
    pub(in crate::runs) exit_status: Option<i32>,
    pub(in crate::runs) dropped_lines: u64,
    pub(in crate::runs) now: Timestamp,
}

/// An attempt that has just ended.
pub(in crate::runs) struct Ended {
    pub(in crate::runs) job: JobId,
    pub(in crate::runs) number: u32,
    pub(in crate::runs) automatic: bool,
    pub(in crate::runs) cancel_reason: Option<String>,
    pub(in crate::runs) runner: Option<RunnerId>,
}

/// Ends an attempt, if it is still in the hands of `holder`.
pub(in crate::runs) async fn end_attempt(
    tx: &mut Tx,
    attempt: AttemptId,
    holder: &Holder<'_>,
    end: &End<'_>,
) -> Result<Option<Ended>, DbError> {
    macro_rules! statement {
        ($condition:literal) => {
            query(concat!(
                "UPDATE attempts SET state = $2, reason = $3, exit_status = $4, dropped_lines = dropped_lines + $5, \
                 finished_at = $6, lease_token = NULL, lease_until = NULL WHERE id = $1 AND ",
                $condition,
                " RETURNING job_id, number, automatic, cancel_reason, runner_id"
            ))
        };
    }
    let statement = match holder {
        Holder::Token(_) => statement!("state = 'running' AND lease_token = $7"),
        Holder::LapsedBefore(_) => statement!("state = 'running' AND lease_until < $7"),
        Holder::Named(_) => statement!("state = 'running' AND runner LIKE $7 || '/%'"),
        Holder::Runner(_) => statement!("state = 'running' AND runner_id = $7"),
        Holder::Queue => statement!("state = 'queued'"),
    };
    let statement = statement
        .bind(attempt)
        .bind(end.state)
        .bind(end.reason)
        .bind(end.exit_status)
        .bind(end.dropped_lines)
        .bind(end.now);
    let statement = match holder {
        Holder::Token(hash) => statement.bind(*hash),
        Holder::LapsedBefore(time) => statement.bind(*time),
        Holder::Named(name) => statement.bind(*name),
        Holder::Runner(runner) => statement.bind(*runner),
        Holder::Queue => statement,
    };
    statement
        .optional(tx)
        .await?
        .map(|row| {
            Ok(Ended {
                job: row.get("job_id")?,
                number: row.get("number")?,
                automatic: row.get("automatic")?,
                cancel_reason: row.get("cancel_reason")?,
                runner: row.get("runner_id")?,
            })
        })
        .transpose()
}

/// Attempts whose lease ended before this moment, and whether they were to be cancelled.
pub(in crate::runs) async fn lapsed(db: &Db, now: Timestamp) -> Result<Vec<(AttemptId, bool)>, DbError> {
    query(
        "SELECT id, cancel_requested_at FROM attempts WHERE state = 'running' AND lease_until < $1 \
         ORDER BY lease_until LIMIT 100",
    )
    .bind(now)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((row.get("id")?, row.get::<Option<Timestamp>>("cancel_requested_at")?.is_some())))
    .collect()
}

/// Attempts that are in the hands of executors whose names begin with `name` and a slash.
pub(in crate::runs) async fn held_by(db: &Db, name: &str) -> Result<Vec<(AttemptId, bool)>, DbError> {
    query(
        "SELECT id, cancel_requested_at FROM attempts WHERE state = 'running' AND runner LIKE $1 || '/%' \
         ORDER BY queued_at, id",
    )
    .bind(name)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((row.get("id")?, row.get::<Option<Timestamp>>("cancel_requested_at")?.is_some())))
    .collect()
}

pub(in crate::runs) async fn request_cancel(
    tx: &mut Tx,
    attempt: AttemptId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE attempts SET cancel_requested_at = $2, cancel_reason = $3 \
         WHERE id = $1 AND state = 'running' AND cancel_requested_at IS NULL",
    )
    .bind(attempt)
    .bind(now)
    .bind(reason)
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// The project and the commit that an attempt is about, if this token holds it.
pub(in crate::runs) async fn source_of(
    db: &Db,
    attempt: AttemptId,
    token_hash: &[u8],
) -> Result<Option<(ProjectId, String)>, DbError> {
    query(
        "SELECT r.project_id, r.sha FROM attempts a JOIN jobs j ON j.id = a.job_id \
         JOIN runs r ON r.id = j.run_id WHERE a.id = $1 AND a.lease_token = $2 AND a.state = 'running'",
    )
    .bind(attempt)
    .bind(token_hash)
    .optional(db)
    .await?
    .map(|row| Ok((row.get("project_id")?, row.get("sha")?)))
    .transpose()
}
