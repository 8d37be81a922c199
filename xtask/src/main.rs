//! `cargo xtask …`: everything a person or a CI machine does with this
//! checkout, from an empty Debian machine on.
//!
//! It is a program and not a heap of scripts so that each step is one function
//! that knows when it has nothing to do: a second `demo` takes seconds. Nothing
//! installed by hand is needed; what is missing, [`setup`] installs.

mod api;
mod bench;
mod build;
mod check;
mod demo;
mod instance;
mod layout;
mod postgres;
mod processes;
mod setup;
mod shell;
mod soak;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::layout::Layout;

/// Set-up, build, check, test, demo and benchmarks of devenv-cloud.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing on a Debian 12 machine, as root or with sudo.
    Setup,
    /// Build guest, pages, server and guest image, or only the named parts.
    Build {
        /// What to build; everything by default.
        parts: Vec<build::Part>,
        /// Optimise the server too.
        #[arg(long)]
        release: bool,
    },
    /// Formatting, lints, licences, unused dependencies, migrations, Nix files.
    Check,
    /// Set up, check, then run every suite: unit, integration on both databases, end to end.
    Test {
        /// Only these suites (`check`, `cargo`, `e2e`); all of them by default.
        #[arg(long, value_delimiter = ',')]
        only: Vec<test::Suite>,
        /// Passed on to Playwright, for example a part of a test's name after `-g`.
        #[arg(last = true)]
        playwright: Vec<String>,
    },
    /// Start a server, push `examples/hello`, show the run, keep serving.
    Demo {
        /// End after the run; exit status 0 only if it succeeded.
        #[arg(long)]
        once: bool,
        /// The port to listen on.
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Measure, print a table.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Run very many jobs, and look whether anything stays behind.
    Soak(soak::Soak),
}

#[derive(Subcommand)]
enum Bench {
    /// From an accepted push to the start of the evaluation and the end of the run.
    Push(bench::Push),
    /// Restores, memory, channel, and how much slower Nix is in a machine.
    Machines(bench::Machines),
    /// Sign-ins: how many a second, and what a storm of them does to others.
    Signin(bench::SignIn),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // No backtrace, whatever the environment says: the chain of causes tells more.
            shell::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let layout = Layout::find()?;
    match Arguments::parse().command {
        Command::Setup => setup::run(&layout),
        Command::Build { parts, release } => {
            setup::run(&layout)?;
            let profile = if release { build::Profile::Release } else { build::Profile::Dev };
            build::parts(&layout, profile, &parts)
        }
        Command::Check => {
            setup::run(&layout)?;
            check::run(&layout)
        }
        Command::Test { only, playwright } => test::run(&layout, &only, &playwright),
        Command::Demo { once, port } => demo::run(&layout, once, port),
        Command::Bench { what: Bench::Push(what) } => bench::push(&layout, &what),
        Command::Bench { what: Bench::Signin(what) } => bench::sign_in(&layout, &what),
        Command::Bench { what: Bench::Machines(what) } => bench::machines(&layout, &what),
        Command::Soak(what) => soak::run(&layout, &what),
    }
}
