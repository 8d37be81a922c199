//! The one job, from its source to its end: checkout, evaluate, run.

use std::sync::{Arc, mpsc};

use crate::{
    cancel::Canceller,
    checkout,
    evaluate::{self, Plan},
    protocol::{Finished, Job, Level, Outcome, SpanKind, Stage},
    recorder::{NewSpan, Recorder, Span},
    world::World,
};

/// What every part of the job needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The surroundings.
    pub world: Arc<World>,
    /// The job itself.
    pub job: Arc<Job>,
    /// Takes what happens.
    pub recorder: Recorder,
    /// Ends it early.
    pub canceller: Canceller,
}

/// An end that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub outcome: Outcome,
    /// One sentence.
    pub reason: String,
    /// The exit status of the command that decided it.
    pub exit_status: Option<i32>,
}

impl End {
    /// The job's own fault.
    #[must_use]
    pub fn failure(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure, reason: reason.into(), exit_status: None }
    }

    /// The system's fault.
    #[must_use]
    pub fn error(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Error, reason: reason.into(), exit_status: None }
    }

    /// Somebody stopped it.
    #[must_use]
    pub fn cancelled() -> Self {
        Self { outcome: Outcome::Cancellation, reason: "the job was cancelled".to_owned(), exit_status: None }
    }
}

/// What a project without `devenv.nix` is told.
const NO_DEVENV_NIX: &str = "\
There is no devenv.nix at the top of this commit, so there is nothing to run. Add one, for example:

{ pkgs, ... }: {
  tasks.\"app:build\".exec = \"make\";
  tasks.\"app:test\" = { exec = \"make check\"; after = [ \"app:build\" ]; };
  enterTest = \"./hello | grep -q hello\";
}";

/// Does the job. `source` yields the bytes of the packfile.
#[must_use]
pub fn run(context: &Context, source: mpsc::Receiver<Vec<u8>>) -> Finished {
    context.recorder.limit_log(context.job.max_log_bytes);
    let end = steps(context, source).err();
    // Whatever went wrong after a cancellation went wrong because of it.
    let end = end.map(|end| if context.canceller.is_cancelled() { End::cancelled() } else { end });
    let (outcome, reason, exit_status) = end
        .map_or((Outcome::Success, String::new(), Some(0)), |end| (end.outcome, end.reason, end.exit_status));
    Finished { outcome, reason, exit_status, dropped_lines: 0 }
}

fn steps(context: &Context, source: mpsc::Receiver<Vec<u8>>) -> Result<(), End> {
    stage(context, Stage::Checkout, "checkout", |span| checkout::check_out(context, span, source))?;
    let plan = stage(context, Stage::Evaluate, "evaluate", |span| evaluate(context, span))?;
    plan.run(context)
}

fn evaluate(context: &Context, span: &Arc<Span>) -> Result<Box<dyn Plan>, End> {
    if !context.world.source.join("devenv.nix").is_file() {
        span.message(Level::Warning, NO_DEVENV_NIX, Some(("devenv.nix".to_owned(), None)));
        return Err(End {
            outcome: Outcome::Skip,
            reason: "there is no devenv.nix at the top of this commit: add one to have something to run"
                .to_owned(),
            exit_status: None,
        });
    }
    let evaluator = evaluate::choose(context);
    span.note("devenv.evaluator", evaluator.name());
    evaluator.evaluate(context, span)
}

/// Does something as a stage, with a span of its own.
pub(crate) fn stage<T>(
    context: &Context,
    stage: Stage,
    name: &str,
    work: impl FnOnce(&Arc<Span>) -> Result<T, End>,
) -> Result<T, End> {
    let span = Arc::new(context.recorder.open(None, NewSpan::new(SpanKind::Stage, name).stage(stage)));
    let result = work(&span);
    let outcome = match &result {
        Ok(_) => Outcome::Success,
        Err(_) if context.canceller.is_cancelled() => Outcome::Cancellation,
        Err(end) => end.outcome,
    };
    span.close(outcome);
    result
}
