//! The steps from a push to its first task: noted as their records come, so
//! that the promise of a quick start is a row and a histogram, and not only a
//! trace that somebody must open.
//!
//! A step ends where the next begins. Its end is all that is stored: of a
//! guest's clock, or of what is started ahead of time, a beginning may well be
//! earlier than the step before.

use chrono::TimeDelta;
use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, SpanId},
    runs::{Latency, MachineStart, Stage, State, Step, StepTime},
    trace::SpanKind,
};
use devenv_cloud_guest::evaluate::START;

use super::{
    MACHINE_SPAN, RESEED_SPAN, Record,
    store::{self, StepRow},
};
use crate::{
    app::AppParts,
    db::{DbError, Tx},
};

/// When an attempt's way began, and what is known of it since.
#[derive(Clone, Debug)]
pub struct Way {
    /// When the push was stored; for attempts that no push made, when they were queued.
    pub accepted_at: Timestamp,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// How its machine came to be.
    pub start: Option<MachineStart>,
    /// The ends of the steps that have ended.
    pub ends: Vec<(Step, Timestamp)>,
}

impl Way {
    /// How long each step took, up to the first that has not ended.
    fn steps(&self) -> Vec<(Step, TimeDelta)> {
        let mut out = Vec::new();
        let mut before = self.accepted_at;
        for &step in Step::ALL {
            let end = match step {
                Step::Accepted => Some(self.queued_at),
                Step::Queued => self.started_at,
                _ => self.ends.iter().find(|(of, _)| *of == step).map(|(_, end)| *end),
            };
            let Some(end) = end else { break };
            let end = end.max(before);
            out.push((step, end - before));
            before = end;
        }
        out
    }

    /// The same, as the API shows it. `None` while nothing is known.
    #[must_use]
    pub fn show(&self) -> Option<Latency> {
        let steps = self.steps();
        let millis = |time: TimeDelta| u64::try_from(time.num_milliseconds()).unwrap_or(0);
        let begun = steps.iter().position(|(step, _)| *step == Step::Evaluator);
        (steps.len() > 2).then(|| Latency {
            start: self.start,
            push_to_evaluation_ms: begun
                .map(|last| millis(steps[..=last].iter().map(|(_, time)| *time).sum())),
            steps: steps.into_iter().map(|(step, time)| StepTime { step, millis: millis(time) }).collect(),
        })
    }
}

/// What a record says about the steps.
enum Said {
    /// The step ends with this span.
    EndsWith(Step, SpanId),
    /// The step has ended.
    Ended(Step, Timestamp),
    /// The machine came to be so.
    Started(MachineStart),
}

fn said(record: &Record, rows: &[StepRow]) -> Option<Said> {
    match record {
        Record::Opened { id, stage: Some(Stage::Checkout), .. } => Some(Said::EndsWith(Step::Source, *id)),
        Record::Opened { id, stage: Some(Stage::Evaluate), .. } => {
            Some(Said::EndsWith(Step::Evaluation, *id))
        }
        Record::Opened { id, kind: SpanKind::Evaluation, name, .. } if name == START => {
            Some(Said::EndsWith(Step::Evaluator, *id))
        }
        Record::Opened { stage: Some(Stage::Task), time, .. } => Some(Said::Ended(Step::Task, *time)),
        Record::Opened { id: RESEED_SPAN, time, .. } => Some(Said::Ended(Step::Machine, *time)),
        Record::Closed { id: RESEED_SPAN, time, state: State::Success, .. } => {
            Some(Said::Ended(Step::Reseed, *time))
        }
        Record::Closed { id: MACHINE_SPAN, attributes, .. } => {
            attributes.get("devenv_cloud.machine.start")?.parse().ok().map(Said::Started)
        }
        Record::Closed { id, time, state: State::Success, .. } => {
            let row = rows.iter().find(|row| row.span == Some(*id) && row.ended_at.is_none())?;
            Some(Said::Ended(row.step, *time))
        }
        _ => None,
    }
}

/// Notes what records say about the steps. Says whether anything is new.
pub(super) async fn note(
    app: &AppParts,
    tx: &mut Tx,
    attempt: AttemptId,
    records: &[Record],
) -> Result<bool, DbError> {
    if !records.iter().any(|record| matches!(record, Record::Opened { .. } | Record::Closed { .. })) {
        return Ok(false);
    }
    let mut rows = store::steps(tx, attempt).await?;
    let mut ended = Vec::new();
    let mut changed = false;
    for record in records {
        match said(record, &rows) {
            Some(Said::Started(start)) => {
                store::set_machine_start(tx, attempt, start).await?;
                changed = true;
            }
            Some(Said::EndsWith(step, span)) if !rows.iter().any(|row| row.step == step) => {
                store::open_step(tx, attempt, step, span).await?;
                rows.push(StepRow { step, span: Some(span), ended_at: None });
            }
            Some(Said::Ended(step, time)) => {
                let known = rows.iter_mut().find(|row| row.step == step);
                if known.as_ref().is_some_and(|row| row.ended_at.is_some()) {
                    continue;
                }
                store::end_step(tx, attempt, step, time).await?;
                match known {
                    Some(row) => row.ended_at = Some(time),
                    None => rows.push(StepRow { step, span: None, ended_at: Some(time) }),
                }
                ended.push(step);
            }
            Some(Said::EndsWith(..)) | None => {}
        }
    }
    if !ended.is_empty() {
        count(app, tx, attempt, &rows, &ended).await?;
    }
    Ok(changed || !ended.is_empty())
}

/// Counts the steps that have just ended.
async fn count(
    app: &AppParts,
    tx: &mut Tx,
    attempt: AttemptId,
    rows: &[StepRow],
    ended: &[Step],
) -> Result<(), DbError> {
    let Some(mut way) = store::way(tx, attempt).await? else { return Ok(()) };
    way.ends = rows.iter().filter_map(|row| Some((row.step, row.ended_at?))).collect();
    let start = way.start.map_or("unknown", MachineStart::as_str);
    let steps = way.steps();
    for (step, time) in &steps {
        // With the machine it is known how it came to be, which is a label of
        // the steps before as well.
        let early = matches!(step, Step::Accepted | Step::Queued | Step::Machine);
        if ended.contains(if early { &Step::Reseed } else { step }) {
            let histogram = app.metrics.step_seconds.with_label_values(&[step.as_str(), start]);
            histogram.observe(time.as_seconds_f64());
        }
    }
    let begun = steps.iter().position(|(step, _)| *step == Step::Evaluator);
    if let Some(last) = begun.filter(|_| ended.contains(&Step::Evaluator)) {
        let whole: TimeDelta = steps[..=last].iter().map(|(_, time)| *time).sum();
        app.metrics.push_to_evaluation.with_label_values(&[start]).observe(whole.as_seconds_f64());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        chrono::DateTime::from_timestamp_millis(1_000_000 + millis).unwrap()
    }

    fn way(ends: &[(Step, i64)]) -> Way {
        Way {
            accepted_at: at(0),
            queued_at: at(5),
            started_at: Some(at(15)),
            start: Some(MachineStart::Pooled),
            ends: ends.iter().map(|(step, millis)| (*step, at(*millis))).collect(),
        }
    }

    #[test]
    fn a_step_ends_where_the_next_begins() {
        let way = way(&[
            (Step::Machine, 20),
            (Step::Reseed, 60),
            (Step::Source, 100),
            (Step::Evaluator, 210),
            (Step::Evaluation, 900),
        ]);
        let shown = way.show().unwrap();
        assert_eq!(shown.push_to_evaluation_ms, Some(210));
        let millis: Vec<_> = shown.steps.iter().map(|step| step.millis).collect();
        assert_eq!(millis, [5, 10, 5, 40, 40, 110, 690]);
    }

    #[test]
    fn an_evaluator_that_was_there_before_its_job_took_no_time() {
        let way = way(&[(Step::Machine, 20), (Step::Reseed, 60), (Step::Source, 100), (Step::Evaluator, 3)]);
        let shown = way.show().unwrap();
        assert_eq!(shown.push_to_evaluation_ms, Some(100));
        assert_eq!(shown.steps.last().map(|step| (step.step, step.millis)), Some((Step::Evaluator, 0)));
    }

    #[test]
    fn nothing_is_said_of_what_has_not_happened() {
        let shown = way(&[(Step::Machine, 20), (Step::Source, 50), (Step::Evaluator, 90)]).show().unwrap();
        assert_eq!(shown.steps.len(), 3, "the step after the machine is not known");
        assert_eq!(shown.push_to_evaluation_ms, None);
        assert_eq!(way(&[]).show(), None);
    }
}
