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
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: i64) -> Timestamp {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn checker() -> Checker {
        Checker::new(100, at(100))
    }

    impl Checker {
        fn all(
            &mut self,
            first: u64,
            records: Vec<Record>,
            now: Timestamp,
        ) -> Result<Vec<telemetry::Record>, Violation> {
            let mut out = Vec::new();
            self.records(first, records, now, &mut out).map(|()| out)
        }
    }

    fn opened(id: u64, parent: Option<u64>) -> Record {
        Record::SpanOpened {
            id,
            parent,
            kind: SpanKind::Task,
            stage: Some(Stage::Task),
            name: "app:build".into(),
            time: 110 * SECOND,
            attributes: vec![],
        }
    }

    fn closed(id: u64) -> Record {
        Record::SpanClosed { id, time: 120 * SECOND, outcome: Outcome::Success, attributes: vec![] }
    }

    fn text(span: u64, text: &str) -> Record {
        Record::Line { span, stream: Stream::Stdout, time: 115 * SECOND, text: text.into() }
    }

    fn message(level: Level, text: &str) -> Record {
        Record::Message {
            span: None,
            level,
            time: 0,
            text: text.into(),
            file: Some("devenv.nix".into()),
            line: Some(3),
        }
    }

    fn attributes(attributes: Vec<(String, String)>) -> Vec<Record> {
        vec![opened(1, None), Record::SpanClosed { id: 1, time: 0, outcome: Outcome::Success, attributes }]
    }

    /// What a guest must not do. Each is refused; the words say what it did.
    #[test]
    fn every_violation_is_refused() {
        let renamed = |name: String| {
            let mut record = opened(1, None);
            if let Record::SpanOpened { name: was, .. } = &mut record {
                *was = name;
            }
            vec![record]
        };
        let pair = |key: usize, value: usize| vec![("k".repeat(key), "v".repeat(value))];
        let many = (0..=limits::ATTRIBUTES).map(|n| (n.to_string(), String::new())).collect();
        for (first, records, words) in [
            (2, vec![opened(1, None)], "record 2 instead of 1"),
            (0, vec![], "record 0 instead of 1"),
            (1, vec![opened(1, None); limits::RECORDS + 1], "4097 records in one frame"),
            (1, vec![opened(1, None), opened(1, None)], "opened span 1 twice"),
            (1, vec![opened(1, None), closed(1), opened(1, None)], "opened span 1 twice"),
            (1, vec![opened(1, Some(7))], "span 7 before it opened it"),
            (1, vec![opened(1, Some(1))], "span 1 before it opened it"),
            (1, vec![opened(limits::GUEST_SPAN_IDS, None)], "the host's"),
            (1, vec![opened(JOB_SPAN.0 + 1, None)], "the host's"),
            (1, vec![closed(JOB_SPAN.0)], "before it opened it"),
            (1, vec![closed(1)], "before it opened it"),
            (1, vec![opened(1, None), closed(1), closed(1)], "closed span 1 twice"),
            (1, vec![text(JOB_SPAN.0, "x")], "before it opened it"),
            (1, vec![opened(1, None), text(1, "a\nb")], "line break"),
            (1, vec![opened(1, None), text(1, &"x".repeat(limits::LINE + 1))], "a line of 16385 bytes"),
            (1, vec![opened(1, None), text(1, &"x".repeat(50)), text(1, &"x".repeat(50))], "more log"),
            (1, vec![message(Level::Info, &"x".repeat(limits::MESSAGE + 1))], "a message of"),
            (1, renamed(String::new()), "in 0 bytes"),
            (1, renamed("n".repeat(limits::NAME + 1)), "in 513 bytes"),
            (1, attributes(many), "65 attributes"),
            (1, attributes(pair(0, 1)), "in 0 bytes"),
            (1, attributes(pair(limits::NAME + 1, 1)), "in 513 bytes"),
            (1, attributes(pair(1, limits::VALUE + 1)), "4097 bytes"),
        ] {
            let violation = checker().all(first, records, at(200)).unwrap_err().to_string();
            assert!(violation.contains(words), "{violation} / {words}");
        }
    }

    #[test]
    fn what_came_before_a_violation_is_kept() {
        let (mut checker, mut out) = (checker(), Vec::new());
        checker.records(1, vec![opened(1, None), opened(1, None)], at(200), &mut out).unwrap_err();
        assert_eq!(out.len(), 1);
        assert_eq!(checker.open_spans().len(), 1);
        // Nothing is noted of a record that is refused for its attributes.
        let mut record = opened(2, None);
        if let Record::SpanOpened { attributes, .. } = &mut record {
            attributes.push((String::new(), String::new()));
        }
        checker.records(3, vec![record], at(200), &mut out).unwrap_err();
        assert_eq!((out.len(), checker.open_spans().len()), (1, 1));
    }

    #[test]
    fn a_million_spans_end_at_the_limit() {
        let mut checker = checker();
        let mut id = 0;
        let violation = loop {
            let first = checker.next;
            let records = (0..1000).map(|n| opened(id + n, None)).collect();
            id += 1000;
            match checker.all(first, records, at(200)) {
                Ok(_) => assert!(id <= limits::SPANS as u64),
                Err(violation) => break violation,
            }
        };
        assert!(violation.to_string().contains("more than 200000 spans"), "{violation}");
    }

    #[test]
    fn messages_of_nothing_but_line_breaks_are_refused_before_they_are_very_many_lines() {
        let (mut checker, mut lines) = (checker(), 0);
        for first in 1.. {
            let breaks = message(Level::Warning, &"\n".repeat(limits::MESSAGE));
            match checker.all(first, vec![breaks], at(200)) {
                Ok(records) => lines += records.len(),
                Err(_) => break,
            }
        }
        assert!((250_000..=600_000).contains(&lines), "{lines}");
    }

    #[test]
    fn frames_that_say_nothing_are_counted() {
        let mut checker = checker();
        // A job of a day, in order.
        for second in (0..86_400).step_by(5) {
            checker.empty_frame(at(100 + second)).unwrap();
        }
        let mut checker = self::checker();
        let sent = (1..).find(|_| checker.records(1, vec![], at(110), &mut Vec::new()).is_err());
        assert_eq!(sent, Some(1021));
        let violation = checker.empty_frame(at(110)).unwrap_err().to_string();
        assert!(violation.contains("nothing in them"), "{violation}");
    }

    #[test]
    fn names_and_messages_control_no_terminal_and_output_may() {
        let evil = "a\u{1b}[2Jb\r\u{202e}c\u{7}";
        let mut record = opened(1, None);
        if let Record::SpanOpened { name, attributes, .. } = &mut record {
            *name = evil.into();
            attributes.push((evil.into(), evil.into()));
        }
        let records =
            checker().all(1, vec![record, text(1, evil), message(Level::Error, evil)], at(200)).unwrap();
        let harmless = "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}";
        match &records[..] {
            [
                telemetry::Record::Opened { name, attributes, .. },
                telemetry::Record::Line { text, .. },
                telemetry::Record::Annotation(annotation),
            ] => {
                assert_eq!((name.as_str(), annotation.message.as_str()), (harmless, harmless));
                assert_eq!(attributes.get(harmless).map(String::as_str), Some(harmless));
                assert_eq!(text, evil, "colours are the job's own");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_passes_here_passes_from_a_runner_too() {
        let nul = |count| "\0".repeat(count);
        let mut record = opened(1, None);
        if let Record::SpanOpened { name, attributes, .. } = &mut record {
            *name = nul(limits::NAME);
            *attributes = vec![(nul(limits::NAME), nul(limits::VALUE))];
        }
        let mut checker = Checker::new(1 << 20, at(100));
        let records = vec![record, message(Level::Error, &nul(limits::MESSAGE)), text(1, &nul(limits::LINE))];
        let records = checker.all(1, records, at(200)).unwrap();
        telemetry::Record::check_all(&records).unwrap();
    }

    #[test]
    fn names_without_end_are_refused_before_they_fill_the_memory() {
        let mut checker = checker();
        let attributes: Vec<_> = (0..64).map(|n| (n.to_string(), "v".repeat(4096))).collect();
        let refused = (0..1000).any(|id| {
            let mut record = opened(id, None);
            if let Record::SpanOpened { attributes: was, .. } = &mut record {
                was.clone_from(&attributes);
            }
            checker.all(id + 1, vec![record], at(200)).is_err()
        });
        assert!(refused);
    }

    #[test]
    fn what_is_in_order_is_translated() {
        let mut checker = checker();
        let records = checker
            .all(1, vec![opened(1, None), opened(2, Some(1)), text(2, "nul\0"), closed(2)], at(200))
            .unwrap();
        assert!(matches!(&records[0], telemetry::Record::Opened { parent: Some(JOB_SPAN), .. }));
        assert!(matches!(&records[1], telemetry::Record::Opened { parent: Some(SpanId(1)), .. }));
        assert!(matches!(&records[2], telemetry::Record::Line { text, .. } if text == "nul\u{fffd}"));
        assert_eq!(checker.last(), 4);
        assert_eq!(checker.open_spans(), [(SpanId(1), at(110))]);
        assert_eq!(checker.all(5, vec![], at(200)).unwrap(), []);
    }

    #[test]
    fn times_are_moved_to_where_they_can_have_been() {
        let mut checker = checker();
        let mut record = |id: u64, time: u64, now: i64| {
            let mut record = opened(id, None);
            if let Record::SpanOpened { time: was, .. } = &mut record {
                *was = time;
            }
            match checker.all(checker.next, vec![record], at(now)).unwrap().remove(0) {
                telemetry::Record::Opened { time, .. } => time,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(record(1, 150 * SECOND, 200), at(150));
        assert_eq!(record(2, 0, 200), at(100), "not before the machine");
        assert_eq!(record(3, u64::MAX, 200), at(200), "not after now");
        let records = checker.all(4, vec![opened(4, Some(3)), closed(4)], at(210)).unwrap();
        assert!(matches!(records[0], telemetry::Record::Opened { time, .. } if time == at(200)));
        assert!(matches!(records[1], telemetry::Record::Closed { time, .. } if time == at(200)));
    }

    #[test]
    fn errors_stand_in_front_and_the_rest_is_said() {
        let mut checker = checker();
        let records = checker
            .all(1, vec![message(Level::Error, "wrong"), message(Level::Warning, "odd\nreally")], at(200))
            .unwrap();
        assert!(
            matches!(&records[0], telemetry::Record::Annotation(a) if a.message == "wrong" && a.line == Some(3))
        );
        let said: Vec<_> = records[1..]
            .iter()
            .map(|record| match record {
                telemetry::Record::Line { span: JOB_SPAN, stream: trace::Stream::System, text, .. } => text,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(said, ["devenv.nix:3: warning: odd", "really"]);

        let flood = vec![message(Level::Error, "again"); 500];
        let records = checker.all(3, flood, at(200)).unwrap();
        let annotations = records.iter().filter(|r| matches!(r, telemetry::Record::Annotation(_))).count();
        assert_eq!(annotations, ANNOTATIONS - 1);
    }
}
