//! Jobs to measure with: how fast output comes out of a machine, and how much
//! longer Nix takes in one than on the host.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use devenv_cloud_guest::protocol::{GuestMessage, HostMessage, Job, Outcome, Record};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, process::Command};

use super::{
    Bench,
    report::{Evaluation, Spread},
};
use crate::executor::{
    channel::{Frames, send},
    image::tools,
};

/// How often an evaluation is repeated.
const EVALUATIONS: usize = 5;
/// A line of output, and how many of them.
const LINE: usize = 1000;
const LINES: usize = 50_000;

/// Some 50,000 calls, and nothing to read or to write.
const EXPRESSION: &str = "let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2); in fib 23\n";

/// A commit as a packfile.
pub(super) struct Source {
    pub(super) commit: String,
    pub(super) pack: Vec<u8>,
}

impl Source {
    /// A commit with these files.
    pub(super) async fn of(files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        for (name, content) in files {
            fs::write(directory.path().join(name), content)?;
        }
        let git = async |arguments: &[&str], input: &str| git(directory.path(), arguments, input).await;
        git(&["init", "--quiet"], "").await?;
        git(&["add", "--all"], "").await?;
        git(&["commit", "--quiet", "--message", "Measure"], "").await?;
        let commit = String::from_utf8(git(&["rev-parse", "HEAD"], "").await?)?.trim().to_owned();
        let pack = git(&["pack-objects", "--quiet", "--revs", "--stdout"], "HEAD\n").await?;
        Ok(Self { commit, pack })
    }
}

async fn git(directory: &Path, arguments: &[&str], input: &str) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new("git")
        .args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgSign=false"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start git")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    anyhow::ensure!(output.status.success(), "git {arguments:?} ended with {}", output.status);
    Ok(output.stdout)
}

pub(super) fn job(commit: &str, tasks: &[&str]) -> Job {
    Job {
        commit: commit.to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        origin: "http://localhost/bench/bench.git".to_owned(),
        platform: "x86_64-linux".to_owned(),
        profiles: Vec::new(),
        tasks: tasks.iter().map(|&task| task.to_owned()).collect(),
        cloud: "{}".to_owned(),
        env: BTreeMap::new(),
        max_log_bytes: 1 << 30,
        grace_ms: 1000,
        network: false,
    }
}

/// Hears a guest out, line by line. An error unless its job succeeds.
pub(super) async fn hear(channel: &mut UnixStream, line: &mut impl FnMut(&str)) -> anyhow::Result<()> {
    let (read, mut write) = channel.split();
    let mut frames = Frames::new(read);
    loop {
        match frames.receive().await? {
            GuestMessage::Records { first, records } => {
                let last = first + records.len() as u64 - 1;
                for record in &records {
                    if let Record::Line { text, .. } = record {
                        line(text);
                    }
                }
                send(&mut write, &HostMessage::Acknowledge(last)).await?;
            }
            GuestMessage::Finished(finished) if finished.outcome == Outcome::Success => return Ok(()),
            GuestMessage::Finished(finished) => {
                anyhow::bail!(
                    "the job that is measured ended with {:?}: {}",
                    finished.outcome,
                    finished.reason
                )
            }
            _ => {}
        }
    }
}

impl Bench<'_> {
    /// MiB of output that come out of a machine in a second.
    pub(super) async fn output_rate(&self) -> anyhow::Result<f64> {
        let nix = format!(
            "{{ tasks.\"bench:talk\".exec = ''\n\
               line=$(head -c {LINE} /dev/zero | tr '\\0' x)\n\
               yes \"$line\" | head -n {LINES} || true\n\
             ''; }}\n"
        );
        let (mut first, mut last, mut bytes) = (None, Instant::now(), 0);
        self.lines(&[("devenv.nix", &nix)], &["bench:talk"], |text| {
            if text.len() == LINE {
                last = Instant::now();
                first.get_or_insert(last);
                bytes += LINE + 1;
            }
        })
        .await?;
        anyhow::ensure!(bytes == LINES * (LINE + 1), "{bytes} bytes came of {LINES} lines");
        let seconds = first.map_or(0.0, |first| (last - first).as_secs_f64());
        Ok(bytes as f64 / f64::from(1 << 20) / seconds)
    }

    /// The same expression in a machine and on the host.
    pub(super) async fn evaluation(&self) -> anyhow::Result<Evaluation> {
        eprintln!("machines: evaluating");
        let nix = format!(
            "{{ tasks.\"bench:evaluate\".exec = ''\n\
               for round in $(seq {EVALUATIONS}); do\n\
                 from=$(date +%s%N)\n\
                 nix-instantiate --eval expression.nix > result\n\
                 to=$(date +%s%N)\n\
                 echo \"evaluated $((to - from))\"\n\
               done\n\
             ''; }}\n"
        );
        let mut inside = Vec::new();
        let files = [("devenv.nix", nix.as_str()), ("expression.nix", EXPRESSION)];
        self.lines(&files, &["bench:evaluate"], |text| {
            let took = text.strip_prefix("evaluated ").and_then(|text| text.parse().ok());
            inside.extend(took.map(Duration::from_nanos));
        })
        .await?;
        anyhow::ensure!(inside.len() == EVALUATIONS, "{} evaluations of {EVALUATIONS}", inside.len());
        let mut outside = Vec::new();
        if let Some(nix) = tools::find("nix-instantiate") {
            let directory = tempfile::tempdir()?;
            let file = directory.path().join("expression.nix");
            fs::write(&file, EXPRESSION)?;
            for _ in 0..EVALUATIONS {
                let began = Instant::now();
                let output =
                    Command::new(&nix).args(["--store", "dummy://", "--eval"]).arg(&file).output().await?;
                outside.push(began.elapsed());
                anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        let machine_ms = Spread::milliseconds(inside);
        let host_ms = (!outside.is_empty()).then(|| Spread::milliseconds(outside));
        let factor = host_ms.as_ref().map(|host| machine_ms.p50 / host.p50);
        Ok(Evaluation { machine_ms, host_ms, factor })
    }
}
