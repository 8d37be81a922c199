//! Where things are: the checkout, what is built, and what is kept per machine.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The directories that every command works in.
pub(crate) struct Layout {
    /// The top of the checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory; shared between clones where `CARGO_TARGET_DIR` says so.
    pub(crate) target: PathBuf,
    /// Kept per machine and user: tools, the guest image, the WebAssembly standard library.
    pub(crate) cache: PathBuf,
    cargo: OsString,
}

impl Layout {
    pub(crate) fn find() -> Result<Self> {
        // As `cargo run` says now, not as it was when this was compiled: clones that
        // share a target directory may share this program as well.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask has no parent directory")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Cargo takes a relative one from where it was started.
            Some(directory) => env::current_dir()?.join(directory),
            None => root.join("target"),
        };
        let cache = match env::var_os("XDG_CACHE_HOME") {
            Some(directory) if !directory.is_empty() => PathBuf::from(directory),
            _ => PathBuf::from(env::var_os("HOME").context("HOME is not set, and XDG_CACHE_HOME neither")?)
                .join(".cache"),
        }
        .join("devenv-cloud");
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        Ok(Self { root, target, cache, cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()) })
    }

    /// What is built from this checkout. Clones may share the target directory, and
    /// must not run each other's server.
    pub(crate) fn built(&self) -> PathBuf {
        let checkout = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        self.target.join("devenv-cloud").join(hex::encode(&checkout[..4]))
    }

    /// Where the pages' files are put for the server to embed.
    pub(crate) fn assets(&self) -> PathBuf {
        self.built().join("assets")
    }

    /// Copies a program out of the way of other clones' builds.
    pub(crate) fn keep(&self, program: &Path) -> Result<PathBuf> {
        let directory = self.built();
        std::fs::create_dir_all(&directory)?;
        let kept = directory.join(program.file_name().context("a program without a name")?);
        // Renamed into place: the old one may be running.
        let fresh = kept.with_extension("new");
        std::fs::copy(program, &fresh).with_context(|| format!("cannot copy {}", program.display()))?;
        std::fs::rename(&fresh, &kept)?;
        Ok(kept)
    }

    /// Programs that `setup` built for this machine.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.cache.join("tools/bin").join(name)
    }

    /// Guest images, shared by the demo, the tests and the benchmark.
    pub(crate) fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// `cargo` at the top of the checkout, with the same environment in every
    /// call: a variable that comes and goes would rebuild the server each time.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        command
            .arg(subcommand)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("DEVENV_CLOUD_ASSETS", self.assets())
            .env("DEVENV_CLOUD_GUEST_PROGRAM", self.built().join("devenv-cloud-guest"));
        command
    }

    /// `git` at the top of the checkout.
    pub(crate) fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.root);
        command
    }

    /// The files that git knows or would add, relative to the top.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let listed = crate::shell::output(self.git().args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ]))?;
        // A file deleted but not yet committed is still listed.
        Ok(listed.lines().filter(|file| self.root.join(file).exists()).map(str::to_owned).collect())
    }
}
