//! Where commits come from: our own git remote.
//!
//! Objects and refs are git's own business: bare repositories on the local
//! disk, served by `git http-backend`. What a push means is ours: the table
//! `refs` holds every ref as we last saw it, and the difference between that
//! table and the repository is what still has to be turned into runs. The same
//! comparison is made after every push and at every start, so that a server
//! killed between git's storing of a push and our making of the run forgets
//! nothing.

mod git;
mod repository;

pub use repository::{
    ForgeError, Repository, create_repository, delete_repository, pack, resolve, set_default_branch,
};
