//! The same push, answered by Buildbot: its master with a worker in the same
//! process and no machine at all, told of the push by the hook that its manual
//! describes. It comes from `PyPI`, into a directory of its own below the cache.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::spread::Spread;
use crate::{
    instance::Instance,
    layout::Layout,
    shell::{self, say},
};

/// What it is compared with; changed on purpose only.
pub(super) const VERSION: &str = "4.3.0";
/// How long the master may take to come up, and a build to be done.
const PATIENCE: Duration = Duration::from_secs(90);

/// What pushes took, in milliseconds from the beginning of the hook, which is
/// where the push has been accepted.
pub(super) struct Times {
    /// Until the first command of the build runs.
    pub(super) first_step: Vec<i64>,
    /// Until the first command after the checkout runs.
    checked_out: Vec<i64>,
}

impl Times {
    pub(super) fn figures(&self) -> [(&'static str, Spread); 2] {
        [
            ("first step", Spread::of(self.first_step.iter().copied())),
            ("step after checkout", Spread::of(self.checked_out.iter().copied())),
        ]
    }
}

/// Pushes `files` so often, one push after another.
pub(super) fn measure(layout: &Layout, files: &Path, count: u32) -> Result<Times> {
    let programs = install(layout)?;
    let directory = tempfile::tempdir()?;
    let bench = Bench { directory: directory.path(), programs: &programs };
    let port = Instance::free_port()?;
    bench.repository(files, port)?;
    let _master = bench.master(port)?;
    let mut times = Times { first_step: Vec::new(), checked_out: Vec::new() };
    // The first push makes the work tree.
    bench.push()?;
    for _ in 0..count {
        let (first_step, checked_out) = bench.push()?;
        times.first_step.push(first_step);
        times.checked_out.push(checked_out);
    }
    Ok(times)
}

/// The directory of Buildbot's programs, made if it is not there.
fn install(layout: &Layout) -> Result<PathBuf> {
    let directory = layout.cache.join(format!("buildbot-{VERSION}"));
    let complete = directory.join(".complete");
    let programs = directory.join("bin");
    if complete.exists() {
        return Ok(programs);
    }
    say("installing Buildbot from PyPI (once per machine)");
    shell::quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))
        .context("cannot make a Python environment (Debian: apt-get install python3-venv)")?;
    shell::quietly(
        Command::new(programs.join("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--retries", "1"])
            .args([format!("buildbot=={VERSION}"), format!("buildbot-worker=={VERSION}")]),
    )
    .context("cannot install Buildbot from PyPI")?;
    fs::write(&complete, "")?;
    Ok(programs)
}

struct Bench<'a> {
    directory: &'a Path,
    programs: &'a Path,
}

/// A running master; ended when dropped.
struct Master(Child);

impl Drop for Master {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .current_dir(self.path("work-tree"))
            .args(["-c", "user.name=Demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgSign=false"])
            .args(arguments);
        command
    }

    /// A bare repository whose hook tells the master, and a work tree.
    fn repository(&self, files: &Path, port: u16) -> Result<()> {
        let (bare, tree) = (self.path("repository.git"), self.path("work-tree"));
        shell::quietly(Command::new("git").args(["init", "--quiet", "--bare"]).arg(&bare))?;
        fs::create_dir(&tree)?;
        shell::quietly(Command::new("cp").arg("-R").arg(files.join(".")).arg(&tree))?;
        shell::quietly(&mut self.git(&["init", "--quiet", "--initial-branch", "main"]))?;
        shell::quietly(self.git(&["remote", "add", "origin"]).arg(&bare))?;
        shell::quietly(&mut self.git(&["add", "--all"]))?;
        let hook = bare.join("hooks/post-receive");
        let script = format!(
            "#!/bin/sh\n\
             date +%s%N > '{directory}/accepted'\n\
             read -r old new ref\n\
             exec '{buildbot}' sendchange --master 127.0.0.1:{port} --auth bench:bench --vc git --who bench \\\n  \
               --repository '{bare}' --branch main --revision \"$new\" devenv.nix > '{directory}/hook.log' 2>&1\n",
            directory = self.directory.display(),
            buildbot = self.programs.join("buildbot").display(),
            bare = bare.display(),
        );
        fs::write(&hook, script)?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn master(&self, port: u16) -> Result<Master> {
        let home = self.path("master");
        let buildbot = self.programs.join("buildbot");
        shell::quietly(Command::new(&buildbot).args(["create-master", "--quiet"]).arg(&home))?;
        let configuration = format!(
            "from buildbot.plugins import changes, schedulers, steps, util, worker\n\
             def stamp(name):\n    \
                 return steps.ShellCommand(command=['sh', '-c', 'date +%s%N > {directory}/' + name])\n\
             build = util.BuildFactory([\n    \
                 stamp('first_step'),\n    \
                 steps.Git(repourl='{directory}/repository.git', mode='incremental'),\n    \
                 stamp('checked_out'),\n\
             ])\n\
             c = BuildmasterConfig = {{\n    \
                 'workers': [worker.LocalWorker('local')],\n    \
                 'protocols': {{'pb': {{'port': 'tcp:{port}:interface=127.0.0.1'}}}},\n    \
                 'change_source': [changes.PBChangeSource(user='bench', passwd='bench')],\n    \
                 'schedulers': [schedulers.SingleBranchScheduler(\n        \
                     name='all', change_filter=util.ChangeFilter(branch='main'),\n        \
                     treeStableTimer=None, builderNames=['bench'])],\n    \
                 'builders': [util.BuilderConfig(name='bench', workernames=['local'], factory=build)],\n    \
                 'buildbotNetUsageData': None,\n    \
                 'db': {{'db_url': 'sqlite:///state.sqlite'}},\n\
             }}\n",
            directory = self.directory.display(),
        );
        fs::write(home.join("master.cfg"), configuration)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(&buildbot)
            .args(["start", "--nodaemon"])
            .arg(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Buildbot")?;
        let mut master = Master(child);
        let log = home.join("twistd.log");
        let ready = || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.contains("BuildMaster is running") && TcpStream::connect(("127.0.0.1", port)).is_ok()
        };
        let began = Instant::now();
        while !ready() {
            if master.0.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<_> = said.lines().collect();
                bail!("Buildbot does not start:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(master)
    }

    /// Pushes, and waits for the build. Gives both times.
    fn push(&self) -> Result<(i64, i64)> {
        for name in ["accepted", "first_step", "checked_out"] {
            let _ = fs::remove_file(self.path(name));
        }
        shell::quietly(&mut self.git(&["commit", "--quiet", "--allow-empty", "--message", "A push"]))?;
        shell::quietly(&mut self.git(&["push", "--quiet", "origin", "main"]))?;
        let began = Instant::now();
        let read = |name: &str| -> Option<i64> {
            let nanoseconds: i64 = fs::read_to_string(self.path(name)).ok()?.trim().parse().ok()?;
            Some(nanoseconds / 1_000_000)
        };
        loop {
            if let (Some(accepted), Some(first), Some(out)) =
                (read("accepted"), read("first_step"), read("checked_out"))
            {
                // The build's own end: the next one shall not wait for it.
                thread::sleep(Duration::from_millis(200));
                return Ok((first - accepted, out - accepted));
            }
            if began.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.path("hook.log")).unwrap_or_default();
                bail!("no build {} s after the push; the hook said: {said}", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
