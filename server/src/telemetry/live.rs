//! The live stream of an attempt: what is stored, then what comes.
//!
//! A follower is a number, the last record it has seen, and nothing else: it
//! reads the chunks after that number whenever the attempt is said to have
//! changed. So there is no queue that a slow reader could fill, no gap between
//! "stored" and "live", and a reader that comes back with the number goes on
//! where it was.

use std::collections::BTreeSet;

use devenv_cloud_api::{
    ids::{AttemptId, SpanId},
    runs::{Attempt, State},
    trace::{LiveEvent, LogLine},
};
use futures::Stream;
use tokio::sync::broadcast::Receiver;

use super::{
    TelemetryError,
    chunk::Stored,
    read::{self, end_of},
    store::{self, ChunkRow},
};
use crate::{
    app::App,
    db::Topic,
    runs::{self, AttemptRow},
};

/// Lines of one event.
const LINES: usize = 1000;

/// An event, and where a reader that has seen it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The number of the last record that the reader has seen all of; none
    /// where the event is a part of what the next one completes.
    pub seq: Option<u64>,
    /// The event.
    pub event: LiveEvent,
}

struct Follower {
    app: App,
    attempt: AttemptId,
    news: Receiver<Topic>,
    /// The last record that was sent.
    seq: u64,
    /// The attempt as it was last sent.
    shown: Option<Attempt>,
    waiting: std::collections::VecDeque<Event>,
    ended: bool,
}

/// The events of an attempt after record number `after`. Ends when the attempt
/// has ended, and when the server stops.
pub fn attempt_events(
    app: App,
    attempt: AttemptId,
    after: u64,
) -> impl Stream<Item = Result<Event, TelemetryError>> + Send {
    let news = app.db.wakeups().subscribe();
    let follower = Follower {
        app,
        attempt,
        news,
        seq: after,
        shown: None,
        waiting: std::collections::VecDeque::new(),
        ended: false,
    };
    futures::stream::try_unfold(follower, |mut follower| async move {
        loop {
            if let Some(event) = follower.waiting.pop_front() {
                return Ok(Some((event, follower)));
            }
            if follower.ended || (!follower.look().await? && !follower.wait().await) {
                return Ok(None);
            }
        }
    })
}

impl Follower {
    /// Reads what is new into `waiting`. Says whether there was anything.
    async fn look(&mut self) -> Result<bool, TelemetryError> {
        // The attempt first: what is stored after this moment is news again.
        let Some((attempt, row)) = runs::attempt_of(&self.app, self.attempt).await? else {
            self.ended = true;
            return Ok(true);
        };
        if self.shown.is_none() {
            self.waiting
                .push_back(Event { seq: None, event: LiveEvent::Attempt { attempt: attempt.clone() } });
            self.shown = Some(attempt.clone());
        }
        if self.seq < row.last_seq {
            // One page of the index at a time; the caller comes back for more.
            let chunks = store::chunks_after(&self.app.db, self.attempt, self.seq, 8).await?;
            for chunk in chunks {
                let Some(records) = read::load(&self.app, &chunk).await? else { break };
                self.take(&row, &chunk, records).await?;
                // A reader is handed this much at most before it is asked again.
                if self.waiting.len() > 4 {
                    break;
                }
            }
            return Ok(true);
        }
        if self.shown.as_ref() != Some(&attempt) {
            self.waiting
                .push_back(Event { seq: None, event: LiveEvent::Attempt { attempt: attempt.clone() } });
            self.shown = Some(attempt);
        }
        if row.state.is_final() {
            self.waiting.push_back(Event { seq: None, event: LiveEvent::End });
            self.ended = true;
        }
        Ok(!self.waiting.is_empty())
    }

    /// Turns the new records of a chunk into events.
    async fn take(
        &mut self,
        row: &AttemptRow,
        chunk: &ChunkRow,
        records: Vec<Stored>,
    ) -> Result<(), TelemetryError> {
        let mut changed: BTreeSet<u64> = BTreeSet::new();
        let mut lines: Vec<(u64, LogLine)> = Vec::new();
        let mut number = chunk.first_line;
        for (seq, record) in (chunk.first_seq..).zip(records) {
            let new = seq > self.seq;
            match &record {
                Stored::Opened { id, .. } | Stored::Closed { id, .. } if new => {
                    changed.insert(*id);
                }
                _ => {}
            }
            if let Some(line) = record.line(number) {
                number += 1;
                if new {
                    lines.push((seq, line));
                }
            }
        }
        if !changed.is_empty() {
            let folded = read::folded(&self.app, row).await?;
            let end = end_of(row);
            let mut spans: Vec<_> =
                changed.into_iter().filter_map(|id| folded.span(SpanId(id), end)).collect();
            spans.sort_by_key(|span| (span.depth, span.started_at, span.id));
            // No number: a span is told as it is, so hearing of it twice does
            // no harm; a line heard twice would be a line too many. Whoever is
            // cut off between this event and the next hears of the spans again.
            self.waiting.push_back(Event { seq: None, event: LiveEvent::Spans { spans } });
        }
        let mut rest = lines;
        while rest.len() > LINES {
            let later = rest.split_off(LINES);
            let seq = rest.last().map(|(seq, _)| *seq);
            let lines = std::mem::replace(&mut rest, later).into_iter().map(|(_, line)| line).collect();
            self.waiting.push_back(Event { seq, event: LiveEvent::Lines { lines } });
        }
        self.seq = chunk.last_seq;
        if rest.is_empty() {
            // Nothing but spans (or nothing that is shown): its last event carries the number.
            if let Some(last) = self.waiting.back_mut() {
                last.seq = Some(self.seq);
            }
        } else {
            let lines = rest.into_iter().map(|(_, line)| line).collect();
            self.waiting.push_back(Event { seq: Some(self.seq), event: LiveEvent::Lines { lines } });
        }
        Ok(())
    }

    /// Waits for news of the attempt. `false` when the server stops.
    async fn wait(&mut self) -> bool {
        let (app, attempt) = (&self.app, self.attempt);
        let waits = self.shown.as_ref().is_some_and(|attempt| attempt.state == State::Queued);
        let is_mine = |topic| matches!(topic, Topic::Attempt(id) if id == attempt);
        runs::follow(app, &mut self.news, waits, is_mine).await
    }
}
