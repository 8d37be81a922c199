//! All SQL about runs, jobs, attempts and their stages: here what changes
//! them, in [`show`] what shows them, in [`runner`] what a runner has and takes.

mod runner;
mod show;

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId, OrgId, ProjectId, RunId, RunnerId, UserId},
    names::Slug,
    orgs::ProjectSettings,
    runs::{Commit, State, Trigger},
};

pub(super) use runner::{
    count_of_runner, held_by_runner, held_with, is_of_runner, lock_runner, note_error, runner_takes,
};
use show::commit_of;
pub use show::{AttemptRow, attempt_of, find_attempt, newest_at};
pub(super) use show::{find, jobs, list, search};

use crate::db::{Db, DbError, Row, Target, Tx, query, skipping_locked};

fn settings_of(row: &Row) -> Result<ProjectSettings, DbError> {
    // Settings that an older version wrote and this one does not understand
    // must not stop the queue.
    Ok(serde_json::from_str(&row.get::<String>("settings")?).unwrap_or_default())
}

/// A project's settings. `None` when the project is gone.
pub(super) async fn settings(
    target: impl Into<Target<'_>>,
    project: ProjectId,
) -> Result<Option<ProjectSettings>, DbError> {
    let row = query("SELECT settings FROM projects WHERE id = $1").bind(project).optional(target).await?;
    row.as_ref().map(settings_of).transpose()
}

/// The next run's number. Locks the project until the transaction ends.
pub(super) async fn next_number(tx: &mut Tx, project: ProjectId) -> Result<u64, DbError> {
    query("UPDATE projects SET next_run = next_run + 1 WHERE id = $1 RETURNING next_run - 1 AS number")
        .bind(project)
        .one(tx)
        .await?
        .get("number")
}

/// A run to be inserted.
pub(super) struct RunInsert<'a> {
    pub(super) id: RunId,
    pub(super) project: ProjectId,
    pub(super) number: u64,
    pub(super) state: State,
    pub(super) reason: Option<&'a str>,
    pub(super) trigger: Trigger,
    pub(super) triggered_by: &'a str,
    pub(super) user: Option<UserId>,
    pub(super) commit: &'a Commit,
    pub(super) now: Timestamp,
}

pub(super) async fn insert_run(tx: &mut Tx, run: &RunInsert<'_>) -> Result<(), DbError> {
    query(
        "INSERT INTO runs (id, project_id, number, state, reason, cause, triggered_by, triggered_by_user, sha, \
         git_ref, title, author, author_email, created_at, started_at, finished_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, NULL, $15)",
    )
    .bind(run.id)
    .bind(run.project)
    .bind(run.number)
    .bind(run.state)
    .bind(run.reason)
    .bind(run.trigger)
    .bind(run.triggered_by)
    .bind(run.user)
    .bind(&run.commit.sha)
    .bind(&run.commit.git_ref)
    .bind(&run.commit.title)
    .bind(&run.commit.author)
    .bind(&run.commit.author_email)
    .bind(run.now)
    .bind(run.state.is_final().then_some(run.now))
    .execute(tx)
    .await
    .map(|_| ())
}

pub(super) async fn insert_job(
    tx: &mut Tx,
    id: JobId,
    run: RunId,
    platform: &str,
    label: Option<&str>,
    state: State,
) -> Result<(), DbError> {
    query(
        "INSERT INTO jobs (id, run_id, name, platform, profile, state, runner_label) \
         VALUES ($1, $2, $3, $3, NULL, $4, $5)",
    )
    .bind(id)
    .bind(run)
    .bind(platform)
    .bind(state)
    .bind(label)
    .execute(tx)
    .await
    .map(|_| ())
}

/// An attempt to be inserted.
pub(super) struct AttemptInsert<'a> {
    pub(super) id: AttemptId,
    pub(super) job: JobId,
    pub(super) number: u32,
    pub(super) state: State,
    pub(super) reason: Option<&'a str>,
    pub(super) automatic: bool,
    pub(super) now: Timestamp,
}

pub(super) async fn insert_attempt(tx: &mut Tx, attempt: &AttemptInsert<'_>) -> Result<(), DbError> {
    query(
        "INSERT INTO attempts (id, job_id, number, state, reason, automatic, queued_at, finished_at, annotations, \
         last_seq, line_count, dropped_lines, log_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '[]', 0, 0, 0, 0)",
    )
    .bind(attempt.id)
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(attempt.state)
    .bind(attempt.reason)
    .bind(attempt.automatic)
    .bind(attempt.now)
    .bind(attempt.state.is_final().then_some(attempt.now))
    .execute(tx)
    .await
    .map(|_| ())
}

/// Runs of the same ref, older than `number`, of which no job has begun.
pub(super) async fn queued_runs_before(
    tx: &mut Tx,
    project: ProjectId,
    git_ref: &str,
    number: u64,
) -> Result<Vec<RunId>, DbError> {
    query(
        "SELECT id FROM runs WHERE project_id = $1 AND git_ref = $2 AND number < $3 AND state = 'queued' \
         ORDER BY number",
    )
    .bind(project)
    .bind(git_ref)
    .bind(number)
    .all(tx)
    .await?
    .iter()
    .map(|row| row.get("id"))
    .collect()
}

/// Locks a run until the transaction ends. Whoever changes anything of a run
/// locks the run first, so that nobody computes its state from half of the
/// news and nobody waits in a circle.
pub(super) async fn lock_run(tx: &mut Tx, run: RunId) -> Result<bool, DbError> {
    let locked = query("UPDATE runs SET state = state WHERE id = $1").bind(run).execute(tx).await?;
    Ok(locked == 1)
}

/// The run that an attempt is of.
pub(super) async fn run_of_attempt(tx: &mut Tx, attempt: AttemptId) -> Result<Option<RunId>, DbError> {
    query("SELECT j.run_id FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.id = $1")
        .bind(attempt)
        .optional(tx)
        .await?
        .map(|row| row.get("run_id"))
        .transpose()
}

/// Which attempts somebody takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'a> {
    /// The platforms, between commas.
    pub(super) platforms: &'a str,
    /// The labels, between commas.
    pub(super) labels: &'a str,
    /// The one organisation; none: any.
    pub(super) org: Option<OrgId>,
}

/// The attempts that are queued for somebody. Projects are looked at from the
/// side, so that they are not locked: pushes count their runs there.
macro_rules! queued_for {
    ($select:literal, $end:literal) => {
        concat!(
            $select,
            " FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id \
             WHERE a.state = 'queued' AND $1 LIKE '%,' || j.platform || ',%' \
             AND (j.runner_label IS NULL OR $2 LIKE '%,' || j.runner_label || ',%') \
             AND ($3 IS NULL OR r.project_id IN (SELECT id FROM projects WHERE org_id = $3)) ",
            $end
        )
    };
}

/// Whether anything is queued for them. Locks nothing.
pub(super) async fn anything_queued(db: &Db, taken: &Taken<'_>) -> Result<bool, DbError> {
    query(queued_for!("SELECT 1 AS one", "LIMIT 1"))
        .bind(taken.platforms)
        .bind(taken.labels)
        .bind(taken.org)
        .optional(db)
        .await
        .map(|row| row.is_some())
}

/// The attempt that has waited longest. It, its job and its run are locked; a
/// row that somebody else has locked is passed over instead of waited for.
pub(super) async fn next_in_queue(
    tx: &mut Tx,
    taken: &Taken<'_>,
) -> Result<Option<(AttemptId, RunId)>, DbError> {
    skipping_locked!(queued_for!("SELECT a.id, j.run_id", "ORDER BY a.queued_at, a.id LIMIT 1"))
        .bind(taken.platforms)
        .bind(taken.labels)
        .bind(taken.org)
        .optional(tx)
        .await?
        .map(|row| Ok((row.get("id")?, row.get("run_id")?)))
        .transpose()
}

/// Who an attempt is given to.
pub(super) struct Start<'a> {
    pub(super) token_hash: &'a [u8],
    pub(super) lease_until: Timestamp,
    /// The executor's name. That of one in a server begins with the server's.
    pub(super) runner: &'a str,
    /// The runner, if it is one.
    pub(super) runner_id: Option<RunnerId>,
    pub(super) now: Timestamp,
}

pub(super) async fn start_attempt(
    tx: &mut Tx,
    attempt: AttemptId,
    start: &Start<'_>,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE attempts SET state = 'running', started_at = $2, lease_token = $3, lease_until = $4, runner = $5, \
         runner_id = $6 WHERE id = $1 AND state = 'queued'",
    )
    .bind(attempt)
    .bind(start.now)
    .bind(start.token_hash)
    .bind(start.lease_until)
    .bind(start.runner)
    .bind(start.runner_id)
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// What an assignment is made of.
#[derive(Debug)]
pub(super) struct AssignmentRow {
    pub(super) job: JobId,
    pub(super) job_name: String,
    pub(super) platform: String,
    pub(super) profile: Option<String>,
    pub(super) attempt_number: u32,
    pub(super) queued_at: Timestamp,
    pub(super) run: RunId,
    pub(super) run_number: u64,
    pub(super) trigger: Trigger,
    pub(super) triggered_by: String,
    pub(super) commit: Commit,
    pub(super) org: Slug,
    pub(super) project: Slug,
    pub(super) settings: ProjectSettings,
    pub(super) executor: String,
    pub(super) runner: Option<RunnerId>,
}

pub(super) async fn assignment(tx: &mut Tx, attempt: AttemptId) -> Result<AssignmentRow, DbError> {
    let row = query(
        "SELECT a.number AS attempt_number, a.queued_at, a.runner, a.runner_id, j.id AS job_id, j.name AS job_name, j.platform, j.profile, \
         r.id AS run_id, r.number AS run_number, r.cause, r.triggered_by, r.sha, r.git_ref, r.title, r.author, \
         r.author_email, p.slug AS project, p.settings, o.slug AS org \
         FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id \
         JOIN projects p ON p.id = r.project_id JOIN orgs o ON o.id = p.org_id WHERE a.id = $1",
    )
    .bind(attempt)
    .one(tx)
    .await?;
    Ok(AssignmentRow {
        job: row.get("job_id")?,
        job_name: row.get("job_name")?,
        platform: row.get("platform")?,
        profile: row.get("profile")?,
        attempt_number: row.get("attempt_number")?,
        queued_at: row.get("queued_at")?,
        run: row.get("run_id")?,
        run_number: row.get("run_number")?,
        trigger: row.get("cause")?,
        triggered_by: row.get("triggered_by")?,
        commit: commit_of(&row)?,
        org: row.get("org")?,
        project: row.get("project")?,
        settings: settings_of(&row)?,
        executor: row.get("runner")?,
        runner: row.get("runner_id")?,
    })
}

/// Renews a lease. `None` when it is not this one that holds the attempt; else
/// whether somebody wants the attempt cancelled.
pub(super) async fn renew_lease(
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
pub(super) async fn lease_is_quiet(db: &Db, attempt: AttemptId, token_hash: &[u8]) -> Result<bool, DbError> {
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
pub(super) enum Holder<'a> {
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
pub(super) struct End<'a> {
    pub(super) state: State,
    pub(super) reason: Option<&'a str>,
    pub(super) exit_status: Option<i32>,
    pub(super) dropped_lines: u64,
    pub(super) now: Timestamp,
}

/// An attempt that has just ended.
pub(super) struct Ended {
    pub(super) job: JobId,
    pub(super) number: u32,
    pub(super) automatic: bool,
    pub(super) cancel_reason: Option<String>,
    pub(super) runner: Option<RunnerId>,
}

/// Ends an attempt, if it is still in the hands of `holder`.
pub(super) async fn end_attempt(
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
pub(super) async fn lapsed(db: &Db, now: Timestamp) -> Result<Vec<(AttemptId, bool)>, DbError> {
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
pub(super) async fn held_by(db: &Db, name: &str) -> Result<Vec<(AttemptId, bool)>, DbError> {
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

/// Stages that were under way when their attempt ended end with it.
pub(super) async fn end_stages(
    tx: &mut Tx,
    attempt: AttemptId,
    state: State,
    now: Timestamp,
) -> Result<(), DbError> {
    query("UPDATE stages SET state = $2, finished_at = $3 WHERE attempt_id = $1 AND finished_at IS NULL")
        .bind(attempt)
        .bind(state)
        .bind(now)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn request_cancel(
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

/// The newest attempt of each job of a run.
pub(super) struct Newest {
    pub(super) job: JobId,
    pub(super) job_name: String,
    pub(super) attempt: AttemptId,
    pub(super) number: u32,
    pub(super) state: State,
    pub(super) reason: Option<String>,
}

pub(super) async fn newest_attempts(tx: &mut Tx, run: RunId) -> Result<Vec<Newest>, DbError> {
    query(
        "SELECT j.id AS job_id, j.name, a.id AS attempt_id, a.number, a.state, a.reason FROM jobs j \
         JOIN attempts a ON a.job_id = j.id WHERE j.run_id = $1 \
         AND a.number = (SELECT MAX(b.number) FROM attempts b WHERE b.job_id = j.id) ORDER BY j.name",
    )
    .bind(run)
    .all(tx)
    .await?
    .iter()
    .map(|row| {
        Ok(Newest {
            job: row.get("job_id")?,
            job_name: row.get("name")?,
            attempt: row.get("attempt_id")?,
            number: row.get("number")?,
            state: row.get("state")?,
            reason: row.get("reason")?,
        })
    })
    .collect()
}

pub(super) async fn set_job_state(tx: &mut Tx, job: JobId, state: State) -> Result<(), DbError> {
    query("UPDATE jobs SET state = $2 WHERE id = $1 AND state <> $2")
        .bind(job)
        .bind(state)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn set_run_state(
    tx: &mut Tx,
    run: RunId,
    state: State,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "UPDATE runs SET state = $2, reason = $3, \
         started_at = CASE WHEN started_at IS NULL AND $4 THEN $6 ELSE started_at END, \
         finished_at = CASE WHEN NOT $5 THEN NULL WHEN finished_at IS NULL THEN $6 ELSE finished_at END \
         WHERE id = $1",
    )
    .bind(run)
    .bind(state)
    .bind(reason)
    .bind(state == State::Running)
    .bind(state.is_final())
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}

/// The project and the commit that an attempt is about, if this token holds it.
pub(super) async fn source_of(
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

/// How many attempts wait and how many are worked on.
pub(super) async fn depths(db: &Db) -> Result<(i64, i64), DbError> {
    let count = async |state: State| {
        query("SELECT COUNT(*) AS n FROM attempts WHERE state = $1").bind(state).one(db).await?.get("n")
    };
    Ok((count(State::Queued).await?, count(State::Running).await?))
}
