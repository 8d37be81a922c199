//! The executor: claims work, as much as it has room for, and does it.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Assignment, Capacity, ControlPlane, Egress, PLATFORMS, Room,
    job::{self, Context},
    machine::Machines,
};
use crate::clock::{Clock, Random};

/// How long a control plane that failed is left alone.
const REST: Duration = Duration::from_secs(2);

/// How often the control plane hears that the executor is there.
const REPORT_EVERY: Duration = Duration::from_secs(15);

/// How many jobs are done at once and how long a stop may take.
#[derive(Clone, Copy, Debug)]
pub struct ExecutorSettings {
    /// Jobs at once.
    pub slots: u32,
    /// What the machines of all jobs may have together.
    pub room: Room,
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
    /// An executor that takes work from `control` and does it in `machines`, from
    /// which `egress` is the way out.
    #[must_use]
    pub fn new(
        settings: ExecutorSettings,
        control: Arc<dyn ControlPlane>,
        machines: Arc<dyn Machines>,
        egress: Egress,
        clock: Clock,
        random: Random,
    ) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let capacity = Capacity {
            runner: format!("{host}-{}", std::process::id()),
            host,
            platforms: PLATFORMS.iter().map(|&platform| platform.to_owned()).collect(),
            slots: settings.slots.max(1),
            room: settings.room,
        };
        let stop = CancellationToken::new();
        Self { settings, capacity, context: Context { control, machines, egress, clock, random, stop } }
    }

    /// Cancelled, it drops running jobs at once, without waiting for anything.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.context.stop.clone()
    }

    /// Works until `shutdown`, and then until running jobs have ended or the
    /// time for that is over.
    pub async fn run(self, shutdown: CancellationToken) {
        let Capacity { runner, slots, room: Room { memory_mib, cpus }, .. } = &self.capacity;
        tracing::info!(runner, slots, memory_mib, cpus, "executing jobs");
        tokio::select! {
            () = self.work(&shutdown) => {}
            () = report(&self.context, &self.capacity, REPORT_EVERY) => {}
        }
    }

    async fn work(&self, shutdown: &CancellationToken) {
        // What it has must be known before anything is weighed against it.
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = report_once(&self.context, &self.capacity) => {}
        }
        let slots = self.capacity.slots;
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

/// Says what the executor has, as often as it takes until that is known.
async fn report_once(context: &Context, capacity: &Capacity) {
    while let Err(error) = context.control.report(capacity, context.machines.status()).await {
        tracing::debug!("cannot report: {:#}", anyhow::Error::from(error));
        sleep(REST).await;
    }
}

/// Says what the executor has, again and again.
async fn report(context: &Context, capacity: &Capacity, every: Duration) {
    loop {
        sleep(every).await;
        report_once(context, capacity).await;
    }
}

/// Does one attempt and reports everything about it to `control`. Once `stop` is
/// cancelled, the machine is killed and nothing is reported any more.
pub async fn execute_one(
    control: Arc<dyn ControlPlane>,
    machines: Arc<dyn Machines>,
    egress: Egress,
    clock: Clock,
    random: Random,
    assignment: Assignment,
    stop: CancellationToken,
) {
    job::execute(&Context { control, machines, egress, clock, random, stop }, assignment).await;
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
        scene_of(|_| {})
    }

    fn scene_of(prepare: impl FnOnce(&Control)) -> Scene {
        let control = Arc::new(Control::default());
        prepare(&control);
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
        let room = Room { memory_mib: 4096, cpus: 4 };
        let settings = ExecutorSettings { slots: 2, room, drain: Duration::from_secs(20) };
        let (clock, random) = (Clock::fake(at(100)), Random::seeded(1));
        let executor =
            Executor::new(settings, control.clone(), Arc::new(host), Egress::new(&[]), clock, random);
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
        assert_eq!(scene.control.reports.lock().unwrap()[..], [Room { memory_mib: 4096, cpus: 4 }]);
        // A machine that dies gives its slot to the next job.
        drop(first);
        scene.guests.recv().await.unwrap();
        assert!(scene.control.conclusion.lock().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_claimed_before_it_is_known_what_there_is() {
        let mut scene = scene_of(|control| control.reachable.store(false, Ordering::Relaxed));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(scene.control.claims.load(Ordering::Relaxed), 0);
        scene.control.reachable.store(true, Ordering::Relaxed);
        scene.guests.recv().await.unwrap();
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
        assert_eq!(began.elapsed().as_secs(), 20);
        assert!(scene.guests.try_recv().is_err(), "nothing new was begun");
        assert!(scene.control.conclusion.lock().unwrap().is_some(), "one ended, one was dropped");
    }
}
