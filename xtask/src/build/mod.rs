//! Guest, pages, server, guest image: what the product consists of.
//!
//! Cargo knows itself what is up to date; what comes after Cargo (bindings,
//! compression, the image) is skipped when the content that goes in is the same
//! as last time.

mod assets;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    layout::Layout,
    shell::{self, say, step},
};

/// The package of the pages.
pub(crate) const FRONTEND: &str = "devenv-cloud-frontend";

/// How the server is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to compile; tests and the demo.
    Dev,
    /// Optimised.
    Release,
}

/// What can be built alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// PID 1 of the machines.
    Guest,
    /// What the browser downloads.
    Pages,
    /// The one server binary.
    Server,
    /// What the machines boot; builds what it is made of.
    Image,
}

/// The files that a build leaves.
pub(crate) struct Built {
    /// The one server binary.
    pub(crate) server: PathBuf,
}

/// Builds everything but the guest image.
pub(crate) fn all(layout: &Layout, profile: Profile) -> Result<Built> {
    // First: the server has it in itself.
    step("build: guest", || guest(layout).map(drop))?;
    step("build: pages for the browser", || assets::build(layout))?;
    let server = step("build: server", || server(layout, profile))?;
    Ok(Built { server })
}

/// Builds the named parts, or everything.
pub(crate) fn parts(layout: &Layout, profile: Profile, parts: &[Part]) -> Result<()> {
    if parts.is_empty() || parts.contains(&Part::Image) {
        let built = all(layout, profile)?;
        image(layout, &built)?;
        say(&format!("the server is {}", built.server.display()));
        return Ok(());
    }
    for part in parts {
        match part {
            Part::Guest => step("build: guest", || guest(layout).map(drop))?,
            Part::Pages => step("build: pages for the browser", || assets::build(layout))?,
            Part::Server => step("build: server", || server(layout, profile).map(drop))?,
            Part::Image => {}
        }
    }
    Ok(())
}

/// PID 1 of the machines: one static file, since nothing is mounted yet when it starts.
fn guest(layout: &Layout) -> Result<PathBuf> {
    static_program(layout, "devenv-cloud-guest")
}

/// A program that needs nothing but a kernel, from the package of the same name.
fn static_program(layout: &Layout, name: &str) -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    // With `--target`, so that the flag does not reach build scripts.
    shell::run(
        layout
            .cargo("build")
            .args(["--quiet", "--package", name, "--bin", name])
            .args(["--release", "--target", TARGET])
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static"),
    )?;
    layout.keep(&layout.target.join(TARGET).join("release").join(name))
}

fn server(layout: &Layout, profile: Profile) -> Result<PathBuf> {
    let mut cargo = layout.cargo("build");
    // The whole workspace's features, so that `cargo test --workspace` finds
    // every dependency compiled already.
    cargo.args(["--quiet", "--workspace", "--bin", "devenv-cloud"]);
    let directory = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    shell::run(&mut cargo)?;
    layout.keep(&layout.target.join(directory).join("devenv-cloud"))
}

/// The guest image; the server itself knows when it has one made from the same parts.
pub(crate) fn image(layout: &Layout, built: &Built) -> Result<()> {
    step("build: guest image", || build_image(layout, built, &layout.images(), &[]))
}

/// An image whose PID 1 attacks its host; gives the directory that it is in.
pub(crate) fn attacker_image(layout: &Layout, built: &Built) -> Result<PathBuf> {
    step("build: image of the guest that attacks", || {
        let guest = static_program(layout, "devenv-cloud-attacker")?;
        let images = layout.cache.join("attacker-images");
        build_image(
            layout,
            built,
            &images,
            &[OsStr::new("--no-template"), OsStr::new("--guest"), guest.as_os_str()],
        )?;
        Ok(images)
    })
}

fn build_image(layout: &Layout, built: &Built, images: &Path, arguments: &[&OsStr]) -> Result<()> {
    shell::run(
        Command::new(&built.server)
            .args(["image", "build"])
            .args(arguments)
            .env_remove("DEVENV_CLOUD_WASM")
            .env("DEVENV_CLOUD_EXECUTOR_IMAGE_DIR", images)
            .current_dir(&layout.root),
    )?;
    remove_old_images(images)
}

/// Every change of the guest makes another image of some 200 MB: keeps the newest few.
fn remove_old_images(directory: &Path) -> Result<()> {
    const KEPT: usize = 4;
    let mut images = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        if let Ok(manifest) = entry.path().join("manifest.json").metadata() {
            images.push((manifest.modified()?, entry.path()));
        }
    }
    images.sort();
    let old = images.len().saturating_sub(KEPT);
    for (_, image) in images.drain(..old) {
        fs::remove_dir_all(&image).with_context(|| format!("cannot remove {}", image.display()))?;
    }
    Ok(())
}
