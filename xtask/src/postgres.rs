//! A PostgreSQL of our own for the length of a test run: in a temporary
//! directory, on a socket and a free port, without durability, as a user other
//! than root (the server refuses root).

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::shell::{self, seconds};

/// A running server; stopped and removed when dropped.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub(crate) fn start() -> Result<Self> {
        let bin = programs()?;
        // A short path: a socket's name may have about a hundred bytes.
        let directory = tempfile::Builder::new().prefix("dc-pg").tempdir_in("/tmp")?;
        let data = directory.path().join("data");
        if shell::is_root() {
            shell::run(Command::new("chown").arg(OTHER_USER).arg(directory.path()))?;
        }
        shell::quietly(
            as_other_user(&bin.join("initdb"))
                .args([
                    "--username=devenv",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                    "-D",
                ])
                .arg(&data)
                .current_dir("/"),
        )
        .context("cannot make a PostgreSQL cluster")?;

        let port = free_port()?;
        let log = fs::File::create(directory.path().join("log"))?;
        let child = as_other_user(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(directory.path())
            .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start PostgreSQL")?;
        let mut postgres = Self { child, port, directory };
        postgres.wait_until_ready(&bin)?;
        Ok(postgres)
    }

    /// The address to give to tests: a superuser, who may make databases.
    pub(crate) fn url(&self) -> String {
        format!("postgres://devenv@127.0.0.1:{}/postgres", self.port)
    }

    fn wait_until_ready(&mut self, bin: &Path) -> Result<()> {
        let start = Instant::now();
        loop {
            let ready = Command::new(bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()?
                .success();
            if ready {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || start.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                bail!("PostgreSQL is not ready after {}:\n{log}", seconds(start.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, nothing here is worth a clean end. Its children
        // follow by themselves.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A user that exists everywhere and owns nothing.
const OTHER_USER: &str = "nobody";

fn as_other_user(program: &Path) -> Command {
    if !shell::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", OTHER_USER, "--regid", "nogroup", "--clear-groups"]).arg(program);
    command
}

/// Where Debian keeps the server's programs: the newest version's directory.
fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .collect();
    versions.sort();
    if let Some((_, bin)) = versions.pop() {
        return Ok(bin);
    }
    let initdb = shell::find("initdb").context("PostgreSQL's server is missing: run `cargo xtask setup`")?;
    Ok(initdb.parent().context("initdb without a directory")?.to_path_buf())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
