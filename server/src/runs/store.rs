//! All SQL about runs, jobs, attempts and their stages: here what makes and
//! changes them, in [`queue`] who gets what next, in [`lease`] what becomes of
//! it, in [`runner`] what a runner has and takes, in [`show`] what people see.

mod lease;
mod queue;
mod runner;
mod show;

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId, OrgId, ProjectId, RunId, UserId},
    orgs::{NetworkPolicy, ProjectSettings},
    runs::{Commit, State, Trigger},
};

pub(super) use lease::{
    End, Holder, end_attempt, held_by, lapsed, lease_is_quiet, renew_lease, request_cancel, source_of,
};
pub(super) use queue::{
    AssignmentRow, Next, Start, Waiting, Wanted, anything_queued, assignment, by_org, depths, keep_room,
    next_in_queue, own_before, resize_queued, start_attempt, waiting_attempt, waiting_of_run,
};
pub(super) use runner::{
    RunnerNow, held_by_runner, held_with, is_of_runner, lock_runner, note_error, runner_takes, runners_now,
    used_of_runner,
};
#[cfg(test)]
pub(super) use runner::{RunnerTakes, Used};
pub use show::{AttemptRow, find_attempt, newest_at};
pub(super) use show::{attempt_of, find, jobs, list, search};

use crate::db::{DbError, Row, Target, Tx, query};

fn settings_of(row: &Row) -> Result<ProjectSettings, DbError> {
    // Settings that an older version wrote and this one does not understand
    // must not stop the queue. What they say of the network is not guessed.
    let closed = || ProjectSettings { network: NetworkPolicy::Off, ..ProjectSettings::default() };
    Ok(serde_json::from_str(&row.get::<String>("settings")?).unwrap_or_else(|_| closed()))
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
    let of = query(
        "SELECT p.org_id, p.settings FROM jobs j JOIN runs r ON r.id = j.run_id \
         JOIN projects p ON p.id = r.project_id WHERE j.id = $1",
    )
    .bind(attempt.job)
    .one(&mut *tx)
    .await?;
    let settings = settings_of(&of)?;
    query(
        "INSERT INTO attempts (id, job_id, number, state, reason, automatic, queued_at, finished_at, org_id, \
         memory_mib, cpus, annotations, last_seq, line_count, dropped_lines, log_bytes) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '[]', 0, 0, 0, 0)",
    )
    .bind(attempt.id)
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(attempt.state)
    .bind(attempt.reason)
    .bind(attempt.automatic)
    .bind(attempt.now)
    .bind(attempt.state.is_final().then_some(attempt.now))
    .bind(of.get::<OrgId>("org_id")?)
    .bind(settings.memory_mib)
    .bind(settings.cpus)
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
