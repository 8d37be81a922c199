//! Benchmarks: figures for people to compare, never tests with a limit, since
//! another machine or a busy minute gives other figures.

mod spread;

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use devenv_cloud_api::{
    orgs::Project,
    runs::{Run, State},
    trace::Trace,
};
use serde_json::json;

use self::spread::Spread;
use crate::{
    build,
    instance::{Credentials, Instance, WorkTree},
    layout::Layout,
    setup,
    shell::step,
};

/// How often a push is repeated whose machine did not come to be as it should
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

    const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cold => &[("DEVENV_CLOUD_EXECUTOR_TEMPLATES", "false")],
            Self::OnDemand => &[("DEVENV_CLOUD_EXECUTOR_POOL", "0")],
            Self::Pooled => &[],
        }
    }
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// How many pushes of each kind, one after another.
    #[arg(long, default_value_t = 20)]
    count: u32,
    /// How machines come to be; all ways by default.
    #[arg(long, value_enum)]
    path: Vec<Start>,
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
    samples: Vec<Sample>,
}

/// Pushes one after another to a fresh server, for each way.
pub(crate) fn push(layout: &Layout, what: &Push) -> Result<()> {
    setup::run(layout)?;
    let built = build::all(layout, build::Profile::Release)?;
    build::image(layout, &built)?;
    let paths = if what.path.is_empty() { &Start::ALL[..] } else { &what.path[..] };
    let mut rows = Vec::new();
    for &start in paths {
        let samples = step(&format!("{} pushes, {}", what.count, start.as_str()), || {
            let state = tempfile::tempdir()?;
            let instance =
                Instance::start(layout, &built, state.path(), Instance::free_port()?, start.settings())?;
            let bench = Bench::prepare(layout, &instance, start)?;
            (1..=what.count).map(|_| bench.sample()).collect::<Result<Vec<_>>>()
        })?;
        rows.push(Row { start, samples });
    }
    if what.json {
        print_json(&rows)
    } else {
        print_table(&rows)
    }
    Ok(())
}

struct Bench<'a> {
    layout: &'a Layout,
    instance: &'a Instance,
    credentials: Credentials,
    project: Project,
    tree: WorkTree,
    start: Start,
}

impl<'a> Bench<'a> {
    /// A project, and machines that come to be as they should.
    fn prepare(layout: &'a Layout, instance: &'a Instance, start: Start) -> Result<Self> {
        let credentials = instance.credentials()?;
        let project = instance.project(&credentials, "hello")?;
        let tree = WorkTree::clone(instance.state().join("work-tree"), &project, &credentials)?;
        let bench = Self { layout, instance, credentials, project, tree, start };
        bench.sample()?;
        Ok(bench)
    }

    /// Pushes until a machine came to be in the way that is measured.
    fn sample(&self) -> Result<Sample> {
        for _ in 0..REPEATS {
            let (run, trace) = self.push()?;
            let machine = trace.spans.iter().find_map(|span| span.attributes.get(MACHINE_START));
            if machine.map(String::as_str) == Some(self.start.as_str()) {
                return sample(&run, &trace);
            }
            // What fills the pool, or makes the template, needs a quiet moment.
            thread::sleep(Duration::from_secs(5));
        }
        bail!("{REPEATS} pushes, and no machine was {}: the server's log says why", self.start.as_str())
    }

    fn push(&self) -> Result<(Run, Trace)> {
        let commit = self.tree.commit(&self.layout.root.join("examples/hello"), "A push of the benchmark")?;
        self.tree.push(false)?;
        let run = self.instance.run_of(&self.credentials, &self.project, &commit)?;
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
    fn figures(&self) -> [(&'static str, Spread); 3] {
        let spread = |of: fn(&Sample) -> i64| Spread::of(self.samples.iter().map(of));
        [
            ("machine ready", spread(|sample| sample.machine_ready)),
            ("evaluation begun", spread(|sample| sample.evaluation_begun)),
            ("run finished", spread(|sample| sample.run_finished)),
        ]
    }
}

fn print_table(rows: &[Row]) {
    println!("| machine | push accepted until | min | p50 | p95 | max |");
    println!("|---|---|---:|---:|---:|---:|");
    for row in rows {
        for (name, spread) in row.figures() {
            println!("| {} | {name} | {} |", row.start.as_str(), spread.cells());
        }
    }
    println!("\nmilliseconds; pushes one after another");
}

fn print_json(rows: &[Row]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut object = json!({
                "path": row.start.as_str(),
                "concurrency": 1,
                "count": row.samples.len(),
            });
            for (name, spread) in row.figures() {
                object[format!("{}_ms", name.replace(' ', "_"))] = spread.json();
            }
            object
        })
        .collect();
    println!("{}", json!({ "rows": rows }));
}
