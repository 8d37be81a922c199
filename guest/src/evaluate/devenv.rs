//! The image's own `devenv`: it evaluates, builds and runs; the guest starts it
//! and reads its activity.
//!
//! What differs from the built-in evaluator: `config.cloud` has no values (stock
//! devenv has no such options), and the job's secrets are in the environment of
//! `devenv` itself when tasks run, because it passes its own on to them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::fs::{CWD, FileType, Mode};
use serde::Deserialize;

use super::{
    Evaluator, Plan, into_span,
    trace::{Findings, Trace},
};
use crate::{
    command::{Ended, Launch},
    job::{Context, End, stage},
    protocol::{Level, Outcome, SpanKind, Stage, Stream},
    recorder::{NewSpan, Span},
};

/// Evaluates and runs with the image's `devenv`.
#[derive(Clone, Debug)]
pub struct Devenv {
    program: PathBuf,
}

impl Devenv {
    /// With this `devenv`.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
}

impl Evaluator for Devenv {
    fn name(&self) -> &'static str {
        "devenv"
    }

    fn evaluate(&self, context: &Context, stage: &Arc<Span>) -> Result<Box<dyn Plan>, End> {
        let call = Call { devenv: self, context, secrets: false };
        let answer = call.run(stage, "the evaluation", &["tasks", "list", "--json"])?;
        let listed: Vec<Listed> = serde_json::from_slice(&answer)
            .map_err(|error| End::error(format!("`devenv tasks list --json` cannot be read: {error}")))?;
        let names = listed.into_iter().map(|task| task.name);
        // Those of devenv itself belong to `devenv test`.
        let tasks = names.filter(|name| !name.starts_with("devenv:")).collect();
        Ok(Box::new(DevenvPlan { devenv: self.clone(), tasks }))
    }
}

struct DevenvPlan {
    devenv: Devenv,
    tasks: Vec<String>,
}

impl Plan for DevenvPlan {
    fn run(self: Box<Self>, context: &Context) -> Result<(), End> {
        let call = Call { devenv: &self.devenv, context, secrets: true };
        if !context.job.tasks.is_empty() {
            // `before`: with everything that they wait for.
            let mut arguments = vec!["tasks", "run", "--mode", "before"];
            arguments.extend(context.job.tasks.iter().map(String::as_str));
            return call.run_as("devenv tasks run", &arguments).map(drop);
        }
        if !self.tasks.is_empty() {
            let mut arguments = vec!["tasks", "run", "--mode", "all"];
            arguments.extend(self.tasks.iter().map(String::as_str));
            call.run_as("devenv tasks run", &arguments)?;
        }
        call.run_as("devenv test", &["test"])?;
        stage(context, Stage::Outputs, "outputs", |span| {
            let call = Call { secrets: false, ..call };
            let answer = call.run(span, "the build", &["build"])?;
            let Ok(outputs) = serde_json::from_slice::<std::collections::BTreeMap<String, String>>(&answer)
            else {
                return Ok(());
            };
            for (name, path) in outputs {
                span.note(&format!("devenv.output.{}", name.trim_start_matches("outputs.")), &path);
                span.say(format!("{name}: {path}"));
            }
            Ok(())
        })
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    devenv: &'a Devenv,
    context: &'a Context,
    /// Whether the job's environment is given.
    secrets: bool,
}

impl Call<'_> {
    /// Runs devenv in a span of its own.
    fn run_as(&self, name: &str, arguments: &[&str]) -> Result<Vec<u8>, End> {
        let span = Arc::new(self.context.recorder.open(None, NewSpan::new(SpanKind::Command, name)));
        let result = self.run(&span, name, arguments);
        span.close(result.as_ref().map_or_else(|end| end.outcome, |_| Outcome::Success));
        result
    }

    /// Runs devenv; what it does is in `span`. Returns its standard output.
    fn run(&self, span: &Arc<Span>, what: &str, arguments: &[&str]) -> Result<Vec<u8>, End> {
        /// More than this is no answer.
        const STDOUT: usize = 16 << 20;
        let context = self.context;
        let pipe = Pipe::new(context).map_err(|error| End::error(format!("cannot make a pipe: {error}")))?;
        let mut launch = Launch::new(&context.world, &self.devenv.program)
            .arg("--trace-to")
            .arg(format!("json:file:{}", pipe.path.display()));
        for profile in &context.job.profiles {
            launch = launch.arg("--profile").arg(profile);
        }
        launch = launch.args(arguments);
        launch.env.insert("CI".to_owned(), "1".to_owned());
        if self.secrets {
            launch.env.extend(context.job.env.clone());
        }
        let running = launch.start(&context.world, &context.canceller)?;
        let reader = pipe.read(span.clone(), Trace::new(context.world.source.clone()));
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let keep = stdout.clone();
        let take = move |bytes: &[u8]| {
            let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() + bytes.len() <= STDOUT {
                kept.extend_from_slice(bytes);
            }
        };
        let ended = running.finish(take, into_span(span, Stream::Stderr));
        let trace = pipe.end(reader);
        let ended = ended.map_err(|error| End::error(format!("cannot learn how {what} ended: {error}")))?;
        let outcome = if ended.is_success() { Outcome::Success } else { Outcome::Failure };
        let findings = trace.map(|trace| trace.finish(outcome)).unwrap_or_default();
        if context.canceller.is_cancelled() {
            return Err(End::cancelled());
        }
        if ended.is_success() {
            return Ok(std::mem::take(&mut *stdout.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        Err(failure(context, span, what, &ended, findings))
    }
}

fn failure(context: &Context, span: &Span, what: &str, ended: &Ended, findings: Findings) -> End {
    let limit = context.world.cgroups.as_ref().map(crate::cgroup::Cgroups::memory);
    let words = ended.in_words(limit);
    let reason = match findings {
        Findings { failed_task: Some(task), .. } => format!("task {task} failed"),
        Findings { error: Some(error), .. } if !ended.out_of_memory => error.in_one_line(),
        Findings { .. } => format!("{what} {words}"),
    };
    span.message(Level::Error, &reason, None);
    End { outcome: Outcome::Failure, reason, exit_status: Some(ended.status) }
}

/// A named pipe: devenv writes its activity into what it takes for a file.
struct Pipe {
    path: PathBuf,
    /// Kept open for writing, so that the reader sees no end before [`Pipe::end`].
    own: File,
}

/// A line that is no JSON and that devenv therefore never writes.
const LAST: &str = "end of activity";

impl Pipe {
    fn new(context: &Context) -> io::Result<Self> {
        let world = &context.world;
        fs::create_dir_all(&world.run)?;
        let path = world.run.join("activity");
        remove(&path)?;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        world.give(&path)?;
        let own = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, own })
    }

    /// Reads the activity on a thread, until its end.
    fn read(&self, span: Arc<Span>, mut trace: Trace) -> Option<thread::JoinHandle<Trace>> {
        let reader = BufReader::new(self.own.try_clone().ok()?);
        Some(thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if line == LAST {
                    break;
                }
                trace.line(&span, &line);
            }
            trace
        }))
    }

    /// Devenv has ended: so does its activity, after what is still in the pipe.
    fn end(mut self, reader: Option<thread::JoinHandle<Trace>>) -> Option<Trace> {
        // It may have died in the middle of a line.
        self.own.write_all(format!("\n{LAST}\n").as_bytes()).ok()?;
        let trace = reader?.join().ok();
        let _ = remove(&self.path);
        trace
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
