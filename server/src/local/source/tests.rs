use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::Command as StdCommand,
};

use futures::TryStreamExt as _;

use super::*;

struct Repository {
    folder: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap(), scratch: tempfile::tempdir().unwrap() };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), &[], arguments)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            self.write(name, content);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "A change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    async fn find(&self, revision: Option<&str>) -> Result<Source, SourceError> {
        Source::find(self.path(), revision, self.scratch.path(), now()).await
    }

    /// Every file below `.git` with its content and time. Of objects only the
    /// content counts: git marks those that it would have written again as young.
    fn state(&self) -> BTreeMap<PathBuf, (Vec<u8>, i64)> {
        let mut state = BTreeMap::new();
        let mut todo = vec![self.path().join(".git")];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path.clone());
                    state.insert(path, (Vec::new(), 0));
                } else {
                    let is_object = path.strip_prefix(self.path()).unwrap().starts_with(".git/objects");
                    let time = if is_object { 0 } else { fs::metadata(&path).unwrap().mtime_nsec() };
                    state.insert(path.clone(), (fs::read(path).unwrap(), time));
                }
            }
        }
        state
    }
}

fn git(directory: &Path, environment: &[(&str, &Path)], arguments: &[&str]) -> String {
    let output = StdCommand::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .envs(environment.iter().copied())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.org")])
        .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.org")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The files that a machine would get.
async fn delivered(source: &Source) -> (tempfile::TempDir, Vec<String>) {
    let chunks: Vec<Bytes> = source.pack().await.unwrap().try_collect().await.unwrap();
    let target = tempfile::tempdir().unwrap();
    let pack = target.path().join("source.pack");
    fs::write(&pack, chunks.concat()).unwrap();
    let repository = target.path().join("repository");
    fs::create_dir(&repository).unwrap();
    git(&repository, &[], &["init", "--quiet"]);
    let script = "git index-pack --stdin < ../source.pack > /dev/null";
    assert!(StdCommand::new("sh").args(["-c", script]).current_dir(&repository).status().unwrap().success());
    fs::write(repository.join(".git/shallow"), format!("{}\n", source.commit)).unwrap();
    git(&repository, &[], &["checkout", "--quiet", "--detach", &source.commit]);
    let files = git(&repository, &[], &["ls-files"]);
    (target, files.lines().map(ToOwned::to_owned).collect())
}

#[tokio::test]
async fn a_clean_tree_is_its_commit() {
    let repository = Repository::new();
    let commit = repository.commit(&[("devenv.nix", "{ }")]);
    repository.git(&["remote", "add", "origin", "https://ada:s3cret@ci.example.org/acme/shop.git"]);
    let source = repository.find(None).await.unwrap();
    assert_eq!((source.commit.as_str(), source.git_ref.as_str()), (commit.as_str(), "refs/heads/main"));
    assert_eq!((&source.of, source.origin.as_str()), (&Of::Head, "https://ci.example.org/acme/shop.git"));
    assert_eq!(delivered(&source).await.1, ["devenv.nix"]);
}

#[tokio::test]
async fn what_git_would_add_is_in_and_nothing_of_the_users_changes() {
    let repository = Repository::new();
    let head = repository.commit(&[
        ("devenv.nix", "{ }"),
        (".gitignore", "*.log\n"),
        ("changed", "old"),
        ("removed", "x"),
        ("staged", "old"),
    ]);
    repository.write("changed", "new");
    repository.write("staged", "new");
    repository.git(&["add", "staged"]);
    repository.write("staged", "newer");
    fs::remove_file(repository.path().join("removed")).unwrap();
    repository.write("deep/untracked file", "u");
    repository.write("ignored.log", "l");
    repository.write("tool", "#!/bin/sh\n");
    fs::set_permissions(repository.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("changed", repository.path().join("link")).unwrap();
    let before = repository.state();

    let source = repository.find(None).await.unwrap();
    assert_eq!(source.of, Of::WorkingTree { changed: Some(6) });
    assert_ne!(source.commit, head);
    let (target, files) = delivered(&source).await;
    assert_eq!(
        files,
        [".gitignore", "changed", "deep/untracked file", "devenv.nix", "link", "staged", "tool"]
    );
    let file = |name: &str| target.path().join("repository").join(name);
    assert_eq!(fs::read_to_string(file("changed")).unwrap(), "new");
    assert_eq!(fs::read_to_string(file("staged")).unwrap(), "newer", "what is on disk, not what is staged");
    assert_eq!(fs::metadata(file("tool")).unwrap().mode() & 0o111, 0o111);
    assert_eq!(fs::read_link(file("link")).unwrap(), Path::new("changed"));

    assert_eq!(repository.state(), before, "no index, ref, reflog or object is touched");
    let own = source.git.own.as_ref().unwrap().path().to_owned();
    assert!(own.starts_with(repository.scratch.path()));
    drop(source);
    assert!(!own.exists(), "nothing stays");
}

#[tokio::test]
async fn what_a_killed_run_left_is_removed_by_the_next() {
    let repository = Repository::new();
    repository.commit(&[("devenv.nix", "{ }")]);
    // No process has this number; our own has one.
    let killed = repository.scratch.path().join("run-4194305-abc");
    let running = repository.scratch.path().join(format!("run-{}-abc", std::process::id()));
    for directory in [&killed, &running] {
        fs::create_dir(directory).unwrap();
    }
    repository.find(None).await.unwrap();
    assert!(!killed.exists() && running.exists());
}

#[tokio::test]
async fn the_commit_of_a_working_tree_follows_head() {
    let repository = Repository::new();
    let head = repository.commit(&[("devenv.nix", "{ }")]);
    repository.write("new", "n");
    let source = repository.find(None).await.unwrap();
    let own = source.git.own.as_ref().unwrap().path().join("objects");
    let parent = git(
        repository.path(),
        &[("GIT_OBJECT_DIRECTORY", &own)],
        &["rev-parse", &format!("{}^", source.commit)],
    );
    assert_eq!(parent, head);
}

/// Git trusts the times of files only if they are older than the index. A copy
/// of the index that is younger than it would believe them all.
#[tokio::test]
async fn a_change_in_the_moment_of_the_commit_is_seen() {
    let repository = Repository::new();
    repository.commit(&[("devenv.nix", "{ }"), ("file", "aaaa")]);
    // The same size and the same time as what the index knows, and the index as old.
    let path = repository.path().join("file");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "bbbb").unwrap();
    for changed in [&path, &repository.path().join(".git/index")] {
        File::options().append(true).open(changed).unwrap().set_modified(time).unwrap();
    }
    repository.git(&["config", "core.trustctime", "false"]);
    let source = repository.find(None).await.unwrap();
    assert_eq!(source.of, Of::WorkingTree { changed: Some(1) });
}

#[tokio::test]
async fn a_repository_without_a_commit_has_a_working_tree() {
    let repository = Repository::new();
    repository.write("devenv.nix", "{ }");
    let source = repository.find(None).await.unwrap();
    assert_eq!(source.of, Of::WorkingTree { changed: None });
    assert_eq!(source.git_ref, "refs/heads/main");
    assert_eq!(delivered(&source).await.1, ["devenv.nix"]);
}

#[tokio::test]
async fn any_directory_of_the_repository_will_do() {
    let repository = Repository::new();
    repository.commit(&[("devenv.nix", "{ }"), ("deep/down/file", "f")]);
    repository.write("untracked", "u");
    let below = repository.path().join("deep/down");
    let source = Source::find(&below, None, repository.scratch.path(), now()).await.unwrap();
    assert_eq!(delivered(&source).await.1, ["deep/down/file", "devenv.nix", "untracked"]);
}

#[tokio::test]
async fn a_revision_is_taken_without_what_was_changed_since() {
    let repository = Repository::new();
    let first = repository.commit(&[("devenv.nix", "{ }")]);
    repository.git(&["branch", "release"]);
    repository.commit(&[("later", "l")]);
    repository.write("uncommitted", "u");
    for revision in ["release", first.as_str(), "HEAD~1"] {
        let source = repository.find(Some(revision)).await.unwrap();
        assert_eq!((&source.commit, source.git_ref.as_str()), (&first, "refs/heads/release"), "{revision}");
        assert_eq!(delivered(&source).await.1, ["devenv.nix"]);
    }
    let bare = tempfile::tempdir().unwrap();
    git(bare.path(), &[], &["clone", "--quiet", "--bare", repository.path().to_str().unwrap(), "b.git"]);
    let bare = bare.path().join("b.git");
    assert_eq!(
        Source::find(&bare, Some("release"), repository.scratch.path(), now()).await.unwrap().commit,
        first
    );
    assert!(matches!(
        Source::find(&bare, None, repository.scratch.path(), now()).await,
        Err(SourceError::Bare(_))
    ));
}

#[tokio::test]
async fn what_is_missing_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let words = Source::find(folder.path(), None, folder.path(), now()).await.unwrap_err().to_string();
    assert!(words.contains("git init") && words.contains("-C DIR"), "{words}");

    let repository = Repository::new();
    repository.commit(&[("readme", "r")]);
    let words = repository.find(None).await.unwrap_err().to_string();
    assert!(words.contains("no devenv.nix") && words.contains("exec ="), "{words}");
    for revision in ["nothing", "--all", "HEAD^{tree}"] {
        let words = repository.find(Some(revision)).await.unwrap_err().to_string();
        assert!(words.contains("git fetch origin"), "{words}");
    }
}

#[test]
fn names_are_those_of_a_push() {
    assert_eq!(as_pushed("refs/remotes/origin/feature/x").as_deref(), Some("refs/heads/feature/x"));
    assert_eq!(as_pushed("refs/tags/v1").as_deref(), Some("refs/tags/v1"));
    for none in ["", "HEAD", "refs/remotes/origin/HEAD", "refs/stash"] {
        assert_eq!(as_pushed(none), None);
    }
}

#[test]
fn no_credential_leaves_the_host() {
    for (url, clean) in [
        ("https://ada:s3@cret@example.org/a.git", "https://example.org/a.git"),
        ("https://example.org/a@b.git", "https://example.org/a@b.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/srv/a.git", "/srv/a.git"),
    ] {
        assert_eq!(without_credential(url), clean);
    }
}
