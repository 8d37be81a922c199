use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(second, 0).unwrap()
}

fn checker() -> Checker {
    Checker::new(100, at(100))
}

impl Checker {
    fn all(
        &mut self,
        first: u64,
        records: Vec<Record>,
        now: Timestamp,
    ) -> Result<Vec<telemetry::Record>, Violation> {
        let mut out = Vec::new();
        self.records(first, records, now, &mut out).map(|()| out)
    }
}

fn opened(id: u64, parent: Option<u64>) -> Record {
    Record::SpanOpened {
        id,
        parent,
        kind: SpanKind::Task,
        stage: Some(Stage::Task),
        name: "app:build".into(),
        time: 110 * SECOND,
        attributes: vec![],
    }
}

fn closed(id: u64) -> Record {
    Record::SpanClosed { id, time: 120 * SECOND, outcome: Outcome::Success, attributes: vec![] }
}

fn text(span: u64, text: &str) -> Record {
    Record::Line { span, stream: Stream::Stdout, time: 115 * SECOND, text: text.into() }
}

fn message(level: Level, text: &str) -> Record {
    Record::Message {
        span: None,
        level,
        time: 0,
        text: text.into(),
        file: Some("devenv.nix".into()),
        line: Some(3),
    }
}

fn attributes(attributes: Vec<(String, String)>) -> Vec<Record> {
    vec![opened(1, None), Record::SpanClosed { id: 1, time: 0, outcome: Outcome::Success, attributes }]
}

/// What a guest must not do. Each is refused; the words say what it did.
#[test]
fn every_violation_is_refused() {
    let renamed = |name: String| {
        let mut record = opened(1, None);
        if let Record::SpanOpened { name: was, .. } = &mut record {
            *was = name;
        }
        vec![record]
    };
    let pair = |key: usize, value: usize| vec![("k".repeat(key), "v".repeat(value))];
    let many = (0..=limits::ATTRIBUTES).map(|n| (n.to_string(), String::new())).collect();
    for (first, records, words) in [
        (2, vec![opened(1, None)], "record 2 instead of 1"),
        (0, vec![], "record 0 instead of 1"),
        (1, vec![opened(1, None); limits::RECORDS + 1], "4097 records in one frame"),
        (1, vec![opened(1, None), opened(1, None)], "opened span 1 twice"),
        (1, vec![opened(1, None), closed(1), opened(1, None)], "opened span 1 twice"),
        (1, vec![opened(1, Some(7))], "span 7 before it opened it"),
        (1, vec![opened(1, Some(1))], "span 1 before it opened it"),
        (1, vec![opened(limits::GUEST_SPAN_IDS, None)], "the host's"),
        (1, vec![opened(JOB_SPAN.0 + 1, None)], "the host's"),
        (1, vec![closed(JOB_SPAN.0)], "before it opened it"),
        (1, vec![closed(1)], "before it opened it"),
        (1, vec![opened(1, None), closed(1), closed(1)], "closed span 1 twice"),
        (1, vec![text(JOB_SPAN.0, "x")], "before it opened it"),
        (1, vec![opened(1, None), text(1, "a\nb")], "line break"),
        (1, vec![opened(1, None), text(1, &"x".repeat(limits::LINE + 1))], "a line of 16385 bytes"),
        (1, vec![opened(1, None), text(1, &"x".repeat(50)), text(1, &"x".repeat(50))], "more log"),
        (1, vec![message(Level::Info, &"x".repeat(limits::MESSAGE + 1))], "a message of"),
        (1, renamed(String::new()), "in 0 bytes"),
        (1, renamed("n".repeat(limits::NAME + 1)), "in 513 bytes"),
        (1, attributes(many), "65 attributes"),
        (1, attributes(pair(0, 1)), "in 0 bytes"),
        (1, attributes(pair(limits::NAME + 1, 1)), "in 513 bytes"),
        (1, attributes(pair(1, limits::VALUE + 1)), "4097 bytes"),
    ] {
        let violation = checker().all(first, records, at(200)).unwrap_err().to_string();
        assert!(violation.contains(words), "{violation} / {words}");
    }
}

#[test]
fn what_came_before_a_violation_is_kept() {
    let (mut checker, mut out) = (checker(), Vec::new());
    checker.records(1, vec![opened(1, None), opened(1, None)], at(200), &mut out).unwrap_err();
    assert_eq!(out.len(), 1);
    assert_eq!(checker.open_spans().len(), 1);
    // Nothing is noted of a record that is refused for its attributes.
    let mut record = opened(2, None);
    if let Record::SpanOpened { attributes, .. } = &mut record {
        attributes.push((String::new(), String::new()));
    }
    checker.records(3, vec![record], at(200), &mut out).unwrap_err();
    assert_eq!((out.len(), checker.open_spans().len()), (1, 1));
}

#[test]
fn a_million_spans_end_at_the_limit() {
    let mut checker = checker();
    let mut id = 0;
    let violation = loop {
        let first = checker.next;
        let records = (0..1000).map(|n| opened(id + n, None)).collect();
        id += 1000;
        match checker.all(first, records, at(200)) {
            Ok(_) => assert!(id <= limits::SPANS as u64),
            Err(violation) => break violation,
        }
    };
    assert!(violation.to_string().contains("more than 200000 spans"), "{violation}");
}

#[test]
fn messages_of_nothing_but_line_breaks_are_refused_before_they_are_very_many_lines() {
    let (mut checker, mut lines) = (checker(), 0);
    for first in 1.. {
        let breaks = message(Level::Warning, &"\n".repeat(limits::MESSAGE));
        match checker.all(first, vec![breaks], at(200)) {
            Ok(records) => lines += records.len(),
            Err(_) => break,
        }
    }
    assert!((250_000..=600_000).contains(&lines), "{lines}");
}

#[test]
fn frames_that_say_nothing_are_counted() {
    let mut checker = checker();
    // A job of a day, in order.
    for second in (0..86_400).step_by(5) {
        checker.empty_frame(at(100 + second)).unwrap();
    }
    let mut checker = self::checker();
    let sent = (1..).find(|_| checker.records(1, vec![], at(110), &mut Vec::new()).is_err());
    assert_eq!(sent, Some(1021));
    let violation = checker.empty_frame(at(110)).unwrap_err().to_string();
    assert!(violation.contains("nothing in them"), "{violation}");
}

#[test]
fn names_and_messages_control_no_terminal_and_output_may() {
    let evil = "a\u{1b}[2Jb\r\u{202e}c\u{7}";
    let mut record = opened(1, None);
    if let Record::SpanOpened { name, attributes, .. } = &mut record {
        *name = evil.into();
        attributes.push((evil.into(), evil.into()));
    }
    let records =
        checker().all(1, vec![record, text(1, evil), message(Level::Error, evil)], at(200)).unwrap();
    let harmless = "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}";
    match &records[..] {
        [
            telemetry::Record::Opened { name, attributes, .. },
            telemetry::Record::Line { text, .. },
            telemetry::Record::Annotation(annotation),
        ] => {
            assert_eq!((name.as_str(), annotation.message.as_str()), (harmless, harmless));
            assert_eq!(attributes.get(harmless).map(String::as_str), Some(harmless));
            assert_eq!(text, evil, "colours are the job's own");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_passes_here_passes_from_a_runner_too() {
    let nul = |count| "\0".repeat(count);
    let mut record = opened(1, None);
    if let Record::SpanOpened { name, attributes, .. } = &mut record {
        *name = nul(limits::NAME);
        *attributes = vec![(nul(limits::NAME), nul(limits::VALUE))];
    }
    let mut checker = Checker::new(1 << 20, at(100));
    let records = vec![record, message(Level::Error, &nul(limits::MESSAGE)), text(1, &nul(limits::LINE))];
    let records = checker.all(1, records, at(200)).unwrap();
    telemetry::Record::check_all(&records).unwrap();
}

#[test]
fn names_without_end_are_refused_before_they_fill_the_memory() {
    let mut checker = checker();
    let attributes: Vec<_> = (0..64).map(|n| (n.to_string(), "v".repeat(4096))).collect();
    let refused = (0..1000).any(|id| {
        let mut record = opened(id, None);
        if let Record::SpanOpened { attributes: was, .. } = &mut record {
            was.clone_from(&attributes);
        }
        checker.all(id + 1, vec![record], at(200)).is_err()
    });
    assert!(refused);
}

#[test]
fn what_is_in_order_is_translated() {
    let mut checker = checker();
    let records = checker
        .all(1, vec![opened(1, None), opened(2, Some(1)), text(2, "nul\0"), closed(2)], at(200))
        .unwrap();
    assert!(matches!(&records[0], telemetry::Record::Opened { parent: Some(JOB_SPAN), .. }));
    assert!(matches!(&records[1], telemetry::Record::Opened { parent: Some(SpanId(1)), .. }));
    assert!(matches!(&records[2], telemetry::Record::Line { text, .. } if text == "nul\u{fffd}"));
    assert_eq!(checker.last(), 4);
    assert_eq!(checker.open_spans(), [(SpanId(1), at(110))]);
    assert_eq!(checker.all(5, vec![], at(200)).unwrap(), []);
}

#[test]
fn times_are_moved_to_where_they_can_have_been() {
    let mut checker = checker();
    let mut record = |id: u64, time: u64, now: i64| {
        let mut record = opened(id, None);
        if let Record::SpanOpened { time: was, .. } = &mut record {
            *was = time;
        }
        match checker.all(checker.next, vec![record], at(now)).unwrap().remove(0) {
            telemetry::Record::Opened { time, .. } => time,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(record(1, 150 * SECOND, 200), at(150));
    assert_eq!(record(2, 0, 200), at(100), "not before the machine");
    assert_eq!(record(3, u64::MAX, 200), at(200), "not after now");
    let records = checker.all(4, vec![opened(4, Some(3)), closed(4)], at(210)).unwrap();
    assert!(matches!(records[0], telemetry::Record::Opened { time, .. } if time == at(200)));
    assert!(matches!(records[1], telemetry::Record::Closed { time, .. } if time == at(200)));
}

#[test]
fn errors_stand_in_front_and_the_rest_is_said() {
    let mut checker = checker();
    let records = checker
        .all(1, vec![message(Level::Error, "wrong"), message(Level::Warning, "odd\nreally")], at(200))
        .unwrap();
    assert!(
        matches!(&records[0], telemetry::Record::Annotation(a) if a.message == "wrong" && a.line == Some(3))
    );
    let said: Vec<_> = records[1..]
        .iter()
        .map(|record| match record {
            telemetry::Record::Line { span: JOB_SPAN, stream: trace::Stream::System, text, .. } => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(said, ["devenv.nix:3: warning: odd", "really"]);

    let flood = vec![message(Level::Error, "again"); 500];
    let records = checker.all(3, flood, at(200)).unwrap();
    let annotations = records.iter().filter(|r| matches!(r, telemetry::Record::Annotation(_))).count();
    assert_eq!(annotations, ANNOTATIONS - 1);
}
