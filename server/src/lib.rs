//! The server of devenv-cloud. The binary's `main` reads the command line and
//! calls in here; tests build the same application in-process.

// The types of pages nest as deep as their elements do.
#![recursion_limit = "512"]

pub mod access;
pub mod app;
pub mod audit;
pub mod clock;
pub mod config;
pub mod db;
pub mod disk;
pub mod doctor;
pub mod executor;
pub mod forge;
pub mod identity;
pub mod issuer;
pub mod local;
pub mod login;
pub mod mail;
pub mod metrics;
pub mod once;
pub mod orgs;
pub mod outgoing;
pub mod people;
pub mod projects;
pub mod refusal;
pub mod runner;
pub mod runners;
pub mod runs;
pub mod seal;
pub mod serve;
pub mod sso;
mod sync;
pub mod telemetry;
mod terminal;
pub mod web;
