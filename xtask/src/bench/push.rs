//! From a push to its evaluation, for every way in which a machine comes to be,
//! one push after another and several at once; beside it, what Buildbot takes to
//! its first step.

use std::{path::Path, sync::Barrier, thread, time::Duration};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use devenv_cloud_api::{
    orgs::Project,
    runs::{Run, State},
    trace::Trace,
};
use serde_json::json;

use super::{
    Which,
    buildbot::{self, Times},
    project,
    spread::Spread,
};
use crate::{
    build::Built,
    instance::{Credentials, Instance, WorkTree},
    layout::Layout,
    processes,
    shell::{say, step},
};

/// How often pushes are repeated whose machines did not come to be as they should
/// have: the pool was not full again.
const REPEATS: u32 = 10;

/// The span that ends when Nix says its first word, and the attribute that says
/// where the machine came from.
const START_NIX: &str = "start Nix";
const MACHINE_START: &str = "devenv_cloud.machine.start";

/// How machines come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// Booted.
    Cold,
    /// Restored from a template.
    #[value(name = "on_demand")]
    OnDemand,
    /// Waiting.
    Pooled,
}

impl Start {
    const ALL: [Self; 3] = [Self::Cold, Self::OnDemand, Self::Pooled];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::OnDemand => "on_demand",
            Self::Pooled => "pooled",
        }
    }

    /// One push at a time meets the server as it comes; for more at once it gets
    /// room for all of them, so that none waits for another's end.
    fn settings(self, at_once: u32) -> Vec<(&'static str, String)> {
        let mut settings = match self {
            Self::Cold => vec![("DEVENV_CLOUD_EXECUTOR_TEMPLATES", "false".to_owned())],
            Self::OnDemand => vec![("DEVENV_CLOUD_EXECUTOR_POOL", "0".to_owned())],
            Self::Pooled => vec![],
        };
        if at_once > 1 {
            settings.push(("DEVENV_CLOUD_EXECUTOR_SLOTS", at_once.to_string()));
        }
        settings
    }

    /// Machines that wait when nothing happens.
    fn waiting(self, at_once: u32) -> usize {
        if self == Self::Pooled { at_once as usize } else { 0 }
    }
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    #[command(flatten)]
    which: Which,
    /// How many pushes of each kind.
    #[arg(long, default_value_t = 20)]
    count: u32,
    /// How machines come to be; all ways by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    path: Vec<Start>,
    /// How many pushes at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 5, 10])]
    at_once: Vec<u32>,
    /// Do not compare with Buildbot.
    #[arg(long)]
    no_buildbot: bool,
    /// Print JSON in place of the table: `{"rows": [...]}` in the last line.
    #[arg(long)]
    json: bool,
}

/// What one push took, in milliseconds from the moment that it was accepted.
struct Sample {
    machine_ready: i64,
    evaluation_begun: i64,
    run_finished: i64,
}

/// A row of the table.
struct Row {
    start: Start,
    at_once: u32,
    samples: Vec<Sample>,
}

/// Pushes to fresh servers.
pub(crate) fn push(layout: &Layout, what: &Push) -> Result<()> {
    let built = what.which.built(layout)?;
    let files = tempfile::tempdir()?;
    project::write(&layout.root.join("examples/hello"), files.path())?;
    let buildbot = (!what.no_buildbot).then(|| compare(layout, files.path(), what.count)).flatten();

    let paths = if what.path.is_empty() { &Start::ALL[..] } else { &what.path[..] };
    let mut rows = Vec::new();
    for &start in paths {
        for &at_once in &what.at_once {
            let at_once = at_once.max(1);
            let name = format!("{} pushes, {}, {at_once} at once", what.count, start.as_str());
            match step(&name, || measure(layout, &built, files.path(), start, at_once, what.count)) {
                Ok(samples) => rows.push(Row { start, at_once, samples }),
                // The other rows are worth having.
                Err(error) => say(&format!("no row for this: {error:#}")),
            }
        }
    }
    if rows.is_empty() {
        bail!("nothing could be measured");
    }
    if what.json {
        print_json(&rows, buildbot.as_ref());
    } else {
        print_table(&rows, buildbot.as_ref());
    }
    Ok(())
}

/// The same project, started by Buildbot. It is no reason to stop if there is none.
fn compare(layout: &Layout, files: &Path, count: u32) -> Option<Times> {
    step("the same project with Buildbot", || buildbot::measure(layout, files, count))
        .inspect_err(|error| say(&format!("going on without Buildbot: {error:#}")))
        .ok()
}

fn measure(
    layout: &Layout,
    built: &Built,
    files: &Path,
    start: Start,
    at_once: u32,
    count: u32,
) -> Result<Vec<Sample>> {
    let state = tempfile::tempdir()?;
    let settings = start.settings(at_once);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let instance = Instance::start(layout, built, state.path(), Instance::free_port()?, &settings)?;
    let bench = Bench::prepare(&instance, files, start, at_once)?;
    // The first ones fill caches of all kinds.
    bench.samples()?;
    let mut samples = Vec::new();
    while samples.len() < count as usize {
        samples.extend(bench.samples()?);
    }
    Ok(samples)
}

struct Bench<'a> {
    instance: &'a Instance,
    credentials: Credentials,
    files: &'a Path,
    start: Start,
    /// One for each push at the same time.
    trees: Vec<(Project, WorkTree)>,
}

impl<'a> Bench<'a> {
    fn prepare(instance: &'a Instance, files: &'a Path, start: Start, at_once: u32) -> Result<Self> {
        let credentials = instance.credentials()?;
        let mut trees = Vec::new();
        for number in 1..=at_once {
            let project = instance.project(&credentials, &format!("hello-{number}"))?;
            let directory = instance.state().join(format!("work-tree-{number}"));
            let tree = WorkTree::clone(directory, &project, &credentials)?;
            trees.push((project, tree));
        }
        Ok(Self { instance, credentials, files, start, trees })
    }

    /// Pushes until all machines came to be in the way that is measured.
    fn samples(&self) -> Result<Vec<Sample>> {
        let at_once = self.trees.len();
        for _ in 0..REPEATS {
            processes::wait_for_rest(self.instance.process(), self.start.waiting(at_once as u32));
            let pushed = self.push()?;
            let right = |trace: &Trace| {
                let machine = trace.spans.iter().find_map(|span| span.attributes.get(MACHINE_START));
                machine.map(String::as_str) == Some(self.start.as_str())
            };
            if pushed.iter().all(|(_, trace)| right(trace)) {
                return pushed.iter().map(|(run, trace)| sample(run, trace)).collect();
            }
            // What makes the template needs a quiet moment.
            thread::sleep(Duration::from_secs(5));
        }
        let start = self.start.as_str();
        bail!(
            "{REPEATS} times {at_once} pushes, and not all machines were {start}: the server's log says why"
        )
    }

    /// Pushes to all projects at the same time.
    fn push(&self) -> Result<Vec<(Run, Trace)>> {
        let barrier = Barrier::new(self.trees.len());
        thread::scope(|scope| {
            let pushes: Vec<_> = self
                .trees
                .iter()
                .map(|(project, tree)| scope.spawn(|| self.push_one(project, tree, &barrier)))
                .collect();
            pushes
                .into_iter()
                .map(|push| push.join().unwrap_or_else(|_| bail!("a thread that pushed has a defect")))
                .collect()
        })
    }

    fn push_one(&self, project: &Project, tree: &WorkTree, barrier: &Barrier) -> Result<(Run, Trace)> {
        let commit = tree.commit(self.files, "A push of the benchmark");
        // Also with an error: the others wait for all.
        barrier.wait();
        let commit = commit?;
        tree.push(false)?;
        let run = self.instance.run_of(&self.credentials, project, &commit)?;
        let run = self.instance.wait_for(&self.credentials, &run)?;
        let trace = self.instance.trace_of(&self.credentials, &run)?;
        Ok((run, trace))
    }
}

fn sample(run: &Run, trace: &Trace) -> Result<Sample> {
    if run.summary.state != State::Success {
        bail!("run {} ended with {}: nothing to measure", run.summary.number, run.summary.state);
    }
    let since = |then: DateTime<Utc>| (then - run.summary.created_at).num_milliseconds();
    let ended = |name: &str| {
        let span = trace.spans.iter().find(|span| span.name == name);
        span.and_then(|span| span.finished_at)
            .map(since)
            .with_context(|| format!("no span `{name}` that ended"))
    };
    Ok(Sample {
        machine_ready: ended("machine")?,
        evaluation_begun: ended(START_NIX)?,
        run_finished: since(run.summary.finished_at.context("the run has not finished")?),
    })
}

impl Row {
    fn spread(&self, of: fn(&Sample) -> i64) -> Spread {
        Spread::of(self.samples.iter().map(of))
    }

    fn figures(&self) -> [(&'static str, Spread); 3] {
        [
            ("machine ready", self.spread(|sample| sample.machine_ready)),
            ("evaluation begun", self.spread(|sample| sample.evaluation_begun)),
            ("run finished", self.spread(|sample| sample.run_finished)),
        ]
    }

    /// How many times longer Buildbot takes to its first step than we to the
    /// evaluation; for one push at a time, since that is what it was measured with.
    fn ratio(&self, buildbot: &Times) -> Option<f64> {
        let begun = self.spread(|sample| sample.evaluation_begun).percentile(50);
        let theirs = Spread::of(buildbot.first_step.iter().copied()).percentile(50);
        let ratio = (theirs as f64 / begun as f64 * 100.0).round() / 100.0;
        (self.at_once == 1 && begun > 0).then_some(ratio)
    }
}

fn print_table(rows: &[Row], buildbot: Option<&Times>) {
    println!("| machine | at once | push accepted until | min | p50 | p95 | max | Buildbot takes |");
    println!("|---|---:|---|---:|---:|---:|---:|---|");
    for row in rows {
        for (name, spread) in row.figures() {
            let ratio = buildbot.and_then(|times| row.ratio(times)).filter(|_| name == "evaluation begun");
            let ratio = ratio.map(|ratio| format!("{ratio:.1} times as long")).unwrap_or_default();
            let (start, at_once) = (row.start.as_str(), row.at_once);
            println!("| {start} | {at_once} | {name} | {} | {ratio} |", spread.cells());
        }
    }
    for (name, spread) in buildbot.map(Times::figures).into_iter().flatten() {
        println!("| Buildbot, none | 1 | {name} | {} | |", spread.cells());
    }
    println!("\n(milliseconds)");
}

fn print_json(rows: &[Row], buildbot: Option<&Times>) {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut object = json!({
                "path": row.start.as_str(),
                "concurrency": row.at_once,
                "count": row.samples.len(),
            });
            for (name, spread) in row.figures() {
                object[format!("{}_ms", name.replace(' ', "_"))] = spread.json();
            }
            if let Some((times, ratio)) = buildbot.and_then(|times| Some((times, row.ratio(times)?))) {
                let mut theirs = json!({ "version": buildbot::VERSION, "ratio": ratio });
                for (name, spread) in times.figures() {
                    theirs[format!("{}_ms", name.replace(' ', "_"))] = spread.json();
                }
                object["buildbot"] = theirs;
            }
            object
        })
        .collect();
    println!("{}", json!({ "rows": rows }));
}
