//! Set-up, signing in without JavaScript, names and passwords.

use devenv_cloud_api::accounts::{Assurance, AuthMethod, Setup, SetupState, User};
use serde_json::json;

use crate::support::{PASSWORD, TestApp};

fn setup(token: &str) -> Setup {
    Setup {
        token: token.to_owned(),
        email: " Ada@Example.com ".to_owned(),
        name: "Ada Lovelace".to_owned(),
        password: PASSWORD.to_owned(),
    }
}

both_engines! {
    async fn the_first_user_is_created_with_the_link_and_administrates_the_instance(app: TestApp) {
        let state: SetupState = app.get("/api/v1/setup").send().await.assert_status(200).json();
        assert!(state.needed);
        let token = app.setup_token().await;
        let browser = app.browser();
        browser.post("/api/v1/setup", &setup(&token)).await.assert_status(201);
        let viewer = browser.viewer().await;
        assert!(viewer.user.instance_admin);
        assert_eq!(viewer.user.email, "Ada@Example.com");
        assert_eq!(viewer.methods, [AuthMethod::Password]);
        assert_eq!(viewer.assurance, Assurance::Single);
        let state: SetupState = app.get("/api/v1/setup").send().await.assert_status(200).json();
        assert!(!state.needed);
        // And never again: neither with this link nor with a new one.
        let refused = app.browser().post("/api/v1/setup", &setup(&token)).await.assert_status(403);
        assert_eq!(refused.problem().kind, "invalid-token");
        assert_eq!(devenv_cloud::identity::announce(&app.app).await.unwrap(), None);
    }

    async fn a_wrong_link_sets_nothing_up_and_says_nothing_about_the_rest(app: TestApp) {
        let right = app.setup_token().await;
        for wrong in ["", "x", &right[1..], &format!("{right}x")] {
            let mut wrong = setup(wrong);
            wrong.password = "short".to_owned();
            let refused = app.browser().post("/api/v1/setup", &wrong).await.assert_status(403);
            assert_eq!(refused.problem().errors, []);
        }
    }

    async fn a_new_link_makes_the_one_before_invalid(app: TestApp) {
        let old = app.setup_token().await;
        let new = app.setup_token().await;
        app.browser().post("/api/v1/setup", &setup(&old)).await.assert_status(403);
        app.browser().post("/api/v1/setup", &setup(&new)).await.assert_status(201);
    }

    async fn the_link_is_not_stored_in_clear(app: TestApp) {
        let token = app.setup_token().await;
        let row = devenv_cloud::db::query("SELECT token_hash FROM setup").one(&app.db).await.unwrap();
        let stored: Vec<u8> = row.get("token_hash").unwrap();
        assert_eq!(stored.len(), 32);
        assert!(!token.as_bytes().windows(8).any(|part| stored.windows(8).any(|s| s == part)));
    }

    async fn a_refused_field_does_not_use_the_link_up(app: TestApp) {
        let token = app.setup_token().await;
        let wrong = Setup { email: "nonsense".into(), name: " ".into(), password: "password".into(), ..setup(&token) };
        let refused = app.browser().post("/api/v1/setup", &wrong).await.assert_status(422);
        let fields: Vec<_> = refused.problem().errors.into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["email", "name", "password"]);
        app.browser().post("/api/v1/setup", &setup(&token)).await.assert_status(201);
    }

    async fn of_many_who_set_up_at_once_one_does(app: TestApp) {
        let token = app.setup_token().await;
        let all = futures::future::join_all((0..8).map(|n| {
            let (app, mut setup) = (app.clone(), setup(&token));
            setup.email = format!("user{n}@example.com");
            async move { app.browser().post("/api/v1/setup", &setup).await.status.as_u16() }
        }))
        .await;
        assert_eq!(all.iter().filter(|status| **status == 201).count(), 1, "{all:?}");
        assert_eq!(all.iter().filter(|status| **status == 403).count(), 7, "{all:?}");
        let row = devenv_cloud::db::query("SELECT COUNT(*) AS n FROM users").one(&app.db).await.unwrap();
        assert_eq!(row.get::<i64>("n").unwrap(), 1);
    }

    async fn an_unknown_user_and_a_wrong_password_look_alike(app: TestApp) {
        app.set_up().await;
        let wrong = app.browser().sign_in("admin@example.com", "wrong password").await.assert_status(403);
        let unknown = app.browser().sign_in("nobody@example.com", "wrong password").await.assert_status(403);
        assert_eq!(wrong.problem().kind, "wrong-credentials");
        assert_eq!((wrong.body, wrong.headers), (unknown.body, unknown.headers));
    }

    async fn a_password_must_match_exactly_and_an_address_in_any_case(app: TestApp) {
        app.set_up().await;
        for wrong in [&format!("{PASSWORD} "), &PASSWORD.to_uppercase(), "", &PASSWORD[..20]] {
            app.browser().sign_in("admin@example.com", wrong).await.assert_status(403);
        }
        app.browser().sign_in(" ADMIN@example.COM ", PASSWORD).await.assert_status(200);
    }

    async fn a_form_signs_in_and_leads_where_one_came_from(app: TestApp) {
        app.set_up().await;
        let browser = app.browser();
        let fields = [("email", "admin@example.com"), ("password", PASSWORD), ("return_to", "/acme/web?tab=runs")];
        let response = browser.form("/sign-in", &fields).await.assert_status(303);
        assert_eq!(response.header("location"), Some("/acme/web?tab=runs"));
        browser.viewer().await;
        let response = browser.form("/sign-out", &[]).await.assert_status(303);
        assert_eq!(response.header("location"), Some("/sign-in"));
        browser.get("/api/v1/session").await.assert_status(401);
    }

    async fn a_form_leads_nowhere_else(app: TestApp) {
        app.set_up().await;
        for elsewhere in ["https://evil.example", "//evil.example", "/\\evil.example", "evil"] {
            let fields = [("email", "admin@example.com"), ("password", PASSWORD), ("return_to", elsewhere)];
            let response = app.browser().form("/sign-in", &fields).await.assert_status(303);
            assert_eq!(response.header("location"), Some("/"));
            let fields = [("email", "admin@example.com"), ("password", "wrong"), ("return_to", elsewhere)];
            let response = app.browser().form("/sign-in", &fields).await.assert_status(303);
            assert_eq!(response.header("location"), Some("/sign-in?problem=wrong-credentials"));
        }
    }

    async fn a_refused_form_leads_back_with_the_reason_and_nothing_that_was_typed(app: TestApp) {
        app.set_up().await;
        let fields = [("email", "admin@example.com"), ("password", "wrong"), ("return_to", "/acme")];
        let response = app.browser().form("/sign-in", &fields).await.assert_status(303);
        assert_eq!(response.header("location"), Some("/sign-in?problem=wrong-credentials&return_to=%2Facme"));
        let response = app.browser().form("/sign-in", &[("email", "x")]).await.assert_status(303);
        assert_eq!(response.header("location"), Some("/sign-in?problem=invalid"));
        app.browser().form("/sign-in", &[]).await.assert_status(422);
    }

    async fn a_form_sets_up(app: TestApp) {
        let token = app.setup_token().await;
        let form = |token: &str, password: &str| {
            [("token", token), ("email", "ada@example.com"), ("name", "Ada"), ("password", password)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let browser = app.browser();
        for (token, password, location) in [
            ("wrong", PASSWORD, "/setup?problem=invalid-token&token=wrong".to_owned()),
            (token.as_str(), "password", format!("/setup?problem=weak-password&token={token}")),
            (token.as_str(), PASSWORD, "/".to_owned()),
        ] {
            let fields = form(token, password);
            let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let response = browser.form("/setup", &fields).await.assert_status(303);
            assert_eq!(response.header("location"), Some(location.as_str()));
        }
        browser.viewer().await;
    }

    async fn people_change_their_name(app: TestApp) {
        let admin = app.set_up().await;
        let user: User =
            admin.patch("/api/v1/account", &json!({"name": " Ada "})).await.assert_status(200).json();
        assert_eq!(user.name, "Ada");
        assert_eq!(admin.viewer().await.user, user);
        admin.patch("/api/v1/account", &json!({})).await.assert_status(200);
        let refused = admin.patch("/api/v1/account", &json!({"name": "a\nb"})).await.assert_status(422);
        assert_eq!(refused.problem().errors[0].field, "name");
        admin.patch("/api/v1/account", &json!({"instance_admin": true})).await.assert_status(422);
    }

    async fn a_new_password_counts_and_the_old_one_does_not(app: TestApp) {
        const NEW: &str = "another long password";
        let admin = app.set_up().await;
        let change = |current: &str, new: &str| json!({"current": current, "new": new});
        let path = "/api/v1/account/password";
        for (wrong, field) in [
            (change("wrong", NEW), "current"),
            (change(PASSWORD, "password"), "new"),
            (change(PASSWORD, "Admin@Example.com"), "new"),
        ] {
            let refused = admin.post(path, &wrong).await.assert_status(422);
            assert_eq!(refused.problem().errors[0].field, field);
        }
        admin.post(path, &change(PASSWORD, NEW)).await.assert_status(204);
        app.browser().sign_in("admin@example.com", PASSWORD).await.assert_status(403);
        app.browser().sign_in("admin@example.com", NEW).await.assert_status(200);
    }

    async fn a_session_is_no_way_to_guess_the_password(app: TestApp) {
        let admin = app.set_up().await;
        let change = json!({"current": "guess", "new": "another long password"});
        let mut last = 0;
        for _ in 0..11 {
            last = admin.post("/api/v1/account/password", &change).await.status.as_u16();
        }
        assert_eq!(last, 429);
    }
}
