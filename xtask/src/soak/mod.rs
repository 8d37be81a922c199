//! `cargo xtask soak`: very many jobs, and nothing that stays behind.
//!
//! Every few jobs the server is left alone until it rests, and what it holds is
//! counted: processes, threads, descriptors, memory, disk, control groups,
//! mounts. What was there before and what was there after says little of a
//! program that fills caches; what says something is the slope in the second half.

mod holdings;
mod slope;

use std::{fs, path::Path};

use anyhow::{Result, bail};
use devenv_cloud_api::{
    orgs::ProjectSettings,
    runs::{Run, State},
};

use self::{
    holdings::{Holdings, KINDS},
    slope::slope,
};
use crate::{
    bench::Which,
    instance::{Credentials, Instance, WorkTree},
    layout::Layout,
    processes,
    shell::{say, step},
};

/// How often what the server holds is counted, beside the beginning.
const COUNTS: u32 = 20;

/// The smallest job that is one.
const PROJECT: &str = "{ tasks.\"soak:job\".exec = \"echo done\"; }\n";

/// How long it goes on.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    which: Which,
    /// How many jobs.
    #[arg(long, default_value_t = 1000)]
    jobs: u32,
}

/// Runs that many jobs; an error if one does not succeed, or if something grows.
pub(crate) fn run(layout: &Layout, what: &Soak) -> Result<()> {
    let built = what.which.built(layout)?;
    let state = tempfile::tempdir()?;
    let instance = Instance::start(layout, &built, state.path(), Instance::free_port()?, &[])?;
    let soak = Soaking::prepare(&instance)?;
    // The template is made, the pool is full, and every program has been read once.
    soak.jobs(3)?;
    let mut counted = vec![(0, soak.count())];
    print_head();
    print_row(&counted[0]);
    let batch = what.jobs.div_ceil(COUNTS).max(1);
    let mut done = 0;
    while done < what.jobs {
        let next = batch.min(what.jobs - done);
        soak.jobs(next)?;
        done += next;
        let row = (done, soak.count());
        print_row(&row);
        counted.push(row);
    }
    let problems = judge(&counted);
    let server = instance.process();
    let machines = processes::below(server);
    step("stop the server", || instance.stop())?;
    let left = left_behind(server, state.path(), &machines);
    for problem in problems.iter().chain(&left) {
        say(problem);
    }
    if !problems.is_empty() || !left.is_empty() {
        bail!("something stayed behind, or grew");
    }
    println!("\n{} jobs, and nothing stayed behind", what.jobs);
    Ok(())
}

struct Soaking<'a> {
    instance: &'a Instance,
    credentials: Credentials,
    project: devenv_cloud_api::orgs::Project,
    tree: WorkTree,
    files: tempfile::TempDir,
}

impl<'a> Soaking<'a> {
    fn prepare(instance: &'a Instance) -> Result<Self> {
        let credentials = instance.credentials()?;
        // Several commits of one branch wait at the same time, and all are to run.
        let settings = ProjectSettings { cancel_superseded: false, ..ProjectSettings::default() };
        let project = instance.project_with(&credentials, "soak", settings)?;
        let tree = WorkTree::clone(instance.state().join(holdings::WORK_TREE), &project, &credentials)?;
        let files = tempfile::tempdir()?;
        fs::write(files.path().join("devenv.nix"), PROJECT)?;
        Ok(Self { instance, credentials, project, tree, files })
    }

    /// Pushes so often, then waits for all. An error unless all succeed.
    fn jobs(&self, count: u32) -> Result<()> {
        let mut runs: Vec<Run> = Vec::new();
        for _ in 0..count {
            let commit = self.tree.commit(self.files.path(), "Soak")?;
            self.tree.push(false)?;
            runs.push(self.instance.run_of(&self.credentials, &self.project, &commit)?);
            // Some always wait, and none for long.
            if let Some(index) = runs.len().checked_sub(5) {
                self.wait_for(&runs[index])?;
            }
        }
        runs.iter().rev().take(5).try_for_each(|run| self.wait_for(run))
    }

    fn wait_for(&self, run: &Run) -> Result<()> {
        let run = self.instance.wait_for(&self.credentials, run)?;
        let attempts: usize = run.jobs.iter().map(|job| job.attempts.len()).sum();
        if run.summary.state != State::Success || attempts != 1 {
            let why = run.summary.reason.as_deref().unwrap_or("no reason");
            let (number, state) = (run.summary.number, run.summary.state);
            bail!("run {number} ended with {state} after {attempts} attempts: {why}");
        }
        Ok(())
    }

    fn count(&self) -> Holdings {
        processes::wait_for_rest(self.instance.process(), 1);
        Holdings::of(self.instance.process(), self.instance.state())
    }
}

fn print_head() {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    println!("| jobs | {} |\n|---:|{}", names.join(" | "), "---:|".repeat(KINDS.len()));
}

fn print_row((jobs, holdings): &(u32, Holdings)) {
    let figures: Vec<_> = KINDS.iter().map(|kind| (kind.of)(holdings).to_string()).collect();
    println!("| {jobs} | {} |", figures.join(" | "));
}

/// What grows, in the second half.
fn judge(counted: &[(u32, Holdings)]) -> Vec<String> {
    let half = &counted[counted.len() / 2..];
    let (Some(first), Some(last)) = (half.first(), half.last()) else { return Vec::new() };
    let jobs = f64::from(last.0 - first.0);
    println!("\n| | per job | over {jobs} jobs | may grow by |\n|---|---:|---:|---:|");
    let mut problems = Vec::new();
    for kind in KINDS {
        let points: Vec<_> =
            half.iter().map(|(jobs, holdings)| (f64::from(*jobs), (kind.of)(holdings) as f64)).collect();
        let per_job = slope(&points);
        let (growth, allowed) = (per_job * jobs, kind.slack + kind.per_job * jobs);
        println!("| {} | {per_job:.3} | {growth:.1} | {allowed:.1} |", kind.name);
        if growth > allowed {
            problems.push(format!("{} grows: {per_job:.3} per job", kind.name));
        }
    }
    problems
}

/// What a server that was stopped must not leave.
fn left_behind(server: u32, state: &Path, before: &[processes::Process]) -> Vec<String> {
    let mut left = Vec::new();
    for process in before.iter().filter(|process| process.is_machine()) {
        let name = fs::read_to_string(format!("/proc/{}/comm", process.id)).unwrap_or_default();
        if name.starts_with("qemu-system") {
            left.push(format!("the machine {} still runs", process.id));
        }
    }
    let groups = holdings::control_groups(server);
    if groups > 0 {
        left.push(format!("{groups} control groups are left"));
    }
    for entry in fs::read_dir(state.join("scratch")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // One formatted disk of each size, from which the others are copied.
        if !name.ends_with(".ext4") {
            left.push(format!("a scratch disk is left: {name}"));
        }
    }
    left
}
