//! Machines: one VM for one job, started behind one door.
//!
//! [`Machines::machine`] is "get me a machine", and nobody else knows how one
//! comes to be: it waits in a pool, is restored from a template, or is booted. A machine is a byte channel to its PID 1 and a life
//! that ends; it has no other way in or out. Every file and channel of it is
//! handed over as an open descriptor, so that QEMU itself opens nothing, and
//! its disk has no name and goes away with it.

mod accelerator;
mod bench;
mod command_line;
mod examine;
mod host;
mod isolation;
mod parts;
mod pool;
mod process;
mod qemu;
mod qmp;
mod scratch;
mod shelf;
mod sweep;
mod template;
mod tsc;

use std::{collections::BTreeMap, fmt, io, os::unix::net::UnixStream as StdUnixStream, path::PathBuf};

use async_trait::async_trait;
use devenv_cloud_api::orgs::ProjectSettings;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use super::{
    control_plane::{Limits, Status},
    image::ImageError,
};

pub use bench::{BenchOptions, MachinesCommand, bench};
pub use examine::{Examined, costs, examine};
pub use isolation::{Measure, Missing};
pub use qemu::{MachineSettings, QemuMachines, keep_usual_template};
pub use shelf::{Kept, kept};

/// What a machine shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Scratch disk in MiB: all that a job can write.
    pub disk_mib: u32,
    /// Copy what the kernel says to our standard error. For looking at a
    /// machine that does not come up; it slows the start down.
    pub console: bool,
}

impl MachineSpec {
    /// The machine of a project whose settings nobody has changed.
    #[must_use]
    pub fn usual() -> Self {
        let ProjectSettings { cpus, memory_mib, disk_mib, .. } = ProjectSettings::default();
        Self { cpus, memory_mib, disk_mib, console: false }
    }
}

impl fmt::Display for MachineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cpu, {} MiB memory, {} MiB disk", self.cpus, self.memory_mib, self.disk_mib)
    }
}

impl From<&Limits> for MachineSpec {
    fn from(limits: &Limits) -> Self {
        Self { cpus: limits.cpus, memory_mib: limits.memory_mib, disk_mib: limits.disk_mib, console: false }
    }
}

/// Where machines come from.
#[async_trait]
pub trait Machines: Send + Sync + 'static {
    /// Gets a machine. Its channel is open; its PID 1 may not listen yet.
    async fn machine(&self, spec: &MachineSpec) -> Result<Machine, MachineError>;

    /// What stands ready.
    fn status(&self) -> Status {
        Status::default()
    }
}

/// The bytes to and from PID 1.
pub trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// A running machine. Dropping it kills it.
pub struct Machine {
    /// The channel to its PID 1.
    pub channel: Box<dyn Channel>,
    /// Its life.
    pub life: Box<dyn Life>,
    /// What a trace shows of it.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

/// A machine's life.
#[async_trait]
pub trait Life: Send {
    /// Ends it at once. Nothing in a machine is worth a farewell.
    fn kill(&mut self);

    /// Completes when nothing of it runs any more, and says why it ended.
    async fn ended(&mut self) -> Exit;
}

/// Why a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// We killed it.
    Killed,
    /// It powered itself off.
    PoweredOff,
    /// Its kernel gave up, or its PID 1 died.
    Panicked,
    /// The host's disk has no room for its scratch disk.
    HostDiskFull,
    /// It took more of the host's memory than its control group allows.
    OutOfMemory {
        /// MiB that it might have.
        limit_mib: u64,
    },
    /// QEMU died of a signal that was not ours.
    Signal(i32),
    /// QEMU gave up.
    Failed {
        /// Its exit status.
        status: i32,
        /// Its last words.
        words: String,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("the machine was stopped"),
            Self::PoweredOff => f.write_str("the machine powered itself off before it reported a result"),
            Self::Panicked => f.write_str(
                "the machine's kernel stopped (a panic, or its PID 1 was killed, perhaps for lack of memory)",
            ),
            Self::HostDiskFull => {
                f.write_str("the runner's disk is full, so the machine could not write: free some space")
            }
            Self::OutOfMemory { limit_mib } => write!(
                f,
                "the machine took more than {limit_mib} MiB of the runner's memory, which no machine of its size \
                 needs, and was killed for it"
            ),
            Self::Signal(9) => f.write_str(
                "the machine was killed from outside (signal 9); if nobody did that, the runner is out of memory",
            ),
            Self::Signal(signal) => write!(f, "the machine's QEMU died of signal {signal}"),
            Self::Failed { status, words } if words.is_empty() => {
                write!(f, "the machine's QEMU ended with status {status}")
            }
            Self::Failed { status, words } => {
                write!(f, "the machine's QEMU ended with status {status}: {words}")
            }
        }
    }
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no image, or it is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// QEMU is not there.
    #[error("cannot find {program}: run `apt-get install qemu-system-x86`, or set executor.qemu")]
    NoQemu {
        /// What was looked for.
        program: String,
    },
    /// QEMU does not do what is expected of it.
    #[error("cannot use QEMU: {0}")]
    Qemu(String),
    /// A machine could not be frozen or restored.
    #[error("{0}")]
    Template(String),
    /// The configuration asks for what this host does not have.
    #[error("executor.accelerator is kvm, but KVM cannot be used here: {0}")]
    NoKvm(String),
    /// The configuration asks for something unknown.
    #[error("executor.accelerator cannot be `{0}`: it is auto, kvm or tcg")]
    UnknownAccelerator(String),
    /// Not even what every host allows is allowed here.
    #[error("QEMU cannot be started without rights: {0}")]
    NotIsolated(String),
    /// The configuration asks for more isolation than this host allows.
    #[error(
        "executor.isolation is strict, but this host does not allow: {0}; `devenv-cloud doctor` says what to do"
    )]
    Isolation(String),
    /// The configuration asks for something unknown.
    #[error("executor.isolation cannot be `{0}`: it is auto or strict")]
    UnknownIsolation(String),
    /// The limits of the job are out of bounds.
    #[error("a machine cannot have {0}")]
    Spec(String),
    /// This host cannot run such machines at all.
    #[error("machines need an x86_64 host")]
    Architecture,
    /// The host says no.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl MachineError {
    fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}

fn check(spec: &MachineSpec) -> Result<(), MachineError> {
    let refuse = |what: String| Err(MachineError::Spec(what));
    if !(1..=64).contains(&spec.cpus) {
        return refuse(format!("{} processors: it must have between 1 and 64", spec.cpus));
    }
    if !(256..=1 << 20).contains(&spec.memory_mib) {
        return refuse(format!(
            "{} MiB of memory: it must have between 256 and {}",
            spec.memory_mib,
            1 << 20
        ));
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn to_async(stream: StdUnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_out_of_bounds_are_refused() {
        let spec = MachineSpec { cpus: 0, memory_mib: 512, disk_mib: 1024, console: false };
        assert!(check(&spec).unwrap_err().to_string().contains("0 processors"));
        assert!(check(&MachineSpec { cpus: 1, memory_mib: 16, ..spec }).is_err());
        assert!(check(&MachineSpec { cpus: 1, ..spec }).is_ok());
    }
}
