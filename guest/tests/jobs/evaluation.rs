//! What a `devenv.nix` can do wrong.

use devenv_cloud_guest::protocol::{Level, Outcome};

use crate::host::{Ground, commit, run, run_nix};

#[test]
fn without_devenv_nix_the_job_is_skipped_and_says_what_to_add() {
    let trace = run(&[("README.md", "hello")]).expect(
        Outcome::Skip,
        "there is no devenv.nix at the top of this commit: add one to have something to run",
    );
    let messages = trace.messages();
    let [(Level::Warning, text, Some("devenv.nix"), None)] = messages[..] else { panic!("{messages:?}") };
    assert!(text.contains("tasks.\"app:build\".exec"), "an example is shown: {text}");
    assert_eq!(trace.outcome("evaluate"), Outcome::Skip);
}

#[test]
fn a_syntax_error_has_file_and_line() {
    let trace = run_nix("{\n  tasks = ;\n}\n");
    assert_eq!(trace.finished.outcome, Outcome::Failure);
    assert!(trace.finished.reason.starts_with("devenv.nix:2: syntax error"), "{:?}", trace.finished);
    let messages = trace.messages();
    let [(Level::Error, _, Some("devenv.nix"), Some(2))] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(trace.outcome("evaluate"), Outcome::Failure);
}

#[test]
fn an_undefined_variable_has_file_and_line() {
    run(&[("devenv.nix", "{\n  imports = [ ./a.nix ];\n}\n"), ("a.nix", "{\n\n  env.A = foo;\n}\n")])
        .expect(Outcome::Failure, "a.nix:3: undefined variable 'foo'");
}

#[test]
fn an_unknown_option_has_file_and_line_and_the_nearest_name() {
    run_nix("{\n\n  enterTset = \"\";\n}\n").expect(
        Outcome::Failure,
        "devenv.nix:3: The option `enterTset' does not exist. Did you mean `enterTest'?",
    );
}

#[test]
fn what_the_image_lacks_is_named_with_who_needs_it() {
    let trace = run_nix("{ pkgs, ... }: {\n  packages = [ pkgs.terraform pkgs.gti ];\n}\n");
    assert_eq!(trace.finished.outcome, Outcome::Failure);
    let reason = &trace.finished.reason;
    assert!(reason.starts_with("the project needs what this image does not have: pkgs."), "{reason}");
    let messages = trace.messages();
    let of = |name: &str| messages.iter().find(|message| message.1.contains(name)).expect(name).1;
    assert!(of("`pkgs.terraform`").contains("used by packages"), "{messages:?}");
    assert!(of("`pkgs.gti`").ends_with("Did you mean `pkgs.git`?"), "{messages:?}");
}

#[test]
fn a_broken_devenv_yaml_has_its_line() {
    let trace = run(&[("devenv.nix", "{ }"), ("devenv.yaml", "inputs:\n  a: [1\n")]);
    assert_eq!(trace.finished.outcome, Outcome::Failure);
    assert!(trace.finished.reason.starts_with("devenv.yaml:"), "{:?}", trace.finished);
}

#[test]
fn the_trace_says_which_evaluator_it_was() {
    let trace = run_nix("{ }").succeeded();
    assert_eq!(trace.attribute("evaluate", "devenv.evaluator").as_deref(), Some("builtin"));
    assert!(trace.said("evaluate").concat().contains("built-in evaluator"));
}

#[test]
fn traces_and_warnings_of_the_project_are_kept() {
    let nix = r#"{ enterShell = builtins.trace "here I am" ""; warnings = [ "old setting" ]; }"#;
    let trace = run_nix(nix).succeeded();
    assert!(trace.lines("devenv.nix").contains(&"trace: here I am"), "{:?}", trace.lines("devenv.nix"));
    assert_eq!(trace.messages(), [(Level::Warning, "old setting", None, None)]);
}

#[test]
fn profiles_and_cloud_values_reach_the_project() {
    let nix = r#"{ config, ... }: {
      tasks."a:who".exec = "echo base ${config.cloud.ci.branch}";
      profiles.ci.module.env.MODE = "ci";
      tasks."a:mode".exec = "echo mode $MODE";
    }"#;
    let trace = Ground::new()
        .begin(&commit(&[("devenv.nix", nix)]), |job| {
            job.profiles = vec!["ci".to_owned()];
            job.cloud = r#"{"enable":true,"ci":{"branch":"main"}}"#.to_owned();
        })
        .finish()
        .succeeded();
    assert_eq!(trace.lines("a:who"), ["base main"]);
    assert_eq!(trace.lines("a:mode"), ["mode ci"]);
}

#[test]
fn secrets_are_in_tasks_and_not_in_the_evaluation() {
    let nix = r#"{ tasks."a:x".exec = "echo evaluated=${builtins.getEnv "TOKEN"} running=$TOKEN"; }"#;
    let trace = Ground::new()
        .begin(&commit(&[("devenv.nix", nix)]), |job| {
            job.env.insert("TOKEN".to_owned(), "s3cret".to_owned());
        })
        .finish()
        .succeeded();
    assert_eq!(trace.lines("a:x"), ["evaluated= running=s3cret"]);
}
