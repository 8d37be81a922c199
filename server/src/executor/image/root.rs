//! The root file system of a machine: Debian packages, unpacked but not
//! configured, and the few files that configuring them would have made.
//!
//! Unpacking alone takes a third of the time, runs no maintainer script, and
//! leaves out what only those need (`apt`, `dpkg`'s database, `init`). A machine
//! is practically empty: Nix, git, a shell and what scripts expect of a Unix.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
};

use devenv_cloud_guest::protocol;

use super::{ImageError, tools};

/// Where the packages of a machine come from.
pub(super) const SUITE: &str = "trixie";

/// The packages, apart from what they depend on.
pub(super) const PACKAGES: &[&str] = &[
    "base-files",
    "bash",
    "bzip2",
    "ca-certificates",
    "coreutils",
    "curl",
    "debianutils",
    "diffutils",
    "findutils",
    "gawk",
    "git",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "netbase",
    "nix-bin",
    "patch",
    "procps",
    "sed",
    "tar",
    "util-linux",
    "xz-utils",
    "zstd",
];

/// The user of every job: [`protocol::USER_NAME`].
pub(super) const USER_ID: u32 = 1000;

/// What nobody reads in a machine, and what the kernel mounts over.
const PRUNED: &[&str] = &[
    "boot",
    "dev",
    "etc/apt",
    "etc/fstab",
    "etc/init.d",
    "etc/resolv.conf",
    "etc/systemd",
    "media",
    "mnt",
    "usr/games",
    "usr/lib/systemd",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/gitweb",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zsh",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
];

/// Directories that must be there, with their modes.
const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc/nix", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr/lib/devenv-cloud", 0o755),
    ("var/cache", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Directories that belong to the job's user: a single-user Nix store, the home
/// and the place of the source.
const USER_DIRECTORIES: &[&str] = &["home/devenv", "nix", "nix/store", "nix/var", "nix/var/nix", "work"];

/// What `ln -s` makes: the choices that Debian leaves to `update-alternatives`.
const LINKS: &[(&str, &str)] = &[
    ("usr/bin/sh", "bash"),
    ("usr/bin/awk", "gawk"),
    ("usr/bin/which", "which.debianutils"),
    ("etc/mtab", "../proc/self/mounts"),
];

/// The file systems' contents that Debian writes while it configures.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n\
         devenv:x:1000:1000:devenv:/home/devenv:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\ndevenv:x:1000:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("etc/machine-id", ""),
    ("etc/resolv.conf", ""),
    (
        "etc/nix/nix.conf",
        "# One user, one job, one machine: the machine is the sandbox.\n\
         build-users-group =\n\
         sandbox = false\n\
         experimental-features = nix-command flakes\n\
         substituters =\n\
         warn-dirty = false\n",
    ),
    ("etc/gitconfig", "[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n"),
];

/// Turns unpacked packages into a root file system.
pub(super) fn furnish(root: &Path, evaluator: &Path) -> Result<(), ImageError> {
    for path in PRUNED {
        remove(&root.join(path))?;
    }
    for &(path, mode) in DIRECTORIES {
        make_directory(&root.join(path), mode)?;
    }
    for &(path, contents) in FILES {
        write(&root.join(path), contents.as_bytes())?;
    }
    let host = protocol::HOST_NAME;
    write(&root.join("etc/hostname"), format!("{host}\n").as_bytes())?;
    write(
        &root.join("etc/hosts"),
        format!("127.0.0.1 localhost {host}\n::1 localhost ip6-localhost\n").as_bytes(),
    )?;
    for &(path, target) in LINKS {
        let link = root.join(path);
        remove(&link)?;
        symlink(target, &link).map_err(|e| ImageError::io("cannot link", link, e))?;
    }
    certificates(root)?;
    copy_tree(evaluator, &root.join("usr/lib/devenv-cloud/nix"))?;

    let privileged = rustix::process::geteuid().is_root();
    for path in USER_DIRECTORIES {
        let path = root.join(path);
        make_directory(&path, 0o755)?;
        // Who builds as an ordinary user cannot give files away: then
        // everything in the image is root's, and PID 1 gives these away in its
        // overlay.
        if privileged {
            chown(&path, Some(USER_ID), Some(USER_ID))
                .map_err(|e| ImageError::io("cannot give to the job's user", path, e))?;
        }
    }
    tools::run("ldconfig", &["-r".as_ref(), root.as_os_str()])?;
    Ok(())
}

/// One file with all certificates, as `update-ca-certificates` makes it.
fn certificates(root: &Path) -> Result<(), ImageError> {
    let source = root.join("usr/share/ca-certificates/mozilla");
    let cannot_read = |e| ImageError::io("cannot read", &source, e);
    let mut paths = fs::read_dir(&source)
        .map_err(cannot_read)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(cannot_read)?;
    paths.sort();
    let mut bundle = Vec::new();
    for path in paths {
        bundle.extend(fs::read(&path).map_err(|e| ImageError::io("cannot read", &path, e))?);
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    make_directory(&root.join("etc/ssl/certs"), 0o755)?;
    write(&root.join("etc/ssl/certs/ca-certificates.crt"), &bundle)
}

fn remove(path: &Path) -> Result<(), ImageError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    result.map_err(|e| ImageError::io("cannot remove", path, e))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|e| ImageError::io("cannot make the directory", path, e))
}

fn write(path: &Path, contents: &[u8]) -> Result<(), ImageError> {
    // A link would be followed out of the tree.
    remove(path)?;
    fs::write(path, contents)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o644)))
        .map_err(|e| ImageError::io("cannot write", path, e))
}

/// Copies files and directories; modes become those of plain data.
fn copy_tree(from: &Path, to: &Path) -> Result<(), ImageError> {
    make_directory(to, 0o755)?;
    let cannot_read = |e| ImageError::io("cannot read", from, e);
    for entry in fs::read_dir(from).map_err(cannot_read)? {
        let entry = entry.map_err(cannot_read)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            write(&target, &fs::read(&source).map_err(|e| ImageError::io("cannot read", &source, e))?)?;
        }
    }
    Ok(())
}
