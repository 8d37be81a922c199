//! The way out of a machine: streams that the guest opens to hosts, and what
//! becomes of them here.
//!
//! A machine has no network card. Its guest says a host and a port, and then
//! bytes; this process decides whether the job may go there ([`policy`]),
//! resolves the name, and connects to exactly an address that it has checked. A
//! name is resolved once for each stream and never again on its way, so that an
//! answer that changes gets nobody anywhere; a redirect is a new stream, and
//! checked like any other. What goes through is counted ([`accounts`]).
//!
//! Nothing here is believed, and all of it is bounded: [`streams`] says how many
//! bytes of how many streams wait, and this how often and how long something is
//! tried.

mod accounts;
mod addresses;
mod destination;
mod job;
mod outside;
mod policy;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub(crate) use addresses::special;
pub use destination::{Destination, Host, Pattern};
pub(super) use job::JobNetwork;
pub(crate) use outside::{Connection, Outside, RealOutside};
pub use policy::Network;

/// Names that are resolved at once, of all jobs. Each takes a thread while it
/// lasts, and others of this process need threads, too.
const LOOKUPS: usize = 32;

/// What a job is told that tries although its project's policy is off.
const OFF: &str =
    "the network policy of this project is off; an admin can change it in the project's settings, Network";
/// The same where there is no project.
const OFF_LOCALLY: &str = "the network is off; run with --network internet";

/// The way out for all jobs of this process. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    outside: Arc<dyn Outside>,
    /// What an administrator allows although it is not public.
    internal: Arc<[Destination]>,
    lookups: Arc<Semaphore>,
    off: &'static str,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("internal", &self.internal).finish_non_exhaustive()
    }
}

impl Egress {
    /// The network that this process is in.
    #[must_use]
    pub fn new(internal: &[Destination]) -> Self {
        Self::to(Arc::new(RealOutside), internal)
    }

    pub(crate) fn to(outside: Arc<dyn Outside>, internal: &[Destination]) -> Self {
        let lookups = Arc::new(Semaphore::new(LOOKUPS));
        Self { outside, internal: internal.into(), lookups, off: OFF }
    }

    /// For somebody who runs a job at a terminal, and has no project's settings.
    #[must_use]
    pub fn local(self) -> Self {
        Self { off: OFF_LOCALLY, ..self }
    }
}
