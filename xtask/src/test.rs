//! Every suite, and one line at the end that sums them up.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::{
    build, check,
    layout::Layout,
    postgres::Postgres,
    setup,
    shell::{say, seconds, step},
};

/// A suite that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Formatting, lints, licences and the like.
    Check,
    /// Unit and integration tests, on both databases.
    Cargo,
    /// The whole system: real git, QEMU and Chromium.
    E2e,
}

/// What a suite counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs the suites; prints `N passed, N failed` as the last line.
pub(crate) fn run(layout: &Layout, only: &[Suite], playwright: &[String]) -> Result<()> {
    let wanted = |suite| only.is_empty() || only.contains(&suite);
    let start = Instant::now();
    let mut total = Count::default();
    let mut add = |name: &str, result: Result<Count>| match result {
        Ok(count) => {
            // A suite that ran nothing has not passed.
            let ran_nothing = count.passed + count.failed == 0;
            if ran_nothing {
                say(&format!("{name}: ran no test, which counts as a failure"));
            }
            total.passed += count.passed;
            total.failed += count.failed + u64::from(ran_nothing);
            total.skipped += count.skipped;
        }
        Err(error) => {
            say(&format!("{name}: {error:#}"));
            total.failed += 1;
        }
    };

    setup::run(layout)?;
    if wanted(Suite::Check) {
        add("check", check::run(layout).map(|()| Count { passed: 1, ..Count::default() }));
    }
    if wanted(Suite::Cargo) {
        add(
            "cargo test",
            step("test: unit and integration, on SQLite and PostgreSQL", || cargo_tests(layout)),
        );
    }
    if wanted(Suite::E2e) {
        add("end to end", build_and_end_to_end(layout, playwright));
    }

    say(&format!("everything took {}", seconds(start.elapsed())));
    let skipped = if total.skipped > 0 { format!(", {} skipped", total.skipped) } else { String::new() };
    println!("{} passed, {} failed{skipped}", total.passed, total.failed);
    if total.failed > 0 {
        // Not an error with a message: the line above must be the last one.
        std::process::exit(1);
    }
    Ok(())
}

fn cargo_tests(layout: &Layout) -> Result<Count> {
    let postgres = step("test: start PostgreSQL", Postgres::start)?;
    let mut child = layout
        .cargo("test")
        .args(["--workspace", "--no-fail-fast"])
        .env("DEVENV_CLOUD_TEST_POSTGRES", postgres.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            if let Some(binary) = parse_result_line(&line) {
                count.passed += binary.passed;
                count.failed += binary.failed;
                count.skipped += binary.skipped;
            }
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        // A test binary that did not compile, or that was killed.
        count.failed = 1;
    }
    Ok(count)
}

/// Reads `test result: ok. 3 passed; 1 failed; 2 ignored; …`.
fn parse_result_line(line: &str) -> Option<Count> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut count = Count::default();
    for part in counts.split("; ") {
        let (number, what) = part.split_once(' ')?;
        match what {
            "passed" => count.passed = number.parse().ok()?,
            "failed" => count.failed = number.parse().ok()?,
            "ignored" => count.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(count)
}

fn build_and_end_to_end(layout: &Layout, arguments: &[String]) -> Result<Count> {
    let built = build::all(layout, build::Profile::Dev)?;
    build::image(layout, &built)?;
    let attacker = build::attacker_image(layout, &built)?;
    step("test: end to end", || end_to_end(layout, &built, &attacker, arguments))
}

fn end_to_end(layout: &Layout, built: &build::Built, attacker: &Path, arguments: &[String]) -> Result<Count> {
    let directory = layout.root.join("e2e");
    let report = directory.join("test-results/report.json");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let postgres = step("test: start PostgreSQL", Postgres::start)?;
    let status = Command::new(setup::node::program(layout)?)
        .args(["node_modules/@playwright/test/cli.js", "test"])
        .args(arguments)
        .current_dir(&directory)
        .env("E2E_SERVER", &built.server)
        .env("E2E_IMAGES", layout.images())
        .env("E2E_ATTACKER_IMAGES", attacker)
        .env("E2E_POSTGRES", postgres.url())
        .stdin(Stdio::null())
        .status()
        .context("cannot start Playwright")?;
    let mut count = read_playwright_report(
        &fs::read_to_string(&report)
            .with_context(|| format!("Playwright ended with {status} and left no report"))?,
    )?;
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

fn read_playwright_report(report: &str) -> Result<Count> {
    let report: Value = serde_json::from_str(report)?;
    let number =
        |name: &str| report["stats"][name].as_u64().with_context(|| format!("the report lacks stats.{name}"));
    Ok(Count {
        passed: number("expected")?,
        failed: number("unexpected")? + number("flaky")?,
        skipped: number("skipped")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Count, parse_result_line, read_playwright_report};

    #[test]
    fn cargo_tests_closing_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(parse_result_line(line), Some(Count { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(parse_result_line("test result of something else"), None);
    }

    #[test]
    fn a_flaky_browser_test_is_a_failed_one() {
        let report = r#"{"stats": {"expected": 5, "unexpected": 1, "flaky": 2, "skipped": 3}}"#;
        assert_eq!(read_playwright_report(report).unwrap(), Count { passed: 5, failed: 3, skipped: 3 });
    }
}
