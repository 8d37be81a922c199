//! `devenv-cloud doctor`: what this host can do, tried rather than guessed, and
//! what to do about the rest.
//!
//! A check is a function from [`Host`] to findings, and [`CHECKS`] is the list
//! of them: whoever builds something that depends on the host adds one there.

mod host;
mod machine;
mod server;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
};

use devenv_cloud_api::Timestamp;
use serde::Serialize;

use crate::{
    clock::Clock,
    config::Config,
    local::places,
    terminal::{
        Abilities,
        text::{Look, Paint, pad},
    },
};

/// How `doctor` goes about it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DoctorOptions {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Do not start a machine, which takes some seconds where KVM cannot be used.
    #[arg(long)]
    no_machine: bool,
}

/// What checks look at.
#[derive(Clone, Debug)]
pub struct Host {
    /// The effective configuration.
    config: Config,
    /// Where images are.
    images: PathBuf,
    /// This user's cache, where `devenv-cloud run` keeps its things.
    cache: PathBuf,
    now: Timestamp,
    /// Whether a machine may be started.
    machine: bool,
}

/// What was found, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Jobs run, but not as well or as safely as they could.
    Notice,
    /// No job can run.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, in a word.
    check: &'static str,
    verdict: Verdict,
    /// What is so, in one sentence.
    says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fine, says: says.into(), todo: None }
    }

    fn notice(check: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Notice, says: says.into(), todo: Some(todo.into()) }
    }

    fn problem(check: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, says: says.into(), todo: Some(todo.into()) }
    }
}

/// What a check comes to, some time.
type Findings<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + Send + 'a>>;

/// All checks, in the order in which they are told.
const CHECKS: &[for<'a> fn(&'a Host) -> Findings<'a>] = &[
    |host| Box::pin(machine::qemu(host)),
    |host| Box::pin(machine::image(host)),
    |host| Box::pin(machine::room(host)),
    |host| Box::pin(machine::starts(host)),
    |_| Box::pin(host::memory()),
    |host| Box::pin(server::disk(host)),
    |_| Box::pin(server::git()),
    |host| Box::pin(server::database(host)),
];

/// All that was found.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether a job can run here.
    can_run: bool,
    findings: Vec<Finding>,
}

/// Looks, tells, and gives the exit status: 1 if no job can run here.
///
/// # Errors
/// When the answer cannot be told.
pub async fn run(options: DoctorOptions, config: Config) -> anyhow::Result<ExitCode> {
    let cache = places::cache_dir().unwrap_or_else(|_| config.server.state_dir.clone());
    let images = places::image_dir(&config, &cache);
    let now = Clock::system().now();
    let host = Host { config, images, cache, now, machine: !options.no_machine };
    let paint = Paint { colours: Abilities::find().lively };
    let mut findings = Vec::new();
    for check in CHECKS {
        for finding in check(&host).await {
            // As they come: some take a while.
            if !options.json {
                say(&line(&finding, paint));
            }
            findings.push(finding);
        }
    }
    let can_run = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
    if options.json {
        say(&serde_json::to_string_pretty(&Report { can_run, findings })?);
    } else if can_run {
        say("\nJobs can run here.");
    } else {
        say("\nNo job can run here until what is marked ✗ is mended.");
    }
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a line. Who reads only the first (`| head`) still gets the exit status.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn line(finding: &Finding, paint: Paint) -> String {
    let (mark, look) = match finding.verdict {
        Verdict::Fine => ("✓", Look::Good),
        Verdict::Notice => ("!", Look::Warn),
        Verdict::Problem => ("✗", Look::Bad),
    };
    let mut line = format!("{} {} {}", paint.paint(look, mark), pad(finding.check, 12), finding.says);
    if let Some(todo) = &finding.todo {
        line.push_str(&format!("\n{}→ {todo}", " ".repeat(15)));
    }
    line
}

/// An age in days, in words.
fn days(count: i64) -> String {
    match count {
        ..=0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        count => format!("{count} days ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_is_so_and_what_to_do() {
        let paint = Paint { colours: false };
        assert_eq!(line(&Finding::fine("git", "2.39"), paint), "✓ git          2.39");
        assert_eq!(
            line(&Finding::problem("image", "none", "run it"), paint),
            "✗ image        none\n               → run it"
        );
    }

    #[tokio::test]
    async fn a_bare_host_has_problems_that_say_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let environment = [
            ("DEVENV_CLOUD_SERVER_STATE_DIR".to_owned(), directory.path().display().to_string()),
            ("DEVENV_CLOUD_EXECUTOR_QEMU".to_owned(), "no-such-qemu".to_owned()),
            ("DEVENV_CLOUD_DATABASE_URL".to_owned(), "mysql:nothing".to_owned()),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = Config::load(Some(file.path()), environment).unwrap();
        let host = Host {
            images: directory.path().join("images"),
            cache: directory.path().to_owned(),
            config,
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
            machine: true,
        };
        let mut findings = Vec::new();
        for check in CHECKS {
            findings.extend(check(&host).await);
        }
        for finding in &findings {
            assert_eq!(finding.todo.is_none(), finding.verdict == Verdict::Fine, "{finding:?}");
            assert!(!finding.says.contains('\n'), "{finding:?}");
        }
        let problem = |check: &str| {
            let finding = findings.iter().find(|finding| finding.check == check).unwrap();
            assert_eq!(finding.verdict, Verdict::Problem, "{finding:?}");
            finding.todo.clone().unwrap()
        };
        assert!(problem("qemu").contains("apt-get install qemu-system-x86"));
        assert!(problem("image").contains("devenv-cloud image build"));
        assert!(problem("database").contains("database.url"));
    }
}
