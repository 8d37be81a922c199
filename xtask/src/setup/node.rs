//! The browser tests' packages.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    layout::Layout,
    shell::{self, step},
};

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
