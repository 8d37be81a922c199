//! The queue: the attempts whose state is `queued`.
//!
//! Who gets the next machine is decided when a runner asks, and nowhere else:
//!
//! 1. What the runner cannot do is not looked at: other platforms, labels that
//!    it does not have, machines that are larger than all that it has.
//! 2. Of the organisations that wait, the one with the fewest attempts under way
//!    comes first: one that pushes a hundred times does not keep the others
//!    waiting. Of its attempts, the oldest.
//! 3. What there is no room for at this moment is passed over, but not for ever:
//!    once it has waited for [`PATIENCE`] and it is its turn, the runner that
//!    finds it keeps room for it, which means that it takes nothing that comes
//!    later until the machines that run have made room. One runner does so for
//!    an attempt; the others go on, and give it a machine if they can sooner.
//!
//! What runs on a runner is counted from the rows, with the runner's row locked,
//! so that claims at the same moment never get more than there is.
//!
//! In one process nobody polls: whoever puts something into the queue wakes
//! those who wait, and PostgreSQL carries the news to other processes. News can
//! get lost where a connection breaks, so those who wait also look by
//! themselves every [`SLOW_POLL`].

use std::time::Duration;

use chrono::TimeDelta;
use devenv_cloud_api::ids::{ProjectId, RunnerId};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;

use super::{assignment, ends, store};
use crate::{
    app::AppParts,
    db::{DbError, Topic, Tx},
    executor::{Assignment, Capacity, LEASE_SECONDS, Lease},
    identity::RunnerPrincipal,
    runners,
};

/// How often those who wait look without being woken.
pub const SLOW_POLL: Duration = Duration::from_secs(30);

/// How long an attempt for which there is no room is passed over by smaller ones.
pub const PATIENCE: TimeDelta = TimeDelta::seconds(60);

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

/// Claims the attempt whose turn it is, if there is one.
///
/// # Errors
/// When the database says no.
pub async fn claim_once(app: &AppParts, claimant: Claimant<'_>) -> Result<Option<Assignment>, DbError> {
    let taker = match claimant {
        Claimant::Embedded(capacity) => Taker {
            runner: runners::embedded(app, capacity).await?,
            token: u128::from_be_bytes(app.random.bytes()),
            name: format!("{}/{}", app.instance, capacity.runner),
        },
        Claimant::Runner { runner, token } => {
            Taker { runner: runner.runner, token, name: runner.name.clone() }
        }
    };
    loop {
        match try_claim(app, &taker).await? {
            Tried::Claimed(assignment) => return Ok(Some(*assignment)),
            Tried::Nothing => return Ok(None),
            Tried::Busy => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Who an attempt goes to.
struct Taker {
    runner: RunnerId,
    token: u128,
    /// As the attempt's row has it.
    name: String,
}

async fn try_claim(app: &AppParts, taker: &Taker) -> Result<Tried, DbError> {
    let (runner, token) = (taker.runner, hash(taker.token));
    let now = app.clock.now();
    let held = store::held_with(&app.db, runner, &token).await?;
    // Looked at without a lock first: most of the time there is nothing.
    let Some(takes) = store::runner_takes(&app.db, runner).await? else { return Ok(Tried::Nothing) };
    let used = store::used_of_runner(&app.db, runner).await?;
    let wanted = store::Wanted {
        runner,
        takes: &takes,
        used,
        patience: now - PATIENCE,
        silence: now - runners::SILENT,
    };
    if held.is_none() && (used.jobs >= takes.slots || !store::anything_queued(&app.db, &wanted).await?) {
        return Ok(Tried::Nothing);
    }
    let mut tx = app.db.begin().await?;
    // From here on, no other claim of this runner and no revocation comes between.
    let Some(takes) = store::lock_runner(&mut tx, runner).await? else { return Ok(Tried::Nothing) };
    if let Some(attempt) = store::held_with(&mut tx, runner, &token).await? {
        let row = store::assignment(&mut tx, attempt).await?;
        let lease = Lease { attempt, token: taker.token };
        return Ok(Tried::Claimed(Box::new(assignment::assignment(app, lease, row))));
    }
    let used = store::used_of_runner(&mut tx, runner).await?;
    if used.jobs >= takes.slots {
        return Ok(Tried::Nothing);
    }
    let wanted = store::Wanted { takes: &takes, used, ..wanted };
    let Some(next) = store::next_in_queue(&mut tx, &wanted).await? else { return Ok(Tried::Busy) };
    if next.fits {
        return start(app, tx, next, taker).await;
    }
    if next.kept_by != Some(runner) {
        store::keep_room(&mut tx, next.attempt, runner).await?;
        tx.wake(Topic::Moved);
        tx.commit().await?;
        tracing::info!(attempt = %next.attempt, %runner, "keeping room for a job that has waited long");
    }
    Ok(Tried::Nothing)
}

async fn start(app: &AppParts, mut tx: Tx, next: store::Next, taker: &Taker) -> Result<Tried, DbError> {
    let store::Next { attempt, run, kept_by, .. } = next;
    let now = app.clock.now();
    let start = store::Start {
        token_hash: &hash(taker.token),
        lease_until: now + TimeDelta::seconds(LEASE_SECONDS),
        runner: &taker.name,
        runner_id: taker.runner,
        now,
    };
    if !store::start_attempt(&mut tx, attempt, &start).await? {
        return Ok(Tried::Busy);
    }
    ends::refresh(app, &mut tx, run).await?;
    let row = store::assignment(&mut tx, attempt).await?;
    tx.wake(Topic::Attempt(attempt));
    // Whoever kept room for it can take others again.
    tx.wake(if kept_by.is_some() { Topic::Queue } else { Topic::Moved });
    tx.commit().await?;
    let lease = Lease { attempt, token: taker.token };
    Ok(Tried::Claimed(Box::new(assignment::assignment(app, lease, row))))
}

/// A project's settings have changed: what waits asks for this much from now on.
///
/// # Errors
/// When the database says no.
pub async fn resize_queued(
    app: &AppParts,
    project: ProjectId,
    memory_mib: u32,
    cpus: u32,
) -> Result<(), DbError> {
    let mut tx = app.db.begin().await?;
    if store::resize_queued(&mut tx, project, memory_mib, cpus).await? {
        tx.wake(Topic::Queue);
        tx.commit().await?;
    }
    Ok(())
}
