//! Where commits come from: our own git remote.
//!
//! Objects and refs are git's own business: bare repositories on the local
//! disk, served by `git http-backend`. What a push means is ours: the table
//! `refs` holds every ref as we last saw it, and the difference between that
//! table and the repository is what still has to be turned into runs. The same
//! comparison is made after every push and at every start, so that a server
//! killed between git's storing of a push and our making of the run forgets
//! nothing.

pub mod backend;
mod commits;
mod git;
mod pushed;
pub mod receive;
mod repository;
mod settings;
mod store;

pub use commits::{CommitInfo, read_commits};
pub use pushed::{NO_DEVENV_NIX, Pusher, reconcile_refs_once, refs_changed};
pub use repository::{
    ForgeError, Repository, create_repository, delete_repository, pack, resolve, set_default_branch,
};
pub use settings::glob;

/// What the git remote remembers while the server runs.
#[derive(Debug, Default)]
pub struct Forge {
    /// One at a time may compare a project's refs with the table.
    pub(crate) locks: crate::sync::Keyed<devenv_cloud_api::ids::ProjectId>,
    /// Somebody wants refs compared again, soon.
    pub(crate) again: tokio::sync::Notify,
}
