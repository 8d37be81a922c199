//! One task, from its environment to its end.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;

use super::{Scene, Work, schedule::task_span};
use crate::{
    cancel::Target,
    command::{Ended, Launch, StartError},
    evaluate::{Process, Task, into_span},
    job::End,
    protocol::{Level, Outcome, Stream},
    recorder::Span,
};

/// How a task ended, for those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeded,
    Failed,
    Skipped,
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) struct TaskEnd {
    pub(crate) fate: Fate,
    /// What the job says about it when it failed.
    pub(crate) problem: Option<End>,
}

impl TaskEnd {
    const SUCCEEDED: Self = Self { fate: Fate::Succeeded, problem: None };

    fn failed(problem: End) -> Self {
        Self { fate: Fate::Failed, problem: Some(problem) }
    }
}

/// Bytes of a task's output file that are read.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// Runs a task that ends by itself.
pub(crate) fn run(scene: &Scene, name: &str, work: &Work) -> TaskEnd {
    let mut new = task_span(name);
    if let Work::Task(task) = work
        && let Some(description) = task.description.as_deref().filter(|text| !text.is_empty())
    {
        new = new.with("devenv.task.description", description);
    }
    let span = Arc::new(scene.context.recorder.open(None, new));
    let end = match work {
        Work::Task(task) => run_task(scene, &span, name, task),
        Work::EnterShell(text) => enter_shell(scene, &span, name, text),
        Work::EnterTest(text) => run_script(scene, &span, name, &["-euo", "pipefail"], text),
        Work::Hooks(text) => run_script(scene, &span, name, &["-uo", "pipefail"], text),
        Work::Nothing | Work::Process(_) => Ok(TaskEnd::SUCCEEDED),
    };
    conclude(scene, &span, end)
}

/// Says how it ended, and ends the span.
fn conclude(scene: &Scene, span: &Span, end: Result<TaskEnd, End>) -> TaskEnd {
    let end = end.unwrap_or_else(TaskEnd::failed);
    if scene.context.canceller.is_cancelled() {
        span.close(Outcome::Cancellation);
        return TaskEnd::failed(End::cancelled());
    }
    if let Some(problem) = &end.problem {
        span.message(Level::Error, &problem.reason, None);
    }
    span.close(end.problem.as_ref().map_or(Outcome::Success, |problem| problem.outcome));
    end
}

fn run_task(scene: &Scene, span: &Arc<Span>, name: &str, task: &Task) -> Result<TaskEnd, End> {
    let outputs = scene.context.world.scratch.join("outputs");
    let mut env = scene.shared().env.clone();
    env.extend(task.env.clone());
    let input = if task.input.is_null() { Value::Object(serde_json::Map::new()) } else { task.input.clone() };
    env.insert("DEVENV_TASK_INPUT".to_owned(), input.to_string());
    env.insert("DEVENV_TASKS_OUTPUTS".to_owned(), Value::Object(scene.shared().outputs.clone()).to_string());
    let output = outputs.join(file_name(name));
    env.insert("DEVENV_TASK_OUTPUT_FILE".to_owned(), output.display().to_string());
    let directory = directory(scene, task.cwd.as_deref());

    if let Some(status) = &task.status {
        let file = write(scene, &format!("{name}.status"), status)?;
        let launch = Launch { env: env.clone(), directory: directory.clone(), ..bash(scene, &[], file) };
        if follow(scene, span, &launch)?.is_success() {
            span.say("Its status command says that there is nothing to do.");
            span.note("devenv.task.cached", "true");
            return Ok(TaskEnd::SUCCEEDED);
        }
    }
    let exports = outputs.join(format!("{}.env", file_name(name)));
    let mut text = task.exec.clone().unwrap_or_default();
    if !task.exports.is_empty() {
        let names: Vec<&str> =
            task.exports.iter().map(String::as_str).filter(|name| is_variable(name)).collect();
        text.push_str(&format!("\nexport {}\nenv -0 > '{}'\n", names.join(" "), exports.display()));
    }
    let file = write(scene, name, &text)?;
    let launch = match &task.interpreter {
        Some(interpreter) => Launch::new(&scene.context.world, interpreter).arg(file),
        None => bash(scene, &["-e"], file),
    };
    let ended = follow(scene, span, &Launch { env, directory, ..launch })?;
    if !ended.is_success() {
        return Ok(failure(scene, name, &ended));
    }
    take_output(scene, span, name, &output);
    if !task.exports.is_empty() {
        let mut exported = read_environment(&exports);
        exported.retain(|name, _| task.exports.contains(name));
        scene.shared().env.extend(exported);
    }
    Ok(TaskEnd::SUCCEEDED)
}

/// The script is read by a shell whose environment everything after it gets. As
/// in a shell, a command that fails in it is no failure, `exit` is.
fn enter_shell(scene: &Scene, span: &Arc<Span>, name: &str, text: &str) -> Result<TaskEnd, End> {
    const WRAPPER: &str = ". \"$1\"; env -0 > \"$2\"";
    let after = scene.context.world.scratch.join("outputs/environment");
    let file = write(scene, name, text)?;
    let env = scene.shared().env.clone();
    let launch = Launch { env, ..Launch::new(&scene.context.world, "bash") };
    let launch = launch.arg("-c").arg(WRAPPER).arg("bash").arg(file).arg(&after);
    let ended = follow(scene, span, &launch)?;
    if !ended.is_success() {
        return Ok(failure(scene, name, &ended));
    }
    let mut env = read_environment(&after);
    if env.is_empty() {
        return Err(End::failure(format!(
            "{name} left the shell early, with exit status 0: its environment is lost"
        )));
    }
    for own in ["_", "SHLVL", "PWD", "OLDPWD"] {
        env.remove(own);
    }
    scene.shared().env = env;
    Ok(TaskEnd::SUCCEEDED)
}

fn run_script(
    scene: &Scene,
    span: &Arc<Span>,
    name: &str,
    options: &[&str],
    text: &str,
) -> Result<TaskEnd, End> {
    let file = write(scene, name, text)?;
    let env = scene.shared().env.clone();
    let ended = follow(scene, span, &Launch { env, ..bash(scene, options, file) })?;
    Ok(if ended.is_success() { TaskEnd::SUCCEEDED } else { failure(scene, name, &ended) })
}

fn bash(scene: &Scene, options: &[&str], file: PathBuf) -> Launch {
    Launch::new(&scene.context.world, "bash").args(options).arg(file)
}

fn directory(scene: &Scene, cwd: Option<&str>) -> PathBuf {
    let source = &scene.context.world.source;
    cwd.map_or_else(|| source.clone(), |cwd| source.join(cwd))
}

fn file_name(name: &str) -> String {
    name.replace('/', "-")
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Writes a script that the job's user can run.
fn write(scene: &Scene, name: &str, text: &str) -> Result<PathBuf, End> {
    let file = scene.context.world.run.join("tasks").join(file_name(name));
    let written = scene.context.world.write_executable(&file, &format!("{text}\n"));
    written.map_err(|error| End::error(format!("cannot write {}: {error}", file.display())))?;
    Ok(file)
}

/// Runs a command with its output in the span.
fn follow(scene: &Scene, span: &Arc<Span>, launch: &Launch) -> Result<Ended, End> {
    let ended = follow_with(scene, span, launch, |_| {})?;
    if ended.left_behind > 0 && !scene.context.canceller.is_cancelled() {
        let count = ended.left_behind;
        let processes = if count == 1 { "1 process".to_owned() } else { format!("{count} processes") };
        span.say(format!(
            "Ended {processes} that it left behind; what should keep running belongs into `processes`."
        ));
    }
    Ok(ended)
}

fn follow_with(
    scene: &Scene,
    span: &Arc<Span>,
    launch: &Launch,
    started: impl FnOnce(Target),
) -> Result<Ended, End> {
    let context = &scene.context;
    if !launch.directory.is_dir() {
        let folder = launch.directory.display();
        return Err(End::failure(format!("there is no folder {folder} to run it in")));
    }
    let running = launch.start(&context.world, &context.canceller).map_err(|error| match error {
        StartError::Cancelled(_) => End::cancelled(),
        StartError::Failed { .. } => End::failure(error.to_string()),
    })?;
    started(running.target());
    let ended = running
        .finish(into_span(span, Stream::Stdout), into_span(span, Stream::Stderr))
        .map_err(|error| End::error(format!("cannot learn how it ended: {error}")))?;
    span.note("process.exit.code", ended.status.to_string());
    Ok(ended)
}

fn failure(scene: &Scene, name: &str, ended: &Ended) -> TaskEnd {
    let limit = scene.context.world.cgroups.as_ref().map(crate::cgroup::Cgroups::memory);
    let reason = format!("task {name} {}", ended.in_words(limit));
    TaskEnd::failed(End { outcome: Outcome::Failure, reason, exit_status: Some(ended.status) })
}

/// What the task wrote to `DEVENV_TASK_OUTPUT_FILE`, for later tasks and the trace.
fn take_output(scene: &Scene, span: &Span, name: &str, file: &std::path::Path) {
    if !fs::symlink_metadata(file).is_ok_and(|data| data.len() > 0) {
        return;
    }
    let value = read_small(file).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(value) = value else {
        let text = format!("the output of task {name} is ignored: it is no JSON of at most 1 MiB");
        span.message(Level::Warning, &text, None);
        return;
    };
    span.note("devenv.task.output", value.to_string());
    let mut shared = scene.shared();
    if let Some(Value::Object(env)) = value.pointer("/devenv/env") {
        let strings = env.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        shared.env.extend(strings);
    }
    shared.outputs.insert(name.to_owned(), value);
}

/// A file that the job's user may have made into anything: only plain and small
/// ones are read.
fn read_small(file: &std::path::Path) -> Option<Vec<u8>> {
    let data = fs::symlink_metadata(file).ok()?;
    if data.is_file() && data.len() <= OUTPUT_LIMIT { fs::read(file).ok() } else { None }
}

/// What `env -0` wrote.
fn read_environment(file: &std::path::Path) -> BTreeMap<String, String> {
    let bytes = read_small(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Lets a process be stopped.
#[derive(Debug, Default)]
pub(crate) struct ProcessControl {
    stopping: AtomicBool,
    target: Mutex<Option<Target>>,
}

impl ProcessControl {
    /// Asks it to end.
    pub(crate) fn stop(&self) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(target) = &*target {
            target.terminate();
        }
    }

    /// Ends it.
    pub(crate) fn kill(&self) {
        if let Some(target) = &*self.target.lock().unwrap_or_else(PoisonError::into_inner) {
            target.kill();
        }
    }
}

/// Runs a process until it is stopped, and again when it fails before.
pub(crate) fn run_process(
    scene: &Scene,
    name: &str,
    process: &Process,
    control: &ProcessControl,
    started: impl Fn(),
) -> TaskEnd {
    /// As often as devenv does.
    const RESTARTS: usize = 5;
    let span = Arc::new(scene.context.recorder.open(None, task_span(name)));
    let keep_running = || {
        let mut env = scene.shared().env.clone();
        env.extend(process.env.clone());
        let file = write(scene, name, &process.exec)?;
        let directory = directory(scene, process.cwd.as_deref());
        let launch = Launch { env, directory, ..bash(scene, &["-e"], file) };
        for restart in 0.. {
            let ended = follow_with(scene, &span, &launch, |target| {
                let mut slot = control.target.lock().unwrap_or_else(PoisonError::into_inner);
                if control.stopping.load(Ordering::Relaxed) {
                    target.terminate();
                }
                *slot = Some(target);
                drop(slot);
                started();
            })?;
            if control.stopping.load(Ordering::Relaxed) || ended.is_success() {
                return Ok(TaskEnd::SUCCEEDED);
            }
            if restart == RESTARTS {
                return Ok(failure(scene, name, &ended));
            }
            span.say(format!("It {}; starting it again.", ended.in_words(None)));
        }
        Ok::<_, End>(TaskEnd::SUCCEEDED)
    };
    conclude(scene, &span, keep_running())
}
