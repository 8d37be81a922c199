//! The queue, leases, and what becomes of runs.

use std::time::Duration;

use chrono::TimeDelta;
use devenv_cloud::{
    db::query,
    executor::{Conclusion, ControlError, ControlPlane as _, Lease, LeaseState},
    runs,
};
use devenv_cloud_api::{
    orgs::{NetworkPolicy, ProjectSettings},
    runs::State::{self, Cancellation, Error, Failure, Queued, Running, Success},
};

use crate::support::{
    TestApp,
    work::{Project, Script, capacity, claim, finish, plane},
};

async fn project(app: &TestApp) -> Project {
    Project::create(app, &ProjectSettings::default()).await
}

fn conclusion(state: State) -> Conclusion {
    Conclusion { state, reason: None, exit_status: Some(0), dropped_lines: 0 }
}

both_engines! {
    async fn a_run_goes_from_queued_to_success(app: TestApp) {
        let project = project(&app).await;
        let number = project.run(&app, "main", 'a').await;
        assert_eq!(number, 1);
        assert_eq!(project.show(&app, 1).await.summary.state, Queued);

        app.advance(TimeDelta::seconds(2));
        let assignment = claim(&app).await.expect("work");
        assert_eq!(assignment.commit, "a".repeat(40));
        assert_eq!(assignment.limits.timeout_seconds, 3600);
        assert_eq!(assignment.env["DEVENV_CLOUD_RUN_URL"], "https://ci.example.com/acme/web/runs/1");
        assert_eq!(assignment.cloud["ci"]["ref"]["name"], "main");
        let run = project.show(&app, 1).await;
        assert_eq!(run.summary.state, Running);
        assert_eq!(run.summary.started_at, Some(app.clock.now()));
        assert!(claim(&app).await.is_none(), "it is taken");

        app.advance(TimeDelta::seconds(3));
        finish(&app, &assignment.lease, Success).await;
        let run = project.show(&app, 1).await;
        assert_eq!(run.summary.state, Success);
        assert_eq!(run.summary.finished_at, Some(app.clock.now()));
        assert_eq!(run.jobs[0].attempts[0].state, Success);
        assert_eq!(app.metrics.attempts.with_label_values(&["success"]).get(), 1);
    }

    async fn the_oldest_comes_first(app: TestApp) {
        let project = project(&app).await;
        for (branch, sha) in [("a", 'a'), ("b", 'b'), ("c", 'c')] {
            project.run(&app, branch, sha).await;
            app.advance(TimeDelta::seconds(1));
        }
        let mut order = String::new();
        while let Some(assignment) = claim(&app).await {
            order.push_str(&assignment.commit[..1]);
        }
        assert_eq!(order, "abc");
    }

    async fn many_claimers_never_get_the_same_attempt(app: TestApp) {
        let project = project(&app).await;
        for number in 0..20 {
            project.run(&app, &format!("branch-{number}"), 'a').await;
        }
        let claimers = (0..8).map(|_| {
            let app = app.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                while let Some(assignment) = claim(&app).await {
                    mine.push(assignment.lease.attempt);
                }
                mine
            })
        });
        let mut all = Vec::new();
        for claimer in claimers {
            all.extend(claimer.await.expect("claimer"));
        }
        assert_eq!(all.len(), 20);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 20);
    }

    async fn whoever_waits_is_woken(app: TestApp) {
        let project = project(&app).await;
        let waiting = {
            let app = app.clone();
            tokio::spawn(async move { plane(&app).claim(&capacity()).await.expect("claim") })
        };
        tokio::task::yield_now().await;
        project.run(&app, "main", 'a').await;
        let assignment = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("woken");
        assert!(assignment.expect("task").is_some());
    }

    async fn another_platform_gets_nothing(app: TestApp) {
        project(&app).await.run(&app, "main", 'a').await;
        let mut capacity = capacity();
        capacity.platforms = vec!["aarch64-linux".to_owned(), "x86_64".to_owned()];
        assert!(runs::queue::claim_once(&app, runs::queue::Claimant::Embedded(&capacity)).await.expect("claim").is_none());
    }

    async fn a_renewed_lease_does_not_lapse(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        for _ in 0..5 {
            app.advance(TimeDelta::seconds(50));
            assert_eq!(plane(&app).renew(&lease).await.expect("renew"), LeaseState::Held);
            assert_eq!(runs::reap_lapsed_leases_once(&app).await.expect("reap"), 0);
        }
        assert_eq!(project.attempts(&app, 1).await, [Running]);
    }

    async fn a_lapsed_lease_puts_the_job_back_once(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let first = claim(&app).await.expect("work").lease;
        app.advance(TimeDelta::seconds(61));
        assert_eq!(runs::reap_lapsed_leases_once(&app).await.expect("reap"), 1);
        assert_eq!(runs::reap_lapsed_leases_once(&app).await.expect("reap"), 0);
        let run = project.show(&app, 1).await;
        assert_eq!(run.summary.state, Queued);
        assert_eq!(
            run.jobs[0].attempts[0].reason.as_deref(),
            Some("the runner was lost: no sign of life for 60 s")
        );

        // Whoever held it learns that it is gone, and can report nothing.
        assert_eq!(plane(&app).renew(&first).await.expect("renew"), LeaseState::Lost);
        let append = plane(&app).append(&first, 1, Script::new(&app).job().records).await;
        assert!(matches!(append, Err(ControlError::LeaseLost(_))), "{append:?}");
        let end = plane(&app).finish(&first, conclusion(Success)).await;
        assert!(matches!(end, Err(ControlError::LeaseLost(_))), "{end:?}");

        // The second time it stays an error: trying for ever helps nobody.
        let second = claim(&app).await.expect("the automatic attempt").lease;
        assert_ne!(second.attempt, first.attempt);
        app.advance(TimeDelta::seconds(61));
        runs::reap_lapsed_leases_once(&app).await.expect("reap");
        assert_eq!(project.attempts(&app, 1).await, [Error, Error]);
        assert_eq!(project.show(&app, 1).await.summary.state, Error);
        assert!(claim(&app).await.is_none());
    }

    async fn an_error_is_retried_by_itself_and_a_failure_is_not(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        finish(&app, &claim(&app).await.expect("work").lease, Error).await;
        assert_eq!(project.attempts(&app, 1).await, [Error, Queued]);
        finish(&app, &claim(&app).await.expect("work").lease, Failure).await;
        assert_eq!(project.attempts(&app, 1).await, [Error, Failure]);
        let run = project.show(&app, 1).await.summary;
        assert_eq!((run.state, run.reason.as_deref()), (Failure, Some("it ended with failure")));
    }

    async fn an_end_that_is_none_is_an_error(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        plane(&app).finish(&lease, conclusion(Running)).await.expect("finish");
        assert_eq!(project.attempts(&app, 1).await, [Error, Queued]);
    }

    async fn a_result_is_reported_once(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        finish(&app, &lease, Failure).await;
        let again = plane(&app).finish(&lease, conclusion(Success)).await;
        assert!(matches!(again, Err(ControlError::LeaseLost(_))), "{again:?}");
        assert_eq!(project.attempts(&app, 1).await, [Failure]);
    }

    async fn a_guessed_token_opens_nothing(app: TestApp) {
        project(&app).await.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        let guess = Lease { attempt: lease.attempt, token: lease.token ^ 1 };
        assert_eq!(plane(&app).renew(&guess).await.expect("renew"), LeaseState::Lost);
        assert!(plane(&app).source(&guess).await.is_err());
        assert!(plane(&app).finish(&guess, conclusion(Success)).await.is_err());
        assert_eq!(plane(&app).renew(&lease).await.expect("renew"), LeaseState::Held);
    }

    async fn what_is_queued_is_cancelled_at_once(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        runs::cancel_run(&app, project.id, 1, "Ada").await.expect("cancel");
        let run = project.show(&app, 1).await.summary;
        assert_eq!((run.state, run.reason.as_deref()), (Cancellation, Some("Ada cancelled it")));
        assert!(claim(&app).await.is_none());
        let again = runs::cancel_run(&app, project.id, 1, "Ada").await.expect_err("nothing to cancel");
        assert!(again.to_string().contains("ended already"), "{again}");
    }

    async fn what_is_running_is_told_to_stop(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        let plane = plane(&app);
        let changed = {
            let (plane, lease) = (plane.clone(), lease.clone());
            tokio::spawn(async move { plane.changed(&lease).await })
        };
        tokio::task::yield_now().await;
        runs::cancel_job(&app, project.id, 1, "x86_64-linux", "Ada").await.expect("cancel");
        // Asking twice is as good as asking once.
        runs::cancel_run(&app, project.id, 1, "Bob").await.expect("cancel");
        tokio::time::timeout(Duration::from_secs(20), changed).await.expect("woken").expect("task");
        assert_eq!(plane.renew(&lease).await.expect("renew"), LeaseState::Cancelled);
        assert_eq!(project.attempts(&app, 1).await, [Running]);
        finish(&app, &lease, Cancellation).await;
        assert_eq!(project.attempts(&app, 1).await, [Cancellation]);
    }

    async fn a_cancelled_attempt_whose_runner_dies_is_not_repeated(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        claim(&app).await.expect("work");
        runs::cancel_run(&app, project.id, 1, "Ada").await.expect("cancel");
        app.advance(TimeDelta::seconds(61));
        runs::reap_lapsed_leases_once(&app).await.expect("reap");
        assert_eq!(project.attempts(&app, 1).await, [Cancellation]);
    }

    async fn retrying_makes_a_new_attempt_of_what_did_not_succeed(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let early = runs::retry_run(&app, project.id, 1).await.expect_err("not ended");
        assert!(early.to_string().contains("not ended"), "{early}");
        finish(&app, &claim(&app).await.expect("work").lease, Failure).await;
        runs::retry_run(&app, project.id, 1).await.expect("retry");
        let run = project.show(&app, 1).await.summary;
        assert_eq!((run.state, run.finished_at), (Queued, None));
        finish(&app, &claim(&app).await.expect("work").lease, Success).await;
        assert_eq!(project.attempts(&app, 1).await, [Failure, Success]);
        let late = runs::retry_run(&app, project.id, 1).await.expect_err("succeeded");
        assert!(late.to_string().contains("every job succeeded"), "{late}");
        runs::retry_job(&app, project.id, 1, "x86_64-linux").await.expect("one job may be repeated");
        assert_eq!(project.attempts(&app, 1).await, [Failure, Success, Queued]);
        assert!(runs::retry_job(&app, project.id, 1, "riscv").await.is_err());
    }

    async fn of_many_who_retry_at_once_one_succeeds(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        finish(&app, &claim(&app).await.expect("work").lease, Failure).await;
        let all = (0..8).map(|_| {
            let app = app.clone();
            tokio::spawn(async move { runs::retry_run(&app, project.id, 1).await.is_ok() })
        });
        let mut succeeded = 0;
        for one in all.collect::<Vec<_>>() {
            succeeded += u32::from(one.await.expect("task"));
        }
        assert_eq!(succeeded, 1);
        assert_eq!(project.attempts(&app, 1).await, [Failure, Queued]);
    }

    async fn cancelling_and_claiming_at_once_leaves_one_truth(app: TestApp) {
        let project = project(&app).await;
        for number in 1..=10 {
            project.run(&app, &format!("b{number}"), 'a').await;
            let (one, other) = (app.clone(), app.clone());
            let cancel = tokio::spawn(async move { runs::cancel_run(&one, project.id, number, "Ada").await });
            let claimed = tokio::spawn(async move { claim(&other).await });
            cancel.await.expect("task").expect("cancel");
            let claimed = claimed.await.expect("task");
            match claimed {
                None => assert_eq!(project.attempts(&app, number).await, [Cancellation]),
                Some(assignment) => {
                    let state = plane(&app).renew(&assignment.lease).await.expect("renew");
                    assert_eq!(state, LeaseState::Cancelled);
                    finish(&app, &assignment.lease, Cancellation).await;
                }
            }
            assert_eq!(project.show(&app, number).await.summary.state, Cancellation);
        }
    }

    async fn a_newer_push_cancels_what_has_not_begun(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let running = claim(&app).await.expect("work").lease;
        project.run(&app, "main", 'b').await;
        project.run(&app, "other", 'c').await;
        project.run(&app, "main", 'd').await;
        let mut states = Vec::new();
        for number in 1..=4 {
            states.push(project.show(&app, number).await.summary.state);
        }
        assert_eq!(states, [Running, Cancellation, Queued, Queued]);
        let reason = project.show(&app, 2).await.summary.reason.expect("a reason");
        assert!(reason.contains("newer push to main") && reason.contains("run 4"), "{reason}");
        finish(&app, &running, Success).await;
    }

    async fn a_project_may_want_every_push_run(app: TestApp) {
        let settings = ProjectSettings { cancel_superseded: false, ..ProjectSettings::default() };
        let project = Project::create(&app, &settings).await;
        project.run(&app, "main", 'a').await;
        project.run(&app, "main", 'b').await;
        assert_eq!(project.show(&app, 1).await.summary.state, Queued);
    }

    async fn a_job_may_reach_what_its_project_says(app: TestApp) {
        let settings = ProjectSettings {
            network: NetworkPolicy::AllowList,
            network_hosts: vec!["cache.nixos.org".to_owned()],
            ..ProjectSettings::default()
        };
        let project = Project::create(&app, &settings).await;
        project.run(&app, "main", 'a').await;
        let network = claim(&app).await.expect("work").network;
        assert_eq!((network.policy, network.hosts), (settings.network, settings.network_hosts));

        // Settings from before there was a network.
        let set = |settings| query("UPDATE projects SET settings = $1").bind(settings);
        set("{}").execute(&app.db).await.expect("set");
        project.run(&app, "old", 'b').await;
        assert_eq!(claim(&app).await.expect("work").network.policy, NetworkPolicy::Internet);

        // Settings that say something about it that nobody here understands.
        set(r#"{"network":"a new one"}"#).execute(&app.db).await.expect("set");
        project.run(&app, "new", 'c').await;
        assert_eq!(claim(&app).await.expect("work").network.policy, NetworkPolicy::Off);
    }

    async fn a_restart_puts_right_what_was_running(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        claim(&app).await.expect("work");
        project.run(&app, "other", 'b').await;
        let app = app.restart(&[]).await;
        // No clock is advanced: nobody waits a minute for a process that is dead.
        assert_eq!(runs::put_right_after_restart(&app).await.expect("put right"), 1);
        assert_eq!(project.attempts(&app, 1).await, [Error, Queued]);
        let reason = project.show(&app, 1).await.jobs[0].attempts[0].reason.clone();
        assert_eq!(reason.as_deref(), Some("the server restarted while this was running"));
        assert_eq!(project.attempts(&app, 2).await, [Queued]);
    }

    async fn another_servers_work_is_left_alone(app: TestApp) {
        let project = project(&app).await;
        project.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        query("UPDATE attempts SET runner = 'another-server/test'")
            .execute(&app.db)
            .await
            .expect("update");
        assert_eq!(runs::put_right_after_restart(&app).await.expect("put right"), 0);
        assert_eq!(plane(&app).renew(&lease).await.expect("renew"), LeaseState::Held);
    }

    async fn a_database_that_is_gone_is_said_to_be(app: TestApp) {
        project(&app).await.run(&app, "main", 'a').await;
        let lease = claim(&app).await.expect("work").lease;
        app.db.close().await;
        let plane = plane(&app);
        for result in [
            plane.renew(&lease).await.map(|_| ()),
            plane.append(&lease, 1, Script::new(&app).job().records).await,
            plane.finish(&lease, conclusion(Success)).await,
            plane.claim(&capacity()).await.map(|_| ()),
            plane.source(&lease).await.map(|_| ()),
        ] {
            assert!(matches!(result, Err(ControlError::Unavailable(_))), "{result:?}");
        }
    }

    async fn runs_are_listed_newest_first(app: TestApp) {
        let project = project(&app).await;
        for number in 1..=5 {
            project.run(&app, if number % 2 == 0 { "even" } else { "odd" }, 'a').await;
        }
        let filter = runs::RunFilter::default();
        let page = runs::list_runs(&app, project.id, &filter, Some(5), 2).await.expect("page");
        assert_eq!(page.iter().map(|run| run.number).collect::<Vec<_>>(), [4, 3]);
        let filter = runs::RunFilter { git_ref: Some("refs/heads/even".to_owned()), state: Some(Queued) };
        let page = runs::list_runs(&app, project.id, &filter, None, 10).await.expect("page");
        assert_eq!(page.iter().map(|run| run.number).collect::<Vec<_>>(), [4]);
    }
}
