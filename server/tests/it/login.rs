//! `devenv-cloud login`, `whoami` and `logout`, as people run them.

use std::{path::Path, process::Stdio};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::support::TestApp;

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devenv-cloud"));
    command.args(arguments).env_clear().env("HOME", home).current_dir(home).kill_on_drop(true);
    command
}

/// What a command says, and whether it worked.
async fn run(home: &Path, arguments: &[&str]) -> (bool, String) {
    let output = command(home, arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

both_engines! {
    async fn a_person_signs_in_asks_who_they_are_and_signs_out(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let server = format!("http://{}", app.listen().await);
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".config/devenv-cloud/credentials.toml");

        let (fine, said) = run(home.path(), &["whoami"]).await;
        assert!(!fine && said.contains("which server?"), "{said}");
        let (fine, said) = run(home.path(), &["whoami", &server]).await;
        assert!(!fine && said.contains(&format!("run `devenv-cloud login {server}`")), "{said}");

        for allow in [false, true] {
            let mut login =
                command(home.path(), &["login", &server]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(login.stdout.take().unwrap()).lines();
            let mut said = String::new();
            while !said.contains("Waiting for") {
                said.push_str(&lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended: {said}")));
                said.push('\n');
            }
            let code = said.split_once("user_code=").unwrap().1.split_whitespace().next().unwrap();
            assert_eq!(said.matches(code).count(), 2, "{said}");
            let word = json!({"user_code": code, "allow": allow});
            ada.post("/api/v1/device-login", &word).await.assert_status(204);
            let mut rest = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                rest.push_str(&line);
            }
            let output = login.wait_with_output().await.unwrap();
            assert_eq!(output.status.success(), allow, "{rest}");
            if allow {
                assert!(rest.contains(&format!("Signed in to {server} as ada (ada@example.com)")), "{rest}");
            } else {
                let said = String::from_utf8(output.stderr).unwrap();
                assert!(said.contains("refused in the browser"), "{said}");
                assert!(!file.exists());
            }
        }

        let (fine, said) = run(home.path(), &["whoami"]).await;
        assert!(fine && said.contains("ada (ada@example.com)"), "{said}");
        let text = std::fs::read_to_string(&file).unwrap();
        let token = text.split('"').find(|part| part.starts_with("dvc_")).unwrap();
        app.get("/api/v1/session").bearer(token).send().await.assert_status(200);
        assert!(!said.contains(token));

        let (fine, said) = run(home.path(), &["logout"]).await;
        assert!(fine, "{said}");
        app.get("/api/v1/session").bearer(token).send().await.assert_status(401);
        assert!(!file.exists());

        // A token that was revoked elsewhere.
        std::fs::write(&file, &text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let (fine, said) = run(home.path(), &["whoami"]).await;
        assert!(!fine && said.contains("does not accept the token"), "{said}");
        let (fine, said) = run(home.path(), &["logout"]).await;
        assert!(fine && !file.exists(), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_server_is_said_to_be_none() {
    let home = tempfile::tempdir().unwrap();
    for (address, hint) in [
        ("ci.example.com", "did you mean https://ci.example.com?"),
        ("http://ci.example.com", "is not https"),
        ("http://127.0.0.1:9", "cannot be reached"),
    ] {
        let (fine, said) = run(home.path(), &["login", address]).await;
        assert!(!fine && said.contains(hint), "{address}: {said}");
    }
}
