//! `devenv-cloud image try`: whether a machine comes up here, how long that
//! takes, and what a project does in it. No server, no database: the control
//! plane is this terminal.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId},
    runs::State,
};
use futures::StreamExt as _;
use tokio::process::Command;
use tokio_util::{io::ReaderStream, sync::CancellationToken};

use super::{
    Assignment, Capacity, Conclusion, ControlError, ControlPlane, Lease, LeaseState, Limits, PackStream,
    job::{self, Context},
    machine::{MachineSettings, MachineSpec, Machines, QemuMachines},
};
use crate::{
    clock::{Clock, Random},
    config::Config,
    telemetry::Record,
};

/// What to try.
#[derive(Debug, clap::Args)]
pub struct Trial {
    /// A Git repository whose commit at HEAD is executed; without one, a
    /// machine is started until it is ready, and ended.
    repository: Option<PathBuf>,
    /// How often.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Processors of the machine.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Memory of the machine, in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Scratch disk of the machine, in MiB.
    #[arg(long, default_value_t = 8192)]
    disk: u32,
    /// Seconds that the job may take.
    #[arg(long, default_value_t = 3600)]
    timeout: u32,
    /// Show what the machine's kernel says.
    #[arg(long)]
    console: bool,
}

/// Tries it.
///
/// # Errors
/// When no machine comes up, or the job does not succeed.
pub async fn run(trial: Trial, config: &Config) -> anyhow::Result<()> {
    let state = config.server.state_dir.clone();
    std::fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
    let machines = QemuMachines::start(MachineSettings {
        images: config.executor.image_dir.clone(),
        state,
        qemu: config.executor.qemu.clone(),
        accelerator: config.executor.accelerator.clone(),
    });
    let machines: Arc<dyn Machines> = Arc::new(Console { machines: machines.await, console: trial.console });
    for _ in 0..trial.times {
        match &trial.repository {
            Some(repository) => execute(&trial, repository, machines.clone()).await?,
            None => start(&trial, &machines).await?,
        }
    }
    Ok(())
}

/// Machines with or without their kernel's words.
struct Console {
    machines: QemuMachines,
    console: bool,
}

#[async_trait]
impl Machines for Console {
    async fn machine(
        &self,
        spec: &MachineSpec,
    ) -> Result<super::machine::Machine, super::machine::MachineError> {
        self.machines.machine(&MachineSpec { console: self.console, ..*spec }).await
    }
}

async fn start(trial: &Trial, machines: &Arc<dyn Machines>) -> anyhow::Result<()> {
    let spec = MachineSpec {
        cpus: trial.cpus,
        memory_mib: trial.memory,
        disk_mib: trial.disk,
        console: trial.console,
    };
    let began = Instant::now();
    let mut machine = machines.machine(&spec).await?;
    let started = began.elapsed();
    let ready = job::wait_until_ready(&mut machine, &Clock::system(), &Random::system()).await;
    let ready = match ready {
        Ok(()) => began.elapsed(),
        Err(why) => {
            machine.life.kill();
            bail!("{why} ({})", machine.life.ended().await);
        }
    };
    let ending = Instant::now();
    machine.life.kill();
    machine.life.ended().await;
    println!(
        "started in {} ms, ready after {} ms, gone {} ms after its end",
        started.as_millis(),
        ready.as_millis(),
        ending.elapsed().as_millis()
    );
    Ok(())
}

async fn execute(trial: &Trial, repository: &Path, machines: Arc<dyn Machines>) -> anyhow::Result<()> {
    let clock = Clock::system();
    let random = Random::system();
    let now = clock.now();
    let lease = Lease { attempt: AttemptId(random.id(now)), token: u128::from_le_bytes(random.bytes()) };
    let assignment = Assignment {
        lease,
        job: JobId(random.id(now)),
        commit: git(repository, &["rev-parse", "--verify", "HEAD^{commit}"]).await?,
        git_ref: git(repository, &["rev-parse", "--symbolic-full-name", "HEAD"]).await?,
        origin: repository.display().to_string(),
        platform: "x86_64-linux".to_owned(),
        profiles: Vec::new(),
        cloud: serde_json::json!({}),
        env: [("CI".to_owned(), "true".to_owned())].into(),
        attributes: std::collections::BTreeMap::new(),
        queued_at: now,
        limits: Limits {
            cpus: trial.cpus,
            memory_mib: trial.memory,
            disk_mib: trial.disk,
            timeout_seconds: trial.timeout,
            log_bytes: 256 << 20,
        },
    };
    let terminal = Arc::new(Terminal {
        repository: repository.to_owned(),
        commit: assignment.commit.clone(),
        began: now,
        conclusion: Mutex::new(None),
    });
    let context =
        Context { control: terminal.clone(), machines, clock, random, stop: CancellationToken::new() };
    job::execute(&context, assignment).await;
    let conclusion = terminal.conclusion.lock().unwrap_or_else(PoisonError::into_inner).take();
    let conclusion = conclusion.context("the job was dropped")?;
    println!("{}: {}", conclusion.state, conclusion.reason.as_deref().unwrap_or("done"));
    ensure!(matches!(conclusion.state, State::Success | State::Skip), "the job did not succeed");
    Ok(())
}

async fn git(repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").arg("-C").arg(repository).args(arguments).output().await?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A control plane with one job, which it prints.
struct Terminal {
    repository: PathBuf,
    commit: String,
    began: Timestamp,
    conclusion: Mutex<Option<Conclusion>>,
}

#[async_trait]
impl ControlPlane for Terminal {
    async fn claim(&self, _: &Capacity) -> Result<Option<Assignment>, ControlError> {
        Ok(None)
    }

    async fn renew(&self, _: &Lease) -> Result<LeaseState, ControlError> {
        Ok(LeaseState::Held)
    }

    async fn changed(&self, _: &Lease) {
        std::future::pending().await
    }

    async fn source(&self, _: &Lease) -> Result<PackStream, ControlError> {
        let failed = |error: std::io::Error| ControlError::Source(format!("cannot run git: {error}"));
        // The commit, its trees and its blobs, and no history.
        let mut pack = Command::new("sh")
            .args([
                "-c",
                "git rev-list --objects --no-walk \"$0\" | git pack-objects -q --stdout",
                &self.commit,
            ])
            .current_dir(&self.repository)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdout = pack.stdout.take().ok_or_else(|| ControlError::Source("git says nothing".to_owned()))?;
        let chunks = ReaderStream::new(stdout).map(move |chunk: std::io::Result<Bytes>| {
            let _alive = &pack;
            chunk.map_err(|error| ControlError::Source(error.to_string()))
        });
        Ok(Box::pin(chunks))
    }

    async fn append(&self, _: &Lease, _: u64, records: Vec<Record>) -> Result<(), ControlError> {
        let mut out = std::io::stdout().lock();
        for record in &records {
            let shown = self.show(record);
            writeln!(out, "{shown}").map_err(|error| ControlError::Unavailable(error.into()))?;
        }
        Ok(())
    }

    async fn finish(&self, _: &Lease, conclusion: Conclusion) -> Result<(), ControlError> {
        *self.conclusion.lock().unwrap_or_else(PoisonError::into_inner) = Some(conclusion);
        Ok(())
    }
}

impl Terminal {
    fn show(&self, record: &Record) -> String {
        let seconds = |time: &Timestamp| {
            let elapsed = time.signed_duration_since(self.began).as_seconds_f64();
            format!("{elapsed:8.3}")
        };
        match record {
            Record::Opened { id, kind, name, time, .. } => {
                format!("{} ┌ {:x} {kind} {name}", seconds(time), id.0)
            }
            Record::Closed { id, state, time, attributes } => {
                format!("{} └ {:x} {state} {attributes:?}", seconds(time), id.0)
            }
            Record::Line { span, time, text, .. } => format!("{} │ {:x} {text}", seconds(time), span.0),
            Record::Annotation(annotation) => format!("       ! {annotation:?}"),
        }
    }
}
