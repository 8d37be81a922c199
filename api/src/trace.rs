//! Traces: spans, log lines, and the live stream of both.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ids::SpanId,
    names::Slug,
    permissions::words,
    runs::{Attempt, Run, RunSummary, Stage, State},
};

words! {
    /// What a span is about; decides its colour and its place in filters.
    SpanKind {
        /// The whole job.
        Job = "job",
        /// One stage of the job.
        Stage = "stage",
        /// One task.
        Task = "task",
        /// Nix evaluates.
        Evaluation = "evaluation",
        /// Nix builds a derivation.
        Build = "build",
        /// Nix copies or downloads.
        Fetch = "fetch",
        /// A process of a task, or another step.
        Command = "command",
        /// Anything else.
        Other = "other",
    }
}

/// One span of an attempt's trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Span {
    /// The id within the attempt.
    pub id: SpanId,
    /// The span that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// What it is about.
    pub kind: SpanKind,
    /// The stage that it belongs to, if it is one or is inside one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The name.
    pub name: String,
    /// How it ended; `running` while it has not.
    pub state: State,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How deep it is nested; the job is 0.
    pub depth: u32,
    /// How many log lines belong to it directly.
    pub lines: u64,
    /// Attributes in OpenTelemetry's vocabulary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// The spans of an attempt, in depth-first order, siblings by start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trace {
    /// The spans.
    pub spans: Vec<Span>,
    /// How many there are in all; more than `spans` when the answer was cut.
    pub total: u64,
    /// The sequence number up to which this is true: follow the live stream from here.
    pub seq: u64,
}

words! {
    /// Where a line came from.
    Stream {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
        /// The system's own words about the job.
        System = "system",
    }
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// The line's number within the attempt, from 1.
    pub number: u64,
    /// The span that it belongs to.
    pub span: SpanId,
    /// Where it came from.
    pub stream: Stream,
    /// When it was written.
    pub time: DateTime<Utc>,
    /// The line without its line break. May hold ANSI escape sequences; bytes
    /// that are no UTF-8 stand as U+FFFD.
    pub text: String,
}

/// A window of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogWindow {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// How many lines the log has in all (of this span, if one was asked for).
    pub total: u64,
    /// How many lines were cut because the job wrote more than it may.
    pub dropped: u64,
    /// The sequence number up to which this is true.
    pub seq: u64,
}

/// Which lines of a log have some words in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogMatches {
    /// How many lines match in the whole log (of this span, if one was asked
    /// for), whatever this page holds.
    pub count: u64,
    /// Which one of them the first of `matches` is, counted from 1.
    pub first: u64,
    /// The matching lines of this page, in order.
    pub matches: Vec<LogMatch>,
    /// The number of the last line that was looked at; a log that is being
    /// written may have more by now.
    pub searched: u64,
    /// Pass this as `cursor`, with the same words, to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A line that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogMatch {
    /// The line's number within the attempt, from 1.
    pub number: u64,
    /// Its place in the log as it was asked for, from 1: the number, or the
    /// place among the lines of the span.
    pub place: u64,
}

/// One event of an attempt's live stream. Its server-sent event id is the
/// sequence number of the last record that it covers; a client that reconnects
/// with `Last-Event-ID` misses nothing and gets nothing twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", try_from = "Event")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LiveEvent {
    /// Spans that are new or have changed.
    Spans {
        /// The spans as they are now.
        spans: Vec<Span>,
    },
    /// New lines.
    Lines {
        /// The lines.
        lines: Vec<LogLine>,
    },
    /// The attempt has changed (state, stages, annotations).
    Attempt {
        /// The attempt as it is now.
        attempt: Attempt,
    },
    /// Nothing more will come.
    End,
}

/// One event of a run's live stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", try_from = "Event")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunEvent {
    /// The run as it is now.
    Run {
        /// The run.
        run: Box<Run>,
    },
    /// Nothing more will come.
    End,
}

/// A run of whichever project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacedRun {
    /// The organisation's name in addresses.
    pub org: Slug,
    /// The project's name in addresses.
    pub project: Slug,
    /// The run.
    pub run: RunSummary,
}

/// One event of the live stream of a list of runs. A run is told as it is, so
/// hearing of it twice does no harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", try_from = "Event")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunsEvent {
    /// Runs that are new or have changed; at first, the newest ones.
    Runs {
        /// The runs as they are now.
        runs: Vec<PlacedRun>,
    },
}

/// Any event as it is read. serde reads an enum with its tag inside through a
/// copy of everything in it, for which a browser would have to download the code.
#[derive(Deserialize)]
struct Event {
    event: String,
    spans: Option<Vec<Span>>,
    lines: Option<Vec<LogLine>>,
    attempt: Option<Attempt>,
    run: Option<Box<Run>>,
    runs: Option<Vec<PlacedRun>>,
}

/// An event that is not known, or lacks what it is about.
#[derive(Debug, thiserror::Error)]
#[error("the event `{0}` is not understood")]
struct NotUnderstood(String);

impl TryFrom<Event> for LiveEvent {
    type Error = NotUnderstood;
    fn try_from(event: Event) -> Result<Self, Self::Error> {
        match (event.event.as_str(), event.spans, event.lines, event.attempt) {
            ("spans", Some(spans), _, _) => Ok(Self::Spans { spans }),
            ("lines", _, Some(lines), _) => Ok(Self::Lines { lines }),
            ("attempt", _, _, Some(attempt)) => Ok(Self::Attempt { attempt }),
            ("end", ..) => Ok(Self::End),
            _ => Err(NotUnderstood(event.event)),
        }
    }
}

impl TryFrom<Event> for RunEvent {
    type Error = NotUnderstood;
    fn try_from(event: Event) -> Result<Self, Self::Error> {
        match (event.event.as_str(), event.run) {
            ("run", Some(run)) => Ok(Self::Run { run }),
            ("end", _) => Ok(Self::End),
            _ => Err(NotUnderstood(event.event)),
        }
    }
}

impl TryFrom<Event> for RunsEvent {
    type Error = NotUnderstood;
    fn try_from(event: Event) -> Result<Self, Self::Error> {
        match (event.event.as_str(), event.runs) {
            ("runs", Some(runs)) => Ok(Self::Runs { runs }),
            _ => Err(NotUnderstood(event.event)),
        }
    }
}
