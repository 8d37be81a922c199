//! A program that waits.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::command::Started;

/// How long a program may take to get to where it waits.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(5);

/// Where a program waits.
#[derive(Debug)]
pub(super) enum Place {
    /// For something on its standard input.
    Input,
    /// For somebody to open the other end of a named pipe that it reads as a file.
    Gate(PathBuf),
}

/// A program that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    started: Started,
    place: Place,
}

impl Waiting {
    /// Waits until the program has got there.
    ///
    /// # Errors
    /// When it does not; the words are its own.
    pub(super) fn new(started: Started, place: Place) -> io::Result<Self> {
        let mut waiting = Self { started, place };
        let deadline = Instant::now() + PATIENCE;
        while !waiting.is_there() {
            let ended = waiting.started.child.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let words = waiting.words()?;
                waiting.started.end();
                let last = words.lines().rfind(|line| !line.trim().is_empty());
                return Err(io::Error::other(last.unwrap_or("it does not wait where it should").to_owned()));
            }
            thread::sleep(PAUSE);
        }
        // Whatever it has said so far is not about any job.
        waiting.words()?;
        Ok(waiting)
    }

    /// Lets it go on; `before` is done first.
    pub(super) fn go_on(mut self, before: impl FnOnce() -> io::Result<()>) -> Option<Started> {
        // It may have been killed meanwhile, for want of memory for example.
        let there = matches!(self.started.child.try_wait(), Ok(None));
        if there && before().and_then(|()| self.open()).is_ok() {
            return Some(self.started);
        }
        self.started.end();
        None
    }

    /// Opens the gate and closes it again: an empty file, for who waits.
    fn open(&self) -> io::Result<()> {
        let Place::Gate(gate) = &self.place else { return Ok(()) };
        // Without a reader there is an error instead of a wait.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(gate, flags, Mode::empty())?;
        Ok(())
    }

    /// Whether it sleeps in the call that it is to wait in.
    fn is_there(&self) -> bool {
        let id = self.started.child.id();
        let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
        let call = read("syscall");
        let mut words = call.split(' ');
        let call = (words.next(), words.next());
        let waits = match self.place {
            // read(0, …)
            Place::Input => call == (Some("0"), Some("0x0")),
            // openat(…): a file that is no pipe does not let anybody sleep.
            Place::Gate(_) => call.0 == Some("257"),
        };
        waits && read("stat").rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
    }

    /// What it has said on standard error, without waiting for more.
    fn words(&mut self) -> io::Result<String> {
        let Some(stderr) = &mut self.started.child.stderr else { return Ok(String::new()) };
        let flags = rustix::fs::fcntl_getfl(&*stderr)?;
        rustix::fs::fcntl_setfl(&*stderr, flags | OFlags::NONBLOCK)?;
        let mut words = Vec::new();
        let all = stderr.read_to_end(&mut words);
        rustix::fs::fcntl_setfl(&*stderr, flags)?;
        match all {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::AGAIN) => Err(error),
            _ => Ok(String::from_utf8_lossy(&words).into_owned()),
        }
    }
}
