//! Processes that cannot outlive us.
//!
//! A machine must not survive the server, however the server ends. Linux kills
//! a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and the
//! runtime's threads come and go. So every machine has a thread of its own,
//! which starts it and then waits for its end. `sweep` is the second net.

use std::{
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Signal};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::isolation::{self, Child, Group, Isolation, Share, Wish};

/// Bytes of standard error that are kept: the last ones.
const WORDS: usize = 4096;

/// Who is alive. Clones count the same.
#[derive(Clone, Debug)]
pub(super) struct Census(watch::Sender<usize>);

impl Default for Census {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Census {
    fn enter(&self) -> Present {
        self.0.send_modify(|count| *count += 1);
        Present(self.0.clone())
    }

    /// Waits until nobody is left.
    pub(super) async fn nobody(&self) {
        drop(self.0.subscribe().wait_for(|&count| count == 0).await);
    }
}

/// One of those who are alive.
struct Present(watch::Sender<usize>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// What to start.
#[derive(Debug)]
pub(super) struct Launch {
    /// The program's full path.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Descriptors that it inherits under the numbers that they have here.
    pub(super) descriptors: Vec<OwnedFd>,
    /// Bytes of address space.
    pub(super) address_space: u64,
    /// Bytes of a file.
    pub(super) file_size: u64,
    /// Whether it may only have what nobody else wants of the processors, until
    /// [`Process::hurry`].
    pub(super) patient: bool,
    /// Whether it needs `/dev/kvm`.
    pub(super) kvm: bool,
    /// A group that it keeps when it gives up root's rights (that of `/dev/kvm`).
    pub(super) group: Option<u32>,
    /// What it may take of the host, and under which name.
    pub(super) share: (Share, String),
    /// What stands between it and the host.
    pub(super) isolation: Arc<Isolation>,
}

impl Launch {
    /// Starts it. It is counted for as long as it lives.
    pub(super) async fn start(self, census: &Census) -> io::Result<Process> {
        let present = census.enter();
        let (started, start) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("machine".into()).spawn(move || {
            let (Child { handle, id, stderr }, group) = match self.spawn() {
                Ok(child) => child,
                Err(error) => {
                    drop(started.send(Err(error)));
                    return;
                }
            };
            // The process has its copies; ours would keep the channels open.
            drop(self);
            let status = handle.try_clone().and_then(|ours| {
                if started.send(Ok((handle, id, stderr, group.clone()))).is_err() {
                    // Nobody waits for it any more.
                    let _ = rustix::process::pidfd_send_signal(&ours, Signal::KILL);
                }
                Ok(isolation::wait(&ours)?)
            });
            let status = status.map(|status| Status {
                code: status.exit_status(),
                signal: status.terminating_signal(),
                out_of_memory: match &group {
                    Some(group) if group.was_out_of_memory() => Some(group.memory_mib()),
                    _ => None,
                },
            });
            // Nobody is told of an end before nothing is left.
            if let Some(group) = group {
                group.remove();
            }
            drop(present);
            drop(end.send(status));
        })?;
        let gone = |_| io::Error::other("the thread of a machine is gone");
        let (handle, id, stderr, group) = start.await.map_err(gone)??;
        let words = Arc::new(Mutex::new(Vec::new()));
        let mut process = Process {
            handle,
            id,
            group,
            ended,
            status: None,
            collecting: None,
            killed: false,
            words: words.clone(),
        };
        let stderr = pipe::Receiver::from_owned_fd(stderr)?;
        process.collecting = Some(tokio::spawn(collect(stderr, words)));
        Ok(process)
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    handle: OwnedFd,
    id: Pid,
    group: Option<Arc<Group>>,
    ended: oneshot::Receiver<io::Result<Status>>,
    status: Option<Status>,
    collecting: Option<JoinHandle<()>>,
    killed: bool,
    words: Arc<Mutex<Vec<u8>>>,
}

/// How a process ended, as the kernel says.
#[derive(Clone, Copy, Debug)]
struct Status {
    code: Option<i32>,
    signal: Option<i32>,
    out_of_memory: Option<u64>,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whether it was [`Process::kill`].
    pub(super) killed: bool,
    /// Its exit status, if it had one.
    pub(super) status: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// That the kernel ended it because it wanted more memory than this many MiB.
    pub(super) out_of_memory: Option<u64>,
    /// The last that it wrote to standard error.
    pub(super) words: String,
}

impl Process {
    /// Its number. It may be gone, and another process have it.
    pub(super) const fn id(&self) -> Pid {
        self.id
    }

    /// Kills it at once.
    pub(super) fn kill(&mut self) {
        let killed = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL).is_ok();
        self.killed |= killed;
        // To end takes time, too: on a busy host, one that is patient would be long at it.
        if killed {
            self.hurry();
        }
    }

    /// Lets it have its share of the processors. It leads its own group, so that
    /// all of its threads are meant.
    pub(super) fn hurry(&self) {
        // Only root may; and only root made it patient. A control group counts more
        // than priorities, which are compared within one alone.
        let _ = rustix::process::setpriority_pgrp(Some(self.id), 0);
        if let Some(group) = &self.group {
            group.hurry();
        }
    }

    /// Whether it has not ended yet, as far as its thread has noticed.
    pub(super) fn is_alive(&mut self) -> bool {
        if self.status.is_none()
            && let Ok(Ok(status)) = self.ended.try_recv()
        {
            self.status = Some(status);
        }
        self.status.is_none() && !self.ended.is_terminated()
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> io::Result<Ended> {
        let status = match self.status {
            Some(status) => status,
            None => {
                (&mut self.ended).await.map_err(|_| io::Error::other("the thread of a machine is gone"))??
            }
        };
        self.status = Some(status);
        // Its last words may still be in the pipe. Who else holds the pipe's
        // other end would make us wait for ever.
        if let Some(collecting) = self.collecting.take() {
            drop(tokio::time::timeout(Duration::from_secs(1), collecting).await);
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Ended {
            killed: self.killed,
            status: status.code,
            signal: status.signal,
            out_of_memory: status.out_of_memory,
            words: String::from_utf8_lossy(&words).trim().to_owned(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended already. Its thread reaps it.
        self.kill();
    }
}

async fn collect(mut from: pipe::Receiver, into: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let mut words = into.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(&buffer[..n]);
        let excess = words.len().saturating_sub(WORDS);
        words.drain(..excess);
    }
}

impl Launch {
    fn spawn(&self) -> io::Result<(Child, Option<Arc<Group>>)> {
        let arguments = self.arguments.iter().map(|argument| CString::new(argument.as_bytes()));
        Ok(self.isolation.start(&Wish {
            program: &self.program,
            arguments: arguments.collect::<Result<_, _>>()?,
            descriptors: self.descriptors.iter().map(|fd| fd.as_raw_fd()).collect(),
            limits: [
                (Resource::Core, 0),
                (Resource::Memlock, 0),
                (Resource::Nofile, 128),
                (Resource::Fsize, self.file_size),
                (Resource::As, self.address_space),
            ],
            patient: self.patient,
            group: self.group,
            kvm: self.kvm,
            share: Some(self.share.clone()),
        })?)
    }
}

#[cfg(test)]
mod tests;
