//! Searching a log: every line of it is looked at, so that the count is exact
//! whatever the reader has loaded.
//!
//! There is no index of words: a log is written once and searched rarely, and
//! a million lines are read faster than anybody would notice. What keeps it
//! harmless is that chunks are read a few at a time and unpacked off the async
//! threads, that few searches go on at once, and that a reader who goes away
//! takes the search with them.

use std::collections::VecDeque;

use bytes::Bytes;
use devenv_cloud_api::{
    ids::SpanId,
    trace::{LogMatch, LogMatches},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    TelemetryError,
    chunk::{self, ChunkError, Stored},
    read::{bytes_of, strip_ansi},
    store,
};
use crate::{app::AppParts, runs::AttemptRow};

/// Chunks that are unpacked in one go.
const ROWS: u32 = 8;

/// Searches that may go on at once; the others wait.
const AT_ONCE: usize = 2;

/// Lets a few search at once.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What a line must have in it.
    pub text: String,
    /// Whether upper and lower case differ.
    pub case: bool,
    /// Only this span's lines.
    pub span: Option<SpanId>,
    /// Begin with this match, counted from 1.
    pub from: u64,
    /// Where an earlier page ended; wins over `from`.
    pub resume: Option<Resume>,
    /// Matches of this page at most.
    pub limit: usize,
}

/// Where a page ended, and what the first page counted: the pages after it need
/// not look at the whole log again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The number of the next line.
    line: u64,
    /// How many lines stand before it in the log as it was asked for.
    place: u64,
    /// How many matches there are before it.
    found: u64,
    /// How many there are in all.
    count: u64,
    /// The last line that was counted.
    searched: u64,
}

/// A page of matches.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The page, without its cursor.
    pub matches: LogMatches,
    /// Where the next page begins, if there is one.
    pub next: Option<Resume>,
}

/// Searches the log of an attempt.
///
/// # Errors
/// See [`TelemetryError`].
pub async fn search_log(
    app: &AppParts,
    attempt: &AttemptRow,
    wanted: Search,
) -> Result<Found, TelemetryError> {
    // Never closed; and who cannot get a turn may as well go on.
    let _turn = app.telemetry.searches.0.acquire().await;
    let mut scan = Scan::new(&wanted, attempt.line_count);
    let mut missed = None;
    while scan.goes_on() {
        let next = scan.next;
        let rows = store::chunks_with_lines(&app.db, attempt.id, next, ROWS).await?;
        let mut chunks = Vec::new();
        for row in &rows {
            // Compacted under our eyes: read the index again.
            let Some(bytes) = bytes_of(app, row).await? else { break };
            chunks.push((row.first_line, row.lines, bytes));
        }
        if chunks.is_empty() {
            if rows.is_empty() || missed.replace(next) == Some(next) {
                break;
            }
            continue;
        }
        let scanned = tokio::task::spawn_blocking(move || scan.chunks(chunks.into())).await;
        scan = scanned.map_err(|error| ChunkError::Zstd(std::io::Error::other(error)))??;
    }
    Ok(scan.found())
}

/// A search under way.
struct Scan {
    /// In lower case, unless case counts.
    text: String,
    case: bool,
    span: Option<u64>,
    /// Matches to pass over.
    skip: u64,
    limit: usize,
    /// The next line to look at, and the last.
    next: u64,
    last: u64,
    /// Lines of the log as it was asked for, up to here.
    place: u64,
    /// Matches up to here.
    found: u64,
    /// What the first page counted.
    counted: Option<u64>,
    first: u64,
    matches: Vec<LogMatch>,
    /// Where the page became full.
    full: Option<(u64, u64, u64)>,
}

impl Scan {
    fn new(wanted: &Search, lines: u64) -> Self {
        let resume = wanted.resume;
        let skip = if resume.is_some() { 0 } else { wanted.from.max(1) - 1 };
        Self {
            text: if wanted.case { wanted.text.clone() } else { wanted.text.to_lowercase() },
            case: wanted.case,
            span: wanted.span.map(|span| span.0),
            skip,
            limit: wanted.limit.max(1),
            next: resume.map_or(1, |resume| resume.line.max(1)),
            last: resume.map_or(lines, |resume| resume.searched.min(lines)),
            place: resume.map_or(0, |resume| resume.place),
            found: resume.map_or(0, |resume| resume.found),
            counted: resume.map(|resume| resume.count),
            first: resume.map_or(skip, |resume| resume.found).saturating_add(1),
            matches: Vec::new(),
            full: None,
        }
    }

    /// Whether there is more to look at: all lines on the first page, on a later
    /// one only until it is full.
    fn goes_on(&self) -> bool {
        self.next <= self.last && (self.counted.is_none() || self.full.is_none())
    }

    fn chunks(mut self, mut chunks: VecDeque<(u64, u64, Bytes)>) -> Result<Self, TelemetryError> {
        let (mut plain, mut lower) = (String::new(), String::new());
        while let Some((first_line, lines, bytes)) = chunks.pop_front() {
            let records = if bytes.is_empty() { Vec::new() } else { chunk::decode(&bytes)? };
            let mut number = first_line;
            for record in records {
                let Stored::Line { span, text, .. } = record else { continue };
                let this = number;
                number += 1;
                if this < self.next || this > self.last || !self.goes_on() {
                    continue;
                }
                self.next = this + 1;
                if self.span.is_some_and(|wanted| wanted != span) {
                    continue;
                }
                self.place = self.place.saturating_add(1);
                if self.has(&text, &mut plain, &mut lower) {
                    self.take(LogMatch { number: this, place: self.place });
                }
            }
            if self.goes_on() {
                self.next = self.next.max(first_line + lines);
            }
        }
        Ok(self)
    }

    fn has(&self, line: &str, plain: &mut String, lower: &mut String) -> bool {
        let line = if line.contains('\u{1b}') {
            plain.clear();
            strip_ansi(line, plain);
            plain.as_str()
        } else {
            line
        };
        if self.case {
            return line.contains(&self.text);
        }
        if line.is_ascii() {
            lower.clear();
            lower.push_str(line);
            lower.make_ascii_lowercase();
            return lower.contains(&self.text);
        }
        line.to_lowercase().contains(&self.text)
    }

    fn take(&mut self, found: LogMatch) {
        self.found = self.found.saturating_add(1);
        if self.found > self.skip && self.matches.len() < self.limit {
            self.matches.push(found);
            if self.matches.len() == self.limit {
                self.full = Some((found.number + 1, self.place, self.found));
            }
        }
    }

    fn found(self) -> Found {
        let count = self.counted.unwrap_or(self.found);
        let next = self.full.filter(|(_, _, found)| *found < count).map(|(line, place, found)| Resume {
            line,
            place,
            found,
            count,
            searched: self.last,
        });
        let matches = LogMatches {
            count,
            first: self.first,
            matches: self.matches,
            searched: self.last,
            next_cursor: None,
        };
        Found { matches, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(span: u64, text: &str) -> Stored {
        Stored::Line { span, stream: 0, time: 0, text: text.to_owned() }
    }

    /// The whole log in two chunks, searched.
    fn search(lines: &[Stored], wanted: &Search) -> Found {
        let (one, two) = lines.split_at(lines.len() / 2);
        let pack = |first: usize, records: &[Stored]| {
            let bytes = chunk::encode(records).map(Bytes::from);
            (first as u64 + 1, records.len() as u64, bytes.unwrap_or_default())
        };
        let chunks = [pack(0, one), pack(one.len(), two)];
        Scan::new(wanted, lines.len() as u64).chunks(chunks.into()).map(Scan::found).unwrap_or_default()
    }

    fn wanted(text: &str) -> Search {
        Search { text: text.to_owned(), limit: 10, ..Search::default() }
    }

    #[test]
    fn lines_are_found_as_they_are_read() {
        let log = [
            line(1, "an error"),
            line(1, "an \u{1b}[1mER\u{1b}[0mROR"),
            line(1, "\u{1b}[31m31m\u{1b}[0m"),
            line(1, "GRÖSSE"),
            line(1, "größe and größe"),
        ];
        let count = |text: &str, case: bool| search(&log, &Search { case, ..wanted(text) }).matches.count;
        assert_eq!((count("error", false), count("error", true), count("ERROR", true)), (2, 1, 1));
        assert_eq!((count("31m", false), count("[31", false)), (1, 0), "escape sequences are no text");
        assert_eq!((count("Größe", false), count("größe", true)), (1, 1), "a line counts once");
        assert_eq!(count("grösse", false), 1);
    }

    #[test]
    fn pages_follow_each_other_and_agree() {
        let log: Vec<_> = (1..=25).map(|n| line(n % 2, if n % 5 == 0 { "no" } else { "yes" })).collect();
        let all = search(&log, &Search { limit: 100, ..wanted("yes") }).matches;
        assert_eq!((all.count, all.first, all.matches.len()), (20, 1, 20));
        let mut pages = Vec::new();
        let mut resume = None;
        loop {
            let page = search(&log, &Search { limit: 7, resume, ..wanted("yes") });
            assert_eq!((page.matches.count, page.matches.first), (20, pages.len() as u64 + 1));
            pages.extend(page.matches.matches);
            resume = page.next;
            if resume.is_none() {
                break;
            }
        }
        assert_eq!(pages, all.matches);
        let page = search(&log, &Search { from: 19, ..wanted("yes") });
        assert_eq!((page.matches.first, page.matches.matches.as_slice()), (19, &all.matches[18..]));
        let beyond = search(&log, &Search { from: 99, ..wanted("yes") }).matches;
        assert_eq!((beyond.count, beyond.matches.len()), (20, 0));
    }

    #[test]
    fn a_span_has_places_of_its_own() {
        let log = [line(1, "a"), line(2, "a"), line(1, "b"), line(2, "a"), line(1, "a")];
        let found = search(&log, &Search { span: Some(SpanId(2)), ..wanted("a") }).matches;
        assert_eq!(found.count, 2);
        assert_eq!(found.matches[1], LogMatch { number: 4, place: 2 });
    }
}
