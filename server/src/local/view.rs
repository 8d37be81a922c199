//! What a terminal shows of a job: a pure function of its records and the time.
//!
//! Two kinds of lines come out. Those that stay (output, ends of stages and
//! tasks, errors) are given back once, by [`View::record`]; those that move
//! (what runs now and for how long) are asked for with the time, as often as
//! the screen is painted. Where nothing can move, the first kind alone tells
//! the whole story.

use std::collections::{BTreeMap, HashMap};

use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::{Annotation, Stage, State},
    trace::{SpanKind, Stream},
};

use crate::{
    executor::Conclusion,
    telemetry::{JOB_SPAN, Record},
    terminal::text::{Look, Paint, cut, duration, pad, ticking, width},
};

/// Columns for names, so that durations stand below each other.
const NAMES: usize = 28;
/// A name before a line is not longer than this.
const PREFIX: usize = 24;
/// How much of what runs is looked at: more is on no screen.
const MOST: usize = 200;
/// How deep what runs inside a task is shown.
const DEPTH: u32 = 3;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// One span, as far as a terminal shows it.
#[derive(Clone, Debug)]
struct Seen {
    parent: Option<SpanId>,
    kind: SpanKind,
    stage: Option<Stage>,
    name: String,
    began: Timestamp,
    state: State,
    notes: Vec<String>,
    /// Why it fails, as it said before its end.
    said: Option<String>,
    /// Its place among all spans.
    place: usize,
}

impl Seen {
    /// Whether it is a task, a process or a stage, rather than something inside one.
    const fn is_part(&self) -> bool {
        matches!(self.kind, SpanKind::Stage | SpanKind::Task)
    }

    /// Whether it is worth a line of its own when it ends.
    fn is_told(&self) -> bool {
        match self.kind {
            SpanKind::Task | SpanKind::Build => true,
            SpanKind::Stage => match self.stage {
                Some(Stage::Queue | Stage::Teardown) => false,
                // It says itself what there was.
                Some(Stage::Outputs) => self.state != State::Success,
                _ => true,
            },
            _ => false,
        }
    }
}

/// The state of a job, as it is shown.
#[derive(Debug)]
pub(super) struct View {
    paint: Paint,
    began: Timestamp,
    spans: HashMap<SpanId, Seen>,
    /// What runs, in the order in which it began.
    open: BTreeMap<usize, SpanId>,
    /// Those of them that are tasks, processes or stages.
    parts: BTreeMap<usize, SpanId>,
    /// What the last line was of, if its name stands above it.
    headed: Option<SpanId>,
    ended: Vec<SpanId>,
    cancelling: bool,
}

impl View {
    pub(super) fn new(colours: bool, began: Timestamp) -> Self {
        Self {
            paint: Paint { colours },
            began,
            spans: HashMap::new(),
            open: BTreeMap::new(),
            parts: BTreeMap::new(),
            headed: None,
            ended: Vec::new(),
            cancelling: false,
        }
    }

    /// Takes one more record in, and gives the lines that stay because of it.
    pub(super) fn record(&mut self, record: &Record) -> Vec<String> {
        match record {
            Record::Opened { id, parent, kind, stage, name, time, .. } => {
                let seen = Seen {
                    parent: *parent,
                    kind: *kind,
                    stage: *stage,
                    name: self.paint.line(name),
                    began: *time,
                    state: State::Running,
                    notes: Vec::new(),
                    said: None,
                    place: self.spans.len(),
                };
                if *id != JOB_SPAN {
                    self.open.insert(seen.place, *id);
                }
                if seen.is_part() {
                    self.parts.insert(seen.place, *id);
                }
                self.spans.insert(*id, seen);
                Vec::new()
            }
            Record::Closed { id, time, state, attributes } => {
                let Some(seen) = self.spans.get_mut(id) else { return Vec::new() };
                self.open.remove(&seen.place);
                self.parts.remove(&seen.place);
                seen.state = *state;
                seen.notes = notes(*state, |key| attributes.get(key).map(String::as_str));
                // Both say how it failed; its own words say more.
                if let Some(said) = seen.said.take() {
                    let plain = format!("task {} failed with {}", seen.name, seen.notes.join(", "));
                    if said != plain {
                        seen.notes = vec![said];
                    }
                }
                if *id == JOB_SPAN || !seen.is_told() {
                    return Vec::new();
                }
                if seen.kind == SpanKind::Task {
                    self.ended.push(*id);
                }
                let seen = seen.clone();
                if self.headed == Some(*id) {
                    self.headed = None;
                }
                vec![self.end(*id, &seen, *time)]
            }
            Record::Line { span, stream, text, .. } => self.line(*span, *stream, text),
            Record::Annotation(annotation) => self.annotation(annotation),
        }
    }

    fn end(&self, id: SpanId, seen: &Seen, time: Timestamp) -> String {
        let inside = self.owner(id).is_some_and(|owner| owner != id);
        let (mark, look) = mark(seen.state);
        let name =
            if seen.kind == SpanKind::Build { format!("build {}", seen.name) } else { seen.name.clone() };
        let indent = if inside { "  " } else { "" };
        let took = duration(time.signed_duration_since(seen.began));
        let name = pad(&name, NAMES.saturating_sub(indent.len()));
        let words =
            if seen.notes.is_empty() { String::new() } else { format!("  {}", seen.notes.join(", ")) };
        let rest = self.paint.paint(Look::Dim, &format!("{took:>10}"));
        let words = if is_bad(seen.state) {
            self.paint.paint(Look::Bad, &words)
        } else {
            self.paint.paint(Look::Dim, &words)
        };
        format!("{indent}{} {name}{rest}{words}", self.paint.paint(look, mark))
    }

    /// The part of the job that a span belongs to.
    fn owner(&self, span: SpanId) -> Option<SpanId> {
        let mut at = span;
        loop {
            let seen = self.spans.get(&at)?;
            match seen.parent {
                _ if seen.is_part() => return Some(at),
                Some(parent) => at = parent,
                None => return None,
            }
        }
    }

    fn line(&mut self, span: SpanId, stream: Stream, text: &str) -> Vec<String> {
        let owner = self.owner(span).unwrap_or(span);
        let mut text = self.paint.line(text);
        if stream == Stream::System {
            // The guest's own words on what the end of the same part says anyway.
            let evaluates = self.spans.get(&owner).is_some_and(|seen| seen.stage == Some(Stage::Evaluate));
            if evaluates || text.starts_with("Skipped: ") {
                return Vec::new();
            }
            text = self.paint.paint(Look::Dim, &text);
        }
        let name = self.spans.get(&owner).map(|seen| seen.name.clone()).unwrap_or_default();
        if self.parts.len() > 1 {
            let running = self.parts.values().take(MOST).filter_map(|id| self.spans.get(id));
            let longest = running.map(|seen| width(&seen.name)).max().unwrap_or_default();
            let name = pad(&cut(&name, PREFIX), longest.min(PREFIX));
            self.headed = None;
            let name = self.paint.paint(Look::Moving, &name);
            return vec![format!("{name} {} {text}", self.paint.paint(Look::Dim, "│"))];
        }
        let mut lines = Vec::new();
        if self.headed != Some(owner) {
            self.headed = Some(owner);
            lines.push(format!(
                "{} {}",
                self.paint.paint(Look::Moving, "▸"),
                self.paint.paint(Look::Bold, &name)
            ));
        }
        lines.push(format!("  {text}"));
        lines
    }

    fn annotation(&mut self, annotation: &Annotation) -> Vec<String> {
        // That a task failed stands where it ends.
        if annotation.file.is_none()
            && !annotation.message.trim_end().contains('\n')
            && let Some(id) = annotation.span.and_then(|span| self.owner(span))
            && let Some(seen) = self.spans.get_mut(&id)
            && seen.kind == SpanKind::Task
            && seen.state == State::Running
        {
            seen.said = Some(self.paint.line(&annotation.message));
            return Vec::new();
        }
        self.headed = None;
        let place = match (&annotation.file, annotation.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => {
                let owner = annotation.span.and_then(|span| self.owner(span));
                owner.and_then(|id| self.spans.get(&id)).map(|seen| seen.name.clone()).unwrap_or_default()
            }
        };
        let mut message = annotation.message.lines().map(|line| self.paint.line(line));
        let mut lines = Vec::new();
        if place.is_empty() {
            let first = message.next().unwrap_or_default();
            lines.push(self.paint.paint(Look::Bad, &format!("! {first}")));
        } else {
            lines.push(self.paint.paint(Look::Bad, &format!("! {}", self.paint.line(&place))));
        }
        lines.extend(message.map(|line| format!("  {line}")));
        lines
    }

    /// Somebody asked for the end. Gives the line that says so.
    pub(super) fn cancel(&mut self, grace_seconds: u64) -> Vec<String> {
        self.cancelling = true;
        let words = format!(
            "Cancelling: its commands have {grace_seconds} s to end. Ctrl+C again kills the machine."
        );
        vec![self.paint.paint(Look::Warn, &words)]
    }

    /// What runs now, at most `height` lines of at most `width` columns.
    pub(super) fn moving(&self, now: Timestamp, columns: usize, height: usize) -> Vec<String> {
        let since = |time: Timestamp| now.signed_duration_since(time);
        let frame = usize::try_from(since(self.began).num_milliseconds().max(0) / 100).unwrap_or_default();
        let spinner = SPINNER.get(frame % SPINNER.len()).copied().unwrap_or("*");
        let mut lines = Vec::new();
        let mut hidden = 0_usize;
        for id in self.in_order() {
            let Some(seen) = self.spans.get(&id) else { continue };
            let depth = self.depth(id);
            if depth >= DEPTH {
                continue;
            }
            if lines.len() + 2 >= height {
                hidden += usize::from(seen.is_part());
                continue;
            }
            let indent = "  ".repeat(usize::try_from(depth).unwrap_or_default());
            let room = columns.saturating_sub(indent.len() + 2);
            let name = cut(&seen.name, NAMES.max(room / 2).saturating_sub(indent.len()));
            let name = pad(&name, NAMES.saturating_sub(indent.len()));
            let text = cut(&format!("{name}{:>10}", ticking(since(seen.began))), room);
            lines.push(format!("{indent}{} {text}", self.paint.paint(Look::Moving, spinner)));
        }
        if lines.is_empty() && hidden == 0 {
            lines.push(format!("{} …", self.paint.paint(Look::Moving, spinner)));
        }
        let mut status = vec![ticking(since(self.began))];
        if hidden > 0 {
            status.push(format!("{hidden} more running"));
        }
        status.extend(self.tally());
        status.push(if self.cancelling { "cancelling" } else { "Ctrl+C cancels" }.to_owned());
        lines.push(self.paint.paint(Look::Dim, &cut(&format!("  {}", status.join(" · ")), columns)));
        lines
    }

    /// What runs, each below what it is a part of.
    fn in_order(&self) -> Vec<SpanId> {
        let mut inner: HashMap<Option<SpanId>, Vec<SpanId>> = HashMap::new();
        for id in self.open.values().take(MOST) {
            inner.entry(self.open_parent(*id)).or_default().push(*id);
        }
        let mut order = Vec::new();
        let mut pile = inner.remove(&None).unwrap_or_default();
        pile.reverse();
        while let Some(id) = pile.pop() {
            order.push(id);
            pile.extend(inner.remove(&Some(id)).unwrap_or_default().into_iter().rev());
        }
        order
    }

    /// What a span is a part of, if that is still open.
    fn open_parent(&self, id: SpanId) -> Option<SpanId> {
        let parent = self.spans.get(&id)?.parent?;
        self.open.contains_key(&self.spans.get(&parent)?.place).then_some(parent)
    }

    fn depth(&self, id: SpanId) -> u32 {
        let mut depth = 0;
        let mut at = id;
        while let Some(parent) = self.open_parent(at)
            && depth < DEPTH
        {
            at = parent;
            depth += 1;
        }
        depth
    }

    /// How many tasks ended, and how.
    fn tally(&self) -> Vec<String> {
        let states: Vec<_> =
            self.ended.iter().filter_map(|id| self.spans.get(id)).map(|seen| seen.state).collect();
        let count = |wanted: &dyn Fn(State) -> bool| states.iter().filter(|state| wanted(**state)).count();
        [
            (count(&|state| state == State::Success), "done"),
            (count(&is_bad), "failed"),
            (count(&|state| state == State::Skip), "skipped"),
            (count(&|state| state == State::Cancellation), "cancelled"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect()
    }

    /// The last lines.
    pub(super) fn conclusion(&self, conclusion: &Conclusion, now: Timestamp) -> Vec<String> {
        let (mark, look) = mark(conclusion.state);
        let took = duration(now.signed_duration_since(self.began));
        let mut head = format!("{mark} {} after {took}", conclusion.state);
        let tally = self.tally();
        if !tally.is_empty() {
            head = format!("{head} ({})", tally.join(", "));
        }
        let mut lines = vec![self.paint.paint(look, &head)];
        if let Some(reason) = &conclusion.reason {
            lines.extend(reason.lines().map(|line| format!("  {}", self.paint.line(line))));
        }
        if conclusion.dropped_lines > 0 {
            let words = format!(
                "  {} lines are missing above: the job wrote more than is kept",
                conclusion.dropped_lines
            );
            lines.push(self.paint.paint(Look::Warn, &words));
        }
        lines
    }
}

const fn is_bad(state: State) -> bool {
    matches!(state, State::Failure | State::Error | State::Timeout)
}

const fn mark(state: State) -> (&'static str, Look) {
    match state {
        State::Success => ("✓", Look::Good),
        State::Failure | State::Error | State::Timeout => ("✗", Look::Bad),
        State::Cancellation | State::Skip => ("–", Look::Warn),
        State::Queued | State::Running => ("·", Look::Moving),
    }
}

/// What of a span's attributes stands beside its end.
fn notes<'a>(state: State, attribute: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(status) = attribute("process.exit.code").filter(|status| *status != "0") {
        notes.push(format!("exit status {status}"));
    }
    match attribute("devenv.task.skip_reason") {
        Some(reason) => notes.push(format!("skipped: {reason}")),
        None if matches!(state, State::Skip | State::Timeout | State::Cancellation) => {
            notes.push(state.to_string());
        }
        None => {}
    }
    if state == State::Success && attribute("devenv.evaluator") == Some("builtin") {
        notes.push("built-in evaluator".to_owned());
    }
    if attribute("devenv.task.cached") == Some("true") {
        notes.push("cached".to_owned());
    }
    if attribute("devenv_cloud.machine.accelerator") == Some("tcg") {
        notes.push("emulated, see `doctor`".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
