//! Why an attempt waits, in one sentence for people.
//!
//! Nothing of it is stored: it follows from what the runners have and from who
//! else waits, and both change without the attempt being touched. The decision
//! itself is the queue's ([`super::queue`]); here it is only put into words, so
//! a sentence may be a moment old.

use std::collections::HashMap;

use devenv_cloud_api::{
    ids::OrgId,
    runs::{Attempt, Run, State},
};

use super::store::{self, RunnerNow, Waiting};
use crate::{app::AppParts, db::DbError, runners::SILENT};

/// Why the attempts of a run wait, where they do.
pub(super) async fn explain_run(app: &AppParts, run: &mut Run) -> Result<(), DbError> {
    if run.jobs.iter().all(|job| job.state != State::Queued) {
        return Ok(());
    }
    let mut why = HashMap::new();
    for waiting in store::waiting_of_run(&app.db, run.summary.id).await? {
        why.insert(waiting.attempt, sentence(app, &waiting).await?);
    }
    for attempt in run.jobs.iter_mut().flat_map(|job| &mut job.attempts) {
        attempt.waits = why.remove(&attempt.id);
    }
    Ok(())
}

/// Why an attempt waits, if it does.
pub(super) async fn explain(app: &AppParts, attempt: &mut Attempt) -> Result<(), DbError> {
    if attempt.state == State::Queued
        && let Some(waiting) = store::waiting_attempt(&app.db, attempt.id).await?
    {
        attempt.waits = Some(sentence(app, &waiting).await?);
    }
    Ok(())
}

async fn sentence(app: &AppParts, waiting: &Waiting) -> Result<String, DbError> {
    let silence = app.clock.now() - SILENT;
    let runners = store::runners_now(&app.db, waiting.org, silence, waiting.attempt).await?;
    // Of others only runners that take everybody's jobs are asked for.
    let shared = runners.iter().any(|runner| runner.takes.org.is_none());
    let own = store::own_before(&app.db, waiting).await?;
    let others = if shared { store::by_org(&app.db).await? } else { Vec::new() };
    Ok(why(waiting, &runners, before(waiting.org, own, &others)))
}

/// How many attempts get a machine before one that `own` of its organisation
/// were queued before: each time it is the turn of the organisation with the
/// fewest under way.
fn before(org: OrgId, own: i64, by_org: &[(OrgId, State, i64)]) -> i64 {
    let count = |of: OrgId, state| {
        by_org.iter().filter(|(org, s, _)| *org == of && *s == state).map(|(_, _, n)| n).sum::<i64>()
    };
    let level = count(org, State::Running) + own;
    let others = by_org.iter().filter(|(other, state, _)| *other != org && *state == State::Queued);
    own + others
        .map(|(other, _, queued)| (level - count(*other, State::Running)).clamp(0, *queued))
        .sum::<i64>()
}

fn plural(n: i64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first thing that stands in its way.
fn why(waiting: &Waiting, runners: &[RunnerNow], before: i64) -> String {
    let Waiting { platform, label, memory_mib, cpus, .. } = waiting;
    let has = |words: &str, word: &str| words.contains(&format!(",{word},"));
    if runners.is_empty() {
        return "waits for a runner: none is there. Start one, or set executor.enabled on the server"
            .to_owned();
    }
    let mut fit: Vec<_> = runners.iter().filter(|r| has(&r.takes.platforms, platform)).collect();
    if fit.is_empty() {
        return format!("waits for a runner: none has the platform {platform}");
    }
    if let Some(label) = label {
        fit.retain(|r| has(&r.takes.labels, label));
        if fit.is_empty() {
            return format!(
                "waits for a runner: none has the label {label}. Start one with it, or change the project's settings"
            );
        }
    }
    let largest = fit.iter().map(|r| r.takes.memory_mib).max().unwrap_or_default();
    fit.retain(|r| r.takes.memory_mib >= *memory_mib);
    if fit.is_empty() {
        return format!(
            "waits for a larger runner: it asks for {memory_mib} MiB of memory, and none has more than {largest}. Ask \
             for less in the project's settings, or raise executor.memory_mib there"
        );
    }
    let largest = fit.iter().map(|r| r.takes.cpus).max().unwrap_or_default();
    fit.retain(|r| r.takes.cpus >= *cpus);
    if fit.is_empty() {
        return format!(
            "waits for a larger runner: it asks for {cpus} processors, and none gives more than {largest}. Ask for \
             fewer in the project's settings, or raise executor.cpus there"
        );
    }
    fit.retain(|r| !r.draining);
    if fit.is_empty() {
        return "waits for a runner: those that could take it are draining".to_owned();
    }
    let slots = fit.iter().map(|r| r.takes.slots).sum::<i64>();
    fit.retain(|r| r.used.jobs < r.takes.slots);
    if fit.is_empty() {
        let slots = if slots == 1 { "the only slot".to_owned() } else { format!("one of {slots} slots") };
        return match before {
            0 => format!("waits for {slots}"),
            1 => format!("waits for {slots}; 1 job is before it"),
            n => format!("waits for {slots}; {n} jobs are before it"),
        };
    }
    let free = fit.iter().map(|r| r.takes.memory_mib - r.used.memory_mib).max().unwrap_or_default();
    fit.retain(|r| r.takes.memory_mib - r.used.memory_mib >= *memory_mib);
    if fit.is_empty() {
        return format!("waits for {memory_mib} MiB of memory; {} are free", free.max(0));
    }
    let free = fit.iter().map(|r| r.takes.cpus - r.used.cpus).max().unwrap_or_default();
    fit.retain(|r| r.takes.cpus - r.used.cpus >= *cpus);
    if fit.is_empty() {
        let processors = plural(*cpus, "processor", "processors");
        return match free.max(0) {
            1 => format!("waits for {processors}; 1 is free"),
            free => format!("waits for {processors}; {free} are free"),
        };
    }
    fit.retain(|r| !r.keeps);
    if fit.is_empty() {
        return "waits until a larger job, which has waited longer, has got its machine".to_owned();
    }
    match before {
        0 => "waits its turn: it is next".to_owned(),
        n => format!("waits its turn: {} before it", plural(n, "job", "jobs")),
    }
}

#[cfg(test)]
mod tests {
    use devenv_cloud_api::ids::AttemptId;
    use uuid::Uuid;

    use super::*;
    use crate::runs::store::{RunnerTakes, Used};

    fn org(n: u128) -> OrgId {
        OrgId(Uuid::from_u128(n))
    }

    fn waiting() -> Waiting {
        Waiting {
            attempt: AttemptId(Uuid::from_u128(1)),
            org: org(1),
            platform: "x86_64-linux".into(),
            label: None,
            memory_mib: 4096,
            cpus: 2,
            queued_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn runner() -> RunnerNow {
        RunnerNow {
            takes: RunnerTakes {
                org: None,
                slots: 2,
                labels: ",gpu,".into(),
                platforms: ",x86_64-linux,".into(),
                memory_mib: 8192,
                cpus: 4,
            },
            used: Used { jobs: 0, memory_mib: 0, cpus: 0 },
            draining: false,
            keeps: false,
        }
    }

    #[test]
    fn the_first_thing_in_the_way_is_said() {
        let said = |change: fn(&mut Waiting, &mut RunnerNow)| {
            let (mut waiting, mut runner) = (waiting(), runner());
            change(&mut waiting, &mut runner);
            why(&waiting, &[runner], 3)
        };
        for (change, words) in [
            ((|_, _| {}) as fn(&mut Waiting, &mut RunnerNow), "waits its turn: 3 jobs before it"),
            (|w, _| w.platform = "aarch64-linux".into(), "none has the platform aarch64-linux"),
            (|w, _| w.label = Some("big".into()), "none has the label big"),
            (|w, _| w.label = Some("gpu".into()), "waits its turn"),
            (|w, _| w.memory_mib = 9000, "9000 MiB of memory, and none has more than 8192"),
            (|w, _| w.cpus = 8, "8 processors, and none gives more than 4"),
            (|_, r| r.draining = true, "draining"),
            (|_, r| r.used.jobs = 2, "waits for one of 2 slots; 3 jobs are before it"),
            (|_, r| r.used.memory_mib = 7168, "waits for 4096 MiB of memory; 1024 are free"),
            (|_, r| r.used.cpus = 3, "waits for 2 processors; 1 is free"),
            (|_, r| r.keeps = true, "a larger job"),
        ] {
            let sentence = said(change);
            assert!(sentence.contains(words), "{sentence}");
        }
        assert!(why(&waiting(), &[], 0).contains("none is there"));
    }

    #[test]
    fn a_second_runner_may_have_what_the_first_lacks() {
        let (mut busy, mut small) = (runner(), runner());
        busy.used.jobs = 2;
        small.takes.memory_mib = 1024;
        assert_eq!(why(&waiting(), &[busy, small], 0), "waits for one of 2 slots");
    }

    #[test]
    fn organisations_take_turns() {
        let counts = [
            (org(1), State::Queued, 5),
            (org(2), State::Queued, 2),
            (org(2), State::Running, 1),
            (org(3), State::Queued, 9),
            (org(4), State::Running, 9),
        ];
        // The first of its organisation, which has nothing under way: nobody is before it.
        assert_eq!(before(org(1), 0, &counts), 0);
        // The third: two of its own, one of the second organisation, two of the third.
        assert_eq!(before(org(1), 2, &counts), 5);
        // However long it waits, there are no more than are queued.
        assert_eq!(before(org(1), 100, &counts), 111);
    }
}
