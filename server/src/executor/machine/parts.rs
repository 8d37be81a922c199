//! Starting QEMU: what every machine needs, however it comes to be.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::MetadataExt as _, net::UnixStream as StdUnixStream},
    },
};

use async_trait::async_trait;
use serde_json::json;
use tokio::{net::UnixStream, sync::OnceCell};

use super::{
    Exit, Life, Machine, MachineError, MachineSettings, MachineSpec,
    accelerator::Accelerator,
    blocking,
    command_line::{CommandLine, Memory},
    host::{Host, last_words},
    pool::Place,
    process::{Census, Ended, Process},
    qmp::Control,
    scratch,
    sweep::Mark,
    template::Template,
    to_async, tsc,
};
use crate::executor::image::{self, Image};

/// What makes machines on this host.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) settings: MachineSettings,
    pub(super) mark: Mark,
    /// All that run.
    pub(super) census: Census,
    host: OnceCell<(Host, Accelerator)>,
}

/// How a machine came to be; the word in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Booted.
    Cold,
    /// Restored from a template for this job.
    OnDemand,
    /// Restored and warmed up before there was a job.
    Pooled,
}

impl Start {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::OnDemand => "on_demand",
            Self::Pooled => "pooled",
        }
    }
}

/// What two machines must have in common for one to be restored from what the
/// other was frozen to, besides this host and this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    image: String,
    /// Device, inode and time of the QEMU program: an upgrade in place changes it.
    qemu: (u64, u64, i64),
    pub(super) spec: MachineSpec,
}

impl Key {
    /// Whether both can be in use at the same time: they differ in size alone.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.image == other.image && self.qemu == other.qemu
    }
}

/// A QEMU that runs, or waits to run.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) channel: UnixStream,
    pub(super) process: Process,
    pub(super) control: Control,
}

impl Parts {
    pub(super) fn new(settings: MachineSettings) -> Self {
        let mark = Mark::new(&settings.state);
        Self { settings, mark, census: Census::default(), host: OnceCell::new() }
    }

    /// QEMU and its accelerator, found once.
    pub(super) async fn host(&self) -> Result<&(Host, Accelerator), MachineError> {
        self.host
            .get_or_try_init(|| async {
                let host = Host::find(&self.settings.qemu).await?;
                host.check_isolation(&self.settings.isolation)?;
                let accelerator = Accelerator::choose(&self.settings.accelerator, &host).await?;
                Ok((host, accelerator))
            })
            .await
    }

    /// The image that machines have now.
    pub(super) async fn image(&self) -> Result<Image, MachineError> {
        let images = self.settings.images.clone();
        Ok(blocking(move || image::newest(&images)).await?)
    }

    pub(super) async fn key(&self, image: &Image, spec: &MachineSpec) -> Result<Key, MachineError> {
        let (host, _) = self.host().await?;
        let program = host.program.clone();
        let metadata = blocking(move || std::fs::metadata(program)).await;
        let metadata = metadata.map_err(|e| MachineError::io("cannot read", &host.program, e))?;
        let qemu = (metadata.dev(), metadata.ino(), metadata.mtime());
        Ok(Key { image: image.id.clone(), qemu, spec: *spec })
    }

    /// A scratch disk with an empty file system.
    pub(super) async fn scratch(&self, spec: &MachineSpec) -> Result<File, MachineError> {
        let (directory, mib) = (scratch::directory(&self.settings.state), spec.disk_mib);
        blocking(move || scratch::disk(&directory, mib)).await
    }

    /// What a kernel is told about the processor's counter, in kHz; nothing where it
    /// can measure that itself.
    pub(super) async fn khz(&self) -> Result<Option<u64>, MachineError> {
        Ok(match self.host().await? {
            (_, Accelerator::Tcg) => Some(blocking(tsc::khz).await?),
            (_, Accelerator::Kvm { .. }) => None,
        })
    }

    /// Boots a machine.
    pub(super) async fn boot(
        &self,
        image: &Image,
        spec: &MachineSpec,
        into: Option<Frozen<'_>>,
    ) -> Result<Running, MachineError> {
        let (host, accelerator) = self.host().await?;
        let khz = self.khz().await?;
        let cannot_start = |e| MachineError::io("cannot start", &host.program, e);
        let mut line = CommandLine::new(&self.mark.name());
        let (memory, disk) = match &into {
            None => (Memory::Own, self.scratch(spec).await?),
            Some(frozen) => {
                line.patient();
                let file = frozen.memory.try_clone().map_err(cannot_start)?;
                (Memory::File { file, shared: true }, frozen.disk.try_clone().map_err(cannot_start)?)
            }
        };
        line.processor(accelerator, spec, host, memory);
        line.disks(image, disk)?;
        if spec.console {
            let (console, console_end) = StdUnixStream::pair().map_err(cannot_start)?;
            line.console(console_end);
            std::thread::spawn(move || print_console(console));
        }
        line.boot(image, khz, spec.console)?;
        self.run(line, spec, into.map(|frozen| frozen.state)).await
    }

    /// Restores a machine. Before it runs, everything that is written to its
    /// channel waits for it.
    pub(super) async fn restore(&self, template: &Template, patient: bool) -> Result<Running, MachineError> {
        let (host, accelerator) = self.host().await?;
        let spec = &template.key.spec;
        let cannot_start = |e| MachineError::io("cannot start", &host.program, e);
        // It had mounted it, and goes on with what it knows of it.
        let directory = scratch::directory(&self.settings.state);
        let disk = template.disk.try_clone().map_err(cannot_start)?;
        let disk = blocking(move || scratch::copy_of(&directory, &disk)).await?;
        let mut line = CommandLine::new(&self.mark.name());
        if patient {
            line.patient();
        }
        let memory = template.memory.try_clone().map_err(cannot_start)?;
        line.processor(accelerator, spec, host, Memory::File { file: memory, shared: false });
        line.disks(&template.image, disk)?;
        line.incoming();
        // Opened anew: a duplicate would share its position with the others.
        let state = File::open(format!("/proc/self/fd/{}", template.state.as_raw_fd()));
        let state = line.hand_over(state.map_err(cannot_start)?);
        let running = self.run(line, spec, None).await?;
        running.control.tell("migrate-set-capabilities", capabilities());
        running.control.tell("migrate-incoming", json!({ "uri": format!("fd:{state}") }));
        Ok(running)
    }

    async fn run(
        &self,
        mut line: CommandLine,
        spec: &MachineSpec,
        state: Option<&OwnedFd>,
    ) -> Result<Running, MachineError> {
        let (host, accelerator) = self.host().await?;
        let cannot_start = |e| MachineError::io("cannot start", &host.program, e);
        let (channel, channel_end) = StdUnixStream::pair().map_err(cannot_start)?;
        let (control, control_end) = StdUnixStream::pair().map_err(cannot_start)?;
        line.control(control_end);
        line.channel(channel_end);
        let process = line.launch(host, accelerator, spec).start(&self.census).await.map_err(cannot_start)?;
        let control = match state {
            None => Control::new(control),
            Some(state) => Control::with_file(control, STATE, state),
        };
        Ok(Running {
            channel: to_async(channel).map_err(cannot_start)?,
            process,
            control: control.map_err(cannot_start)?,
        })
    }

    /// A machine for a job.
    pub(super) async fn finished(
        &self,
        running: Running,
        place: Place,
        image: &str,
        spec: &MachineSpec,
        start: Start,
    ) -> Result<Machine, MachineError> {
        let (_, accelerator) = self.host().await?;
        let attributes = [
            ("devenv_cloud.machine.accelerator", accelerator.name().to_owned()),
            ("devenv_cloud.machine.start", start.as_str().to_owned()),
            ("devenv_cloud.machine.image", image.to_owned()),
            ("devenv_cloud.machine.cpus", spec.cpus.to_string()),
            ("devenv_cloud.machine.memory_mib", spec.memory_mib.to_string()),
            ("devenv_cloud.machine.disk_mib", spec.disk_mib.to_string()),
        ];
        let Running { channel, process, control } = running;
        Ok(Machine {
            channel: Box::new(channel),
            life: Box::new(QemuLife { process, control, _place: place }),
            attributes: BTreeMap::from(attributes.map(|(key, value)| (key.to_owned(), value))),
        })
    }
}

/// Where a machine that is to be frozen has what it knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frozen<'a> {
    pub(super) memory: &'a OwnedFd,
    pub(super) state: &'a OwnedFd,
    pub(super) disk: &'a File,
}

/// The name under which QEMU knows the file for a machine's state.
pub(super) const STATE: &str = "state";

/// Memory is not copied: who freezes leaves it in its file, who is restored finds
/// it there.
pub(super) fn capabilities() -> serde_json::Value {
    json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] })
}

/// Copies what a kernel says to our standard error, until the machine ends.
fn print_console(mut console: StdUnixStream) {
    drop(io::copy(&mut console, &mut io::stderr()));
}

/// The life of a QEMU process.
struct QemuLife {
    process: Process,
    control: Control,
    /// Given back with the process.
    _place: Place,
}

#[async_trait]
impl Life for QemuLife {
    fn kill(&mut self) {
        self.process.kill();
    }

    async fn ended(&mut self) -> Exit {
        let ended = match self.process.ended().await {
            Ok(ended) => ended,
            Err(error) => return Exit::Failed { status: -1, words: error.to_string() },
        };
        // The reason may still be in the channel.
        let events = self.control.last_events().await;
        match ended {
            _ if events.disk_full => Exit::HostDiskFull,
            _ if events.panicked => Exit::Panicked,
            _ if events.powered_off => Exit::PoweredOff,
            _ if ended.killed => Exit::Killed,
            Ended { out_of_memory: Some(limit_mib), signal: Some(_), .. } => Exit::OutOfMemory { limit_mib },
            ended => match (ended.signal, ended.status) {
                (Some(signal), _) => Exit::Signal(signal),
                (None, status) => {
                    Exit::Failed { status: status.unwrap_or(-1), words: last_words(&ended.words) }
                }
            },
        }
    }
}
