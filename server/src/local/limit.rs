//! Limits as people write them: `2G`, `512M`, `90s`, `1h`.

/// MiB from `2G`, `512M` or a bare number of MiB.
pub(super) fn mib(text: &str) -> Result<u32, String> {
    let what = "write a size like 512M or 2G; a number alone is MiB";
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" | "m" => 1,
        "g" => 1 << 10,
        "t" => 1 << 20,
        _ => return Err(what.to_owned()),
    };
    number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(|| what.to_owned())
}

/// Seconds from `90s`, `30m` or `2h`.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let what = "write a time like 90s, 30m or 2h";
    let (number, unit) = split(text);
    let factor = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(what.to_owned()),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| what.to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        for (text, expected) in [("2G", 2048), ("2 GiB", 2048), ("512M", 512), ("512mb", 512), ("300", 300)] {
            assert_eq!(mib(text), Ok(expected), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "9999999999", "4096T", "2 parsecs"] {
            assert!(mib(text).is_err(), "{text}");
        }
        for (text, expected) in [("90s", 90), ("30m", 1800), ("30 min", 1800), ("2h", 7200)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "30", "0s", "h", "99999999h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
