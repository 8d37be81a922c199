//! What a guest says, checked and translated.
//!
//! The guest runs somebody's code as root if that code finds a way, so nothing
//! that it says is believed: every record is either within the bounds of the
//! protocol or ends the job. What passes here is a [`telemetry::Record`] that
//! the rest of the server may rely on: ids are unique and the guest's own, spans
//! are opened before they are used, texts are bounded, times are sane.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use chrono::DateTime;
use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::{self, Annotation, State},
    trace,
};
use devenv_cloud_guest::protocol::{Level, Outcome, Record, SpanKind, Stage, Stream, limits};

use super::text::{plain, printable};
use crate::telemetry::{self, JOB_SPAN};

/// Errors that stand in front of everything else; further ones are lines.
const ANNOTATIONS: usize = 200;

/// Bytes of everything but a job's output: names, attributes, messages, the
/// guest's own lines.
const OTHER_BYTES: u64 = 64 << 20;

/// What a line costs beside its bytes, where one text becomes many lines.
const LINE_COST: usize = 128;

/// Frames that say nothing new: so many at once, and so many more a second. The
/// guest sends one every five seconds.
const EMPTY_FRAMES: i64 = 1000;
const EMPTY_FRAMES_PER_SECOND: i64 = 2;

/// What a guest did that it must not do, as a clause after "the machine ".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(String);

impl Violation {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(Violation(format!($($words)+)));
        }
    };
}

#[derive(Debug)]
struct Span {
    opened: Timestamp,
    open: bool,
    /// The how-many-th span it is.
    number: usize,
}

/// Checks the records of one job.
#[derive(Debug)]
pub(super) struct Checker {
    /// The next sequence number.
    next: u64,
    spans: HashMap<u64, Span>,
    annotations: usize,
    log_bytes: u64,
    max_log_bytes: u64,
    other_bytes: u64,
    empty_frames: i64,
    /// Nothing in a job happened before its machine was there.
    not_before: Timestamp,
}

impl Checker {
    pub(super) fn new(max_log_bytes: u64, not_before: Timestamp) -> Self {
        Self {
            next: 1,
            spans: HashMap::new(),
            annotations: 0,
            log_bytes: 0,
            max_log_bytes,
            other_bytes: 0,
            empty_frames: 0,
            not_before,
        }
    }

    /// The sequence number of the last record that was checked.
    pub(super) const fn last(&self) -> u64 {
        self.next - 1
    }

    /// The spans that are open, innermost first.
    pub(super) fn open_spans(&self) -> Vec<(SpanId, Timestamp)> {
        let mut open: Vec<_> = self.spans.iter().filter(|(_, span)| span.open).collect();
        open.sort_by_key(|(_, span)| std::cmp::Reverse(span.number));
        open.into_iter().map(|(&id, span)| (SpanId(id), span.opened)).collect()
    }

    /// Counts a frame that says nothing new. They cost the guest next to nothing,
    /// and would keep a processor here busy until the job's time is over.
    pub(super) fn empty_frame(&mut self, now: Timestamp) -> Result<(), Violation> {
        self.empty_frames += 1;
        let seconds = (now - self.not_before).num_seconds().max(0);
        let allowed = EMPTY_FRAMES.saturating_add(seconds.saturating_mul(EMPTY_FRAMES_PER_SECOND));
        ensure!(self.empty_frames <= allowed, "sent more than {allowed} frames with nothing in them");
        Ok(())
    }

    /// Checks a frame of records and translates them into `out`, up to the first
    /// that is not in order.
    pub(super) fn records(
        &mut self,
        first: u64,
        records: Vec<Record>,
        now: Timestamp,
        out: &mut Vec<telemetry::Record>,
    ) -> Result<(), Violation> {
        ensure!(first == self.next, "sent record {first} instead of {}", self.next);
        let count = records.len();
        ensure!(count <= limits::RECORDS, "sent {count} records in one frame");
        if count == 0 {
            return self.empty_frame(now);
        }
        self.next += count as u64;
        out.reserve(count);
        records.into_iter().try_for_each(|record| self.record(record, now, out))
    }

    fn record(
        &mut self,
        record: Record,
        now: Timestamp,
        out: &mut Vec<telemetry::Record>,
    ) -> Result<(), Violation> {
        match record {
            Record::SpanOpened { id, parent, kind, stage, name, time, attributes } => {
                ensure!(id < limits::GUEST_SPAN_IDS, "used the id {id}, which is the host's");
                ensure!(self.spans.len() < limits::SPANS, "opened more than {} spans", limits::SPANS);
                ensure!(
                    !name.is_empty() && name.len() <= limits::NAME,
                    "named a span in {} bytes",
                    name.len()
                );
                self.other(name.len())?;
                let mut time = self.time(time, now);
                if let Some(parent) = parent {
                    time = time.max(self.known(parent)?.opened);
                }
                let attributes = self.attributes(attributes)?;
                let number = self.spans.len();
                match self.spans.entry(id) {
                    Entry::Occupied(_) => return Err(Violation(format!("opened span {id} twice"))),
                    Entry::Vacant(vacant) => vacant.insert(Span { opened: time, open: true, number }),
                };
                out.push(telemetry::Record::Opened {
                    id: SpanId(id),
                    parent: Some(parent.map_or(JOB_SPAN, SpanId)),
                    kind: span_kind(kind),
                    stage: stage.map(stage_of),
                    name: plain(name),
                    time,
                    attributes,
                });
            }
            Record::SpanClosed { id, time, outcome, attributes } => {
                let time = self.time(time, now).max(self.known(id)?.opened);
                let attributes = self.attributes(attributes)?;
                let span = self.spans.get_mut(&id).filter(|span| span.open);
                ensure!(span.is_some(), "closed span {id} twice");
                if let Some(span) = span {
                    span.open = false;
                }
                out.push(telemetry::Record::Closed {
                    id: SpanId(id),
                    time,
                    state: state_of(outcome),
                    attributes,
                });
            }
            Record::Line { span, stream, time, text } => {
                self.known(span)?;
                ensure!(text.len() <= limits::LINE, "sent a line of {} bytes", text.len());
                ensure!(!text.contains('\n'), "sent a line with a line break in it");
                if stream == Stream::System {
                    self.other(text.len())?;
                } else {
                    // The guest stops by itself at the limit, and counts as here.
                    self.log_bytes += text.len() as u64 + 1;
                    ensure!(self.log_bytes <= self.max_log_bytes, "sent more log than it may");
                }
                let time = self.time(time, now);
                out.push(line(SpanId(span), stream_of(stream), time, text));
            }
            Record::Message { span, level, time, text, file, line: at } => {
                if let Some(span) = span {
                    self.known(span)?;
                }
                let file_bytes = file.as_ref().map_or(0, String::len);
                ensure!(text.len() <= limits::MESSAGE, "sent a message of {} bytes", text.len());
                ensure!(file_bytes <= limits::VALUE, "sent a file name of {file_bytes} bytes");
                let lines = text.bytes().filter(|&byte| byte == b'\n').count();
                self.other(text.len() + file_bytes + lines * LINE_COST)?;
                let message = Annotation {
                    message: plain(text),
                    file: file.map(plain),
                    line: at,
                    span: span.map(SpanId),
                };
                let time = self.time(time, now);
                if level == Level::Error && self.annotations < ANNOTATIONS {
                    self.annotations += 1;
                    out.push(telemetry::Record::Annotation(message));
                } else {
                    say(level, &message, time, out);
                }
            }
        }
        Ok(())
    }

    fn known(&self, id: u64) -> Result<&Span, Violation> {
        self.spans.get(&id).ok_or_else(|| Violation(format!("used span {id} before it opened it")))
    }

    /// Counts a text that is not the job's output, and what it costs beside it.
    fn other(&mut self, bytes: usize) -> Result<(), Violation> {
        self.other_bytes += bytes as u64 + 1;
        ensure!(self.other_bytes <= OTHER_BYTES, "sent more names, attributes and messages than it may");
        Ok(())
    }

    fn attributes(
        &mut self,
        attributes: Vec<(String, String)>,
    ) -> Result<BTreeMap<String, String>, Violation> {
        let count = attributes.len();
        ensure!(count <= limits::ATTRIBUTES, "gave a span {count} attributes");
        let mut out = BTreeMap::new();
        for (key, value) in attributes {
            ensure!(
                !key.is_empty() && key.len() <= limits::NAME,
                "named an attribute in {} bytes",
                key.len()
            );
            ensure!(value.len() <= limits::VALUE, "gave an attribute {} bytes", value.len());
            self.other(key.len() + value.len())?;
            out.insert(plain(key), plain(value));
        }
        Ok(out)
    }

    /// The guest's clock is the guest's: what it says is moved to where it can
    /// have been.
    fn time(&self, time: u64, now: Timestamp) -> Timestamp {
        let said = i64::try_from(time / 1000).ok().and_then(DateTime::from_timestamp_micros).unwrap_or(now);
        said.min(now).max(self.not_before)
    }
}

/// Lines in the system's own words, for what is no annotation.
fn say(level: Level, message: &Annotation, time: Timestamp, out: &mut Vec<telemetry::Record>) {
    let word = match level {
        Level::Error => "error: ",
        Level::Warning => "warning: ",
        Level::Info => "",
    };
    let place = match (&message.file, message.line) {
        (Some(file), Some(at)) => format!("{file}:{at}: "),
        (Some(file), None) => format!("{file}: "),
        (None, _) => String::new(),
    };
    let span = message.span.unwrap_or(JOB_SPAN);
    for (index, text) in message.message.lines().enumerate() {
        let text = if index == 0 { format!("{place}{word}{text}") } else { text.to_owned() };
        out.push(line(span, trace::Stream::System, time, text));
    }
}

pub(super) fn line(span: SpanId, stream: trace::Stream, time: Timestamp, text: String) -> telemetry::Record {
    telemetry::Record::Line { span, stream, time, text: printable(text) }
}

pub(super) const fn state_of(outcome: Outcome) -> State {
    match outcome {
        Outcome::Success => State::Success,
        Outcome::Failure => State::Failure,
        Outcome::Error => State::Error,
        Outcome::Cancellation => State::Cancellation,
        Outcome::Skip => State::Skip,
    }
}

const fn span_kind(kind: SpanKind) -> trace::SpanKind {
    match kind {
        SpanKind::Stage => trace::SpanKind::Stage,
        SpanKind::Task => trace::SpanKind::Task,
        SpanKind::Evaluation => trace::SpanKind::Evaluation,
        SpanKind::Build => trace::SpanKind::Build,
        SpanKind::Fetch => trace::SpanKind::Fetch,
        SpanKind::Command => trace::SpanKind::Command,
        SpanKind::Other => trace::SpanKind::Other,
    }
}

const fn stage_of(stage: Stage) -> runs::Stage {
    match stage {
        Stage::Checkout => runs::Stage::Checkout,
        Stage::Evaluate => runs::Stage::Evaluate,
        Stage::Build => runs::Stage::Build,
        Stage::Task => runs::Stage::Task,
        Stage::Outputs => runs::Stage::Outputs,
    }
}

const fn stream_of(stream: Stream) -> trace::Stream {
    match stream {
        Stream::Stdout => trace::Stream::Stdout,
        Stream::Stderr => trace::Stream::Stderr,
        Stream::System => trace::Stream::System,
    }
}

#[cfg(test)]
mod tests;
