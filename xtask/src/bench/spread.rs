//! Percentiles of a handful of figures.

use serde_json::json;

/// Sorted figures.
pub(super) struct Spread(Vec<i64>);

impl Spread {
    pub(super) fn of(figures: impl Iterator<Item = i64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_unstable();
        Self(figures)
    }

    /// The smallest figure that at least `percent` of all figures do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> i64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    pub(super) fn cells(&self) -> String {
        [0, 50, 95, 100].map(|percent| self.percentile(percent).to_string()).join(" | ")
    }

    pub(super) fn json(&self) -> serde_json::Value {
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
