//! Finding out of Nix's error text what went wrong and where: the first thing
//! that people want to see.

use std::path::Path;

/// What an error says, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The error itself, without traces: "undefined variable 'foo'".
    pub summary: String,
    /// The file, relative to the source.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
}

impl Diagnosis {
    /// One line: "devenv.nix:12: undefined variable 'foo'".
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let first = self.summary.lines().next().unwrap_or_default();
        let first = first.strip_suffix(" Definition values:").unwrap_or(first);
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: {first}"),
            (Some(file), None) => format!("{file}: {first}"),
            (None, _) => first.to_owned(),
        }
    }
}

/// Removes the escape sequences that colour a terminal.
#[must_use]
pub fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\u{1b}' {
            plain.push(character);
        } else if rest.next() == Some('[') {
            // A control sequence ends with a byte of 0x40 to 0x7e.
            rest.by_ref().find(|end| ('\u{40}'..='\u{7e}').contains(end));
        }
    }
    plain
}

/// Reads an error as Nix prints it. Older versions say the error first and then
/// where; newer ones say the traces first and the error last.
#[must_use]
pub fn diagnose(text: &str, source: &Path) -> Diagnosis {
    let plain = without_escapes(text);
    let lines: Vec<&str> = plain.lines().collect();
    let error = lines.iter().rposition(|line| {
        line.trim_start().strip_prefix("error:").is_some_and(|rest| !rest.trim().is_empty())
    });
    let summary = error.map_or_else(|| first_words(&lines), |at| summary(&lines[at..]));
    let (before, after) = lines.split_at(error.map_or(0, |at| at + 1));
    let place = summary
        .lines()
        .find_map(|line| quoted_place(line, source))
        .or_else(|| after.iter().find_map(|line| place(line, source)))
        .or_else(|| before.iter().rev().find_map(|line| place(line, source)));
    let (file, line) = place.map_or((None, None), |(file, line)| (Some(file), Some(line)));
    Diagnosis { summary, file, line }
}

/// The error's own lines: up to an empty line, a place or a trace.
fn summary(lines: &[&str]) -> String {
    let mut words = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let line = line.trim();
        let line = if number == 0 { line.strip_prefix("error:").unwrap_or(line).trim() } else { line };
        if number > 0 && (line.is_empty() || line.starts_with("at ") || line.starts_with('…')) {
            break;
        }
        words.push(line);
    }
    words.join("\n")
}

fn first_words(lines: &[&str]) -> String {
    let first = lines.iter().map(|line| line.trim()).find(|line| !line.is_empty() && *line != "error:");
    first.unwrap_or("the evaluation failed without saying why").to_owned()
}

/// The place in "at /work/repo/devenv.nix:12:3:", when it lies in the source.
fn place(line: &str, source: &Path) -> Option<(String, u32)> {
    let place = line.trim().strip_prefix("at ")?.trim_end_matches(':');
    let (rest, _column) = place.rsplit_once(':')?;
    let (file, number) = rest.rsplit_once(':')?;
    Some((relative(file, source)?, number.parse().ok()?))
}

/// The place in a line such as "- In 'devenv.nix:12': true" (with a backtick in
/// front), as the built-in evaluator complains about options.
fn quoted_place(line: &str, source: &Path) -> Option<(String, u32)> {
    let (_, rest) = line.split_once("In `")?;
    let (place, _) = rest.split_once('\'')?;
    let (file, number) = place.rsplit_once(':')?;
    Some((relative(file, source)?, number.parse().ok()?))
}

/// The path of a file in the source, relative to it.
#[must_use]
pub fn relative(file: &str, source: &Path) -> Option<String> {
    let inside = Path::new(file).strip_prefix(source).ok()?;
    inside.to_str().filter(|path| !path.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Diagnosis {
        diagnose(text, Path::new("/work/repo"))
    }

    #[test]
    fn an_error_of_an_older_nix() {
        let text = "\u{1b}[31;1merror:\u{1b}[0m undefined variable '\u{1b}[35;1mfoo\u{1b}[0m'\n\n       \
                    \u{1b}[34;1mat \u{1b}[35;1m/work/repo/devenv.nix:12:3\u{1b}[0m:\n\n           11| {\n           \
                    12|   foo\n             |   ^";
        let diagnosis = of(text);
        assert_eq!(diagnosis.in_one_line(), "devenv.nix:12: undefined variable 'foo'");
    }

    #[test]
    fn an_error_of_a_newer_nix_with_traces_first() {
        let text = "error:\n       … while evaluating the attribute 'tasks'\n         at /work/repo/devenv.nix:2:3:\n            \
                    1| {\n            2|   tasks = x;\n\n       … while calling 'import'\n         at \
                    /usr/lib/devenv-cloud/nix/default.nix:8:1:\n\n       error: undefined variable 'foo'\n       at \
                    /work/repo/lib/a.nix:7:5:\n            6| {";
        assert_eq!(of(text).in_one_line(), "lib/a.nix:7: undefined variable 'foo'");
    }

    #[test]
    fn an_error_outside_the_source_is_placed_at_the_nearest_trace_inside() {
        let text = "error:\n       … while evaluating a\n         at /work/repo/a.nix:1:2:\n       … while evaluating b\n         \
                    at /work/repo/b.nix:3:4:\n       error: attribute 'x' missing\n       at \
                    /usr/lib/devenv-cloud/nix/lib.nix:9:9:";
        assert_eq!(of(text).in_one_line(), "b.nix:3: attribute 'x' missing");
    }

    #[test]
    fn an_error_of_several_lines_keeps_them() {
        let text = "error: The option `x' does not exist.\n       Did you mean `y'?\n\n       more";
        let diagnosis = of(text);
        assert_eq!(diagnosis.summary, "The option `x' does not exist.\nDid you mean `y'?");
        assert_eq!(diagnosis.in_one_line(), "The option `x' does not exist.");
        assert_eq!(diagnosis.file, None);
    }

    #[test]
    fn a_complaint_about_an_option_is_placed_at_its_definition() {
        let text = "error: The option `taks' does not exist. Did you mean `tasks'? Definition values:\n       - In \
                    `/work/repo/devenv.nix:3': a set with a\n\n       at /usr/lib/devenv-cloud/nix/modules/eval.nix:1:1:";
        assert_eq!(
            of(text).in_one_line(),
            "devenv.nix:3: The option `taks' does not exist. Did you mean `tasks'?"
        );
    }

    #[test]
    fn no_text_is_an_error_all_the_same() {
        assert!(!of("").summary.is_empty());
    }
}
