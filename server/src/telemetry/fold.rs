//! From records to spans: what a trace is, folded from what happened.

use std::collections::{BTreeMap, HashMap};

use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::{Stage, State},
    trace::{Span, SpanKind, Trace},
};

use super::chunk::{self, Stored};

/// One span, as far as it is known.
#[derive(Clone, Debug)]
struct Node {
    id: u64,
    parent: Option<usize>,
    depth: u32,
    kind: SpanKind,
    stage: Option<Stage>,
    name: String,
    started_at: Timestamp,
    end: Option<(State, Timestamp)>,
    lines: u64,
    attributes: BTreeMap<String, String>,
}

/// The spans of an attempt up to a sequence number.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// Up to which record this is true.
    pub(super) seq: u64,
    nodes: Vec<Node>,
    index: HashMap<u64, usize>,
    /// Where spans hang that name no parent, or one that was never opened.
    root: Option<usize>,
}

impl Folded {
    /// [`Folded::apply`] for a record that was not stored.
    pub(crate) fn take(&mut self, seq: u64, record: &super::Record) {
        self.apply(seq, &Stored::of(record));
    }

    /// Takes one more record in. `seq` is its number.
    pub(super) fn apply(&mut self, seq: u64, record: &Stored) {
        self.seq = self.seq.max(seq);
        match record {
            Stored::Opened { id, parent, kind, stage, name, time, attributes } => {
                if self.index.contains_key(id) {
                    return;
                }
                let parent = parent.and_then(|parent| self.index.get(&parent).copied()).or(self.root);
                let position = self.nodes.len();
                let kind = chunk::kind(kind);
                if parent.is_none() && kind == SpanKind::Job {
                    self.root = Some(position);
                }
                self.index.insert(*id, position);
                self.nodes.push(Node {
                    id: *id,
                    parent,
                    depth: parent.map_or(0, |parent| self.nodes.get(parent).map_or(0, |p| p.depth + 1)),
                    kind,
                    stage: chunk::stage(stage.as_ref())
                        .or_else(|| parent.and_then(|parent| self.nodes.get(parent)?.stage)),
                    name: name.clone(),
                    started_at: chunk::instant(*time),
                    end: None,
                    lines: 0,
                    attributes: attributes.clone(),
                });
            }
            Stored::Closed { id, time, state, attributes } => {
                if let Some(node) = self.node(*id) {
                    // The first end counts: a span does not end twice.
                    node.end.get_or_insert((chunk::state(state), chunk::instant(*time)));
                    node.attributes.extend(attributes.clone());
                }
            }
            Stored::Line { span, .. } => {
                if let Some(node) = self.node(*span) {
                    node.lines += 1;
                }
            }
            Stored::Lines { span, count } => {
                if let Some(node) = self.node(*span) {
                    node.lines = *count;
                }
            }
            Stored::Annotation | Stored::Dropped => {}
        }
    }

    fn node(&mut self, id: u64) -> Option<&mut Node> {
        self.index.get(&id).and_then(|position| self.nodes.get_mut(*position))
    }

    /// How many spans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Up to which record this is true.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// How many lines each span has, as records.
    pub(super) fn counts(&self) -> impl Iterator<Item = Stored> + '_ {
        self.nodes
            .iter()
            .filter(|node| node.lines > 0)
            .map(|node| Stored::Lines { span: node.id, count: node.lines })
    }

    fn show(&self, node: &Node, end: Option<(State, Timestamp)>) -> Span {
        let over = node.end.or(end);
        Span {
            id: SpanId(node.id),
            parent: node.parent.and_then(|parent| self.nodes.get(parent)).map(|parent| SpanId(parent.id)),
            kind: node.kind,
            stage: node.stage,
            name: node.name.clone(),
            state: over.map_or(State::Running, |(state, _)| state),
            started_at: node.started_at,
            finished_at: over.map(|(_, time)| time.max(node.started_at)),
            depth: node.depth,
            lines: node.lines,
            attributes: node.attributes.clone(),
        }
    }

    /// One span as it is now.
    #[must_use]
    pub fn span(&self, id: SpanId, end: Option<(State, Timestamp)>) -> Option<Span> {
        let position = self.index.get(&id.0)?;
        self.nodes.get(*position).map(|node| self.show(node, end))
    }

    /// The spans in depth-first order, siblings by start, at most `limit`.
    /// `end` is how and when the attempt ended: it ended what was still open.
    #[must_use]
    pub fn trace(&self, end: Option<(State, Timestamp)>, limit: usize) -> Trace {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut top = Vec::new();
        for (position, node) in self.nodes.iter().enumerate() {
            match node.parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(position),
                None => top.push(position),
            }
        }
        // A pile instead of recursion: how deep spans nest is the guest's choice.
        let start = |position: &usize| self.nodes.get(*position).map(|node| node.started_at);
        let mut pile = top;
        pile.sort_by_key(start);
        pile.reverse();
        let mut spans = Vec::with_capacity(self.nodes.len().min(limit));
        while let Some(position) = pile.pop() {
            if spans.len() == limit {
                break;
            }
            if let Some(node) = self.nodes.get(position) {
                spans.push(self.show(node, end));
            }
            if let Some(inner) = children.get_mut(position) {
                inner.sort_by_key(start);
                pile.extend(inner.iter().rev());
            }
        }
        Trace { spans, total: self.nodes.len() as u64, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: u64, parent: Option<u64>, time: i64) -> Stored {
        Stored::Opened {
            id,
            parent,
            kind: if id == 1 { "job" } else { "command" }.to_owned(),
            stage: (id == 2).then(|| "evaluate".to_owned()),
            name: format!("span {id}"),
            time,
            attributes: BTreeMap::new(),
        }
    }

    fn closed(id: u64, time: i64) -> Stored {
        Stored::Closed { id, time, state: "success".to_owned(), attributes: BTreeMap::new() }
    }

    fn fold(records: &[Stored]) -> Folded {
        let mut folded = Folded::default();
        for (seq, record) in (1..).zip(records) {
            folded.apply(seq, record);
        }
        folded
    }

    fn shape(trace: &Trace) -> Vec<(u64, u32)> {
        trace.spans.iter().map(|span| (span.id.0, span.depth)).collect()
    }

    #[test]
    fn spans_come_depth_first_and_siblings_by_start() {
        let folded = fold(&[
            opened(1, None, 0),
            opened(3, Some(1), 50),
            opened(2, Some(1), 10),
            opened(4, Some(2), 20),
            closed(4, 30),
        ]);
        let trace = folded.trace(None, usize::MAX);
        assert_eq!(shape(&trace), [(1, 0), (2, 1), (4, 2), (3, 1)]);
        assert_eq!(trace.seq, 5);
        assert_eq!(trace.spans[2].state, State::Success);
        assert_eq!(trace.spans[2].stage, Some(Stage::Evaluate), "it is inside that stage");
        assert_eq!(trace.spans[3].state, State::Running);
    }

    #[test]
    fn a_span_of_a_parent_that_nobody_opened_hangs_under_the_job() {
        let trace = fold(&[opened(1, None, 0), opened(9, Some(77), 5)]).trace(None, usize::MAX);
        assert_eq!(shape(&trace), [(1, 0), (9, 1)]);
        assert_eq!(trace.spans[1].parent, Some(SpanId(1)));
    }

    #[test]
    fn the_end_of_the_attempt_ends_what_was_open() {
        let folded = fold(&[opened(1, None, 0), opened(2, Some(1), 5), closed(2, 7)]);
        let end = Some((State::Error, chunk::instant(100)));
        let trace = folded.trace(end, usize::MAX);
        assert_eq!(trace.spans[0].state, State::Error);
        assert_eq!(trace.spans[0].finished_at, Some(chunk::instant(100)));
        assert_eq!(trace.spans[1].state, State::Success);
    }

    #[test]
    fn a_span_is_opened_once_and_ends_once() {
        let folded = fold(&[
            opened(1, None, 0),
            opened(1, None, 9),
            closed(1, 5),
            Stored::Closed { id: 1, time: 8, state: "failure".to_owned(), attributes: BTreeMap::new() },
        ]);
        let trace = folded.trace(None, usize::MAX);
        assert_eq!(trace.total, 1);
        assert_eq!(trace.spans[0].state, State::Success);
    }

    #[test]
    fn a_cut_answer_says_how_many_there_are() {
        let records: Vec<_> = (1..=100).map(|id| opened(id, Some(1), 0)).collect();
        let trace = fold(&records).trace(None, 10);
        assert_eq!((trace.spans.len(), trace.total), (10, 100));
    }

    #[test]
    fn a_hundred_thousand_nested_spans_overflow_nothing() {
        let records: Vec<_> = (1..=100_000).map(|id| opened(id, id.checked_sub(1), 0)).collect();
        let trace = fold(&records).trace(None, usize::MAX);
        assert_eq!(trace.spans.last().map(|span| span.depth), Some(99_999));
    }
}
