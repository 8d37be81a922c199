//! How attempts end, and what follows: the states of the job and the run, and
//! one more attempt where the end was the system's fault.

use devenv_cloud_api::{
    ids::{AttemptId, RunId, RunnerId},
    runs::State,
};

use super::{RunError, store};
use crate::{
    app::AppParts,
    db::{DbError, Topic, Tx},
    executor::LEASE_SECONDS,
};

/// An end that is to be written down.
pub(super) struct End {
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) exit_status: Option<i32>,
    pub(super) dropped_lines: u64,
}

impl End {
    pub(super) fn new(state: State, reason: impl Into<String>) -> Self {
        Self { state, reason: Some(reason.into()), exit_status: None, dropped_lines: 0 }
    }
}

/// Ends an attempt in a transaction of its own. Says whether it was `holder`'s to end.
pub(super) async fn end(
    app: &AppParts,
    attempt: AttemptId,
    holder: &store::Holder<'_>,
    end: End,
) -> Result<bool, DbError> {
    let mut tx = app.db.begin().await?;
    let Some(run) = store::run_of_attempt(&mut tx, attempt).await? else { return Ok(false) };
    store::lock_run(&mut tx, run).await?;
    if !end_in(app, &mut tx, attempt, holder, end).await? {
        return Ok(false);
    }
    refresh(app, &mut tx, run).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends an attempt; the caller has locked the run, and refreshes it afterwards.
async fn end_in(
    app: &AppParts,
    tx: &mut Tx,
    attempt: AttemptId,
    holder: &store::Holder<'_>,
    end: End,
) -> Result<bool, DbError> {
    let now = app.clock.now();
    // What claims to have ended must have: anything else is the system's fault.
    let state = if end.state.is_final() { end.state } else { State::Error };
    let row = store::End {
        state,
        reason: end.reason.as_deref(),
        exit_status: end.exit_status,
        dropped_lines: end.dropped_lines,
        now,
    };
    let Some(ended) = store::end_attempt(tx, attempt, holder, &row).await? else { return Ok(false) };
    store::end_stages(tx, attempt, state, now).await?;
    tx.wake(Topic::Attempt(attempt));
    if let (State::Error, Some(runner)) = (state, ended.runner) {
        store::note_error(tx, runner, end.reason.as_deref().unwrap_or("no reason was given"), now).await?;
    }
    if state == State::Error && !ended.automatic && ended.cancel_reason.is_none() {
        let again = store::AttemptInsert {
            id: AttemptId(app.random.id(now)),
            job: ended.job,
            number: ended.number + 1,
            state: State::Queued,
            reason: None,
            automatic: true,
            now,
        };
        store::insert_attempt(tx, &again).await?;
    }
    // There is something new to do, or room for what waited.
    tx.wake(Topic::Queue);
    app.metrics.attempts.with_label_values(&[state.as_str()]).inc();
    Ok(true)
}

/// Computes what the jobs and the run are, from the newest attempts. The
/// caller has locked the run.
pub(super) async fn refresh(app: &AppParts, tx: &mut Tx, run: RunId) -> Result<State, DbError> {
    let newest = store::newest_attempts(tx, run).await?;
    for attempt in &newest {
        store::set_job_state(tx, attempt.job, attempt.state).await?;
    }
    let state = State::of_all(newest.iter().map(|attempt| attempt.state));
    let reason = newest
        .iter()
        .filter(|_| state.is_final() && state != State::Success)
        .find(|attempt| attempt.state == state)
        .and_then(|attempt| attempt.reason.clone());
    store::set_run_state(tx, run, state, reason.as_deref(), app.clock.now()).await?;
    tx.wake(Topic::Run(run));
    Ok(state)
}

/// Cancels what of a run is still in the queue.
pub(super) async fn cancel_queued(
    app: &AppParts,
    tx: &mut Tx,
    run: RunId,
    reason: &str,
) -> Result<(), DbError> {
    store::lock_run(tx, run).await?;
    for attempt in store::newest_attempts(tx, run).await? {
        if attempt.state == State::Queued {
            cancel_one_queued(app, tx, attempt.attempt, reason).await?;
        }
    }
    refresh(app, tx, run).await.map(|_| ())
}

/// Cancels one attempt that is still in the queue. The caller has locked the
/// run, and refreshes it afterwards.
pub(super) async fn cancel_one_queued(
    app: &AppParts,
    tx: &mut Tx,
    attempt: AttemptId,
    reason: &str,
) -> Result<bool, DbError> {
    end_in(app, tx, attempt, &store::Holder::Queue, End::new(State::Cancellation, reason)).await
}

/// The end of an attempt whose runner is gone.
fn lost(reason: &str, was_to_be_cancelled: bool) -> End {
    if was_to_be_cancelled {
        End::new(State::Cancellation, "it was cancelled, and its runner was lost before it could say so")
    } else {
        End::new(State::Error, reason)
    }
}

/// Ends the attempts whose leases have lapsed, and puts each that has not been
/// repeated yet into the queue once more. Says how many there were.
///
/// # Errors
/// When the database says no.
pub async fn reap_lapsed_leases_once(app: &AppParts) -> Result<usize, RunError> {
    let now = app.clock.now();
    let reason = format!("the runner was lost: no sign of life for {LEASE_SECONDS} s");
    let mut count = 0;
    for (attempt, cancelled) in store::lapsed(&app.db, now).await? {
        // The runner may have renewed its lease since we looked: then the
        // condition in the statement does not hold, and nothing happens.
        let holder = store::Holder::LapsedBefore(now);
        if end(app, attempt, &holder, lost(&reason, cancelled)).await? {
            tracing::warn!(%attempt, "a lease lapsed");
            count += 1;
        }
    }
    Ok(count)
}

/// Ends the attempts that a runner has, because it will not report on them.
/// Says how many there were.
///
/// # Errors
/// When the database says no.
pub async fn end_all_of_runner(app: &AppParts, runner: RunnerId, reason: &str) -> Result<usize, DbError> {
    let mut count = 0;
    for (attempt, cancelled) in store::held_by_runner(&app.db, runner).await? {
        let holder = store::Holder::Runner(runner);
        count += usize::from(end(app, attempt, &holder, lost(reason, cancelled)).await?);
    }
    Ok(count)
}

/// Whether a runner has this attempt, or had it last.
///
/// # Errors
/// When the database says no.
pub async fn is_of_runner(app: &AppParts, runner: RunnerId, attempt: AttemptId) -> Result<bool, DbError> {
    store::is_of_runner(&app.db, runner, attempt).await
}

/// Ends the attempts that an earlier process of this server was working on.
/// That process is dead (we hold the lock on its state directory), so nobody
/// needs to wait until their leases lapse.
///
/// # Errors
/// When the database says no.
pub async fn put_right_after_restart(app: &AppParts) -> Result<usize, RunError> {
    let reason = "the server restarted while this was running";
    let mut count = 0;
    for (attempt, cancelled) in store::held_by(&app.db, &app.instance).await? {
        let holder = store::Holder::Named(&app.instance);
        count += usize::from(end(app, attempt, &holder, lost(reason, cancelled)).await?);
    }
    if count > 0 {
        tracing::warn!(count, "attempts were under way when the server stopped");
    }
    Ok(count)
}
