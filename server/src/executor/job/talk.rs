//! Talking to the guest: getting it ready, telling it its job, hearing what
//! comes of it.

use std::{collections::BTreeMap, time::Duration};

use devenv_cloud_api::{
    Timestamp,
    orgs::NetworkPolicy,
    trace::{self, SpanKind},
};
use devenv_cloud_guest::protocol::{self, FrameError, GuestMessage, HostMessage, Job, Prepare, limits};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    Context, GRACE, JobError, NETWORK_SPAN, SILENCE, Timeline,
    check::{Checker, Violation, line},
    report::{ReportError, Reporter},
};
use crate::{
    clock::{Clock, Random},
    executor::{
        Assignment, ControlError, PackStream,
        channel::{Frames, receive_hello, send, send_hello},
        egress::JobNetwork,
    },
    telemetry::{JOB_SPAN, Record},
};

/// What the guest is told besides its job and its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// All records up to this one are durable.
    pub(super) stored: u64,
    /// Stop the job.
    pub(super) cancel: bool,
}

/// Makes the machine one of its own, and waits until it is ready for its job.
/// Says when it first answered.
pub(super) async fn prepare(
    clock: &Clock,
    random: &Random,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
) -> Result<Instant, JobError> {
    send_hello(write).await?;
    // Its word first: whatever is sent before waits until the guest has come
    // up, and the time would be as old as that.
    receive_hello(read).await?;
    let answered = Instant::now();
    let time = clock.now().timestamp_nanos_opt().unwrap_or_default();
    let prepare = HostMessage::Prepare(Prepare {
        time_ns: u64::try_from(time).unwrap_or_default(),
        entropy: random.bytes(),
        machine_id: hex::encode(random.bytes::<16>()),
    });
    send(write, &prepare).await?;
    match Frames::new(read).receive().await? {
        GuestMessage::Ready => Ok(answered),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(message: &GuestMessage) -> JobError {
    let what = match message {
        GuestMessage::Warmed { .. } => "said that it is warm, which nobody asked for",
        GuestMessage::Ready => "said that it is ready in the middle of a job",
        GuestMessage::Records { .. } => "sent records before it was ready",
        GuestMessage::Finished(_) => "ended its job before it was ready",
        GuestMessage::Alive => "said that it lives before it was ready",
        GuestMessage::Network(_) => "asked for the network before it was ready",
    };
    JobError::Violation(Violation::new(what))
}

/// What becomes of what the guest says.
pub(super) struct Heard<'a> {
    pub(super) checker: &'a mut Checker,
    pub(super) reporter: &'a mut Reporter,
    pub(super) network: &'a JobNetwork,
    pub(super) network_open: &'a mut bool,
}

/// Hears the guest out: checks its records, stores them, and has them
/// acknowledged, in this order and one frame at a time, so that a guest that
/// is quicker than the store waits, and nothing piles up here. What is said about
/// streams is passed on at once; no stream can hold up a record.
pub(super) async fn hear(
    timeline: Timeline,
    read: impl AsyncRead + Unpin,
    heard: Heard<'_>,
    orders: &watch::Sender<Order>,
) -> Result<protocol::Finished, JobError> {
    let Heard { checker, reporter, network, network_open } = heard;
    let mut frames = Frames::new(read);
    // What is known of the machine so far does not wait for its first word.
    reporter.flush().await.map_err(JobError::Report)?;
    loop {
        // Only while we listen: a store that is slow is not the guest's silence.
        let message = timeout(SILENCE, frames.receive()).await.map_err(|_| JobError::Silence)?;
        match message? {
            GuestMessage::Alive => checker.empty_frame(timeline.now())?,
            GuestMessage::Records { first, records } => {
                let mut checked = Vec::new();
                let result = checker.records(first, records, timeline.now(), &mut checked);
                reporter.push(checked);
                result?;
                reporter.flush().await.map_err(JobError::Report)?;
                orders.send_modify(|order| order.stored = checker.last());
            }
            GuestMessage::Network(message) => {
                network.receive(message).map_err(Violation::new)?;
            }
            GuestMessage::Finished(finished) => return Ok(finished),
            other @ (GuestMessage::Ready | GuestMessage::Warmed { .. }) => return Err(unexpected(&other)),
        }
        let mut news = Vec::new();
        tell_of_network(network, network_open, timeline.now(), &mut news);
        if !news.is_empty() {
            reporter.push(news);
            reporter.flush().await.map_err(JobError::Report)?;
        }
    }
}

/// Records about the network since the last time: that it is used at all, and
/// what could not be reached.
pub(super) fn tell_of_network(network: &JobNetwork, open: &mut bool, now: Timestamp, out: &mut Vec<Record>) {
    if !*open && network.is_used() {
        *open = true;
        out.push(Record::Opened {
            id: NETWORK_SPAN,
            parent: Some(JOB_SPAN),
            kind: SpanKind::Other,
            stage: None,
            name: "network".to_owned(),
            time: now,
            attributes: BTreeMap::new(),
        });
    }
    if *open {
        let lines = network.news().into_iter();
        out.extend(lines.map(|text| line(NETWORK_SPAN, trace::Stream::System, now, text)));
    }
}

/// Tells the guest its job, its source, and from then on what it is ordered.
/// Completes only when something is wrong.
pub(super) async fn tell(
    assignment: &Assignment,
    source: PackStream,
    network: &JobNetwork,
    mut write: impl AsyncWrite + Unpin,
    mut orders: watch::Receiver<Order>,
) -> JobError {
    match tell_all(assignment, source, network, &mut write, &mut orders).await {
        // Who hears knows why the channel broke.
        Err(JobError::Gone) => std::future::pending().await,
        Err(error) => error,
        Ok(never) => match never {},
    }
}

/// How often the guest hears something, and answers. Emulated machines on a busy host
/// have been seen to sleep for good once they were idle, as if an interrupt of their
/// timer had been lost. Any other interrupt wakes them, and has the timer set anew.
const KNOCK: Duration = Duration::from_secs(5);

async fn tell_all(
    assignment: &Assignment,
    source: PackStream,
    network: &JobNetwork,
    write: &mut (impl AsyncWrite + Unpin),
    orders: &mut watch::Receiver<Order>,
) -> Result<std::convert::Infallible, JobError> {
    send(write, &HostMessage::Job(Box::new(job(assignment)?))).await?;
    let mut told = Order::default();
    let mut source = Some(source);
    let mut knocks = interval_at(Instant::now() + KNOCK, KNOCK);
    knocks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let chunk = async {
            match &mut source {
                Some(source) => source.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = orders.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                let order = *orders.borrow_and_update();
                if order.stored > told.stored {
                    send(write, &HostMessage::Acknowledge(order.stored)).await?;
                }
                if order.cancel && !told.cancel {
                    let grace_ms = u32::try_from(GRACE.as_millis()).unwrap_or(u32::MAX);
                    send(write, &HostMessage::Cancel { grace_ms }).await?;
                    // What is left of the source is of no use any more.
                    source = None;
                }
                told = order;
            }
            chunk = chunk => match chunk {
                Some(chunk) => {
                    for part in chunk.map_err(source_error)?.chunks(limits::SOURCE_CHUNK) {
                        send(write, &HostMessage::Source(part.to_vec())).await?;
                    }
                }
                None => {
                    send(write, &HostMessage::SourceEnd).await?;
                    source = None;
                }
            },
            // It knows that already; what matters is that it is woken.
            _ = knocks.tick() => send(write, &HostMessage::Acknowledge(told.stored)).await?,
            // Last: bulk waits for all else.
            message = network.next() => send(write, &HostMessage::Network(message)).await?,
        }
    }
}

fn job(assignment: &Assignment) -> Result<Job, JobError> {
    let job = Job {
        commit: assignment.commit.clone(),
        git_ref: assignment.git_ref.clone(),
        origin: assignment.origin.clone(),
        platform: assignment.platform.clone(),
        profiles: assignment.profiles.clone(),
        tasks: assignment.tasks.clone(),
        cloud: assignment.cloud.to_string(),
        env: assignment.env.clone(),
        max_log_bytes: assignment.limits.log_bytes,
        grace_ms: u32::try_from(GRACE.as_millis()).unwrap_or(u32::MAX),
        network: assignment.network.policy != NetworkPolicy::Off,
    };
    // Said here, because it is not the machine's fault.
    match protocol::encode(&job) {
        Err(FrameError::TooLong(bytes)) => Err(JobError::Source(format!(
            "the job's environment and settings have {bytes} bytes; the limit is {}",
            limits::FRAME
        ))),
        _ => Ok(job),
    }
}

/// How long the beginning of a source is asked for again and again.
const SOURCE: Duration = Duration::from_secs(60);

/// The source, as soon as it begins to come.
pub(super) async fn source(context: &Context, assignment: &Assignment) -> Result<PackStream, JobError> {
    let began = Instant::now();
    loop {
        match context.control.source(&assignment.lease).await {
            Ok(source) => return Ok(source),
            Err(ControlError::Unavailable(_)) if began.elapsed() < SOURCE => {
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(source_error(error)),
        }
    }
}

fn source_error(error: ControlError) -> JobError {
    match error {
        ControlError::LeaseLost(_) => JobError::Report(ReportError::Lost),
        ControlError::NoRoom(full) => JobError::Source(full),
        ControlError::Source(words) => JobError::Source(words),
        ControlError::Unavailable(cause) => JobError::Source(format!("cannot read the source: {cause:#}")),
    }
}
