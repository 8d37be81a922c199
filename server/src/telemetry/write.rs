//! Storing records, durably, once.

use std::collections::BTreeMap;

use anyhow::anyhow;
use devenv_cloud_api::{
    ids::{AttemptId, SpanId},
    runs::Annotation,
};
use devenv_cloud_guest::protocol::limits;
use object_store::{ObjectStoreExt as _, path::Path};

use super::{
    Record,
    chunk::{self, FULL, Stored},
    steps, store,
};
use crate::{
    app::AppParts,
    db::{Topic, Tx},
    executor::ControlError,
};

/// A chunk longer than this becomes an object; a shorter one stands in its row.
pub(super) const INLINE: usize = 64 << 10;

/// Lines of one attempt that are kept, however short they are.
const MOST_LINES: u64 = 20_000_000;

/// Records about spans that one attempt may have: both ends of each that a guest
/// may open, and of the few that are the executor's own.
const MOST_SPAN_RECORDS: u64 = 2 * (limits::SPANS as u64 + 100);

/// Stages and tasks of one attempt that are summed up in rows.
const MOST_STAGES: u64 = 1000;

/// Annotations of one attempt that are kept.
const MOST_ANNOTATIONS: usize = 50;

fn unavailable(error: impl Into<anyhow::Error>) -> ControlError {
    ControlError::Unavailable(error.into())
}

/// Stores records, and returns when they are durable. Numbers of an attempt are
/// consecutive from 1: what is stored already is passed over, a gap is refused.
///
/// The order is: object first, then, in one transaction, the row that names it
/// and the attempt's new end. A server killed in between leaves an object that
/// nothing names; compaction removes it.
pub(crate) async fn append(
    app: &AppParts,
    attempt: AttemptId,
    token_hash: &[u8],
    first: u64,
    records: Vec<Record>,
) -> Result<(), ControlError> {
    loop {
        let tail = store::tail(&app.db, attempt, token_hash).await.map_err(unavailable)?;
        let Some(tail) = tail else { return Err(ControlError::LeaseLost(attempt)) };
        let next = tail.last_seq + 1;
        if first > next {
            return Err(unavailable(anyhow!("records {next} to {} were never sent", first - 1)));
        }
        let known = usize::try_from(next - first).unwrap_or(usize::MAX);
        let Some(new) = records.get(known..).filter(|new| !new.is_empty()) else { return Ok(()) };
        if new.iter().any(|record| matches!(record, Record::Line { .. })) {
            app.disk_reserve().check()?;
        }
        refuse_spans_without_end(app, attempt, &tail, new).await?;
        if store_new(app, attempt, token_hash, &tail, new).await? {
            return Ok(());
        }
        // The end of what is stored moved, or the lease is gone: look again.
    }
}

/// The executor counts the spans of its guests; this is for a runner that does not.
async fn refuse_spans_without_end(
    app: &AppParts,
    attempt: AttemptId,
    tail: &store::Tail,
    new: &[Record],
) -> Result<(), ControlError> {
    let new = new.iter().filter(|record| record.is_about_spans()).count() as u64;
    // Most attempts do not have so many records of all kinds together.
    if new == 0 || tail.last_seq + new <= MOST_SPAN_RECORDS {
        return Ok(());
    }
    let stored = store::span_records(&app.db, attempt).await.map_err(unavailable)?;
    if stored + new <= MOST_SPAN_RECORDS {
        return Ok(());
    }
    Err(ControlError::NoRoom(format!("it has more than {} spans", limits::SPANS)))
}

/// Stores records that come right after `tail`. `false` when `tail` is true no more.
async fn store_new(
    app: &AppParts,
    attempt: AttemptId,
    token_hash: &[u8],
    tail: &store::Tail,
    records: &[Record],
) -> Result<bool, ControlError> {
    let budget = u64::from(app.config.limits.log_mib) << 20;
    let mut kept = Kept { lines: tail.line_count, bytes: tail.log_bytes, dropped: 0 };
    let stored = records.iter().map(|record| kept.take(record, budget)).collect::<Vec<_>>();
    let chunks = write_chunks(app, attempt, tail.last_seq + 1, tail.line_count + 1, stored).await?;
    let objects: Vec<_> = chunks.iter().filter_map(|chunk| chunk.object_key.clone()).collect();

    let result = async {
        let mut tx = app.db.begin().await?;
        let annotations = annotations(&tail.annotations, records);
        let advance = store::Advance {
            before: tail.last_seq,
            last_seq: tail.last_seq + records.len() as u64,
            line_count: kept.lines,
            log_bytes: kept.bytes,
            dropped: kept.dropped,
            annotations: &annotations,
        };
        if !store::advance(&mut tx, attempt, token_hash, &advance).await? {
            return Ok(false);
        }
        for chunk in &chunks {
            store::insert_chunk(&mut tx, attempt, chunk).await?;
        }
        let steps = steps::note(app, &mut tx, attempt, records).await?;
        if summarise(app, &mut tx, attempt, records).await? || steps || annotations != tail.annotations {
            tx.wake(Topic::Run(tail.run));
        }
        tx.wake(Topic::Attempt(attempt));
        tx.commit().await?;
        Ok(true)
    }
    .await;
    if !matches!(result, Ok(true)) {
        for key in objects {
            // Nothing names it. If this fails too, compaction removes it.
            let _ = app.objects.delete(&Path::from(key)).await;
        }
    }
    result.map_err(|error: crate::db::DbError| unavailable(error))
}

/// What of the log is kept.
struct Kept {
    lines: u64,
    bytes: u64,
    dropped: u64,
}

impl Kept {
    /// The guest and the runner keep the limit themselves; this is for those
    /// who do not.
    fn take(&mut self, record: &Record, budget: u64) -> Stored {
        if let Record::Line { text, .. } = record {
            let bytes = self.bytes.saturating_add(text.len() as u64 + 1);
            // The runner's own last words come after the job's, so the limit
            // here is a little wider than the one that it keeps.
            if bytes > budget.saturating_add(1 << 20) || self.lines >= MOST_LINES {
                self.dropped += 1;
                return Stored::Dropped;
            }
            self.bytes = bytes;
            self.lines += 1;
        }
        Stored::of(record)
    }
}

/// Cuts records into chunks and stores what does not fit into a row.
pub(super) async fn write_chunks(
    app: &AppParts,
    attempt: AttemptId,
    mut first_seq: u64,
    mut first_line: u64,
    records: Vec<Stored>,
) -> Result<Vec<store::ChunkInsert>, ControlError> {
    let mut chunks = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut weight = 0;
        let end = rest.iter().position(|record| {
            weight += record.weight();
            weight > FULL
        });
        let later = end.map_or_else(Vec::new, |end| rest.split_off(end.max(1)));
        let chunk =
            write_chunk(app, attempt, first_seq, first_line, std::mem::replace(&mut rest, later)).await?;
        first_seq = chunk.last_seq + 1;
        first_line += chunk.lines;
        chunks.push(chunk);
    }
    Ok(chunks)
}

pub(super) async fn write_chunk(
    app: &AppParts,
    attempt: AttemptId,
    first_seq: u64,
    first_line: u64,
    records: Vec<Stored>,
) -> Result<store::ChunkInsert, ControlError> {
    let count = records.len() as u64;
    let lines = records.iter().filter(|record| matches!(record, Stored::Line { .. })).count() as u64;
    let spans = records.iter().filter(|record| record.is_about_spans()).count() as u64;
    let span_lines = chunk::span_lines(&records).map_err(unavailable)?;
    let bytes = tokio::task::spawn_blocking(move || chunk::encode(&records))
        .await
        .map_err(unavailable)?
        .map_err(unavailable)?;
    let mut row = store::ChunkInsert {
        first_seq,
        last_seq: first_seq + count - 1,
        first_line,
        lines,
        bytes: bytes.len() as u64,
        spans,
        span_lines,
        object_key: None,
        data: None,
    };
    if bytes.len() <= INLINE {
        row.data = Some(bytes);
    } else {
        row.object_key = Some(put(app, attempt, first_seq, bytes).await?);
    }
    Ok(row)
}

/// Stores an object under a name that nothing has yet: no object is ever
/// overwritten, so whoever reads a row reads what the row's writer wrote.
pub(super) async fn put(
    app: &AppParts,
    attempt: AttemptId,
    first_seq: u64,
    bytes: Vec<u8>,
) -> Result<String, ControlError> {
    let unique = hex::encode(app.random.bytes::<6>());
    let key = format!("attempts/{attempt}/{first_seq:012}-{unique}");
    app.objects.put(&Path::from(key.as_str()), bytes.into()).await.map_err(unavailable)?;
    Ok(key)
}

/// The attempt's annotations with those of `records` added.
fn annotations(before: &str, records: &[Record]) -> String {
    let new = records.iter().filter_map(|record| match record {
        Record::Annotation(annotation) => Some(annotation),
        _ => None,
    });
    let mut new = new.peekable();
    if new.peek().is_none() {
        return before.to_owned();
    }
    let mut all: Vec<Annotation> = serde_json::from_str(before).unwrap_or_default();
    for annotation in new {
        if all.len() < MOST_ANNOTATIONS && !all.contains(annotation) {
            all.push(annotation.clone());
        }
    }
    serde_json::to_string(&all).unwrap_or_else(|_| before.to_owned())
}

/// Keeps the rows of stages and tasks. Says whether any changed.
async fn summarise(
    app: &AppParts,
    tx: &mut Tx,
    attempt: AttemptId,
    records: &[Record],
) -> Result<bool, crate::db::DbError> {
    let opens = records.iter().any(|record| matches!(record, Record::Opened { stage: Some(_), .. }));
    let closes = records.iter().any(|record| matches!(record, Record::Closed { .. }));
    if !opens && !closes {
        return Ok(false);
    }
    let mut count = store::count_stages(tx, attempt).await?;
    let mut open: BTreeMap<SpanId, _> = store::open_stages(tx, attempt)
        .await?
        .into_iter()
        .map(|(span, stage, started)| (span, (stage, started)))
        .collect();
    let mut changed = false;
    for record in records {
        match record {
            Record::Opened { id, stage: Some(stage), name, time, .. } if count < MOST_STAGES => {
                store::open_stage(tx, attempt, *id, *stage, name, *time).await?;
                open.insert(*id, (*stage, *time));
                count += 1;
                changed = true;
            }
            Record::Closed { id, time, state, attributes } => {
                if let Some((stage, started)) = open.remove(id) {
                    let exit = attributes.get("process.exit.code").and_then(|code| code.parse().ok());
                    store::close_stage(tx, attempt, *id, *state, *time, exit).await?;
                    let seconds = (*time - started).as_seconds_f64().max(0.0);
                    app.metrics.stage_seconds.with_label_values(&[stage.as_str()]).observe(seconds);
                    changed = true;
                }
            }
            _ => {}
        }
    }
    Ok(changed)
}
