//! What this host can do for machines, for those who ask before there is a job.

use std::path::PathBuf;

use super::{
    MachineError, Missing,
    accelerator::Accelerator,
    host::Host,
    pool::{TEMPLATE, WAITING},
};

/// What was found.
#[derive(Debug)]
pub struct Examined {
    /// QEMU's full path.
    pub program: PathBuf,
    /// QEMU's version, in its own words.
    pub version: String,
    /// Whether a machine can be made with KVM, and why not. Tried.
    pub kvm: Result<(), String>,
    /// What machines will use: `kvm` or `tcg`.
    pub accelerator: Result<&'static str, MachineError>,
    /// What this host does not allow that would isolate machines better. Tried.
    pub not_isolated: Vec<Missing>,
}

/// MiB of memory that a template takes, and a machine that waits beside it: what
/// must be free for them to be made.
#[must_use]
pub const fn costs() -> (u64, u64) {
    (TEMPLATE, WAITING)
}

/// Looks at QEMU, and tries KVM.
///
/// # Errors
/// When there is no usable QEMU at all.
pub async fn examine(qemu: &str, wish: &str) -> Result<Examined, MachineError> {
    let host = Host::find(qemu).await?;
    let kvm = Accelerator::try_kvm(&host).await.map(drop);
    let accelerator = Accelerator::choose(wish, &host).await.map(|chosen| chosen.name());
    let not_isolated = host.isolation.missing().to_vec();
    Ok(Examined { program: host.program, version: host.version, kvm, accelerator, not_isolated })
}
