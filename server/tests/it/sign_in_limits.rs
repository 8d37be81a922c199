//! How often who may try to sign in.

use chrono::TimeDelta;
use devenv_cloud_api::accounts::SignIn;

use crate::support::{PASSWORD, Request, Response, TestApp};

fn request(app: &TestApp, email: &str, password: &str) -> Request {
    app.post("/api/v1/session").json(&SignIn { email: email.to_owned(), password: password.to_owned() })
}

async fn attempt(app: &TestApp, from: &str, email: &str, password: &str) -> Response {
    request(app, email, password).from(from).send().await
}

both_engines! {
    async fn too_many_wrong_passwords_take_waiting_and_the_answer_says_how_long(app: TestApp) {
        app.set_up().await;
        for _ in 0..10 {
            attempt(&app, "192.0.2.1", "admin@example.com", "wrong").await.assert_status(403);
        }
        // The right one too: otherwise the limit would limit nothing.
        let refused = attempt(&app, "192.0.2.1", "Admin@example.com", PASSWORD).await.assert_status(429);
        assert_eq!(refused.header("retry-after"), Some("60"));
        assert_eq!(refused.problem().kind, "rate-limited");
        // The owner, elsewhere, is not locked out.
        attempt(&app, "198.51.100.1", "admin@example.com", PASSWORD).await.assert_status(200);
        app.advance(TimeDelta::seconds(60));
        attempt(&app, "192.0.2.1", "admin@example.com", PASSWORD).await.assert_status(200);
    }

    async fn unknown_accounts_are_limited_in_the_same_way(app: TestApp) {
        for _ in 0..10 {
            attempt(&app, "192.0.2.1", "nobody@example.com", "wrong").await.assert_status(403);
        }
        attempt(&app, "192.0.2.1", "nobody@example.com", "wrong").await.assert_status(429);
    }

    async fn one_address_cannot_try_everybody(app: TestApp) {
        for n in 0..30 {
            attempt(&app, "192.0.2.1", &format!("user{n}@example.com"), "wrong").await.assert_status(403);
        }
        attempt(&app, "192.0.2.1", "user30@example.com", "wrong").await.assert_status(429);
        attempt(&app, "192.0.2.2", "user30@example.com", "wrong").await.assert_status(403);
    }

    async fn a_form_that_is_refused_for_haste_leads_back(app: TestApp) {
        for _ in 0..10 {
            attempt(&app, "192.0.2.1", "nobody@example.com", "wrong").await;
        }
        let fields = [("email", "nobody@example.com"), ("password", "wrong")];
        let response = app.browser().form("/sign-in", &fields).await.assert_status(303);
        assert_eq!(response.header("location"), Some("/sign-in?problem=rate-limited"));
    }

    async fn a_header_with_the_address_is_believed_only_from_a_configured_proxy(app: TestApp) {
        let spoofed = |app: &TestApp, n: u32| {
            request(app, &format!("user{n}@example.com"), "wrong").header("x-forwarded-for", &format!("203.0.113.{n}"))
        };
        for n in 0..30 {
            spoofed(&app, n).send().await.assert_status(403);
        }
        spoofed(&app, 30).send().await.assert_status(429);

        // A proxy that sets it, and a visitor who comes past the proxy.
        let header = ("DEVENV_CLOUD_SERVER_CLIENT_IP_HEADER", "X-Forwarded-For");
        let app = app.restart(&[header]).await;
        for n in 0..31 {
            let status = spoofed(&app, n).send().await.status.as_u16();
            assert_eq!(status, if n < 30 { 403 } else { 429 });
        }

        let app = app.restart(&[header, ("DEVENV_CLOUD_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.0/24")]).await;
        for n in 0..40 {
            spoofed(&app, n).send().await.assert_status(403);
        }
        // What the visitor wrote into the header himself stands before what the proxy added.
        for n in 0..31 {
            let claim = format!("203.0.113.{n}, 198.51.100.7");
            let request = request(&app, &format!("user{n}@example.com"), "wrong");
            let status = request.header("x-forwarded-for", &claim).send().await.status.as_u16();
            assert_eq!(status, if n < 30 { 403 } else { 429 });
        }
        // Behind two proxies it is the last address that is none of theirs.
        for n in 0..31 {
            let claim = format!("203.0.113.{n}, 198.51.100.8, 10.1.2.3");
            let request = request(&app, &format!("user{n}@example.com"), "wrong");
            let status = request.header("x-forwarded-for", &claim).send().await.status.as_u16();
            assert_eq!(status, if n < 30 { 403 } else { 429 });
        }
    }

    async fn attempts_are_counted(app: TestApp) {
        app.set_up().await;
        attempt(&app, "192.0.2.1", "admin@example.com", "wrong").await;
        attempt(&app, "192.0.2.1", "admin@example.com", PASSWORD).await;
        let metrics = String::from_utf8(app.metrics.show().unwrap()).unwrap();
        for line in [
            r#"devenv_cloud_sign_ins_total{result="refused"} 1"#,
            r#"devenv_cloud_sign_ins_total{result="success"} 1"#,
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    }
}
