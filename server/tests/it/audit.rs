//! The audit log.

use devenv_cloud::db;
use devenv_cloud_api::{
    audit::{AuditAction, AuditEntry},
    page::Page,
    permissions::{Role, Scope},
};
use serde_json::json;

use crate::support::{Browser, PASSWORD, TestApp};

async fn read(browser: &Browser, path: &str) -> Vec<AuditEntry> {
    let page: Page<AuditEntry> = browser.get(&format!("/api/v1{path}")).await.assert_status(200).json();
    page.items
}

async fn actions(browser: &Browser, path: &str) -> Vec<AuditAction> {
    read(browser, path).await.into_iter().map(|entry| entry.action).collect()
}

fn lines(text: &str) -> Vec<AuditEntry> {
    text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

both_engines! {
    async fn what_happens_to_accounts_and_organisations_is_written_down(app: TestApp) {
        use AuditAction as A;
        let admin = app.set_up().await;
        let later = || app.advance(chrono::TimeDelta::seconds(1));
        admin.create_org("acme").await;
        later();
        admin.create_project("acme", "web").await;
        let bob = app.person("bob").await;
        let id = bob.user_id().await;
        later();
        admin.add_member("acme", "bob", Role::Member).await;
        let member = format!("/api/v1/orgs/acme/members/{id}");
        later();
        admin.patch(&member, &json!({"role": "admin"})).await.assert_status(200);
        later();
        admin.delete(&member).await.assert_status(204);
        later();
        admin.delete("/api/v1/orgs/acme/projects/web").await.assert_status(204);
        let of_org = read(&admin, "/orgs/acme/audit").await;
        let done: Vec<A> = of_org.iter().map(|entry| entry.action).collect();
        assert_eq!(done, [A::DeleteProject, A::RemoveMember, A::ChangeRole, A::AddMember, A::CreateOrg]);
        assert_eq!(of_org[0].target, "acme/web");
        let role = &of_org[2];
        assert_eq!((role.actor.as_str(), role.subject.as_str()), ("admin@example.com", "bob@example.com"));
        assert_eq!((role.target.as_str(), role.ip.as_str()), ("acme, admin", "192.0.2.1"));
        assert_eq!(role.user_agent, "Testfox/1.0");

        let token = bob.token(&[Scope::Read]).await.token.id;
        bob.delete(&format!("/api/v1/account/tokens/{token}")).await.assert_status(204);
        let second = app.browser();
        second.sign_in("bob@example.com", PASSWORD).await.assert_status(200);
        bob.delete("/api/v1/account/sessions").await.assert_status(204);
        let change = json!({"current": PASSWORD, "new": "another horse battery staple"});
        bob.post("/api/v1/account/password", &change).await.assert_status(204);
        let mine = actions(&bob, "/account/audit").await;
        for action in [A::CreateToken, A::RevokeToken, A::EndSession, A::ChangePassword, A::RemoveMember] {
            assert!(mine.contains(&action), "{action}: {mine:?}");
        }
        admin.delete("/api/v1/orgs/acme").await.assert_status(204);
        assert!(actions(&admin, "/instance/audit").await.contains(&A::DeleteOrg), "it outlives what it tells");
    }

    async fn people_read_their_own_and_not_where_others_were(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        let bob = app.person("bob").await;
        let eve = app.person("eve").await;
        admin.add_member("acme", "bob", Role::Member).await;
        let of_bob = read(&bob, "/account/audit").await;
        let added = of_bob.iter().find(|entry| entry.action == AuditAction::AddMember).unwrap();
        assert_eq!((added.ip.as_str(), added.user_agent.as_str()), ("", ""));
        let exported = bob.get("/api/v1/account/audit/export").await.assert_status(200).text();
        assert!(lines(&exported).iter().all(|it| it.actor == "bob@example.com" || it.ip.is_empty()));
        assert!(read(&eve, "/account/audit").await.iter().all(|it| it.actor == "eve@example.com"));
        // The filter is no way to others'.
        let id = bob.user_id().await;
        let others = read(&eve, &format!("/account/audit?person={id}")).await;
        assert!(others.iter().all(|it| it.actor == "eve@example.com"), "{others:?}");
        bob.get("/api/v1/orgs/acme/audit").await.assert_status(403);
        bob.get("/api/v1/orgs/acme/audit/export").await.assert_status(403);
        eve.get("/api/v1/orgs/acme/audit").await.assert_status(404);
        bob.get("/api/v1/instance/audit").await.assert_status(403);
        bob.get("/api/v1/instance/audit/export").await.assert_status(403);
    }

    async fn it_is_filtered_and_read_in_pages(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        for name in ["ada", "bob"] {
            app.person(name).await;
            app.advance(chrono::TimeDelta::seconds(60));
            admin.add_member("acme", name, Role::Viewer).await;
        }
        let path = "/orgs/acme/audit";
        assert_eq!(read(&admin, &format!("{path}?action=member.add")).await.len(), 2);
        assert_eq!(read(&admin, &format!("{path}?outcome=refused")).await.len(), 0);
        assert_eq!(read(&admin, &format!("{path}?text=BOB%40")).await.len(), 1);
        assert_eq!(read(&admin, &format!("{path}?text=192.0.2")).await.len(), 3);
        assert_eq!(read(&admin, &format!("{path}?from=2026-01-01T00:01:30Z")).await.len(), 1);
        assert_eq!(read(&admin, &format!("{path}?until=2026-01-01T00:01:30Z")).await.len(), 2);
        admin.get("/api/v1/orgs/acme/audit?action=nonsense").await.assert_status(422);
        let first: Page<AuditEntry> = admin.get("/api/v1/orgs/acme/audit?limit=2").await.json();
        let cursor = first.next_cursor.unwrap();
        let rest: Page<AuditEntry> =
            admin.get(&format!("/api/v1/orgs/acme/audit?limit=2&cursor={cursor}")).await.json();
        let ids: Vec<_> = first.items.iter().chain(&rest.items).map(|it| it.id).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.is_sorted_by(|a, b| a > b));
    }

    async fn an_export_is_all_of_it_as_json_lines(app: TestApp) {
        let admin = app.set_up().await;
        // More than one batch, in the same form as the log writes it.
        for n in 0..1203_i64 {
            let now = app.clock.now();
            db::query(
                "INSERT INTO audit (id, at, action, outcome, actor, subject, target, ip, user_agent) \
                 VALUES ($1, $2, 'sign-in', 'refused', '', '', $3, '192.0.2.9', '')",
            )
            .bind(app.random.id(now))
            .bind(now)
            .bind(format!("attempt {n}\n"))
            .execute(&app.db)
            .await
            .unwrap();
        }
        let answer = admin.get("/api/v1/instance/audit/export?outcome=refused").await.assert_status(200);
        assert_eq!(answer.header("content-type"), Some("application/jsonl"));
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"audit.jsonl\""));
        let entries = lines(&answer.text());
        assert_eq!(entries.len(), 1203);
        assert!(entries.is_sorted_by(|a, b| a.id > b.id));
        let one = admin.get("/api/v1/instance/audit/export?text=attempt+1202%0A").await.text();
        assert_eq!(lines(&one).len(), 1);
    }

    /// Whoever has the database's own words can still not change what happened.
    async fn the_database_refuses_to_change_or_delete_entries(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        let before = read(&admin, "/instance/audit").await;
        assert!(!before.is_empty());
        for statement in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
            let error = db::query(statement).execute(&app.db).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{error}");
        }
        assert_eq!(read(&admin, "/instance/audit").await, before);
    }

    async fn administrators_see_mails_and_read_those_in_files(app: TestApp) {
        let admin = app.set_up().await;
        let ada = app.person("ada").await;
        ada.post("/api/v1/account/email/verification", &json!({})).await.assert_status(202);
        app.mails().await;
        let listed: serde_json::Value = admin.get("/api/v1/instance/mails").await.assert_status(200).json();
        assert_eq!(listed["items"][0]["state"], "written");
        let id = listed["items"][0]["id"].as_str().unwrap();
        let mail: serde_json::Value =
            admin.get(&format!("/api/v1/instance/mails/{id}")).await.assert_status(200).json();
        assert!(mail["text"].as_str().unwrap().contains("/verify-email?token="), "{mail}");
        ada.get(&format!("/api/v1/instance/mails/{id}")).await.assert_status(403);
    }
}
