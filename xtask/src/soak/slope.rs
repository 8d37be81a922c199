//! How much something grows with something else.

/// The slope of the line that lies nearest to all points (least squares).
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let across: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if along > 0.0 { across / along } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn a_leak_shows_through_noise() {
        let points: Vec<_> = (0..20).map(|n| (f64::from(n), f64::from(n * 3 + n % 2))).collect();
        assert!((slope(&points) - 3.0).abs() < 0.05);
        let flat: Vec<_> = (0..20).map(|n| (f64::from(n), f64::from(100 + n % 2))).collect();
        assert!(slope(&flat).abs() < 0.05);
        assert!(slope(&[(1.0, 5.0)]).abs() < f64::EPSILON);
    }
}
