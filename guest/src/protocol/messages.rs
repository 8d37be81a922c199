//! The messages. Their order of variants and fields is their encoding: any
//! change of it changes [`super::VERSION`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::network::Network;

/// From host to guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HostMessage {
    /// Do what jobs do, so that it is quicker the next time, and leave nothing of
    /// it behind. After the answer the guest waits for a new `Hello`.
    Warm {
        /// How many times.
        rounds: u8,
    },
    /// Makes this machine one of its own. Always before any byte of a job.
    Prepare(Prepare),
    /// The one job.
    Job(Box<Job>),
    /// The next bytes of the packfile with the source.
    Source(Vec<u8>),
    /// The packfile is complete.
    SourceEnd,
    /// All records up to and including this sequence number are durable. Where
    /// that was said before, the guest answers [`GuestMessage::Alive`].
    Acknowledge(u64),
    /// Stop the job: SIGTERM to its processes, SIGKILL after `grace_ms`.
    Cancel {
        /// How long processes may take to end by themselves.
        grace_ms: u32,
    },
    /// Something about a stream to the network.
    Network(Network),
}

/// What a machine needs to know before it does anything.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// Nanoseconds since 1970, UTC.
    pub time_ns: u64,
    /// Fresh random bytes for the kernel's generator.
    pub entropy: [u8; 32],
    /// An id of this machine, for `/etc/machine-id`: 32 hexadecimal digits.
    pub machine_id: String,
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepare").field("time_ns", &self.time_ns).finish_non_exhaustive()
    }
}

/// A job, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The commit that is checked out: full object name.
    pub commit: String,
    /// The full ref that was pushed, e.g. `refs/heads/main`.
    pub git_ref: String,
    /// What `git remote get-url origin` says.
    pub origin: String,
    /// The platform to evaluate for, e.g. `x86_64-linux`.
    pub platform: String,
    /// The profiles that are active.
    pub profiles: Vec<String>,
    /// The tasks that are run, with everything that they wait for; all of them when empty.
    pub tasks: Vec<String>,
    /// Values of the `cloud.*` options, as JSON.
    pub cloud: String,
    /// Environment of every command of the job.
    pub env: BTreeMap<String, String>,
    /// Bytes of output after which lines are dropped (and counted).
    pub max_log_bytes: u64,
    /// How long SIGTERM is given before SIGKILL, in milliseconds.
    pub grace_ms: u32,
    /// Whether commands are told of the proxy. Who reaches what is decided by the
    /// host, whatever this says.
    pub network: bool,
}

/// From guest to host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GuestMessage {
    /// The machine is warm and waits for a new `Hello`.
    Warmed {
        /// Why it could not be warmed up; it works all the same, slower.
        problem: Option<String>,
    },
    /// The machine is its own and waits for its job.
    Ready,
    /// What happened, in order. Numbers are consecutive, from 1.
    Records {
        /// The sequence number of the first record.
        first: u64,
        /// The records.
        records: Vec<Record>,
    },
    /// The job has ended. Nothing comes after it.
    Finished(Finished),
    /// Nothing happened, but the guest lives. Sent every five seconds.
    Alive,
    /// Something about a stream to the network. Records go before it.
    Network(Network),
}

/// How the job ended, as the guest saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The end.
    pub outcome: Outcome,
    /// One sentence: why, for every end but success.
    pub reason: String,
    /// The exit status of the command that decided it.
    pub exit_status: Option<i32>,
    /// Lines that were dropped because there were too many bytes.
    pub dropped_lines: u64,
}

/// How a span or the job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Did what it should.
    Success,
    /// The job's own fault.
    Failure,
    /// The system's fault.
    Error,
    /// It was told to stop.
    Cancellation,
    /// There was nothing to do.
    Skip,
}

/// Something that happened. Times are nanoseconds since 1970, UTC, by the
/// guest's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A span begins.
    SpanOpened {
        /// Its id: new, and below [`super::limits::GUEST_SPAN_IDS`].
        id: u64,
        /// The open span that it is a part of; the job itself when absent.
        parent: Option<u64>,
        /// What it is about.
        kind: SpanKind,
        /// The stage that it is, if it is one.
        stage: Option<Stage>,
        /// Its name.
        name: String,
        /// When.
        time: u64,
        /// Attributes in OpenTelemetry's vocabulary.
        attributes: Vec<(String, String)>,
    },
    /// A span ends.
    SpanClosed {
        /// Its id.
        id: u64,
        /// When.
        time: u64,
        /// How.
        outcome: Outcome,
        /// Further attributes (`process.exit.code`, …).
        attributes: Vec<(String, String)>,
    },
    /// A line of output, without its line break.
    Line {
        /// The span that wrote it.
        span: u64,
        /// Where it came from.
        stream: Stream,
        /// When it was complete.
        time: u64,
        /// UTF-8; what was none stands as U+FFFD.
        text: String,
    },
    /// Something to say about the job, in front of everything else.
    Message {
        /// The span in which it happened.
        span: Option<u64>,
        /// How bad it is.
        level: Level,
        /// When.
        time: u64,
        /// The text, possibly several lines.
        text: String,
        /// The file that it is about, relative to the source.
        file: Option<String>,
        /// The line in that file, from 1.
        line: Option<u32>,
    },
}

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpanKind {
    /// One stage of the job.
    Stage,
    /// One task.
    Task,
    /// Nix evaluates.
    Evaluation,
    /// Nix builds a derivation.
    Build,
    /// Nix copies or downloads.
    Fetch,
    /// A process of a task, or another step.
    Command,
    /// Anything else.
    Other,
}

/// The stages that the guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Receiving and unpacking the source.
    Checkout,
    /// Evaluating `devenv.nix`.
    Evaluate,
    /// Building what evaluation asked for.
    Build,
    /// Running a task.
    Task,
    /// Collecting outputs.
    Outputs,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The guest's own words.
    System,
}

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// The job fails because of it.
    Error,
    /// Worth a look.
    Warning,
    /// Good to know.
    Info,
}
