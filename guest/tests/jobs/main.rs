//! Whole jobs, done by the guest's own code on this host: a real `git`, a real
//! Nix and real bash, over a pair of sockets instead of a machine's port.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod ahead;
mod cancellation;
mod checkout;
mod devenv;
mod evaluation;
mod host;
mod network;
mod order;
mod output;
mod session;
mod tasks;
