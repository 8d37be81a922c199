//! Templates: a machine that booted, warmed up, and was frozen while it waited
//! for a greeting.
//!
//! Its memory is a sealed file, which every restored machine maps as its own:
//! what one writes, nobody else sees, and what none writes is there once. Its
//! disk is mounted, and Nix has been started on it, so that each restored machine
//! needs a copy of the disk as it was at that moment. There is nothing secret in
//! it: no job, no identity, and random numbers are made anew before a restored
//! machine does anything.

use std::{
    fs::File,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use devenv_cloud_guest::protocol::{FrameError, GuestMessage, HostMessage};
use rustix::fs::{MemfdFlags, SealFlags};
use serde_json::json;
use tokio::{net::UnixStream, time::timeout};

use super::{
    MachineError,
    parts::{Frozen, Key, Parts, Running, STATE, capabilities},
};
use crate::executor::{
    channel::{Frames, receive_hello, send, send_hello},
    image::Image,
};

/// How long a machine may take to boot and warm up, on a busy host as well.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long QEMU may take to write a few kilobytes.
const FREEZING: Duration = Duration::from_secs(30);
/// Once for the programs, once for what they did the first time only.
const ROUNDS: u8 = 2;

/// A frozen machine.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) key: Key,
    pub(super) image: Image,
    pub(super) memory: OwnedFd,
    pub(super) state: OwnedFd,
    pub(super) made: Instant,
    /// Not written any more.
    pub(super) disk: File,
    /// What its memory took when nobody had been restored from it.
    pub(super) fresh_mib: u32,
}

impl Template {
    /// Makes one: seconds with KVM, some ten without.
    pub(super) async fn make(parts: &Parts, image: Image, key: Key) -> Result<Self, MachineError> {
        let began = Instant::now();
        let memory = memory_file("devenv-cloud-memory", u64::from(key.spec.memory_mib) << 20)?;
        let state = memory_file("devenv-cloud-state", 0)?;
        let disk = parts.scratch(&key.spec).await?;
        let frozen = Frozen { memory: &memory, state: &state, disk: &disk };
        let mut running = parts.boot(&image, &key.spec, Some(frozen)).await?;
        warm(&mut running.channel, ROUNDS).await?;
        freeze(running).await?;
        seal(&memory)?;
        seal(&state)?;
        let fresh_mib = taken_mib(&memory);
        let template = Self { key, image, memory, state, disk, made: Instant::now(), fresh_mib };
        tracing::info!(
            spec = %template.key.spec,
            memory_mib = template.memory_mib(),
            seconds = began.elapsed().as_secs_f32(),
            "machine template is ready"
        );
        Ok(template)
    }

    /// What its memory really takes; a little more whenever somebody reads what
    /// was a hole in it.
    pub(super) fn memory_mib(&self) -> u32 {
        taken_mib(&self.memory)
    }

    /// Whether machines have read so many holes that a fresh one takes much less: a
    /// job that fills its memory reads all of them.
    pub(super) fn has_grown(&self) -> bool {
        self.memory_mib() / 2 > self.fresh_mib
    }
}

/// What a file really takes.
pub(super) fn taken_mib(file: &OwnedFd) -> u32 {
    let taken = rustix::fs::fstat(file).map_or(0, |stat| (stat.st_blocks * 512) >> 20);
    u32::try_from(taken).unwrap_or(0)
}

/// Nobody can change the file any more.
pub(super) fn seal(file: &OwnedFd) -> Result<(), MachineError> {
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file, all).map_err(failed("seal a template"))
}

/// A file without a name, in memory.
pub(super) fn memory_file(name: &str, bytes: u64) -> Result<OwnedFd, MachineError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(name, flags).map_err(failed("make a file in memory"))?;
    rustix::fs::ftruncate(&file, bytes).map_err(failed("make a file in memory"))?;
    Ok(file)
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> MachineError {
    move |error| MachineError::Template(format!("cannot {what}: {error}"))
}

/// Has a machine do what jobs do. Afterwards it waits for a greeting.
pub(super) async fn warm(channel: &mut UnixStream, rounds: u8) -> Result<(), MachineError> {
    let talk = async {
        send_hello(channel).await?;
        receive_hello(channel).await?;
        send(channel, &HostMessage::Warm { rounds }).await?;
        Frames::new(channel).receive().await
    };
    match timeout(PATIENCE, talk).await {
        Ok(Ok(GuestMessage::Warmed { problem })) => {
            if let Some(problem) = problem {
                tracing::warn!(problem, "a machine could not warm up; jobs start slower");
            }
            Ok(())
        }
        Ok(Ok(_)) => Err(failed("warm a machine up")("it answered something else")),
        Ok(Err(error)) => Err(failed::<FrameError>("warm a machine up")(error)),
        Err(_) => Err(failed("warm a machine up")(format!("no answer for {} s", PATIENCE.as_secs()))),
    }
}

/// Writes down all but the memory, which is in its file already, and ends it.
async fn freeze(mut running: Running) -> Result<(), MachineError> {
    let control = &running.control;
    let work = async {
        control.ask("migrate-set-capabilities", capabilities()).await?;
        control.ask("migrate", json!({ "uri": format!("fd:{STATE}") })).await?;
        loop {
            let progress = control.ask("query-migrate", json!({})).await?;
            match progress.get("status").and_then(serde_json::Value::as_str) {
                Some("completed") => break,
                Some("failed" | "cancelled") => return Err(progress.to_string()),
                // QEMU tells of its progress only when it is asked.
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        control.tell("quit", json!({}));
        running.process.ended().await.map_err(|error| error.to_string())
    };
    match timeout(FREEZING, work).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(words)) => Err(failed("freeze a machine")(words)),
        Err(_) => Err(failed("freeze a machine")(format!("it takes longer than {} s", FREEZING.as_secs()))),
    }
}
