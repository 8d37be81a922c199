//! Records: stored once, durably; read as traces and logs; followed live.

use std::time::Duration;

use devenv_cloud::{
    executor::{ControlError, ControlPlane as _, Lease},
    runs,
    telemetry::{self, JOB_SPAN, LogQuery},
};
use devenv_cloud_api::{
    ids::SpanId,
    orgs::ProjectSettings,
    runs::{Stage, State},
    trace::{LiveEvent, LogWindow, SpanKind},
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::support::{
    TestApp,
    work::{Project, Script, claim, finish, noise, plane},
};

async fn lease(app: &TestApp) -> (Project, Lease) {
    let project = Project::create(app, &ProjectSettings::default()).await;
    project.run(app, "main", 'a').await;
    (project, claim(app).await.expect("work").lease)
}

async fn window(app: &TestApp, lease: &Lease, query: LogQuery) -> LogWindow {
    let (_, row) = runs::attempt_of(app, lease.attempt).await.expect("row").expect("attempt");
    telemetry::log_window(app, &row, &query).await.expect("window")
}

async fn trace(app: &TestApp, lease: &Lease) -> devenv_cloud_api::trace::Trace {
    let (_, row) = runs::attempt_of(app, lease.attempt).await.expect("row").expect("attempt");
    telemetry::trace(app, &row, usize::MAX).await.expect("trace")
}

fn numbers(window: &LogWindow) -> Vec<u64> {
    window.lines.iter().map(|line| line.number).collect()
}

fn all() -> LogQuery {
    LogQuery { limit: 1_000_000, ..LogQuery::default() }
}

both_engines! {
    async fn what_is_appended_is_read_again(app: TestApp) {
        let (project, lease) = lease(&app).await;
        Script::new(&app)
            .job()
            .open(1, None, SpanKind::Stage, Some(Stage::Evaluate))
            .line(1, "\u{1b}[31mhello\u{1b}[0m")
            .close(1, State::Failure)
            .send(&lease, 1)
            .await;
        let window = window(&app, &lease, all()).await;
        assert_eq!(window.lines[0].text, "\u{1b}[31mhello\u{1b}[0m");
        assert_eq!((window.lines[0].number, window.total, window.seq), (1, 1, 4));
        let trace = trace(&app, &lease).await;
        assert_eq!(trace.spans.iter().map(|s| (s.id, s.depth)).collect::<Vec<_>>(), [(JOB_SPAN, 0), (SpanId(1), 1)]);
        assert_eq!(trace.spans[1].lines, 1);
        let stages = &project.show(&app, 1).await.jobs[0].attempts[0].stages;
        assert_eq!(stages.len(), 1);
        assert_eq!((stages[0].stage, stages[0].state, stages[0].exit_status), (Stage::Evaluate, State::Failure, Some(3)));
    }

    async fn a_record_sent_twice_is_stored_once(app: TestApp) {
        let (_, lease) = lease(&app).await;
        Script::new(&app).job().lines(1, 1..=9).send(&lease, 1).await;
        Script::new(&app).job().lines(1, 1..=9).send(&lease, 1).await;
        // Half of it again, and half of it new.
        Script::new(&app).lines(1, 5..=14).send(&lease, 6).await;
        let window = window(&app, &lease, all()).await;
        assert_eq!(numbers(&window), (1..=14).collect::<Vec<_>>());
        let texts: Vec<_> = window.lines.iter().map(|line| line.text.clone()).collect();
        assert_eq!(texts, (1..=14).map(|n| format!("line {n}")).collect::<Vec<_>>());
    }

    async fn a_gap_is_refused(app: TestApp) {
        let (_, lease) = lease(&app).await;
        Script::new(&app).job().send(&lease, 1).await;
        let gap = plane(&app).append(&lease, 3, Script::new(&app).line(1, "x").records).await;
        assert!(matches!(gap, Err(ControlError::Unavailable(_))), "{gap:?}");
        assert_eq!(window(&app, &lease, all()).await.seq, 1);
    }

    async fn a_log_leaves_room_for_the_end_of_its_job(app: TestApp) {
        let (_, lease) = lease(&app).await;
        Script::new(&app).job().lines(1, 1..=9).send(&lease, 1).await;
        let app = app.restart(&[("DEVENV_CLOUD_LIMITS_DISK_RESERVE_MIB", "4294967295")]).await;
        let line = plane(&app).append(&lease, 11, Script::new(&app).line(1, "x").records).await;
        assert!(matches!(line, Err(ControlError::NoRoom(_))), "{line:?}");
        // What is stored already is, and what tells the end is small.
        Script::new(&app).job().lines(1, 1..=9).send(&lease, 1).await;
        Script::new(&app).open(1, None, SpanKind::Stage, Some(Stage::Evaluate)).close(1, State::Error).send(&lease, 11).await;
        assert_eq!(window(&app, &lease, all()).await.seq, 12);
    }

    async fn of_two_who_append_the_same_one_stores_it(app: TestApp) {
        let (_, lease) = lease(&app).await;
        let both = (0..4).map(|_| {
            let (app, lease) = (app.clone(), lease.clone());
            tokio::spawn(async move { Script::new(&app).job().lines(1, 1..=99).send(&lease, 1).await })
        });
        for one in both.collect::<Vec<_>>() {
            one.await.expect("append");
        }
        assert_eq!(numbers(&window(&app, &lease, all()).await), (1..=99).collect::<Vec<_>>());
    }

    async fn windows_of_a_long_log(app: TestApp) {
        let (_, lease) = lease(&app).await;
        Script::new(&app).job().open(1, None, SpanKind::Task, Some(Stage::Task)).open(2, None, SpanKind::Task, Some(Stage::Task)).send(&lease, 1).await;
        let mut seq = 4;
        for hundred in 0..20 {
            let span = if hundred % 4 == 0 { 2 } else { 1 };
            Script::new(&app).lines(span, hundred * 100 + 1..=hundred * 100 + 100).send(&lease, seq).await;
            seq += 100;
        }
        for _ in 0..2 {
            let query = LogQuery { from: 951, limit: 100, ..LogQuery::default() };
            assert_eq!(numbers(&window(&app, &lease, query).await), (951..=1050).collect::<Vec<_>>());
            let query = LogQuery { tail: Some(150), limit: 1000, ..LogQuery::default() };
            assert_eq!(numbers(&window(&app, &lease, query).await), (1851..=2000).collect::<Vec<_>>());
            let query = LogQuery { from: 1990, limit: 100, ..LogQuery::default() };
            assert_eq!(numbers(&window(&app, &lease, query).await), (1990..=2000).collect::<Vec<_>>());
            let query = LogQuery { span: Some(SpanId(2)), from: 90, limit: 20, ..LogQuery::default() };
            let span = window(&app, &lease, query).await;
            assert_eq!(span.total, 500);
            assert_eq!(numbers(&span), (90..=100).chain(401..=409).collect::<Vec<_>>());
            let query = LogQuery { span: Some(SpanId(2)), tail: Some(120), limit: 1000, ..LogQuery::default() };
            assert_eq!(numbers(&window(&app, &lease, query).await), (1281..=1300).chain(1601..=1700).collect::<Vec<_>>());
            let query = LogQuery { from: 2001, limit: 10, ..LogQuery::default() };
            assert!(window(&app, &lease, query).await.lines.is_empty());

            // The same once more, compacted.
            finish_and_compact(&app, &lease).await;
        }
    }

    async fn compaction_changes_nothing_but_the_chunks(app: TestApp) {
        let (_, lease) = lease(&app).await;
        Script::new(&app).job().open(1, None, SpanKind::Task, Some(Stage::Task)).send(&lease, 1).await;
        for n in 0..20_u64 {
            // Hard to compress, so that some chunks are objects.
            let noise = noise(&app, 160_000);
            let mut script = Script::new(&app);
            for part in 0..100 {
                script = script.line(1, format!("{part} {}", &noise[part * 1600..(part + 1) * 1600]));
            }
            script.send(&lease, 3 + n * 100).await;
        }
        Script::new(&app).close(1, State::Success).close(JOB_SPAN.0, State::Success).send(&lease, 2003).await;
        finish(&app, &lease, State::Success).await;
        let (before_log, before_trace) = (window(&app, &lease, all()).await, trace(&app, &lease).await);
        let before = objects(&app).await;
        assert!(before > 0);
        // What a crash between object and row leaves behind.
        let orphan = object_store::path::Path::from(format!("attempts/{}/000000000042-orphan", lease.attempt));
        object_store::ObjectStoreExt::put(&*app.objects, &orphan, "x".into()).await.expect("put");

        assert!(telemetry::compact_once(&app).await.expect("compact"));
        assert!(!telemetry::compact_once(&app).await.expect("compact"), "once is enough");
        assert!(objects(&app).await < before, "fewer, and no orphan");
        assert_eq!(window(&app, &lease, all()).await, before_log);
        assert_eq!(trace(&app, &lease).await, before_trace);

        // Not from memory either.
        let app = app.restart(&[]).await;
        assert_eq!(trace(&app, &lease).await, before_trace);
        let text: Vec<_> =
            telemetry::log_text(app.app.clone(), lease.attempt, false).try_collect().await.expect("text");
        let lines = text.iter().map(|bytes| bytes.iter().filter(|b| **b == b'\n').count()).sum::<usize>();
        assert_eq!(lines, 2000);
    }

    async fn what_a_deleted_project_said_is_deleted_too(app: TestApp) {
        let (_, lease) = lease(&app).await;
        let noise = noise(&app, 400_000);
        Script::new(&app).job().line(1, noise).send(&lease, 1).await;
        assert_eq!(telemetry::remove_orphans_once(&app).await.expect("look"), 0);
        assert_eq!(objects(&app).await, 1);
        devenv_cloud::db::query("DELETE FROM projects").execute(&app.db).await.expect("delete");
        assert_eq!(telemetry::remove_orphans_once(&app).await.expect("remove"), 1);
        assert_eq!(objects(&app).await, 0);
    }

    async fn a_disk_that_is_full_acknowledges_nothing(app: TestApp) {
        let (_, lease) = lease(&app).await;
        let objects = app.config.server.state_dir.join("objects");
        std::fs::remove_dir_all(&objects).expect("remove");
        std::fs::write(&objects, "in the way").expect("write");
        let noise = noise(&app, 400_000);
        let large = Script::new(&app).job().line(1, noise).records;
        let result = plane(&app).append(&lease, 1, large.clone()).await;
        assert!(matches!(result, Err(ControlError::Unavailable(_))), "{result:?}");
        assert_eq!(window(&app, &lease, all()).await.seq, 0);
        // When there is room again, the same records are taken.
        std::fs::remove_file(&objects).expect("remove");
        std::fs::create_dir(&objects).expect("create");
        plane(&app).append(&lease, 1, large).await.expect("append");
        assert_eq!(window(&app, &lease, all()).await.seq, 2);
    }

    async fn spans_without_end_are_refused_and_the_rest_is_not(app: TestApp) {
        let (_, lease) = lease(&app).await;
        // Half of them ends, as it may be: 200,000 of a guest and a few of the executor.
        let mut first = 1;
        for _ in 0..4 {
            let mut script = Script::new(&app);
            for id in 0..50_025 {
                script = script.open(first + id, None, SpanKind::Command, None).close(first + id, State::Success);
            }
            script.send(&lease, first).await;
            first += 100_050;
        }
        let more = plane(&app).append(&lease, first, Script::new(&app).job().records).await;
        assert!(matches!(&more, Err(ControlError::NoRoom(words)) if words.contains("200000 spans")), "{more:?}");
        Script::new(&app).line(1, "still heard").send(&lease, first).await;
        assert_eq!(window(&app, &lease, all()).await.seq, first);
    }

    async fn more_than_a_log_may_have_is_dropped_and_counted(app: TestApp) {
        let app = app.restart(&[("DEVENV_CLOUD_LIMITS_LOG_MIB", "1")]).await;
        let (_, lease) = lease(&app).await;
        let mut script = Script::new(&app).job();
        for _ in 0..40 {
            script = script.line(1, "x".repeat(100_000));
        }
        script.close(JOB_SPAN.0, State::Success).send(&lease, 1).await;
        let window = window(&app, &lease, all()).await;
        assert_eq!(window.lines.len() as u64 + window.dropped, 40);
        assert!((15..25).contains(&window.dropped), "{}", window.dropped);
        assert_eq!(window.seq, 42);
        assert_eq!(trace(&app, &lease).await.spans[0].state, State::Success, "spans are never dropped");
    }

    async fn the_end_of_an_attempt_ends_its_stages(app: TestApp) {
        let (project, lease) = lease(&app).await;
        Script::new(&app).job().open(1, None, SpanKind::Stage, Some(Stage::Machine)).send(&lease, 1).await;
        finish(&app, &lease, State::Timeout).await;
        let run = project.show(&app, 1).await;
        assert_eq!(run.jobs[0].attempts[0].stages[0].state, State::Timeout);
        let trace = trace(&app, &lease).await;
        assert!(trace.spans.iter().all(|span| span.state == State::Timeout), "{trace:?}");
    }

    async fn a_reader_that_comes_back_misses_nothing_and_hears_nothing_twice(app: TestApp) {
        let (_, lease) = lease(&app).await;
        let writer = {
            let (app, lease) = (app.clone(), lease.clone());
            tokio::spawn(async move {
                Script::new(&app).job().open(1, None, SpanKind::Task, Some(Stage::Task)).send(&lease, 1).await;
                let mut seq = 3;
                for n in 0..60_u64 {
                    Script::new(&app).lines(1, n * 50 + 1..=n * 50 + 50).send(&lease, seq).await;
                    seq += 50;
                }
                Script::new(&app).close(1, State::Success).close(JOB_SPAN.0, State::Success).send(&lease, seq).await;
                finish(&app, &lease, State::Success).await;
            })
        };
        let (mut lines, mut after, mut spans) = (Vec::new(), 0, std::collections::BTreeMap::new());
        let mut ended = false;
        // Each connection breaks after a few events, wherever that is.
        for events in (1..8).cycle() {
            let mut stream = Box::pin(telemetry::attempt_events(app.app.clone(), lease.attempt, after).take(events));
            let patience = Duration::from_secs(20);
            while let Some(event) = tokio::time::timeout(patience, stream.next()).await.expect("an event") {
                let event = event.expect("event");
                match event.event {
                    LiveEvent::Lines { lines: new } => {
                        assert!(event.seq.is_some(), "lines without a number would come twice");
                        lines.extend(new.into_iter().map(|line| line.number));
                    }
                    LiveEvent::Spans { spans: new } => {
                        spans.extend(new.into_iter().map(|span| (span.id, span.state)));
                    }
                    LiveEvent::Attempt { .. } => {}
                    LiveEvent::End => ended = true,
                }
                after = event.seq.unwrap_or(after);
            }
            if ended {
                break;
            }
        }
        writer.await.expect("writer");
        assert_eq!(lines, (1..=3000).collect::<Vec<_>>());
        assert_eq!(spans.into_values().collect::<Vec<_>>(), [State::Success, State::Success]);
    }

    async fn the_streams_end_when_the_server_stops(app: TestApp) {
        let (_, lease) = lease(&app).await;
        let stream = telemetry::attempt_events(app.app.clone(), lease.attempt, 0);
        let reading = tokio::spawn(stream.count());
        tokio::task::yield_now().await;
        app.shutdown.cancel();
        let events = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("ends").expect("task");
        assert_eq!(events, 1, "the attempt as it is, and no `end`: it has not ended");
    }
}

async fn objects(app: &TestApp) -> usize {
    object_store::ObjectStore::list(&*app.objects, None).try_collect::<Vec<_>>().await.expect("list").len()
}

async fn finish_and_compact(app: &TestApp, lease: &Lease) {
    let (attempt, _) = runs::attempt_of(app, lease.attempt).await.expect("row").expect("attempt");
    if !attempt.state.is_final() {
        finish(app, lease, State::Success).await;
        assert!(telemetry::compact_once(app).await.expect("compact"));
    }
}
