//! An image that has a `devenv`: here a script that says what the real one
//! would, because the real one needs nixpkgs.

use std::{fs, os::unix::fs::PermissionsExt};

use devenv_cloud_guest::protocol::{Job, Level, Outcome, SpanKind};

use crate::host::{Ground, Trace, commit, kind};

/// The activity that a fake devenv writes when it is called with these first
/// words, what it prints, and how it ends.
struct Answer<'a> {
    words: &'a str,
    events: &'a [&'a str],
    then: &'a str,
}

fn run(answers: &[Answer]) -> Trace {
    run_tasks(answers, &[])
}

fn run_tasks(answers: &[Answer], tasks: &[&str]) -> Trace {
    let mut ground = Ground::new();
    let folder = ground.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let mut script = "#!/bin/bash\n\
        [ \"$1\" = --trace-to ] || exit 99\n\
        trace=${2#json:file:}; shift 2\n\
        event() { echo \"{\\\"target\\\":\\\"devenv_activity::events\\\",\\\"fields\\\":{\\\"event\\\":$1}}\" >> \"$trace\"; }\n\
        case \"$*\" in\n"
        .to_owned();
    for answer in answers {
        script.push_str(&format!("{:?}*)\n", answer.words));
        for event in answer.events {
            script.push_str(&format!("event '{event}'\n"));
        }
        script.push_str(&format!("{};;\n", answer.then));
    }
    script.push_str("*) echo \"called with $*\" >&2; exit 98;;\nesac\n");
    let file = folder.join("devenv");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let path = ground.world.env.get_mut("PATH").unwrap();
    *path = format!("{}:{path}", folder.display());
    let commit = commit(&[("devenv.nix", "{ }")]);
    let change = |job: &mut Job| {
        job.env.insert("TOKEN".to_owned(), "s3cret".to_owned());
        job.tasks = tasks.iter().map(|task| (*task).to_owned()).collect();
    };
    ground.begin(&commit, change).finish()
}

const LIST: Answer = Answer {
    words: "tasks list --json",
    events: &[
        r#"{"activity_kind":"evaluate","event":"start","id":9223372036854775809,"name":"Evaluating shell"}"#,
        r#"{"activity_kind":"evaluate","event":"complete","id":9223372036854775809,"outcome":"success"}"#,
    ],
    then: r#"echo '[{"name":"devenv:enterShell"},{"name":"app:build","description":"x"}]'"#,
};
const TEST: Answer = Answer { words: "test", events: &[], then: "echo tested >&2" };
const BUILD: Answer =
    Answer { words: "build", events: &[], then: r#"echo '{"outputs.app":"/nix/store/x-app"}'"# };

#[test]
fn its_activity_becomes_spans_and_lines() {
    let trace = run(&[
        LIST,
        Answer {
            words: "tasks run --mode all app:build",
            events: &[
                r#"{"activity_kind":"task","event":"hierarchy","tasks":[{"id":4,"name":"app:build"}],"edges":[]}"#,
                r#"{"activity_kind":"task","event":"start","id":4}"#,
                r#"{"activity_kind":"task","event":"log","id":4,"line":"hello","is_error":false}"#,
                r#"{"activity_kind":"build","event":"start","id":5,"name":"lib","parent":4,"derivation_path":"/nix/store/x.drv"}"#,
                r#"{"activity_kind":"novelty","event":"start","id":6,"name":"unknown"}"#,
                r#"{"activity_kind":"task","event":"complete","id":4,"outcome":"cached"}"#,
            ],
            then: "test $TOKEN = s3cret && test $CI = 1",
        },
        TEST,
        BUILD,
    ])
    .succeeded();
    assert_eq!(trace.attribute("evaluate", "devenv.evaluator").as_deref(), Some("devenv"));
    assert_eq!(kind(&trace, "Evaluating shell"), SpanKind::Evaluation);
    assert_eq!(kind(&trace, "app:build"), SpanKind::Task);
    assert_eq!(trace.lines("app:build"), ["hello"]);
    assert_eq!(trace.attribute("app:build", "devenv.task.cached").as_deref(), Some("true"));
    assert_eq!(kind(&trace, "lib"), SpanKind::Build);
    assert_eq!(trace.find("unknown"), None);
    assert_eq!(trace.lines("devenv test"), ["tested"]);
    assert_eq!(trace.attribute("outputs", "devenv.output.app").as_deref(), Some("/nix/store/x-app"));
}

#[test]
fn secrets_are_not_in_the_evaluation() {
    let list = Answer { then: "[ -z \"$TOKEN\" ] || exit 97; echo '[]'", ..LIST };
    run(&[list, TEST, BUILD]).succeeded();
}

#[test]
fn only_the_tasks_that_were_asked_for_are_run() {
    let words = "tasks run --mode before app:build app:test";
    run_tasks(&[LIST, Answer { words, events: &[], then: "true" }], &["app:build", "app:test"]).succeeded();
}

#[test]
fn a_task_that_fails_is_named() {
    let trace = run(&[
        LIST,
        Answer {
            words: "tasks run",
            events: &[
                r#"{"activity_kind":"task","event":"hierarchy","tasks":[{"id":4,"name":"app:build"}],"edges":[]}"#,
                r#"{"activity_kind":"task","event":"start","id":4}"#,
                r#"{"activity_kind":"task","event":"complete","id":4,"outcome":"failed"}"#,
            ],
            then: "exit 1",
        },
    ])
    .expect(Outcome::Failure, "task app:build failed");
    assert_eq!(trace.outcome("app:build"), Outcome::Failure);
}

#[test]
fn an_error_of_the_evaluation_has_its_words() {
    let error =
        r#"{"activity_kind":"message","id":9,"level":"error","text":"error: undefined variable foo"}"#;
    let trace = run(&[Answer { events: &[error], then: "exit 1", ..LIST }])
        .expect(Outcome::Failure, "undefined variable foo");
    assert_eq!(trace.messages()[0].0, Level::Error);
}

#[test]
fn what_devenv_leaves_open_when_it_dies_is_closed() {
    let start = r#"{"activity_kind":"operation","event":"start","id":8,"name":"Running tests"}"#;
    let trace = run(&[
        Answer { then: "echo '[]'", ..LIST },
        Answer { events: &[start], then: "printf '{\"target\":' >> \"$trace\"; kill -KILL $$", ..TEST },
    ])
    .expect(Outcome::Failure, "devenv test was ended by SIGKILL");
    assert_eq!(trace.outcome("Running tests"), Outcome::Failure);
}
