//! Ending a job early. Every command of the job is registered here while it
//! runs, so that a cancellation reaches all of them, and so that none is started
//! once it has come.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use crate::cgroup::Cgroup;

/// What can be signalled: a session's process group, and its control group.
#[derive(Clone, Debug)]
pub struct Target {
    /// The leader of the process group.
    pub leader: Pid,
    /// The control group, where there are any.
    pub cgroup: Option<Arc<Cgroup>>,
}

impl Target {
    /// Asks all of its processes to end.
    pub fn terminate(&self) {
        match &self.cgroup {
            Some(cgroup) => cgroup.signal(Signal::TERM),
            None => drop(rustix::process::kill_process_group(self.leader, Signal::TERM)),
        }
    }

    /// Ends all of its processes.
    pub fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        let _ = rustix::process::kill_process_group(self.leader, Signal::KILL);
    }
}

/// The commands that run, and whether they still should.
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    next: u64,
    running: HashMap<u64, Target>,
}

/// The job is cancelled: nothing new may start.
#[derive(Debug, thiserror::Error)]
#[error("the job was cancelled")]
pub struct Cancelled;

/// A command is registered as long as this lives.
#[derive(Debug)]
pub struct Registration {
    canceller: Canceller,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.canceller.lock().running.remove(&self.id);
        self.canceller.0.changed.notify_all();
    }
}

impl Canceller {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the job was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Starts something with `spawn`, unless the job was cancelled. No
    /// cancellation can come between the start and the registration.
    ///
    /// # Errors
    /// [`Cancelled`], or what `spawn` says.
    pub fn start<T, E: From<Cancelled>>(
        &self,
        spawn: impl FnOnce() -> Result<(T, Target), E>,
    ) -> Result<(T, Registration), E> {
        let mut state = self.lock();
        if state.cancelled {
            return Err(Cancelled.into());
        }
        let (started, target) = spawn()?;
        let id = state.next;
        state.next += 1;
        state.running.insert(id, target);
        Ok((started, Registration { canceller: self.clone(), id }))
    }

    /// Cancels the job: SIGTERM to everything that runs, SIGKILL to what still
    /// runs after `grace`. Returns at once.
    pub fn cancel(&self, grace: Duration) {
        {
            let mut state = self.lock();
            if state.cancelled {
                return;
            }
            state.cancelled = true;
            state.running.values().for_each(Target::terminate);
        }
        self.0.changed.notify_all();
        let this = self.clone();
        thread::spawn(move || this.kill_after(grace));
    }

    fn kill_after(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let mut state = self.lock();
        while !state.running.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Without control groups a process may be made while its group is being
        // killed, so once is not enough.
        while !state.running.is_empty() {
            state.running.values().for_each(Target::kill);
            let pause = Duration::from_millis(100);
            state = self.0.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
