//! Reading runs as the API shows them.

use std::collections::HashMap;

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId, ProjectId, RunId, SpanId},
    runs::{Annotation, Attempt, Commit, Job, RunSummary, StageSummary, State, Step},
};

use crate::{
    db::{Db, DbError, Row, Target, Tx, in_pattern, query},
    runs::RunFilter,
    telemetry,
};

pub(super) fn commit_of(row: &Row) -> Result<Commit, DbError> {
    Ok(Commit {
        sha: row.get("sha")?,
        git_ref: row.get("git_ref")?,
        title: row.get("title")?,
        author: row.get("author")?,
        author_email: row.get("author_email")?,
    })
}

fn summary_of(row: &Row) -> Result<RunSummary, DbError> {
    Ok(RunSummary {
        id: row.get("id")?,
        number: row.get("number")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        trigger: row.get("cause")?,
        triggered_by: row.get("triggered_by")?,
        commit: commit_of(row)?,
        created_at: row.get("created_at")?,
        started_at: row.get("started_at")?,
        finished_at: row.get("finished_at")?,
    })
}

/// Runs of a project, newest first.
pub(in crate::runs) async fn list(
    db: &Db,
    project: ProjectId,
    filter: &RunFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<RunSummary>, DbError> {
    query(
        "SELECT * FROM runs WHERE project_id = $1 AND number < $2 AND ($3 IS NULL OR git_ref = $3) \
         AND ($4 IS NULL OR state = $4) ORDER BY number DESC LIMIT $5",
    )
    .bind(project)
    .bind(before.unwrap_or(u64::MAX))
    .bind(filter.git_ref.clone())
    .bind(filter.state)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(summary_of)
    .collect()
}

/// Fewer digits of a commit's name than this are too many commits'.
const SHORTEST_SHA: usize = 3;

/// Runs of a project by number, or by how their branch, tag or commit begins.
pub(in crate::runs) async fn search(
    db: &Db,
    project: ProjectId,
    text: &str,
    limit: u32,
) -> Result<Vec<RunSummary>, DbError> {
    let number: u64 = text.strip_prefix('#').unwrap_or(text).parse().unwrap_or_default();
    let is_sha = text.len() >= SHORTEST_SHA && text.bytes().all(|b| b.is_ascii_hexdigit());
    // No commit's name begins with a letter that is no digit.
    let sha = if is_sha { text.to_ascii_lowercase() } else { "x".to_owned() };
    let name = in_pattern(text);
    query(
        "SELECT * FROM runs WHERE project_id = $1 AND (number = $2 OR git_ref LIKE $3 ESCAPE '!' \
         OR git_ref LIKE $4 ESCAPE '!' OR sha LIKE $5) \
         ORDER BY CASE WHEN number = $2 THEN 0 ELSE 1 END, number DESC LIMIT $6",
    )
    .bind(project)
    .bind(number.min(i64::MAX.unsigned_abs()))
    .bind(format!("refs/heads/{name}%"))
    .bind(format!("refs/tags/{name}%"))
    .bind(format!("{sha}%"))
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(summary_of)
    .collect()
}

/// The number of the newest run of one ref at one commit.
///
/// # Errors
/// See [`DbError`].
pub async fn newest_at(
    tx: &mut Tx,
    project: ProjectId,
    git_ref: &str,
    sha: &str,
) -> Result<Option<u64>, DbError> {
    query(
        "SELECT number FROM runs WHERE project_id = $1 AND git_ref = $2 AND sha = $3 ORDER BY number DESC LIMIT 1",
    )
    .bind(project)
    .bind(git_ref)
    .bind(sha)
    .optional(tx)
    .await?
    .map(|row| row.get("number"))
    .transpose()
}

/// A run by its number, and the project that it is of.
pub(in crate::runs) async fn find(
    target: impl Into<Target<'_>>,
    project: ProjectId,
    number: u64,
) -> Result<Option<RunSummary>, DbError> {
    query("SELECT * FROM runs WHERE project_id = $1 AND number = $2")
        .bind(project)
        .bind(number)
        .optional(target)
        .await?
        .map(|row| summary_of(&row))
        .transpose()
}

/// The jobs of a run with all their attempts and stages.
pub(in crate::runs) async fn jobs(db: &Db, run: RunId) -> Result<Vec<Job>, DbError> {
    let mut stages: HashMap<AttemptId, Vec<StageSummary>> = HashMap::new();
    let rows = query(
        "SELECT s.* FROM stages s JOIN attempts a ON a.id = s.attempt_id JOIN jobs j ON j.id = a.job_id \
         WHERE j.run_id = $1 ORDER BY s.started_at, s.span",
    )
    .bind(run)
    .all(db)
    .await?;
    for row in rows {
        stages.entry(row.get("attempt_id")?).or_default().push(stage_of(&row)?);
    }
    let mut ends: HashMap<AttemptId, Vec<(Step, Timestamp)>> = HashMap::new();
    let rows = query(
        "SELECT s.attempt_id, s.step, s.ended_at FROM steps s JOIN attempts a ON a.id = s.attempt_id \
         JOIN jobs j ON j.id = a.job_id WHERE j.run_id = $1 AND s.ended_at IS NOT NULL",
    )
    .bind(run)
    .all(db)
    .await?;
    for row in rows {
        ends.entry(row.get("attempt_id")?).or_default().push((row.get("step")?, row.get("ended_at")?));
    }
    let mut attempts: HashMap<JobId, Vec<Attempt>> = HashMap::new();
    let rows = query(
        "SELECT a.*, r.cause, r.created_at FROM attempts a JOIN jobs j ON j.id = a.job_id \
         JOIN runs r ON r.id = j.run_id WHERE j.run_id = $1 ORDER BY a.number",
    )
    .bind(run)
    .all(db)
    .await?;
    for row in rows {
        let id = row.get("id")?;
        let stages = stages.remove(&id).unwrap_or_default();
        let attempt = attempt_of_row(&row, stages, ends.remove(&id).unwrap_or_default())?;
        attempts.entry(row.get("job_id")?).or_default().push(attempt);
    }
    query("SELECT * FROM jobs WHERE run_id = $1 ORDER BY name")
        .bind(run)
        .all(db)
        .await?
        .iter()
        .map(|row| {
            let id: JobId = row.get("id")?;
            Ok(Job {
                id,
                name: row.get("name")?,
                platform: row.get("platform")?,
                profile: row.get("profile")?,
                state: row.get("state")?,
                attempts: attempts.remove(&id).unwrap_or_default(),
            })
        })
        .collect()
}

fn stage_of(row: &Row) -> Result<StageSummary, DbError> {
    let span: i64 = row.get("span")?;
    Ok(StageSummary {
        span: SpanId(span.cast_unsigned()),
        stage: row.get("stage")?,
        name: row.get("name")?,
        state: row.get("state")?,
        started_at: row.get("started_at")?,
        finished_at: row.get("finished_at")?,
        exit_status: row.get("exit_status")?,
    })
}

/// An attempt, from a row that has its run's cause and age as well.
fn attempt_of_row(
    row: &Row,
    stages: Vec<StageSummary>,
    ends: Vec<(Step, Timestamp)>,
) -> Result<Attempt, DbError> {
    let annotations: Vec<Annotation> =
        serde_json::from_str(&row.get::<String>("annotations")?).unwrap_or_default();
    Ok(Attempt {
        id: row.get("id")?,
        number: row.get("number")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        exit_status: row.get("exit_status")?,
        queued_at: row.get("queued_at")?,
        started_at: row.get("started_at")?,
        finished_at: row.get("finished_at")?,
        // That of an executor in a server begins with the server's, and is for the log only.
        runner: row.get::<Option<String>>("runner")?.filter(|name| !name.contains('/')),
        waits: None,
        latency: telemetry::Way { ends, ..telemetry::way_of(row)? }.show().map(Box::new),
        stages,
        annotations,
    })
}

/// What telemetry needs to know of an attempt.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// The attempt.
    pub id: AttemptId,
    /// Where it stands.
    pub state: State,
    /// The last record's sequence number.
    pub last_seq: u64,
    /// How many lines its log has.
    pub line_count: u64,
    /// How many lines were dropped.
    pub dropped_lines: u64,
    /// The object with its spans, once its chunks are compacted.
    pub trace_key: Option<String>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The attempt of this number of a job, or its newest.
///
/// # Errors
/// See [`DbError`].
pub async fn find_attempt(
    db: &Db,
    project: ProjectId,
    run: u64,
    job: &str,
    attempt: Option<u32>,
) -> Result<Option<AttemptRow>, DbError> {
    query(
        "SELECT a.* FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id \
         WHERE r.project_id = $1 AND r.number = $2 AND j.name = $3 AND ($4 = 0 OR a.number = $4) \
         ORDER BY a.number DESC LIMIT 1",
    )
    .bind(project)
    .bind(run)
    .bind(job)
    .bind(attempt.unwrap_or(0))
    .optional(db)
    .await?
    .map(|row| attempt_row(&row))
    .transpose()
}

fn attempt_row(row: &Row) -> Result<AttemptRow, DbError> {
    Ok(AttemptRow {
        id: row.get("id")?,
        state: row.get("state")?,
        last_seq: row.get("last_seq")?,
        line_count: row.get("line_count")?,
        dropped_lines: row.get("dropped_lines")?,
        trace_key: row.get("trace_key")?,
        finished_at: row.get("finished_at")?,
    })
}

/// An attempt with its stages, as the API shows it, and as telemetry sees it.
pub(in crate::runs) async fn attempt_of(
    db: &Db,
    id: AttemptId,
) -> Result<Option<(Attempt, AttemptRow)>, DbError> {
    let row = query(
        "SELECT a.*, r.cause, r.created_at FROM attempts a JOIN jobs j ON j.id = a.job_id \
         JOIN runs r ON r.id = j.run_id WHERE a.id = $1",
    )
    .bind(id)
    .optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let stages = query("SELECT * FROM stages WHERE attempt_id = $1 ORDER BY started_at, span")
        .bind(id)
        .all(db)
        .await?
        .iter()
        .map(stage_of)
        .collect::<Result<_, _>>()?;
    let ends = query("SELECT step, ended_at FROM steps WHERE attempt_id = $1 AND ended_at IS NOT NULL")
        .bind(id)
        .all(db)
        .await?
        .iter()
        .map(|row| Ok((row.get("step")?, row.get("ended_at")?)))
        .collect::<Result<_, DbError>>()?;
    Ok(Some((attempt_of_row(&row, stages, ends)?, attempt_row(&row)?)))
}
