//! Where a job runs: paths, user, control groups. Inside a machine there is one
//! world, [`World::machine`]; tests make others.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use crate::{
    ahead::Ahead,
    cgroup::Cgroups,
    protocol::{PROXY_PORT, SOURCE_DIR, USER_NAME},
};

/// The user that runs every job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The numeric id.
    pub uid: u32,
    /// The numeric id of the only group.
    pub gid: u32,
}

/// The job's user inside a machine.
pub const JOB_USER: User = User { uid: 1000, gid: 1000 };

/// The surroundings of a job.
#[derive(Clone, Debug)]
pub struct World {
    /// Where the source is checked out.
    pub source: PathBuf,
    /// The built-in evaluator's Nix files.
    pub evaluator: PathBuf,
    /// Files of the guest that live as long as the job: scripts of tasks.
    pub run: PathBuf,
    /// The job's own files besides the source: outputs of tasks, sockets. Not where
    /// the guest's are, because a job may fill its disk.
    pub scratch: PathBuf,
    /// Who runs the job's commands; who runs the guest when absent.
    pub user: Option<User>,
    /// Where the job's control groups are; none outside of a machine.
    pub cgroups: Option<Cgroups>,
    /// Environment of every command, evaluation included. Nothing else is inherited.
    pub env: BTreeMap<String, String>,
    /// Where the proxy to the network listens.
    pub proxy: SocketAddr,
    /// Programs that were started before there was a job; in restored machines.
    pub ahead: Option<Ahead>,
}

impl World {
    /// The world inside a machine.
    #[must_use]
    pub fn machine(cgroups: Option<Cgroups>) -> Self {
        let home = format!("/home/{USER_NAME}");
        let env = [
            ("HOME", home.as_str()),
            ("USER", USER_NAME),
            ("LOGNAME", USER_NAME),
            ("SHELL", "/bin/bash"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
            ("LANG", "C.UTF-8"),
            ("TERM", "xterm-256color"),
            ("TMPDIR", "/tmp"),
            ("NIX_REMOTE", ""),
        ];
        Self {
            source: SOURCE_DIR.into(),
            evaluator: "/usr/lib/devenv-cloud/nix".into(),
            run: "/run/devenv-cloud".into(),
            scratch: "/var/lib/devenv-cloud".into(),
            user: Some(JOB_USER),
            cgroups,
            env: env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            proxy: (Ipv4Addr::LOCALHOST, PROXY_PORT).into(),
            ahead: None,
        }
    }

    /// Makes a directory that the job's user owns.
    ///
    /// # Errors
    /// When it cannot be made or given away.
    pub fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        self.give(path)
    }

    /// Gives a file or directory to the job's user.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match &self.user {
            Some(user) => lchown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    /// Writes a file that the job's user may read and run, but not change.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_executable(&self, path: &Path, content: &str) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    }
}
