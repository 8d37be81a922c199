//! devenv's own activity (`devenv --trace-to json:file:PATH`): one JSON line at
//! a time becomes spans, lines and messages. Kinds and events that are not known
//! here are skipped: another version of devenv has others.

use std::{collections::HashMap, path::PathBuf};

use serde::Deserialize;

use super::location::{Diagnosis, diagnose};
use crate::{
    protocol::{Level, Outcome, SpanKind, Stage, Stream},
    recorder::{NewSpan, Span},
};

/// The target of the lines that matter; the others repeat them as spans of
/// devenv's own code.
const TARGET: &str = "devenv_activity::events";

#[derive(Debug, Deserialize)]
struct Line {
    target: String,
    #[serde(default)]
    fields: Fields,
}

#[derive(Debug, Default, Deserialize)]
struct Fields {
    event: Option<Event>,
}

/// Every event of every kind, with what any of them may have.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "activity_kind")]
    kind: String,
    #[serde(default)]
    event: String,
    #[serde(default, alias = "activity_id")]
    id: u64,
    parent: Option<u64>,
    name: Option<String>,
    detail: Option<String>,
    derivation_path: Option<String>,
    url: Option<String>,
    command: Option<String>,
    line: Option<String>,
    #[serde(default)]
    is_error: bool,
    phase: Option<String>,
    status: Option<String>,
    outcome: Option<String>,
    level: Option<String>,
    text: Option<String>,
    details: Option<String>,
    #[serde(default)]
    tasks: Vec<NamedTask>,
}

#[derive(Debug, Deserialize)]
struct NamedTask {
    id: u64,
    name: String,
}

/// Reads the activity of one call of devenv.
#[derive(Debug)]
pub struct Trace {
    source: PathBuf,
    spans: HashMap<u64, Span>,
    tasks: HashMap<u64, String>,
    error: Option<Diagnosis>,
    failed_task: Option<String>,
}

/// What went wrong, as far as the activity tells.
#[derive(Debug, Default)]
pub struct Findings {
    /// The last error.
    pub error: Option<Diagnosis>,
    /// The first task that failed.
    pub failed_task: Option<String>,
}

impl Trace {
    /// For a project whose files lie in `source`.
    #[must_use]
    pub fn new(source: PathBuf) -> Self {
        Self { source, spans: HashMap::new(), tasks: HashMap::new(), error: None, failed_task: None }
    }

    /// Takes a line; `top` stands for the whole call.
    pub fn line(&mut self, top: &Span, line: &str) {
        // A line of another form is another version's: nothing to lose.
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        if line.target == TARGET
            && let Some(event) = line.fields.event
        {
            self.event(top, event);
        }
    }

    fn event(&mut self, top: &Span, event: Event) {
        match (event.kind.as_str(), event.event.as_str()) {
            ("task", "hierarchy") => {
                let named = event.tasks.into_iter().map(|task| (task.id, task.name));
                self.tasks.extend(named);
            }
            ("message", _) => self.message(top, &event),
            (_, "start") => self.start(top, &event),
            (_, "log") => {
                let stream = if event.is_error { Stream::Stderr } else { Stream::Stdout };
                let lines = event.line.unwrap_or_default().lines().map(str::to_owned).collect();
                self.spans.get(&event.id).unwrap_or(top).lines(stream, lines);
            }
            (_, "phase" | "status") => {
                if let Some(words) = event.phase.or(event.status) {
                    self.spans.get(&event.id).unwrap_or(top).say(words);
                }
            }
            (_, "complete") => self.complete(&event),
            _ => {}
        }
    }

    fn start(&mut self, top: &Span, event: &Event) {
        let (kind, stage) = match event.kind.as_str() {
            "build" => (SpanKind::Build, Some(Stage::Build)),
            "fetch" => (SpanKind::Fetch, None),
            "evaluate" => (SpanKind::Evaluation, None),
            "task" | "process" => (SpanKind::Task, Some(Stage::Task)),
            "command" => (SpanKind::Command, None),
            "operation" => (SpanKind::Other, None),
            _ => return,
        };
        // A task's start has only its id; its name came with the hierarchy.
        let known = self.tasks.get(&event.id).cloned();
        let name = event.name.clone().or(known).unwrap_or_else(|| event.kind.clone());
        let mut new = NewSpan::new(kind, &name);
        if let Some(stage) = stage {
            new = new.stage(stage);
        }
        if kind == SpanKind::Task {
            new = new.with("cicd.pipeline.task.name", &name);
        }
        for (key, value) in [
            ("nix.derivation", &event.derivation_path),
            ("url.full", &event.url),
            ("process.command_line", &event.command),
            ("devenv.detail", &event.detail),
        ] {
            if let Some(value) = value {
                new = new.with(key, value);
            }
        }
        let parent = event.parent.and_then(|parent| self.spans.get(&parent)).unwrap_or(top);
        let span = parent.open(new);
        self.spans.insert(event.id, span);
    }

    fn complete(&mut self, event: &Event) {
        let Some(span) = self.spans.remove(&event.id) else { return };
        let outcome = match event.outcome.as_deref() {
            Some("failed") => Outcome::Failure,
            Some("cancelled") => Outcome::Cancellation,
            Some("skipped" | "dependencyfailed") => Outcome::Skip,
            Some("cached") => {
                span.note("devenv.task.cached", "true");
                Outcome::Success
            }
            _ => Outcome::Success,
        };
        if outcome == Outcome::Failure && event.kind == "task" && self.failed_task.is_none() {
            self.failed_task = self.tasks.get(&event.id).cloned();
        }
        span.close(outcome);
    }

    fn message(&mut self, top: &Span, event: &Event) {
        let text = event.text.clone().unwrap_or_default();
        let span = event.parent.and_then(|parent| self.spans.get(&parent)).unwrap_or(top);
        let whole = match &event.details {
            Some(details) => format!("{text}\n{details}"),
            None => text.clone(),
        };
        match event.level.as_deref() {
            Some("error") => {
                let diagnosis = diagnose(&whole, &self.source);
                let place = diagnosis.file.clone().map(|file| (file, diagnosis.line));
                span.message(Level::Error, &diagnosis.summary, place);
                self.error = Some(diagnosis);
            }
            Some("warn") => span.message(Level::Warning, &text, None),
            _ => {}
        }
        span.lines(Stream::Stderr, whole.lines().map(str::to_owned).collect());
    }

    /// Closes what devenv left open, children before parents, and says what went
    /// wrong.
    pub fn finish(self, outcome: Outcome) -> Findings {
        let mut spans: Vec<Span> = self.spans.into_values().collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.id()));
        spans.iter().for_each(|span| span.close(outcome));
        Findings { error: self.error, failed_task: self.failed_task }
    }
}
