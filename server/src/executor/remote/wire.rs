//! What a runner and its server say to each other, beside the types of the
//! [control plane](crate::executor::control_plane) itself.
//!
//! Both ends are this program; [`PROTOCOL`] says whether they are close enough
//! to understand each other. All of it is JSON but the source, which is the
//! bytes of a packfile.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, RunnerId},
    names::Slug,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::executor::{Assignment, Lease, LeaseState, Room, Status};

/// The version of all messages. Changes with every change that one side alone
/// would not understand.
pub const PROTOCOL: u32 = 2;

/// The header with the number that proves a lease, as 32 hexadecimal digits.
pub const LEASE_HEADER: &str = "x-lease";

/// Bytes of one message with records: room for the largest frame of a guest,
/// whose every byte may become six in JSON.
pub const RECORDS_LIMIT: usize = 12 << 20;

/// How long the server may take to answer that there is no work, or that
/// nothing about a lease changed, in seconds.
pub const LONG_POLL_SECONDS: u64 = 30;

/// What a runner says of itself, each time that it starts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Announcement {
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// The version of its program.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// Its name, for people.
    #[schema(example = "builder-1")]
    pub name: String,
    /// Words that projects can ask for.
    #[schema(example = json!(["gpu"]))]
    pub labels: Vec<String>,
    /// The platforms that it executes.
    #[schema(example = json!(["x86_64-linux"]))]
    pub platforms: Vec<String>,
    /// How many jobs it does at once.
    pub slots: u32,
}

/// Makes a machine a runner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Register {
    /// A registration token.
    pub token: String,
    /// 32 hexadecimal digits that the machine made up and keeps: the same
    /// again, and it is the same runner, for which the token is not used again.
    pub nonce: String,
    /// What it is.
    pub announcement: Announcement,
}

/// The credential that a runner works with.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// Which runner it is.
    pub runner: RunnerId,
    /// The secret.
    pub credential: String,
    /// When it stops working. It can be exchanged for a new one before and
    /// for some time after.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// The server's answer to an [`Announcement`].
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Welcome {
    /// The organisation whose jobs the runner gets; absent: those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<Slug>,
    /// The version of the server's program.
    pub version: String,
    /// What time it is for the server.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
}

/// What a runner says while it works, now and then, and before it first asks
/// for work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// What the machines of all its jobs may have together.
    pub room: Room,
    /// What stands ready.
    #[serde(default)]
    pub status: Status,
}

/// Asks for work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// The number that shall prove the lease, as 32 hexadecimal digits, made up
    /// by the runner: asked again with the same, the server gives the same
    /// work again, so that an answer that was lost costs nothing.
    pub lease: String,
}

/// An assignment on its way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Work {
    /// The attempt.
    pub attempt: AttemptId,
    /// What is to be done.
    pub assignment: Assignment,
}

impl From<Assignment> for Work {
    fn from(assignment: Assignment) -> Self {
        Self { attempt: assignment.lease.attempt, assignment }
    }
}

/// Which records a message has.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FirstRecord {
    /// The sequence number of the first of them; numbers are consecutive from 1.
    #[param(minimum = 1)]
    pub first: u64,
}

/// What is thought of a lease.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Renewed {
    /// Whether to go on.
    pub state: LeaseState,
}

/// Reads a number as it stands in [`LEASE_HEADER`].
#[must_use]
pub fn parse_token(text: &str) -> Option<u128> {
    let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Writes a lease's number.
#[must_use]
pub fn show_token(token: u128) -> String {
    format!("{token:032x}")
}

/// The lease of an attempt, proved by the number in `header`.
#[must_use]
pub fn lease(attempt: AttemptId, header: &str) -> Option<Lease> {
    parse_token(header).map(|token| Lease { attempt, token })
}
