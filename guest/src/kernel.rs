//! The calls to the kernel that the compiler cannot check. All of the crate's
//! unsafe code is here.
#![expect(unsafe_code, reason = "ioctl and the moment between fork and exec have no safe form")]

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags},
    ioctl::{self, NoArg, Opcode, Setter},
    process::{Gid, Uid},
    thread::{LinkNameSpaceType, UnshareFlags},
};

use crate::world::User;

/// `RNDADDENTROPY`, linux/random.h: `_IOW('R', 0x03, int[2])`.
const RNDADDENTROPY: Opcode = 0x4008_5203;
/// `RNDRESEEDCRNG`, linux/random.h: `_IO('R', 0x07)`.
const RNDRESEEDCRNG: Opcode = 0x5207;
/// `SIOCSIFFLAGS`, linux/sockios.h.
const SIOCSIFFLAGS: Opcode = 0x8914;

/// Lets the command begin a session of its own, in the control group whose
/// `cgroup.procs` is given, as the user that is given.
///
/// The user is changed last and here: after it, the process may not write to
/// its own `oom_score_adj` any more.
pub(crate) fn isolate(command: &mut Command, procs: Option<File>, user: Option<User>) {
    let enter = move || {
        rustix::process::setsid()?;
        if let Some(procs) = &procs {
            rustix::io::write(procs, b"0")?;
            // The session may not be killed for want of memory, its children may.
            let score = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty())?;
            rustix::io::write(score, b"0")?;
        }
        if let Some(User { uid, gid }) = user {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made: nothing is
    // allocated, no lock is taken.
    unsafe { command.pre_exec(enter) };
}

/// Gives this process a list of mounts of its own. It must have one thread.
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: the table of open files stays shared, which is what could surprise.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Lets the command have the mounts, and with them the root, of another process:
/// those that `/proc/PID/ns/mnt` was opened for.
pub(crate) fn with_mounts(command: &mut Command, mounts: File) {
    let enter = move || {
        rustix::thread::move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(())
    };
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(enter) };
}

/// `struct rand_pool_info` of linux/random.h, with room for 32 bytes.
#[repr(C)]
struct RandPoolInfo {
    entropy_count: i32,
    buf_size: i32,
    buf: [u8; 32],
}

/// Gives the kernel's random number generator fresh entropy, and makes it use it
/// at once.
pub(crate) fn reseed(random: impl AsFd, entropy: [u8; 32]) -> io::Result<()> {
    let info = RandPoolInfo { entropy_count: 256, buf_size: 32, buf: entropy };
    // SAFETY: the kernel reads `buf_size` bytes after the two integers, and they are there.
    unsafe { ioctl::ioctl(&random, Setter::<RNDADDENTROPY, _>::new(info)) }?;
    // SAFETY: takes no argument.
    unsafe { ioctl::ioctl(&random, NoArg::<RNDRESEEDCRNG>::new()) }?;
    Ok(())
}

/// `struct ifreq` of linux/if.h, as far as flags need it.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Brings the loopback interface up; the kernel then gives it 127.0.0.1 and `::1`.
pub(crate) fn loopback_up(socket: impl AsFd) -> io::Result<()> {
    const UP: i16 = 1;
    let mut request = InterfaceFlags { name: [0; 16], flags: UP, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: the argument has the layout and the size (40 bytes) of `struct ifreq`.
    unsafe { ioctl::ioctl(socket, Setter::<SIOCSIFFLAGS, _>::new(request)) }?;
    Ok(())
}
