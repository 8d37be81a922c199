//! Debian packages.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell::{self, step};

/// How to see that a package's part is there.
enum Probe {
    /// A program of this name.
    Program(&'static str),
    /// A file or directory.
    Path(&'static str),
}

impl Probe {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => shell::find(name).is_some(),
            Self::Path(path) => Path::new(path).exists(),
        }
    }
}

/// What is needed → the packages that bring it.
const NEEDED: &[(Probe, &[&str])] = &[
    // To build.
    (Probe::Program("cc"), &["gcc", "libc6-dev"]),
    (Probe::Program("git"), &["git"]),
    (Probe::Path("/etc/ssl/certs/ca-certificates.crt"), &["ca-certificates"]),
    (Probe::Program("node"), &["nodejs"]),
    (Probe::Program("npm"), &["npm"]),
    // The guest image and the machines that boot it.
    (Probe::Program("qemu-system-x86_64"), &["qemu-system-x86"]),
    (Probe::Program("mmdebstrap"), &["mmdebstrap"]),
    (Probe::Program("mkfs.erofs"), &["erofs-utils"]),
    (Probe::Program("mkfs.ext4"), &["e2fsprogs"]),
    (Probe::Program("cpio"), &["cpio"]),
    (Probe::Program("zstd"), &["zstd"]),
    (Probe::Program("lz4"), &["lz4"]),
    (Probe::Program("xz"), &["xz-utils"]),
    // The tests.
    (Probe::Program("nix-instantiate"), &["nix-bin"]),
    (Probe::Program("oathtool"), &["oathtool"]),
    (Probe::Program("psql"), &["postgresql"]),
    (Probe::Path("/usr/lib/postgresql"), &["postgresql"]),
    (Probe::Program("setpriv"), &["util-linux"]),
    (Probe::Program("chromium"), &["chromium"]),
    (Probe::Path("/usr/share/fonts/truetype/dejavu"), &["fonts-dejavu-core", "fonts-dejavu-extra"]),
];

/// Installs the packages whose parts are missing.
pub(super) fn install_missing() -> Result<()> {
    let mut missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(probe, _)| !probe.is_there())
        .flat_map(|(_, packages)| *packages)
        .copied()
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let still: Vec<_> =
        NEEDED.iter().filter(|(probe, _)| !probe.is_there()).flat_map(|(_, packages)| *packages).collect();
    if !still.is_empty() {
        bail!("apt-get installed {still:?}, and yet what they should bring is not there");
    }
    Ok(())
}

/// Installs packages by name, with a fresh package list.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if shell::find("apt-get").is_none() {
        bail!(
            "this machine has no apt-get; install what these Debian packages bring, then start again:\n  {}",
            packages.join(" ")
        );
    }
    step(&format!("set-up: apt-get install {}", packages.join(" ")), || {
        shell::quietly(&mut apt(&["update"])?)?;
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(packages);
        let Err(refused) = shell::quietly(&mut apt(&arguments)?) else {
            return Ok(());
        };
        // A machine may have a newer qemu-utils than its QEMU: the two conflict,
        // and apt does not give up the newer one by itself.
        if !packages.contains(&"qemu-system-x86") {
            return Err(refused);
        }
        shell::say("apt-get refused; once more without qemu-utils, which can conflict with qemu-system-x86");
        arguments.push("qemu-utils-");
        shell::quietly(&mut apt(&arguments)?)
    })
}

fn apt(arguments: &[&str]) -> Result<Command> {
    let mut command = if shell::is_root() {
        Command::new("env")
    } else {
        let sudo = shell::find("sudo").with_context(|| {
            format!("packages are missing; as root, run `apt-get {}`, then start again", arguments.join(" "))
        })?;
        let mut sudo = Command::new(sudo);
        sudo.arg("env");
        sudo
    };
    command
        .arg("DEBIAN_FRONTEND=noninteractive")
        .arg("apt-get")
        .args(["-o", "Dpkg::Use-Pty=0"])
        .args(arguments);
    Ok(command)
}
