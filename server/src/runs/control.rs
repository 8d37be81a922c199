//! The control plane for executors in the server's own process.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::StreamExt as _;
use tokio::sync::broadcast::error::RecvError;

use super::{
    ends::{self, End},
    queue, store,
};
use crate::{
    app::App,
    db::Topic,
    executor::{
        Assignment, Capacity, Conclusion, ControlError, ControlPlane, LEASE_SECONDS, Lease, LeaseState,
        PackStream, Status,
    },
    forge::{self, ForgeError, Repository},
    runners,
    telemetry::{self, Record},
};

/// [`ControlPlane`] without a network in between.
#[derive(Clone, Debug)]
pub struct LocalControlPlane {
    app: App,
}

impl LocalControlPlane {
    /// The control plane of this application.
    #[must_use]
    pub const fn new(app: App) -> Self {
        Self { app }
    }
}

fn unavailable(error: impl Into<anyhow::Error>) -> ControlError {
    ControlError::Unavailable(error.into())
}

fn source_error(error: ForgeError) -> ControlError {
    match error {
        ForgeError::Gone(_) => ControlError::Source(error.to_string()),
        other => unavailable(other),
    }
}

#[async_trait]
impl ControlPlane for LocalControlPlane {
    async fn report(&self, capacity: &Capacity, status: Status) -> Result<(), ControlError> {
        runners::report_embedded(&self.app, capacity, Some(status)).await.map(|_| ()).map_err(unavailable)
    }

    async fn claim(&self, capacity: &Capacity) -> Result<Option<Assignment>, ControlError> {
        queue::claim(&self.app, queue::Claimant::Embedded(capacity)).await.map_err(unavailable)
    }

    async fn renew(&self, lease: &Lease) -> Result<LeaseState, ControlError> {
        let until = self.app.clock.now() + TimeDelta::seconds(LEASE_SECONDS);
        let held = store::renew_lease(&self.app.db, lease.attempt, &queue::token_hash(lease), until).await;
        Ok(match held.map_err(unavailable)? {
            None => LeaseState::Lost,
            Some(true) => LeaseState::Cancelled,
            Some(false) => LeaseState::Held,
        })
    }

    async fn changed(&self, lease: &Lease) {
        let mut news = self.app.db.wakeups().subscribe();
        let hash = queue::token_hash(lease);
        let quiet =
            async || matches!(store::lease_is_quiet(&self.app.db, lease.attempt, &hash).await, Ok(true));
        // It may have happened since the caller last renewed. A caller that
        // knows already and calls again is not to spin.
        if !quiet().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return;
        }
        loop {
            match news.recv().await {
                // Our own records wake us too; only what renewing would tell counts.
                Ok(Topic::Attempt(attempt)) if attempt == lease.attempt => {
                    if !quiet().await {
                        return;
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    async fn source(&self, lease: &Lease) -> Result<PackStream, ControlError> {
        let hash = queue::token_hash(lease);
        let found = store::source_of(&self.app.db, lease.attempt, &hash).await.map_err(unavailable)?;
        let (project, commit) = found.ok_or(ControlError::LeaseLost(lease.attempt))?;
        let repository = Repository::of(&self.app, project);
        let pack = forge::pack(&repository, &commit).await.map_err(source_error)?;
        Ok(Box::pin(pack.map(|bytes| bytes.map_err(source_error))))
    }

    async fn append(&self, lease: &Lease, first: u64, records: Vec<Record>) -> Result<(), ControlError> {
        telemetry::append(&self.app, lease.attempt, &queue::token_hash(lease), first, records).await
    }

    async fn finish(&self, lease: &Lease, conclusion: Conclusion) -> Result<(), ControlError> {
        let end = End {
            state: conclusion.state,
            reason: conclusion.reason,
            exit_status: conclusion.exit_status,
            dropped_lines: conclusion.dropped_lines,
        };
        let hash = queue::token_hash(lease);
        let holder = store::Holder::Token(&hash);
        match ends::end(&self.app, lease.attempt, &holder, end).await.map_err(unavailable)? {
            true => Ok(()),
            false => Err(ControlError::LeaseLost(lease.attempt)),
        }
    }
}
