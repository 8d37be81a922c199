//! What a task finds, and what it hands on.

use devenv_cloud_guest::protocol::{Level, Outcome};

use crate::host::{Ground, commit, run, run_nix};

#[test]
fn a_task_finds_the_environment_of_devenv() {
    let ground = Ground::new();
    let nix = r#"{
      env.GREETING = "hello";
      tasks."a:env" = {
        exec = "echo $GREETING $OWN $CI; pwd; echo $DEVENV_ROOT; test -d $DEVENV_STATE && test -d $DEVENV_RUNTIME && echo $DEVENV_TASK_INPUT";
        env.OWN = "mine";
        input.k = "v";
      };
      tasks."a:cwd" = { exec = "basename $PWD"; cwd = "sub"; };
    }"#;
    let commit = commit(&[("devenv.nix", nix), ("sub/file", "")]);
    let trace = ground.begin(&commit, |_| {}).finish().succeeded();
    let root = ground.path("repo").display().to_string();
    assert_eq!(trace.lines("a:env"), ["hello mine 1", &root, &root, r#"{"k":"v"}"#]);
    assert_eq!(trace.lines("a:cwd"), ["sub"]);
}

#[test]
fn nothing_of_the_guests_own_environment_is_inherited() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "echo ${"$"}{CARGO_MANIFEST_DIR-none}"; }"#).succeeded();
    assert_eq!(trace.lines("a:x"), ["none"]);
}

#[test]
fn scripts_are_commands_and_enter_shell_sets_the_environment() {
    let trace = run_nix(
        r#"{
          scripts.greet.exec = "echo hello $1 $FROM";
          enterShell = "false; export FROM='from the shell'";
          tasks."a:x".exec = "greet you";
          enterTest = "greet all";
        }"#,
    )
    .succeeded();
    assert_eq!(trace.lines("a:x"), ["hello you from the shell"]);
    assert_eq!(trace.lines("devenv:enterTest"), ["hello all from the shell"]);
}

#[test]
fn outputs_and_exports_reach_later_tasks() {
    let trace = run_nix(
        r#"{
          tasks."a:first" = {
            exec = ''
              echo '{"answer": 42, "devenv": {"env": {"GIVEN": "by output"}}}' > $DEVENV_TASK_OUTPUT_FILE
              EXPORTED="by export"
            '';
            exports = [ "EXPORTED" ];
          };
          tasks."a:second" = { exec = "echo $DEVENV_TASKS_OUTPUTS; echo $GIVEN, $EXPORTED"; after = [ "a:first" ]; };
        }"#,
    )
    .succeeded();
    let lines = trace.lines("a:second");
    assert!(lines[0].contains(r#""a:first":{"answer":42"#), "{lines:?}");
    assert_eq!(lines[1], "by output, by export");
    assert!(trace.attribute("a:first", "devenv.task.output").unwrap().contains("42"));
}

#[test]
fn an_output_that_is_no_json_is_a_warning() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "echo nonsense > $DEVENV_TASK_OUTPUT_FILE"; }"#).succeeded();
    assert!(matches!(trace.messages()[..], [(Level::Warning, ..)]), "{:?}", trace.messages());
}

#[test]
fn a_task_whose_status_succeeds_does_not_run() {
    let trace = run_nix(
        r#"{
          tasks."a:done" = { exec = "echo ran"; status = "true"; };
          tasks."a:todo" = { exec = "echo ran"; status = "exit 1"; };
          tasks."a:after" = { exec = "echo ran"; after = [ "a:done" ]; };
        }"#,
    )
    .succeeded();
    assert!(trace.lines("a:done").is_empty());
    assert_eq!(trace.attribute("a:done", "devenv.task.cached").as_deref(), Some("true"));
    assert_eq!(trace.lines("a:todo"), ["ran"]);
    assert_eq!(trace.lines("a:after"), ["ran"]);
}

#[test]
fn a_failing_line_ends_the_task() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "false\necho never"; }"#)
        .expect(Outcome::Failure, "task a:x failed with exit status 1");
    assert!(trace.lines("a:x").is_empty());
}

#[test]
fn a_signal_is_named() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "kill -SEGV $$"; }"#)
        .expect(Outcome::Failure, "task a:x was ended by SIGSEGV");
    assert_eq!(trace.finished.exit_status, Some(139));
}

#[test]
fn a_folder_that_is_not_there_is_the_projects_fault() {
    let trace = run_nix(r#"{ tasks."a:x" = { exec = "true"; cwd = "nowhere"; }; }"#);
    assert_eq!(trace.finished.outcome, Outcome::Failure);
    assert!(trace.finished.reason.contains("/repo/nowhere"), "{:?}", trace.finished);
}

#[test]
fn hooks_check_the_files_that_they_name() {
    let nix = r#"{
      git-hooks.hooks.no-tabs = { enable = true; entry = "! grep -l X"; files = "\\.txt$"; };
      git-hooks.hooks.always = { enable = true; entry = "echo ran"; pass_filenames = false; };
    }"#;
    let files = |text| [("devenv.nix", nix), ("a b.txt", text), ("c.md", "X")];
    let trace = run(&files("fine")).succeeded();
    assert!(trace.lines("devenv:git-hooks:run").contains(&"no-tabs: passed"));
    let trace =
        run(&files("X")).expect(Outcome::Failure, "task devenv:git-hooks:run failed with exit status 1");
    assert!(trace.lines("devenv:git-hooks:run").contains(&"a b.txt"), "{trace:#?}");
}

#[test]
fn outputs_are_built_and_recorded() {
    let trace = run_nix(
        r#"{
          outputs.greeting = derivation {
            name = "greeting"; system = builtins.currentSystem; builder = "/bin/sh";
            args = [ "-c" "echo building; echo hello > $out" ];
          };
        }"#,
    )
    .succeeded();
    let path = trace.attribute("outputs", "devenv.output.greeting").unwrap();
    assert!(path.ends_with("-greeting"), "{path}");
    assert_eq!(trace.lines("greeting"), ["building"]);
}

#[test]
fn a_build_that_fails_fails_the_job() {
    let trace = run_nix(
        r#"{
          outputs.bad = derivation {
            name = "bad"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo oh no; exit 1" ];
          };
        }"#,
    );
    assert_eq!(trace.finished.outcome, Outcome::Failure);
    assert!(trace.finished.reason.contains("bad.drv"), "{:?}", trace.finished);
    assert_eq!(trace.outcome("bad"), Outcome::Failure);
}
