//! Machines by QEMU.
//!
//! A microvm: no BIOS, no PCI, no network, no display; a read-only root disk
//! that all share, a scratch disk of its own, and one serial port. What the
//! flags are good for was measured; `docs/executor.md` says where.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

use async_trait::async_trait;
use devenv_cloud_guest::protocol;
use tokio::{io::AsyncReadExt as _, net::UnixStream, process::Command, sync::OnceCell};

use super::{
    Exit, Life, Machine, MachineError, MachineSpec, Machines,
    accelerator::Accelerator,
    process::{Launch, Process},
    qmp::{self, SharedEvents},
    scratch,
    sweep::Mark,
    tsc,
};
use crate::executor::image::{self, Image, tools};

/// MiB of translated code that QEMU keeps under emulation.
const TRANSLATION_MIB: u32 = 256;

/// What QEMU's sandbox forbids it: it needs no new processes and no rights.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// What every kernel is told. The second line saves a quarter of the start.
const KERNEL_COMMAND_LINE: &str = "panic=-1 reboot=t random.trust_cpu=on mitigations=off audit=0 selinux=0 \
     apparmor=0 no_timer_check cryptomgr.notests nokaslr i8042.noaux i8042.nokbd rcupdate.rcu_expedited=1 \
     dvc.root=/dev/vda dvc.scratch=/dev/vdb";

/// Where things are and what is wished for.
#[derive(Clone, Debug)]
pub struct MachineSettings {
    /// The directory of images.
    pub images: PathBuf,
    /// The server's state directory.
    pub state: PathBuf,
    /// The QEMU program: a name or a path.
    pub qemu: String,
    /// `auto`, `kvm` or `tcg`.
    pub accelerator: String,
}

/// Boots machines with QEMU.
#[derive(Debug)]
pub struct QemuMachines {
    settings: MachineSettings,
    mark: Mark,
    host: OnceCell<(Host, Accelerator)>,
}

impl QemuMachines {
    /// Ends what a predecessor left behind, and tries out what this host can do.
    /// What is missing is logged once, and again said by every
    /// [`Machines::machine`] until it is there.
    pub async fn start(settings: MachineSettings) -> Self {
        let mark = Mark::new(&settings.state);
        let sweeper = mark.clone();
        let swept = tokio::task::spawn_blocking(move || sweeper.sweep()).await.unwrap_or_default();
        if swept > 0 {
            tracing::warn!(swept, "ended machines that a previous server left behind");
        }
        let machines = Self { settings, mark, host: OnceCell::new() };
        if let Err(error) = machines.host().await {
            tracing::error!("no job can be executed: {error}");
        }
        match machines.image().await {
            Ok(image) => tracing::info!(image = image.id, kernel = image.manifest.kernel, "machine image"),
            Err(error) => tracing::error!("no job can be executed: {error}"),
        }
        machines
    }

    async fn host(&self) -> Result<&(Host, Accelerator), MachineError> {
        self.host
            .get_or_try_init(|| async {
                let host = Host::find(&self.settings.qemu).await?;
                let accelerator = Accelerator::choose(&self.settings.accelerator, &host).await?;
                Ok((host, accelerator))
            })
            .await
    }

    async fn image(&self) -> Result<Image, MachineError> {
        let images = self.settings.images.clone();
        Ok(blocking(move || image::newest(&images)).await?)
    }
}

#[async_trait]
impl Machines for QemuMachines {
    async fn machine(&self, spec: &MachineSpec) -> Result<Machine, MachineError> {
        let (host, accelerator) = self.host().await?;
        check(spec)?;
        let image = self.image().await?;
        let (directory, mib) = (scratch::directory(&self.settings.state), spec.disk_mib);
        let disk = blocking(move || scratch::disk(&directory, mib)).await?;
        let khz = match accelerator {
            Accelerator::Tcg => Some(blocking(tsc::khz).await?),
            Accelerator::Kvm { .. } => None,
        };

        let cannot_start = |e| MachineError::io("cannot start", &host.program, e);
        let (channel, channel_end) = StdUnixStream::pair().map_err(cannot_start)?;
        let (control, control_end) = StdUnixStream::pair().map_err(cannot_start)?;
        let mut arguments = Arguments::new(&self.mark.name());
        arguments.control(control_end);
        arguments.processor(accelerator, spec, host);
        arguments.disks(&image, disk)?;
        arguments.channel(channel_end);
        if spec.console {
            let (console, console_end) = StdUnixStream::pair().map_err(cannot_start)?;
            arguments.console(console_end);
            std::thread::spawn(move || print_console(console));
        }
        arguments.boot(&image, khz, spec.console)?;

        let process = arguments.launch(host, accelerator, spec).start().await;
        let process = process.map_err(cannot_start)?;
        let events = SharedEvents::default();
        let following = tokio::spawn(qmp::follow(to_async(control).map_err(cannot_start)?, events.clone()));
        Ok(Machine {
            channel: Box::new(to_async(channel).map_err(cannot_start)?),
            life: Box::new(QemuLife { process, events, following: Some(following) }),
            attributes: BTreeMap::from(
                [
                    ("devenv_cloud.machine.accelerator", accelerator.name().to_owned()),
                    ("devenv_cloud.machine.start", "cold".to_owned()),
                    ("devenv_cloud.machine.image", image.id.clone()),
                    ("devenv_cloud.machine.cpus", spec.cpus.to_string()),
                    ("devenv_cloud.machine.memory_mib", spec.memory_mib.to_string()),
                    ("devenv_cloud.machine.disk_mib", spec.disk_mib.to_string()),
                ]
                .map(|(key, value)| (key.to_owned(), value)),
            ),
        })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn to_async(stream: StdUnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Copies what a kernel says to our standard error, until the machine ends.
fn print_console(mut console: StdUnixStream) {
    drop(io::copy(&mut console, &mut io::stderr()));
}

fn check(spec: &MachineSpec) -> Result<(), MachineError> {
    let refuse = |what: String| Err(MachineError::Spec(what));
    if !(1..=64).contains(&spec.cpus) {
        return refuse(format!("{} processors: it must have between 1 and 64", spec.cpus));
    }
    if !(256..=1 << 20).contains(&spec.memory_mib) {
        return refuse(format!(
            "{} MiB of memory: it must have between 256 and {}",
            spec.memory_mib,
            1 << 20
        ));
    }
    Ok(())
}

/// QEMU on this host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) program: PathBuf,
    /// As it says it itself.
    pub(super) version: String,
    major_version: u32,
}

impl Host {
    pub(super) async fn find(program: &str) -> Result<Self, MachineError> {
        let path =
            tools::find(program).ok_or_else(|| MachineError::NoQemu { program: program.to_owned() })?;
        let output = Command::new(&path)
            .arg("--version")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| MachineError::io("cannot run", &path, e))?;
        let words = String::from_utf8_lossy(&output.stdout);
        let major_version = major_version(&words)
            .ok_or_else(|| MachineError::Qemu(format!("{} does not say its version", path.display())))?;
        if major_version < 7 {
            return Err(MachineError::Qemu(format!(
                "version {major_version} is too old; 7.2 is the oldest tried"
            )));
        }
        let version = words.lines().next().unwrap_or_default().to_owned();
        Ok(Self { program: path, version, major_version })
    }

    /// Tries an accelerator: makes a machine with a processor and ends it.
    pub(super) async fn probe(&self, accelerator: &Accelerator) -> Result<(), String> {
        let trial = async {
            let (mut control, control_end) = StdUnixStream::pair()?;
            // Waits in the socket until QEMU reads it.
            io::Write::write_all(&mut control, b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}")?;
            let spec = MachineSpec { cpus: 1, memory_mib: 256, disk_mib: 64, console: false };
            let mut arguments = Arguments::new("devenv-cloud-probe");
            arguments.control(control_end);
            arguments.processor(accelerator, &spec, self);
            arguments.add(&["-S"]);
            let mut process = arguments.launch(self, accelerator, &spec).start().await?;
            // QEMU wants a reader for its answers.
            let mut control = to_async(control)?;
            let mut answers = Vec::new();
            drop(tokio::time::timeout(Duration::from_secs(8), control.read_to_end(&mut answers)).await);
            process.ended().await
        };
        match trial.await {
            Ok(ended) if ended.status == Some(0) => Ok(()),
            Ok(ended) if ended.words.is_empty() => Err(format!("QEMU ended with status {:?}", ended.status)),
            Ok(ended) => Err(last_words(&ended.words)),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn major_version(words: &str) -> Option<u32> {
    let rest = words.split_once("version ")?.1;
    rest.split('.').next()?.parse().ok()
}

/// What QEMU says last, without its warnings.
fn last_words(words: &str) -> String {
    let lines: Vec<_> = words.lines().filter(|line| !line.contains(": warning: ")).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// QEMU's command line, and the descriptors that it refers to.
struct Arguments {
    arguments: Vec<OsString>,
    descriptors: Vec<OwnedFd>,
    disk_bytes: u64,
}

impl Arguments {
    fn new(name: &str) -> Self {
        let mut arguments = Self { arguments: Vec::new(), descriptors: Vec::new(), disk_bytes: 0 };
        arguments.add(&[
            "-name",
            name,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-monitor",
            "none",
        ]);
        arguments.add(&["-sandbox", SANDBOX, "-no-reboot"]);
        arguments
    }

    fn add(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(OsString::from));
    }

    /// Hands a descriptor over; its number is the same on both sides.
    fn hand_over(&mut self, descriptor: impl Into<OwnedFd>) -> i32 {
        let descriptor = descriptor.into();
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    fn control(&mut self, end: StdUnixStream) {
        let fd = self.hand_over(end);
        self.add(&[
            "-chardev",
            &format!("socket,id=control,fd={fd}"),
            "-mon",
            "chardev=control,mode=control",
        ]);
    }

    fn processor(&mut self, accelerator: &Accelerator, spec: &MachineSpec, host: &Host) {
        let (accelerator, processor) = match accelerator {
            Accelerator::Kvm { .. } => ("kvm".to_owned(), "host"),
            // `arat`: without it no timer that can sleep, and a tick for ever.
            // `rdrand`: without it the first program waits a second for entropy.
            Accelerator::Tcg => {
                (format!("tcg,thread=multi,tb-size={TRANSLATION_MIB}"), "Nehalem,+rdrand,+arat,-spec-ctrl")
            }
        };
        // ACPI, because Debian's kernels find a microvm's devices only there.
        let serial = if spec.console { "on" } else { "off" };
        let mut machine = format!("microvm,acpi=on,rtc=on,isa-serial={serial}");
        // Saves a little on 7; on 10 the machine would hang before its kernel.
        if host.major_version < 8 {
            machine.push_str(",x-option-roms=off");
        }
        self.add(&["-accel", &accelerator, "-M", &machine, "-cpu", processor]);
        self.add(&["-m", &format!("{}M", spec.memory_mib), "-smp", &spec.cpus.to_string()]);
    }

    /// The root first, the scratch disk second: `/dev/vda` and `/dev/vdb`.
    fn disks(&mut self, image: &Image, scratch: File) -> Result<(), MachineError> {
        self.disk_bytes =
            scratch.metadata().map_err(|e| MachineError::io("cannot read", "scratch disk", e))?.len();
        let root = self.hand_over(open(&image.root())?);
        let scratch = self.hand_over(scratch);
        self.add(&["-add-fd", &format!("set=1,fd={root}"), "-add-fd", &format!("set=2,fd={scratch}")]);
        self.add(&[
            "-blockdev",
            "driver=file,node-name=root-file,filename=/dev/fdset/1,read-only=on,auto-read-only=off,locking=off",
            "-blockdev",
            "driver=raw,node-name=root,file=root-file,read-only=on",
            "-device",
            "virtio-blk-device,drive=root",
            "-blockdev",
            "driver=file,node-name=scratch-file,filename=/dev/fdset/2,locking=off,discard=unmap",
            "-blockdev",
            "driver=raw,node-name=scratch,file=scratch-file,discard=unmap",
            "-device",
            "virtio-blk-device,drive=scratch",
        ]);
        Ok(())
    }

    fn channel(&mut self, end: StdUnixStream) {
        let fd = self.hand_over(end);
        let name = protocol::PORT_NAME;
        self.add(&[
            "-chardev",
            &format!("socket,id=channel,fd={fd}"),
            "-device",
            "virtio-serial-device,id=serial",
        ]);
        self.add(&["-device", &format!("virtserialport,bus=serial.0,chardev=channel,name={name}")]);
    }

    fn console(&mut self, end: StdUnixStream) {
        let fd = self.hand_over(end);
        self.add(&["-chardev", &format!("socket,id=console,fd={fd}"), "-serial", "chardev:console"]);
    }

    fn boot(&mut self, image: &Image, khz: Option<u64>, console: bool) -> Result<(), MachineError> {
        // The user that QEMU runs as cannot reach the image's directory; what
        // is open already needs no way to it.
        let kernel = self.hand_over(open(&image.kernel())?);
        let initrd = self.hand_over(open(&image.initrd())?);
        self.add(&[
            "-kernel",
            &format!("/proc/self/fd/{kernel}"),
            "-initrd",
            &format!("/proc/self/fd/{initrd}"),
        ]);
        let mut line = if console {
            format!("console=ttyS0 {KERNEL_COMMAND_LINE}")
        } else {
            format!("console=none quiet loglevel=0 8250.nr_uarts=0 {KERNEL_COMMAND_LINE}")
        };
        if let Some(khz) = khz {
            // `norandmaps`: QEMU 7 translates a program anew for every address
            // at which it finds it. Programs start twice as fast without.
            line.push_str(&format!(" tsc=reliable tsc_early_khz={khz} norandmaps"));
        }
        self.add(&["-append", &line]);
        Ok(())
    }

    fn launch(self, host: &Host, accelerator: &Accelerator, spec: &MachineSpec) -> Launch {
        Launch {
            program: host.program.clone(),
            arguments: self.arguments,
            descriptors: self.descriptors,
            // QEMU's own libraries, threads and heaps beside the guest's memory.
            address_space: (u64::from(spec.memory_mib + TRANSLATION_MIB) + (4 << 10)) << 20,
            file_size: self.disk_bytes,
            group: match accelerator {
                Accelerator::Kvm { group } => *group,
                Accelerator::Tcg => None,
            },
        }
    }
}

fn open(path: &Path) -> Result<File, MachineError> {
    File::open(path).map_err(|e| MachineError::io("cannot open", path, e))
}

/// The life of a QEMU process.
struct QemuLife {
    process: Process,
    events: SharedEvents,
    following: Option<tokio::task::JoinHandle<()>>,
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
        if let Some(following) = self.following.take() {
            drop(tokio::time::timeout(Duration::from_secs(1), following).await);
        }
        let events = *self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            _ if events.disk_full => Exit::HostDiskFull,
            _ if events.panicked => Exit::Panicked,
            _ if events.powered_off => Exit::PoweredOff,
            _ if ended.killed => Exit::Killed,
            ended => match (ended.signal, ended.status) {
                (Some(signal), _) => Exit::Signal(signal),
                (None, status) => {
                    Exit::Failed { status: status.unwrap_or(-1), words: last_words(&ended.words) }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major_version("QEMU emulator version 7.2.22 (Debian 1:7.2)\n"), Some(7));
        assert_eq!(major_version("QEMU emulator version 10.0.13"), Some(10));
        assert_eq!(major_version("something else"), None);
    }

    #[test]
    fn warnings_are_no_last_words() {
        assert_eq!(last_words("q: warning: odd\nq: no such device\n"), "q: no such device");
    }

    #[tokio::test]
    async fn what_is_missing_is_said_by_every_machine() {
        let state = tempfile::tempdir().unwrap();
        let settings = MachineSettings {
            images: state.path().join("images"),
            state: state.path().to_owned(),
            qemu: "no-such-qemu".into(),
            accelerator: "auto".into(),
        };
        let spec = MachineSpec { cpus: 1, memory_mib: 512, disk_mib: 1024, console: false };
        let machines = QemuMachines::start(settings.clone()).await;
        let words = machines.machine(&spec).await.unwrap_err().to_string();
        assert!(words.contains("apt-get install qemu-system-x86"), "{words}");

        let settings =
            MachineSettings { qemu: "qemu-system-x86_64".into(), accelerator: "tcg".into(), ..settings };
        let machines = QemuMachines::start(settings).await;
        let words = machines.machine(&spec).await.unwrap_err().to_string();
        assert!(words.contains("devenv-cloud image build"), "{words}");
    }

    #[test]
    fn limits_out_of_bounds_are_refused() {
        let spec = MachineSpec { cpus: 0, memory_mib: 512, disk_mib: 1024, console: false };
        assert!(check(&spec).unwrap_err().to_string().contains("0 processors"));
        assert!(check(&MachineSpec { cpus: 1, memory_mib: 16, ..spec }).is_err());
        assert!(check(&MachineSpec { cpus: 1, ..spec }).is_ok());
    }
}
