//! PID 1 of a machine whose job is to do harm.
//!
//! It boots as the real guest does, greets, warms up and takes its job as the
//! real one does, and then attacks: how is the last part of the branch that was
//! pushed, `attack/<name>`. Nothing that it does may harm more than its own job.
//! `specs/attacks.spec.ts` pushes the branches and looks at what came of them.

mod attacks;
mod port;

use std::{path::Path, process::ExitCode};

use devenv_cloud_guest::{
    boot,
    protocol::{
        FrameError, GuestMessage, HostMessage, Job, read_hello, read_message, write_hello, write_message,
    },
};

use self::port::Port;

/// What the branches begin with.
const BRANCH: &str = "refs/heads/attack/";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::process::id() == 1 {
        boot::init();
    }
    let result = match &arguments[..] {
        [word, port] if word == boot::SESSION => session(Path::new(port)),
        _ => {
            eprintln!("This is PID 1 of a machine that attacks its host; see e2e/attacker.");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = result {
        boot::report(error);
    }
    ExitCode::SUCCESS
}

fn session(port: &Path) -> Result<(), FrameError> {
    let mut port = Port::open(port)?;
    let job = take_job(&mut port)?;
    let name = job.git_ref.strip_prefix(BRANCH).unwrap_or_default().to_owned();
    attacks::attack(&name, port)
}

/// All that the real guest does before its job runs.
fn take_job(port: &mut Port) -> Result<Job, FrameError> {
    loop {
        let greeting = read_hello(&mut *port);
        write_hello(&mut *port)?;
        greeting?;
        match read_message(&mut *port)? {
            HostMessage::Warm { .. } => write_message(&mut *port, &GuestMessage::Warmed { problem: None })?,
            HostMessage::Prepare(_) => break,
            other => boot::report(format_args!("the host sent {other:?}")),
        }
    }
    write_message(&mut *port, &GuestMessage::Ready)?;
    loop {
        if let HostMessage::Job(job) = read_message(&mut *port)? {
            return Ok(*job);
        }
    }
}
