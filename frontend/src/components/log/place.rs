//! Where lines stand: which rows are in sight at a scroll position, and which
//! lines an address points at.

/// The height of a row in CSS pixels; `--log-row` in the style sheet says the same.
const ROW: f64 = 20.0;
/// Rows kept ready above and below what is in sight.
const SPARE: usize = 20;
/// Browsers cannot make an element much higher; longer logs scroll in proportion.
const HIGHEST: f64 = 12_000_000.0;
/// Lines that the address points at: `#L120` or `#L120-L130`.
#[must_use]
pub(super) fn marked_lines(fragment: &str) -> Option<(u64, u64)> {
    let text = fragment.strip_prefix("#L")?;
    let (first, last) = match text.split_once("-L") {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let line = text.parse().ok()?;
            (line, line)
        }
    };
    Some(if first <= last { (first, last) } else { (last, first) })
}

/// Which rows to draw and where, for a scroll position.
#[must_use]
pub(super) fn in_sight(total: usize, top: f64, height: f64) -> (usize, usize, f64) {
    let whole = whole_height(total);
    #[expect(clippy::cast_precision_loss, reason = "no log has 2^52 lines")]
    let lines = total as f64;
    let exact = if whole < lines * ROW {
        let share = (top / (whole - height).max(1.0)).clamp(0.0, 1.0);
        share * (lines - height / ROW).max(0.0)
    } else {
        (top / ROW).clamp(0.0, lines)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the number of lines"
    )]
    let (first, visible) = (exact.floor() as usize, (height / ROW).ceil() as usize + 1);
    let start = first.saturating_sub(SPARE);
    let end = (first + visible + SPARE).min(total);
    #[expect(clippy::cast_precision_loss, reason = "at most SPARE rows apart")]
    let above = (exact - start as f64) * ROW;
    (start.min(end), end, (top - above).max(0.0))
}

/// How many whole rows stand in so many pixels.
#[must_use]
pub(super) fn rows_above(pixels: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a few rows")]
    let rows = (pixels.max(0.0) / ROW) as usize;
    rows
}

/// The scroll position at which a place is the first in sight.
#[must_use]
pub(super) fn top_of(total: usize, place: usize, height: f64) -> f64 {
    let whole = whole_height(total);
    #[expect(clippy::cast_precision_loss, reason = "no log has 2^52 lines")]
    let (lines, place) = (total as f64, place as f64);
    if whole < lines * ROW {
        place / (lines - height / ROW).max(1.0) * (whole - height).max(0.0)
    } else {
        place * ROW
    }
}

#[expect(clippy::cast_precision_loss, reason = "no log has 2^52 lines")]
pub(super) fn whole_height(total: usize) -> f64 {
    (total as f64 * ROW).min(HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_points_at_lines() {
        for (fragment, lines) in [
            ("#L120", Some((120, 120))),
            ("#L120-L130", Some((120, 130))),
            ("#L130-L120", Some((120, 130))),
            ("#L", None),
            ("#120", None),
            ("", None),
        ] {
            assert_eq!(marked_lines(fragment), lines, "{fragment}");
        }
    }

    #[test]
    fn rows_in_sight_follow_the_scroll_position() {
        assert_eq!(in_sight(10, 0.0, 600.0), (0, 10, 0.0));
        let (start, end, offset) = in_sight(10_000, 20_000.0, 600.0);
        assert_eq!((start, end), (980, 1_051));
        assert!((offset - 19_600.0).abs() < 0.01);
    }

    #[test]
    fn a_million_lines_are_reachable_to_the_last() {
        let total = 1_000_000;
        let bottom = whole_height(total) - 600.0;
        assert_eq!(in_sight(total, bottom, 600.0).1, total);
        assert_eq!(in_sight(total, 0.0, 600.0).0, 0);
        // Going to a line brings it into sight.
        let top = top_of(total, 654_321, 600.0);
        let (start, end, _) = in_sight(total, top, 600.0);
        assert!((start..end).contains(&654_321));
    }
}
