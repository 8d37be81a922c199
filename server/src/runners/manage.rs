//! What people see of runners, and do to them.

use std::collections::HashMap;

use devenv_cloud_api::{
    ids::{OrgId, RunnerId},
    runners::{Runner, RunnerScope, RunnerState, UpdateRunner},
};

use super::{Owner, SILENT, store};
use crate::{
    app::AppParts,
    db::{DbError, Topic},
    refusal::Refusal,
    runs,
};

/// The runners that an organisation's jobs may come to, its own before those of
/// the instance; or those of the instance.
///
/// # Errors
/// When the database says no.
pub async fn list(
    app: &AppParts,
    owner: Owner,
    may_manage: bool,
    after: Option<(bool, RunnerId)>,
    limit: u32,
) -> Result<Vec<Runner>, DbError> {
    let now = app.clock.now();
    let rows = store::list_runners(&app.db, owner.org(), after, limit).await?;
    let mut jobs: HashMap<RunnerId, Vec<_>> = HashMap::new();
    for (runner, job) in store::jobs_of_runners(&app.db, owner.org()).await? {
        jobs.entry(runner).or_default().push(job);
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let store::RunnerRow { id, org, name, labels, platforms, slots, version, draining, .. } = row;
            let gone = row.left_at.is_some() || row.last_seen_at + SILENT <= now;
            Runner {
                id,
                name,
                scope: if org.is_some() { RunnerScope::Org } else { RunnerScope::Instance },
                state: match (gone, draining) {
                    (true, _) => RunnerState::Offline,
                    (false, true) => RunnerState::Draining,
                    (false, false) => RunnerState::Online,
                },
                labels,
                platforms,
                slots,
                version,
                created_at: row.created_at,
                last_seen_at: row.last_seen_at,
                jobs: jobs.remove(&id).unwrap_or_default(),
                // What went wrong on the instance's runner may have been another
                // organisation's job.
                last_error: row.last_error.filter(|_| org == owner.org()),
                last_error_at: row.last_error_at.filter(|_| org == owner.org()),
                can_manage: may_manage && org == owner.org() && !row.embedded,
            }
        })
        .collect())
}

/// Changes one of the owner's runners.
///
/// # Errors
/// When there is none.
pub async fn update(app: &AppParts, owner: Owner, id: RunnerId, change: UpdateRunner) -> Result<(), Refusal> {
    let org: Option<OrgId> = owner.org();
    let mut tx = app.db.begin().await?;
    let draining = change.draining;
    if !store::set_draining(&mut tx, org, id, draining).await? {
        return Err(Refusal::NotFound);
    }
    if draining == Some(false) {
        tx.wake(Topic::Queue);
    }
    tx.commit().await?;
    Ok(())
}

/// Revokes one of the owner's runners: its credential works no more, and what
/// it was executing is done again by somebody else.
///
/// # Errors
/// When there is none, or it is a server's own executor, which would go on.
pub async fn revoke(app: &AppParts, owner: Owner, id: RunnerId) -> Result<(), Refusal> {
    // First: from here on it can claim nothing. A claim under way has locked
    // the runner's row, so what it claims is seen below.
    let now = app.clock.now();
    if !store::revoke_runner(&app.db, owner.org(), id, now, now - SILENT).await? {
        return Err(Refusal::NotFound);
    }
    let ended = runs::end_all_of_runner(app, id, "its runner was revoked while this was running").await?;
    tracing::info!(runner = %id, ended, "runner revoked");
    Ok(())
}
