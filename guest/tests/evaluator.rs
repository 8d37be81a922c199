//! The built-in evaluator (`guest/nix/`), run by a real Nix.
//!
//! Each directory in `tests/nix/` is a project: `devenv.nix`, perhaps the
//! `context.json` that the guest would give, and what must come of it, either
//! `expected.json` (the keys of the printed document that matter, exactly) or
//! `expected-error.txt` (lines that Nix' error must contain). In both, `@ROOT@`
//! is the project's directory and `@HASH@` the hash of a store path.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Map, Value, json};

const HASH_LENGTH: usize = 32;

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn repository() -> PathBuf {
    crate_dir().parent().expect("the crate is in the repository").to_owned()
}

/// Settings that a machine's own configuration must not change.
fn nix(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("NIX_CONFIG", "build-users-group =\nsandbox = false\nsubstitute = false\n")
        .env_remove("NIX_PATH");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!(
            "cannot start {:?}: {error}. Nix is missing? `cargo xtask setup` installs it.",
            command.get_program()
        )
    })
}

/// One call of the evaluator, as the guest does it, but with a store that
/// remembers nothing.
fn evaluate(project: &Path, context: &Value) -> Output {
    run(nix("nix-instantiate")
        .env("NIX_REMOTE", "dummy://")
        .args(["--eval", "--strict", "--json"])
        .arg(crate_dir().join("nix/default.nix"))
        .args([OsStr::new("--arg"), OsStr::new("root"), project.as_os_str()])
        .args(["--argstr", "context", &context.to_string()]))
}

fn evaluated(project: &Path, context: &Value) -> Value {
    let output = evaluate(project, context);
    assert!(output.status.success(), "{}: {}", project.display(), plain(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the evaluator prints JSON")
}

/// Text without colours and without the indentation that Nix gives to lines.
fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut words = String::new();
    let mut rest = text.as_ref();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        words.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    words.push_str(rest);
    words.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Replaces the hash of every store path by `@HASH@`.
fn without_hashes(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text_without_hashes(&text)),
        Value::Array(values) => values.into_iter().map(without_hashes).collect(),
        Value::Object(entries) => {
            entries.into_iter().map(|(key, value)| (key, without_hashes(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn text_without_hashes(text: &str) -> String {
    const STORE: &str = "/nix/store/";
    let mut parts = text.split(STORE);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str(STORE);
        match part.get(HASH_LENGTH..) {
            Some(name) if name.starts_with('-') => {
                result.push_str("@HASH@");
                result.push_str(name);
            }
            _ => result.push_str(part),
        }
    }
    result
}

fn subdirectories(of: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(of)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", of.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no directories", of.display());
    found
}

fn context_of(case: &Path) -> Value {
    match fs::read_to_string(case.join("context.json")) {
        Ok(text) => serde_json::from_str(&text).expect("context.json is JSON"),
        Err(_) => json!({}),
    }
}

/// What is wrong with a case, if anything.
fn check_case(case: &Path) -> Result<(), String> {
    let root = case.to_str().expect("a path in UTF-8");
    let read = |name: &str| fs::read_to_string(case.join(name)).ok().map(|text| text.replace("@ROOT@", root));
    let output = evaluate(case, &context_of(case));
    let stderr = plain(&output.stderr);
    match (read("expected.json"), read("expected-error.txt")) {
        (Some(expected), None) => {
            if !output.status.success() {
                return Err(format!("failed:\n{stderr}"));
            }
            let expected: Map<String, Value> =
                serde_json::from_str(&expected).map_err(|error| format!("expected.json: {error}"))?;
            let got =
                without_hashes(serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?);
            let wrong: Vec<String> = expected
                .iter()
                .filter(|(key, value)| got.get(key.as_str()) != Some(value))
                .map(|(key, value)| format!("{key}:\n  expected {value}\n  got      {}", got[key.as_str()]))
                .collect();
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
        }
        (None, Some(expected)) => {
            if output.status.success() {
                return Err("succeeded, but must fail".to_owned());
            }
            if !output.stdout.is_empty() {
                return Err("printed half a document before it failed".to_owned());
            }
            let lacking: Vec<&str> = expected.lines().filter(|line| !stderr.contains(*line)).collect();
            if lacking.is_empty() {
                Ok(())
            } else {
                Err(format!("the error lacks:\n{}\nit is:\n{stderr}", lacking.join("\n")))
            }
        }
        _ => Err("needs either expected.json or expected-error.txt".to_owned()),
    }
}

#[test]
fn every_case_gives_what_it_expects() {
    let failures: Vec<String> = subdirectories(&crate_dir().join("tests/nix"))
        .iter()
        .filter_map(|case| {
            let problem = check_case(case).err()?;
            Some(format!("{}: {problem}", case.file_name().unwrap_or_default().to_string_lossy()))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn our_own_devenv_nix_evaluates_and_names_what_the_image_lacks() {
    let document = evaluated(&repository(), &json!({ "programs": ["git", "nix"], "profiles": ["quick"] }));
    assert_eq!(document["name"], "devenv-cloud");
    assert_eq!(document["tasks"]["cloud:test"]["after"], json!(["cloud:check"]));
    assert_eq!(document["tasks"]["cloud:test"]["exec"], "cargo xtask test --only cargo");
    assert_eq!(document["activeProfiles"], json!(["quick"]));
    let missing = document["missingPackages"].as_array().expect("a list");
    assert!(missing.contains(&json!("pkgs.postgresql")), "{missing:?}");
    assert!(!missing.contains(&json!("pkgs.git")), "{missing:?}");
}

#[test]
fn the_examples_need_nothing_but_the_image() {
    for example in subdirectories(&repository().join("examples")) {
        let document = evaluated(&example, &json!({ "programs": ["git"] }));
        assert_eq!(document["missingPackages"], json!([]), "{}", example.display());
        assert_eq!(document["warnings"], json!([]), "{}", example.display());
        let runs = !document["tasks"].as_object().expect("a set").is_empty() || document["enterTest"] != "";
        assert!(runs, "{} runs nothing", example.display());
    }
}

#[test]
fn the_projects_that_go_wrong_do_so_at_the_stage_they_are_made_for() {
    for project in subdirectories(&repository().join("e2e/fixtures/projects")) {
        let name = project.file_name().and_then(OsStr::to_str).expect("a name in UTF-8");
        if name == "no-devenv-nix" {
            assert!(!project.join("devenv.nix").exists());
            continue;
        }
        let output = evaluate(&project, &json!({ "programs": ["git"] }));
        let error = match name {
            "syntax-error" => Some("syntax error, unexpected '=', expecting ';'"),
            "undefined-variable" => Some("undefined variable 'git'"),
            "type-error" => Some("is not of type `null or string'"),
            "unknown-option" => Some("The option `taks' does not exist. Did you mean `tasks'?"),
            _ => None,
        };
        let stderr = plain(&output.stderr);
        assert_eq!(output.status.success(), error.is_none(), "{name}: {stderr}");
        if let Some(error) = error {
            assert!(stderr.contains(error), "{name}: {stderr}");
            assert!(stderr.contains("/devenv.nix:5"), "{name}: {stderr}");
        }
    }
}

#[test]
fn every_nix_file_parses() {
    let mut files = vec![repository().join("flake.nix"), repository().join("devenv.nix")];
    let mut directories =
        vec![crate_dir().join("nix"), repository().join("examples"), repository().join("deploy")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "nix") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "only {} files found", files.len());
    for file in files {
        let output = run(nix("nix-instantiate").env("NIX_REMOTE", "dummy://").arg("--parse").arg(&file));
        assert!(output.status.success(), "{}: {}", file.display(), plain(&output.stderr));
    }
}

/// The module for the devenv command, in a module system; ours stands in for
/// that of nixpkgs.
#[test]
fn the_cloud_module_stands_alone() {
    let value_of = |option: &str, context: Option<&Path>| {
        let library = crate_dir().join("nix/lib");
        let module = crate_dir().join("nix/cloud.nix");
        let expression = format!(
            "((import {} {{ home = \"\"; }}).evalModules {{ modules = [ {} ]; }}).config.cloud.{option}",
            library.display(),
            module.display()
        );
        let mut command = nix("nix-instantiate");
        command.env("NIX_REMOTE", "dummy://").args(["--eval", "--strict", "--json", "--expr", &expression]);
        match context {
            Some(file) => command.env("DEVENV_CLOUD_CONTEXT", file),
            None => command.env_remove("DEVENV_CLOUD_CONTEXT"),
        };
        let output = run(&mut command);
        assert!(output.status.success(), "{}", plain(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    assert_eq!(value_of("enable", None), false);
    assert_eq!(value_of("ci.github.branch", None), "");
    let context = crate_dir().join("tests/nix/cloud/context.json");
    assert_eq!(value_of("enable", Some(&context)), true);
    assert_eq!(value_of("ci.github.branch", Some(&context)), "main");
}

/// What the guest does with `derivations` and `outputs`: a store of its own,
/// no sandbox, nothing fetched.
#[test]
fn what_a_project_builds_is_really_built() {
    let scratch = Scratch::new();
    let store = |program: &str| {
        let mut command = nix(program);
        command
            .env("NIX_STORE_DIR", scratch.0.join("store"))
            .env("NIX_STATE_DIR", scratch.0.join("state"))
            .env("NIX_LOG_DIR", scratch.0.join("log"))
            .env("NIX_CONF_DIR", scratch.0.join("conf"))
            .env("NIX_REMOTE", "local");
        command
    };
    let example = repository().join("examples/website");
    let output = run(store("nix-instantiate")
        .args(["--eval", "--strict", "--json", "--read-write-mode"])
        .arg(crate_dir().join("nix/default.nix"))
        .args([OsStr::new("--arg"), OsStr::new("root"), example.as_os_str()])
        .args(["--argstr", "context", r#"{"profiles":["release"]}"#]));
    assert!(output.status.success(), "{}", plain(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("the evaluator prints JSON");
    let site = &document["outputs"]["site"];

    let built = run(store("nix-store").arg("--realise").arg(site["drvPath"].as_str().expect("a derivation")));
    assert!(built.status.success(), "{}", plain(&built.stderr));
    let path = String::from_utf8(built.stdout).expect("a path").trim().to_owned();
    assert_eq!(site["path"], path);
    let page = fs::read_to_string(Path::new(&path).join("index.html")).expect("the built page");
    assert!(page.contains("<title>Handbook: index</title>"), "{page}");
}

/// A directory for one test's store, whose paths Nix makes read-only.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("devenv-cloud-evaluator-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch directory");
        // Nix refuses a store whose path has symbolic links in it.
        Self(path.canonicalize().expect("a real path"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let made_writable = Command::new("chmod").args(["-R", "u+w"]).arg(&self.0).status();
        let removed = fs::remove_dir_all(&self.0);
        if let (Ok(_), Err(error)) = (made_writable, removed) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
