//! The control plane over HTTP: what the executor takes work through when it
//! sits on another machine than the server.
//!
//! The runner dials; the server never does. Every call stands alone and may be
//! repeated: work is claimed with a number that the runner made up, records
//! carry their sequence numbers, and a packfile is read on from where it broke
//! off. So a connection may break anywhere, and a server may restart, without a
//! line that it acknowledged being lost and without a job being done twice. The
//! executor above waits for acknowledgements as it does in the server's own
//! process, which is all the back-pressure that is needed.

mod link;
mod source;
mod state;
pub mod wire;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use async_trait::async_trait;
use devenv_cloud_api::ids::AttemptId;
use tokio_util::sync::CancellationToken;

pub use link::{Link, LinkError, LinkSettings};
pub use state::{StateError, StateFile};

use self::{
    link::{Backoff, Call},
    wire::{Claim, LONG_POLL_SECONDS, Renewed, Report, Work, show_token},
};
use super::{
    Assignment, Capacity, Conclusion, ControlError, ControlPlane, Lease, LeaseState, PackStream, Status,
};
use crate::{clock::Random, telemetry::Record};

/// How long the answer to a long poll may take.
const LONG_POLL: Duration = Duration::from_secs(LONG_POLL_SECONDS + 15);

/// [`ControlPlane`] with a network in between.
#[derive(Debug)]
pub struct RemoteControlPlane {
    link: Arc<Link>,
    random: Random,
    /// Attempts whose end was sent, and whose answer was lost.
    ends: Mutex<HashSet<AttemptId>>,
}

impl RemoteControlPlane {
    /// The control plane at the other end of this link.
    #[must_use]
    pub fn new(link: Arc<Link>, random: Random) -> Self {
        Self { link, random, ends: Mutex::default() }
    }

    /// Cancelled when the server wants nothing more of this runner.
    #[must_use]
    pub fn dismissed(&self) -> CancellationToken {
        self.link.dismissed()
    }
}

fn path(lease: &Lease, what: &str) -> String {
    format!("/runner/leases/{}/{what}", lease.attempt)
}

fn control_error(lease: &Lease, error: LinkError) -> ControlError {
    match error {
        // What a runner that is none any more works on is somebody else's.
        LinkError::Dismissed(_) => ControlError::LeaseLost(lease.attempt),
        LinkError::Refused(problem) => match problem.kind.as_str() {
            "lease-lost" => ControlError::LeaseLost(lease.attempt),
            "no-room" => ControlError::NoRoom(problem.detail.unwrap_or(problem.title)),
            "no-source" => ControlError::Source(problem.detail.unwrap_or(problem.title)),
            _ => ControlError::Unavailable(anyhow!("{problem}")),
        },
        other => ControlError::Unavailable(other.into()),
    }
}

#[async_trait]
impl ControlPlane for RemoteControlPlane {
    async fn report(&self, capacity: &Capacity, status: Status) -> Result<(), ControlError> {
        let report = Report { room: capacity.room, status: status.bounded() };
        match self.link.ask::<()>(Call::post("/runner/report").json(&report)).await {
            // Whoever runs the executor sees it, and stops.
            Err(LinkError::Dismissed(_)) => std::future::pending().await,
            Err(error) => {
                self.link.complain(&error);
                Err(ControlError::Unavailable(error.into()))
            }
            Ok(()) => Ok(()),
        }
    }

    async fn claim(&self, _: &Capacity) -> Result<Option<Assignment>, ControlError> {
        // The same number until there is an answer: one that was lost on its way
        // is given again.
        let token = u128::from_be_bytes(self.random.bytes());
        let claim = Claim { lease: show_token(token) };
        let mut backoff = Backoff::new(self.random.clone());
        loop {
            let call = Call::post("/runner/claim").json(&claim).within(LONG_POLL);
            match self.link.ask::<Option<Work>>(call).await {
                Ok(None) => return Ok(None),
                Ok(Some(Work { attempt, mut assignment })) => {
                    assignment.lease = Lease { attempt, token };
                    return Ok(Some(assignment));
                }
                // Whoever runs the executor sees it, and stops.
                Err(LinkError::Dismissed(_)) => std::future::pending().await,
                Err(error) => self.link.complain(&error),
            }
            backoff.pause().await;
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<LeaseState, ControlError> {
        let call = Call::post(path(lease, "renew")).lease(lease);
        match self.link.ask::<Renewed>(call).await.map_err(|error| control_error(lease, error)) {
            Ok(renewed) => Ok(renewed.state),
            Err(ControlError::LeaseLost(_)) => Ok(LeaseState::Lost),
            Err(error) => Err(error),
        }
    }

    async fn changed(&self, lease: &Lease) {
        let mut backoff = Backoff::new(self.random.clone());
        loop {
            let call = Call::get(path(lease, "changed")).lease(lease).within(LONG_POLL);
            match self.link.ask::<()>(call).await.map_err(|error| control_error(lease, error)) {
                Ok(()) | Err(ControlError::LeaseLost(_)) => return,
                Err(_) => backoff.pause().await,
            }
        }
    }

    async fn source(&self, lease: &Lease) -> Result<PackStream, ControlError> {
        source::open(self.link.clone(), lease.clone(), self.random.clone()).await
    }

    async fn append(&self, lease: &Lease, first: u64, records: Vec<Record>) -> Result<(), ControlError> {
        // As one message, however long: of what is refused, nothing is stored.
        let body = serde_json::to_vec(&records).map_err(|error| ControlError::Unavailable(error.into()))?;
        let call = Call::post(format!("{}?first={first}", path(lease, "records"))).lease(lease).body(body);
        self.link.ask::<()>(call).await.map_err(|error| control_error(lease, error))
    }

    async fn finish(&self, lease: &Lease, conclusion: Conclusion) -> Result<(), ControlError> {
        let ends = || self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call::post(path(lease, "finish")).lease(lease).json(&conclusion);
        let result = self.link.ask::<()>(call).await.map_err(|error| control_error(lease, error));
        match result {
            Err(ControlError::Unavailable(cause)) => {
                ends().insert(lease.attempt);
                Err(ControlError::Unavailable(cause))
            }
            // The first report arrived; what did not was the answer.
            Err(ControlError::LeaseLost(_)) if ends().remove(&lease.attempt) => Ok(()),
            other => {
                ends().remove(&lease.attempt);
                other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use devenv_cloud_api::{ids::SpanId, trace::Stream};
    use devenv_cloud_guest::protocol::limits;

    use super::*;

    #[test]
    fn the_largest_frame_of_a_guest_fits_into_a_message() {
        let time = "2026-01-01T00:00:00Z".parse().unwrap();
        let line = |length| {
            let (span, stream) = (SpanId(1), Stream::Stdout);
            Record::Line { span, stream, time, text: "\u{1b}".repeat(length) }
        };
        // Few long lines, and as many as there may be.
        for (count, length) in [(limits::FRAME / limits::LINE, limits::LINE), (limits::RECORDS, 240)] {
            let records: Vec<_> = (0..count).map(|_| line(length)).collect();
            let size = serde_json::to_vec(&records).unwrap().len();
            assert!(size < wire::RECORDS_LIMIT, "{size}");
            Record::check_all(&records).unwrap();
        }
    }
}
