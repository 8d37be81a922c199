//! The runner's end of the line, over real connections, good and bad.

use std::{sync::Arc, time::Duration};

use devenv_cloud::{
    executor::{
        Assignment, Conclusion, ControlError, ControlPlane, LeaseState,
        remote::{LinkError, RemoteControlPlane},
    },
    runs,
    telemetry::{LogQuery, log_window},
};
use devenv_cloud_api::runs::State::{Error, Queued, Running, Success};
use futures::TryStreamExt as _;

use crate::support::{
    Browser, TestApp,
    git::{self, Clone},
    runners::{Flaky, announcement, link},
    work::{Script, capacity, noise},
};

/// `acme/web` with a commit pushed, and a runner behind a connection that can break.
struct Scene {
    admin: Browser,
    clone: Clone,
    flaky: Flaky,
    plane: Arc<RemoteControlPlane>,
    directory: tempfile::TempDir,
}

async fn scene(app: &TestApp) -> Scene {
    let (admin, clone) = git::set_up(app).await;
    let flaky = Flaky::to(app.listen().await).await;
    let directory = tempfile::tempdir().unwrap();
    let link = link(app, directory.path(), flaky.address);
    let token = admin.runner_token(Some("acme")).await.secret;
    link.register(&token, announcement()).await.unwrap();
    let welcome = link.hello(&announcement()).await.unwrap();
    assert_eq!(welcome.org.as_deref(), Some("acme"));
    let plane = Arc::new(RemoteControlPlane::new(link, app.random.clone()));
    Scene { admin, clone, flaky, plane, directory }
}

impl Scene {
    async fn push(&self, content: &str) {
        self.clone.commit("devenv.nix", "{ }").await;
        self.clone.commit("data", content).await;
        self.clone.push(&["HEAD:main"]).await.ok();
    }

    async fn claim(&self) -> Assignment {
        let claimed = tokio::time::timeout(Duration::from_secs(20), self.plane.claim(&capacity())).await;
        claimed.expect("in time").expect("claim").expect("work")
    }

    async fn states(&self) -> Vec<devenv_cloud_api::runs::State> {
        let run: devenv_cloud_api::runs::Run =
            self.admin.get("/api/v1/orgs/acme/projects/web/runs/1").await.assert_status(200).json();
        run.jobs[0].attempts.iter().map(|attempt| attempt.state).collect()
    }
}

async fn lines(app: &TestApp, scene: &Scene) -> Vec<String> {
    let run: devenv_cloud_api::runs::Run =
        scene.admin.get("/api/v1/orgs/acme/projects/web/runs/1").await.assert_status(200).json();
    let attempt = run.jobs[0].attempts[0].id;
    let (_, row) = runs::attempt_of(app, attempt).await.unwrap().unwrap();
    let query = LogQuery { limit: 1000, ..LogQuery::default() };
    let window = log_window(app, &row, &query).await.unwrap();
    window.lines.into_iter().map(|line| line.text).collect()
}

/// Sends again what failed, as the executor does.
async fn insist(plane: &RemoteControlPlane, assignment: &Assignment, first: u64, script: &Script) {
    for _ in 0..10 {
        match plane.append(&assignment.lease, first, script.records.clone()).await {
            Ok(()) => return,
            Err(ControlError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it was never stored");
}

both_engines! {
    async fn a_job_is_done_over_connections_that_break(app: TestApp) {
        let scene = scene(&app).await;
        let noise = noise(&app, 3 << 20);
        scene.push(&noise).await;

        // The answer to the claim is lost, and asked for again.
        scene.flaky.break_after(30);
        let assignment = scene.claim().await;
        assert_eq!(scene.flaky.broke(), 1);
        assert_eq!(scene.states().await, [Running]);

        // The source breaks off twice, and comes whole.
        let whole = scene.plane.source(&assignment.lease).await.unwrap();
        let whole = whole.try_collect::<Vec<_>>().await.unwrap().concat();
        assert!(whole.len() > 1 << 20, "{}", whole.len());
        scene.flaky.and_after(700_000);
        scene.flaky.break_after(100_000);
        let source = scene.plane.source(&assignment.lease).await.unwrap();
        let bytes = source.try_collect::<Vec<_>>().await.unwrap().concat();
        assert_eq!(scene.flaky.broke(), 3);
        assert!(bytes == whole, "{} bytes of {}", bytes.len(), whole.len());

        // Batches are cut off before, in and after the answer; each line is there once.
        let mut first = 1;
        let head = Script::new(&app).job();
        insist(&scene.plane, &assignment, first, &head).await;
        first += 1;
        for batch in 0..6 {
            scene.flaky.break_after(batch * 7);
            let script = Script::new(&app).lines(1, batch as u64 * 10 + 1..=batch as u64 * 10 + 10);
            insist(&scene.plane, &assignment, first, &script).await;
            first += 10;
        }
        let expected: Vec<String> = (1..=60).map(|number| format!("line {number}")).collect();
        assert_eq!(lines(&app, &scene).await, expected);

        // The answer to the end is lost: it counts, once.
        scene.flaky.break_after(0);
        let end = Conclusion { state: Success, reason: None, exit_status: Some(0), dropped_lines: 0 };
        let lost = scene.plane.finish(&assignment.lease, end.clone()).await;
        assert!(matches!(lost, Err(ControlError::Unavailable(_))), "{lost:?}");
        scene.plane.finish(&assignment.lease, end).await.unwrap();
        assert_eq!(scene.states().await, [Success]);
    }

    async fn a_long_batch_is_stored_whole(app: TestApp) {
        let scene = scene(&app).await;
        scene.push("x").await;
        let assignment = scene.claim().await;
        let mut script = Script::new(&app).job();
        for number in 0..300 {
            script = script.line(1, format!("{number} {}", "\u{1b}".repeat(4000)));
        }
        insist(&scene.plane, &assignment, 1, &script).await;
        let lines = lines(&app, &scene).await;
        assert_eq!(lines.len(), 300);
        assert!(lines.iter().enumerate().all(|(n, line)| line.starts_with(&format!("{n} "))));
    }

    async fn a_cancelled_job_is_told_at_once(app: TestApp) {
        let scene = scene(&app).await;
        scene.push("x").await;
        let assignment = scene.claim().await;
        let changed = {
            let (plane, lease) = (scene.plane.clone(), assignment.lease.clone());
            tokio::spawn(async move { plane.changed(&lease).await })
        };
        assert_eq!(scene.plane.renew(&assignment.lease).await.unwrap(), LeaseState::Held);
        let path = "/api/v1/orgs/acme/projects/web/runs/1/cancel";
        scene.admin.post(path, &serde_json::json!({})).await.assert_status(200);
        tokio::time::timeout(Duration::from_secs(20), changed).await.expect("told").unwrap();
        assert_eq!(scene.plane.renew(&assignment.lease).await.unwrap(), LeaseState::Cancelled);
    }

    async fn a_revoked_runner_is_dismissed(app: TestApp) {
        let scene = scene(&app).await;
        scene.push("x").await;
        let assignment = scene.claim().await;
        let runner = scene.admin.runners("acme").await[0].id;
        scene.admin.delete(&format!("/api/v1/orgs/acme/runners/{runner}")).await.assert_status(204);
        assert!(!scene.plane.dismissed().is_cancelled());
        assert_eq!(scene.plane.renew(&assignment.lease).await.unwrap(), LeaseState::Lost);
        assert!(scene.plane.dismissed().is_cancelled());
        assert_eq!(scene.states().await, [Error, Queued]);
    }

    async fn credentials_are_exchanged_in_time_and_after_a_long_sleep(app: TestApp) {
        let scene = scene(&app).await;
        scene.push("x").await;
        let assignment = scene.claim().await;
        for hours in [0, 1, 24 * 20] {
            app.advance(chrono::TimeDelta::minutes(50) + chrono::TimeDelta::hours(hours));
            assert_eq!(scene.plane.renew(&assignment.lease).await.unwrap(), LeaseState::Held, "{hours} h");
        }
        // The state was kept each time: a new process needs no token.
        let again = link(&app, scene.directory.path(), scene.flaky.address);
        again.hello(&announcement()).await.unwrap();
        app.advance(chrono::TimeDelta::days(40));
        let error = again.hello(&announcement()).await.unwrap_err();
        assert!(matches!(error, LinkError::Dismissed(_)) && error.to_string().contains("new token"), "{error}");
    }

    async fn what_is_no_server_of_ours_is_said_to_be_none(app: TestApp) {
        let directory = tempfile::tempdir().unwrap();
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        let error = link(&app, directory.path(), address).register("x", announcement()).await.unwrap_err();
        assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(async || (http::StatusCode::NOT_FOUND, "?"))).await
        });
        let directory = tempfile::tempdir().unwrap();
        let error = link(&app, directory.path(), address).register("x", announcement()).await.unwrap_err();
        assert!(error.to_string().contains("is the address right"), "{error}");
    }
}
