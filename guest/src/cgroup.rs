//! Control groups: what keeps a task from taking the machine down with it, and
//! what ends all of its processes, however they try to get away.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Pid, Signal};

/// The group of the job, in which each command gets a group of its own.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: PathBuf,
    memory: u64,
    next: Arc<AtomicU64>,
}

/// Processes of one command.
const MAX_PROCESSES: u64 = 4096;

impl Cgroups {
    /// Makes the job's group below `mount` (where cgroup2 is mounted) and bounds it.
    ///
    /// # Errors
    /// When the kernel lacks a controller or refuses a limit.
    pub fn create(mount: &Path) -> io::Result<Self> {
        const CONTROLLERS: &str = "+memory +pids";
        fs::write(mount.join("cgroup.subtree_control"), CONTROLLERS)?;
        // With it, all of the job together weighs as much as one thread of the
        // session: a fork bomb cannot keep a cancellation from being heard. Good to
        // have, no reason to refuse a kernel.
        let _ = fs::write(mount.join("cgroup.subtree_control"), "+cpu");
        let root = mount.join("job");
        fs::create_dir_all(&root)?;
        let memory = job_memory(&fs::read_to_string("/proc/meminfo")?);
        fs::write(root.join("memory.max"), memory.to_string())?;
        // More than one command may run: the job as a whole gets a little more.
        fs::write(root.join("pids.max"), (MAX_PROCESSES + MAX_PROCESSES / 2).to_string())?;
        fs::write(root.join("cgroup.subtree_control"), CONTROLLERS)?;
        let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
        Ok(Self { root, memory, next: Arc::default() })
    }

    /// The memory that all of the job's processes may use together, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// A new group for one command.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn command(&self) -> io::Result<Cgroup> {
        let path = self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path)?;
        fs::write(path.join("pids.max"), MAX_PROCESSES.to_string())?;
        // All of it or nothing: half a build is harder to understand than none.
        fs::write(path.join("memory.oom.group"), "1")?;
        Ok(Cgroup { path })
    }
}

/// What the job may use of the machine's memory: all but a share for the
/// kernel's and the guest's own.
fn job_memory(meminfo: &str) -> u64 {
    let kibibytes = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(512 << 10);
    let total = kibibytes << 10;
    total - (total / 16).max(48 << 20).min(total / 2)
}

/// The group of one command.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The file through which a process enters.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn entrance(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))
    }

    /// The processes in it.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()
    }

    /// Sends a signal to each process in it.
    pub fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    /// Ends every process in it, also those that are being made at this moment.
    pub fn kill(&self) {
        // Kernels before 5.14 have no cgroup.kill.
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            self.signal(Signal::KILL);
        }
    }

    /// Whether the kernel killed any of its processes for want of memory.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        counter(&self.path.join("memory.events"), "oom_kill") > 0
    }

    /// Whether a process could not be made because there were too many.
    #[must_use]
    pub fn ran_out_of_processes(&self) -> bool {
        counter(&self.path.join("pids.events"), "max") > 0
    }
}

fn counter(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_gets_most_of_the_memory() {
        assert_eq!(job_memory("MemTotal:        2097152 kB\n"), (2 << 30) - (128 << 20));
        assert_eq!(job_memory("MemTotal:        524288 kB\n"), (512 << 20) - (48 << 20));
        assert_eq!(job_memory("MemTotal:        65536 kB\n"), 32 << 20);
    }
}
