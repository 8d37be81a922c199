//! Compaction: the many small chunks of an attempt that has ended become few
//! large ones, and its spans one object.

use std::{collections::HashSet, sync::PoisonError};

use devenv_cloud_api::ids::AttemptId;
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::{
    Folded, TelemetryError,
    chunk::{self, FULL, Stored},
    read, store, write,
};
use crate::app::AppParts;

/// Compacts one attempt that has ended, if there is one. Says whether there was.
///
/// New objects first, then, in one transaction, the rows that name them in the
/// place of the old rows, then the old objects go: killed anywhere, every row
/// names an object that is there, and what nothing names goes with the next
/// attempt that is cleaned up, or never matters.
///
/// # Errors
/// When the database or the store says no. The attempt stays as it was.
pub async fn compact_once(app: &AppParts) -> Result<bool, anyhow::Error> {
    let damaged = || app.telemetry.damaged.lock().unwrap_or_else(PoisonError::into_inner);
    let candidates = store::to_compact(&app.db).await?;
    let next = candidates.into_iter().find(|(attempt, _)| !damaged().contains(attempt));
    let Some((attempt, last_seq)) = next else { return Ok(false) };
    let result = compact(app, attempt, last_seq).await;
    if result.is_err() {
        damaged().insert(attempt);
    }
    result.map(|()| true)
}

async fn compact(app: &AppParts, attempt: AttemptId, last_seq: u64) -> Result<(), anyhow::Error> {
    let mut folded = Folded::default();
    let mut spans = Vec::new();
    let mut chunks = Vec::new();
    let mut pile: Vec<Stored> = Vec::new();
    let (mut weight, mut first_seq, mut first_line, mut seq) = (0, 1, 1, 0);
    loop {
        let rows = store::chunks_after(&app.db, attempt, seq, read::ROWS).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let Some(records) = read::load(app, &row).await? else {
                anyhow::bail!("a chunk of attempt {attempt} is not in the store of objects");
            };
            for (number, record) in (row.first_seq..).zip(records) {
                folded.apply(number, &record);
                if record.is_about_spans() {
                    spans.push(record.clone());
                }
                weight += record.weight();
                pile.push(record);
            }
            seq = row.last_seq;
            if weight > FULL {
                let chunk =
                    write::write_chunk(app, attempt, first_seq, first_line, std::mem::take(&mut pile))
                        .await?;
                (weight, first_seq, first_line) = (0, chunk.last_seq + 1, first_line + chunk.lines);
                chunks.push(chunk);
            }
        }
    }
    if !pile.is_empty() {
        chunks.push(write::write_chunk(app, attempt, first_seq, first_line, pile).await?);
    }
    anyhow::ensure!(seq == last_seq, "attempt {attempt} has records up to {last_seq}, stored up to {seq}");
    spans.extend(folded.counts());
    let bytes = tokio::task::spawn_blocking(move || chunk::encode(&spans)).await??;
    let trace_key = write::put(app, attempt, 0, bytes).await?;

    let mut tx = app.db.begin().await?;
    let now = app.clock.now();
    if store::replace_chunks(&mut tx, attempt, &chunks, &trace_key, now).await? {
        tx.commit().await?;
    }
    sweep(app, attempt).await?;
    Ok(())
}

/// Removes the attempt's objects that no row names.
async fn sweep(app: &AppParts, attempt: AttemptId) -> Result<(), TelemetryError> {
    let named: HashSet<String> = store::object_keys(&app.db, attempt).await?.into_iter().collect();
    let prefix = Path::from(format!("attempts/{attempt}"));
    let all: Vec<_> = app.objects.list(Some(&prefix)).try_collect().await?;
    for object in all {
        if !named.contains(object.location.as_ref()) {
            app.objects.delete(&object.location).await?;
        }
    }
    Ok(())
}

/// Removes the objects of attempts that are no more: their project was deleted.
/// An attempt's row is there before its first object, so what has no row now
/// will never have one.
///
/// # Errors
/// When the database or the store says no.
pub async fn remove_orphans_once(app: &AppParts) -> Result<usize, TelemetryError> {
    let all = app.objects.list_with_delimiter(Some(&Path::from("attempts"))).await?;
    let mut count = 0;
    for prefix in all.common_prefixes {
        let Some(attempt) = prefix.filename().and_then(|name| name.parse::<AttemptId>().ok()) else {
            continue;
        };
        if app.shutdown.is_cancelled() {
            break;
        }
        if !store::attempt_exists(&app.db, attempt).await? {
            sweep(app, attempt).await?;
            count += 1;
        }
    }
    Ok(count)
}
