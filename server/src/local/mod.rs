//! `devenv-cloud run`: the job that a push would make, here, without a server.
//!
//! The same image, the same machine and the same guest do the same job; what
//! differs is the control plane, which is this terminal, and where the commit
//! comes from. So what fails on a server fails here, and can be looked at
//! before anything is pushed.

mod control;
mod job;
mod limit;
pub mod places;
mod source;
mod trace;
mod view;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use async_trait::async_trait;
use devenv_cloud_api::{orgs::ProjectSettings, runs::State};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::block_in_place,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::{
    control::LocalControl,
    trace::{About, TraceFile},
    view::View,
};
use crate::{
    clock::{Clock, Random},
    config::Config,
    executor::{
        self, Conclusion, Egress, JOB_GRACE,
        image::{self, Image},
        machine::{Machine, MachineError, MachineSettings, MachineSpec, Machines, QemuMachines},
    },
    telemetry::Record,
    terminal::{self, Abilities, Screen, TICK},
};

pub use source::{Of, Source, SourceError};

/// What to run, and with what.
#[derive(Clone, Debug, clap::Args)]
pub struct RunOptions {
    /// Run in this directory's git repository.
    #[arg(short = 'C', value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    /// Run this commit instead of the working tree: a branch, a tag, an object name.
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// Activate a profile of devenv.nix; may be given several times.
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Run only this task and what it depends on; may be given several times.
    #[arg(long = "task", value_name = "NAME")]
    tasks: Vec<String>,
    /// Write the trace and the log to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// What the job may reach: public addresses, or nothing.
    #[arg(long, value_name = "POLICY", value_parser = ["off", "internet"], default_value = "internet")]
    network: String,
    /// Processors of the machine.
    #[arg(long, value_name = "N", default_value_t = ProjectSettings::default().cpus)]
    cpus: u32,
    /// Memory of the machine.
    #[arg(long, value_name = "SIZE", value_parser = limit::mib, default_value = "2G")]
    memory: u32,
    /// Scratch disk of the machine: all that the job can write.
    #[arg(long, value_name = "SIZE", value_parser = limit::mib, default_value = "8G")]
    disk: u32,
    /// How long the job may take.
    #[arg(long, value_name = "TIME", value_parser = limit::seconds, default_value = "1h")]
    timeout: u32,
    /// Show what the machine's kernel says; it starts more slowly then.
    #[arg(long)]
    console: bool,
}

/// The exit status of `devenv-cloud run`, by how the job ended; `docs/run.md`.
const fn exit_status(state: State) -> u8 {
    match state {
        State::Success => 0,
        State::Failure => 1,
        // 2 is the command line's own.
        State::Error | State::Queued | State::Running => 3,
        State::Skip => 4,
        // As `timeout` has it, and as a shell has what Ctrl+C ended.
        State::Timeout => 124,
        State::Cancellation => 130,
    }
}

/// Runs the job, and gives the exit status. Before the job there is only one
/// way to fail: its words are on standard error, and the status is that of an
/// error.
pub async fn run(options: RunOptions, config: &Config) -> ExitCode {
    match Box::pin(try_run(options, config)).await {
        Ok(state) => ExitCode::from(exit_status(state)),
        Err(error) => {
            eprintln!("devenv-cloud: {error:#}");
            let state = match error.downcast_ref() {
                Some(SourceError::NoDevenvNix { .. }) => State::Skip,
                _ => State::Error,
            };
            ExitCode::from(exit_status(state))
        }
    }
}

async fn try_run(options: RunOptions, config: &Config) -> anyhow::Result<State> {
    let mut interrupts = Interrupts::new()?;
    let (clock, random) = (Clock::system(), Random::system());
    let cache = places::cache_dir()?;
    prepare_cache(&cache)?;
    let images = places::image_dir(config, &cache);
    let prepare = async {
        let scratch = cache.join("source");
        let source = Source::find(&options.directory, options.rev.as_deref(), &scratch, clock.now()).await?;
        let image = tokio::task::spawn_blocking({
            let images = images.clone();
            move || image::newest(&images)
        });
        anyhow::Ok((source, image.await??))
    };
    let (source, image) = tokio::select! {
        prepared = prepare => prepared?,
        () = interrupts.next() => return Ok(State::Cancellation),
    };
    let trace = options
        .trace
        .as_deref()
        .map(|path| TraceFile::create(path).with_context(|| format!("cannot write {}", path.display())));
    let trace = trace.transpose()?;

    let began = clock.now();
    let assignment = job::assignment(&source, &options, &random, began);
    let about = About {
        attempt: assignment.lease.attempt,
        commit: job::commit(&source),
        profiles: options.profiles.clone(),
        tasks: options.tasks.clone(),
        began,
    };
    let abilities = Abilities::find();
    let mut show = Show {
        view: View::new(abilities.lively, began),
        screen: Screen::new(io::stdout(), abilities),
        trace,
        clock: clock.clone(),
        lively: abilities.lively,
    };
    show.say(&[head(&source, &options, &image)]);

    let (sender, mut records) = mpsc::channel(16);
    let control = Arc::new(LocalControl::new(source, sender));
    let stop = CancellationToken::new();
    let work = {
        let (control, stop, clock) = (control.clone(), stop.clone(), clock.clone());
        let settings = MachineSettings { images, ..MachineSettings::of(&config.executor, cache) }.for_one();
        let console = options.console;
        let egress = Egress::new(&config.executor.network_internal.0).local();
        tokio::spawn(async move {
            let machines = Lazy { settings, console };
            executor::execute_one(control, Arc::new(machines), egress, clock, random, assignment, stop).await;
        })
    };
    tokio::pin!(work);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = false;
    loop {
        let seen = tokio::select! {
            biased;
            () = interrupts.next() => {
                if asked {
                    stop.cancel();
                } else {
                    asked = true;
                    control.cancel();
                    show.cancel();
                }
                true
            }
            Some(batch) = records.recv() => show.records(&batch),
            ended = &mut work => {
                ended.context("executing the job went wrong")?;
                break;
            }
            _ = ticks.tick(), if abilities.lively => show.tick(),
        };
        // Nobody reads what we write: as if they had pressed Ctrl+C.
        if !seen && !asked {
            asked = true;
            control.cancel();
        }
    }
    while let Ok(batch) = records.try_recv() {
        show.records(&batch);
    }
    let killed = || Conclusion {
        state: State::Cancellation,
        reason: Some("the machine was killed".to_owned()),
        exit_status: None,
        dropped_lines: 0,
    };
    let conclusion = control.conclusion().unwrap_or_else(killed);
    show.end(&about, &conclusion, options.trace.as_deref())?;
    Ok(conclusion.state)
}

/// What is run, in one line.
fn head(source: &Source, options: &RunOptions, image: &Image) -> String {
    let mut words = vec![job::project(source)];
    let branch = source.git_ref.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
    words.push(match &source.of {
        Of::Head => format!("{branch} at {}", source.short_commit()),
        Of::WorkingTree { changed: None } => "nothing committed yet".to_owned(),
        Of::WorkingTree { changed: Some(1) } => format!("{branch} with 1 uncommitted change"),
        Of::WorkingTree { changed: Some(count) } => format!("{branch} with {count} uncommitted changes"),
        Of::Revision(revision) if source.commit.starts_with(revision.as_str()) => {
            source.short_commit().to_owned()
        }
        Of::Revision(revision) => format!("{revision} at {}", source.short_commit()),
    });
    words.extend(options.profiles.iter().map(|profile| format!("profile {profile}")));
    words.extend(options.tasks.iter().map(|task| format!("task {task}")));
    words.push(format!("image {}", image.id));
    words.join(" · ")
}

/// The directory of scratch disks and sources, for this user alone.
fn prepare_cache(cache: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(cache).with_context(|| {
        format!("cannot create {}; set XDG_CACHE_HOME to a directory that you may write", cache.display())
    })
}

/// Machines whose host is looked at when the first is wanted, so that whoever
/// watches sees that something happens.
struct Lazy {
    settings: MachineSettings,
    console: bool,
}

#[async_trait]
impl Machines for Lazy {
    async fn machine(&self, spec: &MachineSpec) -> Result<Machine, MachineError> {
        let machines = QemuMachines::start(self.settings.clone()).await;
        machines.machine(&MachineSpec { console: self.console, ..*spec }).await
    }
}

/// Ctrl+C, and being told to end.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// The terminal and the file. Each function gives whether anybody reads.
struct Show {
    view: View,
    screen: Screen<io::Stdout>,
    trace: Option<TraceFile>,
    clock: Clock,
    lively: bool,
}

impl Show {
    fn say(&mut self, stay: &[String]) -> bool {
        let moving = if self.lively {
            let (width, height) = terminal::size();
            self.view.moving(self.clock.now(), width, height / 2)
        } else {
            Vec::new()
        };
        // A terminal may stand still, for Ctrl+S or a slow line.
        block_in_place(|| self.screen.paint(stay, &moving)).is_ok()
    }

    fn tick(&mut self) -> bool {
        self.say(&[])
    }

    fn cancel(&mut self) {
        let stay = self.view.cancel(JOB_GRACE.as_secs());
        self.say(&stay);
    }

    fn records(&mut self, records: &[Record]) -> bool {
        let mut stay = Vec::new();
        for record in records {
            stay.extend(self.view.record(record));
            if let Some(trace) = &mut self.trace
                && let Err(error) = trace.record(record)
            {
                self.trace = None;
                stay.push(format!("! the trace cannot be written: {error}"));
            }
        }
        self.say(&stay)
    }

    fn end(mut self, about: &About, conclusion: &Conclusion, path: Option<&Path>) -> anyhow::Result<()> {
        let now = self.clock.now();
        let stay = self.view.conclusion(conclusion, now);
        // Nobody may read it; the exit status is read in any case.
        let _ = block_in_place(|| self.screen.paint(&stay, &[]));
        let Some(path) = path else { return Ok(()) };
        let trace = self.trace.with_context(|| format!("cannot write {}", path.display()))?;
        trace.finish(about, conclusion, now).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_exits_with_zero() {
        let states = [
            State::Queued,
            State::Running,
            State::Failure,
            State::Error,
            State::Timeout,
            State::Cancellation,
            State::Skip,
        ];
        assert_eq!(exit_status(State::Success), 0);
        for state in states {
            assert_ne!(exit_status(state), 0, "{state}");
            assert_ne!(exit_status(state), 2, "{state} is no error of the command line");
        }
    }
}
