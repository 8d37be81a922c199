//! Times, durations and numbers as people read them. Pure, so that the server
//! and the browser render the same words.

use chrono::{Datelike, Timelike};
use devenv_cloud_api::Timestamp;

/// A duration in the two units that matter: `0.4 s`, `12.3 s`, `2 min 05 s`, `3 h 07 min`.
#[must_use]
pub fn duration(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1000;
    match seconds {
        0 if millis < 10 => format!("{millis} ms"),
        0 => format!("{}.{:02} s", seconds, millis / 10),
        1..=9 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long it took from `start` to `end`, or takes until `now`.
#[must_use]
pub fn elapsed(start: Timestamp, end: Option<Timestamp>, now: Timestamp) -> i64 {
    (end.unwrap_or(now) - start).num_milliseconds().max(0)
}

// Not chrono's own formatting: its patterns are read when the page runs, and the
// browser would have to download the code for all that a pattern may hold.

/// `2026-10-03`.
fn date(time: Timestamp) -> String {
    format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day())
}

/// `13:05`.
fn clock(time: Timestamp) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// `13:05:09.042`, for the lines of a log.
#[must_use]
pub fn time_of_day(time: Timestamp) -> String {
    format!("{}:{:02}.{:03}", clock(time), time.second(), time.timestamp_subsec_millis())
}

/// A length or place in a picture, to a thousandth. Not `{:.3}`: the code that
/// writes any fraction exactly is large, and a browser would have to download it.
#[must_use]
pub fn decimal(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "nothing on a screen is that large")]
    let thousandths = (value * 1000.0).round() as i64;
    let (whole, rest) = (thousandths.abs() / 1000, thousandths.abs() % 1000);
    let sign = if thousandths < 0 { "-" } else { "" };
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:03}") }
}

/// [`decimal`] percent.
#[must_use]
pub fn percent(value: f64) -> String {
    decimal(value) + "%"
}

/// How long ago that was: `just now`, `34 s ago`, `5 min ago`, then the date.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now - then).num_seconds();
    match seconds {
        ..=4 if seconds > -60 => "just now".to_owned(),
        ..=4 => format!("{} {}", date(then), clock(then)),
        5..=59 => format!("{} s ago", seconds / 5 * 5),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        86_400..=2_591_999 => format!("{} d ago", seconds / 86_400),
        _ => date(then),
    }
}

/// When something ends: `expires in 3 d`, or `expired`.
#[must_use]
pub fn until(then: Timestamp, now: Timestamp) -> String {
    let seconds = (then - now).num_seconds();
    match seconds {
        ..=0 => "expired".to_owned(),
        1..=3599 => format!("expires in {} min", (seconds / 60).max(1)),
        3600..=86_399 => format!("expires in {} h", seconds / 3600),
        _ => format!("expires in {} d", seconds / 86_400),
    }
}

/// The exact moment, for `title` attributes.
#[must_use]
pub fn exact(time: Timestamp) -> String {
    format!("{} {}:{:02} UTC", date(time), clock(time), time.second())
}

/// The machine's form, for `datetime` attributes.
#[must_use]
pub fn machine(time: Timestamp) -> String {
    format!("{}T{}Z", date(time), time_of_day(time))
}

/// A count with separators: `1,204,881`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 job`, `2 jobs`.
#[must_use]
pub fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(n as u64), if n == 1 { one } else { many })
}

/// A sentence begins with a capital.
#[must_use]
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Makes text safe as a value in a query string.
#[must_use]
pub fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap_or_default()
    }

    #[test]
    fn durations_read_well() {
        for (millis, text) in [
            (-5, "0 ms"),
            (4, "4 ms"),
            (412, "0.41 s"),
            (1_940, "1.9 s"),
            (59_999, "59 s"),
            (65_000, "1 min 05 s"),
            (3_600_000, "1 h 00 min"),
            (90_061_000, "25 h 01 min"),
        ] {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn moments_are_relative_to_now() {
        for (then, text) in [
            (1, "just now"),
            (0, "just now"),
            (-34, "30 s ago"),
            (-200, "3 min ago"),
            (-7_300, "2 h ago"),
            (-200_000, "2 d ago"),
            (-9_000_000, "2026-10-03"),
        ] {
            assert_eq!(ago(at(then), at(0)), text, "{then}");
        }
        assert_eq!(until(at(-1), at(0)), "expired");
        assert_eq!(until(at(30), at(0)), "expires in 1 min");
        assert_eq!(until(at(86_400 * 3), at(0)), "expires in 3 d");
    }

    #[test]
    fn moments_are_exact_where_they_must() {
        let time = at(0) + chrono::TimeDelta::milliseconds(5_007);
        assert_eq!(exact(time), time.format("%Y-%m-%d %H:%M:%S UTC").to_string());
        assert_eq!(machine(time), time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        assert_eq!(ago(at(100), at(0)), at(100).format("%Y-%m-%d %H:%M").to_string());
    }

    #[test]
    fn fractions_are_cut_to_what_a_screen_shows() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0001, "0"),
            (12.0, "12"),
            (0.0256, "0.026"),
            (99.9999, "100"),
            (-1.5, "-1.500"),
            (12_000_000.25, "12000000.250"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(decimal(value), text, "{value}");
        }
        assert_eq!(percent(33.333_33), "33.333%");
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(plural(1, "job", "jobs"), "1 job");
    }

    #[test]
    fn query_values_cannot_escape() {
        assert_eq!(query_value("/a b&c=d#é"), "/a%20b%26c%3Dd%23%C3%A9");
    }
}
