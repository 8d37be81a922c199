//! A guest, a machine and a control plane that do what a test wants.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId},
};
use devenv_cloud_guest::protocol::{self, GuestMessage, HostMessage, Job, Outcome};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Random},
    disk::Reserve,
    executor::{
        Assignment, Capacity, Conclusion, ControlError, ControlPlane, Egress, Lease, LeaseState, Limits,
        Network, PackStream, Room, Status,
        job::{Context, execute},
        machine::{Exit, Life, Machine, MachineError, MachineSpec, Machines},
    },
    telemetry::Record,
};

/// Bytes that the channel takes before its writer must wait.
pub(crate) const CHANNEL: usize = 64 << 10;

/// The guest's end of the channel.
pub(super) struct Guest {
    pub(super) channel: DuplexStream,
    /// What became of the job.
    pub(super) job: Option<Job>,
    pub(super) source: Vec<u8>,
}

impl Guest {
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        // The host may have hung up already.
        drop(self.channel.write_all(bytes).await);
    }

    pub(super) async fn send(&mut self, message: &GuestMessage) {
        self.raw(&protocol::encode(message).unwrap()).await;
    }

    pub(super) async fn hello(&mut self) {
        let mut hello = Vec::new();
        protocol::write_hello(&mut hello).unwrap();
        self.raw(&hello).await;
        self.channel.read_exact(&mut [0; 8]).await.unwrap();
    }

    /// The next message; none when the host has hung up.
    pub(super) async fn receive(&mut self) -> Option<HostMessage> {
        let mut length = [0; 4];
        self.channel.read_exact(&mut length).await.ok()?;
        let mut bytes = vec![0; protocol::parse_length(length).unwrap()];
        self.channel.read_exact(&mut bytes).await.ok()?;
        Some(protocol::decode(&bytes).unwrap())
    }

    /// Everything up to the moment when a job would begin to run.
    pub(super) async fn take_job(&mut self) {
        self.hello().await;
        assert!(matches!(self.receive().await, Some(HostMessage::Prepare(_))));
        self.send(&GuestMessage::Ready).await;
        match self.receive().await {
            Some(HostMessage::Job(job)) => self.job = Some(*job),
            other => panic!("{other:?}"),
        }
        loop {
            match self.receive().await {
                Some(HostMessage::Source(chunk)) => self.source.extend(chunk),
                Some(HostMessage::SourceEnd) => return,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn records(&mut self, first: u64, records: Vec<protocol::Record>) {
        self.send(&GuestMessage::Records { first, records }).await;
    }

    pub(super) async fn finish(&mut self, outcome: Outcome, exit_status: Option<i32>, reason: &str) {
        let finished = protocol::Finished { outcome, reason: reason.into(), exit_status, dropped_lines: 0 };
        self.send(&GuestMessage::Finished(finished)).await;
    }

    /// Listens until the host hangs up.
    pub(super) async fn until_hung_up(&mut self) {
        while self.receive().await.is_some() {}
    }

    /// Says that it lives, and nothing else, until the host hangs up.
    pub(super) async fn live_until_hung_up(&mut self) {
        let alive = protocol::encode(&GuestMessage::Alive).unwrap();
        while self.channel.write_all(&alive).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Does nothing until the host hangs up.
    pub(super) async fn sleep_until_hung_up(&mut self) {
        drop(self.channel.read_to_end(&mut Vec::new()).await);
    }
}

/// What a fake control plane answers, and what it was told.
pub(crate) struct Control {
    pub(crate) state: watch::Sender<LeaseState>,
    /// Whether it can be reached.
    pub(crate) reachable: AtomicBool,
    /// Whether there is no room for lines.
    pub(crate) full: AtomicBool,
    /// Whether it can store.
    pub(crate) storing: watch::Sender<bool>,
    pub(crate) renewals: AtomicU32,
    pub(crate) records: Mutex<Vec<Record>>,
    /// The last sequence number of each lease.
    pub(crate) last: Mutex<BTreeMap<u128, u64>>,
    pub(crate) conclusion: Mutex<Option<Conclusion>>,
    pub(crate) source: Mutex<Vec<Result<Bytes, ControlError>>>,
    pub(crate) work: Mutex<Vec<Assignment>>,
    pub(crate) claims: AtomicU32,
    pub(crate) reports: Mutex<Vec<Room>>,
    pub(crate) appended: Notify,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(LeaseState::Held),
            reachable: true.into(),
            full: false.into(),
            storing: watch::Sender::new(true),
            renewals: 0.into(),
            records: Mutex::default(),
            last: Mutex::default(),
            conclusion: Mutex::default(),
            source: Mutex::new(vec![Ok(Bytes::from_static(b"PACK"))]),
            work: Mutex::default(),
            claims: 0.into(),
            reports: Mutex::default(),
            appended: Notify::new(),
        }
    }
}

fn unavailable() -> ControlError {
    ControlError::Unavailable(anyhow::anyhow!("the database is gone"))
}

#[async_trait]
impl ControlPlane for Control {
    async fn report(&self, capacity: &Capacity, _: Status) -> Result<(), ControlError> {
        self.reports.lock().unwrap().push(capacity.room);
        if self.reachable.load(Ordering::Relaxed) { Ok(()) } else { Err(unavailable()) }
    }

    async fn claim(&self, _: &Capacity) -> Result<Option<Assignment>, ControlError> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        let work = self.work.lock().unwrap().pop();
        match work {
            Some(work) => Ok(Some(work)),
            None => std::future::pending().await,
        }
    }

    async fn renew(&self, _: &Lease) -> Result<LeaseState, ControlError> {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        if self.reachable.load(Ordering::Relaxed) { Ok(*self.state.borrow()) } else { Err(unavailable()) }
    }

    async fn changed(&self, _: &Lease) {
        let mut state = self.state.subscribe();
        drop(state.changed().await);
    }

    async fn source(&self, _: &Lease) -> Result<PackStream, ControlError> {
        let chunks = std::mem::take(&mut *self.source.lock().unwrap());
        Ok(Box::pin(futures::stream::iter(chunks)))
    }

    async fn append(&self, lease: &Lease, first: u64, records: Vec<Record>) -> Result<(), ControlError> {
        if !*self.storing.borrow() {
            return Err(unavailable());
        }
        if *self.state.borrow() == LeaseState::Lost {
            return Err(ControlError::LeaseLost(lease.attempt));
        }
        // As a server does with what comes from a runner.
        Record::check_all(&records).unwrap();
        let lines = records.iter().any(|record| matches!(record, Record::Line { .. }));
        if lines && self.full.load(Ordering::Relaxed) {
            Reserve::new("/".into(), u32::MAX).check()?;
        }
        let mut last = self.last.lock().unwrap();
        let last = last.entry(lease.token).or_default();
        assert_eq!(first, *last + 1, "numbers are consecutive");
        *last += records.len() as u64;
        self.records.lock().unwrap().extend(records);
        self.appended.notify_waiters();
        Ok(())
    }

    async fn finish(&self, _: &Lease, conclusion: Conclusion) -> Result<(), ControlError> {
        let was = self.conclusion.lock().unwrap().replace(conclusion);
        assert_eq!(was, None, "an attempt ends once");
        Ok(())
    }
}

/// How a fake machine behaves.
#[derive(Clone)]
pub(crate) struct Host {
    /// The guests' ends of the channels of machines that were asked for.
    pub(crate) guests: tokio::sync::mpsc::UnboundedSender<DuplexStream>,
    /// Whether the machine was killed.
    pub(crate) killed: Arc<watch::Sender<bool>>,
    /// How it ends without being killed.
    pub(crate) exit: Option<Exit>,
    /// That there is none.
    pub(crate) missing: bool,
}

#[async_trait]
impl Machines for Host {
    async fn machine(&self, _: &MachineSpec) -> Result<Machine, MachineError> {
        if self.missing {
            return Err(MachineError::NoQemu { program: "qemu".into() });
        }
        let (ours, theirs) = tokio::io::duplex(CHANNEL);
        self.guests.send(theirs).unwrap();
        Ok(Machine {
            channel: Box::new(ours),
            life: Box::new(FakeLife { killed: self.killed.clone(), exit: self.exit.clone() }),
            attributes: BTreeMap::from([("devenv_cloud.machine.start".into(), "fake".into())]),
        })
    }
}

struct FakeLife {
    killed: Arc<watch::Sender<bool>>,
    exit: Option<Exit>,
}

#[async_trait]
impl Life for FakeLife {
    fn kill(&mut self) {
        self.killed.send_replace(true);
    }

    async fn ended(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        drop(self.killed.subscribe().wait_for(|killed| *killed).await);
        Exit::Killed
    }
}

pub(crate) fn assignment() -> Assignment {
    Assignment {
        lease: Lease { attempt: AttemptId(uuid::Uuid::from_u128(1)), token: 7 },
        job: JobId(uuid::Uuid::from_u128(2)),
        commit: "c0ffee".into(),
        git_ref: "refs/heads/main".into(),
        origin: "http://localhost/acme/web.git".into(),
        platform: "x86_64-linux".into(),
        profiles: vec![],
        tasks: vec![],
        cloud: serde_json::json!({}),
        env: BTreeMap::new(),
        attributes: BTreeMap::new(),
        accepted_at: None,
        queued_at: at(90),
        limits: Limits {
            cpus: 1,
            memory_mib: 512,
            disk_mib: 1024,
            timeout_seconds: 3600,
            log_bytes: 1 << 20,
        },
        network: Network::default(),
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(second, 0).unwrap()
}

/// A test: one job with a guest that does what `script` says.
pub(super) struct Scene {
    pub(super) control: Arc<Control>,
    pub(super) host: Host,
    pub(super) assignment: Assignment,
    pub(super) stop: CancellationToken,
    /// The host's time of day, which is at 100 and stands still.
    pub(super) clock: Clock,
    pub(super) egress: Egress,
    /// How many machines say nothing at all, before the one with the guest.
    pub(super) silent: usize,
    guests: tokio::sync::mpsc::UnboundedReceiver<DuplexStream>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (sender, guests) = tokio::sync::mpsc::unbounded_channel();
        let host =
            Host { guests: sender, killed: Arc::new(watch::Sender::new(false)), exit: None, missing: false };
        Self {
            control: Arc::new(Control::default()),
            host,
            assignment: assignment(),
            stop: CancellationToken::new(),
            clock: Clock::fake(at(100)),
            egress: Egress::new(&[]),
            silent: 0,
            guests,
        }
    }

    /// Does the job to its end; the guest's script may still be at it then.
    pub(super) async fn play<F: Future<Output = ()> + Send + 'static>(
        mut self,
        script: impl FnOnce(Guest) -> F + Send + 'static,
    ) -> Played {
        let context = Context {
            control: self.control.clone(),
            machines: Arc::new(self.host.clone()),
            egress: self.egress.clone(),
            clock: self.clock.clone(),
            random: Random::seeded(1),
            stop: self.stop.clone(),
        };
        let guest = tokio::spawn(async move {
            let mut silent = Vec::new();
            for _ in 0..self.silent {
                silent.push(self.guests.recv().await);
            }
            if let Some(channel) = self.guests.recv().await {
                script(Guest { channel, job: None, source: vec![] }).await;
            }
        });
        execute(&context, self.assignment.clone()).await;
        let killed = *self.host.killed.borrow();
        drop((context, self.host));
        // A script that fails fails the test.
        guest.await.unwrap();
        let conclusion = self.control.conclusion.lock().unwrap().take();
        let records = std::mem::take(&mut *self.control.records.lock().unwrap());
        Played { conclusion, records, killed }
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) conclusion: Option<Conclusion>,
    pub(super) records: Vec<Record>,
    pub(super) killed: bool,
}

impl Played {
    /// The end, and why.
    #[track_caller]
    pub(super) fn end(&self) -> (devenv_cloud_api::runs::State, &str) {
        let conclusion = self.conclusion.as_ref().expect("an end was reported");
        (conclusion.state, conclusion.reason.as_deref().unwrap_or_default())
    }
}
