//! The queue: the attempts whose state is `queued`, oldest first.
//!
//! In one process nobody polls: whoever puts something into the queue wakes
//! those who wait, and PostgreSQL carries the news to other processes. News can
//! get lost where a connection breaks, so those who wait also look by
//! themselves every [`SLOW_POLL`].

use std::time::Duration;

use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;

use super::{assignment, ends, store};
use crate::{
    app::AppParts,
    db::{DbError, Topic},
    executor::{Assignment, Capacity, LEASE_SECONDS, Lease},
};

/// How often those who wait look without being woken.
pub const SLOW_POLL: Duration = Duration::from_secs(30);

/// What the database holds of a lease's token: a copy of the table lets nobody
/// report anything.
pub(crate) fn token_hash(lease: &Lease) -> Vec<u8> {
    Sha256::digest(lease.token.to_be_bytes()).to_vec()
}

/// Waits for work and claims it. `None` when there was none for a while.
///
/// # Errors
/// When the database says no.
pub async fn claim(app: &AppParts, capacity: &Capacity) -> Result<Option<Assignment>, DbError> {
    // Listen first, look then: what comes in between is not missed.
    let mut news = app.db.wakeups().subscribe();
    if let Some(assignment) = claim_once(app, capacity).await? {
        return Ok(Some(assignment));
    }
    let slow = tokio::time::sleep(SLOW_POLL);
    tokio::pin!(slow);
    loop {
        tokio::select! {
            topic = news.recv() => match topic {
                Ok(Topic::Queue) | Err(RecvError::Lagged(_)) => {
                    if let Some(assignment) = claim_once(app, capacity).await? {
                        return Ok(Some(assignment));
                    }
                }
                Ok(_) => {}
                Err(RecvError::Closed) => return Ok(None),
            },
            () = &mut slow => return Ok(None),
        }
    }
}

/// Claims the attempt that has waited longest, if there is one.
///
/// # Errors
/// When the database says no.
pub async fn claim_once(app: &AppParts, capacity: &Capacity) -> Result<Option<Assignment>, DbError> {
    let platforms = format!(",{},", capacity.platforms.join(","));
    while store::anything_queued(&app.db, &platforms).await? {
        if let Some(assignment) = try_claim(app, capacity, &platforms).await? {
            return Ok(Some(assignment));
        }
        // Somebody else is taking, this very moment, what we saw; there may be more behind it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(None)
}

async fn try_claim(
    app: &AppParts,
    capacity: &Capacity,
    platforms: &str,
) -> Result<Option<Assignment>, DbError> {
    let mut tx = app.db.begin().await?;
    let Some((attempt, run)) = store::next_in_queue(&mut tx, platforms).await? else { return Ok(None) };
    let now = app.clock.now();
    let lease = Lease { attempt, token: u128::from_be_bytes(app.random.bytes()) };
    let until = now + TimeDelta::seconds(LEASE_SECONDS);
    let runner = format!("{}/{}", app.instance, capacity.runner);
    if !store::start_attempt(&mut tx, attempt, &token_hash(&lease), until, &runner, now).await? {
        return Ok(None);
    }
    ends::refresh(app, &mut tx, run).await?;
    let row = store::assignment(&mut tx, attempt).await?;
    tx.wake(Topic::Attempt(attempt));
    tx.commit().await?;
    Ok(Some(assignment::assignment(app, lease, row)))
}
