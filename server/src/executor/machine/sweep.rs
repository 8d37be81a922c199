//! Finds and ends machines whose server is gone.
//!
//! The kernel ends a machine together with its server; this is for the case
//! that it did not. Every QEMU carries a mark in its `-name`: which state
//! directory it belongs to, and which process started it.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal};
use sha2::{Digest as _, Sha256};

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
        let process = std::process::id();
        let started = start_time(process).unwrap_or_default();
        Self { prefix: format!("devenv-cloud-{hash}-"), owner: format!("{process}-{started}") }
    }

    /// What goes into `-name`.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.prefix, self.owner)
    }

    /// Whether a `-name` is ours but of a process that is gone.
    fn is_orphan(&self, name: &str) -> bool {
        let Some(owner) = name.strip_prefix(&self.prefix) else { return false };
        let Some((process, started)) = owner.split_once('-') else { return false };
        let (Ok(process), Ok(started)) = (process.parse(), started.parse()) else { return false };
        start_time(process) != Some(started)
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
        for alive in [&mut ours, &mut others] {
            assert!(alive.try_wait().unwrap().is_none());
            alive.kill().unwrap();
            alive.wait().unwrap();
        }
    }
}
