//! In which order tasks run, and what one's end means for others.

use devenv_cloud_guest::protocol::{Level, Outcome, Record, SpanKind, Stage};

use crate::host::{run_nix, run_nix_tasks};

#[test]
fn tasks_run_after_what_they_wait_for_and_enter_test_last() {
    let trace = run_nix(
        r#"{
          enterShell = "echo shell";
          enterTest = "echo test";
          tasks."app:test" = { exec = "echo t"; after = [ "app:build" ]; };
          tasks."app:build".exec = "echo b";
          tasks."app:setup" = { exec = "echo s"; before = [ "devenv:enterShell" ]; };
        }"#,
    )
    .succeeded();
    let order = [
        "checkout",
        "evaluate",
        "app:setup",
        "devenv:enterShell",
        "app:build",
        "app:test",
        "devenv:enterTest",
    ];
    for pair in order.windows(2) {
        assert!(trace.when(pair[0]).1 < trace.when(pair[1]).0, "{} ends before {} begins", pair[0], pair[1]);
    }
    let Record::SpanOpened { kind, stage, parent, .. } = &trace.records[trace.when("app:test").0] else {
        panic!()
    };
    assert_eq!((*kind, *stage, *parent), (SpanKind::Task, Some(Stage::Task), None));
    assert_eq!(trace.attribute("app:test", "cicd.pipeline.task.name").as_deref(), Some("app:test"));
    assert_eq!(trace.attribute("app:test", "process.exit.code").as_deref(), Some("0"));
}

#[test]
fn only_the_tasks_that_were_asked_for_run_with_what_they_wait_for() {
    let nix = r#"{
      enterShell = "export SHELL_WAS=here";
      enterTest = "exit 1";
      tasks."app:build".exec = "echo b $SHELL_WAS";
      tasks."app:test" = { exec = "echo t"; after = [ "app:build" ]; };
      tasks."app:lint".exec = "exit 1";
      processes.db.exec = "exit 1";
    }"#;
    let trace = run_nix_tasks(nix, &["app:test"]).succeeded();
    assert_eq!(trace.lines("app:build"), ["b here"]);
    assert_eq!(trace.lines("app:test"), ["t"]);
    for name in ["app:lint", "devenv:enterTest", "devenv:processes:db", "outputs"] {
        assert!(trace.find(name).is_none(), "{name} was not asked for");
    }
    run_nix_tasks(nix, &["app:tests"])
        .expect(Outcome::Failure, "there is no task app:tests. Did you mean app:test?");
    run_nix_tasks(nix, &["devenv:processes:db"]).expect(
        Outcome::Failure,
        "devenv:processes:db is a process: it runs as long as a task needs it, and cannot be asked for alone",
    );
}

#[test]
fn independent_tasks_run_at_the_same_time() {
    // Each waits for the other to have begun: one after the other they would
    // wait for ever.
    run_nix(
        r#"{
          tasks."a:x".exec = "mkfifo $TMPDIR/x || true; echo > $TMPDIR/x; read < $TMPDIR/y";
          tasks."a:y".exec = "mkfifo $TMPDIR/y || true; until [ -p $TMPDIR/x ]; do :; done; read < $TMPDIR/x; echo > $TMPDIR/y";
        }"#,
    )
    .succeeded();
}

#[test]
fn a_cycle_is_a_failure_that_names_it() {
    let trace = run_nix(
        r#"{
          tasks."a:x" = { exec = "true"; after = [ "b:y" ]; };
          tasks."b:y" = { exec = "true"; after = [ "a:x" ]; };
        }"#,
    )
    .expect(Outcome::Failure, "tasks wait for each other: a:x → b:y → a:x");
    assert_eq!(trace.find("a:x"), None, "nothing ran");
    assert!(matches!(trace.messages()[..], [(Level::Error, _, Some("devenv.nix"), None)]));
}

#[test]
fn an_unknown_dependency_is_a_failure_with_the_nearest_name() {
    run_nix(
        r#"{
          tasks."app:build".exec = "true";
          tasks."app:test" = { exec = "true"; after = [ "app:biuld" ]; };
        }"#,
    )
    .expect(
        Outcome::Failure,
        "the task app:test names app:biuld in `after`, but there is no such task. Did you mean app:build?",
    );
}

#[test]
fn after_a_failure_dependents_are_skipped_and_the_rest_runs() {
    let trace = run_nix(
        r#"{
          enterTest = "echo never";
          tasks."app:build".exec = "echo broken >&2; exit 3";
          tasks."app:test" = { exec = "echo never"; after = [ "app:build" ]; };
          tasks."app:deploy" = { exec = "echo never"; after = [ "app:test" ]; };
          tasks."app:clean" = { exec = "echo cleaned"; after = [ "app:build@completed" ]; };
          tasks."doc:lint".exec = "echo linted";
        }"#,
    )
    .expect(Outcome::Failure, "task app:build failed with exit status 3");
    assert_eq!(trace.finished.exit_status, Some(3));
    assert_eq!(
        trace.messages(),
        [(Level::Error, "task app:build failed with exit status 3", None, None)],
        "it is said once"
    );
    assert_eq!(trace.outcome("app:build"), Outcome::Failure);
    assert_eq!(trace.attribute("app:build", "process.exit.code").as_deref(), Some("3"));
    for (task, because) in [
        ("app:test", "Skipped: app:build failed."),
        ("app:deploy", "Skipped: app:test was skipped."),
        ("devenv:enterTest", "Skipped: app:build failed."),
    ] {
        assert_eq!(trace.outcome(task), Outcome::Skip);
        assert_eq!(trace.said(task), [because]);
    }
    assert_eq!(trace.lines("app:clean"), ["cleaned"]);
    assert_eq!(trace.lines("doc:lint"), ["linted"]);
}

#[test]
fn processes_run_while_enter_test_does_and_are_stopped_after() {
    let trace = run_nix(
        r#"{
          processes.server.exec = "trap 'echo bye; exit 0' TERM; echo up > $DEVENV_STATE/up; while :; do sleep 0.05; done";
          enterTest = "until [ -e $DEVENV_STATE/up ]; do sleep 0.01; done; echo tested";
        }"#,
    )
    .succeeded();
    let (process, test) = (trace.when("devenv:processes:server"), trace.when("devenv:enterTest"));
    assert!(process.0 < test.0 && test.1 < process.1, "{process:?} {test:?}");
    // Bash itself may say that a signal ended its sleep.
    assert!(trace.lines("devenv:processes:server").contains(&"bye"));
    assert_eq!(trace.outcome("devenv:processes:server"), Outcome::Success);
}

#[test]
fn a_process_that_nobody_waits_for_is_not_started() {
    let trace =
        run_nix(r#"{ processes.server.exec = "sleep 1000"; tasks."a:x".exec = "true"; }"#).succeeded();
    assert_eq!(trace.find("devenv:processes:server"), None);
}

#[test]
fn a_process_that_keeps_failing_fails_the_job() {
    let trace = run_nix(
        r#"{
          processes.server.exec = "echo try >> $DEVENV_STATE/tries; exit 7";
          enterTest = "until [ $(cat $DEVENV_STATE/tries | wc -l) = 6 ]; do sleep 0.01; done; sleep 0.3";
        }"#,
    )
    .expect(Outcome::Failure, "task devenv:processes:server failed with exit status 7");
    assert_eq!(trace.outcome("devenv:processes:server"), Outcome::Failure);
}

#[test]
fn the_built_in_names_of_devenv_are_known_and_can_be_added_to() {
    let trace = run_nix(
        r#"{
          enterTest = "echo from enterTest";
          tasks."devenv:enterTest".exec = "echo from the task";
          tasks."a:x" = { exec = "true"; after = [ "devenv:git-hooks:run" "devenv:files" ]; };
        }"#,
    )
    .succeeded();
    assert_eq!(trace.lines("devenv:enterTest"), ["from enterTest", "from the task"]);
}
