//! The lines of a log that this page has, by their place in it.
//!
//! A log may have a million lines; the page holds the windows that the reader
//! has looked at, and knows how many lines there are in all. Places count from
//! 0 within the log as it is filtered (all of the attempt, or one span).

use std::collections::{BTreeMap, BTreeSet};

use devenv_cloud_api::trace::{LogLine, LogWindow};

/// Lines are fetched this many at a time, in windows that begin at a multiple of it.
pub const WINDOW: usize = 500;

/// At most this many windows are kept; the ones farthest from the reader go first.
const KEPT: usize = 40;

/// Some lines of a log.
#[derive(Clone, Debug, Default)]
pub struct LogStore {
    lines: BTreeMap<usize, LogLine>,
    asked: BTreeSet<usize>,
    /// How many lines the log has.
    pub total: usize,
    /// How many were cut because the job wrote more than it may.
    pub dropped: u64,
}

impl LogStore {
    /// Takes in a window whose first line stands at `from`.
    pub fn insert(&mut self, from: usize, window: LogWindow) {
        self.asked.remove(&(from / WINDOW));
        self.total = self.total.max(usize::try_from(window.total).unwrap_or(usize::MAX));
        self.dropped = self.dropped.max(window.dropped);
        for (i, line) in window.lines.into_iter().enumerate() {
            self.lines.insert(from + i, line);
        }
    }

    /// Takes in live lines, which stand at the end. A line that is known
    /// already (the stream may overlap what was fetched) changes nothing.
    pub fn append(&mut self, lines: impl IntoIterator<Item = LogLine>) {
        for line in lines {
            let newest = self.lines.last_key_value();
            if newest.is_some_and(|(_, last)| line.number <= last.number) {
                continue;
            }
            // Without a filter a line's number says its place; with one, it follows the last.
            self.lines.insert(self.total, line);
            self.total += 1;
        }
    }

    /// The line at this place, if it is here.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&LogLine> {
        self.lines.get(&place)
    }

    /// Where the line with this number stands, if it is here.
    #[must_use]
    pub fn place_of(&self, number: u64) -> Option<usize> {
        self.lines.iter().find(|(_, line)| line.number == number).map(|(place, _)| *place)
    }

    /// The lines at the end that come after this number, with their places.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (usize, &LogLine)> {
        let newer = self.lines.iter().rev().take_while(|(_, line)| line.number > number).count();
        self.lines.iter().skip(self.lines.len() - newer).map(|(place, line)| (*place, line))
    }

    /// The windows to fetch so that `from..to` is here. Each is named once.
    pub fn missing(&mut self, from: usize, to: usize) -> Vec<usize> {
        let to = to.min(self.total);
        let mut windows = Vec::new();
        if from >= to {
            return windows;
        }
        for window in from / WINDOW..=(to - 1) / WINDOW {
            let lacks = (window * WINDOW..((window + 1) * WINDOW).min(self.total))
                .filter(|place| (from..to).contains(place))
                .any(|place| !self.lines.contains_key(&place));
            if lacks && self.asked.insert(window) {
                windows.push(window);
            }
        }
        windows
    }

    /// A fetch of this window did not succeed; it may be tried again.
    pub fn give_up(&mut self, window: usize) {
        self.asked.remove(&window);
    }

    /// Lets go of what is far from the reader.
    pub fn trim(&mut self, around: usize) {
        if self.lines.len() <= (KEPT + 10) * WINDOW {
            return;
        }
        let reach = KEPT / 2 * WINDOW;
        let (low, high) = (around.saturating_sub(reach), around.saturating_add(reach));
        // The end stays: live lines are compared with it.
        let end = self.total.saturating_sub(WINDOW);
        self.lines.retain(|place, _| (low..high).contains(place) || *place >= end);
    }
}

#[cfg(test)]
mod tests {
    use devenv_cloud_api::{ids::SpanId, trace::Stream};

    use super::*;

    fn line(number: u64) -> LogLine {
        LogLine {
            number,
            span: SpanId(1),
            stream: Stream::Stdout,
            time: chrono::DateTime::default(),
            text: format!("line {number}"),
        }
    }

    fn window(numbers: std::ops::Range<u64>, total: u64) -> LogWindow {
        LogWindow { lines: numbers.map(line).collect(), total, dropped: 0, seq: 0 }
    }

    #[test]
    fn only_what_lacks_is_asked_for_and_once() {
        let mut store = LogStore::default();
        store.insert(0, window(1..501, 10_000));
        assert_eq!(store.missing(0, 500), Vec::<usize>::new());
        assert_eq!(store.missing(450, 1_100), vec![1, 2]);
        assert_eq!(store.missing(450, 1_100), Vec::<usize>::new());
        store.give_up(2);
        assert_eq!(store.missing(450, 1_100), vec![2]);
        assert_eq!(store.missing(9_990, 20_000), vec![19]);
    }

    #[test]
    fn live_lines_that_overlap_are_taken_once() {
        let mut store = LogStore::default();
        store.insert(0, window(1..4, 3));
        store.append([line(2), line(3), line(4), line(5)]);
        assert_eq!(store.total, 5);
        assert_eq!(store.get(4).map(|l| l.number), Some(5));
        assert_eq!(store.place_of(4), Some(3));
        assert_eq!(
            store.after(3).map(|(place, line)| (place, line.number)).collect::<Vec<_>>(),
            [(3, 4), (4, 5)]
        );
    }

    #[test]
    fn what_is_far_away_is_let_go() {
        let mut store = LogStore::default();
        store.insert(0, window(1..60_001, 1_000_000));
        store.trim(50_000);
        assert!(store.get(0).is_none());
        assert!(store.get(50_000).is_some());
        assert_eq!(store.total, 1_000_000);
    }
}
