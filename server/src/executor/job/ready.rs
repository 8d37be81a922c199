//! From a machine that was made to one that is ready for its job.

use std::time::Duration;

use devenv_cloud_api::trace;
use tokio::time::{Instant, timeout};

use super::{Attempt, BOOT, JobError, Seen, Talk, check::line, talk};
use crate::{executor::machine::Machine, telemetry::MACHINE_SPAN};

/// How long the first machine may take. Emulated ones on a busy host now and then
/// hang while they boot, which says nothing about the next one.
const FIRST: Duration = Duration::from_secs(30);

impl Attempt<'_> {
    /// Waits until the machine is ready, or another one in its place. Gives the time
    /// of its first word.
    pub(super) async fn ready(&mut self, machine: &mut Machine) -> Result<Instant, Talk> {
        if let Some(answered) = self.answered(machine, FIRST).await? {
            return Ok(answered);
        }
        let seconds = FIRST.as_secs();
        tracing::warn!(attempt = %self.assignment.lease.attempt, "no word from a machine for {seconds} s; another takes its place");
        let words = format!("the machine was not ready after {seconds} s; another one takes its place");
        let told = line(MACHINE_SPAN, trace::Stream::System, self.timeline.now(), words);
        self.reporter.push(vec![told]);
        machine.life.kill();
        let spec = (&self.assignment.limits).into();
        *machine = tokio::select! {
            seen = self.watch.see(false) => return Err(seen.into()),
            another = self.context.machines.machine(&spec) => another.map_err(|error| Talk::Failed(error.into()))?,
        };
        self.answered(machine, BOOT - FIRST).await?.ok_or(Talk::Failed(JobError::Boot))
    }

    /// When the machine answered and was prepared; nothing if that took too long.
    async fn answered(&mut self, machine: &mut Machine, within: Duration) -> Result<Option<Instant>, Talk> {
        let (mut read, mut write) = tokio::io::split(&mut machine.channel);
        let prepared = talk::prepare(&self.context.clock, &self.context.random, &mut read, &mut write);
        tokio::select! {
            seen = self.watch.see(false) => Err(seen.into()),
            ready = timeout(within, prepared) => ready.ok().transpose().map_err(Talk::Failed),
        }
    }
}

impl From<Seen> for Talk {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Stop(stop) => Self::Stopped(stop),
            Seen::Leave => Self::Leave,
        }
    }
}
