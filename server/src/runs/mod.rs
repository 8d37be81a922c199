//! Runs, jobs and attempts, and the queue in which attempts wait for a machine.
//!
//! A run is one commit and one trigger; it has a job for each platform; a job
//! has attempts. Only attempts really happen: what a job is follows from its
//! newest attempt, and what a run is from its jobs, in the same transaction.
//!
//! The queue is the table of attempts itself ([`queue`]). A machine has an
//! attempt by lease only: whoever claims it gets a number that nobody else
//! knows, must show it with every report, and must renew it. A lease that
//! lapses ends the attempt as an *error*, never as a success or a failure, and
//! one more attempt is made by the system itself. Every change of state is one
//! conditional UPDATE: of two that happen at once, one wins and the other
//! learns that it lost.

mod assignment;
mod control;
mod create;
mod drive;
mod ends;
mod instance;
pub mod queue;
mod read;
mod steer;
mod store;
mod waits;

pub use control::LocalControlPlane;
pub use create::{NewRun, create};
pub use drive::drive;
pub use ends::{end_all_of_runner, is_of_runner, put_right_after_restart, reap_lapsed_leases_once};
pub use instance::instance_id;
pub use read::{RunFilter, attempt_of, find_run, follow, list_runs, run_events, search};
pub use steer::{cancel_job, cancel_run, retry_job, retry_run, start};
pub use store::{AttemptRow, find_attempt, newest_at};

/// What can go wrong when runs are changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such run, job, attempt or ref.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Not in this state of things; the sentence is for the user.
    #[error("{0}")]
    Conflict(String),
    /// See [`crate::forge::ForgeError`].
    #[error(transparent)]
    Forge(#[from] crate::forge::ForgeError),
    /// See [`crate::db::DbError`].
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
}
