//! Who gets the next machine: turns between organisations, memory and
//! processors, and what those who wait are told.

use std::time::Duration;

use chrono::TimeDelta;
use devenv_cloud::{
    executor::{Assignment, Capacity, ControlPlane as _, Room, Status, remote::wire::Announcement},
    runs,
};
use devenv_cloud_api::{
    orgs::ProjectSettings,
    runs::{
        Attempt,
        State::{Running, Success},
    },
    trace::RunEvent,
};
use futures::StreamExt;

use crate::support::{
    TestApp,
    runners::announcement,
    work::{Project, capacity, claim, claim_as, finish, plane},
};

/// A project whose jobs need this much memory and one processor.
async fn project(app: &TestApp, org: &str, memory_mib: u32) -> Project {
    let settings = ProjectSettings { memory_mib, cpus: 1, cancel_superseded: false, ..Default::default() };
    Project::create_in(app, org, &settings).await
}

fn room(slots: u32, memory_mib: u32, cpus: u32) -> Capacity {
    Capacity { slots, room: Room { memory_mib, cpus }, ..capacity() }
}

async fn with_room(app: &TestApp, slots: u32, memory_mib: u32, cpus: u32) -> Capacity {
    let capacity = room(slots, memory_mib, cpus);
    plane(app).report(&capacity, Status::default()).await.expect("report");
    capacity
}

/// Makes a run, and lets some time pass.
async fn push(app: &TestApp, project: Project, sha: char) {
    project.run(app, "main", sha).await;
    app.advance(TimeDelta::milliseconds(1));
}

/// The digit that a run's commit is made of.
fn commit(assignment: &Assignment) -> char {
    assignment.commit.chars().next().expect("a commit")
}

async fn attempt(app: &TestApp, project: Project, number: u64) -> Attempt {
    let mut run = project.show(app, number).await;
    run.jobs.remove(0).attempts.pop().expect("an attempt")
}

async fn waits(app: &TestApp, project: Project, number: u64) -> String {
    let attempt = attempt(app, project, number).await;
    // Both ways to ask give the same answer.
    let (again, _) = runs::attempt_of(app, attempt.id).await.expect("row").expect("attempt");
    assert_eq!(attempt.waits, again.waits);
    attempt.waits.unwrap_or_default()
}

both_engines! {
    async fn organisations_take_turns(app: TestApp) {
        let (acme, other) = (project(&app, "acme", 512).await, project(&app, "other", 512).await);
        for sha in ['a', 'b', 'c', 'd'] {
            push(&app, acme, sha).await;
            app.advance(TimeDelta::seconds(1));
        }
        for sha in ['1', '2'] {
            push(&app, other, sha).await;
            app.advance(TimeDelta::seconds(1));
        }
        let mut order = String::new();
        while let Some(assignment) = claim(&app).await {
            order.push(commit(&assignment));
        }
        assert_eq!(order, "a1b2cd");
    }

    async fn whoever_has_the_fewest_under_way_is_next(app: TestApp) {
        let (acme, other) = (project(&app, "acme", 512).await, project(&app, "other", 512).await);
        for sha in ['a', 'b'] {
            push(&app, acme, sha).await;
        }
        let held = [claim(&app).await.expect("work"), claim(&app).await.expect("work")];
        push(&app, acme, 'c').await;
        app.advance(TimeDelta::seconds(9));
        push(&app, other, '1').await;
        push(&app, other, '2').await;
        assert_eq!(commit(&claim(&app).await.expect("work")), '1');
        // Nobody has any more under way: the oldest.
        for assignment in held {
            finish(&app, &assignment.lease, Success).await;
        }
        assert_eq!(commit(&claim(&app).await.expect("work")), 'c');
    }

    async fn jobs_are_handed_out_as_far_as_there_is_room(app: TestApp) {
        let acme = project(&app, "acme", 1024).await;
        let host = with_room(&app, 8, 2560, 8).await;
        for _ in 0..3 {
            push(&app, acme, 'a').await;
        }
        let first = claim_as(&app, &host).await.expect("work");
        assert_eq!((first.limits.memory_mib, first.limits.cpus), (1024, 1));
        claim_as(&app, &host).await.expect("work");
        assert!(claim_as(&app, &host).await.is_none());
        assert_eq!(waits(&app, acme, 3).await, "waits for 1024 MiB of memory; 512 are free");
        finish(&app, &first.lease, Success).await;
        claim_as(&app, &host).await.expect("room for the third");
        assert_eq!(waits(&app, acme, 3).await, "");
    }

    async fn processors_and_slots_are_counted_too(app: TestApp) {
        let acme = project(&app, "acme", 512).await;
        let host = with_room(&app, 8, 1 << 20, 1).await;
        for _ in 0..3 {
            push(&app, acme, 'a').await;
        }
        claim_as(&app, &host).await.expect("work");
        assert!(claim_as(&app, &host).await.is_none());
        assert_eq!(waits(&app, acme, 2).await, "waits for 1 processor; 0 are free");
        let host = with_room(&app, 1, 1 << 20, 8).await;
        assert!(claim_as(&app, &host).await.is_none());
        assert_eq!(waits(&app, acme, 2).await, "waits for the only slot");
        assert_eq!(waits(&app, acme, 3).await, "waits for the only slot; 1 job is before it");
    }

    async fn claims_at_once_get_no_more_than_there_is(app: TestApp) {
        let acme = project(&app, "acme", 1000).await;
        with_room(&app, 50, 4500, 50).await;
        for _ in 0..12 {
            push(&app, acme, 'a').await;
        }
        let claims = (0..12).map(|_| {
            let app = app.clone();
            tokio::spawn(async move { claim(&app).await.is_some() })
        });
        let mut got = 0;
        for claim in claims.collect::<Vec<_>>() {
            got += u32::from(claim.await.expect("claim"));
        }
        assert_eq!(got, 4);
    }

    async fn what_fits_nowhere_waits_and_says_what_to_do(app: TestApp) {
        let (big, small) = (project(&app, "acme", 8192).await, project(&app, "other", 512).await);
        push(&app, big, 'a').await;
        assert!(waits(&app, big, 1).await.contains("none is there"));
        let host = with_room(&app, 1, 4096, 4).await;
        let said = waits(&app, big, 1).await;
        assert!(said.contains("8192 MiB of memory, and none has more than 4096"), "{said}");
        assert!(said.contains("executor.memory_mib"), "{said}");
        // However long it waits, it keeps nobody from anything.
        app.advance(TimeDelta::hours(1));
        plane(&app).report(&host, Status::default()).await.expect("report");
        push(&app, small, '1').await;
        assert_eq!(commit(&claim_as(&app, &host).await.expect("work")), '1');
        // Its project asks for less: it fits.
        runs::queue::resize_queued(&app, big.id, 1024, 1).await.expect("resize");
        assert_eq!(waits(&app, big, 1).await, "waits for the only slot");
    }

    async fn small_jobs_pass_a_big_one_but_not_for_ever(app: TestApp) {
        let (small, big) = (project(&app, "acme", 1024).await, project(&app, "big", 3072).await);
        let host = with_room(&app, 8, 4096, 8).await;
        for _ in 0..2 {
            push(&app, small, 'a').await;
        }
        let held = [claim_as(&app, &host).await.expect("work"), claim_as(&app, &host).await.expect("work")];
        push(&app, big, 'b').await;
        app.advance(TimeDelta::seconds(1));
        push(&app, small, 'c').await;
        // The big one is next, but does not fit: the small one goes ahead.
        let passed = claim_as(&app, &host).await.expect("work");
        assert_eq!(commit(&passed), 'c');
        push(&app, small, 'd').await;
        app.advance(runs::queue::PATIENCE);
        plane(&app).report(&host, Status::default()).await.expect("report");
        // Now room is kept for it, although there is some for the small one.
        assert!(claim_as(&app, &host).await.is_none());
        assert_eq!(waits(&app, small, 4).await, "waits until a larger job, which has waited longer, has got its machine");
        assert_eq!(waits(&app, big, 1).await, "waits for 3072 MiB of memory; 1024 are free");
        finish(&app, &held[0].lease, Success).await;
        assert!(claim_as(&app, &host).await.is_none());
        finish(&app, &held[1].lease, Success).await;
        assert_eq!(commit(&claim_as(&app, &host).await.expect("work")), 'b');
        // With it under way, what it was kept from others is theirs again.
        finish(&app, &passed.lease, Success).await;
        assert_eq!(commit(&claim_as(&app, &host).await.expect("work")), 'd');
    }

    async fn one_runner_keeps_room_and_the_others_go_on(app: TestApp) {
        let (small, big) = (project(&app, "acme", 1024).await, project(&app, "big", 3072).await);
        let admin = app.set_up().await;
        let host = with_room(&app, 8, 4096, 8).await;
        push(&app, small, 'a').await;
        push(&app, small, 'b').await;
        claim_as(&app, &host).await.expect("work");
        claim_as(&app, &host).await.expect("work");
        let runner = admin.runner_like(None, Announcement { slots: 8, ..announcement() }).await;
        let report = serde_json::json!({ "room": { "memory_mib": 3500, "cpus": 8 } });
        runner.post("report").json(&report).send().await.assert_status(204);
        push(&app, small, 'c').await;
        assert_eq!(commit(&runner.claim_once().await.expect("work")), 'c');

        push(&app, big, 'd').await;
        app.advance(runs::queue::PATIENCE);
        plane(&app).report(&host, Status::default()).await.expect("report");
        assert!(claim_as(&app, &host).await.is_none(), "it keeps room");
        push(&app, small, 'e').await;
        assert!(claim_as(&app, &host).await.is_none(), "it keeps room");
        assert_eq!(commit(&runner.claim_once().await.expect("work")), 'e');
        // The one that keeps room is gone: the other does so instead.
        app.advance(TimeDelta::seconds(91));
        push(&app, small, 'f').await;
        assert!(runner.claim_once().await.is_none());
    }

    async fn whoever_watches_a_run_that_waits_sees_it_move(app: TestApp) {
        let acme = project(&app, "acme", 512).await;
        let host = with_room(&app, 1, 4096, 4).await;
        push(&app, acme, 'a').await;
        let first = claim_as(&app, &host).await.expect("work");
        push(&app, acme, 'b').await;
        let names = ("acme".parse().expect("slug"), "web".parse().expect("slug"), acme.id);
        let mut events = Box::pin(runs::run_events(app.app.clone(), names, 2, true));
        let mut said = Vec::new();
        while said.len() < 2 {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("an event");
            match event.expect("no end").expect("no error") {
                RunEvent::Run { run } => said.push(run.jobs[0].attempts[0].waits.clone().unwrap_or_default()),
                RunEvent::End => panic!("it has not ended"),
            }
            if said.len() == 1 {
                finish(&app, &first.lease, Success).await;
            }
        }
        assert_eq!(said, ["waits for the only slot", "waits its turn: it is next"]);
    }

    async fn the_server_itself_is_among_the_runners(app: TestApp) {
        let acme = project(&app, "acme", 512).await;
        let admin = app.set_up().await;
        push(&app, acme, 'a').await;
        claim(&app).await.expect("work");
        assert_eq!(attempt(&app, acme, 1).await.state, Running);
        let [runner] = &admin.runners("acme").await[..] else { panic!("one runner") };
        assert_eq!((runner.name.as_str(), runner.slots, runner.jobs.len()), ("host", 100, 1));
        // It would go on: it cannot be revoked while it is there.
        admin.delete(&format!("/api/v1/runners/{}", runner.id)).await.assert_status(404);
        app.advance(TimeDelta::seconds(91));
        admin.delete(&format!("/api/v1/runners/{}", runner.id)).await.assert_status(204);
        // And is there again when it comes again.
        with_room(&app, 1, 1024, 1).await;
        assert_eq!(admin.runners("acme").await.len(), 1);
    }
}
