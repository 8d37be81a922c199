//! The queue: the attempts whose state is `queued`, oldest first.
//!
//! In one process nobody polls: whoever puts something into the queue wakes
//! those who wait, and PostgreSQL carries the news to other processes. News can
//! get lost where a connection breaks, so those who wait also look by
//! themselves every [`SLOW_POLL`].

use std::time::Duration;

use chrono::TimeDelta;
use devenv_cloud_api::ids::{AttemptId, RunId};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;

use super::{assignment, ends, store};
use crate::{
    app::AppParts,
    db::{DbError, Topic, Tx},
    executor::{Assignment, Capacity, LEASE_SECONDS, Lease},
    identity::RunnerPrincipal,
};

/// How often those who wait look without being woken.
pub const SLOW_POLL: Duration = Duration::from_secs(30);

/// Who claims.
#[derive(Clone, Copy, Debug)]
pub enum Claimant<'a> {
    /// An executor in this process: jobs of everybody that ask for no label.
    Embedded(&'a Capacity),
    /// A runner: jobs of its organisation, as many as it has slots.
    Runner {
        /// Which.
        runner: &'a RunnerPrincipal,
        /// The number that shall prove the lease. Asked again with the same, it
        /// gets the same attempt again: the answer may have been lost.
        token: u128,
    },
}

/// What came of one try.
enum Tried {
    Claimed(Box<Assignment>),
    /// Somebody else is taking, this very moment, what we saw; there may be
    /// more behind it.
    Busy,
    /// There is nothing, or nothing more for this runner.
    Nothing,
}

/// What the database holds of a lease's token: a copy of the table lets nobody
/// report anything.
pub(crate) fn token_hash(lease: &Lease) -> Vec<u8> {
    hash(lease.token)
}

fn hash(token: u128) -> Vec<u8> {
    Sha256::digest(token.to_be_bytes()).to_vec()
}

/// Waits for work and claims it. `None` when there was none for a while, or the
/// server stops.
///
/// # Errors
/// When the database says no.
pub async fn claim(app: &AppParts, claimant: Claimant<'_>) -> Result<Option<Assignment>, DbError> {
    // Listen first, look then: what comes in between is not missed.
    let mut news = app.db.wakeups().subscribe();
    if let Some(assignment) = claim_once(app, claimant).await? {
        return Ok(Some(assignment));
    }
    let slow = tokio::time::sleep(SLOW_POLL);
    tokio::pin!(slow);
    loop {
        tokio::select! {
            topic = news.recv() => match topic {
                Ok(Topic::Queue) | Err(RecvError::Lagged(_)) => {
                    if let Some(assignment) = claim_once(app, claimant).await? {
                        return Ok(Some(assignment));
                    }
                }
                Ok(_) => {}
                Err(RecvError::Closed) => return Ok(None),
            },
            () = &mut slow => return Ok(None),
            () = app.shutdown.cancelled() => return Ok(None),
        }
    }
}

/// Claims the attempt that has waited longest, if there is one.
///
/// # Errors
/// When the database says no.
pub async fn claim_once(app: &AppParts, claimant: Claimant<'_>) -> Result<Option<Assignment>, DbError> {
    loop {
        let tried = match claimant {
            Claimant::Embedded(capacity) => try_claim_embedded(app, capacity).await?,
            Claimant::Runner { runner, token } => try_claim_for_runner(app, runner, token).await?,
        };
        match tried {
            Tried::Claimed(assignment) => return Ok(Some(*assignment)),
            Tried::Nothing => return Ok(None),
            Tried::Busy => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn try_claim_embedded(app: &AppParts, capacity: &Capacity) -> Result<Tried, DbError> {
    let platforms = format!(",{},", capacity.platforms.join(","));
    let taken = store::Taken { platforms: &platforms, labels: ",", org: None };
    if !store::anything_queued(&app.db, &taken).await? {
        return Ok(Tried::Nothing);
    }
    let mut tx = app.db.begin().await?;
    let Some(found) = store::next_in_queue(&mut tx, &taken).await? else { return Ok(Tried::Busy) };
    let name = format!("{}/{}", app.instance, capacity.runner);
    let token = u128::from_be_bytes(app.random.bytes());
    start(app, tx, found, token, &name, None).await
}

async fn try_claim_for_runner(
    app: &AppParts,
    runner: &RunnerPrincipal,
    token: u128,
) -> Result<Tried, DbError> {
    let held = store::held_with(&app.db, runner.runner, &hash(token)).await?;
    // Looked at without a lock first: most of the time there is nothing.
    let Some(takes) = store::runner_takes(&app.db, runner.runner).await? else { return Ok(Tried::Nothing) };
    let taken = store::Taken { platforms: &takes.platforms, labels: &takes.labels, org: runner.org };
    if held.is_none() && !store::anything_queued(&app.db, &taken).await? {
        return Ok(Tried::Nothing);
    }
    let mut tx = app.db.begin().await?;
    // From here on, no other claim of this runner and no revocation comes between.
    let Some(locked) = store::lock_runner(&mut tx, runner.runner).await? else { return Ok(Tried::Nothing) };
    if let Some(attempt) = store::held_with(&mut tx, runner.runner, &hash(token)).await? {
        let row = store::assignment(&mut tx, attempt).await?;
        let lease = Lease { attempt, token };
        return Ok(Tried::Claimed(Box::new(assignment::assignment(app, lease, row))));
    }
    if store::count_of_runner(&mut tx, runner.runner).await? >= locked.slots {
        return Ok(Tried::Nothing);
    }
    match store::next_in_queue(&mut tx, &taken).await? {
        Some(found) => start(app, tx, found, token, &runner.name, Some(runner)).await,
        None => Ok(Tried::Busy),
    }
}

async fn start(
    app: &AppParts,
    mut tx: Tx,
    (attempt, run): (AttemptId, RunId),
    token: u128,
    name: &str,
    runner: Option<&RunnerPrincipal>,
) -> Result<Tried, DbError> {
    let now = app.clock.now();
    let start = store::Start {
        token_hash: &hash(token),
        lease_until: now + TimeDelta::seconds(LEASE_SECONDS),
        runner: name,
        runner_id: runner.map(|runner| runner.runner),
        now,
    };
    if !store::start_attempt(&mut tx, attempt, &start).await? {
        return Ok(Tried::Busy);
    }
    ends::refresh(app, &mut tx, run).await?;
    let row = store::assignment(&mut tx, attempt).await?;
    tx.wake(Topic::Attempt(attempt));
    tx.commit().await?;
    let lease = Lease { attempt, token };
    Ok(Tried::Claimed(Box::new(assignment::assignment(app, lease, row))))
}
