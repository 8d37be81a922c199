//! Running git: with nothing of our own environment, no configuration but
//! ours, and killed with all its children when we let go of it.

use std::{path::Path, process::Stdio};

use tokio::process::{Child, Command};

/// Configuration of every git that we run. It stands on the command's side, so
/// that nothing in a repository can change it, and a repository made by an
/// older version needs no migration.
const CONFIG: &[(&str, &str)] = &[
    // Repositories may have been restored from a backup by another user.
    ("safe.directory", "*"),
    ("core.hooksPath", "/dev/null"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.autogc", "false"),
    ("transfer.fsckObjects", "true"),
    ("http.receivepack", "true"),
    ("http.getanyfile", "false"),
    ("receive.advertisePushOptions", "true"),
    ("receive.denyCurrentBranch", "ignore"),
    ("receive.denyDeleteCurrent", "ignore"),
    // Branches, tags and notes are people's; any other name may be ours one day.
    ("receive.hideRefs", "refs"),
    ("receive.hideRefs", "!refs/heads"),
    ("receive.hideRefs", "!refs/tags"),
    ("receive.hideRefs", "!refs/notes"),
    // A push of half a gigabyte shall not be half a million loose files.
    ("receive.unpackLimit", "1000"),
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.allowReachableSHA1InWant", "true"),
    ("uploadpack.keepAlive", "5"),
    ("core.logAllRefUpdates", "false"),
    ("core.fsync", "committed"),
    ("core.fsyncMethod", "batch"),
];

/// A git command in the repository at `path`, with further configuration.
pub(super) fn command(path: &Path, config: &[(&str, &str)]) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_DIR", path)
        .current_dir(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let all = CONFIG.iter().chain(config);
    let mut count = 0;
    for (key, value) in all {
        command.env(format!("GIT_CONFIG_KEY_{count}"), key).env(format!("GIT_CONFIG_VALUE_{count}"), value);
        count += 1;
    }
    command.env("GIT_CONFIG_COUNT", count.to_string());
    command
}

/// Kills a process and all that it has started when it is dropped.
#[derive(Debug)]
pub(super) struct Group(Option<rustix::process::Pid>);

impl Group {
    /// The group that `child` leads (see [`command`]).
    pub(super) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    /// It has ended: there is nothing to kill any more, and its number may
    /// soon be somebody else's.
    pub(super) const fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody left to kill is what we want.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}
