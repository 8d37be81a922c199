//! All SQL about chunks, and about what telemetry says of attempts.

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, RunId, SpanId},
    runs::{MachineStart, Stage, State, Step, Trigger},
};

use super::steps::Way;
use crate::db::{Db, DbError, Row, Tx, query};

/// A row of the index.
#[derive(Clone, Debug)]
pub(super) struct ChunkRow {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) first_line: u64,
    pub(super) lines: u64,
    pub(super) object_key: Option<String>,
    pub(super) data: Option<Vec<u8>>,
}

fn chunk_of(row: &Row) -> Result<ChunkRow, DbError> {
    Ok(ChunkRow {
        first_seq: row.get("first_seq")?,
        last_seq: row.get("last_seq")?,
        first_line: row.get("first_line")?,
        lines: row.get("lines")?,
        object_key: row.get("object_key")?,
        data: row.get("data")?,
    })
}

/// A row to be inserted.
pub(super) struct ChunkInsert {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) first_line: u64,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) spans: u64,
    pub(super) span_lines: Vec<u8>,
    pub(super) object_key: Option<String>,
    pub(super) data: Option<Vec<u8>>,
}

pub(super) async fn insert_chunk(
    tx: &mut Tx,
    attempt: AttemptId,
    chunk: &ChunkInsert,
) -> Result<(), DbError> {
    query(
        "INSERT INTO chunks (attempt_id, first_seq, last_seq, first_line, lines, bytes, spans, span_lines, \
         object_key, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(attempt)
    .bind(chunk.first_seq)
    .bind(chunk.last_seq)
    .bind(chunk.first_line)
    .bind(chunk.lines)
    .bind(chunk.bytes)
    .bind(chunk.spans)
    .bind(&*chunk.span_lines)
    .bind(chunk.object_key.clone())
    .bind(chunk.data.clone())
    .execute(tx)
    .await
    .map(|_| ())
}

/// Chunks with records after `after`, in order.
pub(super) async fn chunks_after(
    db: &Db,
    attempt: AttemptId,
    after: u64,
    limit: u32,
) -> Result<Vec<ChunkRow>, DbError> {
    query("SELECT * FROM chunks WHERE attempt_id = $1 AND last_seq > $2 ORDER BY first_seq LIMIT $3")
        .bind(attempt)
        .bind(after)
        .bind(limit)
        .all(db)
        .await?
        .iter()
        .map(chunk_of)
        .collect()
}

/// Chunks with lines from number `from` on, in order.
pub(super) async fn chunks_with_lines(
    db: &Db,
    attempt: AttemptId,
    from: u64,
    limit: u32,
) -> Result<Vec<ChunkRow>, DbError> {
    query(
        "SELECT * FROM chunks WHERE attempt_id = $1 AND lines > 0 AND first_line + lines > $2 \
         ORDER BY first_seq LIMIT $3",
    )
    .bind(attempt)
    .bind(from)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(chunk_of)
    .collect()
}

/// A row of the index, as far as counting lines needs it.
pub(super) struct LinesRow {
    pub(super) first_seq: u64,
    pub(super) span_lines: Vec<u8>,
}

pub(super) async fn lines_index(db: &Db, attempt: AttemptId) -> Result<Vec<LinesRow>, DbError> {
    query(
        "SELECT first_seq, span_lines FROM chunks WHERE attempt_id = $1 AND lines > 0 \
         ORDER BY first_seq",
    )
    .bind(attempt)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok(LinesRow { first_seq: row.get("first_seq")?, span_lines: row.get("span_lines")? }))
    .collect()
}

pub(super) async fn chunk_at(
    db: &Db,
    attempt: AttemptId,
    first_seq: u64,
) -> Result<Option<ChunkRow>, DbError> {
    query("SELECT * FROM chunks WHERE attempt_id = $1 AND first_seq = $2")
        .bind(attempt)
        .bind(first_seq)
        .optional(db)
        .await?
        .as_ref()
        .map(chunk_of)
        .transpose()
}

/// What appending needs to know of an attempt.
pub(super) struct Tail {
    pub(super) run: RunId,
    pub(super) last_seq: u64,
    pub(super) line_count: u64,
    pub(super) log_bytes: u64,
    pub(super) annotations: String,
}

/// The end of what is stored, if this token holds the attempt.
pub(super) async fn tail(db: &Db, attempt: AttemptId, token_hash: &[u8]) -> Result<Option<Tail>, DbError> {
    query(
        "SELECT a.last_seq, a.line_count, a.log_bytes, a.annotations, j.run_id FROM attempts a \
         JOIN jobs j ON j.id = a.job_id WHERE a.id = $1 AND a.lease_token = $2 AND a.state = 'running'",
    )
    .bind(attempt)
    .bind(token_hash)
    .optional(db)
    .await?
    .map(|row| {
        Ok(Tail {
            run: row.get("run_id")?,
            last_seq: row.get("last_seq")?,
            line_count: row.get("line_count")?,
            log_bytes: row.get("log_bytes")?,
            annotations: row.get("annotations")?,
        })
    })
    .transpose()
}

/// How many records about spans an attempt has.
pub(super) async fn span_records(db: &Db, attempt: AttemptId) -> Result<u64, DbError> {
    query("SELECT CAST(COALESCE(SUM(spans), 0) AS BIGINT) AS count FROM chunks WHERE attempt_id = $1")
        .bind(attempt)
        .one(db)
        .await?
        .get("count")
}

/// What appending changes of an attempt.
pub(super) struct Advance<'a> {
    pub(super) before: u64,
    pub(super) last_seq: u64,
    pub(super) line_count: u64,
    pub(super) log_bytes: u64,
    pub(super) dropped: u64,
    pub(super) annotations: &'a str,
}

/// Moves the end of what is stored from `before` on, if this token still holds
/// the attempt and nobody else has moved it.
pub(super) async fn advance(
    tx: &mut Tx,
    attempt: AttemptId,
    token_hash: &[u8],
    to: &Advance<'_>,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE attempts SET last_seq = $4, line_count = $5, log_bytes = $6, dropped_lines = dropped_lines + $7, \
         annotations = $8 WHERE id = $1 AND lease_token = $2 AND state = 'running' AND last_seq = $3",
    )
    .bind(attempt)
    .bind(token_hash)
    .bind(to.before)
    .bind(to.last_seq)
    .bind(to.line_count)
    .bind(to.log_bytes)
    .bind(to.dropped)
    .bind(to.annotations)
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// The span of a stage as a number that a column can hold.
fn column(span: SpanId) -> i64 {
    span.0.cast_signed()
}

pub(super) async fn count_stages(tx: &mut Tx, attempt: AttemptId) -> Result<u64, DbError> {
    query("SELECT COUNT(*) AS n FROM stages WHERE attempt_id = $1").bind(attempt).one(tx).await?.get("n")
}

pub(super) async fn open_stage(
    tx: &mut Tx,
    attempt: AttemptId,
    span: SpanId,
    stage: Stage,
    name: &str,
    time: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO stages (attempt_id, span, stage, name, state, started_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (attempt_id, span) DO NOTHING",
    )
    .bind(attempt)
    .bind(column(span))
    .bind(stage)
    .bind(name)
    .bind(State::Running)
    .bind(time)
    .execute(tx)
    .await
    .map(|_| ())
}

/// The stages that have not ended.
pub(super) async fn open_stages(
    tx: &mut Tx,
    attempt: AttemptId,
) -> Result<Vec<(SpanId, Stage, Timestamp)>, DbError> {
    query("SELECT span, stage, started_at FROM stages WHERE attempt_id = $1 AND finished_at IS NULL")
        .bind(attempt)
        .all(tx)
        .await?
        .iter()
        .map(|row| {
            let span: i64 = row.get("span")?;
            Ok((SpanId(span.cast_unsigned()), row.get("stage")?, row.get("started_at")?))
        })
        .collect()
}

pub(super) async fn close_stage(
    tx: &mut Tx,
    attempt: AttemptId,
    span: SpanId,
    state: State,
    time: Timestamp,
    exit_status: Option<i32>,
) -> Result<(), DbError> {
    query(
        "UPDATE stages SET state = $3, finished_at = $4, exit_status = $5 WHERE attempt_id = $1 AND span = $2",
    )
    .bind(attempt)
    .bind(column(span))
    .bind(state)
    .bind(time)
    .bind(exit_status)
    .execute(tx)
    .await
    .map(|_| ())
}

/// What is known of a step.
pub(super) struct StepRow {
    pub(super) step: Step,
    pub(super) span: Option<SpanId>,
    pub(super) ended_at: Option<Timestamp>,
}

pub(super) async fn steps(tx: &mut Tx, attempt: AttemptId) -> Result<Vec<StepRow>, DbError> {
    query("SELECT step, span, ended_at FROM steps WHERE attempt_id = $1")
        .bind(attempt)
        .all(tx)
        .await?
        .iter()
        .map(|row| {
            let span: Option<i64> = row.get("span")?;
            Ok(StepRow {
                step: row.get("step")?,
                span: span.map(|span| SpanId(span.cast_unsigned())),
                ended_at: row.get("ended_at")?,
            })
        })
        .collect()
}

pub(super) async fn open_step(
    tx: &mut Tx,
    attempt: AttemptId,
    step: Step,
    span: SpanId,
) -> Result<(), DbError> {
    query("INSERT INTO steps (attempt_id, step, span) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(attempt)
        .bind(step)
        .bind(column(span))
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn end_step(
    tx: &mut Tx,
    attempt: AttemptId,
    step: Step,
    time: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO steps (attempt_id, step, ended_at) VALUES ($1, $2, $3) \
         ON CONFLICT (attempt_id, step) DO UPDATE SET ended_at = excluded.ended_at",
    )
    .bind(attempt)
    .bind(step)
    .bind(time)
    .execute(tx)
    .await
    .map(|_| ())
}

pub(super) async fn set_machine_start(
    tx: &mut Tx,
    attempt: AttemptId,
    start: MachineStart,
) -> Result<(), DbError> {
    query("UPDATE attempts SET machine_start = $2 WHERE id = $1")
        .bind(attempt)
        .bind(start)
        .execute(tx)
        .await
        .map(|_| ())
}

/// The way of an attempt but for its steps.
pub(super) async fn way(tx: &mut Tx, attempt: AttemptId) -> Result<Option<Way>, DbError> {
    query(
        "SELECT a.number, a.queued_at, a.started_at, a.machine_start, r.created_at, r.cause FROM attempts a \
         JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id WHERE a.id = $1",
    )
    .bind(attempt)
    .optional(tx)
    .await?
    .map(|row| way_of(&row))
    .transpose()
}

/// The way of an attempt, from a row that has the run's columns as well.
pub(crate) fn way_of(row: &Row) -> Result<Way, DbError> {
    let queued_at: Timestamp = row.get("queued_at")?;
    let pushed = row.get::<Trigger>("cause")? == Trigger::Push && row.get::<u32>("number")? == 1;
    Ok(Way {
        accepted_at: if pushed { row.get::<Timestamp>("created_at")?.min(queued_at) } else { queued_at },
        queued_at,
        started_at: row.get("started_at")?,
        start: row.get("machine_start")?,
        ends: Vec::new(),
    })
}

/// Attempts that have ended and whose chunks are as they came, oldest first,
/// with the number of their last record.
pub(super) async fn to_compact(db: &Db) -> Result<Vec<(AttemptId, u64)>, DbError> {
    query(
        "SELECT id, last_seq FROM attempts WHERE finished_at IS NOT NULL AND compacted_at IS NULL AND last_seq > 0 \
         ORDER BY finished_at LIMIT 50",
    )
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((row.get("id")?, row.get("last_seq")?)))
    .collect()
}

/// Puts the compacted chunks in the place of the others, once.
pub(super) async fn replace_chunks(
    tx: &mut Tx,
    attempt: AttemptId,
    chunks: &[ChunkInsert],
    trace_key: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed =
        query("UPDATE attempts SET trace_key = $2, compacted_at = $3 WHERE id = $1 AND compacted_at IS NULL")
            .bind(attempt)
            .bind(trace_key)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    if changed == 0 {
        return Ok(false);
    }
    query("DELETE FROM chunks WHERE attempt_id = $1").bind(attempt).execute(&mut *tx).await?;
    for chunk in chunks {
        insert_chunk(tx, attempt, chunk).await?;
    }
    Ok(true)
}

/// The objects that an attempt's rows name.
pub(super) async fn object_keys(db: &Db, attempt: AttemptId) -> Result<Vec<String>, DbError> {
    query(
        "SELECT object_key AS k FROM chunks WHERE attempt_id = $1 AND object_key IS NOT NULL \
         UNION ALL SELECT trace_key AS k FROM attempts WHERE id = $1 AND trace_key IS NOT NULL",
    )
    .bind(attempt)
    .all(db)
    .await?
    .iter()
    .map(|row| row.get("k"))
    .collect()
}

/// Whether there is such an attempt.
pub(super) async fn attempt_exists(db: &Db, attempt: AttemptId) -> Result<bool, DbError> {
    query("SELECT 1 AS one FROM attempts WHERE id = $1")
        .bind(attempt)
        .optional(db)
        .await
        .map(|row| row.is_some())
}
