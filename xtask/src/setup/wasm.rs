//! A compiler for the browser's side.
//!
//! `rustup target add` is the normal way. Where rustup's servers cannot be
//! reached, Debian's own Rust compiles the standard library from source; what
//! that gives is kept in the cache directory, so it is done once per machine.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::apt;
use crate::{
    layout::Layout,
    shell::{self, say},
};

/// The target's name.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Which compiler makes WebAssembly on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// The toolchain in use has the target.
    Toolchain,
    /// Debian's `rustc-web`, with a standard library of its own making.
    Debian,
}

/// Finds or installs a compiler.
///
/// `DEVENV_CLOUD_WASM=debian` skips rustup, so that the second way can be tried anywhere.
pub(crate) fn ensure() -> Result<Compiler> {
    let forced = std::env::var_os("DEVENV_CLOUD_WASM").is_some_and(|value| value == "debian");
    if !forced {
        if toolchain_has_target()? {
            return Ok(Compiler::Toolchain);
        }
        say("set-up: rustup target add wasm32-unknown-unknown");
        match shell::quietly(Command::new("rustup").args(["target", "add", TARGET])) {
            Ok(()) if toolchain_has_target()? => return Ok(Compiler::Toolchain),
            Ok(()) => say("rustup added the target, but not to the toolchain in use"),
            Err(error) => say(&format!(
                "rustup cannot ({}); Debian's compiler does it",
                error.to_string().lines().last().unwrap_or_default()
            )),
        }
    }
    let installed =
        ["/usr/bin/rustc", "/usr/bin/cargo"].iter().all(|file| std::path::Path::new(file).exists())
            && debian_sources().is_some();
    if !installed {
        apt::install(&["rustc-web", "cargo-web", "rust-web-src"])?;
    }
    linker()?;
    Ok(Compiler::Debian)
}

/// A `cargo` that compiles to [`TARGET`] when given the profile and the package.
pub(crate) fn cargo(layout: &Layout, compiler: Compiler, subcommand: &str) -> Result<(Command, PathBuf)> {
    match compiler {
        Compiler::Toolchain => {
            let mut command = layout.cargo(subcommand);
            command.args(["--target", TARGET]);
            Ok((command, layout.target.join(TARGET)))
        }
        Compiler::Debian => {
            // Not the shared target directory: another compiler's files would
            // only be in the way there, and the standard library outlives it.
            let target = layout.cache.join("wasm-debian");
            let mut command = Command::new("/usr/bin/cargo");
            command
                .args([subcommand, "--target", TARGET, "-Zbuild-std=std,panic_abort"])
                .current_dir(&layout.root)
                .env_remove("RUSTUP_TOOLCHAIN")
                .env_remove("CARGO")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", "/usr/bin/rustc")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker()?)
                .env("CARGO_TARGET_DIR", &target);
            Ok((command, target.join(TARGET)))
        }
    }
}

fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(shell::output(Command::new("rustc").args(["--print", "sysroot"]))?.trim()))
}

fn toolchain_has_target() -> Result<bool> {
    Ok(sysroot()?.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// The standard library's sources as Debian's compiler looks for them.
fn debian_sources() -> Option<PathBuf> {
    let sysroot = shell::output(Command::new("/usr/bin/rustc").args(["--print", "sysroot"])).ok()?;
    let library = PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library");
    library.is_dir().then_some(library)
}

/// A linker for WebAssembly: rustup's toolchains carry one, LLVM's does as well.
fn linker() -> Result<PathBuf> {
    let bundled = sysroot()?.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    if bundled.exists() {
        return Ok(bundled);
    }
    let versioned = "/usr/lib/llvm-19/bin/wasm-ld";
    if !std::path::Path::new(versioned).exists() && shell::find("wasm-ld").is_none() {
        apt::install(&["lld-19"])?;
    }
    if std::path::Path::new(versioned).exists() {
        return Ok(versioned.into());
    }
    shell::find("wasm-ld").context("no linker for WebAssembly: install Debian's lld-19")
}
