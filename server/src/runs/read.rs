//! Reading runs, once or as they change.

use std::time::Duration;

use devenv_cloud_api::{
    ids::{AttemptId, ProjectId},
    names::Slug,
    runs::{Attempt, Run, RunSummary, State},
    trace::RunEvent,
};
use futures::Stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{AttemptRow, RunError, queue, store, waits};
use crate::{
    app::{App, AppParts},
    db::{DbError, Topic},
};

/// Which runs of a project.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only of this full ref.
    pub git_ref: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
}

/// Runs of a project, newest first, those with a number below `before`.
///
/// # Errors
/// See [`DbError`].
pub async fn list_runs(
    app: &AppParts,
    project: ProjectId,
    filter: &RunFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<RunSummary>, DbError> {
    store::list(&app.db, project, filter, before, limit).await
}

/// Runs of a project by number, or by how their branch, tag or commit begins:
/// the one with that number first, then the newest. At most `limit`.
///
/// # Errors
/// See [`DbError`].
pub async fn search(
    app: &AppParts,
    project: ProjectId,
    text: &str,
    limit: u32,
) -> Result<Vec<RunSummary>, DbError> {
    store::search(&app.db, project, text, limit).await
}

/// A run with all its jobs. `can_operate` is the caller's to know.
///
/// # Errors
/// [`RunError::NotFound`] when there is no such run.
pub async fn find_run(
    app: &AppParts,
    (org, slug, project): (&Slug, &Slug, ProjectId),
    number: u64,
    can_operate: bool,
) -> Result<Run, RunError> {
    let summary = store::find(&app.db, project, number).await?.ok_or(RunError::NotFound("run"))?;
    let jobs = store::jobs(&app.db, summary.id).await?;
    let mut run = Run { org: org.clone(), project: slug.clone(), summary, jobs, can_operate };
    waits::explain_run(app, &mut run).await?;
    Ok(run)
}

/// An attempt with its stages, as the API shows it, and as telemetry sees it.
///
/// # Errors
/// See [`DbError`].
pub async fn attempt_of(app: &AppParts, id: AttemptId) -> Result<Option<(Attempt, AttemptRow)>, DbError> {
    let Some((mut attempt, row)) = store::attempt_of(&app.db, id).await? else { return Ok(None) };
    waits::explain(app, &mut attempt).await?;
    Ok(Some((attempt, row)))
}

struct Follower {
    app: App,
    org: Slug,
    slug: Slug,
    project: ProjectId,
    number: u64,
    can_operate: bool,
    news: Receiver<Topic>,
    shown: Option<Run>,
    ended: bool,
}

/// A run as it is, and again whenever it changes. Ends when the run has ended,
/// and when the server stops.
pub fn run_events(
    app: App,
    (org, slug, project): (Slug, Slug, ProjectId),
    number: u64,
    can_operate: bool,
) -> impl Stream<Item = Result<RunEvent, RunError>> + Send {
    let news = app.db.wakeups().subscribe();
    let follower = Follower { app, org, slug, project, number, can_operate, news, shown: None, ended: false };
    futures::stream::try_unfold(follower, |mut follower| async move {
        loop {
            if follower.ended {
                return Ok(None);
            }
            if follower.shown.as_ref().is_some_and(|run| run.summary.state.is_final()) {
                follower.ended = true;
                return Ok(Some((RunEvent::End, follower)));
            }
            let place = (&follower.org, &follower.slug, follower.project);
            let run = match find_run(&follower.app, place, follower.number, follower.can_operate).await {
                Err(RunError::NotFound(_)) => return Ok(None),
                other => other?,
            };
            if follower.shown.as_ref() != Some(&run) {
                follower.shown = Some(run.clone());
                return Ok(Some((RunEvent::Run { run: Box::new(run) }, follower)));
            }
            if !follower.wait().await {
                return Ok(None);
            }
        }
    })
}

impl Follower {
    /// Waits for news of the run. `false` when the server stops.
    async fn wait(&mut self) -> bool {
        let run = self.shown.as_ref().map(|run| run.summary.id);
        let waits = self.shown.iter().flat_map(|run| &run.jobs).any(|job| job.state == State::Queued);
        follow(&self.app, &mut self.news, waits, |topic| matches!(topic, Topic::Run(id) if Some(id) == run))
            .await
    }
}

/// How often somebody who watches what waits hears that the queue has moved.
const MOVES: Duration = Duration::from_secs(1);

/// Waits for news that `is_mine`; for somebody who `waits` in the queue, also
/// for news of the queue, now and then. `false` when the server stops.
pub async fn follow(
    app: &AppParts,
    news: &mut Receiver<Topic>,
    waits: bool,
    is_mine: impl Fn(Topic) -> bool + Send,
) -> bool {
    let slow = tokio::time::sleep(queue::SLOW_POLL);
    tokio::pin!(slow);
    let quick = tokio::time::Instant::now() + MOVES;
    let mut moved = false;
    loop {
        tokio::select! {
            topic = news.recv() => match topic {
                Ok(topic) if is_mine(topic) => return true,
                Ok(Topic::Queue | Topic::Moved) => moved = waits,
                // Too much happened to remember: perhaps this was among it.
                Err(RecvError::Lagged(_)) => return true,
                Ok(_) => {}
                Err(RecvError::Closed) => return false,
            },
            () = tokio::time::sleep_until(quick), if moved => return true,
            () = &mut slow => return true,
            () = app.shutdown.cancelled() => return false,
        }
    }
}
