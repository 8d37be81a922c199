//! From a push to its evaluation, in rows and in metrics.

use chrono::TimeDelta;
use devenv_cloud::{
    runs,
    telemetry::{JOB_SPAN, MACHINE_SPAN, RESEED_SPAN, Record},
};
use devenv_cloud_api::{
    ids::SpanId,
    orgs::ProjectSettings,
    runs::{MachineStart, Stage, State, Step},
    trace::SpanKind,
};

use crate::support::{
    TestApp,
    work::{Project, Script, claim, finish},
};

/// Opens a span with a name of its own.
fn named(mut script: Script, id: u64, kind: SpanKind, name: &str) -> Script {
    script = script.open(id, None, kind, None);
    if let Some(Record::Opened { name: of, .. }) = script.records.last_mut() {
        *of = name.to_owned();
    }
    script
}

fn machine(app: &TestApp) -> Script {
    let mut script =
        Script::new(app).job().open(MACHINE_SPAN.0, Some(JOB_SPAN.0), SpanKind::Stage, Some(Stage::Machine));
    app.advance(TimeDelta::milliseconds(10));
    let answered = app.clock.now();
    app.advance(TimeDelta::milliseconds(30));
    let attributes = [("devenv_cloud.machine.start".to_owned(), "on_demand".to_owned())].into();
    let time = app.clock.now();
    script.records.push(Record::Closed { id: MACHINE_SPAN, time, state: State::Success, attributes });
    script = script.open(RESEED_SPAN.0, Some(MACHINE_SPAN.0), SpanKind::Other, None);
    if let Some(Record::Opened { time, .. }) = script.records.last_mut() {
        *time = answered;
    }
    script.close(RESEED_SPAN.0, State::Success)
}

both_engines! {
    async fn the_way_from_a_push_to_its_evaluation_is_summed_up(app: TestApp) {
        let project = Project::create(&app, &ProjectSettings::default()).await;
        project.run(&app, "main", 'a').await;
        app.advance(TimeDelta::milliseconds(20));
        let lease = claim(&app).await.expect("work").lease;
        let records = machine(&app);
        let first = records.records.len() as u64;
        records.send(&lease, 1).await;
        let script = Script::new(&app).open(1, None, SpanKind::Stage, Some(Stage::Checkout));
        app.advance(TimeDelta::milliseconds(40));
        let script = script.close(1, State::Success).open(2, None, SpanKind::Stage, Some(Stage::Evaluate));
        // Nix starts, and says its first word in a batch of its own.
        named(script, 3, SpanKind::Evaluation, "start Nix").send(&lease, first + 1).await;
        app.advance(TimeDelta::milliseconds(110));
        Script::new(&app).close(3, State::Success).send(&lease, first + 5).await;
        let shown = async || {
            let (attempt, _) = runs::attempt_of(&app, lease.attempt).await.expect("row").expect("attempt");
            attempt.latency.expect("a way")
        };
        let latency = shown().await;
        assert_eq!(latency.start, Some(MachineStart::OnDemand));
        assert_eq!(latency.push_to_evaluation_ms, Some(210));
        app.advance(TimeDelta::milliseconds(500));
        let script = Script::new(&app).close(2, State::Success);
        app.advance(TimeDelta::milliseconds(7));
        script.open(4, None, SpanKind::Task, Some(Stage::Task)).open(5, None, SpanKind::Task, Some(Stage::Task)).send(&lease, first + 6).await;
        let latency = shown().await;
        let steps: Vec<_> = latency.steps.iter().map(|step| (step.step, step.millis)).collect();
        assert_eq!(steps, [
            (Step::Accepted, 0),
            (Step::Queued, 20),
            (Step::Machine, 10),
            (Step::Reseed, 30),
            (Step::Source, 40),
            (Step::Evaluator, 110),
            (Step::Evaluation, 500),
            (Step::Task, 7),
        ]);
        // The run shows the same.
        let run = project.show(&app, 1).await;
        assert_eq!(run.jobs[0].attempts[0].latency.as_ref(), Some(&latency));

        let metrics = String::from_utf8(app.metrics.show().expect("metrics")).expect("text");
        for line in [
            "devenv_cloud_push_to_evaluation_seconds_bucket{start=\"on_demand\",le=\"0.2\"} 0",
            "devenv_cloud_push_to_evaluation_seconds_bucket{start=\"on_demand\",le=\"0.25\"} 1",
            "devenv_cloud_push_step_seconds_count{stage=\"queued\",start=\"on_demand\"} 1",
            "devenv_cloud_push_step_seconds_count{stage=\"evaluator\",start=\"on_demand\"} 1",
            "devenv_cloud_push_step_seconds_count{stage=\"task\",start=\"on_demand\"} 1",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
        finish(&app, &lease, State::Failure).await;
        assert_eq!(shown().await, latency);
    }

    async fn what_a_guest_makes_up_is_no_label(app: TestApp) {
        let project = Project::create(&app, &ProjectSettings::default()).await;
        project.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        let mut script = Script::new(&app).job().open(MACHINE_SPAN.0, Some(JOB_SPAN.0), SpanKind::Stage, Some(Stage::Machine));
        let attributes = [("devenv_cloud.machine.start".to_owned(), "made up".to_owned())].into();
        let time = app.clock.now();
        script.records.push(Record::Closed { id: MACHINE_SPAN, time, state: State::Success, attributes });
        let script = script.open(RESEED_SPAN.0, Some(MACHINE_SPAN.0), SpanKind::Other, None);
        // One that never was open, and one that failed.
        let script = script.close(77, State::Success).close(RESEED_SPAN.0, State::Error);
        assert_eq!(script.records.last().map(|record| matches!(record, Record::Closed { id: SpanId(_), .. })), Some(true));
        script.send(&lease, 1).await;
        let metrics = String::from_utf8(app.metrics.show().expect("metrics")).expect("text");
        assert!(!metrics.contains("made up"), "{metrics}");
        assert!(!metrics.contains("devenv_cloud_push_step_seconds_count{"), "{metrics}");
    }
}
