//! Finds and ends machines whose server is gone.
//!
//! The kernel ends a machine together with its server; this is for the case
//! that it did not. Every QEMU carries a mark in its `-name`: which state
//! directory it belongs to, and which process started it. Its control group is
//! in one that is named by the process as well, and nobody but us removes that. All else that a machine
//! has (namespaces, mounts, its disk) has no name, and goes when it goes.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::process::{Pid, Signal};
use sha2::{Digest as _, Sha256};

use super::isolation;

/// How the mark of a process begins that only tries something.
const PROBE: &str = "devenv-cloud-probe-";
/// How the name of the control group begins that all of a process's are in.
const MACHINES: &str = "devenv-cloud-machines-";
/// In the state directory: where control groups were made, a line each.
const GROUPS: &str = "control-groups";

/// The mark of our machines.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    prefix: String,
    owner: String,
}

impl Mark {
    pub(super) fn new(state: &Path) -> Self {
        let state = fs::canonicalize(state).unwrap_or_else(|_| PathBuf::from(state));
        let hash = hex::encode(&Sha256::digest(state.as_os_str().as_bytes())[..8]);
        Self { prefix: format!("devenv-cloud-{hash}-"), owner: ourselves() }
    }

    /// What goes into `-name`.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.prefix, self.owner)
    }

    /// Whether a name is ours but of a process that is gone.
    fn is_orphan(&self, name: &str) -> bool {
        let owner =
            [self.prefix.as_str(), PROBE, MACHINES].iter().find_map(|prefix| name.strip_prefix(prefix));
        let mut parts = owner.unwrap_or_default().split('-').map(str::parse::<u64>);
        let (Some(Ok(process)), Some(Ok(started))) = (parts.next(), parts.next()) else { return false };
        u32::try_from(process).is_ok_and(|process| start_time(process) != Some(started))
    }

    /// Removes the control groups that were left behind, with what is in them.
    pub(super) fn sweep_groups(&self, directories: &[PathBuf]) -> usize {
        let below = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect::<Vec<_>>()
        };
        let mut swept = 0;
        for parent in directories.iter().flat_map(|directory| below(directory)) {
            if !parent.file_name().to_str().is_some_and(|name| self.is_orphan(name)) {
                continue;
            }
            for group in below(&parent.path()) {
                let members = fs::read_to_string(group.path().join("cgroup.procs")).unwrap_or_default();
                for id in members.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
                    let _ = rustix::process::kill_process(id, Signal::KILL);
                }
                match isolation::remove(&group.path()) {
                    Ok(()) => swept += 1,
                    Err(error) => {
                        tracing::warn!(group = %group.path().display(), "cannot remove it: {error}")
                    }
                }
            }
            if let Err(error) = isolation::remove(&parent.path()) {
                tracing::warn!(group = %parent.path().display(), "cannot remove it: {error}");
            }
        }
        swept
    }

    /// Ends what was left behind, and says how many that were.
    pub(super) fn sweep(&self) -> usize {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let mut swept = 0;
        for entry in processes.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
            if name_argument(&arguments).is_some_and(|name| self.is_orphan(&name))
                && let Some(id) = Pid::from_raw(id)
                && rustix::process::kill_process(id, Signal::KILL).is_ok()
            {
                swept += 1;
            }
        }
        swept
    }
}

/// Writes down where control groups are made: the next start may find itself
/// somewhere else.
pub(super) fn remember_groups(state: &Path, directories: &[PathBuf]) {
    let mut known = remembered_groups(state);
    let before = known.len();
    known.retain(|directory| directory.is_dir());
    known.extend(directories.iter().filter(|new| !known.contains(new)).cloned().collect::<Vec<_>>());
    if known.is_empty() && before == 0 {
        return;
    }
    let mut text = Vec::new();
    for directory in known {
        text.extend_from_slice(directory.as_os_str().as_bytes());
        text.push(b'\n');
    }
    if let Err(error) = fs::create_dir_all(state).and_then(|()| fs::write(state.join(GROUPS), text)) {
        tracing::warn!("cannot write down where control groups are: {error}");
    }
}

/// Where control groups were made by us or our predecessors.
pub(super) fn remembered_groups(state: &Path) -> Vec<PathBuf> {
    let text = fs::read(state.join(GROUPS)).unwrap_or_default();
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| PathBuf::from(OsStr::from_bytes(line))).collect()
}

/// The name of something that is only tried, and belongs to no state directory.
pub(super) fn probe() -> String {
    format!("{PROBE}{}", ourselves())
}

/// The name of the control group that all of ours are in.
pub(super) fn machines() -> String {
    format!("{MACHINES}{}", ourselves())
}

/// A name that no other has.
pub(super) fn numbered(name: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn ourselves() -> String {
    let process = std::process::id();
    format!("{process}-{}", start_time(process).unwrap_or_default())
}

fn name_argument(arguments: &[u8]) -> Option<String> {
    let mut arguments = arguments.split(|&b| b == 0);
    arguments.find(|argument| argument == b"-name")?;
    String::from_utf8(arguments.next()?.to_vec()).ok()
}

/// When a process started, in ticks since the host did: with its id, a name
/// that no other process ever has.
fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::unix::process::{CommandExt as _, ExitStatusExt as _},
        process::{Command, Stdio},
    };

    use super::*;

    /// A process with the arguments of a machine: `sh` takes them as `$0`, `$1`.
    fn stand_in(name: &str) -> std::process::Child {
        let mut child = Command::new("/bin/sh")
            .arg0("qemu-stand-in")
            .args(["-c", "echo started; read -r wait", "-name", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its arguments can be seen only a moment after `spawn` is back.
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
        child
    }

    #[test]
    fn only_our_orphans_are_ended() {
        let state = tempfile::tempdir().unwrap();
        let mark = Mark::new(state.path());
        let mut ours = stand_in(&mark.name());
        let mut others = stand_in("devenv-cloud-0000000000000000-1-1");
        // Our id, but of a process that started at another time.
        let mut orphan = stand_in(&format!("{}{}-1", mark.prefix, std::process::id()));

        assert_eq!(mark.sweep(), 1);
        assert_eq!(orphan.wait().unwrap().signal(), Some(9));
        assert!(!mark.is_orphan(&numbered(&mark.name())) && !mark.is_orphan(&numbered(&probe())));
        assert!(mark.is_orphan(&format!("{}{}-1-7", mark.prefix, std::process::id())));
        for alive in [&mut ours, &mut others] {
            assert!(alive.try_wait().unwrap().is_none());
            alive.kill().unwrap();
            alive.wait().unwrap();
        }
    }
}
