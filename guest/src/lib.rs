//! What host and guest share, the [`protocol`] that they speak over the
//! machine's channel, and all that happens inside the machine: [`boot`] makes a
//! bare kernel into a system, [`session`] receives the one job and [`job`] does
//! it.
//!
//! Everything but [`boot`] runs on any Linux host, too: what differs inside the
//! machine (paths, the job's user, control groups) is a value, [`world::World`].
//! That is how the tests do whole jobs over a pair of sockets.

#![warn(missing_docs)]

pub mod ahead;
pub mod boot;
pub mod cancel;
pub mod cgroup;
pub mod checkout;
pub mod command;
pub mod evaluate;
pub mod job;
mod kernel;
pub mod lines;
pub mod network;
pub mod protocol;
pub mod recorder;
pub mod run;
pub mod session;
pub mod streams;
pub mod world;
