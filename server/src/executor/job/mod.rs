//! One attempt at a job, from the claim to the report of its end.
//!
//! Everything that takes time is a future that can be given up: the machine,
//! the source, the records on their way. Around them stands one loop that
//! watches the lease, the clock and the server's own end. However an attempt
//! ends, its end is decided in one place ([`Ending`]) and is an `error` unless
//! something said otherwise: nothing is green by default.

mod check;
mod lease;
mod ready;
mod report;
mod talk;
mod text;

#[cfg(test)]
pub(super) mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{SubsecRound as _, TimeDelta};
use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::{Stage, State},
    trace::SpanKind,
};
use devenv_cloud_guest::protocol::{self, FrameError, Outcome};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    check::{Checker, Violation, state_of},
    lease::LeaseKeeper,
    report::{ReportError, Reporter, persist},
    talk::Order,
    text::{plain, printable},
};
use super::{
    Assignment, Conclusion, ControlPlane, Egress, LeaseState, PackStream,
    egress::JobNetwork,
    machine::{Exit, Machine, MachineError, Machines},
};
use crate::{
    clock::{Clock, Random},
    telemetry::{JOB_SPAN, MACHINE_SPAN, RESEED_SPAN, Record},
};

const QUEUE_SPAN: SpanId = SpanId(JOB_SPAN.0 + 1);
const TEARDOWN_SPAN: SpanId = SpanId(JOB_SPAN.0 + 3);
const ACCEPTED_SPAN: SpanId = SpanId(JOB_SPAN.0 + 5);
/// What the job did with the network, if it did anything.
const NETWORK_SPAN: SpanId = SpanId(JOB_SPAN.0 + 6);

/// How long a machine may take until it waits for its job.
const BOOT: Duration = Duration::from_secs(120);
/// How long a machine may say nothing; it says that it lives every five seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the processes of a job that is stopped may take to end.
pub const GRACE: Duration = Duration::from_secs(10);
/// How much longer the machine may take to report that.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a machine whose channel has ended may take to be gone.
const GOING: Duration = Duration::from_secs(2);

/// What executing needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) control: Arc<dyn ControlPlane>,
    pub(super) machines: Arc<dyn Machines>,
    pub(super) egress: Egress,
    pub(super) clock: Clock,
    pub(super) random: Random,
    /// Cancelled when the server will wait no longer: jobs are dropped, their
    /// leases lapse, and somebody else does them again.
    pub(super) stop: CancellationToken,
}

/// Why a job came to no end of its own. The words are for the user.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("the machine was not ready after {} s", BOOT.as_secs())]
    Boot,
    #[error("the machine broke the protocol: it {0}")]
    Violation(#[from] Violation),
    #[error("the machine broke the protocol: {0}")]
    Frame(FrameError),
    /// The machine is gone; why is asked of its life.
    #[error("the machine ended before it reported a result")]
    Gone,
    #[error("the machine said nothing for {} s", SILENCE.as_secs())]
    Silence,
    #[error("{0}")]
    Source(String),
    #[error("its log could not be stored: {0}")]
    Report(ReportError),
    #[error("the machine reported success without an exit status of 0")]
    Unproven,
}

impl From<FrameError> for JobError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(_) => Self::Gone,
            other => Self::Frame(other),
        }
    }
}

/// Why a job is stopped before it ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cancelled,
    Timeout,
}

/// What came of an attempt.
#[derive(Debug)]
enum Ending {
    /// Something to report.
    Report(Conclusion),
    /// Nothing to report: the attempt is somebody else's, or will be.
    Leave,
}

/// Does one attempt and reports everything about it.
pub(super) async fn execute(context: &Context, assignment: Assignment) {
    let id = assignment.lease.attempt;
    let deadline = Instant::now() + Duration::from_secs(assignment.limits.timeout_seconds.into());
    let keeper = LeaseKeeper::new(context.control.clone(), assignment.lease.clone());
    tracing::info!(attempt = %id, commit = assignment.commit, "job claimed");

    let timeline = Timeline { claimed: context.clock.now(), since: Instant::now() };
    let mut attempt = Attempt {
        timeline,
        reporter: Reporter::new(context.control.clone(), assignment.lease.clone()),
        checker: Checker::new(assignment.limits.log_bytes, timeline.claimed),
        watch: Watch { lease: keeper.watch(), deadline, stop: context.stop.clone() },
        machine_open: false,
        network: JobNetwork::new(&context.egress, &assignment.network),
        network_open: false,
        context,
        assignment,
    };
    attempt.begin();
    let ending = attempt.run().await;
    let Ending::Report(conclusion) = ending else {
        tracing::warn!(attempt = %id, "job dropped; its lease lapses");
        return;
    };
    let (state, reason) = (conclusion.state, conclusion.reason.clone().unwrap_or_default());
    attempt.conclude(conclusion).await;
    tracing::info!(attempt = %id, %state, reason, "job ended");
}

/// Waits until a machine is ready for a job, without giving it one.
///
/// # Errors
/// In words.
pub async fn wait_until_ready(machine: &mut Machine, clock: &Clock, random: &Random) -> Result<(), String> {
    let (mut read, mut write) = tokio::io::split(&mut machine.channel);
    match timeout(BOOT, talk::prepare(clock, random, &mut read, &mut write)).await {
        Ok(ready) => ready.map(|_| ()).map_err(|error| error.to_string()),
        Err(_) => Err(JobError::Boot.to_string()),
    }
}

/// The time in an attempt's trace: that of day when it was claimed, and from then
/// on by a clock that nobody sets. When the host's time of day jumps, no span ends
/// before it begins, or takes a year.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    claimed: Timestamp,
    since: Instant,
}

impl Timeline {
    fn now(self) -> Timestamp {
        self.at(Instant::now())
    }

    fn at(self, instant: Instant) -> Timestamp {
        let passed = TimeDelta::from_std(instant.duration_since(self.since)).unwrap_or_default();
        (self.claimed + passed).trunc_subsecs(6)
    }
}

/// What may end a job from outside.
struct Watch {
    lease: watch::Receiver<LeaseState>,
    deadline: Instant,
    stop: CancellationToken,
}

/// What the watch saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Stop(Stop),
    Leave,
}

impl Watch {
    /// Completes when the job must stop. When it is being stopped already, only
    /// the loss of the lease and the end of the server are left to see.
    async fn see(&mut self, stopping: bool) -> Seen {
        let lease = async {
            let seen = self.lease.wait_for(|state| match state {
                LeaseState::Held => false,
                LeaseState::Cancelled => !stopping,
                LeaseState::Lost => true,
            });
            match seen.await.map(|state| *state) {
                Ok(LeaseState::Cancelled) => Seen::Stop(Stop::Cancelled),
                _ => Seen::Leave,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Seen::Leave,
            seen = lease => seen,
            () = sleep_until(self.deadline), if !stopping => Seen::Stop(Stop::Timeout),
        }
    }
}

/// An attempt under way.
struct Attempt<'a> {
    context: &'a Context,
    assignment: Assignment,
    timeline: Timeline,
    reporter: Reporter,
    checker: Checker,
    watch: Watch,
    machine_open: bool,
    network: JobNetwork,
    network_open: bool,
}

impl Attempt<'_> {
    /// The spans of what has happened so far.
    fn begin(&mut self) {
        let assignment = &self.assignment;
        let claimed = self.timeline.claimed;
        let queued = assignment.queued_at.min(claimed);
        let accepted = assignment.accepted_at.unwrap_or(queued).min(queued);
        let mut name = assignment.platform.clone();
        for profile in &assignment.profiles {
            name = format!("{name}.{profile}");
        }
        let mut attributes = attributes([
            ("cicd.pipeline.task.run.id", assignment.lease.attempt.to_string()),
            ("vcs.ref.head.revision", assignment.commit.clone()),
            ("vcs.ref.head.name", assignment.git_ref.clone()),
        ]);
        attributes.extend(assignment.attributes.clone());
        let job = Record::Opened {
            id: JOB_SPAN,
            parent: None,
            kind: SpanKind::Job,
            stage: None,
            name,
            time: accepted,
            attributes,
        };
        let mut records = vec![job];
        if assignment.accepted_at.is_some() {
            records.push(opened_step(ACCEPTED_SPAN, JOB_SPAN, "push accepted", accepted));
            records.push(closed(ACCEPTED_SPAN, queued, State::Success));
        }
        records.extend([
            opened_stage(QUEUE_SPAN, Stage::Queue, queued),
            closed(QUEUE_SPAN, claimed, State::Success),
            opened_stage(MACHINE_SPAN, Stage::Machine, claimed),
        ]);
        self.reporter.push(records);
        self.machine_open = true;
    }

    /// Gets a machine, has it do the job, and gives it back.
    async fn run(&mut self) -> Ending {
        let spec = (&self.assignment.limits).into();
        let Self { watch, reporter, context, assignment, .. } = self;
        // Whoever watches sees the machine being made while it is made, and the
        // source is at hand when it is there.
        let prepared = async {
            tokio::join!(reporter.flush(), context.machines.machine(&spec), talk::source(context, assignment))
        };
        let prepared = tokio::select! {
            seen = watch.see(false) => Err(seen),
            prepared = prepared => Ok(prepared),
        };
        let (mut machine, source) = match prepared {
            Err(seen) => return self.stopped_early(seen),
            Ok((Err(error), ..)) => return self.failed(&JobError::Report(error)),
            Ok((_, Err(error), _)) => return self.failed(&JobError::Machine(error)),
            Ok((.., Err(error))) => return self.failed(&error),
            Ok((Ok(()), Ok(machine), Ok(source))) => (machine, source),
        };
        let result = self.talk(&mut machine, source).await;
        // Streams die with the job, before its machine does.
        self.network.stop();
        let end = self.timeline.now();
        let ending = match result {
            Talk::Leave => Ending::Leave,
            Talk::Stopped(stop) => self.stopped(stop),
            Talk::Finished(finished) => self.finished(finished),
            Talk::Failed(JobError::Gone) => {
                // What ended it, it may still be about to say.
                let exit = timeout(GOING, machine.life.ended()).await;
                let why = exit.map_or_else(|_| JobError::Gone.to_string(), |exit| why_gone(&exit));
                error(why)
            }
            Talk::Failed(error) => self.failed(&error),
        };
        self.tear_down(machine, end).await;
        ending
    }

    async fn tear_down(&mut self, mut machine: Machine, end: Timestamp) {
        machine.life.kill();
        if timeout(Duration::from_secs(10), machine.life.ended()).await.is_err() {
            tracing::error!("a machine does not end although it was killed");
        }
        self.reporter.push(vec![
            opened_stage(TEARDOWN_SPAN, Stage::Teardown, end),
            closed(TEARDOWN_SPAN, self.timeline.now(), State::Success),
        ]);
    }

    /// How a job that was stopped ended, whatever it said about it.
    fn stopped(&self, stop: Stop) -> Ending {
        let (state, reason) = match stop {
            Stop::Cancelled => (State::Cancellation, "the job was cancelled".to_owned()),
            Stop::Timeout => {
                let limit = self.assignment.limits.timeout_seconds;
                (State::Timeout, format!("the job took longer than it may ({})", in_words(limit)))
            }
        };
        Ending::Report(Conclusion { state, reason: Some(reason), exit_status: None, dropped_lines: 0 })
    }

    fn stopped_early(&self, seen: Seen) -> Ending {
        match seen {
            Seen::Stop(stop) => self.stopped(stop),
            Seen::Leave => Ending::Leave,
        }
    }

    fn failed(&self, cause: &JobError) -> Ending {
        if matches!(cause, JobError::Report(ReportError::Lost)) {
            return Ending::Leave;
        }
        tracing::warn!(attempt = %self.assignment.lease.attempt, "job failed: {cause}");
        error(cause.to_string())
    }

    /// What the guest reported, believed where it may be.
    fn finished(&self, finished: protocol::Finished) -> Ending {
        if finished.outcome == Outcome::Success && finished.exit_status != Some(0) {
            return self.failed(&JobError::Unproven);
        }
        let state = state_of(finished.outcome);
        let mut reason = plain(finished.reason);
        reason.truncate(reason.floor_char_boundary(protocol::limits::VALUE));
        if reason.is_empty() {
            reason = format!("the job ended with {state} and gave no reason");
        }
        Ending::Report(Conclusion {
            state,
            reason: (state != State::Success).then_some(reason),
            exit_status: finished.exit_status,
            // As many as a runner may report.
            dropped_lines: finished.dropped_lines.min(u32::MAX.into()),
        })
    }

    /// Closes all that is open, stores the last records, and reports the end.
    async fn conclude(&mut self, mut conclusion: Conclusion) {
        let now = self.timeline.now();
        let state = conclusion.state;
        let mut last = Vec::new();
        for (span, opened) in self.checker.open_spans() {
            last.push(closed(span, now.max(opened), state));
        }
        if self.machine_open {
            last.push(closed(MACHINE_SPAN, now, state));
        }
        talk::tell_of_network(&self.network, &mut self.network_open, now, &mut last);
        if self.network_open {
            let attributes = self.network.attributes();
            last.push(Record::Closed { id: NETWORK_SPAN, time: now, state: State::Success, attributes });
        }
        let mut attributes = attributes([("cicd.pipeline.result", state.to_string())]);
        if let Some(status) = conclusion.exit_status {
            attributes.insert("process.exit.code".into(), status.to_string());
        }
        last.push(Record::Closed { id: JOB_SPAN, time: now, state, attributes });
        self.reporter.push(last);

        let mut lease = self.watch.lease.clone();
        let report = async {
            match self.reporter.flush().await {
                Ok(()) => {}
                Err(ReportError::Lost) => return,
                // A log with a hole is no proof of anything.
                Err(error) if conclusion.state == State::Success => {
                    conclusion.state = State::Error;
                    conclusion.reason = Some(JobError::Report(error).to_string());
                }
                Err(_) => {}
            }
            let control = &self.context.control;
            let finish = || control.finish(&self.assignment.lease, conclusion.clone());
            if let Err(error) = persist(finish).await {
                tracing::error!(attempt = %self.assignment.lease.attempt, "cannot report the end of a job: {error}");
            }
        };
        tokio::select! {
            () = report => {}
            _ = lease.wait_for(|state| *state == LeaseState::Lost) => {}
            () = self.context.stop.cancelled() => {}
        }
    }
}

/// What came of talking to a machine.
#[derive(Debug)]
enum Talk {
    Finished(protocol::Finished),
    Failed(JobError),
    Stopped(Stop),
    Leave,
}

impl Attempt<'_> {
    async fn talk(&mut self, machine: &mut Machine, source: PackStream) -> Talk {
        let answered = match self.ready(machine).await {
            Ok(answered) => answered,
            Err(talk) => return talk,
        };
        let Self { assignment, timeline, reporter, checker, watch, network, network_open, .. } = self;
        let network = &*network;
        let attributes = std::mem::take(&mut machine.attributes);
        let (read, write) = tokio::io::split(&mut machine.channel);
        let ready = timeline.now();
        // The machine first: the start of the others' histograms is told with it.
        reporter.push(vec![
            Record::Closed { id: MACHINE_SPAN, time: ready, state: State::Success, attributes },
            opened_step(RESEED_SPAN, MACHINE_SPAN, "reseed", timeline.at(answered)),
            closed(RESEED_SPAN, ready, State::Success),
        ]);
        self.machine_open = false;

        let (orders, ordered) = watch::channel(Order::default());
        let heard = talk::Heard { checker, reporter, network, network_open };
        let hear = talk::hear(*timeline, read, heard, &orders);
        let tell = talk::tell(assignment, source, network, write, ordered);
        tokio::pin!(hear, tell);
        let mut stopping: Option<(Stop, Instant)> = None;
        loop {
            tokio::select! {
                biased;
                heard = &mut hear => {
                    return match (stopping, heard) {
                        // Whatever a job does that is being stopped: it was stopped.
                        (Some((stop, _)), _) => Talk::Stopped(stop),
                        (None, Ok(finished)) => Talk::Finished(finished),
                        (None, Err(error)) => Talk::Failed(error),
                    };
                }
                seen = watch.see(stopping.is_some()) => match seen {
                    Seen::Leave => return Talk::Leave,
                    Seen::Stop(stop) => {
                        stopping = Some((stop, Instant::now() + GRACE + FAREWELL));
                        orders.send_modify(|order| order.cancel = true);
                    }
                },
                () = until(stopping.map(|(_, kill)| kill)), if stopping.is_some() => {
                    if let Some((stop, _)) = stopping {
                        return Talk::Stopped(stop);
                    }
                }
                error = &mut tell => return match (stopping, error) {
                    (Some((stop, _)), _) => Talk::Stopped(stop),
                    (None, error) => Talk::Failed(error),
                },
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn error(reason: String) -> Ending {
    let reason = Some(plain(reason));
    Ending::Report(Conclusion { state: State::Error, reason, exit_status: None, dropped_lines: 0 })
}

fn why_gone(exit: &Exit) -> String {
    exit.to_string()
}

fn in_words(seconds: u32) -> String {
    match seconds {
        s if s % 3600 == 0 && s > 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 && s > 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

fn attributes<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), printable(value))).collect()
}

fn opened_stage(id: SpanId, stage: Stage, time: Timestamp) -> Record {
    Record::Opened {
        id,
        parent: Some(JOB_SPAN),
        kind: SpanKind::Stage,
        stage: Some(stage),
        name: stage.to_string(),
        time,
        attributes: BTreeMap::new(),
    }
}

/// A span that is no stage.
fn opened_step(id: SpanId, parent: SpanId, name: &str, time: Timestamp) -> Record {
    Record::Opened {
        id,
        parent: Some(parent),
        kind: SpanKind::Other,
        stage: None,
        name: name.to_owned(),
        time,
        attributes: BTreeMap::new(),
    }
}

fn closed(id: SpanId, time: Timestamp, state: State) -> Record {
    Record::Closed { id, time, state, attributes: BTreeMap::new() }
}
