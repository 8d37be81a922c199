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
