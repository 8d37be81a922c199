//! Measuring machines: `devenv-cloud machines bench`, which `cargo xtask bench
//! machines` calls. Figures for people to compare, of this host at this moment.
//!
//! It is part of the program because it needs what nobody else may touch: the
//! template, and machines without jobs.

mod job;
mod report;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use devenv_cloud_api::orgs::ProjectSettings;
use devenv_cloud_guest::protocol::{GuestMessage, HostMessage, Job, Prepare, limits};
use rustix::process::Pid;
use tokio::time::timeout;

use self::report::{Channel, Clones, Report, Restores, Spread};
use super::{
    MachineSettings, MachineSpec,
    parts::{Parts, Running},
    template::{Template, warm},
};
use crate::{
    clock::{Clock, Random},
    executor::channel::{Frames, receive_hello, send, send_hello},
};

/// How long a machine may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Round trips that are measured.
const ROUND_TRIPS: u32 = 100;
/// Bytes that are sent to a guest.
const TO_GUEST: usize = 128 << 20;

/// The subcommands of `devenv-cloud machines`.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum MachinesCommand {
    /// Measure machines: how fast they are restored, what they cost, how fast one
    /// talks with them, and how much slower Nix is in them.
    Bench(BenchOptions),
}

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct BenchOptions {
    /// How many machines are restored, one after another.
    #[arg(long, default_value_t = 300)]
    restores: u32,
    /// How many machines live at the same time.
    #[arg(long, default_value_t = 10)]
    clones: u32,
    /// Print JSON in place of the tables, as one last line.
    #[arg(long)]
    json: bool,
}

/// Measures, and prints.
///
/// # Errors
/// When there can be no machines at all; machines that fail are counted.
pub async fn bench(options: BenchOptions, settings: MachineSettings) -> anyhow::Result<()> {
    // Templates and disks of its own: a server may run beside it.
    let state = tempfile::tempdir().context("cannot make a directory")?;
    let settings = MachineSettings { state: state.path().to_owned(), ..settings };
    let ProjectSettings { cpus, memory_mib, disk_mib, .. } = ProjectSettings::default();
    let spec = MachineSpec { cpus, memory_mib, disk_mib, console: false };
    let parts = Parts::new(settings);
    let (host, accelerator) = parts.host().await?;
    let image = parts.image().await?;
    let key = parts.key(&image, &spec).await?;

    eprintln!("machines: making a template of {spec}");
    let began = Instant::now();
    let template = Template::make(&parts, image.clone(), key).await?;
    let bench = Bench { parts: &parts, template, clock: Clock::system(), random: Random::system() };
    let template_seconds = began.elapsed().as_secs_f64();
    let report = Report {
        qemu: host.version.clone(),
        accelerator: accelerator.name(),
        image: image.id,
        machine: spec.to_string(),
        template_seconds,
        template_mib: bench.template_mib(),
        restores: bench.restores(options.restores).await?,
        clones: vec![
            bench.clones("ready", options.clones, 0).await?,
            bench.clones("warmed up, as in the pool", options.clones, 2).await?,
        ],
        channel: bench.channel().await?,
        evaluation: bench.evaluation().await?,
    };
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

struct Bench<'a> {
    parts: &'a Parts,
    template: Template,
    clock: Clock,
    random: Random,
}

impl Bench<'_> {
    fn template_mib(&self) -> u64 {
        rustix::fs::fstat(&self.template.memory)
            .map_or(0, |stat| u64::try_from(stat.st_blocks * 512).unwrap_or(0) >> 20)
    }

    /// A machine that has answered, and what it took until then.
    async fn restored(&self) -> anyhow::Result<(Running, Duration)> {
        let began = Instant::now();
        let mut running = self.parts.restore(&self.template, false).await?;
        greet(&mut running).await?;
        Ok((running, began.elapsed()))
    }

    /// Makes a machine that was greeted one of its own: it is ready for its job.
    async fn prepare(&self, running: &mut Running) -> anyhow::Result<()> {
        let time = self.clock.now().timestamp_nanos_opt().unwrap_or_default();
        let prepare = HostMessage::Prepare(Prepare {
            time_ns: u64::try_from(time).unwrap_or_default(),
            entropy: self.random.bytes(),
            machine_id: hex::encode(self.random.bytes::<16>()),
        });
        send(&mut running.channel, &prepare).await?;
        match Frames::new(&mut running.channel).receive().await? {
            GuestMessage::Ready => Ok(()),
            other => anyhow::bail!("a machine answered {other:?}"),
        }
    }

    async fn restores(&self, count: u32) -> anyhow::Result<Restores> {
        let (mut answers, mut ready, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=count {
            if number % 50 == 1 {
                eprintln!("machines: restoring, {number} of {count}");
            }
            let began = Instant::now();
            let one = async {
                let (mut running, answered) = self.restored().await?;
                self.prepare(&mut running).await?;
                anyhow::Ok((running, answered, began.elapsed()))
            };
            match timeout(PATIENCE, one).await {
                Ok(Ok((running, answered, prepared))) => {
                    answers.push(answered);
                    ready.push(prepared);
                    end(running).await;
                }
                Ok(Err(error)) => failures.push(format!("{error:#}")),
                Err(_) => failures.push(format!("not ready after {} s", PATIENCE.as_secs())),
            }
        }
        Ok(Restores {
            count,
            failures: failures.len(),
            first_failure: failures.into_iter().next(),
            answered_ms: Spread::milliseconds(answers),
            ready_ms: Spread::milliseconds(ready),
        })
    }

    /// What machines cost that live at the same time.
    async fn clones(&self, state: &'static str, count: u32, rounds: u8) -> anyhow::Result<Clones> {
        eprintln!("machines: {count} at the same time, {state}");
        let mut alive = Vec::new();
        for _ in 0..count {
            let mut running = self.parts.restore(&self.template, false).await?;
            if rounds > 0 {
                warm(&mut running.channel, rounds).await?;
            }
            greet(&mut running).await?;
            self.prepare(&mut running).await?;
            alive.push(running);
        }
        let mut each = Vec::new();
        for running in &alive {
            each.push(memory(running.process.id())?);
        }
        for running in alive {
            end(running).await;
        }
        // What is shared with the template is counted once, with the template.
        let own = each.iter().map(|memory| memory.pss.saturating_sub(memory.shared)).sum::<u64>();
        Ok(Clones {
            state,
            count,
            pss_mib: Spread::of(each.iter().map(|memory| (memory.pss >> 10) as f64)),
            own_mib: own >> 10,
            with_template_mib: (own >> 10) + self.template_mib(),
        })
    }

    async fn channel(&self) -> anyhow::Result<Channel> {
        eprintln!("machines: talking");
        let mut running = self.parts.restore(&self.template, false).await?;
        // The first answer is that of a machine that is still being restored.
        warm(&mut running.channel, 0).await?;
        let mut round_trips = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let began = Instant::now();
            greet(&mut running).await?;
            round_trips.push(began.elapsed());
            send(&mut running.channel, &HostMessage::Warm { rounds: 0 }).await?;
            Frames::new(&mut running.channel).receive().await?;
        }
        greet(&mut running).await?;
        self.prepare(&mut running).await?;
        send(&mut running.channel, &HostMessage::Job(Box::new(job::job("0", &[])))).await?;
        // No packfile: the guest reads on and throws away what comes.
        let chunk = HostMessage::Source(vec![0; limits::SOURCE_CHUNK]);
        send(&mut running.channel, &chunk).await?;
        let began = Instant::now();
        for _ in 0..TO_GUEST / limits::SOURCE_CHUNK {
            send(&mut running.channel, &chunk).await?;
        }
        let to_guest_mib_per_s = (TO_GUEST >> 20) as f64 / began.elapsed().as_secs_f64();
        end(running).await;
        Ok(Channel {
            round_trip_us: Spread::of(round_trips.iter().map(|time| time.as_micros() as f64)),
            to_guest_mib_per_s,
            from_guest_mib_per_s: self.output_rate().await?,
        })
    }
}

/// Exchanges greetings.
async fn greet(running: &mut Running) -> anyhow::Result<()> {
    send_hello(&mut running.channel).await?;
    receive_hello(&mut running.channel).await?;
    Ok(())
}

async fn end(mut running: Running) {
    running.process.kill();
    // Whatever it was: it is gone.
    drop(timeout(PATIENCE, running.process.ended()).await);
}

/// KiB of a machine's memory.
struct Memory {
    /// Its own, and its share of what it has in common with others.
    pss: u64,
    /// Of that: of files in memory, which is the template.
    shared: u64,
}

/// The memory of a process and of all that it started.
fn memory(process: Pid) -> anyhow::Result<Memory> {
    let mut sum = Memory { pss: 0, shared: 0 };
    let mut pile = vec![process.as_raw_nonzero().get()];
    while let Some(id) = pile.pop() {
        let file = format!("/proc/{id}/smaps_rollup");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let kib = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
        };
        sum.pss += kib("Pss:");
        sum.shared += kib("Pss_Shmem:");
        for task in fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pile.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    Ok(sum)
}

/// A job to be measured with.
impl Bench<'_> {
    /// A machine that does a job, and its job's lines as they come.
    async fn lines(
        &self,
        files: &[(&str, &str)],
        tasks: &[&str],
        mut line: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let source = job::Source::of(files).await?;
        let (mut running, _) = self.restored().await?;
        self.prepare(&mut running).await?;
        let job: Job = job::job(&source.commit, tasks);
        send(&mut running.channel, &HostMessage::Job(Box::new(job))).await?;
        for chunk in source.pack.chunks(limits::SOURCE_CHUNK) {
            send(&mut running.channel, &HostMessage::Source(chunk.to_vec())).await?;
        }
        send(&mut running.channel, &HostMessage::SourceEnd).await?;
        job::hear(&mut running.channel, &mut line).await?;
        end(running).await;
        Ok(())
    }
}
