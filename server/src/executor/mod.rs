//! Executing: machines, the images that they boot, and the host's end of the
//! channel to the guest. Takes work through [`ControlPlane`] alone.

mod channel;
pub mod control_plane;
pub mod egress;
pub mod image;
mod job;
pub mod machine;
pub mod remote;
mod worker;

pub use control_plane::{
    Assignment, Capacity, Conclusion, ControlError, ControlPlane, LEASE_SECONDS, Lease, LeaseState, Limits,
    PackStream, Room, Status, TemplateStatus,
};
pub use egress::{Egress, Network};
pub use job::{GRACE as JOB_GRACE, wait_until_ready};
pub use worker::{Executor, ExecutorSettings, execute_one};

/// The platforms that machines of this program are.
pub const PLATFORMS: &[&str] = &["x86_64-linux"];
