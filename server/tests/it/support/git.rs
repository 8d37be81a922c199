//! Somebody with the real git, and a clone.

use std::{path::Path, process::Stdio, sync::Arc};

use devenv_cloud_api::permissions::Scope;

use super::{TestApp, people::Browser};

/// What a command of git's said.
#[derive(Debug)]
pub struct Said {
    pub succeeded: bool,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.succeeded, "{self:?}");
        self
    }

    #[track_caller]
    pub fn refused(self) -> Self {
        assert!(!self.succeeded, "{self:?}");
        self
    }

    /// The lines that the server said to the person.
    pub fn remote(&self) -> Vec<String> {
        self.err
            .lines()
            .filter_map(|line| line.strip_prefix("remote: "))
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    }
}

/// A working tree whose `origin` is `acme/web` on the application under test.
#[derive(Clone)]
pub struct Clone {
    dir: Arc<tempfile::TempDir>,
    pub url: String,
}

pub async fn git(dir: &Path, arguments: &[&str]) -> Said {
    let output = tokio::process::Command::new("git")
        .args(["-c", "protocol.version=2", "-c", "http.extraHeader=", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("PATH"))
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("git");
    Said {
        succeeded: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The first user with organisation `acme`, project `web`, and a clone of it.
pub async fn set_up(app: &TestApp) -> (Browser, Clone) {
    let admin = app.set_up().await;
    admin.create_org("acme").await;
    admin.create_project("acme", "web").await;
    let token = admin.token(&[Scope::Write]).await.secret;
    let clone = Clone::new(app, &token).await;
    (admin, clone)
}

impl Clone {
    /// An empty working tree of somebody with this token.
    pub async fn new(app: &TestApp, token: &str) -> Self {
        let address = app.listen().await;
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("http://ada:{token}@{address}/acme/web.git");
        let clone = Self { dir: Arc::new(dir), url };
        clone.git(&["init", "-q"]).await.ok();
        clone.git(&["remote", "add", "origin", &clone.url]).await.ok();
        clone
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub async fn git(&self, arguments: &[&str]) -> Said {
        git(self.path(), arguments).await
    }

    /// Commits a file, and gives the commit's name.
    pub async fn commit(&self, file: &str, content: &str) -> String {
        self.commit_with(file, content, "A change").await
    }

    pub async fn commit_with(&self, file: &str, content: &str, message: &str) -> String {
        std::fs::write(self.path().join(file), content).expect("write");
        self.git(&["add", file]).await.ok();
        self.git(&["commit", "-q", "-m", message]).await.ok();
        self.head().await
    }

    pub async fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).await.ok().out.trim().to_owned()
    }

    pub async fn push(&self, arguments: &[&str]) -> Said {
        let mut all = vec!["push", "origin"];
        all.extend(arguments);
        self.git(&all).await
    }
}
