//! Runs, traces and logs over the API, as a browser asks for them.

use std::time::Duration;

use devenv_cloud::executor::Lease;
use devenv_cloud_api::{
    ids::SpanId,
    permissions::{Role, Scope},
    runs::{Job, Run, Stage, State},
    trace::{LogWindow, SpanKind, Trace},
};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use crate::support::{
    PASSWORD, TestApp,
    git::set_up,
    people::Browser,
    work::{Script, claim, finish},
};

const JOB: &str = "/api/v1/orgs/acme/projects/web/runs/1/jobs/x86_64-linux";

/// A run that is under way, with a few lines.
async fn under_way(app: &TestApp) -> (Browser, Lease) {
    let (admin, clone) = set_up(app).await;
    clone.commit("devenv.nix", "{ }").await;
    clone.push(&["main"]).await.ok();
    let lease = claim(app).await.expect("work").lease;
    Script::new(app)
        .job()
        .open(1, None, SpanKind::Stage, Some(Stage::Evaluate))
        .line(1, "\u{1b}[1mbold\u{1b}[0m")
        .lines(1, 2..=10)
        .send(&lease, 1)
        .await;
    (admin, lease)
}

/// The events of a stream until it ends, as (id, name, data).
async fn follow(
    app: &TestApp,
    browser: &Browser,
    path: &str,
    last: Option<&str>,
) -> Vec<(String, String, String)> {
    let mut request = http::Request::builder()
        .method(Method::GET)
        .uri(path)
        .header("host", "ci.example.com")
        .header("cookie", browser.cookie_header().expect("cookies"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let response = app.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body =
        tokio::time::timeout(Duration::from_secs(20), response.into_body().collect()).await.expect("it ends");
    let text = String::from_utf8(body.expect("a body").to_bytes().to_vec()).expect("text");
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    text.split("\n\n")
        .filter(|event| event.contains("data:"))
        .map(|event| (field(event, "id:"), field(event, "event:"), field(event, "data:")))
        .collect()
}

both_engines! {
    async fn a_trace_and_its_log_are_read(app: TestApp) {
        let (admin, _) = under_way(&app).await;
        let trace: Trace = admin.get(&format!("{JOB}/trace")).await.assert_status(200).json();
        assert_eq!((trace.spans.len(), trace.total, trace.seq), (2, 2, 12));
        let trace: Trace = admin.get(&format!("{JOB}/trace?attempt=1&limit=1")).await.assert_status(200).json();
        assert_eq!((trace.spans.len(), trace.total), (1, 2));
        let log: LogWindow = admin.get(&format!("{JOB}/log?from=9&limit=5")).await.assert_status(200).json();
        assert_eq!(log.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [9, 10]);
        let log: LogWindow =
            admin.get(&format!("{JOB}/log?tail=3&span={}", SpanId(1))).await.assert_status(200).json();
        assert_eq!(log.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [8, 9, 10]);
        let text = admin.get(&format!("{JOB}/log.txt")).await.assert_status(200);
        assert!(text.text().starts_with("bold\nline 2\n"), "{text:?}");
        assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
        let text = admin.get(&format!("{JOB}/log.txt?ansi=true")).await.assert_status(200).text();
        assert!(text.starts_with("\u{1b}[1mbold\u{1b}[0m\n"));
        for path in ["trace?attempt=2", "log?attempt=0", "log.txt?attempt=99", "events?attempt=7"] {
            admin.get(&format!("{JOB}/{path}")).await.assert_status(404);
        }
        admin.get(&format!("{JOB}/log?limit=5001")).await.assert_status(422);
        admin.get(&format!("{JOB}/log?span=zebra")).await.assert_status(422);
    }

    async fn a_job_is_followed_to_its_end(app: TestApp) {
        let (admin, lease) = under_way(&app).await;
        let ending = {
            let app = app.clone();
            tokio::spawn(async move {
                Script::new(&app).lines(1, 11..=12).close(1, State::Success).send(&lease, 13).await;
                finish(&app, &lease, State::Success).await;
            })
        };
        let events = follow(&app, &admin, &format!("{JOB}/events?after=12"), None).await;
        ending.await.expect("end");
        let lines: String = events.iter().filter(|(_, name, _)| name == "lines").map(|(_, _, data)| data.as_str()).collect();
        assert!(lines.contains("line 11") && lines.contains("line 12") && !lines.contains("line 10"), "{events:?}");
        assert_eq!(events.last().map(|(_, name, _)| name.as_str()), Some("end"));
        assert_eq!(events.iter().filter(|(id, _, _)| id == "15").count(), 1, "{events:?}");

        // Coming back with the last number: nothing is told twice.
        let events = follow(&app, &admin, &format!("{JOB}/events?after=12"), Some("15")).await;
        let names: Vec<_> = events.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(names, ["attempt", "end"]);
    }

    /// SE-06: whoever is out hears nothing more of what they follow.
    async fn se_06_a_log_is_followed_no_longer_than_one_may_read_it(app: TestApp) {
        let (admin, lease) = under_way(&app).await;
        app.person("vera").await;
        let member = admin.add_member("acme", "vera", Role::Viewer).await;
        for (next, end) in (13..).zip(["nothing", "signed out", "revoked", "sent away", "disabled"]) {
            let vera = app.browser();
            if end == "disabled" {
                admin.add_member("acme", "vera", Role::Viewer).await;
            }
            vera.sign_in("vera@example.com", PASSWORD).await.assert_status(200);
            let token = vera.token(&[Scope::Read]).await;
            let mut streams = Vec::new();
            for path in [format!("{JOB}/events"), "/api/v1/orgs/acme/projects/web/runs/1/events".to_owned()] {
                let request = http::Request::get(&path).header("host", "ci.example.com");
                let request = if end == "revoked" {
                    request.header("authorization", format!("Bearer {}", token.secret))
                } else {
                    request.header("cookie", vera.cookie_header().expect("cookies"))
                };
                let request = request.body(axum::body::Body::empty()).expect("a request");
                let response = app.router.clone().oneshot(request).await.expect("infallible");
                assert_eq!(response.status(), 200, "{end}");
                let mut body = response.into_body();
                // How things stand.
                body.frame().await.expect("an event").expect("an event");
                streams.push(body);
            }
            match end {
                "signed out" => drop(vera.delete("/api/v1/session").await.assert_status(204)),
                "revoked" => {
                    let path = format!("/api/v1/account/tokens/{}", token.token.id);
                    vera.delete(&path).await.assert_status(204);
                }
                "sent away" => {
                    let path = format!("/api/v1/orgs/acme/members/{}", member.user_id);
                    admin.delete(&path).await.assert_status(204);
                }
                "disabled" => app.disable("vera").await,
                _ => {}
            }
            let secret = format!("after {end}");
            Script::new(&app).line(1, secret.clone()).send(&lease, next).await;
            let mut log = streams.remove(0);
            let mut heard = String::new();
            let until = async {
                while let Some(frame) = log.frame().await {
                    let data = frame.expect("a frame").into_data().unwrap_or_default();
                    heard.push_str(&String::from_utf8_lossy(&data));
                    if heard.contains(&secret) {
                        break;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), until).await.expect("a line, or the end");
            assert_eq!(heard.contains(&secret), end == "nothing", "{end}: {heard}");
            if end == "disabled" {
                finish(&app, &lease, State::Success).await;
                let rest = tokio::time::timeout(Duration::from_secs(20), streams.remove(0).collect());
                let rest = rest.await.expect("it ends").expect("a body").to_bytes();
                assert!(!String::from_utf8_lossy(&rest).contains("success"), "{rest:?}");
            }
        }
    }

    async fn a_run_is_followed_to_its_end(app: TestApp) {
        let (admin, lease) = under_way(&app).await;
        let ending = {
            let app = app.clone();
            tokio::spawn(async move { finish(&app, &lease, State::Failure).await })
        };
        let events = follow(&app, &admin, "/api/v1/orgs/acme/projects/web/runs/1/events", None).await;
        ending.await.expect("end");
        let names: Vec<_> = events.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(names.last(), Some(&"end"), "{names:?}");
        let last = &events[events.len() - 2].2;
        assert!(last.contains("\"state\":\"failure\""), "{last}");
    }

    async fn runs_are_cancelled_and_retried_over_the_api(app: TestApp) {
        let (admin, lease) = under_way(&app).await;
        let run = "/api/v1/orgs/acme/projects/web/runs/1";
        admin.post(&format!("{run}/retry"), &json!({})).await.assert_status(409);
        admin.post(&format!("{run}/cancel"), &json!({})).await.assert_status(200);
        finish(&app, &lease, State::Cancellation).await;
        admin.post(&format!("{run}/cancel"), &json!({})).await.assert_status(409);
        let job: Job = admin.post(&format!("{JOB}/retry"), &json!({})).await.assert_status(200).json();
        assert_eq!(job.attempts.len(), 2);
        let job: Job = admin.post(&format!("{JOB}/cancel"), &json!({})).await.assert_status(200).json();
        assert_eq!(job.state, State::Cancellation);
        let shown: Run = admin.get(run).await.assert_status(200).json();
        assert_eq!(shown.summary.state, State::Cancellation);
        assert_eq!(shown.summary.reason.as_deref(), Some("Admin cancelled it"));
        admin.get("/api/v1/orgs/acme/projects/web/runs/2").await.assert_status(404);
        admin.post("/api/v1/orgs/acme/projects/web/runs/1/jobs/none/retry", &json!({})).await.assert_status(404);
    }

    async fn a_viewer_reads_and_does_nothing_else(app: TestApp) {
        let (admin, _) = under_way(&app).await;
        let viewer = app.person("vera").await;
        viewer.get(&format!("{JOB}/trace")).await.assert_status(404);
        admin.add_member("acme", "vera", Role::Viewer).await;
        let run: Run = viewer.get("/api/v1/orgs/acme/projects/web/runs/1").await.assert_status(200).json();
        assert!(!run.can_operate);
        viewer.get(&format!("{JOB}/trace")).await.assert_status(200);
        viewer.post("/api/v1/orgs/acme/projects/web/runs/1/cancel", &json!({})).await.assert_status(403);
        viewer.post("/api/v1/orgs/acme/projects/web/runs", &json!({})).await.assert_status(403);
        let token = admin.token(&[Scope::Read]).await.secret;
        app.get(&format!("{JOB}/log")).bearer(&token).send().await.assert_status(200);
        app.post(&format!("{JOB}/retry")).bearer(&token).send().await.assert_status(403);
    }
}
