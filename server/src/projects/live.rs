//! The runs of projects as they change: what keeps lists alive.
//!
//! A follower first hears how things stand, and then of each run that changes.
//! It has no number to come back with and needs none: whoever connects again
//! hears again how things stand, and a run heard of twice is still one run.
//!
//! Such a stream has no end of its own, but permission has: every run that is
//! told is asked for anew, and after a while the stream ends, so that whoever
//! still listens signs in again.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use devenv_cloud_api::{
    ids::{OrgId, ProjectId, RunId},
    permissions::Action,
    runs::RunSummary,
    trace::{PlacedRun, RunsEvent},
};
use futures::Stream;
use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::Instant,
};

use super::{ProjectAccess, store};
use crate::{
    app::App,
    db::{DbError, Topic},
    identity::{self, Principal},
    runs::queue::SLOW_POLL,
};

/// How long a stream goes on before the client has to ask again.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs that are told at first.
const FIRST: u32 = 50;

/// Runs that a follower remembers.
const REMEMBERED: usize = 2000;

/// Whose runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Of all projects of the principal's organisations: the newest of each.
    Mine,
    /// Of all projects of an organisation: the newest of each.
    Org(OrgId),
    /// Of a project.
    Project(ProjectId),
}

struct Follower {
    app: App,
    principal: Principal,
    followed: Followed,
    news: Receiver<Topic>,
    until: Instant,
    /// Runs as they were told.
    told: HashMap<RunId, RunSummary>,
    /// Runs that are none of this list's.
    others: HashSet<RunId>,
    begun: bool,
}

/// The newest runs of what is followed, and each run that changes. Only those
/// that the principal may see. Ends when the server stops, and after a while.
pub fn run_events(
    app: App,
    principal: Principal,
    followed: Followed,
) -> impl Stream<Item = Result<RunsEvent, DbError>> + Send {
    let news = app.db.wakeups().subscribe();
    let follower = Follower {
        app,
        principal,
        followed,
        news,
        until: Instant::now() + LONGEST,
        told: HashMap::new(),
        others: HashSet::new(),
        begun: false,
    };
    futures::stream::try_unfold(follower, |mut follower| async move {
        loop {
            let runs = if follower.begun {
                match follower.wait().await {
                    None => return Ok(None),
                    Some(changed) if changed.is_empty() => follower.newest().await?,
                    Some(changed) => follower.look_at(changed).await?,
                }
            } else {
                follower.begun = true;
                follower.newest().await?
            };
            if !runs.is_empty() {
                if !identity::is_still_there(&follower.app, &follower.principal).await? {
                    return Ok(None);
                }
                return Ok(Some((RunsEvent::Runs { runs }, follower)));
            }
        }
    })
}

impl Follower {
    /// Waits for news. Which runs have changed; none of them where too much
    /// happened, or nothing for long: then all are looked at. `None` at the end.
    async fn wait(&mut self) -> Option<HashSet<RunId>> {
        let mut changed = HashSet::new();
        let slow = tokio::time::sleep(SLOW_POLL);
        tokio::pin!(slow);
        while changed.is_empty() {
            tokio::select! {
                topic = self.news.recv() => match topic {
                    Ok(Topic::Run(run)) if !self.others.contains(&run) => { changed.insert(run); }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Some(HashSet::new()),
                    Err(RecvError::Closed) => return None,
                },
                () = &mut slow => return Some(HashSet::new()),
                () = tokio::time::sleep_until(self.until) => return None,
                () = self.app.shutdown.cancelled() => return None,
            }
        }
        // What else is there already is told with it.
        loop {
            match self.news.try_recv() {
                Ok(Topic::Run(run)) if !self.others.contains(&run) => {
                    changed.insert(run);
                }
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => return Some(HashSet::new()),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(changed),
            }
        }
    }

    async fn newest(&mut self) -> Result<Vec<PlacedRun>, DbError> {
        let Some(user) = self.principal.user_id() else { return Ok(Vec::new()) };
        let found = match self.followed {
            Followed::Mine => store::newest_runs(&self.app.db, user, None, FIRST).await?,
            Followed::Org(org) => store::newest_runs(&self.app.db, user, Some(org), FIRST).await?,
            Followed::Project(project) => store::runs_of(&self.app.db, user, project, FIRST).await?,
        };
        Ok(self.tell(found))
    }

    async fn look_at(&mut self, changed: HashSet<RunId>) -> Result<Vec<PlacedRun>, DbError> {
        let Some(user) = self.principal.user_id() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for run in changed {
            match store::run_by_id(&self.app.db, user, run).await? {
                Some(one) if self.is_followed(&one) => found.push(one),
                _ => {
                    if self.others.len() >= REMEMBERED {
                        self.others.clear();
                    }
                    self.others.insert(run);
                }
            }
        }
        Ok(self.tell(found))
    }

    fn is_followed(&self, (project, org, role, _): &store::FoundRun) -> bool {
        match self.followed {
            Followed::Mine => role.is_some(),
            Followed::Org(id) => org.id == id,
            Followed::Project(id) => project.id == id,
        }
    }

    /// What of it is news, and the principal's to see.
    fn tell(&mut self, found: Vec<store::FoundRun>) -> Vec<PlacedRun> {
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        let mut runs = Vec::new();
        for (project, org, role, run) in found {
            if self.told.get(&run.id) == Some(&run) {
                continue;
            }
            let access = ProjectAccess::new(project, org, role, &self.principal, self.app.clock.now());
            if access.allows(Action::ReadProject) {
                self.told.insert(run.id, run.clone());
                runs.push(PlacedRun { org: access.org.slug, project: access.project.slug, run });
            }
        }
        runs
    }
}
