//! Benchmarks: figures for people to compare, never tests with a limit, since
//! another machine or a busy minute gives other figures.

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use devenv_cloud_api::runs::{Run, Stage, State};
use serde_json::json;

use crate::{
    build,
    instance::{Instance, WorkTree},
    layout::Layout,
    setup,
    shell::{say, step},
};

/// What one push took, in milliseconds from the moment that it was accepted.
struct Sample {
    evaluation_started: i64,
    run_finished: i64,
}

/// Pushes one after another to a fresh server; each run boots its machine anew.
pub(crate) fn push(layout: &Layout, count: u32, as_json: bool) -> Result<()> {
    setup::run(layout)?;
    let built = build::all(layout, build::Profile::Release)?;
    build::image(layout, &built)?;

    let state = tempfile::tempdir()?;
    let instance = Instance::start(layout, &built, state.path(), Instance::free_port()?)?;
    let credentials = instance.credentials()?;
    let project = instance.project(&credentials, "hello")?;
    let tree = WorkTree::clone(state.path().join("work-tree"), &project, &credentials)?;
    let mut samples = Vec::new();
    step(&format!("{count} pushes"), || {
        for number in 1..=count {
            let commit = tree.commit(&layout.root.join("examples/hello"), &format!("Push {number}"))?;
            tree.push(false)?;
            let run = instance.run_of(&credentials, &project, &commit)?;
            let run = instance.wait_for(&credentials, &run)?;
            let sample = sample(&run)?;
            say(&format!(
                "  {number}: evaluation started after {} ms, run finished after {} ms",
                sample.evaluation_started, sample.run_finished
            ));
            samples.push(sample);
        }
        Ok(())
    })?;

    let evaluation = Spread::of(samples.iter().map(|sample| sample.evaluation_started));
    let finished = Spread::of(samples.iter().map(|sample| sample.run_finished));
    if as_json {
        let result = json!({
            "count": samples.len(),
            "unit": "ms",
            "evaluation_started": evaluation.json(),
            "run_finished": finished.json(),
        });
        println!("{result:#}");
    } else {
        println!("| push accepted until | min | p50 | p95 | max |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        println!("| evaluation started | {} |", evaluation.cells());
        println!("| run finished | {} |", finished.cells());
        println!(
            "\nmilliseconds; {} pushes one after another, machine booted from cold each time",
            samples.len()
        );
    }
    Ok(())
}

fn sample(run: &Run) -> Result<Sample> {
    if run.summary.state != State::Success {
        bail!("run {} ended with {}: nothing to measure", run.summary.number, run.summary.state);
    }
    let accepted = run.summary.created_at;
    let since = |then: DateTime<Utc>| (then - accepted).num_milliseconds();
    let evaluation = run
        .jobs
        .iter()
        .filter_map(|job| job.attempts.last())
        .flat_map(|attempt| &attempt.stages)
        .find(|stage| stage.stage == Stage::Evaluate)
        .context("the run has no evaluation")?;
    let finished = run.summary.finished_at.context("the run has not finished")?;
    Ok(Sample { evaluation_started: since(evaluation.started_at), run_finished: since(finished) })
}

/// Sorted figures.
struct Spread(Vec<i64>);

impl Spread {
    fn of(figures: impl Iterator<Item = i64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_unstable();
        Self(figures)
    }

    /// The smallest figure that at least `percent` of all figures do not exceed.
    fn percentile(&self, percent: usize) -> i64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    fn cells(&self) -> String {
        [0, 50, 95, 100].map(|percent| self.percentile(percent).to_string()).join(" | ")
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "min": self.percentile(0),
            "p50": self.percentile(50),
            "p95": self.percentile(95),
            "max": self.percentile(100),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let spread = Spread::of((1..=20).rev());
        assert_eq!(spread.cells(), "1 | 10 | 19 | 20");
        assert_eq!(Spread::of([7].into_iter()).cells(), "7 | 7 | 7 | 7");
    }
}
