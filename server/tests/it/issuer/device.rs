//! Programs without a browser: the device flow (RFC 8628).

use chrono::TimeDelta;
use devenv_cloud::issuer;
use devenv_cloud_api::{
    accounts::{Token, Viewer},
    issuer::DeviceLogin,
    page::Page,
};
use serde_json::{Value, json};

use super::{
    CLI, GRAFANA, LOOPBACK, SECRET, actions, ask, begin, code, decide, error, leads, poll, refused, say,
    waiting, with_clients,
};
use crate::support::{Browser, PASSWORD, TestApp};

both_engines! {
    async fn a_command_line_gets_a_token_that_its_person_allowed(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        assert_eq!(begun["verification_uri"], "https://ci.example.com/device");
        assert_eq!((&begun["expires_in"], &begun["interval"]), (&json!(600), &json!(5)));
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "authorization_pending");
        let user_code = begun["user_code"].as_str().unwrap();
        let shown: DeviceLogin =
            ada.get(&format!("/api/v1/device-login?user_code={user_code}")).await.assert_status(200).json();
        assert_eq!((shown.client.id.as_str(), shown.ip.as_str()), (CLI, "192.0.2.1"));
        assert_eq!(shown.user_agent, "devenv-cloud/0.1");
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        app.advance(TimeDelta::seconds(5));
        let issued: Value = poll(&app, CLI, &begun["device_code"]).await.assert_status(200).json();
        assert_eq!((&issued["token_type"], &issued["scope"]), (&json!("Bearer"), &json!("read write")));
        assert_eq!(issued["expires_in"], 90 * 24 * 3600);
        let secret = issued["access_token"].as_str().unwrap();
        let viewer: Viewer = app.get("/api/v1/session").bearer(secret).send().await.assert_status(200).json();
        assert_eq!(viewer.user.email, "ada@example.com");
        // Once.
        app.advance(TimeDelta::seconds(5));
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "invalid_grant");
        // It is a token like all of hers.
        let tokens = ada.get("/api/v1/account/tokens").await.json::<Page<Token>>().items;
        assert_eq!(tokens[0].name, "devenv-cloud-cli from 192.0.2.1");
        // And it can be given back, by its program alone.
        app.post("/oauth/revoke").form(&[("client_id", CLI), ("token", secret)]).send().await.assert_status(200);
        app.get("/api/v1/session").bearer(secret).send().await.assert_status(401);
        let said = actions(&app).await;
        let said: Vec<_> = said.iter().map(String::as_str).filter(|said| ["device.", "token."].iter().any(|of| said.starts_with(of))).collect();
        assert_eq!(said, ["device.decide success", "token.create success", "token.revoke success"]);
    }

    async fn who_asks_too_often_must_wait_longer_each_time(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        let device_code = &begun["device_code"];
        refused(poll(&app, CLI, device_code).await, 400, "authorization_pending");
        app.advance(TimeDelta::seconds(4));
        refused(poll(&app, CLI, device_code).await, 400, "slow_down");
        // Ten seconds from now on, also for one who could have the token.
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        app.advance(TimeDelta::seconds(9));
        refused(poll(&app, CLI, device_code).await, 400, "slow_down");
        app.advance(TimeDelta::seconds(15));
        poll(&app, CLI, device_code).await.assert_status(200);
    }

    async fn what_nobody_allows_in_time_is_over(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        app.advance(TimeDelta::minutes(10));
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "expired_token");
        decide(&ada, &begun["user_code"], true).await.assert_status(404);
        app.advance(TimeDelta::minutes(61));
        assert_eq!(issuer::delete_expired_once(&app).await.unwrap(), 1);
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "invalid_grant");
    }

    async fn a_no_is_a_no(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        decide(&ada, &begun["user_code"], false).await.assert_status(204);
        // Nobody changes it afterwards.
        decide(&ada, &begun["user_code"], true).await.assert_status(404);
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "access_denied");
        assert!(actions(&app).await.contains(&"device.decide refused".to_owned()));
    }

    async fn a_login_that_was_allowed_ends_with_the_account_and_with_a_forgotten_password(app: TestApp) {
        let admin = app.set_up().await;
        for end in ["disable", "reset"] {
            let person = app.person(end).await;
            let begun = begin(&app, CLI, "").await;
            decide(&person, &begun["user_code"], true).await.assert_status(204);
            if end == "disable" {
                let path = format!("/api/v1/instance/users/{}/disable", person.user_id().await);
                admin.post(&path, &json!({})).await.assert_status(204);
            } else {
                let stranger = app.browser();
                let ask = json!({"email": "reset@example.com"});
                stranger.post("/api/v1/password-reset", &ask).await.assert_status(202);
                let mail = app.mails().await.pop().unwrap().text;
                let token = mail.split_once("/reset?token=").unwrap().1.split_whitespace().next().unwrap();
                let new = json!({"token": token, "password": "another horse battery staple"});
                stranger.post("/api/v1/password-reset/confirm", &new).await.assert_status(204);
            }
            refused(poll(&app, CLI, &begun["device_code"]).await, 400, "invalid_grant");
            app.advance(TimeDelta::minutes(1));
        }
    }

    async fn another_programs_code_gives_nothing(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        refused(poll(&app, "editor", &begun["device_code"]).await, 400, "invalid_grant");
        refused(poll(&app, "nobody", &begun["device_code"]).await, 401, "invalid_client");
        refused(poll(&app, CLI, &json!("x")).await, 400, "invalid_grant");
        poll(&app, CLI, &begun["device_code"]).await.assert_status(200);
        // One with a secret does not come this way.
        let fields = [("client_id", "grafana"), ("client_secret", SECRET), ("scope", "openid")];
        refused(app.post("/oauth/device").form(&fields).send().await, 400, "unauthorized_client");
    }

    /// RP-29: whoever tries codes in the hope that somebody waits under one.
    async fn rp_29_user_codes_cannot_be_tried_out(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        let code = begun["user_code"].as_str().unwrap();
        let (letters, alphabet) = (code.replace('-', ""), "BCDFGHJKLMNPQRSTVWXZ");
        assert_eq!((letters.len(), code.len()), (8, 9));
        assert!(letters.chars().all(|letter| alphabet.contains(letter)), "{code}");
        let look = async |browser: &Browser, code: &str| {
            browser.get(&format!("/api/v1/device-login?user_code={code}")).await.status.as_u16()
        };
        // Right ones do not count.
        for _ in 0..20 {
            assert_eq!(look(&ada, code).await, 200);
        }
        for n in 0..10 {
            assert_eq!(look(&ada, "BCDF-GHJK").await, 404, "{n}");
        }
        assert_eq!(look(&ada, code).await, 429);
        decide(&ada, &begun["user_code"], true).await.assert_status(429);
        // Also from elsewhere: it is the person who tries.
        let request = ada.request(http::Method::GET, &format!("/api/v1/device-login?user_code={code}"));
        assert_eq!(request.from("198.51.100.1").send().await.status, 429);
        // Many people at one address are stopped, too.
        let (bob, eve) = (app.person("bob").await, app.person("eve").await);
        for _ in 0..10 {
            look(&bob, "BCDF-GHJK").await;
        }
        assert_eq!(look(&eve, code).await, 429);
        app.advance(TimeDelta::seconds(61));
        assert_eq!(look(&ada, code).await, 200);
        // What is stored tells no code.
        let row = devenv_cloud::db::query("SELECT user_code_hash FROM device_logins").one(&app.db).await.unwrap();
        assert_ne!(row.get::<Vec<u8>>("user_code_hash").unwrap(), code.as_bytes());
    }

    /// RP-29: a link with a code approves nothing, and a stranger's page neither.
    async fn rp_29_only_a_word_on_our_own_page_allows(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        let user_code = begun["user_code"].as_str().unwrap();
        let page = ada.get(&format!("/device?user_code={user_code}")).await.assert_status(200).text();
        for part in [user_code, "devenv-cloud-cli", "192.0.2.1", "devenv-cloud/0.1", "name=\"word\""] {
            assert!(page.contains(part), "{part}: {page}");
        }
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "authorization_pending");
        let fields = [("user_code", user_code), ("word", "allow")];
        let foreign = ada.request(http::Method::POST, "/device").header("sec-fetch-site", "cross-site");
        assert_eq!(foreign.header("origin", "https://evil.example").form(&fields).send().await.status, 403);
        // Who is not signed in is sent to do so, and comes back.
        let stranger = app.browser();
        let to = leads(&stranger.get(&format!("/device?user_code={user_code}")).await);
        assert_eq!(to, format!("/sign-in?return_to=/device%3Fuser_code%3D{user_code}"));
        assert_eq!(leads(&stranger.form("/device", &fields).await), format!("/device?user_code={user_code}"));
        assert_eq!(leads(&ada.form("/device", &fields).await), "/device?done=allowed");
        app.advance(TimeDelta::seconds(5));
        poll(&app, CLI, &begun["device_code"]).await.assert_status(200);
        // A code that is none (any more) is said to be so.
        let page = ada.get(&format!("/device?user_code={user_code}")).await.assert_status(404).text();
        assert!(page.contains("no login waits"), "{page}");
    }

    /// RP-29: a session that was left open allows nothing.
    async fn rp_29_allowing_takes_a_recent_proof(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let request = waiting(&ada.get(&ask(CLI, LOOPBACK, &[("scope", Some("read"))])).await);
        app.advance(TimeDelta::minutes(10));
        let begun = begin(&app, CLI, "").await;
        let other = begin(&app, CLI, "").await;
        let refused = decide(&ada, &begun["user_code"], true).await.assert_status(403);
        assert_eq!(refused.problem().kind, "step-up");
        say(&ada, &request, true).await.assert_status(403);
        let user_code = begun["user_code"].as_str().unwrap();
        let to = leads(&ada.form("/device", &[("user_code", user_code), ("word", "allow")]).await);
        assert_eq!(to, format!("/confirm?return_to=%2Fdevice%3Fuser_code%3D{user_code}"));
        let to = leads(&ada.form("/oauth/consent", &[("request", &request), ("word", "allow")]).await);
        assert_eq!(to, format!("/confirm?return_to=%2Foauth%2Fconsent%3Frequest%3D{request}"));
        // Refusing does not.
        decide(&ada, &other["user_code"], false).await.assert_status(204);
        ada.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        say(&ada, &request, true).await.assert_status(200);
    }

    /// Whoever has to set up a second factor lets no program in before.
    async fn no_program_goes_around_a_second_factor_that_is_required(app: TestApp) {
        let app = with_clients(&app).await;
        let admin = app.set_up().await;
        let ada = app.person("ada").await;
        code(&ada, &ask("grafana", GRAFANA, &[])).await;
        let policy = json!({"second_factor": "required", "grace_days": 0});
        let path = "/api/v1/instance/sign-in-policy";
        admin.send(admin.request(http::Method::PUT, path).json(&policy)).await.assert_status(200);
        let begun = begin(&app, CLI, "").await;
        let refused = decide(&ada, &begun["user_code"], true).await.assert_status(403);
        assert_eq!(refused.problem().kind, "must-enrol");
        // Not even what was allowed before.
        let request = waiting(&ada.get(&ask("grafana", GRAFANA, &[])).await);
        assert_eq!(say(&ada, &request, true).await.assert_status(403).problem().kind, "must-enrol");
        let silent = ask("grafana", GRAFANA, &[("prompt", Some("none"))]);
        assert_eq!(error(&ada.get(&silent).await), "consent_required");
    }
}
