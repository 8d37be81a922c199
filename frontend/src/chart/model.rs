//! Spans as rows.
//!
//! The server sends spans depth-first; live ones come in any order and change.
//! The order is made anew when the tree changes, and rows are chosen from it.

use std::collections::{HashMap, HashSet};

use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::State,
    trace::{Span, SpanKind},
};

/// All spans of an attempt that the page knows.
#[derive(Clone, Debug, Default)]
pub struct Model {
    spans: Vec<Span>,
    by_id: HashMap<SpanId, usize>,
    /// Indices into `spans`, depth-first, siblings by start.
    order: Vec<usize>,
    /// For each place in `order`: the place behind its last descendant.
    ends: Vec<usize>,
    depths: Vec<u32>,
}

/// What the reader wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of a name, in lower case.
    pub text: String,
    /// Only this kind.
    pub kind: Option<SpanKind>,
    /// Only this state.
    pub state: Option<State>,
}

impl Filter {
    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.kind.is_none() && self.state.is_none()
    }

    fn matches(&self, span: &Span) -> bool {
        self.kind.is_none_or(|kind| span.kind == kind)
            && self.state.is_none_or(|state| span.state == state)
            && (self.text.is_empty() || span.name.to_lowercase().contains(&self.text))
    }
}

/// One row of the waterfall.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The span.
    pub span: SpanId,
    /// How deep it is nested.
    pub depth: u32,
    /// Whether it has parts.
    pub has_children: bool,
    /// Whether its parts are hidden.
    pub collapsed: bool,
    /// Whether it stands there only because a part of it matches the filter.
    pub context: bool,
}

impl Model {
    /// Takes in the spans of an answer.
    #[must_use]
    pub fn new(spans: Vec<Span>) -> Self {
        let mut model = Self::default();
        model.merge(spans);
        model
    }

    /// Takes in new and changed spans.
    pub fn merge(&mut self, spans: Vec<Span>) {
        let mut moved = false;
        for span in spans {
            if let Some(known) = self.by_id.get(&span.id).and_then(|i| self.spans.get_mut(*i)) {
                moved |= known.parent != span.parent || known.started_at != span.started_at;
                *known = span;
            } else {
                self.by_id.insert(span.id, self.spans.len());
                self.spans.push(span);
                moved = true;
            }
        }
        if moved {
            self.arrange();
        }
    }

    fn arrange(&mut self) {
        let mut children: HashMap<Option<SpanId>, Vec<usize>> = HashMap::new();
        for (i, span) in self.spans.iter().enumerate() {
            // A span whose parent is not here (yet) stands at the top.
            let parent = span.parent.filter(|p| *p != span.id && self.by_id.contains_key(p));
            children.entry(parent).or_default().push(i);
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|i| self.spans.get(*i).map(|s| (s.started_at, s.id)));
        }
        self.order.clear();
        self.ends.clear();
        self.depths.clear();
        // Without recursion: a hostile trace may be as deep as it is long.
        enum Step {
            Enter(usize, u32),
            Leave(usize),
        }
        let mut steps: Vec<Step> = Vec::new();
        let enter_all = |steps: &mut Vec<Step>, parent: Option<SpanId>, depth: u32| {
            if let Some(found) = children.get(&parent) {
                steps.extend(found.iter().rev().map(|i| Step::Enter(*i, depth)));
            }
        };
        enter_all(&mut steps, None, 0);
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(i, depth) => {
                    let place = self.order.len();
                    self.order.push(i);
                    self.depths.push(depth);
                    self.ends.push(place + 1);
                    steps.push(Step::Leave(place));
                    if let Some(span) = self.spans.get(i) {
                        enter_all(&mut steps, Some(span.id), depth + 1);
                    }
                }
                Step::Leave(place) => {
                    if let Some(end) = self.ends.get_mut(place) {
                        *end = self.order.len();
                    }
                }
            }
        }
    }

    /// How many spans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// A span by its id.
    #[must_use]
    pub fn get(&self, id: SpanId) -> Option<&Span> {
        self.by_id.get(&id).and_then(|i| self.spans.get(*i))
    }

    /// Spans in order.
    pub fn in_order(&self) -> impl Iterator<Item = &Span> {
        self.order.iter().filter_map(|i| self.spans.get(*i))
    }

    /// Whether anything still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.spans.iter().any(|s| s.finished_at.is_none())
    }

    /// From the first beginning to the last end; what runs ends now.
    #[must_use]
    pub fn bounds(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let start = self.spans.iter().map(|s| s.started_at).min()?;
        let end = self.spans.iter().map(|s| s.finished_at.unwrap_or(now)).max()?;
        Some((start, end.max(start)))
    }

    /// The rows to draw.
    #[must_use]
    pub fn rows(&self, filter: &Filter, collapsed: &HashSet<SpanId>) -> Vec<Row> {
        let shown = (!filter.is_empty()).then(|| self.matching(filter));
        let mut rows = Vec::new();
        let mut place = 0;
        while let (Some(span), Some(end), Some(depth)) = (
            self.order.get(place).and_then(|i| self.spans.get(*i)),
            self.ends.get(place).copied(),
            self.depths.get(place).copied(),
        ) {
            let has_children = end > place + 1;
            let (visible, context) = match &shown {
                None => (true, false),
                Some(shown) => match shown.get(place).copied().unwrap_or_default() {
                    Shown::No => (false, false),
                    Shown::Context => (true, true),
                    Shown::Match => (true, false),
                },
            };
            // A filter looks through what is collapsed.
            let is_collapsed = shown.is_none() && has_children && collapsed.contains(&span.id);
            if visible {
                rows.push(Row { span: span.id, depth, has_children, collapsed: is_collapsed, context });
            }
            place = if is_collapsed || !visible && shown.is_none() { end } else { place + 1 };
        }
        rows
    }

    fn matching(&self, filter: &Filter) -> Vec<Shown> {
        let mut shown = vec![Shown::No; self.order.len()];
        let mut above: Vec<usize> = Vec::new();
        for (place, span) in self.in_order().enumerate() {
            above.retain(|p| self.ends.get(*p).is_some_and(|end| *end > place));
            if filter.matches(span) {
                if let Some(mark) = shown.get_mut(place) {
                    *mark = Shown::Match;
                }
                for p in &above {
                    if let Some(mark) = shown.get_mut(*p).filter(|m| **m == Shown::No) {
                        *mark = Shown::Context;
                    }
                }
            }
            above.push(place);
        }
        shown
    }

    /// The spans that decided how long it took: from the end backwards, always
    /// the part that ended last before what follows it began.
    #[must_use]
    pub fn critical_path(&self, now: Timestamp) -> HashSet<SpanId> {
        let mut path = HashSet::new();
        let Some(root) = self.in_order().next() else { return path };
        let mut children: HashMap<SpanId, Vec<&Span>> = HashMap::new();
        for span in &self.spans {
            if let Some(parent) = span.parent {
                children.entry(parent).or_default().push(span);
            }
        }
        let end_of = |span: &Span| span.finished_at.unwrap_or(now);
        for parts in children.values_mut() {
            parts.sort_by_key(|s| std::cmp::Reverse((end_of(s), s.id)));
        }
        let mut todo = vec![(root, end_of(root))];
        while let Some((span, end)) = todo.pop() {
            if !path.insert(span.id) {
                continue;
            }
            let mut until = end;
            for part in children.get(&span.id).into_iter().flatten() {
                if end_of(part) <= until {
                    until = part.started_at;
                    todo.push((part, end_of(part)));
                }
            }
        }
        path
    }

    /// The failing spans in order: the innermost of each failure.
    #[must_use]
    pub fn failures(&self) -> Vec<SpanId> {
        let bad: HashSet<SpanId> =
            self.spans.iter().filter(|s| crate::components::state::is_bad(s.state)).map(|s| s.id).collect();
        let with_bad_parts: HashSet<SpanId> =
            self.spans.iter().filter(|s| bad.contains(&s.id)).filter_map(|s| s.parent).collect();
        self.in_order()
            .filter(|s| bad.contains(&s.id) && !with_bad_parts.contains(&s.id))
            .map(|s| s.id)
            .collect()
    }

    /// The task that a span is or is a part of, else the stage.
    #[must_use]
    pub fn group_of(&self, id: SpanId) -> Option<&Span> {
        let way = || std::iter::once(id).chain(self.ancestors(id)).filter_map(|id| self.get(id));
        way().find(|s| s.kind == SpanKind::Task).or_else(|| way().find(|s| s.kind == SpanKind::Stage))
    }

    /// Whether lines of more than one group were written.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        let mut groups = self.spans.iter().filter(|s| s.lines > 0).map(|s| self.group_of(s.id).map(|s| s.id));
        groups.next().is_some_and(|first| groups.any(|other| other != first))
    }

    /// All that it is a part of.
    #[must_use]
    pub fn ancestors(&self, id: SpanId) -> Vec<SpanId> {
        let mut found = Vec::new();
        let mut at = self.get(id).and_then(|s| s.parent);
        while let Some(parent) = at.filter(|p| !found.contains(p)) {
            found.push(parent);
            at = self.get(parent).and_then(|s| s.parent);
        }
        found
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    No,
    Context,
    Match,
}

/// Where a bar stands, in percent of the width: its left edge and its width.
#[must_use]
pub fn bar(bounds: (Timestamp, Timestamp), start: Timestamp, end: Timestamp) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a job")]
    let micros = |from: Timestamp, to: Timestamp| (to - from).num_microseconds().unwrap_or(i64::MAX) as f64;
    let whole = micros(bounds.0, bounds.1).max(1.0);
    let left = (micros(bounds.0, start) / whole * 100.0).clamp(0.0, 100.0);
    let width = (micros(start, end) / whole * 100.0).clamp(0.0, 100.0 - left);
    (left, width)
}

/// Round moments for the axis, in milliseconds from the beginning: at most
/// `most` of them, the last one within the whole.
#[must_use]
pub fn ticks(whole_millis: i64, most: i64) -> Vec<i64> {
    const STEPS: [i64; 20] = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
        600_000, 1_800_000, 3_600_000,
    ];
    let step = STEPS.into_iter().find(|step| whole_millis / step < most).unwrap_or(whole_millis / most + 1);
    (0..=whole_millis / step).map(|i| i * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        chrono::DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap_or_default()
    }

    fn span(id: u64, parent: u64, name: &str, from: i64, to: i64) -> Span {
        Span {
            id: SpanId(id),
            parent: (parent > 0).then_some(SpanId(parent)),
            kind: SpanKind::Other,
            stage: None,
            name: name.to_owned(),
            state: State::Success,
            started_at: at(from),
            finished_at: Some(at(to)),
            depth: 0,
            lines: 0,
            attributes: Default::default(),
        }
    }

    fn ids(rows: &[Row]) -> Vec<(u64, u32)> {
        rows.iter().map(|r| (r.span.0, r.depth)).collect()
    }

    fn example() -> Model {
        Model::new(vec![
            span(1, 0, "job", 0, 100),
            span(3, 1, "evaluate", 30, 40),
            span(2, 1, "machine", 0, 30),
            span(4, 3, "import nix", 31, 35),
            span(5, 1, "task: lint", 40, 60),
            span(6, 1, "task: test", 40, 98),
        ])
    }

    #[test]
    fn rows_are_depth_first_and_by_start() {
        let rows = example().rows(&Filter::default(), &HashSet::new());
        assert_eq!(ids(&rows), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 1), (6, 1)]);
    }

    #[test]
    fn live_spans_find_their_place() {
        let mut model = example();
        model.merge(vec![span(9, 2, "boot", 5, 20)]);
        assert_eq!(ids(&model.rows(&Filter::default(), &HashSet::new()))[2], (9, 2));
        let mut late = span(4, 3, "import nix", 31, 39);
        late.state = State::Failure;
        model.merge(vec![late]);
        assert_eq!(model.get(SpanId(4)).map(|s| s.state), Some(State::Failure));
        assert_eq!(model.len(), 7);
    }

    #[test]
    fn what_is_collapsed_hides_its_parts() {
        let rows = example().rows(&Filter::default(), &HashSet::from([SpanId(3)]));
        assert_eq!(ids(&rows), [(1, 0), (2, 1), (3, 1), (5, 1), (6, 1)]);
        assert!(rows[2].collapsed && rows[2].has_children);
    }

    #[test]
    fn a_filter_keeps_the_way_to_what_matches() {
        let filter = Filter { text: "nix".to_owned(), ..Filter::default() };
        let rows = example().rows(&filter, &HashSet::from([SpanId(3)]));
        assert_eq!(ids(&rows), [(1, 0), (3, 1), (4, 2)]);
        assert_eq!(rows.iter().map(|r| r.context).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn the_critical_path_leaves_out_what_did_not_matter() {
        let path = example().critical_path(at(100));
        let mut path: Vec<u64> = path.into_iter().map(|s| s.0).collect();
        path.sort_unstable();
        assert_eq!(path, [1, 2, 3, 4, 6]);
    }

    #[test]
    fn circles_and_orphans_do_no_harm() {
        let model = Model::new(vec![span(1, 7, "orphan", 0, 1), span(2, 2, "own parent", 0, 1)]);
        assert_eq!(model.rows(&Filter::default(), &HashSet::new()).len(), 2);
        // A circle has no top: it is not shown, and nothing hangs.
        let model = Model::new(vec![span(1, 2, "a", 0, 1), span(2, 1, "b", 0, 1)]);
        assert!(model.rows(&Filter::default(), &HashSet::new()).is_empty());
        assert_eq!(model.ancestors(SpanId(1)).len(), 2);
    }

    #[test]
    fn the_innermost_failure_comes_first() {
        let mut spans = vec![span(1, 0, "job", 0, 9), span(2, 1, "task", 1, 8), span(3, 1, "other", 2, 8)];
        spans[0].state = State::Failure;
        spans[1].state = State::Failure;
        assert_eq!(Model::new(spans).failures(), [SpanId(2)]);
    }

    #[test]
    fn lines_belong_to_their_task_or_stage() {
        let mut spans = vec![
            span(1, 0, "job", 0, 9),
            span(2, 1, "task", 1, 8),
            span(3, 2, "process", 2, 8),
            span(4, 1, "x", 2, 8),
        ];
        spans[1].kind = SpanKind::Task;
        spans[3].kind = SpanKind::Stage;
        spans[2].lines = 5;
        let mut model = Model::new(spans.clone());
        let group = |model: &Model, id| model.group_of(SpanId(id)).map(|s| s.id.0);
        assert_eq!([1, 2, 3, 4].map(|id| group(&model, id)), [None, Some(2), Some(2), Some(4)]);
        assert!(!model.has_groups());
        spans[3].lines = 1;
        model.merge(spans);
        assert!(model.has_groups());
    }

    #[test]
    fn bars_stay_inside() {
        let bounds = (at(0), at(200));
        assert_eq!(bar(bounds, at(50), at(100)), (25.0, 25.0));
        assert_eq!(bar(bounds, at(100), at(900)), (50.0, 50.0));
        assert_eq!(bar((at(0), at(0)), at(0), at(0)), (0.0, 0.0));
    }

    #[test]
    fn the_axis_has_round_moments() {
        assert_eq!(ticks(4_200, 6), [0, 1_000, 2_000, 3_000, 4_000]);
        assert_eq!(ticks(0, 6), [0]);
        assert!(ticks(36_000_000, 6).len() <= 12);
    }
}
