//! What every answer says to the browser, and which requests are refused for
//! where they come from.

use http::Method;
use serde_json::json;

use crate::support::TestApp;

both_engines! {
    async fn every_answer_carries_the_security_headers(app: TestApp) {
        let admin = app.set_up().await;
        for response in [
            app.get("/healthz").send().await,
            app.get("/api/v1/session").send().await,
            admin.get("/api/v1/session").await,
            app.get("/api/v1/no/such/route").send().await,
            app.post("/sign-in").form(&[("email", "a@b"), ("password", "wrong")]).send().await,
            app.post("/api/v1/session").header("sec-fetch-site", "cross-site").send().await,
        ] {
            for (header, expected) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
                ("strict-transport-security", "max-age=63072000; includeSubDomains"),
                // Nothing that somebody saw stays behind (SE-11).
                ("cache-control", "no-store"),
            ] {
                assert_eq!(response.header(header), Some(expected), "{header}: {response:?}");
            }
            let policy = response.header("content-security-policy").unwrap();
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("unsafe-inline"), "{policy}");
        }
    }

    async fn over_plain_http_browsers_are_not_told_to_insist_on_https(app: TestApp) {
        let app = app.restart(&[("DEVENV_CLOUD_SERVER_BASE_URL", "http://localhost:8080")]).await;
        let response = app.get("/healthz").send().await;
        assert_eq!(response.header("strict-transport-security"), None);
    }

    /// SE-09: where a request says it comes from, and whether it may change something.
    async fn a_request_from_another_site_changes_nothing(app: TestApp) {
        const GOOD: &str = "https://ci.example.com";
        const BAD: &str = "https://evil.example";
        let admin = app.set_up().await;
        let cookie = admin.cookie_header().unwrap();
        let sites = [None, Some("same-origin"), Some("none"), Some("same-site"), Some("cross-site")];
        let origins = [None, Some(GOOD), Some(BAD), Some("null"), Some("https://ci.example.com.evil.example")];
        for site in sites {
            for origin in origins {
                // The site is what the browser itself says, and decides, unless
                // the origin is literally ours. Without it the origin decides.
                // Saying nothing is for programs, and those have no cookie.
                let fine = match (site, origin) {
                    (_, Some(GOOD)) | (Some("same-origin" | "none"), _) => true,
                    (Some(_), _) | (None, _) => false,
                };
                for (method, path) in [
                    (Method::PATCH, "/api/v1/account"),
                    (Method::POST, "/api/v1/orgs"),
                    (Method::DELETE, "/api/v1/account/sessions"),
                    (Method::POST, "/sign-out"),
                ] {
                    // Sign-out would end the session for the cases after it.
                    if path == "/sign-out" && fine {
                        continue;
                    }
                    let mut request = app.request(method.clone(), path).header("cookie", &cookie).json(&json!({}));
                    if let Some(site) = site {
                        request = request.header("sec-fetch-site", site);
                    }
                    if let Some(origin) = origin {
                        request = request.header("origin", origin);
                    }
                    let response = request.send().await;
                    let what = format!("{method} {path} from {site:?} {origin:?}: {}", response.text());
                    if fine {
                        assert_ne!(response.status, 403, "{what}");
                    } else {
                        assert_eq!(response.status, 403, "{what}");
                        assert_eq!(response.problem().kind, "forbidden", "{what}");
                    }
                }
                // Reading is never refused for where it comes from: another
                // site cannot see the answer.
                let mut request = app.get("/api/v1/session").header("cookie", &cookie);
                if let Some(site) = site {
                    request = request.header("sec-fetch-site", site);
                }
                if let Some(origin) = origin {
                    request = request.header("origin", origin);
                }
                request.send().await.assert_status(200);
            }
        }
    }

    async fn a_program_with_a_token_need_not_say_where_it_comes_from(app: TestApp) {
        let admin = app.set_up().await;
        let token = admin.token(&[devenv_cloud_api::permissions::Scope::Admin]).await.secret;
        app.post("/api/v1/orgs").bearer(&token).json(&json!({"slug": "acme"})).send().await.assert_status(201);
    }

    async fn reading_never_changes_anything(app: TestApp) {
        let admin = app.set_up().await;
        for path in ["/sign-out", "/sign-in", "/setup"] {
            let response = admin.get(path).await;
            assert!(response.header("set-cookie").is_none(), "{path}");
        }
        admin.get("/api/v1/session").await.assert_status(200);
    }

    async fn a_body_that_is_too_large_is_refused(app: TestApp) {
        let admin = app.set_up().await;
        let large = json!({"slug": "a", "display_name": "x".repeat(65 * 1024)});
        let response = admin.post("/api/v1/orgs", &large).await.assert_status(413);
        assert_eq!(response.problem().kind, "too-large");
    }

    async fn a_body_that_makes_no_sense_is_refused_in_words(app: TestApp) {
        let admin = app.set_up().await;
        for (body, part) in [
            ("{", "EOF"),
            ("[]", ""),
            (r#"{"slug": "acme", "colour": "red"}"#, "colour"),
            (r#"{"slug": "Acme"}"#, "lower-case"),
            (r#"{}"#, "slug"),
        ] {
            let request = admin.request(Method::POST, "/api/v1/orgs").header("content-type", "application/json");
            let response = request.body(body).send().await.assert_status(422);
            let detail = response.problem().detail.unwrap();
            assert!(detail.contains(part), "{body}: {detail}");
        }
        let request = admin.request(Method::POST, "/api/v1/orgs").body(r#"{"slug": "acme"}"#);
        request.send().await.assert_status(422);
    }
}
