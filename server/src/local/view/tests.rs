use std::collections::BTreeMap;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_timestamp_millis(1_000_000 + millis).unwrap()
}

fn opened(id: u64, parent: u64, kind: SpanKind, name: &str, millis: i64) -> Record {
    let stage = match (kind, name) {
        (SpanKind::Stage, name) => name.parse().ok(),
        (SpanKind::Task, _) => Some(Stage::Task),
        _ => None,
    };
    let parent = (parent != 0).then_some(SpanId(parent)).or(Some(JOB_SPAN));
    let (name, time) = (name.to_owned(), at(millis));
    Record::Opened { id: SpanId(id), parent, kind, stage, name, time, attributes: BTreeMap::new() }
}

fn closed(id: u64, state: State, millis: i64, attributes: &[(&str, &str)]) -> Record {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Record::Closed { id: SpanId(id), time: at(millis), state, attributes }
}

fn line(span: u64, text: &str) -> Record {
    Record::Line { span: SpanId(span), stream: Stream::Stdout, time: at(0), text: text.to_owned() }
}

fn system(span: u64, text: &str) -> Record {
    Record::Line { span: SpanId(span), stream: Stream::System, time: at(0), text: text.to_owned() }
}

fn plain() -> View {
    View::new(false, at(0))
}

fn told_of(view: &mut View, records: &[Record]) -> Vec<String> {
    records.iter().flat_map(|record| view.record(record)).collect()
}

#[test]
fn stages_and_tasks_are_told_when_they_end() {
    let mut view = plain();
    let lines = told_of(
        &mut view,
        &[
            opened(1, 0, SpanKind::Stage, "queue", 0),
            closed(1, State::Success, 0, &[]),
            opened(2, 0, SpanKind::Stage, "machine", 0),
            closed(2, State::Success, 3_210, &[("devenv_cloud.machine.accelerator", "kvm")]),
            opened(3, 0, SpanKind::Task, "app:build", 3_210),
            opened(4, 3, SpanKind::Command, "bash", 3_220),
            closed(4, State::Success, 3_230, &[]),
            closed(3, State::Success, 3_250, &[("process.exit.code", "0")]),
            opened(5, 0, SpanKind::Task, "app:test", 3_250),
            closed(5, State::Failure, 4_250, &[("process.exit.code", "7")]),
            opened(6, 0, SpanKind::Task, "app:deploy", 4_250),
            closed(6, State::Skip, 4_250, &[("devenv.task.skip_reason", "app:test failed")]),
        ],
    );
    assert_eq!(
        lines,
        [
            "✓ machine                         3.21 s",
            "✓ app:build                       0.04 s",
            "✗ app:test                        1.00 s  exit status 7",
            "– app:deploy                      0.00 s  skipped: app:test failed",
        ]
    );
    let conclusion = Conclusion {
        state: State::Failure,
        reason: Some("app:test failed with exit status 7".to_owned()),
        exit_status: Some(7),
        dropped_lines: 12,
    };
    assert_eq!(
        view.conclusion(&conclusion, at(4_300)),
        [
            "✗ failure after 4.30 s (1 done, 1 failed, 1 skipped)",
            "  app:test failed with exit status 7",
            "  12 lines are missing above: the job wrote more than is kept",
        ]
    );
}

#[test]
fn a_task_alone_stands_above_its_lines_and_several_before_them() {
    let mut view = plain();
    let lines = told_of(
        &mut view,
        &[
            opened(3, 0, SpanKind::Task, "app:build", 0),
            opened(4, 3, SpanKind::Command, "bash", 0),
            line(4, "one"),
            line(3, "two"),
            opened(5, 0, SpanKind::Task, "app:test:unit", 0),
            line(3, "three"),
            line(5, "four"),
            closed(5, State::Success, 10, &[]),
            line(3, "five"),
        ],
    );
    assert_eq!(
        lines,
        [
            "▸ app:build",
            "  one",
            "  two",
            "app:build     │ three",
            "app:test:unit │ four",
            "✓ app:test:unit                   0.01 s",
            "▸ app:build",
            "  five",
        ]
    );
}

#[test]
fn an_error_comes_with_its_place() {
    let mut view = plain();
    let annotation = Annotation {
        message: "error: undefined variable\n  at x".to_owned(),
        file: Some("devenv.nix".to_owned()),
        line: Some(3),
        span: None,
    };
    assert_eq!(
        view.record(&Record::Annotation(annotation.clone())),
        ["! devenv.nix:3", "  error: undefined variable", "    at x"]
    );
    let nowhere = Annotation { file: None, line: None, ..annotation };
    assert_eq!(view.record(&Record::Annotation(nowhere)), ["! error: undefined variable", "    at x"]);
}

#[test]
fn how_a_task_failed_is_said_once() {
    for (said, told) in [
        ("task app:test failed with exit status 7", "exit status 7"),
        ("task app:test was killed: it used more memory than it may", ""),
    ] {
        let mut view = plain();
        let annotation = Annotation { message: said.into(), file: None, line: None, span: Some(SpanId(3)) };
        let lines = told_of(
            &mut view,
            &[
                opened(3, 0, SpanKind::Task, "app:test", 0),
                Record::Annotation(annotation),
                closed(3, State::Failure, 1_000, &[("process.exit.code", "7")]),
                opened(4, 0, SpanKind::Task, "app:deploy", 1_000),
                system(4, "Skipped: app:test failed."),
                closed(4, State::Skip, 1_000, &[("devenv.task.skip_reason", "app:test failed")]),
            ],
        );
        let told = if told.is_empty() { said } else { told };
        assert_eq!(
            lines,
            [
                format!("✗ app:test                        1.00 s  {told}"),
                "– app:deploy                      0.00 s  skipped: app:test failed".to_owned(),
            ]
        );
    }
}

#[test]
fn what_runs_is_a_tree_with_ticking_durations() {
    let mut view = plain();
    told_of(
        &mut view,
        &[
            opened(3, 0, SpanKind::Task, "app:build", 0),
            opened(9, 0, SpanKind::Task, "app:lint", 500),
            opened(4, 3, SpanKind::Build, "hello-2.12", 1_000),
            opened(7, 0, SpanKind::Task, "app:quick", 0),
            closed(7, State::Success, 10, &[]),
        ],
    );
    assert_eq!(
        view.moving(at(2_340), 80, 10),
        [
            "⠸ app:build                        2.3 s",
            "  ⠸ hello-2.12                     1.3 s",
            "⠸ app:lint                         1.8 s",
            "  2.3 s · 1 done · Ctrl+C cancels",
        ]
    );
    assert_eq!(
        view.moving(at(2_340), 80, 3),
        ["⠸ app:build                        2.3 s", "  2.3 s · 1 more running · 1 done · Ctrl+C cancels"]
    );
    for (columns, height) in [(0, 0), (1, 1), (10, 2), (40, 3)] {
        for line in view.moving(at(2_340), columns, height) {
            assert!(width(&line) <= columns.max(4), "{columns}: {line:?}");
        }
    }
    let words = view.cancel(10).join("");
    assert!(words.contains("Ctrl+C again"), "{words}");
    assert!(view.moving(at(2_340), 80, 10).last().unwrap().ends_with("cancelling"));
}

#[test]
fn without_colours_there_is_no_escape_and_with_them_each_is_closed() {
    let records = [
        opened(2, 0, SpanKind::Stage, "machine", 0),
        closed(2, State::Error, 5, &[]),
        opened(3, 0, SpanKind::Task, "app:\u{1b}[31mx", 0),
        line(3, "\u{1b}[32mgreen"),
        Record::Annotation(Annotation { message: "bad".into(), file: None, line: None, span: None }),
        closed(3, State::Failure, 9, &[]),
    ];
    let mut view = plain();
    let mut lines = told_of(&mut view, &records);
    lines.extend(view.moving(at(5), 80, 10));
    assert!(!lines.concat().contains('\u{1b}'), "{lines:#?}");

    let mut view = View::new(true, at(0));
    for line in told_of(&mut view, &records) {
        assert!(
            !line.contains('\u{1b}') || line.trim_end_matches(|c: char| c != 'm').ends_with("\u{1b}[0m"),
            "{line:?}"
        );
    }
}
