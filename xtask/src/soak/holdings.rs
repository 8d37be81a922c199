//! What a server holds at one moment.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::processes;

/// The directory in the state directory that is ours and not the server's.
pub(super) const WORK_TREE: &str = "soak-work-tree";

/// What is counted.
#[derive(Clone, Debug)]
pub(super) struct Holdings {
    processes: u64,
    threads: u64,
    descriptors: u64,
    resident_kib: u64,
    memory_files_kib: u64,
    disk_kib: u64,
    logs_kib: u64,
    control_groups: u64,
    mounts: u64,
}

/// One kind, and by how much it may grow over the second half.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) of: fn(&Holdings) -> u64,
    /// Noise, however many jobs there are.
    pub(super) slack: f64,
    /// What every job may leave.
    pub(super) per_job: f64,
}

const fn kind(name: &'static str, of: fn(&Holdings) -> u64, slack: f64, per_job: f64) -> Kind {
    Kind { name, of, slack, per_job }
}

pub(super) const KINDS: [Kind; 9] = [
    kind("processes", |h| h.processes, 1.0, 0.0),
    // The runtime's threads for blocking calls come and go.
    kind("threads", |h| h.threads, 12.0, 0.0),
    kind("descriptors", |h| h.descriptors, 8.0, 0.0),
    // Caches of the database and the allocator are not full at once.
    kind("resident, KiB", |h| h.resident_kib, 12_288.0, 8.0),
    // A page of the template for every page that a machine is the first to read
    // and that the template never wrote: bounded by one machine's memory.
    kind("memory files, KiB", |h| h.memory_files_kib, 65_536.0, 0.0),
    // A commit, a run and its rows.
    kind("disk but logs, KiB", |h| h.disk_kib, 4096.0, 64.0),
    kind("logs, KiB", |h| h.logs_kib, 4096.0, 64.0),
    kind("control groups", |h| h.control_groups, 0.5, 0.0),
    kind("mounts", |h| h.mounts, 0.5, 0.0),
];

impl Holdings {
    /// Of this server.
    pub(super) fn of(server: u32, state: &Path) -> Self {
        let proc = format!("/proc/{server}");
        let status = fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
        let field = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key));
            value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        let descriptors: Vec<_> =
            fs::read_dir(format!("{proc}/fd")).into_iter().flatten().flatten().collect();
        let memory_files = descriptors.iter().filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"))
        });
        let memory_files = memory_files.filter_map(|entry| fs::metadata(entry.path()).ok());
        Self {
            processes: processes::below(server).len() as u64,
            threads: field("Threads:"),
            descriptors: descriptors.len() as u64,
            resident_kib: field("VmRSS:"),
            memory_files_kib: memory_files.map(|file| file.blocks() / 2).sum(),
            disk_kib: disk(state, &["objects", WORK_TREE, "server.log"]),
            logs_kib: disk(&state.join("objects"), &[]) + disk(&state.join("server.log"), &[]),
            control_groups: control_groups(server),
            mounts: fs::read_to_string(format!("{proc}/mountinfo")).unwrap_or_default().lines().count()
                as u64,
        }
    }
}

/// KiB that a file or a directory takes, without those of these names.
fn disk(path: &Path, without: &[&str]) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let inside = entries
        .filter(|entry| !without.contains(&entry.file_name().to_string_lossy().as_ref()))
        .map(|entry| disk(&entry.path(), &[]));
    metadata.blocks() / 2 + inside.sum::<u64>()
}

/// Control groups of this server's machines: its id is in their names.
pub(super) fn control_groups(server: u32) -> u64 {
    groups_below(Path::new("/sys/fs/cgroup"), &format!("-{server}-"), 5)
}

fn groups_below(directory: &Path, mark: &str, depth: u32) -> u64 {
    if depth == 0 {
        return 0;
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("devenv-cloud") && name.contains(mark);
            u64::from(ours) + groups_below(&entry.path(), mark, depth - 1)
        })
        .sum()
}
