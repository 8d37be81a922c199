//! The control plane of a local run: one job, one terminal, nothing to store.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};

use super::Source;
use crate::{
    executor::{
        Assignment, Capacity, Conclusion, ControlError, ControlPlane, Lease, LeaseState, PackStream, Status,
    },
    telemetry::Record,
};

/// Has one job, and hands on what comes of it.
#[derive(Debug)]
pub(super) struct LocalControl {
    source: Source,
    state: watch::Sender<LeaseState>,
    /// Bounded, so that a job is not quicker than the terminal.
    records: mpsc::Sender<Vec<Record>>,
    conclusion: Mutex<Option<Conclusion>>,
}

impl LocalControl {
    pub(super) fn new(source: Source, records: mpsc::Sender<Vec<Record>>) -> Self {
        Self { source, state: watch::Sender::new(LeaseState::Held), records, conclusion: Mutex::new(None) }
    }

    /// Has the job stopped.
    pub(super) fn cancel(&self) {
        self.state.send_replace(LeaseState::Cancelled);
    }

    /// How the job ended; nothing if it was dropped.
    pub(super) fn conclusion(&self) -> Option<Conclusion> {
        self.conclusion.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ControlPlane for LocalControl {
    async fn report(&self, _: &Capacity, _: Status) -> Result<(), ControlError> {
        Ok(())
    }

    async fn claim(&self, _: &Capacity) -> Result<Option<Assignment>, ControlError> {
        Ok(None)
    }

    async fn renew(&self, _: &Lease) -> Result<LeaseState, ControlError> {
        Ok(*self.state.borrow())
    }

    async fn changed(&self, _: &Lease) {
        let mut state = self.state.subscribe();
        if state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn source(&self, _: &Lease) -> Result<PackStream, ControlError> {
        let words = |error: super::SourceError| ControlError::Source(error.to_string());
        let pack = self.source.pack().await.map_err(words)?;
        Ok(Box::pin(pack.map(move |chunk| chunk.map_err(words))))
    }

    async fn append(&self, _: &Lease, _: u64, records: Vec<Record>) -> Result<(), ControlError> {
        // Nobody looks any more: then there is nothing to show, and a cancellation is on its way.
        let _ = self.records.send(records).await;
        Ok(())
    }

    async fn finish(&self, _: &Lease, conclusion: Conclusion) -> Result<(), ControlError> {
        *self.conclusion.lock().unwrap_or_else(PoisonError::into_inner) = Some(conclusion);
        Ok(())
    }
}
