//! Programs that are started ahead of time: a machine that is frozen with them
//! in it goes straight on with its job when it is restored, because starting a
//! program is most of what a small job takes, above all where the processor is
//! emulated.
//!
//! Each waits in a place of its own ([`Waiting`]): Git for the pack on its
//! standard input, Git again for its configuration, Nix for its evaluator's gate.
//! None has seen anything of a job by then. Where one is not as expected, the
//! program is started anew, which is slower and comes to the same.

mod waiting;

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{CWD, FileType, Mode};

use self::waiting::{Place, Waiting};
use crate::{checkout, command::Started, evaluate::builtin, network, world::World};

/// What waits. Clones are the same.
#[derive(Clone, Debug)]
pub struct Ahead(Arc<Programs>);

#[derive(Debug)]
struct Programs {
    unpack: Slot,
    check_out: Slot,
    evaluate: Slot,
    /// Where the evaluator looks for what it is to evaluate.
    context: PathBuf,
    /// Where Git looks for its configuration, and the image's own.
    configuration: PathBuf,
}

/// The configuration of all users, which Git reads first of all.
const CONFIGURATION: &str = "/etc/gitconfig";

impl Ahead {
    /// Starts them, and waits until each is where it waits.
    ///
    /// # Errors
    /// When one does not get there; the words are its own.
    pub fn start(world: &World) -> io::Result<Self> {
        checkout::furnish(world)?;
        let folder = world.run.join("ahead");
        fs::create_dir_all(&folder)?;
        let path = |name: &str| folder.join(name);
        let (context, configuration) = (path("context.json"), path("gitconfig"));
        let (evaluator_gate, git_gate) = (path("evaluator.gate"), path("git.gate"));
        make_gate(&evaluator_gate)?;
        make_gate(&git_gate)?;
        // A second name of it, which may come to mean something else.
        fs::hard_link(&git_gate, &configuration)?;

        let unpack = checkout::unpack(world).spawn(world);
        let mut check_out = checkout::check_out_head(world);
        check_out.env.insert("GIT_CONFIG_SYSTEM".to_owned(), configuration.display().to_string());
        let check_out = check_out.spawn(world);
        let mut evaluate = builtin::nix(world, "ahead.nix")
            .args(["--arg", "gate"])
            .arg(&evaluator_gate)
            .args(["--arg", "context"])
            .arg(&context);
        // Whether the job has a network is not known yet; where it has none, the
        // proxy says so.
        evaluate.env.extend(network::environment(world.proxy));
        let evaluate = evaluate.spawn(world);
        let wait =
            |started: Result<Started, _>, place| Waiting::new(started.map_err(io::Error::other)?, place);
        Ok(Self(Arc::new(Programs {
            unpack: Slot::new(wait(unpack, Place::Input)?),
            check_out: Slot::new(wait(check_out, Place::Gate(git_gate))?),
            evaluate: Slot::new(wait(evaluate, Place::Gate(evaluator_gate))?),
            context,
            configuration,
        })))
    }

    /// Git, which unpacks what it gets on its standard input.
    pub(crate) fn unpack(&self) -> Option<Started> {
        self.0.unpack.take(|| Ok(()))
    }

    /// Git, which checks HEAD out.
    pub(crate) fn check_out(&self) -> Option<Started> {
        self.0.check_out.take(|| {
            // It reads its configuration more than once, and waits the first time only.
            let link = self.0.configuration.with_extension("link");
            symlink(CONFIGURATION, &link)?;
            fs::rename(link, &self.0.configuration)
        })
    }

    /// Nix, which evaluates the source with this context.
    pub(crate) fn evaluate(&self, context: &str) -> Option<Started> {
        self.0.evaluate.take(|| fs::write(&self.0.context, context))
    }
}

/// Makes a named pipe that everybody may read.
fn make_gate(path: &Path) -> io::Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
    Ok(())
}

/// Holds a program until somebody takes it.
#[derive(Debug)]
struct Slot(Mutex<Option<Waiting>>);

impl Slot {
    fn new(waiting: Waiting) -> Self {
        Self(Mutex::new(Some(waiting)))
    }

    /// Does what is to be done before, and lets the program go on. There is none
    /// when it was taken already, or has ended meanwhile.
    fn take(&self, before: impl FnOnce() -> io::Result<()>) -> Option<Started> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        waiting.go_on(before)
    }
}
