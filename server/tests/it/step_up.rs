//! Proving once more who one is before what matters, and what an instance or
//! an organisation asks of everybody's sign-in.

use chrono::TimeDelta;
use devenv_cloud::db::query;
use devenv_cloud_api::{
    accounts::AuthMethod,
    audit::AuditOutcome,
    factors::{Factors, SecondFactor, Standing, StepUp},
    orgs::Org,
    page::Page,
    permissions::{Role, Scope},
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Browser, PASSWORD, Response, TestApp};

const MAIL: &str = "person@example.com";

#[track_caller]
fn assert_kind(response: &Response, kind: &str) {
    assert_eq!(response.status, 403, "{}", response.text());
    assert_eq!(response.problem().kind, kind);
}

async fn ways(browser: &Browser) -> StepUp {
    browser.get("/api/v1/session/step-up").await.assert_status(200).json()
}

async fn is_fresh(browser: &Browser) -> bool {
    let asked = ways(browser).await.fresh;
    // What it says is what happens.
    let begun = browser.post("/api/v1/account/passkeys/begin", &json!({})).await;
    assert_eq!(begun.status == 200, asked, "{}", begun.text());
    asked
}

async fn ask(browser: &Browser, method: &Method, path: &str, body: &Value) -> Response {
    browser.send(browser.request(method.clone(), path).json(body)).await
}

/// Everything that takes a recent proof, in an order in which all of it can be
/// done, with the answer of success.
fn what_matters(member: &str, passkey: &str) -> Vec<(Method, String, Value, u16)> {
    let token = json!({"name": "t", "scopes": ["read"], "expires_in_days": 1});
    let policy = json!({"second_factor": "optional", "grace_days": 0});
    let members = "/api/v1/orgs/acme/members";
    let one = |method: Method, path: &str, body: Value, status| (method, path.to_owned(), body, status);
    vec![
        one(Method::POST, "/api/v1/account/passkeys/begin", json!({}), 200),
        one(
            Method::POST,
            "/api/v1/account/passkeys",
            json!({"ceremony": "x", "name": "x", "credential": {}}),
            403,
        ),
        one(Method::POST, "/api/v1/account/recovery-codes", json!({}), 201),
        one(Method::DELETE, &format!("/api/v1/account/passkeys/{passkey}"), json!({}), 204),
        one(Method::POST, "/api/v1/account/codes", json!({}), 201),
        one(Method::POST, "/api/v1/account/codes/confirm", json!({"code": "000000"}), 422),
        one(Method::DELETE, "/api/v1/account/codes", json!({}), 204),
        one(Method::POST, "/api/v1/account/tokens", token.clone(), 201),
        one(Method::POST, "/api/v1/orgs/acme/projects/web/tokens", token, 201),
        one(Method::POST, members, json!({"email": "other@example.com", "role": "viewer"}), 201),
        one(Method::PATCH, &format!("{members}/{member}"), json!({"role": "admin"}), 200),
        one(Method::DELETE, &format!("{members}/{member}"), json!({}), 204),
        one(Method::PUT, "/api/v1/instance/sign-in-policy", policy.clone(), 200),
        one(Method::PUT, "/api/v1/orgs/acme/sign-in-policy", policy, 200),
        one(Method::DELETE, "/api/v1/orgs/acme/projects/web", json!({}), 204),
        one(Method::DELETE, "/api/v1/orgs/acme", json!({}), 204),
    ]
}

both_engines! {
    async fn nobody_is_asked_for_a_passkey_where_there_can_be_none(app: TestApp) {
        app.set_up().await.create_org("acme").await;
        let app = app.restart(&[("DEVENV_CLOUD_SERVER_BASE_URL", "https://192.0.2.1")]).await;
        let admin = app.browser();
        admin.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        for path in ["/api/v1/instance/sign-in-policy", "/api/v1/orgs/acme/sign-in-policy"] {
            let wish = |asked: &str| json!({"second_factor": asked, "grace_days": 3});
            let refused = ask(&admin, &Method::PUT, path, &wish("phishing-resistant")).await.assert_status(422);
            assert_eq!(refused.problem().errors[0].field, "second_factor");
            ask(&admin, &Method::PUT, path, &wish("required")).await.assert_status(200);
        }
    }

    async fn a_confirmation_of_somebody_who_is_signed_out_leads_to_the_sign_in_page(app: TestApp) {
        let fields = [("password", "x"), ("return_to", "/device")];
        for form in ["/confirm/password", "/confirm/code", "/confirm/recovery-code"] {
            let response = app.browser().form(form, &fields).await.assert_status(303);
            assert_eq!(response.header("location"), Some("/sign-in?problem=unauthenticated&return_to=%2Fdevice"));
        }
    }

    /// ASVS 7.5.1, 7.5.3
    async fn what_matters_takes_a_proof_of_the_last_ten_minutes(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        app.person("other").await;
        let member = app.person("member").await;
        admin.add_member("acme", "member", Role::Member).await;
        let (mut key, listed) = admin.add_passkey("laptop").await;
        let all = what_matters(&member.user_id().await.to_string(), &listed.id.to_string());

        app.advance(TimeDelta::seconds(599));
        assert!(is_fresh(&admin).await);
        app.advance(TimeDelta::seconds(1));
        assert!(!is_fresh(&admin).await);
        for (method, path, body, _) in &all {
            let refused = ask(&admin, method, path, body).await;
            assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text());
            assert_eq!(refused.problem().kind, "step-up", "{method} {path}");
        }
        // Reading, and what can be undone, goes on.
        for path in ["/api/v1/orgs/acme/members", "/api/v1/account/factors", "/api/v1/account/tokens"] {
            admin.get(path).await.assert_status(200);
        }
        admin.patch("/api/v1/orgs/acme", &json!({"display_name": "Acme"})).await.assert_status(200);
        let before = admin.copy();
        admin.step_up_with(&mut key).await.assert_status(204);
        before.get("/api/v1/session").await.assert_status(401);
        for (method, path, body, status) in &all {
            let done = ask(&admin, method, path, body).await;
            assert_eq!(done.status.as_u16(), *status, "{method} {path}: {}", done.text());
            // Confirming nonsense is not refused for want of a proof.
            if done.status == 403 {
                assert_eq!(done.problem().kind, "unproven", "{method} {path}");
            }
        }
        assert_eq!(app.audited("step-up", AuditOutcome::Success).await, 1);
    }

    async fn whoever_leaves_an_organisation_needs_no_proof(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        let member = app.person("member").await;
        let added = admin.add_member("acme", "member", Role::Member).await;
        app.advance(TimeDelta::minutes(11));
        member.delete(&format!("/api/v1/orgs/acme/members/{}", added.user_id)).await.assert_status(204);
    }

    /// A token is asked for scopes and not for a presence that it cannot give.
    async fn tokens_are_not_asked(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        app.person("member").await;
        let token = admin.token(&[Scope::Admin]).await.secret;
        app.advance(TimeDelta::minutes(11));
        let body = json!({"email": "member@example.com", "role": "viewer"});
        app.post("/api/v1/orgs/acme/members").bearer(&token).json(&body).send().await.assert_status(201);
        let request = app.request(Method::DELETE, "/api/v1/orgs/acme/projects/web").bearer(&token);
        request.send().await.assert_status(204);
        app.request(Method::DELETE, "/api/v1/orgs/acme").bearer(&token).send().await.assert_status(204);
    }

    async fn it_takes_the_strongest_that_one_has(app: TestApp) {
        let person = app.person("person").await;
        // Nothing but a password.
        assert_eq!(ways(&person).await.methods, [AuthMethod::Password]);
        app.advance(TimeDelta::minutes(10));
        let wrong = person.give_password("session/step-up/password", "wrong").await.assert_status(422);
        assert_eq!(wrong.problem().errors[0].field, "password");
        assert!(!is_fresh(&person).await);
        person.give_password("session/step-up/password", PASSWORD).await.assert_status(204);
        assert!(is_fresh(&person).await);
        assert_eq!(ways(&person).await.until, Some(app.clock.now() + TimeDelta::minutes(10)));

        // A code is stronger.
        let codes = person.add_codes().await;
        let recovery = person.make_recovery_codes().await;
        assert_eq!(ways(&person).await.methods, [AuthMethod::OneTimeCode, AuthMethod::RecoveryCode]);
        app.advance(TimeDelta::minutes(10));
        assert_kind(&person.give_password("session/step-up/password", PASSWORD).await, "unproven");
        assert!(!is_fresh(&person).await);
        person.give_code("session/step-up/code", &codes.code()).await.assert_status(204);
        assert!(is_fresh(&person).await);

        // A passkey is stronger still.
        let (mut key, listed) = person.add_passkey("laptop").await;
        assert_eq!(ways(&person).await.methods, [AuthMethod::Passkey, AuthMethod::RecoveryCode]);
        app.advance(TimeDelta::minutes(10));
        assert_kind(&person.give_password("session/step-up/password", PASSWORD).await, "unproven");
        assert_kind(&person.give_code("session/step-up/code", &codes.code()).await, "unproven");
        assert!(!is_fresh(&person).await);
        person.step_up_with(&mut key).await.assert_status(204);
        assert!(is_fresh(&person).await);

        // A recovery code stands in for what is lost.
        app.advance(TimeDelta::minutes(10));
        person.give_code("session/step-up/recovery-code", &recovery[0]).await.assert_status(204);
        assert!(is_fresh(&person).await);

        // Less is enough once there is no more.
        person.delete(&format!("/api/v1/account/passkeys/{}", listed.id)).await.assert_status(204);
        person.delete("/api/v1/account/codes").await.assert_status(204);
        app.advance(TimeDelta::minutes(10));
        assert_eq!(ways(&person).await.methods, [AuthMethod::Password]);
        assert!(!is_fresh(&person).await);
        person.give_password("session/step-up/password", PASSWORD).await.assert_status(204);
        assert!(is_fresh(&person).await);
    }

    /// A sign-in with less than one has now is no recent proof.
    async fn a_stronger_factor_makes_weaker_proofs_of_other_sessions_old(app: TestApp) {
        let person = app.person("person").await;
        let other = app.browser();
        other.sign_in(MAIL, PASSWORD).await.assert_status(200);
        assert!(is_fresh(&other).await);
        let codes = person.add_codes().await;
        assert!(!is_fresh(&other).await);
        other.give_code("session/step-up/code", &codes.code()).await.assert_status(204);
        assert!(is_fresh(&other).await);
        let (mut key, _) = person.add_passkey("laptop").await;
        assert!(!is_fresh(&other).await);
        other.step_up_with(&mut key).await.assert_status(204);
        assert!(is_fresh(&other).await);
    }

    async fn changing_the_password_is_no_step_up_for_who_has_more(app: TestApp) {
        let person = app.person("person").await;
        person.add_passkey("laptop").await;
        app.advance(TimeDelta::minutes(10));
        let change = json!({"current": PASSWORD, "new": "another long password"});
        person.post("/api/v1/account/password", &change).await.assert_status(204);
        assert!(!is_fresh(&person).await);
    }

    async fn a_form_confirms_without_scripts_and_leads_nowhere_else(app: TestApp) {
        let person = app.person("person").await;
        for (path, return_to, location) in [
            ("/confirm/password", "/account/security", "/account/security"),
            ("/confirm/password", "https://evil.example", "/"),
            ("/confirm/password", "//evil.example", "/"),
        ] {
            app.advance(TimeDelta::minutes(10));
            assert!(!is_fresh(&person).await);
            let wrong = person.form(path, &[("password", "wrong"), ("return_to", return_to)]).await;
            let wrong = wrong.assert_status(303).header("location").unwrap().to_owned();
            assert!(wrong.starts_with("/confirm?problem=") && !wrong.contains("evil"), "{wrong}");
            assert!(!is_fresh(&person).await);
            let done = person.form(path, &[("password", PASSWORD), ("return_to", return_to)]).await;
            assert_eq!(done.assert_status(303).header("location"), Some(location));
            assert!(is_fresh(&person).await);
        }
        let codes = person.add_codes().await;
        let recovery = person.make_recovery_codes().await;
        for (path, code) in [("/confirm/code", codes.code()), ("/confirm/recovery-code", recovery[0].clone())] {
            app.advance(TimeDelta::minutes(10));
            // The weaker one is no way any more.
            person.form("/confirm/password", &[("password", PASSWORD)]).await.assert_status(303);
            assert!(!is_fresh(&person).await);
            let code = if path == "/confirm/code" { codes.code() } else { code };
            person.form(path, &[("code", &code)]).await.assert_status(303);
            assert!(is_fresh(&person).await);
        }
        // Another site's page cannot send it (SE-09), nor can nobody.
        let cookies = person.cookie_header().unwrap();
        let fields = [("password", PASSWORD)];
        for site in [Some("cross-site"), Some("same-site"), None] {
            let request = app.post("/confirm/password").form(&fields).header("cookie", &cookies);
            let request = site.map_or(request, |site| app.post("/confirm/password").form(&fields)
                .header("cookie", &cookies).header("sec-fetch-site", site));
            assert_kind(&request.send().await, "forbidden");
        }
        let nobody = app.browser().form("/confirm/password", &fields).await.assert_status(303);
        assert_eq!(nobody.header("location"), Some("/sign-in?problem=unauthenticated"));
    }

    /// SE-01
    async fn se_01_a_step_up_changes_the_sessions_secret(app: TestApp) {
        let person = app.person("person").await;
        let row = "SELECT COUNT(*) AS n FROM sessions";
        for _ in 0..3 {
            let (stolen, id) = (person.copy(), person.viewer().await.authenticated_at);
            app.advance(TimeDelta::minutes(1));
            person.give_password("session/step-up/password", PASSWORD).await.assert_status(204);
            assert_ne!(person.cookie("__Host-sid"), stolen.cookie("__Host-sid"));
            stolen.get("/api/v1/session").await.assert_status(401);
            assert_ne!(person.viewer().await.authenticated_at, id);
            assert_eq!(app.count(row).await, 1);
        }
    }

    /// SE-07: whoever ends sessions ends also those that are being renewed.
    async fn se_07_an_ended_session_does_not_come_back_by_a_step_up(app: TestApp) {
        let person = app.person("person").await;
        let other = app.second_process(&[]).await;
        for _ in 0..6 {
            let stolen = app.browser();
            stolen.sign_in(MAIL, PASSWORD).await.assert_status(200);
            let theirs = stolen.visiting(&other);
            let (_, ended) = futures::join!(
                theirs.give_password("session/step-up/password", PASSWORD),
                person.delete("/api/v1/account/sessions")
            );
            ended.assert_status(204);
            theirs.get("/api/v1/session").await.assert_status(401);
            assert_eq!(app.count("SELECT COUNT(*) AS n FROM sessions").await, 1);
        }
    }

    async fn guessing_the_password_at_a_step_up_is_limited(app: TestApp) {
        let person = app.person("person").await;
        for _ in 0..10 {
            person.give_password("session/step-up/password", "wrong").await.assert_status(422);
        }
        person.give_password("session/step-up/password", PASSWORD).await.assert_status(429);
        app.browser().sign_in(MAIL, PASSWORD).await.assert_status(429);
        assert_eq!(app.audited("step-up", AuditOutcome::Refused).await, 10);
    }

    async fn an_instance_that_requires_a_second_factor_gives_time_and_then_nothing(app: TestApp) {
        let admin = app.set_up().await;
        let (mut key, _) = admin.add_passkey("laptop").await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        let person = app.person("person").await;
        admin.add_member("acme", "person", Role::Admin).await;
        let token = person.token(&[Scope::Admin]).await.secret;
        let project = "/api/v1/orgs/acme/projects/web";
        for wrong in [json!({"second_factor": "optional", "grace_days": 91}), json!({"second_factor": "x", "grace_days": 0})] {
            ask(&admin, &Method::PUT, "/api/v1/instance/sign-in-policy", &wrong).await.assert_status(422);
        }
        admin.put_policy("instance", SecondFactor::Required, 3).await.assert_status(200);
        assert_eq!(app.audited("policy.change", AuditOutcome::Success).await, 1);
        let due = app.clock.now() + TimeDelta::days(3);

        // Days of grace: all goes on, and they are told.
        let viewer = person.viewer().await;
        assert_eq!((viewer.standing, viewer.due_at), (Standing::Grace, Some(due)));
        person.get(project).await.assert_status(200);
        app.advance(TimeDelta::days(3) - TimeDelta::seconds(1));
        person.get(project).await.assert_status(200);
        app.get(project).bearer(&token).send().await.assert_status(200);
        // Over: nothing goes on, in the browser and with tokens.
        app.advance(TimeDelta::seconds(1));
        assert_eq!(person.viewer().await.standing, Standing::MustEnrol);
        for path in [project, "/api/v1/orgs/acme", "/api/v1/orgs/acme/members"] {
            assert_kind(&person.get(path).await, "must-enrol");
            assert_kind(&app.get(path).bearer(&token).send().await, "must-enrol");
        }
        assert_kind(&person.post("/api/v1/orgs", &json!({"slug": "mine"})).await, "must-enrol");
        assert_kind(&person.delete(project).await, "must-enrol");
        // Nor do they see anything of it elsewhere.
        let found: Value = person.get("/api/v1/search?q=web").await.assert_status(200).json();
        assert_eq!(found["projects"], json!([]));
        let mine: Value = person.get("/api/v1/projects").await.assert_status(200).json();
        assert_eq!(mine["items"], json!([]));
        let mine: Value = app.get("/api/v1/projects").bearer(&token).send().await.assert_status(200).json();
        assert_eq!(mine["items"], json!([]));

        // A new sign-in leads to the same; the person can set up what is asked
        // for, and then everything.
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(200);
        assert_eq!(browser.viewer().await.standing, Standing::MustEnrol);
        let codes = browser.add_codes().await;
        assert_eq!(browser.viewer().await.standing, Standing::Fine);
        browser.get(project).await.assert_status(200);
        app.get(project).bearer(&token).send().await.assert_status(200);
        // The other browser has not shown it yet.
        assert_eq!(person.viewer().await.standing, Standing::MustProve);
        assert_kind(&person.get(project).await, "step-up");
        person.give_code("session/step-up/code", &codes.code()).await.assert_status(204);
        person.get(project).await.assert_status(200);
        // What is asked for cannot be removed.
        browser.delete("/api/v1/account/codes").await.assert_status(409);

        // More is asked for: the days begin anew.
        admin.step_up_with(&mut key).await.assert_status(204);
        admin.put_policy("instance", SecondFactor::PhishingResistant, 1).await.assert_status(200);
        assert_eq!(browser.viewer().await.standing, Standing::Grace);
        app.advance(TimeDelta::days(1));
        assert_kind(&browser.get(project).await, "must-enrol");
        assert_kind(&app.get(project).bearer(&token).send().await, "must-enrol");
        // Less: at once.
        admin.step_up_with(&mut key).await.assert_status(204);
        admin.put_policy("instance", SecondFactor::Required, 0).await.assert_status(200);
        browser.get(project).await.assert_status(200);
        admin.put_policy("instance", SecondFactor::Optional, 0).await.assert_status(200);
        codes.wait();
        browser.give_code("session/step-up/code", &codes.code()).await.assert_status(204);
        browser.delete("/api/v1/account/codes").await.assert_status(204);
    }

    async fn an_organisation_asks_for_itself_alone(app: TestApp) {
        let admin = app.set_up().await;
        let owner = app.person("owner").await;
        let (mut key, _) = owner.add_passkey("laptop").await;
        for org in ["strict", "other"] {
            owner.create_org(org).await;
            owner.create_project(org, "web").await;
        }
        let person = app.person("person").await;
        for org in ["strict", "other"] {
            owner.add_member(org, "person", Role::Member).await;
        }
        let token = person.token(&[Scope::Read]).await.secret;
        // Who may.
        assert_kind(&person.put_policy("orgs/strict", SecondFactor::Required, 0).await, "forbidden");
        app.person("stranger").await.put_policy("orgs/strict", SecondFactor::Required, 0).await.assert_status(404);
        owner.put_policy("orgs/strict", SecondFactor::PhishingResistant, 0).await.assert_status(200);

        // There nothing, elsewhere everything, in the browser and with tokens.
        for path in ["/api/v1/orgs/strict", "/api/v1/orgs/strict/projects/web"] {
            assert_kind(&person.get(path).await, "must-enrol");
            assert_kind(&app.get(path).bearer(&token).send().await, "must-enrol");
        }
        person.get("/api/v1/orgs/other/projects/web").await.assert_status(200);
        assert_eq!(person.viewer().await.standing, Standing::Fine);
        let orgs = person.get("/api/v1/orgs").await.json::<Page<Org>>().items;
        let strict = orgs.iter().find(|o| o.slug.to_string() == "strict").unwrap();
        assert_eq!((strict.standing, strict.allowed.as_slice()), (Standing::MustEnrol, &[][..]));
        let factors: Factors = person.get("/api/v1/account/factors").await.json();
        assert_eq!((factors.standing, factors.asked), (Standing::MustEnrol, SecondFactor::PhishingResistant));
        // A code is not enough where a passkey is asked for.
        person.add_codes().await;
        assert_kind(&person.get("/api/v1/orgs/strict").await, "must-enrol");
        let (mut theirs, listed) = person.add_passkey("laptop").await;
        person.get("/api/v1/orgs/strict").await.assert_status(200);
        person.delete(&format!("/api/v1/account/passkeys/{}", listed.id)).await.assert_status(409);
        // Somebody who signed in with less than they have has to show it.
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(403);
        browser.sign_in_with(&mut theirs).await.assert_status(200);
        browser.get("/api/v1/orgs/strict").await.assert_status(200);
        // Not even whoever administrates the instance goes around it.
        assert_kind(&admin.get("/api/v1/orgs/strict").await, "must-enrol");
        // Its own owner is asked, too.
        app.advance(TimeDelta::minutes(11));
        assert_kind(&owner.put_policy("orgs/strict", SecondFactor::Optional, 0).await, "step-up");
        owner.step_up_with(&mut key).await.assert_status(204);
        owner.put_policy("orgs/strict", SecondFactor::Optional, 0).await.assert_status(200);
        assert_eq!(app.audited("policy.change", AuditOutcome::Success).await, 2);
    }

    /// Git is a way in, too.
    async fn git_does_not_go_around_the_policy(app: TestApp) {
        let owner = app.person("owner").await;
        owner.add_passkey("laptop").await;
        owner.create_org("acme").await;
        owner.create_project("acme", "web").await;
        let person = app.person("person").await;
        owner.add_member("acme", "person", Role::Member).await;
        let token = person.token(&[Scope::Write]).await.secret;
        let fetch = || {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let basic = format!("Basic {}", STANDARD.encode(format!("x:{token}")));
            app.get("/acme/web.git/info/refs?service=git-upload-pack").header("authorization", &basic)
        };
        fetch().send().await.assert_status(200);
        owner.put_policy("orgs/acme", SecondFactor::Required, 0).await.assert_status(200);
        assert_ne!(fetch().send().await.status, 200);
        person.add_codes().await;
        fetch().send().await.assert_status(200);
    }

    /// SE-06: who is no administrator any more is none at once.
    async fn se_06_rights_are_looked_up_each_time(app: TestApp) {
        let admin = app.set_up().await;
        admin.get("/api/v1/instance/sign-in-policy").await.assert_status(200);
        query("UPDATE users SET instance_admin = $1").bind(false).execute(&app.db).await.unwrap();
        admin.get("/api/v1/instance/sign-in-policy").await.assert_status(403);
    }
}
