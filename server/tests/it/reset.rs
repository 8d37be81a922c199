//! Forgotten passwords, and whose an e-mail address is.

use chrono::TimeDelta;
use devenv_cloud::{audit, db, identity};
use devenv_cloud_api::{
    audit::{AuditAction, AuditOutcome},
    people::EmailAddress,
    permissions::Scope,
};
use serde_json::json;

use crate::support::{Browser, PASSWORD, Response, TestApp};

const NEW: &str = "another horse battery staple";

/// The token of the only link in the newest mail.
async fn token(app: &TestApp, path: &str) -> String {
    let mails = app.mails().await;
    let text = &mails.last().expect("a mail").text;
    let link = text.lines().find(|line| line.starts_with("https://")).expect("a link");
    let prefix = format!("https://ci.example.com{path}?token=");
    link.strip_prefix(&prefix).unwrap_or_else(|| panic!("{link}")).to_owned()
}

/// Lets some time pass, so that what comes after is later.
fn tick(browser: &Browser) {
    browser.app().advance(TimeDelta::seconds(1));
}

async fn ask(browser: &Browser, email: &str) -> Response {
    tick(browser);
    browser.post("/api/v1/password-reset", &json!({"email": email})).await
}

async fn set(browser: &Browser, token: &str, password: &str) -> Response {
    tick(browser);
    browser.post("/api/v1/password-reset/confirm", &json!({"token": token, "password": password})).await
}

async fn change(browser: &Browser, email: &str) -> Response {
    tick(browser);
    browser.post("/api/v1/account/email", &json!({"email": email})).await
}

async fn confirm(browser: &Browser, token: &str) -> Response {
    tick(browser);
    browser.post("/api/v1/email-confirmation", &json!({"token": token})).await
}

async fn done(app: &TestApp, action: AuditAction) -> Vec<AuditOutcome> {
    let filter = audit::Filter { action: Some(action), ..Default::default() };
    let entries = audit::list(app, &filter, None, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.outcome).collect()
}

both_engines! {
    async fn a_forgotten_password_is_set_by_a_link(app: TestApp) {
        let ada = app.person("ada").await;
        let other = app.browser();
        ask(&other, "ADA@example.com").await.assert_status(202);
        let token = token(&app, "/reset").await;
        set(&other, &token, NEW).await.assert_status(204);
        ada.get("/api/v1/session").await.assert_status(401);
        other.get("/api/v1/session").await.assert_status(401);
        other.sign_in("ada@example.com", PASSWORD).await.assert_status(403);
        other.sign_in("ada@example.com", NEW).await.assert_status(200);
        let mails = app.mails().await;
        assert_eq!(mails.last().unwrap().subject, "Your password was reset");
        assert_eq!(done(&app, AuditAction::AskReset).await, [AuditOutcome::Success]);
        assert_eq!(done(&app, AuditAction::ResetPassword).await, [AuditOutcome::Success]);
        let address: EmailAddress = other.get("/api/v1/account/email").await.assert_status(200).json();
        assert!(address.verified_at.is_some(), "who read the link has the address");
    }

    /// PW-01: the answer says nothing about accounts.
    async fn pw_01_an_unknown_address_gets_the_same_answer(app: TestApp) {
        app.person("ada").await;
        let visible = |response: Response| {
            let headers: Vec<_> = response.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            (response.status, response.body, headers)
        };
        let known = visible(ask(&app.browser(), "ada@example.com").await);
        for unknown in ["nobody@example.com", "no address", "", &"x".repeat(5000)] {
            assert_eq!(visible(ask(&app.browser(), unknown).await), known, "{unknown}");
        }
        assert_eq!(app.mails().await.len(), 1);
        // The same steps: a row to remember and an entry in the log for each.
        let rows = db::query("SELECT COUNT(*) AS n FROM once WHERE kind = 'password-reset'");
        assert_eq!(rows.one(&app.db).await.unwrap().get::<i64>("n").unwrap(), 5);
        assert_eq!(done(&app, AuditAction::AskReset).await.len(), 5);
    }

    /// PW-02: once, within an hour, the newest only, and for the password that was.
    async fn pw_02_a_link_works_once_and_not_for_long(app: TestApp) {
        let ada = app.person("ada").await;
        let browser = app.browser();
        ask(&browser, "ada@example.com").await.assert_status(202);
        let first = token(&app, "/reset").await;
        ask(&browser, "ada@example.com").await.assert_status(202);
        let second = token(&app, "/reset").await;
        assert_eq!(set(&browser, &first, NEW).await.assert_status(403).problem().kind, "invalid-token");
        set(&browser, &second, "short").await.assert_status(422);
        set(&browser, &second, NEW).await.assert_status(204);
        set(&browser, &second, PASSWORD).await.assert_status(403);

        ask(&browser, "ada@example.com").await.assert_status(202);
        let third = token(&app, "/reset").await;
        app.advance(TimeDelta::minutes(61));
        set(&browser, &third, PASSWORD).await.assert_status(403);

        // Changed by its owner meanwhile.
        ada.sign_in("ada@example.com", NEW).await.assert_status(200);
        ask(&browser, "ada@example.com").await.assert_status(202);
        let fourth = token(&app, "/reset").await;
        let owned = json!({"current": NEW, "new": "yet another horse staple"});
        ada.post("/api/v1/account/password", &owned).await.assert_status(204);
        set(&browser, &fourth, PASSWORD).await.assert_status(403);
    }

    /// PW-03: of two who follow the link at the same moment, one sets the password.
    async fn pw_03_two_at_once_set_it_once(app: TestApp) {
        app.person("ada").await;
        let (one, two) = (app.browser(), app.browser());
        ask(&one, "ada@example.com").await.assert_status(202);
        let token = token(&app, "/reset").await;
        let (a, b) = tokio::join!(set(&one, &token, NEW), set(&two, &token, "and one more horse staple"));
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 403]);
    }

    /// PW-04: nobody's mailbox is filled by way of us, and nobody learns that it is full.
    async fn pw_04_mails_to_one_person_are_few(app: TestApp) {
        app.person("ada").await;
        for n in 0..12 {
            let from = format!("198.51.100.{n}");
            let request = app.post("/api/v1/password-reset").from(&from);
            request.json(&json!({"email": "ada@example.com"})).send().await.assert_status(202);
        }
        assert_eq!(app.mails().await.len(), 3);
        app.advance(TimeDelta::minutes(20));
        ask(&app.browser(), "ada@example.com").await.assert_status(202);
        assert_eq!(app.mails().await.len(), 4);
    }

    async fn one_network_may_not_ask_for_ever(app: TestApp) {
        let browser = app.browser();
        for n in 0..20 {
            ask(&browser, &format!("somebody{n}@example.com")).await.assert_status(202);
        }
        let refused = ask(&browser, "somebody@example.com").await.assert_status(429);
        assert!(refused.header("retry-after").is_some());
        // Not those who come from elsewhere.
        let request = app.post("/api/v1/password-reset").from("198.51.100.1");
        request.json(&json!({"email": "a@example.com"})).send().await.assert_status(202);
    }

    /// OT-08: a link in a mail is one proof, and sign-in asks for the second as ever.
    async fn ot_08_a_reset_does_not_go_around_the_second_factor(app: TestApp) {
        let ada = app.person("ada").await;
        let id = ada.user_id().await;
        let now = app.clock.now();
        let secret = app.seal.seal("one-time codes", &[7; 20]).unwrap();
        db::query(
            "INSERT INTO one_time_codes (user_id, secret, last_step, created_at, confirmed_at) \
             VALUES ($1, $2, 0, $3, $3)",
        )
        .bind(id)
        .bind(secret)
        .bind(now)
        .execute(&app.db)
        .await
        .unwrap();
        let browser = app.browser();
        ask(&browser, "ada@example.com").await.assert_status(202);
        set(&browser, &token(&app, "/reset").await, NEW).await.assert_status(204);
        browser.get("/api/v1/session").await.assert_status(401);
        let refused = browser.sign_in("ada@example.com", NEW).await;
        assert_eq!(refused.assert_status(403).problem().kind, "second-factor");
        browser.get("/api/v1/session").await.assert_status(401);
        let left = db::query("SELECT COUNT(*) AS n FROM one_time_codes").one(&app.db).await.unwrap();
        assert_eq!(left.get::<i64>("n").unwrap(), 1, "what was set up stays");
    }

    async fn a_reset_with_a_plain_form_leads_to_sign_in(app: TestApp) {
        app.person("ada").await;
        let browser = app.browser();
        let sent = browser.form("/reset", &[("email", "ada@example.com")]).await.assert_status(303);
        assert_eq!(sent.header("location"), Some("/reset?sent=1"));
        let token = token(&app, "/reset").await;
        let page = browser.get(&format!("/reset?token={token}")).await.assert_status(200);
        assert!(page.text().contains(&format!("value=\"{token}\"")), "{}", page.text());
        assert!(page.text().contains("autocomplete=\"new-password\""));
        let weak = browser.form("/reset", &[("token", &token), ("password", "short")]).await.assert_status(303);
        assert_eq!(weak.header("location").unwrap(), format!("/reset?problem=weak-password&token={token}"));
        let done = browser.form("/reset", &[("token", &token), ("password", NEW)]).await.assert_status(303);
        assert_eq!(done.header("location"), Some("/reset?done=1"));
        assert!(browser.get("/reset?done=1").await.text().contains("href=\"/sign-in\""));
        browser.get("/api/v1/session").await.assert_status(401);
    }

    async fn an_address_is_verified_by_a_link(app: TestApp) {
        let ada = app.person("ada").await;
        let address: EmailAddress = ada.get("/api/v1/account/email").await.assert_status(200).json();
        assert_eq!((address.email.as_str(), address.verified_at), ("ada@example.com", None));
        ada.post("/api/v1/account/email/verification", &json!({})).await.assert_status(202);
        let token = token(&app, "/verify-email").await;
        // Reading the page confirms nothing: programs that look into mails read it, too.
        app.browser().get(&format!("/verify-email?token={token}")).await.assert_status(200);
        // On another device, where nobody is signed in.
        let done = app.browser().form("/verify-email", &[("token", &token)]).await.assert_status(303);
        assert_eq!(done.header("location"), Some("/verify-email?done=1"));
        let address: EmailAddress = ada.get("/api/v1/account/email").await.json();
        assert_eq!(address.verified_at, Some(app.clock.now()));
        confirm(&ada, &token).await.assert_status(403);
        ada.post("/api/v1/account/email/verification", &json!({})).await.assert_status(409);
        assert_eq!(done_count(&app, AuditAction::VerifyEmail).await, 1);
    }

    async fn an_address_changes_when_the_new_one_is_confirmed(app: TestApp) {
        let ada = app.person("ada").await;
        change(&ada, "lovelace@example.org").await.assert_status(202);
        assert_eq!(ada.viewer().await.user.email, "ada@example.com", "not before");
        let mails = app.mails().await;
        assert_eq!(mails.last().unwrap().recipient, "lovelace@example.org");
        let token = token(&app, "/verify-email").await;
        // A link to set the password, asked for at the old address, dies with it.
        ask(&app.browser(), "ada@example.com").await.assert_status(202);
        let reset = self::token(&app, "/reset").await;
        confirm(&app.browser(), &token).await.assert_status(200);
        assert_eq!(ada.viewer().await.user.email, "lovelace@example.org", "one stays signed in");
        let mut told: Vec<String> =
            app.mails().await[2..].iter().map(|mail| mail.recipient.clone()).collect();
        told.sort();
        assert_eq!(told, ["ada@example.com", "lovelace@example.org"]);
        set(&app.browser(), &reset, NEW).await.assert_status(403);
        app.browser().sign_in("ada@example.com", PASSWORD).await.assert_status(403);
        app.browser().sign_in("lovelace@example.org", PASSWORD).await.assert_status(200);
        assert_eq!(done_count(&app, AuditAction::ChangeEmail).await, 1);
    }

    /// PW-05: who asks for an address that another account has does not learn that it has one.
    async fn pw_05_an_address_of_somebody_else_is_not_told_apart(app: TestApp) {
        let ada = app.person("ada").await;
        app.person("bob").await;
        let taken = change(&ada, "BOB@example.com").await;
        let free = change(&ada, "nobody@example.com").await;
        assert_eq!((taken.status, taken.body), (free.status, free.body));
        let mails = app.mails().await;
        assert_eq!(mails[0].recipient, "bob@example.com");
        assert!(!mails[0].text.contains("token="), "{}", mails[0].text);
        assert!(!mails[0].text.contains("ada@"), "{}", mails[0].text);
    }

    async fn an_address_that_was_taken_meanwhile_is_refused(app: TestApp) {
        let ada = app.person("ada").await;
        change(&ada, "new@example.com").await.assert_status(202);
        let token = token(&app, "/verify-email").await;
        app.person("new").await;
        confirm(&ada, &token).await.assert_status(409);
        assert_eq!(ada.viewer().await.user.email, "ada@example.com");
    }

    async fn changing_an_address_takes_a_recent_proof_and_a_person(app: TestApp) {
        let ada = app.person("ada").await;
        let token = ada.token(&[Scope::Admin]).await.secret;
        let request = app.post("/api/v1/account/email").bearer(&token).json(&json!({"email": "x@example.com"}));
        request.send().await.assert_status(403);
        app.advance(TimeDelta::minutes(11));
        let refused = change(&ada, "x@example.com").await.assert_status(403);
        assert_eq!(refused.problem().kind, "step-up");
        assert!(app.mails().await.is_empty());
    }

    async fn a_disabled_account_gets_no_link(app: TestApp) {
        let admin = app.set_up().await;
        let ada = app.person("ada").await;
        let id = ada.user_id().await;
        ask(&app.browser(), "ada@example.com").await.assert_status(202);
        let early = token(&app, "/reset").await;
        admin.post(&format!("/api/v1/instance/users/{id}/disable"), &json!({})).await.assert_status(204);
        set(&app.browser(), &early, NEW).await.assert_status(403);
        let mails = app.mails().await.len();
        ask(&app.browser(), "ada@example.com").await.assert_status(202);
        assert_eq!(app.mails().await.len(), mails);
        assert!(identity::find_user(&app.db, id).await.unwrap().is_none());
    }
}

async fn done_count(app: &TestApp, action: AuditAction) -> usize {
    done(app, action).await.len()
}
