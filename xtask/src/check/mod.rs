//! What the machine checks before a person looks.

mod migrations;
mod unused;
mod words;

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    build,
    layout::Layout,
    setup::{self, node, wasm},
    shell::{self, say, step},
};

type Check = fn(&Layout) -> Result<()>;

/// Runs every check, and fails at the end if any of them failed, so that one
/// call shows everything there is to mend.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let checks: [(&str, Check); 9] = [
        ("formatting", formatting),
        ("words and conflict markers", words::check),
        ("migrations agree", migrations::check),
        ("Nix files parse", nix_files),
        ("types of the browser tests", browser_test_types),
        ("unused dependencies", unused::check),
        ("cargo-deny", deny),
        ("clippy, natively", clippy),
        ("clippy, pages in the browser", clippy_browser_pages),
    ];
    let total = checks.len();
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = step(&format!("check: {name}"), || check(layout)) {
            say(&format!("{error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("{} of {total} checks failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

fn formatting(layout: &Layout) -> Result<()> {
    shell::run(layout.cargo("fmt").args(["--all", "--check"]))
}

fn clippy(layout: &Layout) -> Result<()> {
    // The server turns the pages' `ssr` feature on, so this is their lint as well.
    shell::run(layout.cargo("clippy").args([
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn clippy_browser_pages(layout: &Layout) -> Result<()> {
    let features =
        ["--quiet", "--package", build::FRONTEND, "--lib", "--no-default-features", "--features", "hydrate"];
    match wasm::ensure()? {
        compiler @ wasm::Compiler::Toolchain => {
            let (mut command, _) = wasm::cargo(layout, compiler, "clippy")?;
            shell::run(command.args(features).args(["--", "-D", "warnings"]))
        }
        compiler @ wasm::Compiler::Debian => {
            // Clippy belongs to rustup's compiler, which has no standard library for the target here.
            say("no clippy for WebAssembly with Debian's compiler: `cargo check` with warnings as errors");
            let (mut command, _) = wasm::cargo(layout, compiler, "check")?;
            shell::run(command.args(features).env("CARGO_BUILD_WARNINGS", "deny"))
        }
    }
}

fn browser_test_types(layout: &Layout) -> Result<()> {
    shell::run(
        Command::new(node::program(layout)?)
            .args(["node_modules/typescript/bin/tsc", "--noEmit"])
            .current_dir(layout.root.join("e2e")),
    )
}

fn deny(layout: &Layout) -> Result<()> {
    let program = setup::ensure_cargo_deny(layout)?;
    let deny = |what: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(["--log-level", "error", "check", "--hide-inclusion-graph"])
            .args(what)
            .current_dir(&layout.root);
        command
    };
    shell::quietly(&mut deny(&["licenses", "bans", "sources"]))?;
    // The advisories are a repository that must be fetched: without a network
    // there is nothing to compare with, which is no fault of this checkout.
    let advisories = deny(&["advisories"]).output()?;
    if advisories.status.success() {
        say("licences, bans, sources and advisories are fine");
        return Ok(());
    }
    let said = String::from_utf8_lossy(&advisories.stderr);
    if said.contains("failed to fetch advisory database") || said.contains("failed to load advisory database")
    {
        say(
            "licences, bans and sources are fine; advisories were NOT checked: their database cannot be fetched here",
        );
        return Ok(());
    }
    bail!("{said}")
}

/// Every Nix file parses, but those that are wrong on purpose.
fn nix_files(layout: &Layout) -> Result<()> {
    let on_purpose = |file: &str| file.starts_with("e2e/fixtures/") || file.contains("/error-");
    let files: Vec<_> =
        layout.files()?.into_iter().filter(|file| file.ends_with(".nix") && !on_purpose(file)).collect();
    if files.is_empty() {
        bail!("no Nix file was found");
    }
    shell::output(Command::new("nix-instantiate").arg("--parse").args(&files).current_dir(&layout.root))?;
    say(&format!("{} Nix files", files.len()));
    Ok(())
}
