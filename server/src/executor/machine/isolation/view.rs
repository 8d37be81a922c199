//! What QEMU sees of the host's files: its own program and libraries, three
//! devices, and what `/proc` says of itself. All of it is read-only.

use std::{
    ffi::{CStr, CString, OsString},
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
};

/// Where programs and their libraries are, where these exist.
const PROGRAMS: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    // How the dynamic linker finds libraries that are elsewhere.
    "/etc/ld.so.cache",
    "/etc/alternatives",
];

/// Where everything is under Nix.
const NIX: &str = "/nix/store";

const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];
const KVM: &str = "/dev/kvm";

/// A directory that every host has. Nothing happens in it: it is only where the
/// view is mounted while it is being made.
const BEGINNING: &CStr = c"/tmp";
/// Where the host's files are meanwhile.
const HOST: &str = "/old";

/// A prepared view: what has to be made, in this order.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    parts: Vec<Part>,
    kvm: Option<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Directory(CString),
    Link {
        at: CString,
        to: CString,
    },
    /// What is at `from`, and all below.
    Same {
        from: CString,
        at: CString,
        is_directory: bool,
    },
}

impl View {
    /// What this program needs.
    pub(super) fn of(program: &Path) -> Self {
        let mut view = Self::default();
        let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
        let mut roots: Vec<PathBuf> = PROGRAMS.iter().map(PathBuf::from).collect();
        if program.starts_with(NIX) {
            roots.push(NIX.into());
        }
        // Elsewhere: `/opt/qemu` for `/opt/qemu/bin/qemu-system-x86_64`.
        let elsewhere = program.parent().and_then(Path::parent).filter(|prefix| prefix.parent().is_some());
        if let Some(prefix) = elsewhere
            && !roots.iter().any(|root| program.starts_with(root))
        {
            roots.push(prefix.to_owned());
        }
        let mut made = Vec::new();
        for root in roots {
            view.add(&root, &mut made);
        }
        for device in DEVICES {
            view.add(Path::new(device), &mut made);
        }
        // Its own directory alone, and not a `/proc` of its own: this one shows
        // nothing else of the host, and can be had where `/proc` is masked.
        view.add(Path::new("/proc/self"), &mut made);
        view.kvm = Path::new(KVM).exists().then(|| Part::same(Path::new(KVM), false)).flatten();
        view
    }

    fn add(&mut self, path: &Path, made: &mut Vec<PathBuf>) {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        let is_self = path == Path::new("/proc/self");
        let part = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() && !is_self => {
                let Ok(to) = fs::read_link(path) else { return };
                c_string(path).zip(c_string(&to)).map(|(at, to)| Part::Link { at, to })
            }
            Ok(metadata) => Part::same(path, is_self || metadata.is_dir()),
            Err(_) => return,
        };
        for directory in above.into_iter().rev().filter(|directory| directory.parent().is_some()) {
            if !made.iter().any(|made| made == directory) {
                self.parts.extend(c_string(directory).map(Part::Directory));
                made.push(directory.to_owned());
            }
        }
        self.parts.extend(part);
    }

    /// Makes it the caller's root. Between a fork and an exec: allocates nothing.
    pub(super) fn enter(&self, kvm: bool) -> Result<(), Errno> {
        // What is mounted here shall not be mounted elsewhere.
        rustix::mount::mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(c"tmpfs", BEGINNING, c"tmpfs", flags, Some(c"mode=0755,size=256k"))?;
        rustix::process::chdir(BEGINNING)?;
        rustix::fs::mkdir(c"old", Mode::RWXU)?;
        rustix::process::pivot_root(c".", c"old")?;
        rustix::process::chdir(c"/")?;
        for part in &self.parts {
            part.make()?;
        }
        if let Some(kvm) = self.kvm.as_ref().filter(|_| kvm) {
            kvm.make()?;
        }
        rustix::mount::unmount(c"/old", UnmountFlags::DETACH)?;
        rustix::fs::rmdir(c"/old")?;
        read_only()
    }
}

impl Part {
    fn same(path: &Path, is_directory: bool) -> Option<Self> {
        let mut from = OsString::from(HOST);
        from.push(path);
        let from = CString::new(from.into_vec()).ok()?;
        Some(Self::Same { from, at: c_string(path)?, is_directory })
    }

    fn make(&self) -> Result<(), Errno> {
        let directory = Mode::from_raw_mode(0o755);
        match self {
            Self::Directory(at) => rustix::fs::mkdir(at.as_c_str(), directory),
            Self::Link { at, to } => rustix::fs::symlink(to.as_c_str(), at.as_c_str()),
            Self::Same { from, at, is_directory } => {
                if *is_directory {
                    rustix::fs::mkdir(at.as_c_str(), directory)?;
                } else {
                    drop(rustix::fs::open(
                        at.as_c_str(),
                        OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
                        Mode::from_raw_mode(0o644),
                    )?);
                }
                // Whole: who does not own the host's mounts cannot take them apart.
                rustix::mount::mount_bind_recursive(from.as_c_str(), at.as_c_str())
            }
        }
    }
}

fn c_string(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

/// Makes all that is mounted read-only at once. Devices can still be written to.
fn read_only() -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    #[expect(unsafe_code, reason = "a system call that rustix does not have; it reads one structure")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    super::launch::outcome(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(program: &str) -> Vec<String> {
        let view = View::of(Path::new(program));
        let at = |part: &Part| match part {
            Part::Directory(at) | Part::Link { at, .. } | Part::Same { at, .. } => {
                at.to_str().unwrap().to_owned()
            }
        };
        view.parts.iter().map(at).collect()
    }

    #[test]
    fn a_program_sees_where_it_is_and_nothing_else() {
        let usual = seen("/usr/bin/env");
        assert!(usual.contains(&"/usr".to_owned()) && usual.contains(&"/proc/self".to_owned()), "{usual:?}");
        for hidden in ["/", "/etc", "/root", "/home", "/var", "/sys", "/proc", "/nix/store"] {
            // `/etc`, `/dev` and `/proc` are there, with nothing of the host's in them.
            let whole = usual.iter().any(|at| at == hidden)
                && !usual.iter().any(|at| at.starts_with(&format!("{hidden}/")));
            assert!(!whole, "{hidden} in {usual:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("qemu/bin")).unwrap();
        let program = directory.path().join("qemu/bin/qemu");
        fs::write(&program, "").unwrap();
        let elsewhere = seen(program.to_str().unwrap());
        let prefix = fs::canonicalize(directory.path().join("qemu")).unwrap();
        assert_eq!(elsewhere.last().map(String::as_str), Some("/proc/self"));
        assert!(elsewhere.contains(&prefix.to_str().unwrap().to_owned()), "{elsewhere:?}");
    }
}
