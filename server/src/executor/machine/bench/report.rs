//! What was measured, as JSON and as tables for `docs/benchmarks.md`.

use std::{fmt, time::Duration};

use serde::Serialize;

/// Percentiles: figures that occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let rank = (figures.len() * percent).div_ceil(100).max(1);
            figures.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            min: percentile(0),
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: percentile(100),
        }
    }

    pub(super) fn milliseconds(times: Vec<Duration>) -> Self {
        // To a tenth: nobody reads more of it.
        Self::of(times.into_iter().map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, p50, p95, p99, max } = self;
        write!(f, "{min} | {p50} | {p95} | {p99} | {max}")
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) qemu: String,
    pub(super) accelerator: &'static str,
    pub(super) image: String,
    pub(super) machine: String,
    pub(super) template_seconds: f64,
    pub(super) template_mib: u64,
    pub(super) restores: Restores,
    pub(super) clones: Vec<Clones>,
    pub(super) channel: Channel,
    pub(super) evaluation: Evaluation,
}

/// Machines restored one after another.
#[derive(Debug, Serialize)]
pub(super) struct Restores {
    pub(super) count: u32,
    pub(super) failures: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_failure: Option<String>,
    /// Until its first word.
    pub(super) answered_ms: Spread,
    /// Until it has its entropy, time, name and disk.
    pub(super) ready_ms: Spread,
}

/// Machines that live at the same time.
#[derive(Debug, Serialize)]
pub(super) struct Clones {
    pub(super) state: &'static str,
    pub(super) count: u32,
    pub(super) pss_mib: Spread,
    /// Of all, without what they share with the template.
    pub(super) own_mib: u64,
    pub(super) with_template_mib: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Channel {
    pub(super) round_trip_us: Spread,
    pub(super) to_guest_mib_per_s: f64,
    pub(super) from_guest_mib_per_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Evaluation {
    pub(super) machine_ms: Spread,
    /// Nothing where the host has no Nix.
    pub(super) host_ms: Option<Spread>,
    pub(super) factor: Option<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {}; {}; image {}\n", self.qemu, self.accelerator, self.machine, self.image)?;
        writeln!(f, "| | min | p50 | p95 | p99 | max |\n|---|---:|---:|---:|---:|---:|")?;
        let Restores { count, failures, first_failure, answered_ms, ready_ms } = &self.restores;
        writeln!(f, "| restored until its first word, ms | {answered_ms} |")?;
        writeln!(f, "| restored until ready for a job, ms | {ready_ms} |")?;
        for clones in &self.clones {
            writeln!(f, "| memory of one of {}, {}, MiB | {} |", clones.count, clones.state, clones.pss_mib)?;
        }
        writeln!(f, "| round trip on the channel, µs | {} |", self.channel.round_trip_us)?;
        writeln!(f, "| evaluation in a machine, ms | {} |", self.evaluation.machine_ms)?;
        if let Some(host_ms) = &self.evaluation.host_ms {
            writeln!(f, "| the same on the host, ms | {host_ms} |")?;
        }
        writeln!(f, "\n| | |\n|---|---:|")?;
        writeln!(f, "| restores that failed, of {count} | {failures} |")?;
        writeln!(f, "| making the template, s | {:.1} |", self.template_seconds)?;
        writeln!(f, "| the template's memory, MiB | {} |", self.template_mib)?;
        for clones in &self.clones {
            let Clones { state, count, with_template_mib, .. } = clones;
            writeln!(f, "| template and {count} machines, {state}, MiB | {with_template_mib} |")?;
        }
        writeln!(f, "| source into a machine, MiB/s | {:.1} |", self.channel.to_guest_mib_per_s)?;
        writeln!(f, "| output out of a machine, MiB/s | {:.1} |", self.channel.from_guest_mib_per_s)?;
        match self.evaluation.factor {
            Some(factor) => writeln!(f, "| evaluation, times slower than on the host | {factor:.1} |")?,
            None => writeln!(f, "| evaluation, times slower than on the host | no Nix there |")?,
        }
        match first_failure {
            Some(words) => writeln!(f, "\nthe first failure: {words}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let spread = Spread::of((1..=300).rev().map(f64::from));
        assert_eq!(spread.to_string(), "1 | 150 | 285 | 297 | 300");
        assert_eq!(Spread::of([].into_iter()), Spread::default());
    }
}
