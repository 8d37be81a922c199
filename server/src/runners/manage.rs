//! What people see of runners, and do to them.

use std::collections::HashMap;

use chrono::TimeDelta;
use devenv_cloud_api::{
    Timestamp,
    audit::AuditAction,
    ids::{OrgId, RunnerId},
    runners::{Runner, RunnerReady, RunnerRoom, RunnerScope, RunnerState, RunnerTemplate, UpdateRunner},
};

use super::{Owner, SILENT, store};
use crate::{
    app::AppParts,
    audit,
    db::{DbError, Topic},
    executor::{Status, TemplateStatus},
    identity::{Origin, User},
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
            let own = row.org == owner.org();
            let room = row.room.map(|room| RunnerRoom {
                memory_mib: room.memory_mib,
                memory_used_mib: row.used.0,
                cpus: room.cpus,
                cpus_used: row.used.1,
            });
            let ready = ready(row.status, row.status_at, own);
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
                embedded: row.embedded,
                room,
                ready: if gone { RunnerReady::default() } else { ready },
                version,
                created_at: row.created_at,
                last_seen_at: row.last_seen_at,
                jobs: jobs.remove(&id).unwrap_or_default(),
                // What went wrong on the instance's runner may have been another
                // organisation's job.
                last_error: row.last_error.filter(|_| own),
                last_error_at: row.last_error_at.filter(|_| own),
                can_manage: may_manage && own && !row.embedded,
            }
        })
        .collect())
}

/// What stands ready, as people see it.
fn ready(status: Status, said_at: Option<Timestamp>, own: bool) -> RunnerReady {
    let template = |template: TemplateStatus| RunnerTemplate {
        cpus: template.cpus,
        memory_mib: template.memory_mib,
        disk_mib: template.disk_mib,
        holds_mib: template.holds_mib,
        made_at: said_at
            .zip(template.age_seconds)
            .and_then(|(said, age)| said.checked_sub_signed(TimeDelta::seconds(age.into()))),
        waiting: template.waiting,
    };
    RunnerReady {
        templates: status.templates.into_iter().map(template).collect(),
        // It may name places on somebody else's machine.
        problem: status.problem.filter(|_| own),
    }
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
pub async fn revoke(
    app: &AppParts,
    owner: Owner,
    by: &User,
    id: RunnerId,
    origin: &Origin,
) -> Result<(), Refusal> {
    // First: from here on it can claim nothing. A claim under way has locked
    // the runner's row, so what it claims is seen below.
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let name = store::revoke_runner(&mut tx, owner.org(), id, now, now - SILENT).await?;
    let event = owner.event(AuditAction::RevokeRunner, origin).by(by);
    audit::record(app, &mut tx, event.target(&name.ok_or(Refusal::NotFound)?)).await?;
    tx.commit().await?;
    let ended = runs::end_all_of_runner(app, id, "its runner was revoked while this was running").await?;
    tracing::info!(runner = %id, ended, "runner revoked");
    Ok(())
}
