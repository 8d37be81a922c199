//! Nix's `--log-format internal-json`: one line of standard error at a time
//! becomes spans (builds, fetches) and lines.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::location::{Diagnosis, diagnose, relative, without_escapes};
use crate::{
    protocol::{Level, Outcome, SpanKind, Stage, Stream},
    recorder::{NewSpan, Span},
};

/// Numbers of Nix's `ActivityType` and `ResultType`.
mod number {
    pub(super) const COPY_PATH: u64 = 100;
    pub(super) const FILE_TRANSFER: u64 = 101;
    pub(super) const BUILDS: u64 = 104;
    pub(super) const BUILD: u64 = 105;
    pub(super) const SUBSTITUTE: u64 = 108;
    pub(super) const FETCH_TREE: u64 = 112;
    pub(super) const BUILD_LOG_LINE: u64 = 101;
    pub(super) const SET_PHASE: u64 = 104;
    pub(super) const PROGRESS: u64 = 105;
    pub(super) const POST_BUILD_LOG_LINE: u64 = 107;
    /// Verbosity: what is above is for those who debug Nix.
    pub(super) const INFO: u64 = 3;
}

/// One line after `@nix `.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
enum Event {
    Msg {
        #[serde(default)]
        level: u64,
        msg: String,
        raw_msg: Option<String>,
        #[serde(flatten)]
        place: Place,
        #[serde(default)]
        trace: Vec<Place>,
    },
    Start {
        id: u64,
        #[serde(rename = "type", default)]
        kind: u64,
        #[serde(default)]
        text: String,
        #[serde(default)]
        parent: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Stop {
        id: u64,
    },
    Result {
        id: u64,
        #[serde(rename = "type", default)]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    #[serde(other)]
    Other,
}

/// A place in a file. Some versions of Nix write all of it into `file`.
#[derive(Debug, Default, Deserialize)]
struct Place {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<u32>,
    /// In a trace: what was done there.
    #[serde(default, rename = "raw_msg")]
    what: Option<String>,
}

impl Place {
    /// File and line, when they are in the source.
    fn within(&self, source: &Path) -> Option<(String, Option<u32>)> {
        let file = self.file.as_deref()?;
        let mut parts = file.rsplitn(3, ':');
        match (parts.next(), parts.next().map(str::parse), parts.next()) {
            (Some(_column), Some(Ok(line)), Some(path)) => Some((relative(path, source)?, Some(line))),
            _ => Some((relative(file, source)?, self.line)),
        }
    }
}

/// Reads one command's log.
#[derive(Debug)]
pub struct NixLog {
    source: PathBuf,
    activities: HashMap<u64, Activity>,
    errors: Vec<(Diagnosis, String)>,
    /// Builds that failed, by Nix's own count, and those of them that were found.
    failed: u64,
    found: u64,
}

#[derive(Debug)]
struct Activity {
    kind: u64,
    /// None for what is not worth a span: its children are its parent's.
    span: Option<Span>,
    parent: u64,
    derivation: Option<String>,
}

impl NixLog {
    /// For a command whose files lie in `source`.
    #[must_use]
    pub fn new(source: &Path) -> Self {
        Self {
            source: source.to_owned(),
            activities: HashMap::new(),
            errors: Vec::new(),
            failed: 0,
            found: 0,
        }
    }

    /// Takes a line of standard error of a command that `span` stands for.
    pub fn line(&mut self, span: &Span, line: String) {
        let Some(json) = line.strip_prefix("@nix ") else {
            if self.looks_like_an_error(&line) {
                self.errors.push((diagnose(&line, &self.source), line.clone()));
            }
            span.lines(Stream::Stderr, vec![line]);
            return;
        };
        match serde_json::from_str(json) {
            Ok(event) => self.event(span, event),
            // A newer Nix may say what is not known here: better shown than lost.
            Err(_) => span.lines(Stream::Stderr, vec![line]),
        }
    }

    fn looks_like_an_error(&self, line: &str) -> bool {
        without_escapes(line).trim_start().strip_prefix("error:").is_some_and(|rest| !rest.trim().is_empty())
    }

    fn event(&mut self, span: &Span, event: Event) {
        match event {
            Event::Msg { level, msg, raw_msg, place, trace } => {
                self.message(span, level, &msg, raw_msg, &place, &trace);
            }
            Event::Start { id, kind, text, parent, fields } => {
                let activity = self.start(span, kind, &text, parent, &fields);
                self.activities.insert(id, activity);
            }
            Event::Stop { id } => self.stop(id),
            Event::Result { id, kind, fields } => self.result(span, id, kind, &fields),
            Event::Other => {}
        }
    }

    fn message(
        &mut self,
        span: &Span,
        level: u64,
        text: &str,
        raw: Option<String>,
        place: &Place,
        trace: &[Place],
    ) {
        if level > number::INFO {
            return;
        }
        let plain = without_escapes(text);
        if !plain.trim_start().starts_with("error:") {
            span.lines(Stream::Stderr, text.lines().map(str::to_owned).collect());
        }
        if plain.trim_start().starts_with("error:") {
            let mut diagnosis = diagnose(&plain, &self.source);
            let raw = raw.map(|raw| without_escapes(&raw)).filter(|raw| !raw.trim().is_empty());
            if let Some(raw) = raw {
                diagnosis = diagnose(&format!("error: {}", raw.trim()), &self.source);
            }
            let nearest = || trace.iter().find_map(|place| place.within(&self.source));
            let place = place
                .within(&self.source)
                .or_else(|| diagnosis.file.clone().map(|file| (file, diagnosis.line)).or_else(nearest));
            if let Some((file, line)) = place {
                (diagnosis.file, diagnosis.line) = (Some(file), line);
            }
            // Everything else is relative to the source, too.
            let source = format!("{}/", self.source.display());
            diagnosis.summary = diagnosis.summary.replace(&source, "");
            self.show(span, text, &diagnosis, trace);
            self.errors.push((diagnosis, plain));
        } else if let Some(warning) =
            plain.strip_prefix("trace: ").unwrap_or(&plain).strip_prefix("evaluation warning:")
        {
            span.message(Level::Warning, warning.trim(), None);
        }
    }

    /// The error as lines of the log. Where Nix tells how it got there, only the
    /// places in the project count: the evaluator's own say nothing to a reader.
    fn show(&self, span: &Span, text: &str, diagnosis: &Diagnosis, trace: &[Place]) {
        let mut lines: Vec<String> = Vec::new();
        if trace.is_empty() {
            lines.extend(text.lines().map(str::to_owned));
        } else {
            lines.extend(format!("error: {}", diagnosis.summary).lines().map(str::to_owned));
            let place = |file: &str, line: Option<u32>| match line {
                Some(line) => format!("{file}:{line}"),
                None => file.to_owned(),
            };
            lines.extend(diagnosis.file.iter().map(|file| format!("  at {}", place(file, diagnosis.line))));
            for frame in trace {
                if let Some((file, line)) = frame.within(&self.source) {
                    let what = without_escapes(frame.what.as_deref().unwrap_or_default());
                    lines.push(format!("  … {} at {}", what.trim(), place(&file, line)));
                }
            }
        }
        span.lines(Stream::Stderr, lines);
    }

    fn start(&self, top: &Span, kind: u64, text: &str, parent: u64, fields: &[Value]) -> Activity {
        let field = |index: usize| fields.get(index).and_then(Value::as_str).unwrap_or_default();
        let text = without_escapes(text);
        let new = match kind {
            number::BUILD => {
                let name = derivation_name(field(0));
                let new = NewSpan::new(SpanKind::Build, if name.is_empty() { &text } else { name });
                Some(new.stage(Stage::Build).with("nix.derivation", field(0)))
            }
            number::SUBSTITUTE | number::COPY_PATH => {
                let name = store_name(field(0));
                let new = NewSpan::new(SpanKind::Fetch, if name.is_empty() { &text } else { name });
                let new = new.with("nix.path", field(0));
                let from = field(1);
                Some(if from.is_empty() { new } else { new.with("nix.substituter", from) })
            }
            number::FILE_TRANSFER => Some(NewSpan::new(SpanKind::Fetch, text).with("url.full", field(0))),
            number::FETCH_TREE => Some(NewSpan::new(SpanKind::Fetch, text)),
            _ => None,
        };
        let derivation = (kind == number::BUILD).then(|| field(0).to_owned()).filter(|path| !path.is_empty());
        let span = new.map(|new| self.span_of(parent).unwrap_or(top).open(new));
        Activity { kind, span, parent, derivation }
    }

    /// Nix does not say how an activity ended. But it counts failed builds just
    /// before it ends one, and sometimes an error has named the derivation.
    fn stop(&mut self, id: u64) {
        let Some(activity) = self.activities.remove(&id) else { return };
        let Some(span) = activity.span else { return };
        let counted = activity.kind == number::BUILD && self.found < self.failed;
        self.found += u64::from(counted);
        let named =
            activity.derivation.is_some_and(|path| self.errors.iter().any(|(_, text)| text.contains(&path)));
        span.close(if counted || named { Outcome::Failure } else { Outcome::Success });
    }

    /// The nearest activity with a span, from this one outwards.
    fn span_of(&self, mut id: u64) -> Option<&Span> {
        // A hostile log could make parents a circle.
        for _ in 0..32 {
            let activity = self.activities.get(&id)?;
            if let Some(span) = &activity.span {
                return Some(span);
            }
            id = activity.parent;
        }
        None
    }

    fn result(&mut self, top: &Span, id: u64, kind: u64, fields: &[Value]) {
        if kind == number::PROGRESS {
            if self.activities.get(&id).is_some_and(|activity| activity.kind == number::BUILDS) {
                self.failed = fields.get(3).and_then(Value::as_u64).unwrap_or(self.failed);
            }
            return;
        }
        let text = fields.first().and_then(Value::as_str).unwrap_or_default();
        let span = self.span_of(id).unwrap_or(top);
        match kind {
            number::BUILD_LOG_LINE | number::POST_BUILD_LOG_LINE => {
                span.lines(Stream::Stderr, vec![text.to_owned()]);
            }
            number::SET_PHASE => span.say(text),
            _ => {}
        }
    }

    /// Closes what Nix left open, and says what went wrong, if anything: the last
    /// error is the one that ended the command.
    pub fn finish(mut self, outcome: Outcome) -> Option<(Diagnosis, String)> {
        let mut open: Vec<_> = self.activities.drain().collect();
        open.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        for (_, activity) in open {
            if let Some(span) = activity.span {
                span.close(outcome);
            }
        }
        self.errors.pop()
    }
}

/// "hello-1.0" of "/nix/store/…-hello-1.0".
fn store_name(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or(path);
    base.split_once('-').map_or(base, |(_, name)| name)
}

/// "hello-1.0" of "/nix/store/…-hello-1.0.drv".
fn derivation_name(path: &str) -> &str {
    store_name(path).trim_end_matches(".drv")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::{Finished, GuestMessage, Record, read_message},
        recorder::Recorder,
    };

    /// What a log becomes, and the error in it.
    fn read(lines: &[&str]) -> (Vec<Record>, Option<(Diagnosis, String)>) {
        let recorder = Recorder::default();
        let span = recorder.open(None, NewSpan::new(SpanKind::Evaluation, "evaluate"));
        let mut log = NixLog::new(Path::new("/work/repo"));
        for line in lines {
            log.line(&span, (*line).to_owned());
        }
        let error = log.finish(Outcome::Failure);
        span.close(Outcome::Success);
        recorder.finish(Finished {
            outcome: Outcome::Success,
            reason: String::new(),
            exit_status: None,
            dropped_lines: 0,
        });
        let mut bytes = Vec::new();
        recorder.send_all(&mut bytes, &crate::recorder::Nothing).unwrap();
        let GuestMessage::Records { records, .. } = read_message(&bytes[..]).unwrap() else { panic!() };
        (records, error)
    }

    #[test]
    fn a_build_becomes_a_span_with_its_lines() {
        let (records, error) = read(&[
            r#"@nix {"action":"start","id":7,"level":0,"text":"","type":104}"#,
            r#"@nix {"action":"start","id":8,"level":3,"type":105,"text":"building","parent":7,"fields":["/nix/store/abc-hello-1.drv","",1,1]}"#,
            r#"@nix {"action":"result","id":8,"type":104,"fields":["buildPhase"]}"#,
            r#"@nix {"action":"result","id":8,"type":101,"fields":["hello"]}"#,
            r#"@nix {"action":"stop","id":8}"#,
            r#"@nix {"action":"stop","id":7}"#,
        ]);
        assert_eq!(error, None);
        let Record::SpanOpened { id, parent: Some(1), kind: SpanKind::Build, name, .. } = &records[1] else {
            panic!("{records:?}")
        };
        assert_eq!(name, "hello-1");
        assert!(matches!(&records[3], Record::Line { span, text, .. } if span == id && text == "hello"));
        assert!(matches!(&records[4], Record::SpanClosed { id: 2, outcome: Outcome::Success, .. }));
    }

    #[test]
    fn fields_may_be_absent_and_unknown_actions_are_skipped() {
        let (records, error) = read(&[
            r#"@nix {"action":"start","id":1,"type":108}"#,
            r#"@nix {"action":"setPhase","phase":"x"}"#,
            r#"@nix {"action":"result","id":1,"type":105}"#,
        ]);
        assert_eq!(error, None);
        assert!(
            matches!(&records[2], Record::SpanClosed { id: 2, outcome: Outcome::Failure, .. }),
            "what Nix left open is closed: {records:?}"
        );
    }

    #[test]
    fn an_error_has_file_and_line() {
        let (_, error) = read(&[
            r#"@nix {"action":"msg","column":3,"file":"/work/repo/b.nix","level":0,"line":2,"msg":"\u001b[31;1merror:\u001b[0m undefined variable '\u001b[35;1mfoo\u001b[0m'\n\n       \u001b[34;1mat \u001b[35;1m/work/repo/b.nix:2:3\u001b[0m:\n\n            1| { z =","raw_msg":"undefined variable '\u001b[35;1mfoo\u001b[0m'"}"#,
        ]);
        assert_eq!(error.unwrap().0.in_one_line(), "b.nix:2: undefined variable 'foo'");
    }

    #[test]
    fn a_newer_nix_writes_the_whole_place_into_the_file() {
        let (_, error) = read(&[
            r#"@nix {"action":"msg","column":null,"file":"/work/repo/devenv.nix:4:3","level":0,"line":null,"msg":"error: x","raw_msg":"syntax error"}"#,
        ]);
        assert_eq!(error.unwrap().0.in_one_line(), "devenv.nix:4: syntax error");
    }

    #[test]
    fn an_error_of_the_evaluator_is_placed_by_its_trace() {
        let (_, error) = read(&[
            r#"@nix {"action":"msg","file":"/usr/lib/devenv-cloud/nix/a.nix","level":0,"line":1,"msg":"error: boom","raw_msg":"boom","trace":[{"column":1,"file":"/usr/lib/x.nix","line":3,"raw_msg":"t"},{"column":1,"file":"/work/repo/devenv.nix","line":9,"raw_msg":"t"}]}"#,
        ]);
        assert_eq!(error.unwrap().0.in_one_line(), "devenv.nix:9: boom");
    }

    #[test]
    fn a_failed_build_is_a_failed_span() {
        let (records, error) = read(&[
            r#"@nix {"action":"start","id":8,"type":105,"fields":["/nix/store/abc-bad.drv"]}"#,
            r#"@nix {"action":"msg","level":0,"msg":"error: builder for '/nix/store/abc-bad.drv' failed with exit code 1"}"#,
            r#"@nix {"action":"stop","id":8}"#,
        ]);
        assert!(error.is_some());
        assert!(
            records.iter().any(|r| matches!(r, Record::SpanClosed { id: 2, outcome: Outcome::Failure, .. }))
        );
    }

    #[test]
    fn chatter_is_left_out_and_plain_lines_are_kept() {
        let (records, _) = read(&[
            r#"@nix {"action":"msg","level":4,"msg":"evaluating file '/x'"}"#,
            "plain",
            "@nix no json",
        ]);
        let lines: Vec<_> = records
            .iter()
            .filter_map(|record| match record {
                Record::Line { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(lines, ["plain", "@nix no json"]);
    }

    #[test]
    fn parents_in_a_circle_end() {
        let (records, _) = read(&[
            r#"@nix {"action":"start","id":1,"parent":2,"type":0}"#,
            r#"@nix {"action":"start","id":2,"parent":1,"type":0}"#,
            r#"@nix {"action":"result","id":1,"type":101,"fields":["still here"]}"#,
        ]);
        assert!(records.iter().any(|r| matches!(r, Record::Line { span: 1, .. })));
    }
}
