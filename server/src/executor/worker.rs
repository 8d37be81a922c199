//! The executor: claims work, as much as it has room for, and does it.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Assignment, Capacity, ControlPlane, PLATFORMS,
    job::{self, Context},
    machine::Machines,
};
use crate::clock::{Clock, Random};

/// How long a control plane that failed is left alone.
const REST: Duration = Duration::from_secs(2);

/// How many jobs are done at once and how long a stop may take.
#[derive(Clone, Copy, Debug)]
pub struct ExecutorSettings {
    /// Jobs at once.
    pub slots: u32,
    /// How long running jobs may take to end when the executor is stopped.
    /// Those that do not are dropped: their leases lapse, and they are done
    /// again, here or elsewhere.
    pub drain: Duration,
}

/// Does jobs.
pub struct Executor {
    settings: ExecutorSettings,
    capacity: Capacity,
    context: Context,
}

impl Executor {
    /// An executor that takes work from `control` and does it in `machines`.
    #[must_use]
    pub fn new(
        settings: ExecutorSettings,
        control: Arc<dyn ControlPlane>,
        machines: Arc<dyn Machines>,
        clock: Clock,
        random: Random,
    ) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let capacity = Capacity {
            runner: format!("{host}-{}", std::process::id()),
            platforms: PLATFORMS.iter().map(|&platform| platform.to_owned()).collect(),
        };
        let stop = CancellationToken::new();
        Self { settings, capacity, context: Context { control, machines, clock, random, stop } }
    }

    /// Cancelled, it drops running jobs at once, without waiting for anything.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.context.stop.clone()
    }

    /// Works until `shutdown`, and then until running jobs have ended or the
    /// time for that is over.
    pub async fn run(self, shutdown: CancellationToken) {
        let slots = self.settings.slots.max(1);
        tracing::info!(runner = self.capacity.runner, slots, "executing jobs");
        let mut workers = JoinSet::new();
        for _ in 0..slots {
            workers.spawn(work(self.context.clone(), self.capacity.clone(), shutdown.clone()));
        }
        shutdown.cancelled().await;
        let drained =
            tokio::time::timeout(self.settings.drain, async { while workers.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!("running jobs are dropped; they will be done again");
            self.context.stop.cancel();
            while workers.join_next().await.is_some() {}
        }
    }
}

/// Does one attempt and reports everything about it to `control`. Once `stop` is
/// cancelled, the machine is killed and nothing is reported any more.
pub async fn execute_one(
    control: Arc<dyn ControlPlane>,
    machines: Arc<dyn Machines>,
    clock: Clock,
    random: Random,
    assignment: Assignment,
    stop: CancellationToken,
) {
    job::execute(&Context { control, machines, clock, random, stop }, assignment).await;
}

/// One slot: a job at a time.
async fn work(context: Context, capacity: Capacity, shutdown: CancellationToken) {
    loop {
        let claimed = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            claimed = context.control.claim(&capacity) => claimed,
        };
        match claimed {
            Ok(Some(assignment)) => {
                let context = context.clone();
                let job = tokio::spawn(async move { job::execute(&context, assignment).await });
                // A defect of ours in one job is not to cost the slot.
                if let Err(error) = job.await {
                    tracing::error!(%error, "executing a job went wrong; its lease lapses");
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("cannot claim work: {:#}", anyhow::Error::from(error));
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(REST) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::executor::job::tests::fake::{Control, Host, assignment, at};

    struct Scene {
        control: Arc<Control>,
        guests: mpsc::UnboundedReceiver<tokio::io::DuplexStream>,
        shutdown: CancellationToken,
        run: tokio::task::JoinHandle<()>,
    }

    /// An executor with two slots and three jobs to do.
    fn scene() -> Scene {
        let control = Arc::new(Control::default());
        *control.work.lock().unwrap() = (1..=3)
            .map(|token| {
                let mut assignment = assignment();
                assignment.lease.token = token;
                assignment
            })
            .collect();
        let (sender, guests) = mpsc::unbounded_channel();
        let host =
            Host { guests: sender, killed: Arc::new(watch::Sender::new(false)), exit: None, missing: false };
        let settings = ExecutorSettings { slots: 2, drain: Duration::from_secs(30) };
        let (clock, random) = (Clock::fake(at(100)), Random::seeded(1));
        let executor = Executor::new(settings, control.clone(), Arc::new(host), clock, random);
        let shutdown = CancellationToken::new();
        let run = tokio::spawn(executor.run(shutdown.clone()));
        Scene { control, guests, shutdown, run }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_jobs_run_as_there_are_slots() {
        let mut scene = scene();
        let first = scene.guests.recv().await.unwrap();
        let _second = scene.guests.recv().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert!(scene.guests.try_recv().is_err());
        assert_eq!(scene.control.claims.load(Ordering::Relaxed), 2);
        // A machine that dies gives its slot to the next job.
        drop(first);
        scene.guests.recv().await.unwrap();
        assert!(scene.control.conclusion.lock().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_lets_jobs_end_and_drops_those_that_do_not() {
        let mut scene = scene();
        let ends = scene.guests.recv().await.unwrap();
        let _stays = scene.guests.recv().await.unwrap();
        scene.shutdown.cancel();
        drop(ends);
        let began = tokio::time::Instant::now();
        scene.run.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 30);
        assert!(scene.guests.try_recv().is_err(), "nothing new was begun");
        assert!(scene.control.conclusion.lock().unwrap().is_some(), "one ended, one was dropped");
    }
}
