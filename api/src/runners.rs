//! Runners: machines that execute jobs for a server that is somewhere else.
//!
//! What a runner itself says to the server is no part of this: only the
//! program speaks that, with itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{RunnerId, RunnerTokenId},
    names::Slug,
    permissions::words,
};

words! {
    /// Whose jobs a runner executes.
    RunnerScope {
        /// Those of one organisation's projects.
        Org = "org",
        /// Those of every project of the instance.
        Instance = "instance",
    }
}

words! {
    /// Whether a runner takes work.
    RunnerState {
        /// It is there and takes work.
        Online = "online",
        /// It is there, ends what it has, and takes nothing new.
        Draining = "draining",
        /// Nothing was heard of it for a while, or it said that it ends.
        Offline = "offline",
    }
}

/// A runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Runner {
    /// The id.
    pub id: RunnerId,
    /// Its name, for people.
    pub name: String,
    /// Whose jobs it executes.
    pub scope: RunnerScope,
    /// Whether it takes work.
    pub state: RunnerState,
    /// Words that projects can ask for.
    pub labels: Vec<String>,
    /// The platforms that it executes, e.g. `x86_64-linux`.
    pub platforms: Vec<String>,
    /// How many jobs it does at once.
    pub slots: u32,
    /// Whether it is the executor of a server itself.
    #[serde(default)]
    pub embedded: bool,
    /// What the machines of all its jobs may have together, and what they have;
    /// absent where it has not said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RunnerRoom>,
    /// What stands ready on it.
    #[serde(default)]
    pub ready: RunnerReady,
    /// The version of its program.
    pub version: String,
    /// When it registered.
    pub created_at: DateTime<Utc>,
    /// When something was last heard of it.
    pub last_seen_at: DateTime<Utc>,
    /// The jobs that it executes now, oldest first. Of a runner of the
    /// instance, an organisation sees its own only.
    pub jobs: Vec<RunnerJob>,
    /// Why a job last ended with an error on it, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<DateTime<Utc>>,
    /// Whether the one who asks may drain and revoke it.
    pub can_manage: bool,
}

/// The memory and the processors of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerRoom {
    /// MiB that the machines of all jobs may have together.
    pub memory_mib: u32,
    /// MiB that they have now.
    pub memory_used_mib: u32,
    /// Processors that the machines of all jobs may have together.
    pub cpus: u32,
    /// Processors that they have now.
    pub cpus_used: u32,
}

/// What stands ready on a runner, as it said itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerReady {
    /// The sizes that machines are made ready for; the one that was asked for last first.
    pub templates: Vec<RunnerTemplate>,
    /// What last went wrong with making machines, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A size of machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerTemplate {
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in MiB.
    pub disk_mib: u32,
    /// MiB of memory that its template takes; absent while it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_mib: Option<u32>,
    /// When the template was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<DateTime<Utc>>,
    /// Machines of this size that wait for jobs.
    pub waiting: u32,
}

/// A job that a runner executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerJob {
    /// The organisation's name in addresses.
    pub org: Slug,
    /// The project's name in addresses.
    pub project: Slug,
    /// The run's number.
    pub run: u64,
    /// The job's name within the run.
    pub job: String,
    /// Since when.
    pub started_at: DateTime<Utc>,
}

/// Changes a runner. Absent fields stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateRunner {
    /// Whether it shall take nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
}

/// A registration token: what a machine becomes a runner with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunnerToken {
    /// The id.
    pub id: RunnerTokenId,
    /// How the secret begins.
    pub prefix: String,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
    /// How many machines may register with it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
}

/// Creates a registration token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateRunnerToken {
    /// How many machines may register with it, 1 to 100. Default 1.
    #[serde(default = "one")]
    pub uses: u32,
    /// In how many hours it stops working, 1 to 720. Default 24.
    #[serde(default = "a_day")]
    pub expires_in_hours: u32,
}

const fn one() -> u32 {
    1
}

const fn a_day() -> u32 {
    24
}

/// A registration token that was just created: the only time that its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRunnerToken {
    /// What a list shows of it.
    pub token: RunnerToken,
    /// The secret.
    pub secret: String,
    /// What to enter on the machine that shall be a runner.
    pub command: String,
}

/// Whether this can be a label: 1 to 32 lower-case letters, digits, dots and hyphens.
///
/// # Errors
/// In words.
pub fn check_label(label: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if (1..=32).contains(&label.len()) && label.chars().all(fine) {
        Ok(())
    } else {
        Err(format!("`{label}` is no label: 1 to 32 lower-case letters, digits, dots and hyphens"))
    }
}
