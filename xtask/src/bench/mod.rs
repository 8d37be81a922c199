//! Benchmarks: figures for people to compare, never tests with a limit, since
//! another machine or a busy minute gives other figures.

mod authenticator;
mod buildbot;
mod project;
mod push;
mod signin;
mod spread;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

pub(crate) use self::{
    push::{Push, push},
    signin::{SignIn, sign_in},
};
use crate::{
    build::{self, Built},
    layout::Layout,
    setup, shell,
};

/// Which server is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Take this server and the images that are there, instead of building both.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

impl Which {
    /// The server, built if nobody named one.
    pub(crate) fn built(&self, layout: &Layout) -> Result<Built> {
        if let Some(server) = &self.server {
            let server =
                server.canonicalize().with_context(|| format!("cannot find {}", server.display()))?;
            return Ok(Built { server });
        }
        setup::run(layout)?;
        let built = build::all(layout, build::Profile::Release)?;
        build::image(layout, &built)?;
        Ok(built)
    }
}

/// Machines alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Machines {
    #[command(flatten)]
    which: Which,
    /// How many machines are restored, one after another.
    #[arg(long, default_value_t = 300)]
    restores: u32,
    /// How many machines live at the same time.
    #[arg(long, default_value_t = 10)]
    clones: u32,
    /// Print JSON in place of the tables.
    #[arg(long)]
    json: bool,
}

/// The server measures itself: nobody else can touch its machines.
pub(crate) fn machines(layout: &Layout, what: &Machines) -> Result<()> {
    let built = what.which.built(layout)?;
    let mut command = Command::new(&built.server);
    command
        .args(["machines", "bench", "--restores", &what.restores.to_string()])
        .args(["--clones", &what.clones.to_string()])
        .args(what.json.then_some("--json"))
        .env("DEVENV_CLOUD_EXECUTOR_IMAGE_DIR", layout.images())
        .stdin(Stdio::null());
    let status = command.status().context("cannot start the server")?;
    if !status.success() {
        bail!("`{}` ended with {status}", shell::typed(&command));
    }
    Ok(())
}
