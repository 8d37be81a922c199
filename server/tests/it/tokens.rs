//! Personal access tokens.

use chrono::TimeDelta;
use devenv_cloud_api::{
    accounts::{AuthMethod, NewToken, Token, Viewer},
    orgs::{Org, Project},
    page::Page,
    permissions::{Action, Role, Scope},
};
use http::Method;
use serde_json::json;

use crate::support::{Browser, TestApp};

async fn tokens(browser: &Browser) -> Vec<Token> {
    browser.get("/api/v1/account/tokens").await.assert_status(200).json::<Page<Token>>().items
}

async fn project_token(browser: &Browser, scopes: &[Scope]) -> NewToken {
    let wanted = json!({"name": "ci", "scopes": scopes, "expires_in_days": 1});
    browser.post("/api/v1/orgs/acme/projects/web/tokens", &wanted).await.assert_status(201).json()
}

async fn acme(app: &TestApp) -> Browser {
    let admin = app.set_up().await;
    admin.create_org("acme").await;
    admin.create_project("acme", "web").await;
    admin.create_project("acme", "other").await;
    admin
}

both_engines! {
    async fn a_token_acts_for_its_owner_within_its_scopes(app: TestApp) {
        let admin = acme(&app).await;
        let read = admin.token(&[Scope::Read]).await.secret;
        let viewer: Viewer = app.get("/api/v1/session").bearer(&read).send().await.assert_status(200).json();
        assert_eq!(viewer.methods, [AuthMethod::Token]);
        assert_eq!(viewer.user.email, "admin@example.com");
        let org: Org = app.get("/api/v1/orgs/acme").bearer(&read).send().await.assert_status(200).json();
        assert_eq!(org.allowed, [Action::ReadOrg, Action::ReadMembers, Action::ReadRunners]);
        let path = "/api/v1/orgs/acme/projects";
        let body = json!({"slug": "new"});
        let refused = app.post(path).bearer(&read).json(&body).send().await.assert_status(403);
        assert!(refused.problem().detail.unwrap().contains("scope `admin`"));
        let all = admin.token(&[Scope::Read, Scope::Admin]).await.secret;
        app.post(path).bearer(&all).json(&body).send().await.assert_status(201);
    }

    async fn a_token_is_shown_once_and_stored_hashed(app: TestApp) {
        let admin = app.set_up().await;
        let NewToken { token, secret } = admin.token(&[Scope::Read]).await;
        assert!(secret.starts_with("dvc_") && secret.len() == 53, "{secret}");
        assert!(secret.starts_with(&token.prefix) && token.prefix.len() == 10);
        assert_eq!(tokens(&admin).await, [token]);
        let row = devenv_cloud::db::query("SELECT secret_hash, prefix FROM tokens").one(&app.db).await.unwrap();
        let hash: Vec<u8> = row.get("secret_hash").unwrap();
        use sha2::Digest as _;
        assert_eq!(hash, sha2::Sha256::digest(&secret).to_vec());
    }

    async fn a_token_expires(app: TestApp) {
        let admin = app.set_up().await;
        let wanted = json!({"name": "t", "scopes": ["read"], "expires_in_days": 1});
        let created: NewToken = admin.post("/api/v1/account/tokens", &wanted).await.assert_status(201).json();
        assert_eq!(created.token.expires_at, app.clock.now() + TimeDelta::days(1));
        app.advance(TimeDelta::days(1) - TimeDelta::seconds(1));
        app.get("/api/v1/orgs").bearer(&created.secret).send().await.assert_status(200);
        app.advance(TimeDelta::seconds(1));
        app.get("/api/v1/orgs").bearer(&created.secret).send().await.assert_status(401);
        assert_eq!(tokens(&admin).await, []);
    }

    async fn a_revoked_token_works_no_more(app: TestApp) {
        let admin = app.set_up().await;
        let NewToken { token, secret } = admin.token(&[Scope::Read]).await;
        let path = format!("/api/v1/account/tokens/{}", token.id);
        let other = app.person("other").await;
        other.delete(&path).await.assert_status(404);
        app.get("/api/v1/orgs").bearer(&secret).send().await.assert_status(200);
        admin.delete(&path).await.assert_status(204);
        app.get("/api/v1/orgs").bearer(&secret).send().await.assert_status(401);
        admin.delete(&path).await.assert_status(404);
        assert_eq!(tokens(&admin).await, []);
    }

    async fn its_last_use_is_noted_to_the_minute(app: TestApp) {
        let admin = app.set_up().await;
        let secret = admin.token(&[Scope::Read]).await.secret;
        assert_eq!(tokens(&admin).await[0].last_used_at, None);
        app.advance(TimeDelta::seconds(90));
        app.get("/api/v1/orgs").bearer(&secret).send().await.assert_status(200);
        let minute = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(tokens(&admin).await[0].last_used_at, Some(minute));
        app.advance(TimeDelta::seconds(29));
        app.get("/api/v1/orgs").bearer(&secret).send().await.assert_status(200);
        assert_eq!(tokens(&admin).await[0].last_used_at, Some(minute));
    }

    async fn a_token_that_makes_no_sense_is_refused_field_by_field(app: TestApp) {
        let admin = app.set_up().await;
        for (wanted, fields) in [
            (json!({"name": "", "scopes": [], "expires_in_days": 0}), &["name", "scopes", "expires_in_days"][..]),
            (json!({"name": "t", "scopes": ["read"], "expires_in_days": 367}), &["expires_in_days"]),
        ] {
            let refused = admin.post("/api/v1/account/tokens", &wanted).await.assert_status(422);
            let refused: Vec<_> = refused.problem().errors.into_iter().map(|e| e.field).collect();
            assert_eq!(refused, fields);
        }
        let unknown = json!({"name": "t", "scopes": ["everything"], "expires_in_days": 1});
        admin.post("/api/v1/account/tokens", &unknown).await.assert_status(422);
    }

    async fn a_token_of_a_project_knows_nothing_else(app: TestApp) {
        let admin = acme(&app).await;
        let NewToken { token, secret } = project_token(&admin, &[Scope::Admin]).await;
        assert_eq!(token.project.as_deref(), Some("acme/web"));
        app.get("/api/v1/orgs/acme/projects/web").bearer(&secret).send().await.assert_status(200);
        for path in ["/api/v1/orgs/acme/projects/other", "/api/v1/orgs/acme", "/api/v1/orgs/acme/members"] {
            app.get(path).bearer(&secret).send().await.assert_status(404);
        }
        let orgs: Page<Org> = app.get("/api/v1/orgs").bearer(&secret).send().await.assert_status(200).json();
        assert_eq!(orgs.items, []);
        let viewer: Viewer = app.get("/api/v1/session").bearer(&secret).send().await.assert_status(200).json();
        assert_eq!(viewer.orgs, []);
        app.post("/api/v1/orgs").bearer(&secret).json(&json!({"slug": "x"})).send().await.assert_status(404);
        admin.delete("/api/v1/orgs/acme/projects/web").await.assert_status(204);
        app.get("/api/v1/session").bearer(&secret).send().await.assert_status(401);
    }

    async fn admins_see_the_tokens_of_a_project_whosever_they_are(app: TestApp) {
        let admin = acme(&app).await;
        let member = app.person("member").await;
        admin.add_member("acme", "member", Role::Member).await;
        let token = project_token(&member, &[Scope::Write]).await.token;
        project_token(&admin, &[Scope::Read]).await;
        admin.token(&[Scope::Read]).await;
        let path = "/api/v1/orgs/acme/projects/web/tokens";
        let listed: Page<Token> = admin.get(path).await.assert_status(200).json();
        assert_eq!(listed.items.len(), 2);
        assert!(listed.items.contains(&token));
        assert_eq!(token.owner, "member@example.com");
        member.get(path).await.assert_status(403);
        assert_eq!(tokens(&member).await, [token]);
    }

    async fn a_token_loses_what_its_owner_loses(app: TestApp) {
        let admin = acme(&app).await;
        let member = app.person("member").await;
        let added = admin.add_member("acme", "member", Role::Member).await;
        let secret = project_token(&member, &[Scope::Admin]).await.secret;
        let project: Project =
            app.get("/api/v1/orgs/acme/projects/web").bearer(&secret).send().await.assert_status(200).json();
        assert_eq!(project.allowed, [Action::ReadProject, Action::PushSource, Action::OperateRuns]);
        admin.delete(&format!("/api/v1/orgs/acme/members/{}", added.user_id)).await.assert_status(204);
        app.get("/api/v1/orgs/acme/projects/web").bearer(&secret).send().await.assert_status(404);
    }

    async fn basic_authentication_is_for_git_and_not_for_the_api(app: TestApp) {
        let admin = app.set_up().await;
        let request = app.request(Method::GET, "/api/v1/session").header("authorization", "Basic eDp5");
        let refused = request.send().await.assert_status(401);
        // A browser must not open its own dialogue.
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        admin.viewer().await;
    }
}
