//! Reading: traces, windows of logs, whole logs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, SpanId},
    runs::State,
    trace::{LogLine, LogWindow, Trace},
};
use futures::{Stream, TryStreamExt as _};
use object_store::{ObjectStoreExt as _, path::Path};

use super::{
    Folded,
    chunk::{self, ChunkError, Stored},
    store::{self, ChunkRow},
};
use crate::{
    app::{App, AppParts},
    db::DbError,
    runs::AttemptRow,
};

/// How many rows of the index are read at once.
pub(super) const ROWS: u32 = 64;

/// Attempts whose spans are remembered.
const REMEMBERED: usize = 32;

/// Why telemetry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// See [`DbError`].
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store of objects says no.
    #[error("the store of telemetry cannot be read: {0}")]
    Objects(#[from] object_store::Error),
    /// See [`ChunkError`].
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// What telemetry remembers while the server runs: the spans of attempts that
/// somebody looks at, so that each look only reads what is new.
#[derive(Debug, Default)]
pub struct Telemetry {
    folded: Mutex<HashMap<AttemptId, (u64, Shared)>>,
    /// Attempts whose chunks could not be compacted: one that is damaged must
    /// not keep the others from their turn.
    pub(super) damaged: Mutex<std::collections::HashSet<AttemptId>>,
    /// Whose turn it is to search a log.
    pub(super) searches: super::search::Turns,
}

type Shared = Arc<tokio::sync::Mutex<Folded>>;

impl Telemetry {
    fn remember(&self, attempt: AttemptId) -> Shared {
        let mut folded = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = folded.values().map(|(used, _)| *used).max().unwrap_or_default() + 1;
        if folded.len() >= REMEMBERED && !folded.contains_key(&attempt) {
            let oldest = folded.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| folded.remove(&id));
        }
        let (used, shared) = folded.entry(attempt).or_default();
        *used = now;
        shared.clone()
    }
}

/// The records of a chunk. `None` when the chunk is not there any more: it has
/// been compacted since the row was read, and the index has another row now.
pub(super) async fn load(app: &AppParts, row: &ChunkRow) -> Result<Option<Vec<Stored>>, TelemetryError> {
    match bytes_of(app, row).await? {
        Some(bytes) if bytes.is_empty() => Ok(Some(Vec::new())),
        Some(bytes) => Ok(Some(decode(bytes).await?)),
        None => Ok(None),
    }
}

/// A chunk as it is stored; empty where the row says nothing. `None` as in [`load`].
pub(super) async fn bytes_of(app: &AppParts, row: &ChunkRow) -> Result<Option<Bytes>, TelemetryError> {
    match (&row.data, &row.object_key) {
        (Some(data), _) => Ok(Some(Bytes::copy_from_slice(data))),
        (None, Some(key)) => object(app, key).await,
        (None, None) => Ok(Some(Bytes::new())),
    }
}

async fn decode(bytes: Bytes) -> Result<Vec<Stored>, TelemetryError> {
    if bytes.len() < 4096 {
        return Ok(chunk::decode(&bytes)?);
    }
    match tokio::task::spawn_blocking(move || chunk::decode(&bytes)).await {
        Ok(records) => Ok(records?),
        Err(error) => Err(ChunkError::Zstd(std::io::Error::other(error)).into()),
    }
}

async fn object(app: &AppParts, key: &str) -> Result<Option<Bytes>, TelemetryError> {
    match app.objects.get(&Path::from(key)).await {
        Ok(object) => Ok(Some(object.bytes().await?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The spans of an attempt, as far as its records are stored.
pub(super) async fn folded(
    app: &AppParts,
    attempt: &AttemptRow,
) -> Result<tokio::sync::OwnedMutexGuard<Folded>, TelemetryError> {
    let mut folded = app.telemetry.remember(attempt.id).lock_owned().await;
    if folded.seq >= attempt.last_seq {
        return Ok(folded);
    }
    if let Some(key) = attempt.trace_key.as_ref().filter(|_| folded.is_empty())
        && let Some(bytes) = object(app, key).await?
    {
        for record in decode(bytes).await? {
            folded.apply(attempt.last_seq, &record);
        }
        return Ok(folded);
    }
    loop {
        let rows = store::chunks_after(&app.db, attempt.id, folded.seq, ROWS).await?;
        if rows.is_empty() {
            return Ok(folded);
        }
        for row in rows {
            // Compacted under our eyes: read the index again.
            let Some(records) = load(app, &row).await? else { break };
            let seen = folded.seq;
            for (seq, record) in (row.first_seq..).zip(&records) {
                if seq > seen {
                    folded.apply(seq, record);
                }
            }
        }
    }
}

/// How and when an attempt ended, for spans that were still open.
pub(super) fn end_of(attempt: &AttemptRow) -> Option<(State, Timestamp)> {
    let state = if attempt.state == State::Success { State::Error } else { attempt.state };
    attempt.finished_at.filter(|_| attempt.state.is_final()).map(|time| (state, time))
}

/// The trace of an attempt, at most `limit` spans of it.
///
/// # Errors
/// See [`TelemetryError`].
pub async fn trace(app: &AppParts, attempt: &AttemptRow, limit: usize) -> Result<Trace, TelemetryError> {
    let folded = folded(app, attempt).await?;
    Ok(folded.trace(end_of(attempt), limit))
}

/// Which lines of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuery {
    /// Only this span's.
    pub span: Option<SpanId>,
    /// From this place on, counted from 1 in the log as it is asked for: in the
    /// whole log that is the line's number, else the place among the span's lines.
    pub from: u64,
    /// Only the last this many.
    pub tail: Option<u64>,
    /// At most this many.
    pub limit: u64,
}

/// A window of a log.
///
/// # Errors
/// See [`TelemetryError`].
pub async fn log_window(
    app: &AppParts,
    attempt: &AttemptRow,
    wanted: &LogQuery,
) -> Result<LogWindow, TelemetryError> {
    let most = usize::try_from(wanted.tail.map_or(wanted.limit, |tail| tail.min(wanted.limit)));
    let most = most.unwrap_or(usize::MAX);
    let start = |total: u64| match wanted.tail {
        Some(_) => (total + 1).saturating_sub(most as u64).max(1),
        None => wanted.from.max(1),
    };
    let (lines, total) = match wanted.span {
        None => (lines_from(app, attempt, start(attempt.line_count), most).await?, attempt.line_count),
        Some(span) => {
            let rows = store::lines_index(&app.db, attempt.id).await?;
            let rows: Vec<_> = rows
                .iter()
                .map(|row| (row.first_seq, chunk::lines_of(&row.span_lines, span)))
                .filter(|(_, lines)| *lines > 0)
                .collect();
            let total = rows.iter().map(|(_, lines)| lines).sum();
            (span_lines_from(app, attempt, span, &rows, start(total), most).await?, total)
        }
    };
    Ok(LogWindow { lines, total, dropped: attempt.dropped_lines, seq: attempt.last_seq })
}

/// At most `most` lines, from number `from` on.
async fn lines_from(
    app: &AppParts,
    attempt: &AttemptRow,
    from: u64,
    most: usize,
) -> Result<Vec<LogLine>, TelemetryError> {
    let mut lines = Vec::new();
    let mut next = from;
    while lines.len() < most {
        let rows = store::chunks_with_lines(&app.db, attempt.id, next, ROWS).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows.into_iter().take_while(|row| row.first_line < from.saturating_add(most as u64)) {
            // Compacted under our eyes: read the index again.
            let Some(records) = load(app, &row).await? else { break };
            let already = next;
            lines.extend(lines_of(row.first_line, records).filter(|line| line.number >= already));
            next = row.first_line + row.lines;
        }
        if next >= from.saturating_add(most as u64) {
            break;
        }
    }
    lines.truncate(most);
    Ok(lines)
}

/// At most `most` lines of one span, from the one at place `from` among them.
/// `rows` says which chunks they are in, and how many in each.
async fn span_lines_from(
    app: &AppParts,
    attempt: &AttemptRow,
    span: SpanId,
    rows: &[(u64, u64)],
    from: u64,
    most: usize,
) -> Result<Vec<LogLine>, TelemetryError> {
    let mut lines = Vec::new();
    let mut before = 0;
    for (first_seq, count) in rows {
        let skip = (from - 1).saturating_sub(before);
        before += count;
        if skip >= *count {
            continue;
        }
        if lines.len() >= most {
            break;
        }
        // Compacted under our eyes: the reader asks again, and finds the new chunk.
        let Some(row) = store::chunk_at(&app.db, attempt.id, *first_seq).await? else { break };
        let Some(records) = load(app, &row).await? else { break };
        let own = lines_of(row.first_line, records).filter(|line| line.span == span);
        lines.extend(own.skip(usize::try_from(skip).unwrap_or(usize::MAX)));
    }
    lines.truncate(most);
    Ok(lines)
}

/// The lines among records, numbered from `first_line`.
pub(super) fn lines_of(first_line: u64, records: Vec<Stored>) -> impl Iterator<Item = LogLine> {
    let mut number = first_line;
    records.into_iter().filter_map(move |record| {
        let line = record.line(number);
        number += u64::from(line.is_some());
        line
    })
}

/// A whole log as text, chunk by chunk, with or without ANSI escape sequences.
pub fn log_text(
    app: App,
    attempt: AttemptId,
    ansi: bool,
) -> impl Stream<Item = Result<Bytes, TelemetryError>> + Send {
    let next = (app, 1_u64, std::collections::VecDeque::<ChunkRow>::new());
    futures::stream::try_unfold(next, move |(app, mut next, mut rows)| async move {
        loop {
            if rows.is_empty() {
                rows = store::chunks_with_lines(&app.db, attempt, next, ROWS).await?.into();
            }
            let Some(row) = rows.pop_front() else { return Ok(None) };
            let Some(records) = load(&app, &row).await? else {
                rows.clear();
                continue;
            };
            let mut text = String::new();
            for line in lines_of(row.first_line, records).filter(|line| line.number >= next) {
                if ansi {
                    text.push_str(&line.text);
                } else {
                    strip_ansi(&line.text, &mut text);
                }
                text.push('\n');
            }
            next = row.first_line + row.lines;
            return Ok(Some((Bytes::from(text), (app, next, rows))));
        }
    })
    .try_filter(|bytes| std::future::ready(!bytes.is_empty()))
}

/// Appends `text` to `out` without its escape sequences (ECMA-48: CSI, OSC and
/// the other string commands, two-character escapes).
pub(super) fn strip_ansi(text: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            Some('(' | ')' | '*' | '+' | '#' | '%' | ' ') => {
                chars.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_taken_out() {
        for (from, to) in [
            ("plain", "plain"),
            ("\u{1b}[1;31mred\u{1b}[0m and not", "red and not"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bx", "x"),
            ("cut off \u{1b}[3", "cut off "),
            ("\u{1b}", ""),
        ] {
            let mut out = String::new();
            strip_ansi(from, &mut out);
            assert_eq!(out, to, "{from:?}");
        }
    }
}
