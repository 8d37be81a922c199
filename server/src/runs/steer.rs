//! What people do to runs: start, cancel, retry.

use devenv_cloud_api::{
    ids::{AttemptId, ProjectId, RunId, UserId},
    runs::{Commit, State, Trigger},
};

use super::{NewRun, RunError, create, ends, store};
use crate::{
    app::AppParts,
    db::{Topic, Tx},
    forge::{self, Repository},
};

/// Starts a run by hand, and gives its number. `git_ref` is a branch, a tag or
/// a full ref name; the default branch when absent.
///
/// # Errors
/// When there is no such ref.
pub async fn start(
    app: &AppParts,
    project: ProjectId,
    git_ref: Option<&str>,
    user: UserId,
    name: &str,
) -> Result<u64, RunError> {
    let settings = store::settings(&app.db, project).await?.ok_or(RunError::NotFound("project"))?;
    let repository = Repository::of(app, project);
    let wanted = git_ref.unwrap_or(&settings.default_branch);
    let missing = || {
        RunError::Conflict(format!(
            "there is no branch or tag `{wanted}` in this project; push it first, or name another one"
        ))
    };
    let (git_ref, sha) = forge::resolve(&repository, wanted).await?.ok_or_else(missing)?;
    let info = forge::read_commits(&repository, &[sha]).await?.pop().flatten().ok_or_else(missing)?;
    let new = NewRun {
        project,
        commit: Commit { git_ref, ..info.commit },
        trigger: Trigger::Manual,
        triggered_by: name.to_owned(),
        user: Some(user),
        accepted_at: None,
        skip: (!info.has_devenv_nix).then(|| forge::NO_DEVENV_NIX.to_owned()),
    };
    let mut tx = app.db.begin().await?;
    let (_, number) = create(app, &mut tx, &new).await?;
    tx.commit().await?;
    Ok(number)
}

async fn locked(tx: &mut Tx, project: ProjectId, number: u64) -> Result<RunId, RunError> {
    let run = store::find(&mut *tx, project, number).await?.ok_or(RunError::NotFound("run"))?;
    store::lock_run(tx, run.id).await?;
    Ok(run.id)
}

/// The newest attempts of a run's jobs, or of the one that is named.
async fn chosen(tx: &mut Tx, run: RunId, job: Option<&str>) -> Result<Vec<store::Newest>, RunError> {
    let mut newest = store::newest_attempts(tx, run).await?;
    if let Some(name) = job {
        newest.retain(|attempt| attempt.job_name == name);
        if newest.is_empty() {
            return Err(RunError::NotFound("job"));
        }
    }
    Ok(newest)
}

async fn cancel(
    app: &AppParts,
    project: ProjectId,
    number: u64,
    job: Option<&str>,
    who: &str,
) -> Result<(), RunError> {
    let mut tx = app.db.begin().await?;
    let run = locked(&mut tx, project, number).await?;
    let reason = format!("{who} cancelled it");
    let now = app.clock.now();
    let mut any = false;
    for attempt in chosen(&mut tx, run, job).await? {
        match attempt.state {
            State::Queued => any |= ends::cancel_one_queued(app, &mut tx, attempt.attempt, &reason).await?,
            // Asking twice is as good as asking once.
            State::Running => {
                any = true;
                if store::request_cancel(&mut tx, attempt.attempt, &reason, now).await? {
                    tx.wake(Topic::Attempt(attempt.attempt));
                }
            }
            _ => {}
        }
    }
    if !any {
        return Err(RunError::Conflict("there is nothing to cancel: it has ended already".to_owned()));
    }
    ends::refresh(app, &mut tx, run).await?;
    tx.commit().await?;
    Ok(())
}

/// Cancels a run: what is queued at once, what is running as soon as its
/// runner has stopped it.
///
/// # Errors
/// When nothing of it is queued or running.
pub async fn cancel_run(app: &AppParts, project: ProjectId, number: u64, who: &str) -> Result<(), RunError> {
    cancel(app, project, number, None, who).await
}

/// Cancels one job.
///
/// # Errors
/// When it is neither queued nor running.
pub async fn cancel_job(
    app: &AppParts,
    project: ProjectId,
    number: u64,
    job: &str,
    who: &str,
) -> Result<(), RunError> {
    cancel(app, project, number, Some(job), who).await
}

async fn retry(app: &AppParts, project: ProjectId, number: u64, job: Option<&str>) -> Result<(), RunError> {
    let mut tx = app.db.begin().await?;
    let run = locked(&mut tx, project, number).await?;
    let now = app.clock.now();
    let mut any = false;
    let newest = chosen(&mut tx, run, job).await?;
    let moving = newest.iter().any(|attempt| !attempt.state.is_final());
    for attempt in newest {
        // One job may be repeated whatever came of it; of a run, only what did not succeed.
        let wanted = attempt.state.is_final() && (job.is_some() || attempt.state != State::Success);
        if !wanted {
            continue;
        }
        any = true;
        let again = store::AttemptInsert {
            id: AttemptId(app.random.id(now)),
            job: attempt.job,
            number: attempt.number + 1,
            state: State::Queued,
            reason: None,
            automatic: false,
            now,
        };
        store::insert_attempt(&mut tx, &again).await?;
    }
    if !any {
        return Err(RunError::Conflict(if moving {
            "there is nothing to retry: it has not ended yet".to_owned()
        } else {
            "there is nothing to retry: every job succeeded. Retry a single job to repeat it".to_owned()
        }));
    }
    ends::refresh(app, &mut tx, run).await?;
    tx.wake(Topic::Queue);
    tx.commit().await?;
    Ok(())
}

/// Repeats the jobs of a run that ended without success, as new attempts.
///
/// # Errors
/// When there is none.
pub async fn retry_run(app: &AppParts, project: ProjectId, number: u64) -> Result<(), RunError> {
    retry(app, project, number, None).await
}

/// Repeats one job, as a new attempt.
///
/// # Errors
/// When it has not ended.
pub async fn retry_job(app: &AppParts, project: ProjectId, number: u64, job: &str) -> Result<(), RunError> {
    retry(app, project, number, Some(job)).await
}
