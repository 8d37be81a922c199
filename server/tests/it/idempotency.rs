//! `Idempotency-Key`.

use chrono::TimeDelta;
use devenv_cloud_api::{accounts::Token, orgs::Org, page::Page};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Browser, Response, TestApp};

async fn post(browser: &Browser, path: &str, key: &str, body: &Value) -> Response {
    let request = browser.request(Method::POST, path).header("idempotency-key", key);
    browser.send(request.json(body)).await
}

both_engines! {
    async fn a_repeated_creation_creates_once_and_gets_the_same_answer(app: TestApp) {
        let admin = app.set_up().await;
        let body = json!({"slug": "acme"});
        let first = post(&admin, "/api/v1/orgs", "k1", &body).await.assert_status(201);
        assert_eq!(first.header("idempotent-replayed"), None);
        let second = post(&admin, "/api/v1/orgs", "k1", &body).await.assert_status(201);
        assert_eq!(second.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.json::<Org>(), second.json::<Org>());
        // Without the key it would have been refused.
        post(&admin, "/api/v1/orgs", "k2", &body).await.assert_status(422);
    }

    async fn the_same_key_with_another_request_is_a_mistake(app: TestApp) {
        let admin = app.set_up().await;
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "acme"})).await.assert_status(201);
        let response = post(&admin, "/api/v1/orgs", "k", &json!({"slug": "other"})).await.assert_status(422);
        assert!(response.problem().detail.unwrap().contains("another request"));
        post(&admin, "/api/v1/orgs/acme/projects", "k", &json!({"slug": "acme"})).await.assert_status(422);
    }

    async fn a_key_belongs_to_its_user(app: TestApp) {
        let admin = app.set_up().await;
        let other = app.person("other").await;
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "acme"})).await.assert_status(201);
        let org: Org = post(&other, "/api/v1/orgs", "k", &json!({"slug": "mine"})).await.assert_status(201).json();
        assert_eq!(org.slug.as_str(), "mine");
    }

    async fn a_refused_creation_may_be_mended_and_sent_again_with_the_same_key(app: TestApp) {
        let admin = app.set_up().await;
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "sign-in"})).await.assert_status(422);
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "acme"})).await.assert_status(201);
    }

    async fn an_answer_is_forgotten_after_a_day(app: TestApp) {
        let admin = app.set_up().await;
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "acme"})).await.assert_status(201);
        app.advance(TimeDelta::hours(23));
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "other"})).await.assert_status(422);
        app.advance(TimeDelta::hours(2));
        post(&admin, "/api/v1/orgs", "k", &json!({"slug": "other"})).await.assert_status(201);
        app.advance(TimeDelta::hours(25));
        assert_eq!(devenv_cloud::web::delete_old_answers_once(&app.app).await.unwrap(), 1);
    }

    async fn of_two_at_once_one_creates(app: TestApp) {
        let admin = app.set_up().await;
        let body = json!({"slug": "acme"});
        let (a, b) = tokio::join!(post(&admin, "/api/v1/orgs", "k", &body), post(&admin, "/api/v1/orgs", "k", &body));
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        // The second gets the answer, or hears that it is not there yet.
        assert!(matches!(statuses, [201, 201 | 409]), "{statuses:?}");
        let orgs: Page<Org> = admin.get("/api/v1/orgs").await.json();
        assert_eq!(orgs.items.len(), 1);
    }

    async fn a_repeated_token_is_not_created_twice_and_its_secret_is_not_kept(app: TestApp) {
        let admin = app.set_up().await;
        let body = json!({"name": "t", "scopes": ["read"], "expires_in_days": 1});
        let created = post(&admin, "/api/v1/account/tokens", "k", &body).await.assert_status(201);
        let secret = created.json::<Value>()["secret"].as_str().unwrap().to_owned();
        let again = post(&admin, "/api/v1/account/tokens", "k", &body).await.assert_status(409);
        assert!(again.problem().detail.unwrap().contains("secret"));
        let tokens: Page<Token> = admin.get("/api/v1/account/tokens").await.json();
        assert_eq!(tokens.items.len(), 1);
        let kept = devenv_cloud::db::query("SELECT response FROM idempotency_keys").all(&app.db).await.unwrap();
        assert_eq!(kept[0].get::<Option<Vec<u8>>>("response").unwrap(), None);
        assert!(!secret.is_empty());
    }

    async fn a_request_that_was_cut_off_may_be_tried_again_after_a_minute(app: TestApp) {
        let admin = app.set_up().await;
        let body = json!({"slug": "acme"});
        // What a crash leaves behind: a claim without an answer.
        post(&admin, "/api/v1/orgs", "k", &body).await.assert_status(201);
        admin.delete("/api/v1/orgs/acme").await.assert_status(204);
        devenv_cloud::db::query("UPDATE idempotency_keys SET status = $1, response = $2")
            .bind(None::<i64>)
            .bind(None::<Vec<u8>>)
            .execute(&app.db)
            .await
            .unwrap();
        post(&admin, "/api/v1/orgs", "k", &body).await.assert_status(409);
        app.advance(TimeDelta::seconds(61));
        post(&admin, "/api/v1/orgs", "k", &body).await.assert_status(201);
    }

    async fn a_key_that_is_none_is_refused(app: TestApp) {
        let admin = app.set_up().await;
        for key in ["", &"k".repeat(201)] {
            post(&admin, "/api/v1/orgs", key, &json!({"slug": "acme"})).await.assert_status(422);
        }
    }

    async fn nobody_has_no_keys(app: TestApp) {
        let response = app.post("/api/v1/orgs").header("idempotency-key", "k").json(&json!({"slug": "a"}));
        response.send().await.assert_status(401);
    }
}
