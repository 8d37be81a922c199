//! Runners: how a machine becomes one, what it may do, and how it stops being one.

use chrono::TimeDelta;
use devenv_cloud::{
    executor::{Conclusion, remote::wire::Register},
    runs,
};
use devenv_cloud_api::{
    audit::AuditEntry,
    orgs::ProjectSettings,
    page::Page,
    permissions::Role,
    runners::{RunnerScope, RunnerState, RunnerToken},
    runs::State::{self, Error, Queued, Running, Success},
};
use http::Method;
use serde_json::json;

use crate::support::{
    Browser, Request, TestApp,
    runners::{announcement, nonce},
    work::{Project, Script, claim},
};

fn register(app: &TestApp, token: &str, nonce: &str) -> Request {
    let wanted = Register { token: token.to_owned(), nonce: nonce.to_owned(), announcement: announcement() };
    app.post("/api/v1/runner/register").json(&wanted)
}

/// An administrator, and the project `acme/web`.
async fn acme(app: &TestApp) -> (Browser, Project) {
    let project = Project::create(app, &ProjectSettings::default()).await;
    (app.set_up().await, project)
}

fn conclusion(state: State) -> Conclusion {
    let reason = (state != Success).then(|| "it went wrong".to_owned());
    Conclusion { state, reason, exit_status: Some(0), dropped_lines: 0 }
}

both_engines! {
    async fn a_token_makes_one_machine_a_runner(app: TestApp) {
        let (admin, _) = acme(&app).await;
        let token = admin.runner_token(Some("acme")).await;
        assert!(token.command.contains(&format!("--server https://ci.example.com --token {}", token.secret)));
        let mine = nonce(&app);
        let first = register(&app, &token.secret, &mine).send().await.assert_status(201);
        // The answer was lost: the same machine asks again, and is the same runner.
        let again = register(&app, &token.secret, &mine).send().await.assert_status(201);
        let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["runner"].clone();
        assert_eq!(id(&first.text()), id(&again.text()));
        assert_eq!(admin.runners("acme").await.len(), 1);
        // Another machine is refused, and learns why.
        let problem = register(&app, &token.secret, &nonce(&app)).send().await.assert_status(403).problem();
        assert_eq!(problem.kind, "invalid-token");
        assert!(problem.detail.unwrap().contains("used up"));
        // What is used up is listed no more.
        let left: Page<RunnerToken> = admin.get("/api/v1/orgs/acme/runner-tokens").await.json();
        assert!(left.items.is_empty());
    }

    async fn a_token_that_does_not_work_says_why(app: TestApp) {
        let (admin, _) = acme(&app).await;
        let why = async |token: &str| {
            let problem = register(&app, token, &nonce(&app)).send().await.assert_status(403).problem();
            problem.detail.unwrap()
        };
        assert!(why("dvreg_wrong").await.contains("none of this server's"));
        let token = admin.runner_token(Some("acme")).await;
        let mut typo = token.secret.clone();
        typo.replace_range(10..11, if &typo[10..11] == "x" { "y" } else { "x" });
        assert!(why(&typo).await.contains("none of this server's"));
        let path = format!("/api/v1/orgs/acme/runner-tokens/{}", token.token.id);
        admin.delete(&path).await.assert_status(204);
        assert!(why(&token.secret).await.contains("revoked"));
        let token = admin.runner_token(Some("acme")).await;
        app.advance(TimeDelta::hours(24));
        assert!(why(&token.secret).await.contains("expired"));
    }

    async fn what_a_machine_says_of_itself_is_checked(app: TestApp) {
        let (admin, _) = acme(&app).await;
        let token = admin.runner_token(Some("acme")).await.secret;
        for (change, status) in [
            (json!({"protocol": 99}), 409),
            (json!({"name": ""}), 422),
            (json!({"name": "a/b"}), 422),
            (json!({"name": "x".repeat(65)}), 422),
            (json!({"labels": ["a,b"]}), 422),
            (json!({"labels": ["%"]}), 422),
            (json!({"labels": vec!["a"; 21]}), 422),
            (json!({"platforms": []}), 422),
            (json!({"platforms": ["x86_64-linux,aarch64-linux"]}), 422),
            (json!({"slots": 0}), 422),
        ] {
            let mut said = serde_json::to_value(announcement()).unwrap();
            for (key, value) in change.as_object().unwrap() {
                said[key] = value.clone();
            }
            let wanted = json!({"token": token, "nonce": nonce(&app), "announcement": said});
            let answer = app.post("/api/v1/runner/register").json(&wanted).send().await;
            assert_eq!(answer.status, status, "{change}: {}", answer.text());
        }
        // None of them used the token.
        register(&app, &token, &nonce(&app)).send().await.assert_status(201);
    }

    async fn a_credential_expires_and_two_are_valid_at_most(app: TestApp) {
        let (admin, _) = acme(&app).await;
        let runner = admin.runner("acme").await;
        let renew = async |credential: &str| {
            let answer = app.post("/api/v1/runner/credential").bearer(credential).send().await.assert_status(200);
            answer.json::<serde_json::Value>()["credential"].as_str().unwrap().to_owned()
        };
        let hello = async |credential: &str| {
            app.post("/api/v1/runner/hello").bearer(credential).json(&announcement()).send().await.status.as_u16()
        };
        let (first, second) = (runner.credential.clone(), renew(&runner.credential).await);
        assert_eq!((hello(&first).await, hello(&second).await), (200, 200));
        // The answer with the second was lost: the first is exchanged once more.
        let third = renew(&first).await;
        assert_eq!((hello(&first).await, hello(&second).await, hello(&third).await), (200, 401, 200));
        let fourth = renew(&third).await;
        assert_eq!((hello(&first).await, hello(&third).await, hello(&fourth).await), (401, 200, 200));

        app.advance(TimeDelta::hours(1));
        let problem = runner.app.post("/api/v1/runner/hello").bearer(&fourth).json(&announcement());
        assert_eq!(problem.send().await.assert_status(401).problem().kind, "expired-credential");
        // It opens nothing, but can be exchanged.
        let fifth = renew(&fourth).await;
        assert_eq!(hello(&fifth).await, 200);
        app.advance(TimeDelta::days(31));
        app.post("/api/v1/runner/credential").bearer(&fifth).send().await.assert_status(401);
    }

    async fn a_runner_gets_its_organisations_jobs_only(app: TestApp) {
        let (admin, project) = acme(&app).await;
        admin.create_org("other").await;
        let (own, foreign) = (admin.runner("acme").await, admin.runner("other").await);
        let instance = admin.runner_like(None, announcement()).await;
        project.run(&app, "a", 'a').await;
        assert!(foreign.claim_once().await.is_none());
        let work = own.claim_once().await.expect("work");
        assert_eq!(work.attributes["cicd.worker.name"], "builder");
        assert_eq!(work.attributes["cicd.worker.id"], own.id);
        assert_eq!(project.show(&app, 1).await.jobs[0].attempts[0].runner.as_deref(), Some("builder"));
        project.run(&app, "b", 'b').await;
        assert!(own.claim_once().await.is_none(), "its one slot is taken");
        instance.claim_once().await.expect("work for a runner of the instance");
        // The server's own executor goes on as before.
        project.run(&app, "c", 'c').await;
        let work = claim(&app).await.expect("work");
        assert_eq!(project.show(&app, 3).await.jobs[0].attempts[0].runner, None);
        assert_eq!(work.attributes["cicd.worker.name"], "test");
    }

    async fn a_job_with_a_label_goes_to_a_runner_that_has_it(app: TestApp) {
        let settings = ProjectSettings { runner_label: "gpu".to_owned(), ..ProjectSettings::default() };
        let project = Project::create(&app, &settings).await;
        let admin = app.set_up().await;
        let labelled = |labels: &[&str]| {
            let mut announcement = announcement();
            announcement.labels = labels.iter().map(|&label| label.to_owned()).collect();
            announcement
        };
        let without = admin.runner_like(Some("acme"), labelled(&["gp", "gpu-2"])).await;
        let with = admin.runner_like(Some("acme"), labelled(&["big", "gpu"])).await;
        project.run(&app, "main", 'a').await;
        assert!(without.claim_once().await.is_none());
        assert!(claim(&app).await.is_none(), "the server's own executor has no labels");
        with.claim_once().await.expect("work");
    }

    async fn another_platform_gets_nothing(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let mut other = announcement();
        other.platforms = vec!["aarch64-linux".to_owned()];
        let runner = admin.runner_like(Some("acme"), other).await;
        project.run(&app, "main", 'a').await;
        assert!(runner.claim_once().await.is_none());
    }

    async fn a_claim_whose_answer_was_lost_gets_the_same_work(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let runner = admin.runner("acme").await;
        project.run(&app, "a", 'a').await;
        project.run(&app, "b", 'b').await;
        let first = runner.claim_with(7).await.assert_status(200);
        let again = runner.claim_with(7).await.assert_status(200);
        assert_eq!(first.text(), again.text());
        assert!(!first.text().contains("lease"), "the number goes one way only: {}", first.text());
    }

    async fn claims_at_once_get_no_more_than_there_are_slots(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let mut many = announcement();
        many.slots = 3;
        let runner = admin.runner_like(Some("acme"), many).await;
        for number in 0..8 {
            project.run(&app, &format!("branch-{number}"), 'a').await;
        }
        let claims = (0..8).map(|_| {
            let runner = runner.clone();
            tokio::spawn(async move { runner.claim_once().await.is_some() })
        });
        let mut claimed = 0;
        for claim in claims {
            claimed += u32::from(claim.await.unwrap());
        }
        assert_eq!(claimed, 3);
    }

    async fn a_runner_that_drains_gets_nothing_new(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let runner = admin.runner("acme").await;
        let path = format!("/api/v1/orgs/acme/runners/{}", runner.id);
        project.run(&app, "main", 'a').await;
        admin.patch(&path, &json!({"draining": true})).await.assert_status(204);
        assert_eq!(admin.runners("acme").await[0].state, RunnerState::Draining);
        assert!(runner.claim_once().await.is_none());
        admin.patch(&path, &json!({"draining": false})).await.assert_status(204);
        runner.claim_once().await.expect("work");
    }

    async fn a_lease_is_its_holders(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let (holder, other) = (admin.runner("acme").await, admin.runner("acme").await);
        project.run(&app, "main", 'a').await;
        let lease = holder.claim().await;
        holder.renew(&lease).await.assert_status(200);
        let mut guess = lease.clone();
        guess.token ^= 1;
        let records = json!(Script::new(&app).job().records);
        // Another runner that has learnt the number, and the right one without it.
        for (runner, lease) in [(&other, &lease), (&holder, &guess)] {
            let requests = [
                runner.about(Method::GET, lease, "source"),
                runner.about(Method::POST, lease, "records?first=1").json(&records),
                runner.about(Method::POST, lease, "finish").json(&conclusion(Success)),
            ];
            for request in requests {
                assert_eq!(request.send().await.assert_status(410).problem().kind, "lease-lost");
            }
        }
        other.renew(&lease).await.assert_status(410);
        assert_eq!(holder.renew(&guess).await.json::<serde_json::Value>()["state"], "lost");
        assert_eq!(project.attempts(&app, 1).await, [Running]);
        holder.request(Method::POST, &format!("leases/{}/renew", lease.attempt)).send().await.assert_status(422);
        let sent = holder.about(Method::POST, &lease, "records?first=1").json(&records).send().await;
        sent.assert_status(204);
        holder.about(Method::POST, &lease, "finish").json(&conclusion(Success)).send().await.assert_status(204);
        assert_eq!(project.attempts(&app, 1).await, [Success]);
        holder.about(Method::POST, &lease, "finish").json(&conclusion(Success)).send().await.assert_status(410);
    }

    async fn messages_are_bounded(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let runner = admin.runner("acme").await;
        project.run(&app, "main", 'a').await;
        let lease = runner.claim().await;
        let send = async |records: Script, first: &str| {
            let request = runner.about(Method::POST, &lease, &format!("records?first={first}"));
            request.json(&json!(records.records)).send().await.status.as_u16()
        };
        let script = || Script::new(&app).job();
        assert_eq!(send(script(), "0").await, 422);
        assert_eq!(send(script(), "18446744073709551615").await, 422);
        assert_eq!(send(script(), "2").await, 503, "a gap");
        assert_eq!(send(script().line(1, "x".repeat(600 << 10)), "1").await, 422);
        assert_eq!(send(script().lines(1, 1..=9000), "1").await, 422);
        let mut long = script();
        for _ in 0..130 {
            long = long.line(1, "x".repeat(100 << 10));
        }
        assert_eq!(send(long, "1").await, 413);
        let mut strange = script();
        if let devenv_cloud::telemetry::Record::Opened { name, .. } = &mut strange.records[0] {
            name.push('\0');
        }
        assert_eq!(send(strange, "1").await, 422);
        let finish = |conclusion: Conclusion| runner.about(Method::POST, &lease, "finish").json(&conclusion);
        let unproven = Conclusion { exit_status: None, ..conclusion(Success) };
        finish(unproven).send().await.assert_status(422);
        let long = Conclusion { reason: Some("x".repeat(9000)), ..conclusion(Error) };
        finish(long).send().await.assert_status(422);
        runner.post("claim").json(&json!({"lease": "x"})).send().await.assert_status(422);
        assert_eq!(send(script(), "1").await, 204);
    }

    async fn revoking_a_runner_ends_its_jobs_which_are_done_elsewhere(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let (bad, good) = (admin.runner("acme").await, admin.runner("acme").await);
        project.run(&app, "main", 'a').await;
        let lease = bad.claim().await;
        admin.delete(&format!("/api/v1/orgs/acme/runners/{}", bad.id)).await.assert_status(204);
        let run = project.show(&app, 1).await;
        assert_eq!(run.jobs[0].attempts[0].state, Error);
        assert_eq!(
            run.jobs[0].attempts[0].reason.as_deref(),
            Some("its runner was revoked while this was running")
        );
        // It learns it, and can do nothing any more.
        let records = json!(Script::new(&app).job().records);
        for request in [
            bad.about(Method::POST, &lease, "renew"),
            bad.about(Method::POST, &lease, "records?first=1").json(&records),
            bad.post("claim").json(&json!({"lease": "0".repeat(32)})),
            bad.post("credential"),
        ] {
            assert_eq!(request.send().await.assert_status(403).problem().kind, "runner-revoked");
        }
        assert_eq!(admin.runners("acme").await.len(), 1);
        let work = good.claim_once().await.expect("the automatic attempt");
        assert_ne!(work.lease.attempt, lease.attempt);
        assert_eq!(project.attempts(&app, 1).await, [Error, Running]);
        admin.delete(&format!("/api/v1/orgs/acme/runners/{}", bad.id)).await.assert_status(404);
    }

    async fn what_a_dead_process_had_is_done_again_when_the_runner_starts(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let runner = admin.runner("acme").await;
        project.run(&app, "main", 'a').await;
        let lease = runner.claim().await;
        runner.post("hello").json(&announcement()).send().await.assert_status(200);
        assert_eq!(project.attempts(&app, 1).await, [Error, Queued]);
        assert_eq!(runner.renew(&lease).await.json::<serde_json::Value>()["state"], "lost");
        let shown = &admin.runners("acme").await[0];
        assert_eq!(shown.last_error.as_deref(), Some("the runner restarted while this was running"));
        // And when it says that it goes.
        let _second = runner.claim().await;
        runner.post("leave").send().await.assert_status(204);
        assert_eq!(project.attempts(&app, 1).await, [Error, Error]);
        assert_eq!(admin.runners("acme").await[0].state, RunnerState::Offline);
    }

    async fn a_restarting_server_leaves_runners_their_jobs(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let runner = admin.runner("acme").await;
        project.run(&app, "main", 'a').await;
        let lease = runner.claim().await;
        assert_eq!(runs::put_right_after_restart(&app).await.unwrap(), 0);
        runner.renew(&lease).await.assert_status(200);
        assert_eq!(project.attempts(&app, 1).await, [Running]);
    }

    async fn a_silent_runner_is_offline_and_loses_its_jobs(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let runner = admin.runner("acme").await;
        project.run(&app, "main", 'a').await;
        let _lease = runner.claim().await;
        let shown = &admin.runners("acme").await[0];
        assert_eq!((shown.state, shown.scope, shown.slots), (RunnerState::Online, RunnerScope::Org, 1));
        assert_eq!((shown.jobs[0].project.as_str(), shown.jobs[0].run), ("web", 1));
        app.advance(TimeDelta::seconds(91));
        assert_eq!(runs::reap_lapsed_leases_once(&app).await.unwrap(), 1);
        let shown = &admin.runners("acme").await[0];
        assert_eq!((shown.state, shown.jobs.len()), (RunnerState::Offline, 0));
        assert!(shown.last_error.as_deref().unwrap().contains("no sign of life"));
        assert_eq!(project.attempts(&app, 1).await, [Error, Queued]);
    }

    async fn members_see_runners_and_admins_manage_them(app: TestApp) {
        let (admin, _) = acme(&app).await;
        let runner = admin.runner("acme").await;
        let shared = admin.runner_like(None, announcement()).await;
        let member = app.person("member").await;
        admin.add_member("acme", "member", Role::Member).await;
        let seen = member.runners("acme").await;
        assert_eq!(seen.iter().map(|r| r.id.to_string()).collect::<Vec<_>>(), [&*runner.id, &*shared.id]);
        assert!(seen.iter().all(|r| !r.can_manage));
        let path = format!("/api/v1/orgs/acme/runners/{}", runner.id);
        member.delete(&path).await.assert_status(403);
        member.post("/api/v1/orgs/acme/runner-tokens", &json!({})).await.assert_status(403);
        let seen = admin.runners("acme").await;
        assert_eq!(seen.iter().map(|r| r.can_manage).collect::<Vec<_>>(), [true, false]);
        // The instance's runner is none of the organisation's to manage, nor another's.
        admin.delete(&format!("/api/v1/orgs/acme/runners/{}", shared.id)).await.assert_status(404);
        admin.create_org("other").await;
        admin.delete(&format!("/api/v1/orgs/other/runners/{}", runner.id)).await.assert_status(404);
        admin.delete(&format!("/api/v1/runners/{}", runner.id)).await.assert_status(404);
        admin.delete(&format!("/api/v1/runners/{}", shared.id)).await.assert_status(204);
        let answer = admin.get("/api/v1/orgs/acme/runners?limit=1").await.assert_status(200);
        assert_eq!(answer.json::<Page<devenv_cloud_api::runners::Runner>>().items.len(), 1);
    }

    async fn a_token_takes_a_fresh_proof_and_what_happens_to_runners_is_written_down(app: TestApp) {
        let (admin, _) = acme(&app).await;
        let used = admin.runner_token(Some("acme")).await;
        register(&app, &used.secret, &nonce(&app)).send().await.assert_status(201);
        let runner = admin.runners("acme").await.remove(0);
        app.advance(TimeDelta::seconds(1));
        admin.delete(&format!("/api/v1/orgs/acme/runners/{}", runner.id)).await.assert_status(204);
        app.advance(TimeDelta::seconds(1));
        let left = admin.runner_token(Some("acme")).await.token.id;
        app.advance(TimeDelta::seconds(1));
        let path = format!("/api/v1/orgs/acme/runner-tokens/{left}");
        admin.delete(&path).await.assert_status(204);
        admin.delete(&path).await.assert_status(404);

        let log: Page<AuditEntry> = admin.get("/api/v1/orgs/acme/audit?limit=5").await.json();
        let seen: Vec<_> =
            log.items.iter().map(|entry| (entry.action.as_str(), entry.actor.as_str())).collect();
        let by = "admin@example.com";
        assert_eq!(seen[..3], [("runner-token.revoke", by), ("runner-token.create", by), ("runner.revoke", by)]);
        // Both in one moment.
        assert!(seen[3..].contains(&("runner.register", "")) && seen[3..].contains(&("runner-token.create", by)));
        assert_eq!(log.items[2].target, runner.name);
        assert!(log.items.iter().all(|entry| !entry.target.contains(&used.secret)));

        // Somebody who sits down at a browser that was left alone gets none.
        app.advance(TimeDelta::minutes(11));
        for path in ["/api/v1/orgs/acme/runner-tokens", "/api/v1/runner-tokens"] {
            let problem = admin.post(path, &json!({})).await.assert_status(403).problem();
            assert_eq!(problem.kind, "step-up");
        }
    }

    async fn an_organisation_sees_its_own_jobs_on_a_runner_of_the_instance(app: TestApp) {
        let (admin, project) = acme(&app).await;
        admin.create_org("other").await;
        let shared = admin.runner_like(None, announcement()).await;
        project.run(&app, "main", 'a').await;
        let lease = shared.claim().await;
        assert_eq!(admin.runners("acme").await[0].jobs.len(), 1);
        assert_eq!(admin.runners("other").await[0].jobs.len(), 0);
        shared.about(Method::POST, &lease, "finish").json(&conclusion(Error)).send().await.assert_status(204);
        assert_eq!(admin.runners("other").await[0].last_error, None);
        let all: Page<devenv_cloud_api::runners::Runner> = admin.get("/api/v1/runners").await.json();
        assert_eq!(all.items[0].last_error.as_deref(), Some("it went wrong"));
    }
}
