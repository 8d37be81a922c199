//! The source of a local run: a commit, or the working tree as it is.
//!
//! The working tree becomes the commit that `git add --all` and `git commit`
//! would make of it, without touching anything of the user's: the index is a
//! copy, and new objects go into a directory of our own that lies over the
//! repository's and goes away with the run. No ref, no reflog entry, no object
//! is left behind.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use bytes::Bytes;
use devenv_cloud_api::Timestamp;
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};
use tokio_util::io::ReaderStream;

/// What git is told on every call: nothing of the user's hooks and helpers runs,
/// and nothing is written beside what we name.
const CONFIG: [&str; 10] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    // A split index would write its other half beside the user's.
    "-c",
    "core.splitIndex=false",
    "-c",
    "advice.addEmbeddedRepo=false",
    "-c",
    "gc.auto=0",
];

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The directory is in no repository.
    #[error("{0} is in no git repository: run `git init` there, or name another directory with -C DIR")]
    NoRepository(PathBuf),
    /// A repository without a working tree.
    #[error("{0} has no working tree: name a commit with --rev REV")]
    Bare(PathBuf),
    /// The revision is not there.
    #[error("there is no commit `{0}` here: fetch it first, for example with `git fetch origin {0}`")]
    NoCommit(String),
    /// The commit has nothing to run.
    #[error(
        "there is no devenv.nix at the top of {place}, so there is nothing to run. Add one, for example:\n\n\
         {{ pkgs, ... }}: {{\n  tasks.\"app:build\".exec = \"make\";\n  \
         tasks.\"app:test\" = {{ exec = \"make check\"; after = [ \"app:build\" ]; }};\n}}"
    )]
    NoDevenvNix {
        /// The commit or the directory.
        place: String,
    },
    /// There is no git.
    #[error("cannot run git: {0}. Install it: `apt-get install git`")]
    NoGit(#[source] io::Error),
    /// Git says no, in its own words.
    #[error("git {what}: {words}")]
    Git {
        /// The subcommand.
        what: String,
        /// What it said.
        words: String,
    },
    /// The disk says no.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What of the repository is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The commit that is checked out, to which nothing was changed.
    Head,
    /// The working tree, which differs from the commit that is checked out in
    /// this many files; none are counted where there is no commit yet.
    WorkingTree {
        /// How many.
        changed: Option<usize>,
    },
    /// The commit that was asked for.
    Revision(String),
}

/// A commit, ready to be sent to a machine.
#[derive(Debug)]
pub struct Source {
    /// Its full object name.
    pub commit: String,
    /// The full ref that it stands for; `HEAD` where that is none.
    pub git_ref: String,
    /// What it is.
    pub of: Of,
    /// What is called `origin` in the machine: that of the repository, without
    /// any credential, or its directory.
    pub origin: String,
    /// The repository's top directory.
    pub top: PathBuf,
    /// Who runs it, as git calls them.
    pub actor: String,
    /// The branch that `origin` checks out.
    pub default_branch: String,
    git: Git,
}

impl Source {
    /// Finds out what to execute: `revision`, or the working tree, whose new
    /// objects go below `scratch`.
    ///
    /// # Errors
    /// See [`SourceError`]; each says what to do.
    pub async fn find(
        directory: &Path,
        revision: Option<&str>,
        scratch: &Path,
        now: Timestamp,
    ) -> Result<Self, SourceError> {
        let mut git = Git::at(directory);
        let bare = match git.ask(&["rev-parse", "--is-inside-work-tree"]).await {
            Ok(answer) => answer != "true",
            Err(SourceError::Git { words, .. }) if words.contains("not a git repository") => {
                return Err(SourceError::NoRepository(git.directory));
            }
            Err(error) => return Err(error),
        };
        let top = if bare {
            git.ask(&["rev-parse", "--absolute-git-dir"]).await?
        } else {
            git.ask(&["rev-parse", "--show-toplevel"]).await?
        };
        let top = PathBuf::from(top);
        git.directory.clone_from(&top);
        let (commit, git_ref, of) = match revision {
            Some(revision) => {
                let commit = git.commit(revision).await?;
                let git_ref = git.ref_of(revision, &commit).await?;
                (commit, git_ref, Of::Revision(revision.to_owned()))
            }
            None if bare => return Err(SourceError::Bare(top)),
            None => git.working_tree(scratch, now).await?,
        };
        if git.ask(&["cat-file", "-e", &format!("{commit}:devenv.nix")]).await.is_err() {
            let place = match revision {
                Some(revision) => revision.to_owned(),
                None => top.display().to_string(),
            };
            return Err(SourceError::NoDevenvNix { place });
        }
        let origin = git.ask(&["remote", "get-url", "origin"]).await.ok();
        let origin = origin.map_or_else(|| top.display().to_string(), |url| without_credential(&url));
        let default_branch =
            git.ask(&["symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"]).await;
        let default_branch = default_branch
            .ok()
            .and_then(|name| name.strip_prefix("origin/").map(ToOwned::to_owned))
            .unwrap_or_else(|| "main".to_owned());
        let actor = git.ask(&["config", "user.name"]).await.unwrap_or_default();
        Ok(Self { commit, git_ref, of, origin, top, actor, default_branch, git })
    }

    /// The first digits of the commit.
    #[must_use]
    pub fn short_commit(&self) -> &str {
        self.commit.get(..8).unwrap_or(&self.commit)
    }

    /// A packfile with exactly the commit, its trees and its blobs.
    ///
    /// # Errors
    /// When git cannot be started; what it says later ends the stream.
    pub async fn pack(
        &self,
    ) -> Result<impl Stream<Item = Result<Bytes, SourceError>> + Send + use<>, SourceError> {
        let mut command = self.git.command(&[
            "pack-objects",
            "--quiet",
            "--revs",
            "--shallow",
            "--stdout",
            "--delta-base-offset",
        ]);
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(SourceError::NoGit)?;
        let failed =
            |error: io::Error| SourceError::Git { what: "pack-objects".to_owned(), words: error.to_string() };
        if let Some(mut stdin) = child.stdin.take() {
            let wanted = format!("--shallow {0}\n{0}\n", self.commit);
            stdin.write_all(wanted.as_bytes()).await.map_err(failed)?;
        }
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(io::Error::other("it has no output")));
        };
        let body = ReaderStream::with_capacity(stdout, 64 << 10).map(move |bytes| bytes.map_err(failed));
        let end = futures::stream::once(async move {
            let mut words = String::new();
            let _ = stderr.take(4096).read_to_string(&mut words).await;
            let status = child.wait().await.map_err(failed)?;
            if status.success() {
                Ok(Bytes::new())
            } else {
                Err(failed(io::Error::other(words.trim().to_owned())))
            }
        });
        Ok(body.chain(end).filter(|bytes| {
            let keep = !matches!(bytes, Ok(bytes) if bytes.is_empty());
            std::future::ready(keep)
        }))
    }
}

/// `git` in one directory, possibly with objects and an index of our own.
#[derive(Debug)]
struct Git {
    directory: PathBuf,
    own: Option<tempfile::TempDir>,
}

impl Git {
    fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), own: None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.directory)
            .args(CONFIG)
            .args(arguments)
            // Its words in one language; reading changes nothing.
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl+C is for us; we end it.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(own) = &self.own {
            command
                .env("GIT_OBJECT_DIRECTORY", own.path().join("objects"))
                .env("GIT_INDEX_FILE", own.path().join("index"));
        }
        command
    }

    async fn run(&self, what: &str, mut command: Command) -> Result<String, SourceError> {
        let output = command.output().await.map_err(|error| match error.kind() {
            // Also when the directory is not there.
            io::ErrorKind::NotFound => SourceError::NoGit(error),
            _ => SourceError::Git { what: what.to_owned(), words: error.to_string() },
        })?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(SourceError::Git { what: what.to_owned(), words });
        }
        let mut answer = String::from_utf8_lossy(&output.stdout).into_owned();
        answer.truncate(answer.trim_end_matches('\n').len());
        Ok(answer)
    }

    /// What git answers, without the last line break.
    async fn ask(&self, arguments: &[&str]) -> Result<String, SourceError> {
        self.run(arguments.first().copied().unwrap_or_default(), self.command(arguments)).await
    }

    /// The commit that a revision names.
    async fn commit(&self, revision: &str) -> Result<String, SourceError> {
        let none = || SourceError::NoCommit(revision.to_owned());
        if revision.starts_with('-') {
            return Err(none());
        }
        let commit = self.ask(&["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]).await;
        match commit {
            Ok(commit) => Ok(commit),
            Err(SourceError::Git { .. }) => Err(none()),
            Err(error) => Err(error),
        }
    }

    /// The branch or tag that a revision is: by its name, else one that stands
    /// at its commit.
    async fn ref_of(&self, revision: &str, commit: &str) -> Result<String, SourceError> {
        let named = self.ask(&["rev-parse", "--symbolic-full-name", revision]).await.unwrap_or_default();
        if let Some(name) = as_pushed(&named) {
            return Ok(name);
        }
        let there = self
            .ask(&["for-each-ref", "--points-at", commit, "--format=%(refname)"])
            .await
            .unwrap_or_default();
        Ok(there.lines().find_map(as_pushed).unwrap_or_else(|| "HEAD".to_owned()))
    }

    /// The commit that the working tree would be.
    async fn working_tree(
        &mut self,
        scratch: &Path,
        now: Timestamp,
    ) -> Result<(String, String, Of), SourceError> {
        let head = self.ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await.ok();
        let branch = self.ask(&["symbolic-ref", "--quiet", "HEAD"]).await;
        let git_ref = branch.unwrap_or_else(|_| "HEAD".to_owned());
        let path = |kind: &'static str| ["rev-parse", "--path-format=absolute", "--git-path", kind];
        let (objects, index) = (self.ask(&path("objects")).await?, self.ask(&path("index")).await?);
        self.own = Some(overlay(scratch, Path::new(&objects), Path::new(&index))?);

        self.ask(&["add", "--all"]).await?;
        let tree = self.ask(&["write-tree"]).await?;
        let mut changed = None;
        if let Some(head) = &head {
            let listed = self
                .ask(&["diff-tree", "-r", "-z", "--name-only", "--no-renames", head.as_str(), tree.as_str()])
                .await?;
            let count = listed.bytes().filter(|&byte| byte == 0).count();
            if count == 0 {
                return Ok((head.clone(), git_ref, Of::Head));
            }
            changed = Some(count);
        }
        let title = "The working tree, with changes that are not committed";
        let mut arguments = vec!["commit-tree", "-m", title];
        if let Some(head) = &head {
            arguments.extend(["-p", head.as_str()]);
        }
        arguments.push(&tree);
        let mut command = self.command(&arguments);
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "devenv-cloud run")
                .env(format!("GIT_{who}_EMAIL"), "run@localhost")
                .env(format!("GIT_{who}_DATE"), format!("{} +0000", now.timestamp()));
        }
        let commit = self.run("commit-tree", command).await?;
        Ok((commit, git_ref, Of::WorkingTree { changed }))
    }
}

/// Beginnings of the names of [`overlay`]s; the process that uses one comes next.
const PREFIX: &str = "run-";

/// A directory for new objects that lies over the repository's, and a copy of
/// its index.
fn overlay(scratch: &Path, objects: &Path, index: &Path) -> Result<tempfile::TempDir, SourceError> {
    let cannot = |what, path: &Path| {
        let path = path.to_owned();
        move |source| SourceError::Io { what, path, source }
    };
    fs::create_dir_all(scratch).map_err(cannot("cannot make", scratch))?;
    sweep(scratch);
    let own = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(scratch)
        .map_err(cannot("cannot make a directory in", scratch))?;
    let info = own.path().join("objects/info");
    fs::create_dir_all(&info).map_err(cannot("cannot make", &info))?;
    let alternates = info.join("alternates");
    fs::write(&alternates, format!("{}\n", quoted(objects))).map_err(cannot("cannot write", &alternates))?;
    let copy = own.path().join("index");
    match File::open(index) {
        Ok(from) => {
            fs::copy(index, &copy).map_err(cannot("cannot copy", index))?;
            // Git compares the index' time with those of files, to know which of
            // them may have changed in the same moment. A younger copy would hide
            // such a change.
            from.metadata()
                .and_then(|metadata| metadata.modified())
                .and_then(|time| File::options().append(true).open(&copy)?.set_modified(time))
                .map_err(cannot("cannot copy", index))?;
        }
        // Nothing was ever added.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot("cannot read", index)(error)),
    }
    Ok(own)
}

/// Removes what runs left that were killed.
fn sweep(scratch: &Path) {
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // What cannot be removed now is looked at again the next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A path as a line of `objects/info/alternates`, where `#` begins a comment and
/// `"` a C string.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if !path.starts_with(['#', '"']) && !path.contains('\n') {
        return path;
    }
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// The ref that a push would have had: a branch of a remote is a branch there.
fn as_pushed(name: &str) -> Option<String> {
    if name.starts_with("refs/heads/") || name.starts_with("refs/tags/") {
        return Some(name.to_owned());
    }
    let (_remote, branch) = name.strip_prefix("refs/remotes/")?.split_once('/')?;
    (branch != "HEAD").then(|| format!("refs/heads/{branch}"))
}

/// A remote's address without a user's name and password: a machine is no place
/// for them.
fn without_credential(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let from = host.rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[from..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
