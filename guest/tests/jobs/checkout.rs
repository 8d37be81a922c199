//! The source: a real, shallow repository.

use devenv_cloud_guest::protocol::{Level, Outcome};

use crate::host::{Commit, Ground, commit, git, run};

#[test]
fn the_source_is_a_clean_shallow_repository_on_its_branch() {
    let ground = Ground::new();
    let commit = commit(&[
        (
            "devenv.nix",
            r#"{ tasks."a:git".exec = "git log --oneline | wc -l; git rev-parse --abbrev-ref HEAD"; }"#,
        ),
        ("bin/run", "#!/bin/sh\n"),
        (".gitignore", ".devenv\n"),
    ]);
    let trace = ground.begin(&commit, |_| {}).finish().succeeded();
    assert_eq!(trace.lines("a:git"), ["1", "main"]);
    assert_eq!(trace.attribute("checkout", "vcs.ref.head.revision").unwrap(), commit.name);

    let repository = ground.path("repo");
    let ask = |arguments: &[&str]| String::from_utf8(git(&repository, arguments, b"")).unwrap();
    assert_eq!(ask(&["status", "--porcelain"]), "");
    assert_eq!(ask(&["rev-parse", "HEAD"]).trim(), commit.name);
    assert_eq!(ask(&["rev-parse", "--is-shallow-repository"]).trim(), "true");
    assert_eq!(ask(&["remote", "get-url", "origin"]).trim(), "https://ci.example.org/acme/shop.git");
    ask(&["fsck", "--strict"]);
}

#[test]
fn a_tag_leaves_the_head_detached() {
    let ground = Ground::new();
    let commit = commit(&[("devenv.nix", "{ }")]);
    ground.begin(&commit, |job| job.git_ref = "refs/tags/v1/final".to_owned()).finish().succeeded();
    let repository = ground.path("repo");
    let ask = |arguments: &[&str]| String::from_utf8(git(&repository, arguments, b"")).unwrap();
    assert_eq!(ask(&["rev-parse", "--abbrev-ref", "HEAD"]).trim(), "HEAD");
    assert_eq!(ask(&["describe", "--tags"]).trim(), "v1/final");
}

#[test]
fn a_broken_pack_is_the_systems_fault() {
    let whole = commit(&[("devenv.nix", "{ }")]);
    let broken = Commit { pack: whole.pack[..whole.pack.len() - 10].to_vec(), ..whole };
    let trace = Ground::new().begin(&broken, |_| {}).finish();
    assert_eq!(trace.finished.outcome, Outcome::Error);
    assert!(trace.finished.reason.starts_with("cannot unpack the source: git: "), "{:?}", trace.finished);
    assert_eq!(trace.outcome("checkout"), Outcome::Error);
}

#[test]
fn submodules_and_large_files_are_named() {
    let trace = run(&[
        ("devenv.nix", "{ }"),
        (".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = https://example.org/x\n"),
        (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n"),
    ])
    .succeeded();
    let files: Vec<_> =
        trace.messages().into_iter().map(|(level, _, file, _)| (level, file.unwrap())).collect();
    assert_eq!(files, [(Level::Warning, ".gitmodules"), (Level::Warning, ".gitattributes")]);
}
