//! Warming up: what jobs do is done once with a small project, so that a machine
//! that is frozen afterwards has the programs in its memory and, where the
//! processor is emulated, translated.
//!
//! It happens in a process with mounts of its own above the image and with what
//! it writes in memory; when the process ends, nothing of it is left.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::{Arc, mpsc},
};

use super::{WARM_UP, enter, mounts::Upper, users};
use crate::{
    cancel::Canceller,
    job::{self, Context},
    kernel,
    protocol::{HOST_NAME, Job, Outcome},
    recorder::Recorder,
    world::World,
};

/// A packfile with one commit, whose only file is the `devenv.nix` beside it.
const SOURCE: &[u8] = include_bytes!("source.pack");
/// The commit in [`SOURCE`].
const COMMIT: &str = "2286d265c1f600622518a3ed573ba41447257d8f";

/// Does it in a process of its own, which begins with these mounts.
pub(super) fn in_a_process(mounts: &File, rounds: u8) -> Result<(), String> {
    let cannot_start = |error| format!("cannot start: {error}");
    let mut command = Command::new("/proc/self/exe");
    command.arg(WARM_UP).arg(rounds.to_string()).arg0("devenv-cloud-guest").stdin(Stdio::null());
    kernel::with_mounts(&mut command, mounts.try_clone().map_err(cannot_start)?);
    let output = command.output().map_err(cannot_start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// That process.
#[must_use]
pub fn warm_up(rounds: &str) -> ExitCode {
    let done = rounds
        .parse()
        .map_err(|_| format!("{rounds} is no number of rounds"))
        .and_then(|rounds| {
            let entered = enter(Upper::Memory).and_then(|()| users::name(Path::new("/"), HOST_NAME));
            entered.map(|()| rounds).map_err(|error| error.to_string())
        })
        .and_then(|rounds| do_jobs(&World::machine(None), rounds));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn do_jobs(world: &World, rounds: u8) -> Result<(), String> {
    for _ in 0..rounds {
        let context = Context {
            world: Arc::new(world.clone()),
            job: Arc::new(small_job()),
            // Holds more than this job says, so that nobody has to take it.
            recorder: Recorder::default(),
            canceller: Canceller::default(),
        };
        let (source, chunks) = mpsc::sync_channel(1);
        source.send(SOURCE.to_vec()).map_err(|error| error.to_string())?;
        drop(source);
        let finished = job::run(&context, chunks);
        if finished.outcome != Outcome::Success {
            return Err(finished.reason);
        }
        empty(world).map_err(|error| format!("cannot clean up: {error}"))?;
    }
    Ok(())
}

/// As it was before the job.
fn empty(world: &World) -> io::Result<()> {
    for entry in fs::read_dir(&world.source)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

fn small_job() -> Job {
    Job {
        commit: COMMIT.to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        origin: "https://localhost/warm/up.git".to_owned(),
        platform: "x86_64-linux".to_owned(),
        profiles: Vec::new(),
        tasks: Vec::new(),
        cloud: "{}".to_owned(),
        env: BTreeMap::new(),
        max_log_bytes: 1 << 20,
        grace_ms: 1000,
        network: false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_packfile_holds_what_is_read_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str], input: &[u8]| {
            let mut child = Command::new("git")
                .args(arguments)
                .current_dir(folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "git {arguments:?}");
            output.stdout
        };
        git(&["init", "--quiet"], b"");
        git(&["unpack-objects", "-q"], SOURCE);
        let file = git(&["show", &format!("{COMMIT}:devenv.nix")], b"");
        assert_eq!(
            String::from_utf8(file).unwrap(),
            include_str!("devenv.nix"),
            "see README.md: renew the packfile"
        );
    }
}
