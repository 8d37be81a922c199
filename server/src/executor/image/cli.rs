//! `devenv-cloud image …`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;

use super::{BuildOptions, Image, build, embedded, list, newest};
use crate::clock::Clock;

/// The subcommands of `devenv-cloud image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build the image that machines boot, from Debian packages. Does nothing
    /// when there is one of the same inputs already.
    Build {
        /// PID 1 of the machine: the static program `devenv-cloud-guest`
        /// [default: the one in this program].
        #[arg(long, value_name = "FILE", env = "DEVENV_CLOUD_GUEST")]
        guest: Option<PathBuf>,
        /// The built-in evaluator: the directory `guest/nix` of the source
        /// [default: the one in this program].
        #[arg(long, value_name = "DIR", env = "DEVENV_CLOUD_EVALUATOR")]
        evaluator: Option<PathBuf>,
        /// Build in any case, with the packages of today.
        #[arg(long)]
        force: bool,
        /// Make no template of the usual machine, with which single machines start
        /// at once.
        #[arg(long)]
        no_template: bool,
    },
    /// List the images, newest first; `*` marks the one that machines boot.
    List,
    /// Read every file of every image again and compare it with its manifest.
    Verify,
}

impl ImageCommand {
    /// Whether it makes an image, rather than looking at those there are.
    #[must_use]
    pub const fn builds(&self) -> bool {
        matches!(self, Self::Build { .. })
    }

    /// Whether a template is to be made of the image.
    #[must_use]
    pub const fn makes_template(&self) -> bool {
        matches!(self, Self::Build { no_template: false, .. })
    }
}

/// Does what was asked for, in the directory of images.
///
/// # Errors
/// When it cannot be done; the sentence says what to do.
pub async fn run(command: ImageCommand, images: PathBuf) -> anyhow::Result<()> {
    match command {
        ImageCommand::Build { guest, evaluator, force, no_template: _ } => {
            let unpacked = embedded::unpack().context("cannot unpack what images are made of")?;
            let guest = guest.unwrap_or_else(|| unpacked.program());
            let evaluator = evaluator.unwrap_or_else(|| unpacked.evaluator());
            let on_step = |step: &str| eprintln!("image: {step}");
            let now = Clock::system().now();
            let image = build(BuildOptions { images, guest, evaluator, force, now, on_step }).await?;
            eprintln!("image: ready in {}", image.dir.display());
            println!("{}", image.id);
        }
        ImageCommand::List => {
            let used = newest(&images).ok().map(|image| image.id);
            for image in list(&images)? {
                println!("{}", line(&image, used.as_deref()));
            }
        }
        ImageCommand::Verify => {
            let all = list(&images)?;
            anyhow::ensure!(!all.is_empty(), "there is no image in {}", images.display());
            for image in all {
                image.verify(true).with_context(|| format!("image {} must not be used", image.id))?;
                println!("{} is whole", image.id);
            }
        }
    }
    Ok(())
}

fn line(image: &Image, used: Option<&str>) -> String {
    let mark = if used == Some(image.id.as_str()) { '*' } else { ' ' };
    let built = image.manifest.built_at.format("%Y-%m-%d %H:%M");
    let mib = image.size() >> 20;
    format!("{mark} {}  built {built} UTC  {mib} MiB  kernel {}", image.id, image.manifest.kernel)
}
