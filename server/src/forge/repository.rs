//! Bare repositories: made, thrown away, read.

use std::{path::PathBuf, process::Stdio};

use bytes::Bytes;
use devenv_cloud_api::ids::ProjectId;
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use super::git::{self, Group};
use crate::app::AppParts;

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The program is not there.
    #[error("cannot run git: {0}; install it (`apt install git`) or put it into PATH")]
    NoGit(#[source] std::io::Error),
    /// The disk said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Git said no.
    #[error("git {command} failed: {message}")]
    Git {
        /// The command.
        command: &'static str,
        /// Git's own words.
        message: String,
    },
    /// The commit was there once, and is no more.
    #[error("the commit {0} is not in the repository any more; push it again and start a new run")]
    Gone(String),
    /// See [`crate::db::DbError`].
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
}

pub(super) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> ForgeError {
    move |source| ForgeError::Io { what, source }
}

/// A project's repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Where it is.
    pub path: PathBuf,
}

impl Repository {
    /// The repository of this project, whether it exists or not.
    #[must_use]
    pub fn of(app: &AppParts, project: ProjectId) -> Self {
        Self { path: app.repositories().join(format!("{project}.git")) }
    }

    /// Whether it is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.join("HEAD").exists()
    }
}

/// Creates the empty repository of a project. Creating what is there already
/// does nothing, so a creation that was cut off can be repeated.
///
/// # Errors
/// When git or the disk says no.
pub async fn create_repository(
    app: &AppParts,
    project: ProjectId,
    default_branch: &str,
) -> Result<(), ForgeError> {
    let repository = Repository::of(app, project);
    tokio::fs::create_dir_all(&repository.path).await.map_err(io("cannot create the repository"))?;
    let mut command = git::command(&repository.path, &[]);
    command.args(["init", "--quiet", "--bare", "--template=", "--initial-branch", default_branch]);
    run("init", command).await.map(|_| ())
}

/// Throws a project's repository away. It is out of everybody's sight at once;
/// one that is not there is no error.
///
/// # Errors
/// When the disk says no.
pub async fn delete_repository(app: &AppParts, project: ProjectId) -> Result<(), ForgeError> {
    let path = Repository::of(app, project).path;
    let doomed = path.with_extension("deleted");
    match tokio::fs::rename(&path, &doomed).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !doomed.exists() => return Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("cannot delete the repository")(error));
        }
        _ => {}
    }
    tokio::fs::remove_dir_all(&doomed).await.map_err(io("cannot delete the repository"))
}

/// Says which branch a clone checks out.
///
/// # Errors
/// When git says no.
pub async fn set_default_branch(app: &AppParts, project: ProjectId, branch: &str) -> Result<(), ForgeError> {
    let mut command = git::command(&Repository::of(app, project).path, &[]);
    command.args(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
    run("symbolic-ref", command).await.map(|_| ())
}

/// The commit that `refs/heads/X`, `refs/tags/X` or X itself names, with the
/// full name of the ref.
///
/// # Errors
/// When git says no.
pub async fn resolve(repository: &Repository, name: &str) -> Result<Option<(String, String)>, ForgeError> {
    let candidates = [format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()];
    let mut command = git::command(&repository.path, &[]);
    command.args(["for-each-ref", "--format=%(refname) %(objectname) %(*objectname)"]);
    command.args(candidates.iter().filter(|c| c.starts_with("refs/")));
    let output = run("for-each-ref", command).await?;
    let found = String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, object) = (words.next()?, words.next()?);
            let peeled = words.next().filter(|word| !word.is_empty()).unwrap_or(object);
            Some((name.to_owned(), peeled.to_owned()))
        })
        .collect::<Vec<_>>();
    // A pattern also matches what lies below it: only whole names count.
    Ok(candidates.iter().find_map(|candidate| found.iter().find(|(name, _)| name == candidate)).cloned())
}

/// A packfile with exactly one commit, its trees and its blobs: what a shallow
/// clone of depth 1 holds. Ends with an error when git fails half-way.
///
/// # Errors
/// [`ForgeError::Gone`] when the commit is not there.
pub async fn pack(
    repository: &Repository,
    commit: &str,
) -> Result<impl Stream<Item = Result<Bytes, ForgeError>> + Send + use<>, ForgeError> {
    let mut exists = git::command(&repository.path, &[]);
    exists.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    if run("cat-file", exists).await.is_err() {
        return Err(ForgeError::Gone(commit.to_owned()));
    }
    let mut command = git::command(&repository.path, &[("pack.threads", "1")]);
    command.args(["pack-objects", "--quiet", "--revs", "--shallow", "--stdout", "--delta-base-offset"]);
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(ForgeError::NoGit)?;
    let mut group = Group::of(&child);
    let wanted = format!("--shallow {commit}\n{commit}\n");
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(wanted.as_bytes()).await.map_err(io("cannot talk to git pack-objects"))?;
    }
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(ForgeError::Git { command: "pack-objects", message: "it has no output".to_owned() });
    };
    let body = ReaderStream::with_capacity(stdout, 64 << 10)
        .map(|bytes| bytes.map_err(io("cannot read from git pack-objects")));
    let end = futures::stream::once(async move {
        let mut message = String::new();
        let _ = stderr.take(4096).read_to_string(&mut message).await;
        let status = child.wait().await.map_err(io("cannot wait for git pack-objects"))?;
        group.ended();
        if status.success() {
            Ok(Bytes::new())
        } else {
            Err(ForgeError::Git { command: "pack-objects", message: message.trim().to_owned() })
        }
    });
    Ok(body.chain(end).filter(|bytes| {
        let keep = !matches!(bytes, Ok(bytes) if bytes.is_empty());
        std::future::ready(keep)
    }))
}

/// Runs a command to its end, and gives what it wrote.
pub(super) async fn run(
    name: &'static str,
    mut command: tokio::process::Command,
) -> Result<Vec<u8>, ForgeError> {
    let output = command.output().await.map_err(ForgeError::NoGit)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ForgeError::Git { command: name, message })
    }
}

/// What these refs point at, by name; those that are not there are left out.
pub(super) async fn objects_of(
    repository: &Repository,
    names: impl Iterator<Item = &str>,
) -> Result<std::collections::HashMap<String, String>, ForgeError> {
    let mut command = git::command(&repository.path, &[]);
    command.args(["for-each-ref", "--format=%(refname) %(objectname)"]).args(names);
    let output = run("for-each-ref", command).await?;
    Ok(String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, object)| (name.to_owned(), object.to_owned()))
        .collect())
}
