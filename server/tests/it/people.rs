//! What administrators of the instance do to accounts.

use devenv_cloud::once::{self, Once};
use devenv_cloud_api::{page::Page, people::Person, permissions::Scope};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::{Browser, PASSWORD, Response, TestApp};

async fn disable(by: &Browser, whom: &Browser) -> Response {
    let id = whom.user_id().await;
    by.post(&format!("/api/v1/instance/users/{id}/disable"), &json!({})).await
}

#[derive(Serialize, Deserialize)]
struct UnderWay;

impl Once for UnderWay {
    const KIND: &'static str = "test";
    const LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(1);
}

both_engines! {
    /// SE-06: an account that is disabled has nothing left that works.
    async fn se_06_sessions_tokens_and_what_is_under_way_end_at_once(app: TestApp) {
        let admin = app.set_up().await;
        let ada = app.person("ada").await;
        let second = app.browser();
        second.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
        let token = ada.token(&[Scope::Read]).await.secret;
        let id = ada.user_id().await;
        let key = once::put(&app, &app.db, Some(id), &UnderWay).await.unwrap();
        let request = || app.get("/api/v1/session").bearer(&token).send();
        request().await.assert_status(200);
        disable(&admin, &ada).await.assert_status(204);
        ada.get("/api/v1/session").await.assert_status(401);
        second.get("/api/v1/session").await.assert_status(401);
        request().await.assert_status(401);
        assert!(once::look::<UnderWay>(&app, &app.db, &key).await.unwrap().is_none());
        app.browser().sign_in("ada@example.com", PASSWORD).await.assert_status(403);

        // Enabled again, what ended stays dead.
        admin.post(&format!("/api/v1/instance/users/{id}/enable"), &json!({})).await.assert_status(204);
        ada.get("/api/v1/session").await.assert_status(401);
        request().await.assert_status(401);
        app.browser().sign_in("ada@example.com", PASSWORD).await.assert_status(200);
    }

    async fn nobody_disables_themselves_and_one_administrator_is_left(app: TestApp) {
        let admin = app.set_up().await;
        disable(&admin, &admin).await.assert_status(409);
        let other = app.set_up_beside().await;
        let (a, b) = tokio::join!(disable(&admin, &other), disable(&other, &admin));
        let done = [&a, &b].iter().filter(|response| response.status == 204).count();
        assert_eq!(done, 1, "{} {}", a.text(), b.text());
    }

    async fn it_takes_a_recent_proof_and_an_administrator(app: TestApp) {
        let admin = app.set_up().await;
        let ada = app.person("ada").await;
        let bob = app.person("bob").await;
        disable(&ada, &bob).await.assert_status(403);
        ada.get("/api/v1/instance/users").await.assert_status(403);
        app.advance(chrono::TimeDelta::minutes(11));
        assert_eq!(disable(&admin, &bob).await.assert_status(403).problem().kind, "step-up");
        bob.get("/api/v1/session").await.assert_status(200);
    }

    async fn people_are_listed_in_pages_and_found(app: TestApp) {
        let admin = app.set_up().await;
        for name in ["ada", "bob", "eve_100%"] {
            app.person(name).await;
        }
        let first: Page<Person> = admin.get("/api/v1/instance/users?limit=3").await.assert_status(200).json();
        assert_eq!(first.items.len(), 3);
        let cursor = first.next_cursor.unwrap();
        let rest: Page<Person> =
            admin.get(&format!("/api/v1/instance/users?limit=3&cursor={cursor}")).await.json();
        let mut all: Vec<String> =
            first.items.into_iter().chain(rest.items).map(|person| person.name).collect();
        all.sort();
        assert_eq!(all, ["Admin", "ada", "bob", "eve_100%"]);
        for (text, found) in [("ADA", 1), ("example.com", 4), ("_100%25", 1), ("b_b", 0), ("nobody", 0)] {
            let page: Page<Person> =
                admin.get(&format!("/api/v1/instance/users?text={text}")).await.assert_status(200).json();
            assert_eq!(page.items.len(), found, "{text}");
        }
    }
}
