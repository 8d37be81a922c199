//! The git remote, with the real git against a real listener.

use std::time::Duration;

use devenv_cloud::{
    executor::ControlPlane as _,
    forge::{self, Pusher},
    runs,
};
use devenv_cloud_api::{
    page::Page,
    permissions::{Role, Scope},
    runs::{Run, RunSummary, State, Trigger},
};
use futures::TryStreamExt as _;
use serde_json::json;

use crate::support::{
    TestApp,
    git::{Clone, git, set_up},
    people::Browser,
    work::{claim, noise, plane},
};

const NIX: &str = "{ pkgs, ... }: { enterTest = \"true\"; }\n";

async fn listed(browser: &Browser) -> Vec<RunSummary> {
    let path = "/api/v1/orgs/acme/projects/web/runs?limit=100";
    browser.get(path).await.assert_status(200).json::<Page<RunSummary>>().items
}

async fn change_settings(browser: &Browser, change: serde_json::Value) {
    let path = "/api/v1/orgs/acme/projects/web";
    let project: serde_json::Value = browser.get(path).await.assert_status(200).json();
    let mut settings = project["settings"].clone();
    for (key, value) in change.as_object().expect("an object") {
        settings[key] = value.clone();
    }
    browser.patch(path, &json!({ "settings": settings })).await.assert_status(200);
}

both_engines! {
    async fn a_push_makes_a_run_before_it_returns(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        let sha = clone.commit_with("devenv.nix", NIX, "Make it work\n\nat last").await;
        let said = clone.push(&["main"]).await.ok();
        assert_eq!(said.remote(), ["run 1: https://ci.example.com/acme/web/runs/1"]);
        let run: Run = admin.get("/api/v1/orgs/acme/projects/web/runs/1").await.assert_status(200).json();
        assert_eq!(run.summary.commit.sha, sha);
        assert_eq!(run.summary.commit.git_ref, "refs/heads/main");
        assert_eq!(run.summary.commit.title, "Make it work");
        assert_eq!(run.summary.commit.author, "Ada");
        assert_eq!((run.summary.state, run.summary.trigger), (State::Queued, Trigger::Push));
        assert_eq!(run.summary.triggered_by, "Admin");
        assert!(run.can_operate);
        assert_eq!(run.jobs.len(), 1);
    }

    async fn the_source_of_a_job_is_exactly_its_commit(app: TestApp) {
        let (_, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let first = clone.commit("a", "first").await;
        clone.push(&["main"]).await.ok();
        clone.commit("a", "second").await;
        let assignment = claim(&app).await.expect("work");
        assert_eq!(assignment.commit, first);
        let pack = plane(&app).source(&assignment.lease).await.expect("source");
        let pack: Vec<_> = pack.try_collect().await.expect("pack");

        // As the guest does it.
        let there = tempfile::tempdir().expect("a directory");
        let file = there.path().join("pack");
        std::fs::write(&file, pack.concat()).expect("write");
        git(there.path(), &["init", "-q", "repo"]).await.ok();
        let repo = there.path().join("repo");
        let index = ["index-pack", "-o", ".git/objects/pack/pack-x.idx", "../pack"];
        std::fs::create_dir_all(repo.join(".git/objects/pack")).expect("create");
        git(&repo, &index).await.ok();
        std::fs::copy(&file, repo.join(".git/objects/pack/pack-x.pack")).expect("copy");
        std::fs::write(repo.join(".git/shallow"), format!("{first}\n")).expect("write");
        git(&repo, &["checkout", "-q", &first]).await.ok();
        git(&repo, &["fsck"]).await.ok();
        assert_eq!(std::fs::read_to_string(repo.join("a")).expect("a"), "first");
        assert_eq!(git(&repo, &["rev-list", "--count", "HEAD"]).await.ok().out.trim(), "1");
    }

    async fn a_commit_that_is_gone_is_said_to_be(app: TestApp) {
        let (_, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.push(&["main"]).await.ok();
        let assignment = claim(&app).await.expect("work");
        devenv_cloud::db::query("UPDATE runs SET sha = $1").bind("0123456789".repeat(4)).execute(&app.db).await.expect("update");
        let error = plane(&app).source(&assignment.lease).await.err().expect("an error");
        assert!(error.to_string().contains("not in the repository any more"), "{error}");
    }

    async fn without_devenv_nix_there_is_nothing_to_run(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("README", "hello").await;
        let said = clone.push(&["main"]).await.ok();
        assert!(said.remote()[0].contains("run 1 skipped, there is no devenv.nix"), "{said:?}");
        let run: Run = admin.get("/api/v1/orgs/acme/projects/web/runs/1").await.assert_status(200).json();
        assert_eq!(run.summary.state, State::Skip);
        assert!(run.summary.reason.expect("a reason").contains("Add one"));
        assert_eq!(run.jobs[0].attempts[0].state, State::Skip);
        assert!(claim(&app).await.is_none(), "no machine is wasted on it");
    }

    async fn only_what_the_triggers_name_makes_a_run(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        let settings = json!({"trigger_branches": ["main", "release/*"], "trigger_tags": ["v*"]});
        change_settings(&admin, settings).await;
        clone.commit("devenv.nix", NIX).await;
        clone.git(&["tag", "-a", "v1", "-m", "annotated"]).await.ok();
        clone.git(&["tag", "nightly"]).await.ok();
        clone.git(&["tag", "v-blob", "HEAD:devenv.nix"]).await.ok();
        clone.git(&["branch", "release/1/x"]).await.ok();
        clone.git(&["branch", "feature"]).await.ok();
        let said = clone.push(&["--all"]).await.ok();
        assert_eq!(said.remote().len(), 2, "{said:?}");
        let said = clone.push(&["feature:feature2"]).await.ok();
        assert!(said.remote()[0].contains("no run") && said.remote()[0].contains("settings/triggers"), "{said:?}");
        clone.push(&["--tags"]).await.ok();
        let mut refs: Vec<_> = listed(&admin).await.into_iter().map(|run| run.commit.git_ref).collect();
        refs.sort();
        assert_eq!(refs, ["refs/heads/main", "refs/heads/release/1/x", "refs/tags/v1"]);
        let head = clone.head().await;
        assert!(listed(&admin).await.iter().all(|run| run.commit.sha == head), "a tag runs the commit behind it");
    }

    async fn deleting_a_branch_makes_no_run(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.push(&["main", "main:other"]).await.ok();
        assert_eq!(listed(&admin).await.len(), 2);
        let said = clone.push(&["--delete", "other"]).await.ok();
        assert_eq!(said.remote(), Vec::<String>::new());
        assert_eq!(listed(&admin).await.len(), 2);
        // And pushing it again makes one.
        clone.push(&["main:other"]).await.ok();
        assert_eq!(listed(&admin).await.len(), 3);
    }

    async fn fifty_refs_in_one_push_make_fifty_runs(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let refs: Vec<String> = (0..50).map(|n| format!("main:branch-{n}")).collect();
        let said = clone.push(&refs.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
        assert_eq!(said.remote().len(), 50, "{said:?}");
        assert_eq!(listed(&admin).await.len(), 50);
    }

    async fn a_force_push_goes_where_it_may(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.commit("a", "1").await;
        clone.push(&["main", "main:topic"]).await.ok();
        clone.git(&["reset", "-q", "--hard", "HEAD~1"]).await.ok();
        clone.commit("a", "2").await;

        let said = clone.push(&["--force", "main"]).await.refused();
        assert!(
            said.remote().contains(&"refs/heads/main is protected and accepts no force push; see Protected refs at https://ci.example.com/acme/web/settings/triggers".to_owned()),
            "{said:?}"
        );
        let said = clone.push(&["--delete", "main"]).await.refused();
        assert!(said.remote().iter().any(|line| line.contains("refs/heads/main is protected and cannot be deleted")), "{said:?}");
        assert_eq!(listed(&admin).await.len(), 2, "what was refused makes no run");

        clone.push(&["--force", "main:topic"]).await.ok();
        assert_eq!(listed(&admin).await.len(), 3);

        change_settings(&admin, json!({"protected_refs": []})).await;
        clone.push(&["--force", "main"]).await.ok();
        assert_eq!(listed(&admin).await.len(), 4);
    }

    async fn a_protected_tag_cannot_be_moved(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        change_settings(&admin, json!({"protected_refs": ["refs/tags/v*"]})).await;
        clone.commit("devenv.nix", NIX).await;
        clone.git(&["tag", "v1"]).await.ok();
        clone.push(&["main", "v1"]).await.ok();
        clone.commit("a", "1").await;
        clone.git(&["tag", "-f", "v1"]).await.ok();
        let said = clone.push(&["--force", "v1"]).await.refused();
        assert!(said.remote().iter().any(|line| line.contains("refs/tags/v1 is protected and cannot be moved")), "{said:?}");
        clone.push(&["main"]).await.ok();
    }

    async fn names_that_are_not_for_pushing_are_refused(app: TestApp) {
        let (_, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let said = clone.push(&["HEAD:refs/internal/x"]).await.refused();
        assert!(said.remote().iter().any(|line| line.contains("only refs/heads/")), "{said:?}");
        clone.push(&["HEAD:refs/notes/x"]).await.ok();
    }

    async fn a_push_may_ask_for_no_run(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let said = clone.push(&["-o", "ci.skip", "main"]).await.ok();
        assert_eq!(said.remote(), ["no run for main: the push option ci.skip was given"]);
        clone.commit_with("a", "1", "Words [skip ci]").await;
        let said = clone.push(&["main"]).await.ok();
        assert_eq!(said.remote(), ["no run for main: the commit's message says [skip ci]"]);
        assert!(listed(&admin).await.is_empty());
        forge::reconcile_refs_once(&app).await.expect("reconcile");
        assert!(listed(&admin).await.is_empty(), "and it stays so");
    }

    async fn a_push_that_is_too_large_is_refused_in_words(app: TestApp) {
        let app = app.restart(&[("DEVENV_CLOUD_LIMITS_PUSH_MIB", "1")]).await;
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.push(&["main"]).await.ok();
        let noise = noise(&app, 5_000_000);
        clone.commit("large", &noise).await;
        let said = clone.push(&["main"]).await.refused();
        assert!(said.remote().iter().any(|line| line.contains("this push is larger than 1 MiB")), "{said:?}");
        assert_eq!(listed(&admin).await.len(), 1);
        // The repository is none the worse for it.
        clone.git(&["reset", "-q", "--hard", "HEAD~1"]).await.ok();
        clone.commit("small", "x").await;
        clone.push(&["main"]).await.ok();
    }

    async fn a_full_disk_refuses_pushes_in_words_and_serves_fetches(app: TestApp) {
        let app = app.restart(&[("DEVENV_CLOUD_LIMITS_DISK_RESERVE_MIB", "4294967295")]).await;
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let said = clone.push(&["main"]).await.refused();
        assert!(said.remote().iter().any(|line| line.contains("the server's disk is full")), "{said:?}");
        assert!(listed(&admin).await.is_empty());
        clone.git(&["fetch", "-q"]).await.ok();
    }

    async fn what_was_pushed_can_be_fetched_in_every_way(app: TestApp) {
        let (_, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.commit("a", &"x".repeat(1000)).await;
        clone.commit("a", "small").await;
        clone.push(&["main"]).await.ok();
        let there = tempfile::tempdir().expect("a directory");
        for (name, arguments, commits) in [
            ("whole", &[][..], "3"),
            ("shallow", &["--depth", "1"], "1"),
            ("partial", &["--filter=blob:none"], "3"),
            ("old", &["-c", "protocol.version=0"], "3"),
        ] {
            let mut all = vec!["clone", "-q"];
            all.extend(arguments);
            all.extend([clone.url.as_str(), name]);
            git(there.path(), &all).await.ok();
            let dir = there.path().join(name);
            assert_eq!(git(&dir, &["rev-list", "--count", "HEAD"]).await.ok().out.trim(), commits, "{name}");
            assert_eq!(git(&dir, &["branch", "--show-current"]).await.ok().out.trim(), "main");
            assert_eq!(std::fs::read_to_string(dir.join("a")).expect("a"), "small");
        }
        // What a partial clone left out is fetched when it is wanted.
        let partial = there.path().join("partial");
        let old = git(&partial, &["show", "HEAD~1:a"]).await.ok().out;
        assert_eq!(old.len(), 1000);
        git(&there.path().join("shallow"), &["fetch", "-q", "--unshallow"]).await.ok();
    }

    async fn a_clone_of_nothing_works(app: TestApp) {
        let (_, clone) = set_up(&app).await;
        let there = tempfile::tempdir().expect("a directory");
        git(there.path(), &["clone", "-q", &clone.url, "x"]).await.ok();
    }

    async fn who_may_not_gets_nothing(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.push(&["main"]).await.ok();
        let address = clone.url.split('@').nth(1).expect("an address").to_owned();
        let there = tempfile::tempdir().expect("a directory");
        let at = |token: &str, path: &str| {
            format!("http://ada:{token}@{}/{path}", address.split('/').next().expect("host"))
        };
        // Nobody, and somebody with a wrong token.
        for path in ["acme/web.git", "acme/nothing.git", "nobody/nothing.git"] {
            let answer = app.get(&format!("/{path}/info/refs?service=git-upload-pack")).send().await.assert_status(401);
            assert!(answer.header("www-authenticate").expect("a header").starts_with("Basic"));
            let wrong = at("dvc_wrong", path);
            git(there.path(), &["ls-remote", &wrong]).await.refused();
        }
        // A stranger hears the same of what is there and of what is not.
        let stranger = app.person("mallory").await.token(&[Scope::Write]).await.secret;
        let here = git(there.path(), &["ls-remote", &at(&stranger, "acme/web.git")]).await.refused();
        let not = git(there.path(), &["ls-remote", &at(&stranger, "acme/xyz.git")]).await.refused();
        assert_eq!(here.err.replace("web", "xyz"), not.err);
        assert!(here.err.contains("not found"), "{here:?}");
        // A viewer, and a token that may only read, fetch and do not push.
        let viewer = app.person("vera").await;
        admin.add_member("acme", "vera", Role::Viewer).await;
        for token in [viewer.token(&[Scope::Write]).await, admin.token(&[Scope::Read]).await] {
            let url = at(&token.secret, "acme/web.git");
            git(there.path(), &["ls-remote", &url]).await.ok();
            let said = clone.git(&["push", &url, "main:other"]).await.refused();
            assert!(said.err.contains("403"), "{said:?}");
        }
        assert_eq!(listed(&admin).await.len(), 1);
    }

    async fn a_cookie_opens_no_repository(app: TestApp) {
        let (admin, _) = set_up(&app).await;
        admin.get("/acme/web.git/info/refs?service=git-receive-pack").await.assert_status(401);
    }

    async fn a_push_whose_run_was_not_made_is_found_at_the_next_start(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        let sha = clone.commit("devenv.nix", NIX).await;
        // As if the server had been killed right after git stored it.
        let project: serde_json::Value = admin.get("/api/v1/orgs/acme/projects/web").await.assert_status(200).json();
        let id = project["id"].as_str().expect("an id");
        let bare = app.repositories().join(format!("{id}.git"));
        clone.git(&["push", "-q", bare.to_str().expect("a path"), "main"]).await.ok();
        assert!(listed(&admin).await.is_empty());

        forge::reconcile_refs_once(&app).await.expect("reconcile");
        let found = listed(&admin).await;
        assert_eq!(found.iter().map(|run| run.commit.sha.as_str()).collect::<Vec<_>>(), [sha.as_str()]);
        forge::reconcile_refs_once(&app).await.expect("reconcile");
        assert_eq!(listed(&admin).await.len(), 1, "once is enough");
    }

    async fn two_who_compare_at_once_make_one_run(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let project: devenv_cloud_api::orgs::Project = admin.get("/api/v1/orgs/acme/projects/web").await.assert_status(200).json();
        let bare = app.repositories().join(format!("{}.git", project.id));
        clone.git(&["push", "-q", bare.to_str().expect("a path"), "main"]).await.ok();
        let both = (0..8).map(|_| {
            let app = app.clone();
            let pusher = Pusher { name: "Ada".to_owned(), user: None, options: Vec::new(), refs: Vec::new() };
            tokio::spawn(async move { forge::refs_changed(&app, project.id, &pusher).await.map(|lines| lines.len()) })
        });
        let mut lines = 0;
        for one in both.collect::<Vec<_>>() {
            lines += one.await.expect("task").expect("compare");
        }
        assert_eq!(lines, 1);
        assert_eq!(listed(&admin).await.len(), 1);
    }

    async fn pushes_at_the_same_moment_all_get_their_runs(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let all = (0..6).map(|n| {
            let clone: Clone = clone.clone();
            tokio::spawn(async move { clone.push(&[&format!("main:branch-{n}")]).await })
        });
        for one in all.collect::<Vec<_>>() {
            let said = one.await.expect("task").ok();
            assert_eq!(said.remote().len(), 1, "{said:?}");
        }
        assert_eq!(listed(&admin).await.len(), 6);
    }

    async fn a_client_that_goes_away_leaves_no_process_behind(app: TestApp) {
        use tokio::io::AsyncWriteExt as _;
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        let token = admin.token(&[Scope::Write]).await.secret;
        let address = clone.url.split('@').nth(1).expect("an address").split('/').next().expect("host").to_owned();
        let mut socket = tokio::net::TcpStream::connect(&address).await.expect("connect");
        let sha = "1".repeat(40);
        let zero = "0".repeat(40);
        let command = format!("{zero} {sha} refs/heads/x\0 report-status side-band-64k");
        let body = format!("{:04x}{command}0000PACK", command.len() + 4);
        let head = format!(
            "POST /acme/web.git/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/x-git-receive-pack-request\r\ncontent-length: 100000\r\n\r\n{body}"
        );
        socket.write_all(head.as_bytes()).await.expect("write");
        let repositories = app.repositories().display().to_string();
        wait_until(|| processes(&repositories) > 0).await;
        drop(socket);
        wait_until(|| processes(&repositories) == 0).await;
    }

    async fn a_deleted_project_takes_its_repository_with_it(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        clone.commit("devenv.nix", NIX).await;
        clone.push(&["main"]).await.ok();
        admin.delete("/api/v1/orgs/acme/projects/web").await.assert_status(204);
        clone.push(&["main:again"]).await.refused();
        assert_eq!(std::fs::read_dir(app.repositories()).expect("repositories").count(), 0);
    }

    async fn a_run_is_started_by_hand(app: TestApp) {
        let (admin, clone) = set_up(&app).await;
        let path = "/api/v1/orgs/acme/projects/web/runs";
        let early = admin.post(path, &json!({})).await.assert_status(409);
        assert!(early.text().contains("there is no branch or tag `main`"), "{early:?}");
        clone.commit("devenv.nix", NIX).await;
        clone.git(&["tag", "v1"]).await.ok();
        clone.push(&["-o", "ci.skip", "main", "v1"]).await.ok();
        let run: Run = admin.post(path, &json!({})).await.assert_status(201).json();
        assert_eq!(run.summary.commit.git_ref, "refs/heads/main");
        assert_eq!(run.summary.trigger, Trigger::Manual);
        let run: Run = admin.post(path, &json!({"git_ref": "v1"})).await.assert_status(201).json();
        assert_eq!(run.summary.commit.git_ref, "refs/tags/v1");
        assert_eq!(run.summary.number, 2);
        assert!(runs::list_runs(&app, run_project(&admin).await, &runs::RunFilter::default(), None, 10).await.is_ok());
    }
}

async fn run_project(browser: &Browser) -> devenv_cloud_api::ids::ProjectId {
    let project: devenv_cloud_api::orgs::Project =
        browser.get("/api/v1/orgs/acme/projects/web").await.assert_status(200).json();
    project.id
}

/// Processes that work in this directory.
fn processes(directory: &str) -> usize {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter(|entry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let named = String::from_utf8_lossy(&environment).contains(&format!("GIT_PROJECT_ROOT={directory}"));
        // What has ended and was not waited for yet is no process any more.
        let status = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        named && !status.contains(") Z ")
    })
    .count()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let patience = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience).await.expect("it never happened");
}
