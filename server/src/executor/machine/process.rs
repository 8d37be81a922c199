//! Processes that cannot outlive us.
//!
//! A machine must not survive the server, however the server ends. Linux kills
//! a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and the
//! runtime's threads come and go. So every machine has a thread of its own,
//! which starts it and then waits for its end. `sweep` is the second net.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    io::FdFlags,
    process::{Gid, Pid, PidfdFlags, Resource, Rlimit, Signal, Uid},
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// Bytes of standard error that are kept: the last ones.
const WORDS: usize = 4096;

/// A user without rights, who is `nobody` on every Linux.
const NOBODY: u32 = 65534;

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
    /// A group that it keeps when it gives up root's rights (that of `/dev/kvm`).
    pub(super) group: Option<u32>,
}

impl Launch {
    /// Starts it. It is counted for as long as it lives.
    pub(super) async fn start(self, census: &Census) -> io::Result<Process> {
        let present = census.enter();
        let (started, start) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("machine".into()).spawn(move || {
            let mut child = match self.spawn() {
                Ok(child) => child,
                Err(error) => {
                    drop(started.send(Err(error)));
                    return;
                }
            };
            // The process has its copies; ours would keep the channels open.
            drop(self);
            let stderr = child.stderr.take();
            let handle = i32::try_from(child.id())
                .ok()
                .and_then(Pid::from_raw)
                .ok_or_else(|| io::Error::other("a process without an id"))
                .and_then(|id| Ok((rustix::process::pidfd_open(id, PidfdFlags::empty())?, id)));
            if handle.is_err() {
                drop(child.kill());
            }
            if let Err(Ok((handle, ..))) = started.send(handle.map(|(handle, id)| (handle, id, stderr))) {
                // Nobody waits for it any more.
                let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
            }
            let status = child.wait();
            drop(present);
            drop(end.send(status));
        })?;
        let gone = |_| io::Error::other("the thread of a machine is gone");
        let (handle, id, stderr) = start.await.map_err(gone)??;
        let words = Arc::new(Mutex::new(Vec::new()));
        let mut process = Process {
            handle,
            id,
            ended,
            status: None,
            collecting: None,
            killed: false,
            words: words.clone(),
        };
        if let Some(stderr) = stderr {
            let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
            process.collecting = Some(tokio::spawn(collect(stderr, words)));
        }
        Ok(process)
    }
}

/// The least of all priorities.
const PATIENT: i32 = 19;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    handle: OwnedFd,
    id: Pid,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
    collecting: Option<JoinHandle<()>>,
    killed: bool,
    words: Arc<Mutex<Vec<u8>>>,
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
        self.killed |= rustix::process::pidfd_send_signal(&self.handle, Signal::KILL).is_ok();
    }

    /// Lets it have its share of the processors. It leads its own group, so that
    /// all of its threads are meant.
    pub(super) fn hurry(&self) {
        // Only root may; and only root made it patient.
        let _ = rustix::process::setpriority_pgrp(Some(self.id), 0);
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
            status: status.code(),
            signal: status.signal(),
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
    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C at our terminal is for us alone.
            .process_group(0);
        let descriptors: Vec<RawFd> = self.descriptors.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
        let limits = [
            (Resource::Core, 0),
            (Resource::Memlock, 0),
            (Resource::Nofile, 128),
            (Resource::Fsize, self.file_size),
            (Resource::As, self.address_space),
        ];
        let drop_rights = rustix::process::geteuid().is_root();
        let group = self.group;
        // Who is not root could not take it back.
        let patient = self.patient && drop_rights;
        let parent = rustix::process::getpid();
        let prepare = move || {
            for &fd in &descriptors {
                #[expect(unsafe_code, reason = "`self` owns the descriptor until the start is over")]
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
            }
            for (resource, limit) in limits {
                let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
                rustix::process::setrlimit(resource, limit)?;
            }
            if patient {
                rustix::process::setpriority_process(None, PATIENT)?;
            }
            if drop_rights {
                let (user, own_group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                match group {
                    Some(group) => rustix::thread::set_thread_groups(&[Gid::from_raw(group)])?,
                    None => rustix::thread::set_thread_groups(&[])?,
                }
                rustix::thread::set_thread_res_gid(own_group, own_group, own_group)?;
                rustix::thread::set_thread_res_uid(user, user, user)?;
            }
            // After the change of user, which resets it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::other("the server ended meanwhile"));
            }
            Ok(())
        };
        #[expect(unsafe_code, reason = "between fork and exec: system calls only, nothing is allocated")]
        unsafe {
            command.pre_exec(prepare);
        }
        command.spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            descriptors: Vec::new(),
            address_space: 1 << 30,
            file_size: 1 << 20,
            patient: false,
            group: None,
        }
    }

    #[tokio::test]
    async fn an_end_is_told_with_its_last_words() {
        let mut process =
            shell("echo first; echo last words >&2; exit 7").start(&Census::default()).await.unwrap();
        let ended = process.ended().await.unwrap();
        assert_eq!((ended.status, ended.signal, ended.killed), (Some(7), None, false));
        assert_eq!(ended.words, "last words");
    }

    #[tokio::test]
    async fn a_kill_is_told_from_a_death() {
        let mut ours = shell("exec sleep 1000").start(&Census::default()).await.unwrap();
        ours.kill();
        let ended = ours.ended().await.unwrap();
        assert_eq!((ended.signal, ended.killed), (Some(9), true));

        let mut theirs = shell("kill -9 $$").start(&Census::default()).await.unwrap();
        let ended = theirs.ended().await.unwrap();
        assert_eq!((ended.signal, ended.killed), (Some(9), false));
        assert!(!theirs.is_alive());
    }

    #[tokio::test]
    async fn a_stop_can_wait_for_all_to_be_gone() {
        let census = Census::default();
        let mut process = shell("exec sleep 1000").start(&census).await.unwrap();
        assert!(process.is_alive());
        let mut nobody = Box::pin(census.nobody());
        assert!(futures::poll!(nobody.as_mut()).is_pending());
        drop(process);
        nobody.await;
    }

    #[tokio::test]
    async fn a_descriptor_arrives_under_its_number_and_rights_do_not() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let script = format!("id -u >&{0}; ulimit -c >&{0}; umask >&{0}", theirs.as_raw_fd());
        // Debian's `sh` knows descriptors below ten only.
        let mut launch = Launch { program: "/bin/bash".into(), ..shell(&script) };
        launch.descriptors.push(theirs);
        let mut process = launch.start(&Census::default()).await.unwrap();
        assert_eq!(process.ended().await.unwrap().status, Some(0));
        let mut said = String::new();
        io::Read::read_to_string(&mut &ours, &mut said).unwrap();
        let user = rustix::process::geteuid();
        let expected = if user.is_root() { NOBODY } else { user.as_raw() };
        assert!(said.starts_with(&format!("{expected}\n0\n")), "{said}");
    }
}
