use super::*;
use crate::protocol::read_message;

fn finished() -> Finished {
    Finished { outcome: Outcome::Success, reason: String::new(), exit_status: None, dropped_lines: 0 }
}

fn sent(recorder: &Recorder) -> Vec<GuestMessage> {
    let mut bytes = Vec::new();
    recorder.send_all(&mut bytes, &Nothing).unwrap();
    let mut rest = &bytes[..];
    std::iter::from_fn(|| read_message(&mut rest).ok()).collect()
}

#[test]
fn records_come_before_the_end_and_are_numbered() {
    let recorder = Recorder::default();
    let span = recorder.open(None, NewSpan::new(SpanKind::Stage, "checkout").stage(Stage::Checkout));
    span.say("hello");
    span.close(Outcome::Success);
    recorder.finish(finished());
    let messages = sent(&recorder);
    let [GuestMessage::Records { first: 1, records }, GuestMessage::Finished(_)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(records.len(), 3);
}

#[test]
fn what_is_open_at_the_end_is_closed_from_the_inside_out() {
    let recorder = Recorder::default();
    let outer = recorder.open(None, NewSpan::new(SpanKind::Stage, "outer"));
    let inner = outer.open(NewSpan::new(SpanKind::Other, "inner"));
    recorder.finish(Finished { outcome: Outcome::Cancellation, ..finished() });
    drop((outer, inner));
    let messages = sent(&recorder);
    let GuestMessage::Records { records, .. } = &messages[0] else { panic!("{messages:?}") };
    let closed: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::SpanClosed { id, outcome, .. } => Some((*id, *outcome)),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [(2, Outcome::Cancellation), (1, Outcome::Cancellation)]);
}

#[test]
fn lines_beyond_the_limit_are_counted_and_said_once() {
    let recorder = Recorder::default();
    recorder.limit_log(10);
    let span = recorder.open(None, NewSpan::new(SpanKind::Task, "t"));
    span.lines(Stream::Stdout, ["12345", "67890", "x"].map(str::to_owned).to_vec());
    span.close(Outcome::Success);
    recorder.finish(finished());
    let messages = sent(&recorder);
    let [GuestMessage::Records { records, .. }, GuestMessage::Finished(end)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(end.dropped_lines, 2);
    let system = |record: &&Record| matches!(record, Record::Line { stream: Stream::System, .. });
    assert_eq!(records.iter().filter(system).count(), 1);
}

#[test]
fn a_knock_is_answered_though_there_is_nothing_to_say() {
    let recorder = Recorder::default();
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| recorder.send_all(writer, &Nothing));
        // Sooner than the guest would speak by itself.
        reader.set_read_timeout(Some(ALIVE / 2)).unwrap();
        for _ in 0..3 {
            recorder.acknowledge(0);
            assert!(matches!(read_message(&reader).unwrap(), GuestMessage::Alive));
        }
        recorder.finish(finished());
        assert!(matches!(read_message(&reader).unwrap(), GuestMessage::Finished(_)));
    });
}

#[test]
fn the_window_is_kept_until_the_host_acknowledges() {
    let recorder = Recorder::default();
    let span = recorder.open(None, NewSpan::new(SpanKind::Task, "t"));
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let total = limits::WINDOW + 10;
    std::thread::scope(|scope| {
        scope.spawn(|| recorder.send_all(writer, &Nothing));
        scope.spawn(|| {
            for number in 1..total {
                span.lines(Stream::Stdout, vec![number.to_string()]);
            }
            recorder.finish(finished());
        });
        let mut received = 0;
        while received < limits::WINDOW {
            if let GuestMessage::Records { first, records } = read_message(&reader).unwrap() {
                assert_eq!(first, received + 1);
                received += records.len() as u64;
            }
        }
        assert_eq!(received, limits::WINDOW, "the guest sent more than the window");
        reader.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(read_message::<GuestMessage>(&reader).is_err(), "nothing more comes unasked");
        reader.set_read_timeout(None).unwrap();
        recorder.acknowledge(received);
        loop {
            match read_message(&reader).unwrap() {
                GuestMessage::Records { records, .. } => received += records.len() as u64,
                GuestMessage::Finished(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(received >= total);
    });
}

#[test]
fn every_batch_fits_a_frame() {
    let recorder = Recorder::default();
    let span = recorder.open(None, NewSpan::new(SpanKind::Task, "t"));
    for _ in 0..100 {
        span.lines(Stream::Stdout, vec!["x".repeat(limits::LINE)]);
    }
    let attributes = (0..100).map(|_| ("k".repeat(limits::NAME), "v".repeat(2 * limits::VALUE))).collect();
    recorder.close(span.id(), Outcome::Success, attributes);
    recorder.finish(finished());
    assert!(sent(&recorder).len() > 3);
}
