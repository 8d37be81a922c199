//! Applications that sign people in: the code flow with PKCE. The names in
//! comments are those of the OpenID Foundation's conformance modules.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud::issuer::{self, ID_TOKEN_LIFE, Rejected};
use devenv_cloud_api::issuer::{Authorization, Redirection};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    CLI, GRAFANA, LOOPBACK, SECRET, VERIFIER, ask, basic, challenge, code, error, leads, parameter, redeem,
    refused, say, token, waiting, with_clients,
};
use crate::support::{PASSWORD, TestApp};

both_engines! {
    /// server, idtoken-signature, scope-*, userinfo-get, userinfo-post-header,
    /// ensure-request-with-valid-pkce-succeeds
    async fn an_application_learns_who_somebody_is_and_what_they_allowed(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let changes = [("scope", Some("openid profile email phone")), ("nonce", Some("the nonce"))];
        let request = waiting(&ada.get(&ask("grafana", GRAFANA, &changes)).await);
        let shown: Authorization =
            ada.get(&format!("/api/v1/authorization?request={request}")).await.assert_status(200).json();
        assert_eq!((shown.client.id.as_str(), shown.client.first_party), ("grafana", false));
        assert_eq!((shown.returns_to.as_str(), shown.sign_in_again), ("grafana.example.com", false));
        let page = ada.get(&format!("/oauth/consent?request={request}")).await.assert_status(200).text();
        assert!(page.contains("grafana.example.com") && page.contains("ada@example.com"), "{page}");
        let to = say(&ada, &request, true).await.assert_status(200).json::<Redirection>().redirect_to;
        assert!(to.starts_with("https://grafana.example.com/login?org=1&code="), "{to}");
        assert_eq!(parameter(&to, "state").as_deref(), Some("the state"));
        // RFC 9207: who answers.
        assert_eq!(parameter(&to, "iss").as_deref(), Some("https://ci.example.com"));
        say(&ada, &request, true).await.assert_status(404);
        let code = parameter(&to, "code").unwrap();
        let issued: Value = redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200).json();
        assert_eq!(issued["scope"], "openid profile email");
        let id_token = issued["id_token"].as_str().unwrap();
        let claims = issuer::verify_id_token(&app, id_token, "grafana", false).await.unwrap().unwrap();
        let now = app.clock.now().timestamp();
        assert_eq!(claims.iss, "https://ci.example.com");
        assert_eq!(claims.sub, ada.user_id().await);
        assert_eq!((claims.iat, claims.exp, claims.auth_time), (now, now + 600, now));
        assert_eq!(claims.nonce.as_deref(), Some("the nonce"));
        assert_eq!(claims.amr, [devenv_cloud_api::accounts::AuthMethod::Password]);
        assert_eq!(claims.about.email.as_deref(), Some("ada@example.com"));
        assert_eq!((claims.about.name.as_deref(), claims.about.email_verified), (Some("ada"), Some(false)));
        let access = issued["access_token"].as_str().unwrap();
        assert_eq!(claims.at_hash, URL_SAFE_NO_PAD.encode(&Sha256::digest(access)[..16]));
        // It is for this client, for ten minutes, and opens nothing but userinfo.
        let verify = async |client: &str| issuer::verify_id_token(&app, id_token, client, false).await.unwrap();
        assert_eq!(verify("other").await.unwrap_err(), Rejected::Claim("aud"));
        for method in [http::Method::GET, http::Method::POST] {
            let info: Value = app.request(method, "/oauth/userinfo").bearer(access).send().await.assert_status(200).json();
            let id = ada.user_id().await;
            assert_eq!(info, json!({"sub": id, "name": "ada", "email": "ada@example.com", "email_verified": false}));
        }
        app.get("/api/v1/session").bearer(access).send().await.assert_status(401);
        app.get("/api/v1/session").bearer(id_token).send().await.assert_status(401);
        app.get("/oauth/userinfo").bearer(id_token).send().await.assert_status(401);
        app.advance(ID_TOKEN_LIFE);
        assert_eq!(verify("grafana").await.unwrap_err(), Rejected::Claim("exp"));
        let over = app.get("/oauth/userinfo").bearer(access).send().await.assert_status(401);
        assert_eq!(over.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }

    /// codereuse, codereuse-30seconds: and what it gave is taken back.
    async fn a_code_works_once_and_its_second_use_takes_back_what_it_gave(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        for (client, redirect, scope, path) in [
            (CLI, LOOPBACK, "read", "/api/v1/session"),
            ("grafana", GRAFANA, "openid", "/oauth/userinfo"),
        ] {
            let code = code(&ada, &ask(client, redirect, &[("scope", Some(scope))])).await;
            let issued: Value = redeem(&app, client, redirect, &code, VERIFIER).await.assert_status(200).json();
            let token = issued["access_token"].as_str().unwrap();
            app.get(path).bearer(token).send().await.assert_status(200);
            app.advance(TimeDelta::seconds(30));
            refused(redeem(&app, client, redirect, &code, VERIFIER).await, 400, "invalid_grant");
            app.get(path).bearer(token).send().await.assert_status(401);
        }
    }

    async fn a_code_is_good_for_a_minute(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let code = code(&ada, &ask(CLI, LOOPBACK, &[])).await;
        app.advance(TimeDelta::seconds(60));
        refused(redeem(&app, CLI, LOOPBACK, &code, VERIFIER).await, 400, "invalid_grant");
    }

    /// A code belongs to its client, address and verifier, and one mistake uses it up.
    async fn a_stolen_code_is_worth_nothing(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let long = "x".repeat(43);
        for (client, redirect, verifier) in [
            ("other", GRAFANA, VERIFIER),
            ("grafana", "https://other.example.com/cb", VERIFIER),
            ("grafana", GRAFANA, long.as_str()),
            ("grafana", GRAFANA, &challenge()),
            ("grafana", GRAFANA, "short"),
            ("grafana", GRAFANA, ""),
        ] {
            // The second time nobody is asked: it is the prompt that makes sure.
            let code = code(&ada, &ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await;
            refused(redeem(&app, client, redirect, &code, verifier).await, 400, "invalid_grant");
            refused(redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await, 400, "invalid_grant");
        }
        // Without a verifier at all, and without the client's secret.
        let code = code(&ada, &ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await;
        let fields = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", GRAFANA)];
        let request = app.post("/oauth/token").header("authorization", &basic("grafana", SECRET)).form(&fields);
        refused(request.send().await, 400, "invalid_request");
        let fields = [fields.as_slice(), &[("client_id", "grafana"), ("code_verifier", VERIFIER)]].concat();
        refused(token(&app, &fields).await, 401, "invalid_client");
        redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200);
    }

    /// server-client-secret-post, and every other way to say who one is.
    async fn a_client_says_who_it_is_in_one_way(app: TestApp) {
        let app = with_clients(&app).await;
        let fields = |extra: &[(&'static str, &'static str)]| {
            [[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", GRAFANA), ("code_verifier", VERIFIER)].as_slice(), extra].concat()
        };
        let send = async |header: Option<String>, extra: &[(&'static str, &'static str)]| {
            let request = app.post("/oauth/token").form(&fields(extra));
            match header {
                Some(header) => request.header("authorization", &header).send().await,
                None => request.send().await,
            }
        };
        let right = basic("grafana", SECRET);
        // Known: what is wrong now is the code.
        refused(send(Some(right.clone()), &[]).await, 400, "invalid_grant");
        refused(send(Some(right.clone()), &[("client_id", "grafana")]).await, 400, "invalid_grant");
        refused(send(None, &[("client_id", "grafana"), ("client_secret", SECRET)]).await, 400, "invalid_grant");
        refused(send(Some(right.clone()), &[("client_id", "other")]).await, 400, "invalid_request");
        refused(send(Some(right), &[("client_secret", SECRET)]).await, 400, "invalid_request");
        let unknown = send(Some(basic("nobody", SECRET)), &[]).await;
        assert_eq!(unknown.header("www-authenticate"), Some("Basic"));
        let unknown = refused(unknown, 401, "invalid_client");
        assert_eq!(refused(send(Some(basic("grafana", "wrong")), &[]).await, 401, "invalid_client"), unknown);
        refused(send(None, &[("client_id", "grafana")]).await, 401, "invalid_client");
        refused(send(None, &[("client_id", CLI), ("client_secret", "x")]).await, 401, "invalid_client");
        refused(send(Some("Bearer x".to_owned()), &[]).await, 401, "invalid_client");
        refused(send(None, &[]).await, 400, "invalid_request");
        refused(send(None, &[("client_id", CLI), ("client_id", CLI)]).await, 400, "invalid_request");
        let other = [("grant_type", "password"), ("client_id", CLI), ("username", "ada@example.com"), ("password", PASSWORD)];
        refused(token(&app, &other).await, 400, "unsupported_grant_type");
        let response = app.post("/oauth/token").json(&json!({"grant_type": "x"})).send().await;
        refused(response, 400, "invalid_request");
        // Secrets cannot be tried out.
        let mut last = 401;
        for _ in 0..40 {
            last = send(Some(basic("grafana", "wrong")), &[]).await.status.as_u16();
        }
        assert_eq!(last, 429);
    }

    /// ensure-registered-redirect-uri, redirect-uri-query-*, redirect-uri-regfrag,
    /// and the loop-back rule of RFC 8252.
    async fn nobody_is_sent_to_an_address_that_is_not_known(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        for (client, redirect) in [
            ("grafana", "https://grafana.example.com/login"),
            ("grafana", "https://grafana.example.com/login?org=1&x=2"),
            ("grafana", "https://grafana.example.com/login?org=1#x"),
            ("grafana", "https://grafana.example.com/login?org=2"),
            ("grafana", "https://evil.example/login?org=1"),
            ("grafana", "http://grafana.example.com/login?org=1"),
            ("grafana", "https://other.example.com/cb"),
            ("grafana", ""),
            (CLI, "http://127.0.0.1:4711/other"),
            (CLI, "http://127.0.0.1.evil.example:4711/callback"),
            (CLI, "http://localhost:4711/callback"),
            (CLI, "https://127.0.0.1:4711/callback"),
        ] {
            let to = leads(&ada.get(&ask(client, redirect, &[])).await);
            assert_eq!(to, "/oauth/consent?problem=redirect", "{redirect}");
        }
        let missing = ada.get(&ask(CLI, LOOPBACK, &[("redirect_uri", None)])).await;
        assert_eq!(leads(&missing), "/oauth/consent?problem=redirect");
        let unknown = ada.get(&ask("nobody", LOOPBACK, &[])).await;
        assert_eq!(leads(&unknown), "/oauth/consent?problem=client");
        let twice = ada.get(&format!("{}&redirect_uri=https://evil.example", ask(CLI, LOOPBACK, &[]))).await;
        assert_eq!(leads(&twice), "/oauth/consent?problem=twice");
        for redirect in ["http://127.0.0.1:1/callback", "http://[::1]:65535/callback", "http://127.0.0.1/callback"] {
            waiting(&ada.get(&ask(CLI, redirect, &[])).await);
        }
        let page = ada.get("/oauth/consent?problem=redirect").await.assert_status(400).text();
        assert!(page.contains("address"), "{page}");
    }

    /// PKCE downgrade; response-type-missing; unsigned-request-object-supported-
    /// correctly-or-rejected; ensure-request-with-unknown-parameter-succeeds;
    /// ensure-request-with-acr-values-succeeds; claims-locales; display-*
    async fn a_request_is_fine_or_refused_with_the_right_word(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let long = "A".repeat(44);
        for (changes, word) in [
            (vec![("code_challenge", None)], "invalid_request"),
            (vec![("code_challenge", None), ("code_challenge_method", None)], "invalid_request"),
            (vec![("code_challenge_method", None)], "invalid_request"),
            (vec![("code_challenge_method", Some("plain"))], "invalid_request"),
            (vec![("code_challenge", Some("short"))], "invalid_request"),
            (vec![("code_challenge", Some(long.as_str()))], "invalid_request"),
            (vec![("response_type", None)], "invalid_request"),
            (vec![("response_type", Some("token"))], "unsupported_response_type"),
            (vec![("response_type", Some("code id_token"))], "unsupported_response_type"),
            (vec![("response_mode", Some("fragment"))], "invalid_request"),
            (vec![("request", Some("e30.e30."))], "request_not_supported"),
            (vec![("request_uri", Some("https://evil.example"))], "request_uri_not_supported"),
            (vec![("scope", Some("phone"))], "invalid_scope"),
            (vec![("scope", None)], "invalid_scope"),
            (vec![("max_age", Some("x"))], "invalid_request"),
            (vec![("max_age", Some("-1"))], "invalid_request"),
            (vec![("prompt", Some("none login"))], "invalid_request"),
            (vec![("id_token_hint", Some("a.b.c"))], "invalid_request"),
        ] {
            let response = ada.get(&ask(CLI, LOOPBACK, &changes)).await;
            assert_eq!(error(&response), word, "{changes:?}");
            let to = leads(&response);
            assert_eq!(parameter(&to, "state").as_deref(), Some("the state"));
            assert_eq!(parameter(&to, "iss").as_deref(), Some("https://ci.example.com"));
            assert!(to.starts_with(LOOPBACK), "{to}");
        }
        for extra in ["acr_values=1", "display=popup", "claims_locales=se", "extra=foobar", "prompt=select_account"] {
            waiting(&ada.get(&format!("{}&{extra}", ask(CLI, LOOPBACK, &[]))).await);
        }
    }

    /// prompt-none-not-logged-in, prompt-none-logged-in, id-token-hint
    async fn without_a_word_only_what_was_allowed_before_is_given(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let (ada, bob) = (app.person("ada").await, app.person("bob").await);
        let silent = ask("grafana", GRAFANA, &[("prompt", Some("none"))]);
        assert_eq!(error(&app.browser().get(&silent).await), "login_required");
        assert_eq!(error(&ada.get(&silent).await), "consent_required");
        let code = code(&ada, &ask("grafana", GRAFANA, &[])).await;
        let issued: Value = redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200).json();
        assert!(parameter(&leads(&ada.get(&silent).await), "code").is_some());
        // Without the prompt it is the same; with another one they are asked.
        assert!(parameter(&leads(&ada.get(&ask("grafana", GRAFANA, &[])).await), "code").is_some());
        waiting(&ada.get(&ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await);
        // More than was allowed, another person, another program, and a public one: asked.
        let more = [("prompt", Some("none")), ("scope", Some("openid email"))];
        assert_eq!(error(&ada.get(&ask("grafana", GRAFANA, &more)).await), "consent_required");
        assert_eq!(error(&bob.get(&silent).await), "consent_required");
        let none = [("prompt", Some("none"))];
        let other = ada.get(&ask("other", "https://other.example.com/cb", &none)).await;
        assert_eq!(error(&other), "consent_required");
        let cli = self::code(&ada, &ask(CLI, LOOPBACK, &[])).await;
        redeem(&app, CLI, LOOPBACK, &cli, VERIFIER).await.assert_status(200);
        assert_eq!(error(&ada.get(&ask(CLI, LOOPBACK, &none)).await), "consent_required");
        // Another person than the application knows.
        let hint = issued["id_token"].as_str().unwrap();
        let hinted = ask("grafana", GRAFANA, &[("prompt", Some("none")), ("id_token_hint", Some(hint))]);
        assert!(parameter(&leads(&ada.get(&hinted).await), "code").is_some());
        assert_ne!(error(&bob.get(&hinted).await), "", "somebody else is signed in");
    }

    /// prompt-login, max-age-1, max-age-10000
    async fn an_application_can_insist_on_a_new_sign_in(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let again = async |request: &str| {
            let path = format!("/api/v1/authorization?request={request}");
            ada.get(&path).await.assert_status(200).json::<Authorization>().sign_in_again
        };
        code(&ada, &ask("grafana", GRAFANA, &[])).await;
        app.advance(TimeDelta::seconds(100));
        for (changes, expected) in
            [([("max_age", Some("10000"))], false), ([("max_age", Some("1"))], true), ([("prompt", Some("login"))], true)]
        {
            let response = ada.get(&ask("grafana", GRAFANA, &changes)).await;
            if !expected {
                assert!(parameter(&leads(&response), "code").is_some());
                continue;
            }
            let request = waiting(&response);
            assert!(again(&request).await, "{changes:?}");
            say(&ada, &request, true).await.assert_status(409);
            let page = leads(&ada.get(&format!("/oauth/consent?request={request}")).await);
            assert!(page.starts_with("/sign-in?return_to=/oauth/consent%3Frequest%3D"), "{page}");
            app.advance(TimeDelta::seconds(1));
            ada.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
            assert!(!again(&request).await, "{changes:?}");
            say(&ada, &request, true).await.assert_status(200);
            app.advance(TimeDelta::seconds(100));
        }
        let silent = [("max_age", Some("1")), ("prompt", Some("none"))];
        assert!(["login_required", "consent_required"].contains(&error(&ada.get(&ask("grafana", GRAFANA, &silent)).await).as_str()));
    }

    async fn somebody_who_is_not_signed_in_comes_back_to_the_question(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        app.person("ada").await;
        let browser = app.browser();
        let request = waiting(&browser.get(&ask("grafana", GRAFANA, &[])).await);
        let page = format!("/oauth/consent?request={request}");
        let to = leads(&browser.get(&page).await);
        assert_eq!(to, format!("/sign-in?return_to=/oauth/consent%3Frequest%3D{request}"));
        browser.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
        // With a form, as there is no script: a page that goes on by itself.
        let fields = [("request", request.as_str()), ("word", "allow")];
        let response = browser.form("/oauth/consent", &fields).await.assert_status(200);
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        let text = response.text();
        assert!(text.contains("0;url=https://grafana.example.com/login?org=1&amp;code="), "{text}");
        // What is used up is said to be so.
        assert_eq!(leads(&browser.form("/oauth/consent", &fields).await), page);
        browser.get(&page).await.assert_status(404);
        // A no goes back, too.
        let request = waiting(&browser.get(&ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await);
        let fields = [("request", request.as_str()), ("word", "deny")];
        let text = browser.form("/oauth/consent", &fields).await.assert_status(200).text();
        assert!(text.contains("error=access_denied"), "{text}");
    }

    async fn an_application_gets_no_more_than_the_configuration_lets_it(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let all = [("scope", Some("openid read admin"))];
        let code = code(&ada, &ask("grafana", GRAFANA, &all)).await;
        let issued: Value = redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200).json();
        assert_eq!(issued["scope"], "openid");
        let robot = "https://robot.example.com/cb";
        for _ in 0..2 {
            // A token that opens the API is asked for each time.
            let code = self::code(&ada, &ask("robot", robot, &all)).await;
            let issued: Value = redeem(&app, "robot", robot, &code, VERIFIER).await.assert_status(200).json();
            assert_eq!(issued["scope"], "openid read admin");
            let secret = issued["access_token"].as_str().unwrap();
            app.get("/api/v1/session").bearer(secret).send().await.assert_status(200);
            // Another program cannot revoke it.
            let fields = [("token", secret), ("client_id", CLI)];
            refused(app.post("/oauth/revoke").form(&fields).send().await, 400, "unauthorized_client");
            app.get("/api/v1/session").bearer(secret).send().await.assert_status(200);
        }
    }
}
