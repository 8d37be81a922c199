//! Reading runs, once or as they change.

use devenv_cloud_api::{
    ids::ProjectId,
    names::Slug,
    runs::{Run, RunSummary, State},
    trace::RunEvent,
};
use futures::Stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{RunError, queue, store};
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
    Ok(Run { org: org.clone(), project: slug.clone(), summary, jobs, can_operate })
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
        let slow = tokio::time::sleep(queue::SLOW_POLL);
        tokio::pin!(slow);
        loop {
            tokio::select! {
                topic = self.news.recv() => match topic {
                    Ok(Topic::Run(id)) if Some(id) == run => return true,
                    Err(RecvError::Lagged(_)) => return true,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return false,
                },
                () = &mut slow => return true,
                () = self.app.shutdown.cancelled() => return false,
            }
        }
    }
}
