//! Signed-in browsers. The numbers are those of the session requirements.

use chrono::TimeDelta;
use devenv_cloud_api::{accounts::Session, page::Page};
use serde_json::json;

use crate::support::{Browser, PASSWORD, TestApp};

async fn sessions(browser: &Browser) -> Vec<Session> {
    browser.get("/api/v1/account/sessions").await.assert_status(200).json::<Page<Session>>().items
}

async fn count(app: &TestApp) -> i64 {
    let row = devenv_cloud::db::query("SELECT COUNT(*) AS n FROM sessions").one(&app.db).await.unwrap();
    row.get("n").unwrap()
}

async fn assert_signed_out(browser: &Browser) {
    browser.get("/api/v1/session").await.assert_status(401);
}

both_engines! {
    /// SE-01
    async fn signing_in_changes_the_id_and_the_old_one_is_dead(app: TestApp) {
        let browser = app.set_up().await;
        let before = browser.copy();
        browser.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        assert_ne!(browser.cookie_header(), before.cookie_header());
        browser.viewer().await;
        assert_signed_out(&before).await;
    }

    /// SE-01
    async fn a_new_password_changes_the_id_and_ends_all_other_sessions(app: TestApp) {
        let browser = app.set_up().await;
        let stolen = browser.copy();
        let other = app.browser();
        other.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        let listed = sessions(&browser).await;
        app.advance(TimeDelta::minutes(5));
        let change = json!({"current": PASSWORD, "new": "another long password"});
        browser.post("/api/v1/account/password", &change).await.assert_status(204);
        assert_signed_out(&other).await;
        assert_signed_out(&stolen).await;
        assert_eq!(browser.viewer().await.authenticated_at, app.clock.now());
        // For its owner it is the same session still.
        let after = sessions(&browser).await;
        assert_eq!(after.len(), 1);
        let same = listed.iter().find(|s| s.current).unwrap();
        assert_eq!((after[0].id, after[0].created_at, after[0].expires_at), (same.id, same.created_at, same.expires_at));
    }

    /// SE-02
    async fn an_id_that_somebody_else_chose_is_not_taken(app: TestApp) {
        app.set_up().await;
        let victim = app.browser();
        let planted = "AAAAAAAAAAAAAAAAAAAAAA";
        victim.set_cookie("__Host-sid", planted);
        victim.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        assert_ne!(victim.cookie_header().unwrap(), format!("__Host-sid={planted}"));
        let attacker = app.browser();
        attacker.set_cookie("__Host-sid", planted);
        assert_signed_out(&attacker).await;
    }

    /// SE-03
    async fn the_cookie_is_bound_to_this_host_and_out_of_reach_of_scripts(app: TestApp) {
        app.set_up().await;
        let response = app.browser().sign_in("admin@example.com", PASSWORD).await;
        let cookie = response.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-sid="), "{cookie}");
        for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/", "Max-Age=2592000"] {
            assert!(cookie.split("; ").any(|p| p == part), "{part}: {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        // 128 bits.
        assert_eq!(cookie["__Host-sid=".len()..].split(';').next().unwrap().len(), 22);
    }

    async fn over_plain_http_the_cookie_has_another_name(app: TestApp) {
        app.set_up().await;
        let app = app.restart(&[("DEVENV_CLOUD_SERVER_BASE_URL", "http://localhost:8080")]).await;
        let browser = app.browser();
        let response = browser.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        let cookie = response.header("set-cookie").unwrap();
        assert!(cookie.starts_with("sid=") && !cookie.contains("Secure"), "{cookie}");
        browser.viewer().await;
    }

    /// SE-04
    async fn a_session_ends_when_nobody_comes(app: TestApp) {
        let browser = app.set_up().await;
        // 168 hours without a visit; a visit pushes the end on.
        app.advance(TimeDelta::hours(167));
        browser.viewer().await;
        app.advance(TimeDelta::hours(167));
        browser.viewer().await;
        app.advance(TimeDelta::hours(168));
        assert_signed_out(&browser).await;
    }

    /// SE-04
    async fn a_session_ends_however_busy_it_is(app: TestApp) {
        let browser = app.set_up().await;
        for _ in 0..29 {
            app.advance(TimeDelta::days(1));
            browser.viewer().await;
        }
        app.advance(TimeDelta::days(1));
        assert_signed_out(&browser).await;
    }

    /// SE-05
    async fn signing_out_ends_the_session_and_not_only_the_cookie(app: TestApp) {
        let browser = app.set_up().await;
        let other_tab = browser.copy();
        let response = browser.delete("/api/v1/session").await.assert_status(204);
        let cookie = response.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-sid=;") && cookie.contains("Max-Age=0"), "{cookie}");
        assert_signed_out(&other_tab).await;
        assert_eq!(count(&app).await, 0);
        // Again is fine.
        browser.delete("/api/v1/session").await.assert_status(204);
    }

    /// SE-06
    async fn who_is_disabled_is_out_at_once_with_session_and_token(app: TestApp) {
        app.set_up().await;
        let person = app.person("person").await;
        let token = person.token(&[devenv_cloud_api::permissions::Scope::Read]).await.secret;
        app.get("/api/v1/orgs").bearer(&token).send().await.assert_status(200);
        devenv_cloud::db::query("UPDATE users SET disabled_at = $1 WHERE name = $2")
            .bind(app.clock.now())
            .bind("person")
            .execute(&app.db)
            .await
            .unwrap();
        assert_signed_out(&person).await;
        app.get("/api/v1/orgs").bearer(&token).send().await.assert_status(401);
        person.sign_in("person@example.com", PASSWORD).await.assert_status(403);
    }

    /// SE-07
    async fn people_see_their_sessions_and_end_them(app: TestApp) {
        let first = app.set_up().await;
        app.advance(TimeDelta::minutes(1));
        let second = app.browser();
        second.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        let third = app.browser();
        third.sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        app.person("somebody").await;

        let listed = sessions(&second).await;
        assert_eq!(listed.len(), 3, "only one's own");
        assert_eq!(listed.iter().filter(|s| s.current).count(), 1);
        assert!(listed.iter().all(|s| s.user_agent == "Testfox/1.0" && s.ip == "192.0.2.1"));

        let firsts = sessions(&first).await.into_iter().find(|s| s.current).unwrap().id;
        second.delete(&format!("/api/v1/account/sessions/{firsts}")).await.assert_status(204);
        assert_signed_out(&first).await;
        second.delete(&format!("/api/v1/account/sessions/{firsts}")).await.assert_status(404);
        second.delete("/api/v1/account/sessions").await.assert_status(204);
        assert_signed_out(&third).await;
        second.viewer().await;
    }

    async fn nobody_ends_the_session_of_another(app: TestApp) {
        let admin = app.set_up().await;
        let person = app.person("person").await;
        let id = sessions(&person).await[0].id;
        admin.delete(&format!("/api/v1/account/sessions/{id}")).await.assert_status(404);
        admin.delete("/api/v1/account/sessions/nonsense").await.assert_status(404);
        admin.delete("/api/v1/account/sessions").await.assert_status(204);
        person.viewer().await;
    }

    /// SE-08
    async fn a_copy_of_the_table_signs_nobody_in(app: TestApp) {
        let browser = app.set_up().await;
        let cookie = browser.cookie_header().unwrap();
        let secret = cookie.strip_prefix("__Host-sid=").unwrap();
        let row = devenv_cloud::db::query("SELECT id, key_hash FROM sessions").one(&app.db).await.unwrap();
        let stored: Vec<u8> = row.get("key_hash").unwrap();
        let id: uuid::Uuid = row.get("id").unwrap();
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        assert_ne!(stored[..16], engine.decode(secret).unwrap());
        for known in [&stored[..16], &stored[16..], id.as_bytes()] {
            let thief = app.browser();
            thief.set_cookie("__Host-sid", &engine.encode(known));
            assert_signed_out(&thief).await;
        }
    }

    /// SE-12
    async fn visitors_who_are_not_signed_in_leave_no_trace(app: TestApp) {
        for path in ["/api/v1/session", "/api/v1/setup", "/api/v1/orgs", "/"] {
            let response = app.browser().get(path).await;
            assert_eq!(response.header("set-cookie"), None, "{path}");
        }
        app.browser().sign_in("nobody@example.com", "wrong").await.assert_status(403);
        app.browser().delete("/api/v1/session").await.assert_status(204);
        assert_eq!(count(&app).await, 0);
    }

    async fn visits_are_noted_to_the_minute_and_not_more_often(app: TestApp) {
        let browser = app.set_up().await;
        let start = app.clock.now();
        app.advance(TimeDelta::seconds(59));
        assert_eq!(sessions(&browser).await[0].last_seen_at, start);
        app.advance(TimeDelta::seconds(1));
        assert_eq!(sessions(&browser).await[0].last_seen_at, start + TimeDelta::minutes(1));
    }

    async fn ended_sessions_are_deleted_in_time(app: TestApp) {
        app.set_up().await;
        app.advance(TimeDelta::hours(100));
        app.browser().sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        assert_eq!(devenv_cloud::identity::delete_expired_sessions_once(&app.app).await.unwrap(), 0);
        app.advance(TimeDelta::hours(100));
        assert_eq!(devenv_cloud::identity::delete_expired_sessions_once(&app.app).await.unwrap(), 1);
        assert_eq!(count(&app).await, 1);
    }

    async fn a_restart_signs_nobody_out(app: TestApp) {
        let browser = app.set_up().await;
        let app = app.restart(&[]).await;
        browser.visiting(&app).viewer().await;
    }

    async fn lists_of_sessions_come_in_pages(app: TestApp) {
        let browser = app.set_up().await;
        for _ in 0..4 {
            app.advance(TimeDelta::seconds(1));
            app.browser().sign_in("admin@example.com", PASSWORD).await.assert_status(200);
        }
        let all = sessions(&browser).await;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/account/sessions?limit=2{cursor}");
            let page: Page<Session> = browser.get(&path).await.assert_status(200).json();
            assert!(page.items.len() <= 2);
            seen.extend(page.items);
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, all);
        assert_eq!(seen.len(), 5);
        for wrong in ["limit=0", "limit=101", "cursor=x", "cursor=%22", "limit=x", "colour=red"] {
            browser.get(&format!("/api/v1/account/sessions?{wrong}")).await.assert_status(422).problem();
        }
    }
}
