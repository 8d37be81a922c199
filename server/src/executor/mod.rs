//! Executing: machines, the images that they boot, and the host's end of the
//! channel to the guest. Takes work through [`ControlPlane`] alone.

pub mod control_plane;
pub mod image;
mod job;
pub mod machine;
mod trial;
mod worker;

pub use control_plane::{
    Assignment, Capacity, Conclusion, ControlError, ControlPlane, LEASE_SECONDS, Lease, LeaseState, Limits,
    PackStream,
};
pub use trial::{Trial, run as run_trial};
pub use worker::{Executor, ExecutorSettings};
