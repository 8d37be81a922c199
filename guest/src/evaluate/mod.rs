//! Turning `devenv.nix` into something that can be run.
//!
//! There are two ways, and both end in the same records: where the image has the `devenv` command,
//! [`Devenv`] lets it do the work and reads its activity; where it has none,
//! [`Builtin`] evaluates a documented subset with plain Nix.

pub(crate) mod builtin;
mod configuration;
mod devenv;
pub mod location;
pub mod nix_log;
pub mod trace;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub use builtin::Builtin;
pub use configuration::{Configuration, Hook, Missing, Output, Process, Script, Task};
pub use devenv::Devenv;

use crate::{
    command::{Ended, Running, StartError},
    evaluate::{location::Diagnosis, nix_log::NixLog},
    job::{Context, End},
    lines::LineSplitter,
    protocol::{Level, Outcome, SpanKind, Stream},
    recorder::{NewSpan, Span},
};

/// A way to evaluate a project.
pub trait Evaluator {
    /// What it is called in attributes: `builtin` or `devenv`.
    fn name(&self) -> &'static str;

    /// Evaluates the source. `stage` is the span of the evaluate stage.
    ///
    /// # Errors
    /// How the job ends when this does not succeed.
    fn evaluate(&self, context: &Context, stage: &Arc<Span>) -> Result<Box<dyn Plan>, End>;
}

/// What evaluation found out to be run.
pub trait Plan: Send {
    /// Runs it.
    ///
    /// # Errors
    /// How the job ends when this does not succeed.
    fn run(self: Box<Self>, context: &Context) -> Result<(), End>;
}

/// The evaluator for this image.
#[must_use]
pub fn choose(context: &Context) -> Box<dyn Evaluator> {
    match find_program(context, "devenv") {
        Some(program) => Box::new(Devenv::new(program)),
        None => Box::new(Builtin),
    }
}

/// Looks a program up in the job's PATH.
fn find_program(context: &Context, name: &str) -> Option<PathBuf> {
    let path = context.world.env.get("PATH")?;
    let mut files = path.split(':').map(|folder| Path::new(folder).join(name));
    files.find(|file| {
        fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

/// The name of the span from the start of a Nix program to its first word.
pub const START: &str = "start Nix";

/// What a run of Nix left.
pub(crate) struct NixEnd {
    pub(crate) ended: Ended,
    pub(crate) stdout: Vec<u8>,
    /// The error that ended it.
    pub(crate) error: Option<(Diagnosis, String)>,
    /// There was more output than is kept.
    pub(crate) too_much: bool,
}

/// Runs a Nix command that logs as internal-json; what it does becomes spans and
/// lines of `span`. The time until its first word is a span of its own: until
/// then the program itself starts.
pub(crate) fn run_nix(
    context: &Context,
    span: &Arc<Span>,
    start: impl FnOnce() -> Result<Running, StartError>,
) -> Result<NixEnd, End> {
    /// A configuration of this size is no configuration.
    const STDOUT: usize = 64 << 20;
    /// A line of the log is JSON and must not be cut; one that is longer is lost
    /// as JSON, and shown as it is.
    const LOG_LINE: usize = 4 << 20;
    let starting = Arc::new(Mutex::new(Some(span.open(NewSpan::new(SpanKind::Evaluation, START)))));
    let running = start().map_err(End::from)?;
    let log = Arc::new(Mutex::new(Some(NixLog::new(&context.world.source))));
    let stdout = Arc::new(Mutex::new((Vec::new(), false)));
    let take_stdout = {
        let stdout = stdout.clone();
        move |bytes: &[u8]| {
            let mut stdout = stdout.lock().unwrap_or_else(PoisonError::into_inner);
            if stdout.0.len() + bytes.len() > STDOUT {
                stdout.1 = true;
            } else {
                stdout.0.extend_from_slice(bytes);
            }
        }
    };
    let take_stderr = {
        let (log, span, starting) = (log.clone(), span.clone(), starting.clone());
        let mut splitter = LineSplitter::new(LOG_LINE);
        move |bytes: &[u8]| {
            if let Some(started) = starting.lock().unwrap_or_else(PoisonError::into_inner).take() {
                started.close(Outcome::Success);
            }
            let mut guard = log.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(log) = guard.as_mut() else { return };
            let mut line = |line| log.line(&span, line);
            if bytes.is_empty() { splitter.finish(&mut line) } else { splitter.feed(bytes, &mut line) }
        }
    };
    let ended = running
        .finish(take_stdout, take_stderr)
        .map_err(|error| End::error(format!("cannot learn how Nix ended: {error}")))?;
    let outcome = if ended.is_success() { Outcome::Success } else { Outcome::Failure };
    let log = log.lock().unwrap_or_else(PoisonError::into_inner).take();
    let error = log.and_then(|log| log.finish(outcome));
    let (stdout, too_much) = std::mem::take(&mut *stdout.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(NixEnd { ended, stdout, error, too_much })
}

/// How the job ends when Nix failed at `what` ("the evaluation").
pub(crate) fn nix_failure(context: &Context, span: &Span, what: &str, end: &NixEnd) -> End {
    if context.canceller.is_cancelled() {
        return End::cancelled();
    }
    let status = Some(end.ended.status);
    if end.ended.out_of_memory || end.ended.signal.is_some() {
        let limit = context.world.cgroups.as_ref().map(crate::cgroup::Cgroups::memory);
        let reason = format!("{what} {}", end.ended.in_words(limit));
        span.message(Level::Error, &reason, None);
        return End { outcome: Outcome::Failure, reason, exit_status: status };
    }
    let Some((diagnosis, _)) = &end.error else {
        let reason = format!("{what} {}, without saying why", end.ended.in_words(None));
        span.message(Level::Error, &reason, None);
        return End { outcome: Outcome::Failure, reason, exit_status: status };
    };
    let place = diagnosis.file.clone().map(|file| (file, diagnosis.line));
    span.message(Level::Error, &diagnosis.summary, place);
    End { outcome: Outcome::Failure, reason: diagnosis.in_one_line(), exit_status: status }
}

/// Lines of a command into a span.
pub(crate) fn into_span(span: &Arc<Span>, stream: Stream) -> impl FnMut(&[u8]) + Send + 'static {
    let span = span.clone();
    let mut splitter = LineSplitter::default();
    move |bytes| {
        let mut lines = Vec::new();
        let mut line = |line| lines.push(line);
        if bytes.is_empty() {
            splitter.finish(&mut line)
        } else {
            splitter.feed(bytes, &mut line)
        }
        span.lines(stream, lines);
    }
}

impl From<StartError> for End {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Cancelled(_) => Self::cancelled(),
            StartError::Failed { .. } => Self::error(format!("{error}; is the image complete?")),
        }
    }
}
