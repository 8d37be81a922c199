//! File systems: the shared, read-only image below, the machine's own scratch
//! disk above, both together the root.
//!
//! The image is mounted when the machine boots, the rest when it has warmed up or
//! becomes one of its own: a machine that is frozen after that is restored with a
//! copy of its disk.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, mount, mount_move},
};

use super::{BootError, Trying};
use crate::kernel;

/// What the kernel's command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The disk with the image.
    root: Option<String>,
    /// The disk for everything that is written; memory when absent.
    scratch: Option<String>,
}

impl Settings {
    pub(super) fn read() -> Result<Self, BootError> {
        let command_line = fs::read_to_string("/proc/cmdline").trying("read the kernel's command line")?;
        Ok(Self::parse(&command_line))
    }

    fn parse(command_line: &str) -> Self {
        let value = |key: &str| {
            command_line.split_whitespace().find_map(|word| word.strip_prefix(key)).map(str::to_owned)
        };
        Self { root: value("dvc.root="), scratch: value("dvc.scratch=") }
    }
}

const SECURE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// How long a disk may take to appear.
const DISK: Duration = Duration::from_secs(10);

/// Where what is written goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upper {
    /// The scratch disk, if the machine has one.
    Disk,
    /// Memory: for what is not to stay.
    Memory,
}

/// What the rest of the boot needs.
pub(super) fn early() -> Result<(), BootError> {
    attach("proc", "/proc", "proc", SECURE | MountFlags::NOEXEC, None)?;
    attach("sysfs", "/sys", "sysfs", SECURE | MountFlags::NOEXEC, None)?;
    attach("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, None)
}

/// Mounts the image, and waits for the scratch disk to be there.
pub(super) fn find_disks(settings: &Settings) -> Result<(), BootError> {
    let missing = || io::Error::other("the kernel's command line has no dvc.root=");
    let image = settings.root.as_deref().ok_or_else(missing).trying("find the image")?;
    wait_for(image)?;
    settings.scratch.as_deref().map_or(Ok(()), wait_for)?;
    attach(image, "/image", "erofs", MountFlags::RDONLY | MountFlags::NODEV, None)
}

/// Makes the image and what is written above it the root of this process and its
/// children. The mounts of others stay as they are.
pub(super) fn enter_root(settings: &Settings, upper: Upper) -> Result<(), BootError> {
    kernel::own_mounts().trying("have mounts of its own")?;
    match settings.scratch.as_deref().filter(|_| upper == Upper::Disk) {
        Some(disk) => {
            // Nothing has to survive a crash of this machine.
            let options = c"barrier=0,errors=continue";
            attach(disk, "/scratch", "ext4", SECURE | MountFlags::NOATIME, Some(options))?;
        }
        None => attach("tmpfs", "/scratch", "tmpfs", SECURE, Some(c"size=50%,mode=755"))?,
    }
    for folder in ["/scratch/upper", "/scratch/work"] {
        fs::create_dir_all(folder).trying(format_args!("make {folder}"))?;
    }
    let options = c"lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work";
    attach("overlay", "/root", "overlay", MountFlags::NODEV, Some(options))?;
    for folder in ["proc", "sys", "dev"] {
        let target = Path::new("/root").join(folder);
        fs::create_dir_all(&target).trying(format_args!("make /{folder}"))?;
        mount_move(format!("/{folder}"), &target).trying(format_args!("move /{folder}"))?;
    }
    let what = "enter the root file system";
    std::env::set_current_dir("/root").trying(what)?;
    mount_move(".", "/").trying(what)?;
    rustix::process::chroot(".").trying(what)?;
    std::env::set_current_dir("/").trying(what)
}

/// What programs expect besides files.
pub(super) fn late() -> Result<(), BootError> {
    attach("tmpfs", "/run", "tmpfs", SECURE, Some(c"size=25%,mode=755"))?;
    attach("tmpfs", "/dev/shm", "tmpfs", SECURE, Some(c"size=25%,mode=1777"))?;
    let terminals = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    attach("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(terminals))?;
    attach("cgroup2", "/sys/fs/cgroup", "cgroup2", SECURE | MountFlags::NOEXEC, None)?;
    for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        match std::os::unix::fs::symlink(target, Path::new("/dev").join(link)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).trying(format_args!("make /dev/{link}"));
            }
            _ => {}
        }
    }
    // On the scratch disk like everything else: a job is not bounded by memory.
    for folder in ["/tmp", "/var/tmp"] {
        fs::create_dir_all(folder).trying(format_args!("make {folder}"))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777))
            .trying(format_args!("open {folder}"))?;
    }
    Ok(())
}

fn attach(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), BootError> {
    let what = format!("mount {target} ({kind} on {source})");
    fs::create_dir_all(target).trying(&what)?;
    let kind = CString::new(kind).map_err(io::Error::other).trying(&what)?;
    match mount(source, target, kind.as_c_str(), flags, options) {
        // The kernel has done it itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error).trying(what),
    }
}

/// Waits until a disk's driver has found it.
fn wait_for(disk: &str) -> Result<(), BootError> {
    let deadline = Instant::now() + DISK;
    while !Path::new(disk).exists() {
        if Instant::now() > deadline {
            let error = io::Error::other(format!("it did not appear within {} s", DISK.as_secs()));
            return Err(error).trying(format_args!("find the disk {disk}"));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_the_disks() {
        let settings = Settings::parse("quiet dvc.root=/dev/vda dvc.scratch=/dev/vdb panic=-1\n");
        assert_eq!(settings.root.as_deref(), Some("/dev/vda"));
        assert_eq!(settings.scratch.as_deref(), Some("/dev/vdb"));
        assert_eq!(Settings::parse("quiet"), Settings::default());
    }
}
