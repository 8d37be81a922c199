//! The integration suite: the whole application, in-process, with a clock that
//! stands still until it is told to move and a generator that gives the same
//! every time. Every test runs on both database engines; see
//! [`support::both_engines`].
//!
//! It is one program on purpose, so that linking is paid for once. Tests of a
//! domain are a file of that domain's name.

#![cfg(test)]
#![expect(unreachable_pub, reason = "nothing is reachable from outside a test program")]

#[macro_use]
#[expect(dead_code, reason = "what tests of coming domains stand on")]
mod support;

mod accounts;
mod admission;
mod audit;
mod codes;
mod db;
mod git;
mod headers;
mod health;
mod idempotency;
mod invitations;
mod issuer;
mod latency;
mod lists;
mod live;
mod log_search;
mod login;
mod mail;
mod openapi;
mod orgs;
mod passkeys;
mod people;
mod process;
mod projects;
mod providers;
mod providers_github;
mod providers_logout;
mod providers_tokens;
mod providers_web;
mod reset;
mod runners;
mod runners_remote;
mod runs;
mod search;
mod sessions;
mod sign_in_limits;
mod step_up;
mod strangers;
mod telemetry;
mod tokens;
mod way;
