//! The queue: who gets what next, and what they are told of it.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId, OrgId, ProjectId, RunId, RunnerId},
    names::Slug,
    orgs::ProjectSettings,
    runs::{Commit, State, Trigger},
};

use super::{
    runner::{RunnerTakes, Used},
    settings_of,
    show::commit_of,
};
use crate::db::{Db, DbError, Query, Row, Tx, query, skipping_locked};

/// What a runner can be given at this moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::runs) struct Wanted<'a> {
    pub(in crate::runs) runner: RunnerId,
    pub(in crate::runs) takes: &'a RunnerTakes,
    pub(in crate::runs) used: Used,
    /// What was queued before this has waited so long that room is kept for it.
    pub(in crate::runs) patience: Timestamp,
    /// A runner that was last seen before this keeps nothing.
    pub(in crate::runs) silence: Timestamp,
}

impl Wanted<'_> {
    /// Whether there is room for this now.
    const fn fits(&self, memory_mib: i64, cpus: i64) -> bool {
        memory_mib <= self.takes.memory_mib - self.used.memory_mib && cpus <= self.takes.cpus - self.used.cpus
    }

    fn bind(&self, query: Query) -> Query {
        query
            .bind(&self.takes.platforms)
            .bind(&self.takes.labels)
            .bind(self.takes.org)
            .bind(self.takes.memory_mib)
            .bind(self.takes.cpus)
            .bind(self.takes.memory_mib - self.used.memory_mib)
            .bind(self.takes.cpus - self.used.cpus)
            .bind(self.patience)
            .bind(self.runner)
            .bind(self.silence)
    }
}

/// The attempts that a runner may be given: those that there is room for, and
/// those that have waited long for room which no other runner keeps for them.
/// Projects are not looked at, so that they are not locked: pushes count their
/// runs there.
macro_rules! queued_for {
    ($select:literal, $end:literal) => {
        concat!(
            $select,
            " FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id \
             WHERE a.state = 'queued' AND $1 LIKE '%,' || j.platform || ',%' \
             AND (j.runner_label IS NULL OR $2 LIKE '%,' || j.runner_label || ',%') \
             AND ($3 IS NULL OR a.org_id = $3) AND a.memory_mib <= $4 AND a.cpus <= $5 \
             AND ((a.memory_mib <= $6 AND a.cpus <= $7) OR (a.queued_at <= $8 AND (a.kept_by IS NULL \
             OR a.kept_by = $9 OR a.kept_by NOT IN (SELECT x.id FROM runners x WHERE x.revoked_at IS NULL \
             AND x.left_at IS NULL AND NOT x.draining AND x.last_seen_at > $10)))) ",
            $end
        )
    };
}

macro_rules! next_sql {
    () => {
        queued_for!(
            "SELECT a.id, j.run_id, a.memory_mib, a.cpus, a.kept_by",
            "ORDER BY (SELECT COUNT(*) FROM attempts b WHERE b.org_id = a.org_id AND b.state = 'running'), \
             a.queued_at, a.id LIMIT 1"
        )
    };
}

/// Whether anything is queued for them. Locks nothing.
pub(in crate::runs) async fn anything_queued(db: &Db, wanted: &Wanted<'_>) -> Result<bool, DbError> {
    let found = wanted.bind(query(queued_for!("SELECT 1 AS one", "LIMIT 1"))).optional(db).await?;
    Ok(found.is_some())
}

/// What comes next in the queue.
pub(in crate::runs) struct Next {
    pub(in crate::runs) attempt: AttemptId,
    pub(in crate::runs) run: RunId,
    /// Whether there is room for it; else room is to be kept.
    pub(in crate::runs) fits: bool,
    /// The runner that keeps room for it.
    pub(in crate::runs) kept_by: Option<RunnerId>,
}

/// Of the organisations that wait the one with the fewest attempts under way,
/// and of its attempts the one that has waited longest. It, its job and its run
/// are locked; a row that somebody else has locked is passed over instead of
/// waited for.
pub(in crate::runs) async fn next_in_queue(
    tx: &mut Tx,
    wanted: &Wanted<'_>,
) -> Result<Option<Next>, DbError> {
    let statement = skipping_locked!(next_sql!());
    wanted
        .bind(statement)
        .optional(tx)
        .await?
        .map(|row| {
            Ok(Next {
                attempt: row.get("id")?,
                run: row.get("run_id")?,
                fits: wanted.fits(row.get("memory_mib")?, row.get("cpus")?),
                kept_by: row.get("kept_by")?,
            })
        })
        .transpose()
}

/// Notes that a runner keeps room for an attempt.
pub(in crate::runs) async fn keep_room(
    tx: &mut Tx,
    attempt: AttemptId,
    runner: RunnerId,
) -> Result<(), DbError> {
    query("UPDATE attempts SET kept_by = $2 WHERE id = $1 AND state = 'queued'")
        .bind(attempt)
        .bind(runner)
        .execute(tx)
        .await
        .map(|_| ())
}

/// What waits of a project needs this much from now on. Says whether anything waits.
pub(in crate::runs) async fn resize_queued(
    tx: &mut Tx,
    project: ProjectId,
    memory_mib: u32,
    cpus: u32,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE attempts SET memory_mib = $2, cpus = $3, kept_by = NULL WHERE state = 'queued' AND job_id IN \
         (SELECT j.id FROM jobs j JOIN runs r ON r.id = j.run_id WHERE r.project_id = $1)",
    )
    .bind(project)
    .bind(memory_mib)
    .bind(cpus)
    .execute(tx)
    .await?;
    Ok(changed > 0)
}

/// What an attempt waits for.
#[derive(Clone, Debug)]
pub(in crate::runs) struct Waiting {
    pub(in crate::runs) attempt: AttemptId,
    pub(in crate::runs) org: OrgId,
    pub(in crate::runs) platform: String,
    pub(in crate::runs) label: Option<String>,
    pub(in crate::runs) memory_mib: i64,
    pub(in crate::runs) cpus: i64,
    pub(in crate::runs) queued_at: Timestamp,
}

fn waiting(row: &Row) -> Result<Waiting, DbError> {
    Ok(Waiting {
        attempt: row.get("id")?,
        org: row.get("org_id")?,
        platform: row.get("platform")?,
        label: row.get("runner_label")?,
        memory_mib: row.get("memory_mib")?,
        cpus: row.get("cpus")?,
        queued_at: row.get("queued_at")?,
    })
}

macro_rules! waiting_where {
    ($condition:literal) => {
        concat!(
            "SELECT a.id, a.org_id, a.memory_mib, a.cpus, a.queued_at, j.platform, j.runner_label FROM attempts a \
             JOIN jobs j ON j.id = a.job_id WHERE a.state = 'queued' AND a.org_id IS NOT NULL AND ",
            $condition
        )
    };
}

/// The attempts of a run that wait.
pub(in crate::runs) async fn waiting_of_run(db: &Db, run: RunId) -> Result<Vec<Waiting>, DbError> {
    query(waiting_where!("j.run_id = $1")).bind(run).all(db).await?.iter().map(waiting).collect()
}

/// The attempt, if it waits.
pub(in crate::runs) async fn waiting_attempt(db: &Db, id: AttemptId) -> Result<Option<Waiting>, DbError> {
    query(waiting_where!("a.id = $1")).bind(id).optional(db).await?.as_ref().map(waiting).transpose()
}

/// How many attempts of each organisation wait and are under way. Of a long
/// queue this is what everybody who looks at it would ask for: it reads the
/// index alone.
pub(in crate::runs) async fn by_org(db: &Db) -> Result<Vec<(OrgId, State, i64)>, DbError> {
    query(
        "SELECT org_id, state, COUNT(*) AS n FROM attempts WHERE state IN ('queued', 'running') \
         AND org_id IS NOT NULL GROUP BY org_id, state",
    )
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((row.get("org_id")?, row.get("state")?, row.get("n")?)))
    .collect()
}

/// How many attempts of the same organisation were queued before this one.
pub(in crate::runs) async fn own_before(db: &Db, waiting: &Waiting) -> Result<i64, DbError> {
    query(
        "SELECT COUNT(*) AS n FROM attempts WHERE org_id = $1 AND state = 'queued' \
         AND (queued_at < $2 OR (queued_at = $2 AND id < $3))",
    )
    .bind(waiting.org)
    .bind(waiting.queued_at)
    .bind(waiting.attempt)
    .one(db)
    .await?
    .get("n")
}

/// Who an attempt is given to.
pub(in crate::runs) struct Start<'a> {
    pub(in crate::runs) token_hash: &'a [u8],
    pub(in crate::runs) lease_until: Timestamp,
    /// The executor's name. That of one in a server begins with the server's.
    pub(in crate::runs) runner: &'a str,
    /// The runner.
    pub(in crate::runs) runner_id: RunnerId,
    pub(in crate::runs) now: Timestamp,
}

pub(in crate::runs) async fn start_attempt(
    tx: &mut Tx,
    attempt: AttemptId,
    start: &Start<'_>,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE attempts SET state = 'running', started_at = $2, lease_token = $3, lease_until = $4, runner = $5, \
         runner_id = $6, kept_by = NULL WHERE id = $1 AND state = 'queued'",
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
pub(in crate::runs) struct AssignmentRow {
    pub(in crate::runs) job: JobId,
    pub(in crate::runs) job_name: String,
    pub(in crate::runs) platform: String,
    pub(in crate::runs) profile: Option<String>,
    pub(in crate::runs) attempt_number: u32,
    /// When the push was stored, if one made it.
    pub(in crate::runs) accepted_at: Option<Timestamp>,
    pub(in crate::runs) queued_at: Timestamp,
    pub(in crate::runs) run: RunId,
    pub(in crate::runs) run_number: u64,
    pub(in crate::runs) trigger: Trigger,
    pub(in crate::runs) triggered_by: String,
    pub(in crate::runs) commit: Commit,
    pub(in crate::runs) org: Slug,
    pub(in crate::runs) project: Slug,
    pub(in crate::runs) settings: ProjectSettings,
    pub(in crate::runs) executor: String,
    pub(in crate::runs) runner: Option<RunnerId>,
}

pub(in crate::runs) async fn assignment(tx: &mut Tx, attempt: AttemptId) -> Result<AssignmentRow, DbError> {
    let row = query(
        "SELECT a.number AS attempt_number, a.queued_at, a.memory_mib, a.cpus, a.runner, a.runner_id, j.id AS job_id, \
         j.name AS job_name, j.platform, j.profile, r.id AS run_id, r.number AS run_number, r.cause, r.created_at, r.triggered_by, r.sha, r.git_ref, r.title, r.author, \
         r.author_email, p.slug AS project, p.settings, o.slug AS org \
         FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id \
         JOIN projects p ON p.id = r.project_id JOIN orgs o ON o.id = p.org_id WHERE a.id = $1",
    )
    .bind(attempt)
    .one(tx)
    .await?;
    let mut settings = settings_of(&row)?;
    // What was weighed when it was admitted, whatever the project says by now.
    if let (memory_mib @ 1.., cpus @ 1..) = (row.get("memory_mib")?, row.get("cpus")?) {
        (settings.memory_mib, settings.cpus) = (memory_mib, cpus);
    }
    let pushed = row.get::<Trigger>("cause")? == Trigger::Push && row.get::<u32>("attempt_number")? == 1;
    Ok(AssignmentRow {
        job: row.get("job_id")?,
        job_name: row.get("job_name")?,
        platform: row.get("platform")?,
        profile: row.get("profile")?,
        attempt_number: row.get("attempt_number")?,
        accepted_at: pushed.then(|| row.get("created_at")).transpose()?,
        queued_at: row.get("queued_at")?,
        run: row.get("run_id")?,
        run_number: row.get("run_number")?,
        trigger: row.get("cause")?,
        triggered_by: row.get("triggered_by")?,
        commit: commit_of(&row)?,
        org: row.get("org")?,
        project: row.get("project")?,
        settings,
        executor: row.get("runner")?,
        runner: row.get("runner_id")?,
    })
}

/// How many attempts wait and how many are worked on.
pub(in crate::runs) async fn depths(db: &Db) -> Result<(i64, i64), DbError> {
    let count = async |state: State| {
        query("SELECT COUNT(*) AS n FROM attempts WHERE state = $1").bind(state).one(db).await?.get("n")
    };
    Ok((count(State::Queued).await?, count(State::Running).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_searched_by_its_indexes() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", directory.path().join("db").display())).await.unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let takes = RunnerTakes {
            org: None,
            slots: 1,
            labels: ",".into(),
            platforms: ",".into(),
            memory_mib: 1,
            cpus: 1,
        };
        let used = Used { jobs: 0, memory_mib: 0, cpus: 0 };
        let runner = RunnerId(uuid::Uuid::nil());
        let wanted = Wanted { runner, takes: &takes, used, patience: now, silence: now };
        let statement = query(concat!("EXPLAIN QUERY PLAN ", next_sql!()));
        let rows = wanted.bind(statement).all(&db).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail").unwrap()).collect();
        for step in [
            "SEARCH a USING INDEX attempts_by_state (state=?)",
            "SEARCH b USING COVERING INDEX attempts_by_org (org_id=? AND state=?)",
        ] {
            assert!(plan.iter().any(|line| line.contains(step)), "{step}: {plan:#?}");
        }
        assert!(!plan.iter().any(|line| line.starts_with("SCAN") && !line.contains("x")), "{plan:#?}");
    }
}
