//! The command line, and nothing else.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use devenv_cloud::{
    config::Config,
    doctor::{self, DoctorOptions},
    executor::{
        image::{self, ImageCommand},
        machine::{self, MachineSettings, MachinesCommand},
    },
    local::{self, RunOptions, places},
    login, runner, serve, web,
};

/// CI that is local-first and built with Nix.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// The configuration file [default: ./devenv-cloud.toml, then
    /// /etc/devenv-cloud/devenv-cloud.toml, where they exist].
    #[arg(long, global = true, env = "DEVENV_CLOUD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve: the pages, the API, the git remote, and the execution of jobs.
    Serve,
    /// Run the job that a push would make, here and now: the working tree as it
    /// is, in a machine of its own, without a server.
    Run(RunOptions),
    /// Sign in to a server, by way of a browser.
    Login(login::LoginOptions),
    /// Say who is signed in to a server.
    Whoami(login::Options),
    /// Sign out of a server: the token works no more.
    Logout(login::Options),
    /// Say what this host can do, and what to do about the rest. Exits with 1 if
    /// no job can run here.
    Doctor(DoctorOptions),
    /// Execute jobs for a server on another machine.
    Runner(runner::Options),
    /// Build, list and verify the images that machines boot.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look into the machines of this host; `docs/benchmarks.md` has more.
    #[command(subcommand, hide = true)]
    Machines(MachinesCommand),
    /// Print the effective configuration, every key documented, secrets masked.
    Config {
        /// Print the reference of all keys instead, as Markdown.
        #[arg(long)]
        documentation: bool,
    },
    /// Print the OpenAPI document of the API.
    Openapi,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("devenv-cloud: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = || Config::load(cli.config.as_deref(), std::env::vars());
    match cli.command {
        Command::Openapi => println!("{}", web::openapi().to_pretty_json()?),
        Command::Config { documentation: true } => print!("{}", Config::documentation()),
        Command::Config { documentation: false } => print!("{}", config()?.to_toml()),
        Command::Serve => {
            let config = config()?;
            start_logging(&config)?;
            runtime()?.block_on(serve::serve(config))?;
        }
        Command::Run(options) => {
            let config = config()?;
            return Ok(runtime()?.block_on(local::run(options, &config)));
        }
        Command::Login(options) => runtime()?.block_on(login::login(options))?,
        Command::Whoami(options) => runtime()?.block_on(login::whoami(options))?,
        Command::Logout(options) => runtime()?.block_on(login::logout(options))?,
        Command::Doctor(options) => {
            let config = config()?;
            return runtime()?.block_on(doctor::run(options, config));
        }
        Command::Image(command) => {
            let config = config()?;
            // A service has no home, and needs none.
            let cache = places::cache_dir().unwrap_or_else(|_| config.server.state_dir.clone());
            let images = if command.builds() {
                places::new_image_dir(&config, &cache)
            } else {
                places::image_dir(&config, &cache)
            };
            let template = command.makes_template();
            let runtime = runtime()?;
            runtime.block_on(image::run(command, images.clone()))?;
            if template {
                let settings = MachineSettings { images, ..MachineSettings::of(&config.executor, cache) };
                runtime.block_on(make_template(settings));
            }
        }
        Command::Machines(MachinesCommand::Bench(options)) => {
            let config = config()?;
            let cache = places::cache_dir().unwrap_or_else(|_| config.server.state_dir.clone());
            let images = places::image_dir(&config, &cache);
            let settings =
                MachineSettings { images, ..MachineSettings::of(&config.executor, PathBuf::new()) };
            runtime()?.block_on(machine::bench(options, settings))?;
        }
        Command::Runner(options) => {
            let config = config()?;
            start_logging(&config)?;
            runtime()?.block_on(runner::run(config, options))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // Rendering a page goes as deep as its elements are nested; without optimisation that is
    // more than the usual 2 MiB.
    tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(16 << 20)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Makes a template of the usual machine. Without one machines start slower, so
/// that a host that has none is no error.
async fn make_template(settings: MachineSettings) {
    eprintln!("image: making a template of the usual machine");
    let made = match std::fs::create_dir_all(&settings.state) {
        Ok(()) => machine::keep_usual_template(settings).await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot create {}: {error}", settings.state.display())),
    };
    if let Err(why) = made {
        eprintln!("image: no template, so that single machines are booted: {why}");
    }
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format.as_str() {
        "text" => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        "json" => log.json().init(),
        other => anyhow::bail!("log.format cannot be `{other}`: it is text or json"),
    }
    Ok(())
}
