//! The contract of devenv-cloud: what the server, the pages, the command line
//! and third parties say to each other.
//!
//! There is no I/O here but in [`client`], and nothing that only one side
//! needs: a type is in this crate because at least two sides must agree on it.

#![warn(missing_docs)]

pub mod accounts;
pub mod audit;
pub mod client;
pub mod factors;
pub mod ids;
pub mod issuer;
pub mod json;
pub mod mail;
pub mod names;
pub mod orgs;
pub mod page;
pub mod people;
pub mod permissions;
pub mod problem;
pub mod runners;
pub mod runs;
pub mod search;
pub mod sign_in;
pub mod trace;

/// A moment in time, in UTC. On the wire: RFC 3339 with a `Z`.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Where every route of the API begins.
pub const PREFIX: &str = "/api/v1";
