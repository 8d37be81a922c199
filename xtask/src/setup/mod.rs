//! What a fresh Debian 12 machine lacks, and how it gets there.
//!
//! Every part first looks whether it is there, so that a second call is over
//! at once, and says what it does before it does it.

mod apt;
pub(crate) mod node;
pub(crate) mod wasm;

use anyhow::Result;

use crate::{
    layout::Layout,
    shell::{self, step},
};

/// Installs what is missing; a quick no-op when nothing is.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    apt::install_missing()?;
    wasm::ensure()?;
    node::program(layout)?;
    node::wasm_opt(layout)?;
    node::ensure_modules(layout)?;
    Ok(())
}

/// `cargo-deny`, compiled once per machine.
///
/// Without optimisation: it compiles in a third of the time and runs two seconds.
pub(crate) fn ensure_cargo_deny(layout: &Layout) -> Result<std::path::PathBuf> {
    const VERSION: &str = "0.20.2";
    let own = layout.tool("cargo-deny");
    if own.exists() {
        return Ok(own);
    }
    if let Some(found) = shell::find("cargo-deny") {
        return Ok(found);
    }
    step("set-up: compile cargo-deny (once per machine)", || {
        let target = tempfile::tempdir()?;
        shell::run(
            layout
                .cargo("install")
                .args(["--quiet", "--locked", "--debug", "--version", VERSION, "cargo-deny", "--root"])
                .arg(layout.cache.join("tools"))
                .env("CARGO_TARGET_DIR", target.path())
                .env("CARGO_PROFILE_DEV_DEBUG", "0"),
        )
    })?;
    Ok(own)
}
