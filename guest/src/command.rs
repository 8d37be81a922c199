//! Running a command of the job: as its user, in a session and a control group
//! of its own, with its output read to the end.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::process::Pid;

use crate::{
    cancel::{Cancelled, Canceller, Registration, Target},
    kernel,
    world::World,
};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program, looked up in the environment's PATH.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where.
    pub directory: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Whether something is written to its standard input.
    pub input: bool,
}

impl Launch {
    /// A command in the source directory with the world's environment.
    #[must_use]
    pub fn new(world: &World, program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            directory: world.source.clone(),
            env: world.env.clone(),
            input: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub fn start(&self, world: &World, canceller: &Canceller) -> Result<Running, StartError> {
        let (started, registration) = canceller.start(|| {
            let started = self.spawn(world)?;
            let target = started.target.clone();
            Ok::<_, StartError>((started, target))
        })?;
        Ok(Running { started, _registration: registration })
    }

    /// Starts it before there is anything that could be cancelled.
    ///
    /// # Errors
    /// [`StartError::Failed`].
    pub fn spawn(&self, world: &World) -> Result<Started, StartError> {
        let failed = |source| StartError::Failed { program: self.program.clone(), source };
        let cgroup = world.cgroups.as_ref().map(|groups| groups.command().map(Arc::new)).transpose();
        let cgroup = cgroup.map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.env)
            .stdin(if self.input { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        kernel::isolate(
            &mut command,
            cgroup.as_ref().map(|group| group.entrance()).transpose().map_err(failed)?,
            world.user,
        );
        let child = command.spawn().map_err(failed)?;
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap_or(Pid::INIT);
        Ok(Started { child, target: Target { leader, cgroup } })
    }
}

/// A command that was started and cannot be cancelled yet.
#[derive(Debug)]
pub struct Started {
    /// The process; its standard output and error are pipes.
    pub child: Child,
    target: Target,
}

impl Started {
    /// Ends it and all that it started.
    pub fn end(mut self) {
        self.target.kill();
        // It is ended already, or about to be.
        let _ = self.child.wait();
    }

    /// From now on it ends with the job.
    ///
    /// # Errors
    /// [`StartError::Cancelled`]; the command is ended then.
    pub fn register(self, canceller: &Canceller) -> Result<Running, StartError> {
        let target = self.target.clone();
        match canceller.start(|| Ok::<_, StartError>(((), target))) {
            Ok(((), registration)) => Ok(Running { started: self, _registration: registration }),
            Err(error) => {
                self.target.kill();
                Err(error)
            }
        }
    }
}

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing starts any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The kernel refused.
    #[error("cannot run {program:?}: {source}")]
    Failed {
        /// What was to be run.
        program: OsString,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    started: Started,
    _registration: Registration,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; as a shell says it (128 + signal) when a signal ended it.
    pub status: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel ended it for want of memory.
    pub out_of_memory: bool,
    /// It met the limit of processes.
    pub out_of_processes: bool,
    /// Processes that it left behind, which were ended with it.
    pub left_behind: usize,
}

impl Ended {
    /// Whether it says that all is well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == 0
    }

    /// How, in words that follow a name: "failed with exit status 3".
    #[must_use]
    pub fn in_words(&self, memory_limit: Option<u64>) -> String {
        if self.out_of_memory {
            let limit =
                memory_limit.map_or_else(String::new, |limit| format!(" (limit {})", bytes_in_words(limit)));
            return format!("ran out of memory{limit}");
        }
        let because = if self.out_of_processes { ", after it had met the limit of processes" } else { "" };
        match self.signal {
            Some(signal) => format!("was ended by {}{because}", signal_name(signal)),
            None => format!("failed with exit status {}{because}", self.status),
        }
    }
}

/// "1.8 GiB".
#[must_use]
pub fn bytes_in_words(bytes: u64) -> String {
    let mebibytes = bytes >> 20;
    if mebibytes >= 1024 {
        format!("{}.{} GiB", mebibytes / 1024, mebibytes % 1024 * 10 / 1024)
    } else {
        format!("{mebibytes} MiB")
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

impl Running {
    /// What writes to its standard input.
    pub fn take_input(&mut self) -> Option<std::process::ChildStdin> {
        self.started.child.stdin.take()
    }

    /// What can be signalled.
    #[must_use]
    pub fn target(&self) -> Target {
        self.started.target.clone()
    }

    /// Reads its output on two threads until it ends, then ends whatever it left
    /// behind and waits for the rest of the output.
    ///
    /// # Errors
    /// When the kernel does not say how it ended.
    pub fn finish(
        self,
        stdout: impl FnMut(&[u8]) + Send + 'static,
        stderr: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<Ended> {
        /// How long output may take to end after the command has. With a control
        /// group no process can escape: then only the host can be slow, and it may.
        const REST: Duration = Duration::from_secs(30);
        let (done, ends) = mpsc::channel();
        let Started { mut child, target } = self.started;
        let pumps = [
            child.stdout.take().map(|pipe| pump(pipe, stdout, done.clone())),
            child.stderr.take().map(|pipe| pump(pipe, stderr, done)),
        ];
        let status = child.wait()?;
        let left_behind = target.cgroup.as_ref().map_or(0, |group| group.processes().len());
        target.kill();
        for _pump in pumps.iter().flatten() {
            let ended = match target.cgroup {
                Some(_) => ends.recv().is_ok(),
                None => ends.recv_timeout(REST).is_ok(),
            };
            if !ended {
                break;
            }
        }
        let signal = status.signal();
        let cgroup = target.cgroup.as_ref();
        Ok(Ended {
            status: status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(-1),
            signal,
            out_of_memory: cgroup.is_some_and(|group| group.ran_out_of_memory()),
            out_of_processes: cgroup.is_some_and(|group| group.ran_out_of_processes()),
            left_behind,
        })
    }
}

/// Hands what comes out of the pipe to `take`, then an empty slice for its end.
fn pump(
    mut pipe: impl Read + Send + 'static,
    mut take: impl FnMut(&[u8]) + Send + 'static,
    done: mpsc::Sender<()>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => take(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        take(&[]);
        // The receiver is gone when it has waited long enough.
        let _ = done.send(());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        assert_eq!(bytes_in_words(464 << 20), "464 MiB");
        assert_eq!(bytes_in_words(1920 << 20), "1.8 GiB");
    }
}
