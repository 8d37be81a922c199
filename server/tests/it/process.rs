//! The real program, started as its administrator starts it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// A running server, killed at the end of the test.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Server {
    fn start(state_dir: &Path) -> Self {
        Self::start_in(state_dir, state_dir)
    }

    fn start_in(directory: &Path, state_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_devenv-cloud"))
            .arg("serve")
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DEVENV_CLOUD_SERVER_STATE_DIR", state_dir)
            .env("DEVENV_CLOUD_SERVER_LISTEN", "127.0.0.1:0")
            .env("DEVENV_CLOUD_SERVER_METRICS_LISTEN", "")
            .env("DEVENV_CLOUD_EXECUTOR_ENABLED", "false")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The lines up to and with one that holds `part`.
    fn lines_until(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => lines.push(line),
                Err(error) => panic!("no line with {part:?} ({error}): {lines:#?}"),
            }
            if lines.last().is_some_and(|line| line.contains(part)) {
                return lines;
            }
        }
    }

    /// Asks it to end, and waits until it has. All that it still said.
    fn stop(mut self) -> (std::process::ExitStatus, Vec<String>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        (self.child.wait().unwrap(), self.lines.iter().collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_start_prints_a_set_up_link_as_long_as_nobody_has_an_account() {
    let state_dir = tempfile::tempdir().unwrap();
    let link = || {
        let server = Server::start(state_dir.path());
        let lines = server.lines_until("/setup?token=");
        let (status, rest) = server.stop();
        assert!(status.success(), "{status}: {rest:#?}");
        lines.last().unwrap().trim().to_owned()
    };
    let (first, second) = (link(), link());
    assert!(first.starts_with("http://localhost:8080/setup?token="), "{first}");
    assert_ne!(first, second);
}

#[test]
fn a_second_server_on_the_same_state_is_refused() {
    let state_dir = tempfile::tempdir().unwrap();
    let first = Server::start(state_dir.path());
    first.lines_until("listening");
    let mut second = Server::start(state_dir.path());
    second.lines_until("another devenv-cloud already serves from");
    assert!(!second.child.wait().unwrap().success());
}

#[test]
fn the_state_directory_is_for_the_server_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let server = Server::start_in(parent.path(), &parent.path().join("state"));
    server.lines_until("listening");
    let mode = std::fs::metadata(parent.path().join("state")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
}

#[test]
fn printing_the_document_takes_no_state_and_no_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_devenv-cloud"))
        .arg("openapi")
        .current_dir(directory.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success());
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
