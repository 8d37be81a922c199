//! Making a run.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId, ProjectId, RunId, UserId},
    runs::{Commit, State, Trigger},
};

use super::{RunError, ends, store};
use crate::{
    app::AppParts,
    db::{Topic, Tx},
};

/// The platforms that every run has a job for.
pub(super) const PLATFORMS: &[&str] = &["x86_64-linux"];

/// A run that is to be made.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The project.
    pub project: ProjectId,
    /// The commit and the ref.
    pub commit: Commit,
    /// What makes it.
    pub trigger: Trigger,
    /// Who makes it, for people.
    pub triggered_by: String,
    /// Who makes it, if it is somebody who has an account.
    pub user: Option<UserId>,
    /// When the push was stored, if that was earlier than now.
    pub accepted_at: Option<Timestamp>,
    /// Why there is nothing to do, if there is nothing.
    pub skip: Option<String>,
}

/// Makes a run with its jobs and their first attempts, and gives its id and
/// number. Where the project wants it so, runs of older commits of the same
/// branch that have not begun are cancelled.
///
/// # Errors
/// When the project is gone or the database says no.
pub async fn create(app: &AppParts, tx: &mut Tx, new: &NewRun) -> Result<(RunId, u64), RunError> {
    let now = app.clock.now();
    let settings = store::settings(&mut *tx, new.project).await?.ok_or(RunError::NotFound("project"))?;
    let number = store::next_number(tx, new.project).await?;
    let id = RunId(app.random.id(now));
    let state = if new.skip.is_some() { State::Skip } else { State::Queued };
    let reason = new.skip.as_deref();
    let run = store::RunInsert {
        id,
        project: new.project,
        number,
        state,
        reason,
        trigger: new.trigger,
        triggered_by: &new.triggered_by,
        user: new.user,
        commit: &new.commit,
        now: new.accepted_at.unwrap_or(now).min(now),
    };
    store::insert_run(tx, &run).await?;
    let label = Some(settings.runner_label.as_str()).filter(|label| !label.is_empty());
    for platform in PLATFORMS {
        let job = JobId(app.random.id(now));
        store::insert_job(tx, job, id, platform, label, state).await?;
        let attempt = AttemptId(app.random.id(now));
        let attempt =
            store::AttemptInsert { id: attempt, job, number: 1, state, reason, automatic: false, now };
        store::insert_attempt(tx, &attempt).await?;
    }
    let branch = new.commit.git_ref.starts_with("refs/heads/");
    if branch && settings.cancel_superseded && new.trigger == Trigger::Push {
        let reason = format!("a newer push to {} came before it began: run {number}", new.commit.short_ref());
        for older in store::queued_runs_before(tx, new.project, &new.commit.git_ref, number).await? {
            ends::cancel_queued(app, tx, older, &reason).await?;
        }
    }
    tx.wake(Topic::Run(id));
    if state == State::Queued {
        tx.wake(Topic::Queue);
    }
    Ok((id, number))
}
