//! `devenv-cloud runner`: executes jobs of a server that is somewhere else.
//!
//! It registers once, with a token that somebody created on the server's page,
//! and keeps what it got in its state directory; from then on it needs no
//! token. Told to stop, it takes nothing new and waits for what it has; told
//! twice, it ends at once, and says so to the server, which has the jobs done
//! again elsewhere.

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Random},
    config::Config,
    executor::{
        Egress, Executor, ExecutorSettings, PLATFORMS,
        machine::{MachineSettings, QemuMachines},
        remote::{
            Link, LinkError, LinkSettings, RemoteControlPlane, StateFile,
            wire::{Announcement, PROTOCOL, Welcome},
        },
    },
    local::places,
};

/// The difference between two clocks that is said, and the one that is refused.
const SKEW: (TimeDelta, TimeDelta) = (TimeDelta::seconds(5), TimeDelta::minutes(2));

/// What the command line says; the configuration says the rest.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The server's address, e.g. <https://ci.example.com> [runner.server].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A registration token, for the first start [runner.token]. Others on this
    /// machine can see a command line: --token-file is safer.
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file with the registration token [`runner.token_file`].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Its name, for people [runner.name; the machine's].
    #[arg(long)]
    name: Option<String>,
    /// Words that projects can ask for, with commas between them [runner.labels].
    #[arg(long)]
    labels: Option<String>,
    /// How many jobs at once [executor.slots].
    #[arg(long)]
    slots: Option<u32>,
    /// Where it keeps who it is, and its machines' disks [`runner.state_dir`].
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
}

/// Takes what the command line says into the configuration.
fn configure(mut config: Config, options: Options) -> anyhow::Result<Config> {
    let Options { server, token, token_file, name, labels, slots, state_dir } = options;
    let runner = &mut config.runner;
    if let Some(token) = token {
        runner.token = token.into();
        runner.token_file = PathBuf::new();
    }
    if let Some(file) = token_file {
        runner.token = String::new().into();
        runner.token_file = file;
    }
    runner.server = server.unwrap_or_else(|| runner.server.clone()).trim_end_matches('/').to_owned();
    runner.name = name.unwrap_or_else(|| runner.name.clone());
    runner.labels = labels.unwrap_or_else(|| runner.labels.clone());
    runner.state_dir = state_dir.unwrap_or_else(|| runner.state_dir.clone());
    config.executor.slots = slots.unwrap_or(config.executor.slots);
    check_address(&config.runner.server)?;
    Ok(config)
}

fn check_address(server: &str) -> anyhow::Result<()> {
    ensure!(
        !server.is_empty(),
        "which server? Give its address: --server https://ci.example.com (or runner.server, or \
         DEVENV_CLOUD_RUNNER_SERVER)"
    );
    let host = match server.split_once("://") {
        Some(("https", host)) => host,
        Some(("http", host)) => {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
                tracing::warn!(
                    "{server} is not https: whoever is on the way can read the source and the runner's credential"
                );
            }
            host
        }
        _ => bail!("`{server}` is no address of a server: it begins with https:// (or http://)"),
    };
    ensure!(
        !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']),
        "`{server}` is no address of a server: give it without a path, like https://ci.example.com"
    );
    Ok(())
}

fn announcement(config: &Config) -> Announcement {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let labels = config.runner.labels.split(',').map(str::trim).filter(|label| !label.is_empty());
    Announcement {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: if config.runner.name.is_empty() { host } else { config.runner.name.clone() },
        labels: labels.map(str::to_owned).collect(),
        platforms: PLATFORMS.iter().map(|&platform| platform.to_owned()).collect(),
        slots: config.executor.slots,
    }
}

/// Executes jobs until the process is told to stop.
///
/// # Errors
/// When the runner cannot work; the sentence says what to do.
pub async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    let config = configure(config, options)?;
    let (clock, random) = (Clock::system(), Random::system());
    prepare(&config.runner.state_dir)?;
    let _lock = lock(&config.runner.state_dir)?;
    let signals = Signals::listen()?;

    let state = StateFile::open(&config.runner.state_dir, &config.runner.server, &random)?;
    let file = state.path().to_owned();
    let ca_file = Some(config.runner.ca_file.clone()).filter(|file| !file.as_os_str().is_empty());
    let settings = LinkSettings { server: config.runner.server.clone(), ca_file };
    let link = Link::new(&settings, clock.clone(), state)?;
    let announcement = announcement(&config);

    let welcome = tokio::select! {
        welcome = join(&config, &link, &announcement, &random) => welcome,
        () = signals.first.cancelled() => return Ok(()),
    };
    let welcome = welcome.with_context(|| format!("this is no runner of {} now", settings.server))?;
    check_clock(&clock, &welcome)?;
    if welcome.version != announcement.version {
        tracing::warn!(
            "the server is version {} and this runner {}: install the same where you can",
            welcome.version,
            announcement.version
        );
    }
    let whose = welcome.org.map_or_else(|| "everybody".to_owned(), |org| format!("organisation {org}"));
    let (name, slots) = (&announcement.name, announcement.slots);
    tracing::info!("runner {name} is ready: {slots} jobs at once for {whose} of {}", settings.server);

    // A service has no home, and needs none.
    let cache = places::cache_dir().unwrap_or_else(|_| config.runner.state_dir.clone());
    let images = places::image_dir(&config, &cache);
    let of_config = MachineSettings::of(&config.executor, config.runner.state_dir.clone());
    let machines =
        QemuMachines::start(MachineSettings { images, pool: config.executor.pool_of(slots), ..of_config });
    let machines = Arc::new(machines.await);
    machines.expect_usual().await;
    let control = Arc::new(RemoteControlPlane::new(link.clone(), random.clone()));
    let dismissed = control.dismissed();
    let drain = Duration::from_secs(config.runner.drain_seconds.into());
    let settings = ExecutorSettings { slots, room: config.executor.room(), drain };
    let egress = Egress::new(&config.executor.network_internal.0);
    let executor = Executor::new(settings, control, machines.clone(), egress, clock, random);
    let (shutdown, stop) = (CancellationToken::new(), executor.stop());
    let executing = tokio::spawn(executor.run(shutdown.clone()));

    tokio::select! {
        () = signals.first.cancelled() => {
            tracing::info!(
                "stopping: nothing new is taken, and what runs has {} s to end; a second signal ends it at once",
                drain.as_secs()
            );
        }
        () = dismissed.cancelled() => tracing::error!("dismissed by the server; jobs are dropped"),
    }
    shutdown.cancel();
    let hurried = async {
        signals.second.cancelled().await;
        tracing::warn!("ending at once; running jobs are dropped, and done again elsewhere");
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = executing => ended.context("the executor broke")?,
        () = hurried => {}
    }
    machines.stop().await;
    if dismissed.is_cancelled() {
        bail!(
            "the server wants nothing more of this runner: it was revoked, or is unknown there. To use this machine \
             again, remove {} and register with a new token",
            file.display()
        );
    }
    if let Err(error) = link.leave().await {
        tracing::warn!("the server could not be told that this runner ends: {error}");
    }
    Ok(())
}

/// Registers if that has not been done, and says hello.
async fn join(
    config: &Config,
    link: &Link,
    announcement: &Announcement,
    random: &Random,
) -> anyhow::Result<Welcome> {
    let token = token(config)?;
    if link.is_registered().await {
        match greet(link, announcement).await {
            // Known no more, but not sent away: a token makes it a new runner.
            Err(LinkError::Dismissed(why)) if token.is_some() && !why.contains("revoked") => {
                tracing::warn!("{why}");
                link.begin_anew(random).await?;
            }
            other => return Ok(other?),
        }
    }
    let Some(token) = token else {
        bail!(
            "this machine is not registered yet. Create a registration token on the page Runners of your \
             organisation, and start the runner once with --token-file FILE or --token TOKEN"
        );
    };
    link.register(&token, announcement.clone()).await?;
    tracing::info!("registered as {}", announcement.name);
    Ok(greet(link, announcement).await?)
}

/// Says hello, as long as it takes until the server can be reached.
async fn greet(link: &Link, announcement: &Announcement) -> Result<Welcome, LinkError> {
    let mut said = false;
    loop {
        match link.hello(announcement).await {
            Err(error @ LinkError::Unreachable { .. }) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("{error}; trying again until it works");
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            other => return other,
        }
    }
}

fn token(config: &Config) -> anyhow::Result<Option<String>> {
    let file = &config.runner.token_file;
    let text = if file.as_os_str().is_empty() {
        config.runner.token.reveal().to_owned()
    } else {
        match std::fs::read_to_string(file) {
            Ok(text) => text,
            // It is needed once, and may well have been removed since.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    };
    Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty()))
}

fn check_clock(clock: &Clock, welcome: &Welcome) -> anyhow::Result<()> {
    let skew = clock.now() - welcome.time;
    let seconds = skew.num_seconds().abs();
    let which = if skew > TimeDelta::zero() { "ahead of" } else { "behind" };
    ensure!(
        skew.abs() <= SKEW.1,
        "this machine's clock is {seconds} s {which} the server's, which would make nonsense of every trace: set it \
         (timedatectl set-ntp true)"
    );
    if skew.abs() > SKEW.0 {
        tracing::warn!(
            "this machine's clock is {seconds} s {which} the server's: traces will be off by that"
        );
    }
    Ok(())
}

fn prepare(directory: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| {
        format!(
            "cannot create the state directory {}; name one that this user may write with --state-dir (or \
             runner.state_dir)",
            directory.display()
        )
    })
}

/// One runner per state directory. The lock ends with the process, however it ends.
fn lock(directory: &Path) -> anyhow::Result<std::fs::File> {
    let file = directory.join("runner.lock");
    let lock = std::fs::File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
    lock.try_lock().map_err(|_| {
        anyhow::anyhow!(
            "another runner already works from {}; give this one another --state-dir",
            directory.display()
        )
    })?;
    Ok(lock)
}

/// What the process was told.
struct Signals {
    first: CancellationToken,
    second: CancellationToken,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let this = Self { first: CancellationToken::new(), second: CancellationToken::new() };
        let (first, second) = (this.first.clone(), this.second.clone());
        tokio::spawn(async move {
            for told in [first, second] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                told.cancel();
            }
        });
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_server() {
        for good in ["https://ci.example.com", "http://localhost:8080", "https://[::1]:8443"] {
            check_address(good).unwrap();
        }
        for (bad, why) in [
            ("", "--server"),
            ("ci.example.com", "https://"),
            ("ftp://ci.example.com", "https://"),
            ("https://ci.example.com/acme", "without a path"),
            ("https://me:secret@ci.example.com", "without a path"),
            ("https://", "without a path"),
        ] {
            let said = check_address(bad).unwrap_err().to_string();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_refused_with_what_to_do() {
        let now: devenv_cloud_api::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let welcome = Welcome { org: None, version: String::new(), time: now };
        check_clock(&Clock::fake(now + TimeDelta::seconds(100)), &welcome).unwrap();
        let said =
            check_clock(&Clock::fake(now - TimeDelta::seconds(300)), &welcome).unwrap_err().to_string();
        assert!(said.contains("300 s behind") && said.contains("timedatectl"), "{said}");
    }
}
