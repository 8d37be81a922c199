//! PID 1: makes a bare kernel into a system, starts the session, reaps orphans,
//! and powers off.
//!
//! The session ([`crate::session`]) is a process of its own, so that PID 1 stays
//! a loop that cannot fail: whichever way the session ends, the machine is
//! turned off. It also enters the machine's root file system, when it has warmed
//! up or is told that the machine is one of its own; PID 1 stays in the initial
//! RAM disk.
//! `README.md` has the contract with whoever boots the machine.

mod modules;
mod mounts;
mod port;
mod users;
mod warm;

pub use warm::warm_up;

use std::{
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use rustix::{
    net::{AddressFamily, SocketType},
    process::WaitOptions,
    system::RebootCommand,
    time::{ClockId, Timespec},
};

use self::mounts::{Settings, Upper};
use crate::{
    ahead::Ahead,
    cgroup::Cgroups,
    kernel,
    protocol::{HOST_NAME, Prepare},
    session::{self, Surroundings},
    world::World,
};

/// The argument that makes the binary a session instead of PID 1.
pub const SESSION: &str = "session";
/// The argument that makes the binary do what jobs do, for nobody.
pub const WARM_UP: &str = "warm-up";

/// Why the machine did not come up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct BootError {
    what: String,
    source: io::Error,
}

/// Says what was tried when something fails.
trait Trying<T> {
    fn trying(self, what: impl Display) -> Result<T, BootError>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl Display) -> Result<T, BootError> {
        self.map_err(|source| BootError { what: what.to_string(), source: source.into() })
    }
}

/// Boots, waits for the session, and turns the machine off.
pub fn init() -> ! {
    std::panic::set_hook(Box::new(|defect| {
        report(format_args!("PID 1 has a defect: {defect}"));
        power_off();
    }));
    if let Err(error) = boot_and_wait() {
        report(error);
    }
    power_off()
}

fn boot_and_wait() -> Result<(), BootError> {
    mounts::early()?;
    modules::load(Path::new("/mod"))?;
    mounts::find_disks(&Settings::read()?)?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).trying("set the host name")?;
    loopback()?;
    // Inherited by everything: no program can give anybody more rights.
    rustix::thread::set_no_new_privs(true).trying("give up the right to gain privileges")?;
    let port = port::find()?;
    let session = Command::new("/proc/self/exe")
        .arg(SESSION)
        .arg(&port)
        .arg0("devenv-cloud-guest")
        .spawn()
        .trying("start the session")?;
    reap_until(session.id())
}

/// Waits for every process whose parent is gone, until the session ends.
fn reap_until(session: u32) -> Result<(), BootError> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((process, _))) if u32::try_from(process.as_raw_nonzero().get()) == Ok(session) => {
                return Ok(());
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).trying("wait for the session"),
        }
    }
}

/// The session's process: everything that the host and the job see.
///
/// # Errors
/// In words for the console.
pub fn session(port: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|defect| report(format_args!("the session has a defect: {defect}"))));
    // The job is bounded by its control group; should memory run out all the
    // same, somebody must be left to say so.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let (reader, writer) = port::open(port)?;
    session::run(reader, writer, Bare::new()?)?;
    Ok(())
}

/// A machine that is nobody's yet.
struct Bare {
    /// The mounts before any root file system was entered.
    mounts: File,
    /// The world of its job, once it has been warmed up.
    world: Option<World>,
}

impl Bare {
    fn new() -> io::Result<Self> {
        Ok(Self { mounts: File::open("/proc/self/ns/mnt")?, world: None })
    }
}

impl Surroundings for Bare {
    fn warm(&mut self, rounds: u8) -> Result<(), String> {
        warm::in_a_process(&self.mounts, rounds)?;
        if self.world.is_none() {
            let mut world = enter_world().map_err(|error| error.to_string())?;
            let ahead = Ahead::start(&world).map_err(|error| format!("cannot start programs ahead: {error}"));
            world.ahead = ahead.as_ref().ok().cloned();
            // Whoever is restored is to find it on the disk, not in memory.
            rustix::fs::sync();
            self.world = Some(world);
            ahead?;
        }
        Ok(())
    }

    fn prepare(self, values: &Prepare) -> io::Result<World> {
        // Before anything else happens: a restored machine has the random
        // numbers and the time of all others of its kind.
        kernel::reseed(File::options().write(true).open("/dev/urandom")?, values.entropy)?;
        let nanoseconds = 1_000_000_000;
        let time = Timespec {
            tv_sec: i64::try_from(values.time_ns / nanoseconds).unwrap_or(0),
            tv_nsec: i64::try_from(values.time_ns % nanoseconds).unwrap_or(0),
        };
        rustix::time::clock_settime(ClockId::Realtime, time)?;
        let id: String = values.machine_id.chars().take(8).collect();
        let host_name = format!("{HOST_NAME}-{id}");
        rustix::system::sethostname(host_name.as_bytes())?;
        let world = match self.world {
            Some(world) => world,
            None => enter_world().map_err(io::Error::other)?,
        };
        users::name(Path::new("/"), &host_name).map_err(io::Error::other)?;
        fs::write("/etc/machine-id", format!("{}\n", values.machine_id))?;
        Ok(world)
    }
}

/// The world of this machine's job.
fn enter_world() -> Result<World, BootError> {
    enter(Upper::Disk)?;
    let cgroups = Cgroups::create(Path::new("/sys/fs/cgroup")).trying("make control groups")?;
    Ok(World::machine(Some(cgroups)))
}

/// Enters the root file system and furnishes it.
fn enter(upper: Upper) -> Result<(), BootError> {
    mounts::enter_root(&Settings::read()?, upper)?;
    mounts::late()?;
    users::prepare(Path::new("/"))
}

fn loopback() -> Result<(), BootError> {
    let what = "bring the loopback interface up";
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).trying(what)?;
    kernel::loopback_up(socket).trying(what)
}

/// Says something where whoever debugs a machine will look.
pub fn report(words: impl Display) {
    let line = format!("devenv-cloud-guest: {words}\n");
    for device in ["/dev/kmsg", "/dev/console"] {
        if let Ok(mut file) = OpenOptions::new().write(true).open(device) {
            // There is nobody left to tell.
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// Turns the machine off; a machine that cannot be turned off is restarted,
/// which QEMU is told to take for an end, too.
pub fn power_off() -> ! {
    for command in [RebootCommand::PowerOff, RebootCommand::Restart] {
        // Nothing is worth being written back: all disks are thrown away.
        if let Err(error) = rustix::system::reboot(command) {
            report(format_args!("cannot turn the machine off: {error}"));
        }
    }
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
