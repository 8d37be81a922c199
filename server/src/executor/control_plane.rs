//! The one seam between executing and everything else. The executor takes work
//! and reports through [`ControlPlane`] and knows nothing of runs, of the
//! database, or of whether it sits in the server's process or on another
//! machine.

use std::{collections::BTreeMap, pin::Pin};

use async_trait::async_trait;
use bytes::Bytes;
use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId},
    runs::State,
};
use futures::Stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::egress::Network;
use crate::{disk::DiskFull, telemetry::Record};

/// How long a lease lasts without being renewed, in seconds.
pub const LEASE_SECONDS: i64 = 60;

/// Proof that this executor works on this attempt. Every report carries it; a
/// report with a lapsed or foreign lease is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The attempt.
    pub attempt: AttemptId,
    /// A number that only the holder knows; new with every claim.
    pub token: u128,
}

impl Default for Lease {
    /// A lease on nothing, for an assignment on its way.
    fn default() -> Self {
        Self { attempt: AttemptId(uuid::Uuid::nil()), token: 0 }
    }
}

/// What machines may have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Room {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
}

/// What an executor can take.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// The executor's name, for the log: host name and process.
    pub runner: String,
    /// The host's name.
    pub host: String,
    /// The platforms that it executes, e.g. `x86_64-linux`.
    pub platforms: Vec<String>,
    /// How many jobs at once.
    pub slots: u32,
    /// What the machines of all its jobs may have together.
    pub room: Room,
}

/// What stands ready for jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The sizes that machines are made ready for; the one that was asked for last first.
    pub templates: Vec<TemplateStatus>,
    /// What last went wrong with making machines.
    pub problem: Option<String>,
}

/// A size of machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateStatus {
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in MiB.
    pub disk_mib: u32,
    /// MiB that its template takes, if there is one.
    pub holds_mib: Option<u32>,
    /// Seconds since the template was made.
    pub age_seconds: Option<u32>,
    /// Machines that wait.
    pub waiting: u32,
}

impl Status {
    /// Sizes that an executor may name, and bytes of what went wrong.
    const BOUNDS: (usize, usize) = (16, 2048);

    /// The same within bounds, whoever it is from: what is too much is cut off.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.templates.truncate(Self::BOUNDS.0);
        self.problem = self.problem.map(|words| {
            let mut words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            words.truncate(words.floor_char_boundary(Self::BOUNDS.1));
            words
        });
        self
    }
}

/// One attempt at a job, with all that is needed to do it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// The right to work on it. Never sent: whoever asked for the work knows it.
    #[serde(skip)]
    pub lease: Lease,
    /// The job.
    pub job: JobId,
    /// The commit: full object name.
    pub commit: String,
    /// The full ref.
    pub git_ref: String,
    /// Where people fetch this project from.
    pub origin: String,
    /// The platform.
    pub platform: String,
    /// The active profiles.
    pub profiles: Vec<String>,
    /// The tasks that are run, with everything that they wait for; all of them when empty.
    pub tasks: Vec<String>,
    /// Values of the `cloud.*` options.
    #[schema(value_type = Object)]
    pub cloud: serde_json::Value,
    /// Environment of every command.
    pub env: BTreeMap<String, String>,
    /// Attributes of the job's span, in OpenTelemetry's vocabulary.
    pub attributes: BTreeMap<String, String>,
    /// When the push was stored that made the attempt, if one did.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub accepted_at: Option<Timestamp>,
    /// When the attempt was put into the queue: the start of its `queue` span.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// The limits of its machine.
    pub limits: Limits,
    /// What it may reach.
    #[serde(default)]
    pub network: Network,
}

/// What one job may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Scratch disk in MiB.
    pub disk_mib: u32,
    /// Wall-clock time from claim to end, in seconds.
    pub timeout_seconds: u32,
    /// Bytes of log that are kept.
    pub log_bytes: u64,
}

/// What the control plane thinks of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Go on.
    Held,
    /// Stop the job: somebody cancelled it. The lease still holds, report the end.
    Cancelled,
    /// Stop at once and report nothing: the lease is somebody else's by now.
    Lost,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Conclusion {
    /// A final state.
    pub state: State,
    /// One sentence, for every end but success.
    pub reason: Option<String>,
    /// The exit status of the command that decided it.
    pub exit_status: Option<i32>,
    /// Lines that the guest dropped because the job wrote too much.
    pub dropped_lines: u64,
}

impl Conclusion {
    /// Whether one that comes from outside this process keeps the bounds.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        let reason = self.reason.as_deref().unwrap_or_default();
        if reason.len() > 8192 || reason.contains('\0') {
            return Err("a reason has at most 8192 bytes, and no NUL among them".to_owned());
        }
        if self.state == State::Success && self.exit_status != Some(0) {
            return Err("a success has the exit status 0".to_owned());
        }
        if self.dropped_lines > u64::from(u32::MAX) {
            return Err("nobody drops so many lines".to_owned());
        }
        Ok(())
    }
}

/// What can go wrong between an executor and its control plane.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The lease is not ours any more: stop, report nothing.
    #[error("the lease on attempt {0} was lost")]
    LeaseLost(AttemptId),
    /// The source cannot be delivered; the sentence is for the user.
    #[error("{0}")]
    Source(String),
    /// There is no room for what was sent, and waiting makes none. Nothing of it
    /// was stored.
    #[error("{0}")]
    NoRoom(String),
    /// Try again later: database gone, network lost.
    #[error("the control plane cannot be reached or cannot store: {0}")]
    Unavailable(#[source] anyhow::Error),
}

impl From<DiskFull> for ControlError {
    fn from(full: DiskFull) -> Self {
        Self::NoRoom(full.to_string())
    }
}

/// The bytes of a packfile, as they come.
pub type PackStream = Pin<Box<dyn Stream<Item = Result<Bytes, ControlError>> + Send>>;

/// Where work comes from and where reports go.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// Says that the executor is there, what it has, and what stands ready: before the first claim,
    /// and now and then. Work is claimed up to what was last said.
    async fn report(&self, capacity: &Capacity, status: Status) -> Result<(), ControlError>;

    /// Waits for work and claims it. Returns `None` when there was none for a
    /// while; call again.
    async fn claim(&self, capacity: &Capacity) -> Result<Option<Assignment>, ControlError>;

    /// Renews a lease for another [`LEASE_SECONDS`].
    async fn renew(&self, lease: &Lease) -> Result<LeaseState, ControlError>;

    /// Completes as soon as something about the lease may have changed (a
    /// cancellation); [`ControlPlane::renew`] then says what.
    async fn changed(&self, lease: &Lease);

    /// A packfile with exactly the commit, its trees and its blobs.
    async fn source(&self, lease: &Lease) -> Result<PackStream, ControlError>;

    /// Stores records. They are durable when this returns. `first` is the
    /// sequence number of the first of them; numbers of an attempt are
    /// consecutive from 1, and storing what is stored already does nothing.
    /// [`ControlError::NoRoom`] refuses records with lines; those without are
    /// small, and taken.
    async fn append(&self, lease: &Lease, first: u64, records: Vec<Record>) -> Result<(), ControlError>;

    /// Ends the attempt. The state change and the end of the lease are one.
    async fn finish(&self, lease: &Lease, conclusion: Conclusion) -> Result<(), ControlError>;
}
