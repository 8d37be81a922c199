//! RP-27: a provider ends sessions, and nobody else does in its name.

use devenv_cloud::{
    db::query,
    sso::{self, Rejection},
};
use devenv_cloud_api::sign_in::SignInStep;
use serde_json::{Value, json};

use crate::support::{
    Browser, PASSWORD, TestApp,
    provider::{self, Provider, SUBJECT, Signer, origin, public_pem, sign_in},
};

struct Scene {
    app: TestApp,
    provider: Provider,
}

async fn scene(app: &TestApp) -> Scene {
    let provider = Provider::start(&app.clock).await;
    let app = provider::with_providers(app, &[("corp", "oidc", &provider, &[])]).await;
    Scene { app, provider }
}

impl Scene {
    /// Somebody whose session began with the provider.
    async fn person(&self, name: &str, subject: &str, session: Option<&str>) -> Browser {
        let browser = self.app.person(name).await;
        query(
            "UPDATE sessions SET provider = 'corp', provider_subject = $2, provider_session = $3 \
             WHERE user_id = (SELECT id FROM users WHERE name = $1)",
        )
        .bind(name)
        .bind(subject)
        .bind(session.map(str::to_owned))
        .execute(&self.app.db)
        .await
        .expect("a session");
        browser
    }

    async fn log_out(&self, token: &str) -> Result<usize, Rejection> {
        sso::log_out(&self.app, "corp", token, &origin()).await
    }

    async fn refused(&self, words: &str, header: Value, claims: Value) {
        let token = self.provider.logout_token(&header, &claims);
        let said = self.log_out(&token).await.unwrap_err().to_string();
        assert!(said.contains(words), "{header} {claims}: {said}");
    }
}

async fn is_signed_in(browser: &Browser) -> bool {
    browser.get("/api/v1/session").await.status == 200
}

both_engines! {
    async fn rp_27_a_provider_ends_the_session_that_it_names(app: TestApp) {
        let scene = scene(&app).await;
        let one = scene.person("one", SUBJECT, Some("session-1")).await;
        let another = scene.person("another", SUBJECT, Some("session-2")).await;
        let unknown = scene.person("unknown", SUBJECT, None).await;
        let stranger = scene.person("stranger", "subject-2", Some("session-3")).await;
        let local = scene.app.person("local").await;
        let token = scene.provider.logout_token(&json!({}), &json!({}));
        assert_eq!(scene.log_out(&token).await.unwrap(), 2);
        assert!(!is_signed_in(&one).await);
        assert!(!is_signed_in(&unknown).await, "whose session there we do not know ends with the person's");
        assert!(is_signed_in(&another).await && is_signed_in(&stranger).await && is_signed_in(&local).await);
        // By the session alone, by the person alone.
        let token = scene.provider.logout_token(&json!({}), &json!({ "jti": "2", "sub": null, "sid": "session-3" }));
        assert_eq!(scene.log_out(&token).await.unwrap(), 1);
        assert!(!is_signed_in(&stranger).await);
        let token = scene.provider.logout_token(&json!({}), &json!({ "jti": "3", "sid": null }));
        assert_eq!(scene.log_out(&token).await.unwrap(), 1);
        assert!(!is_signed_in(&another).await && is_signed_in(&local).await);
        let rows = query("SELECT subject, outcome FROM audit WHERE action = 'session.end-by-provider' ORDER BY id")
            .all(&scene.app.db).await.unwrap();
        let whose: Vec<String> = rows.iter().map(|row| row.get("subject").unwrap()).collect();
        assert_eq!(whose.len(), 4);
        assert!(whose.contains(&"stranger@example.com".to_owned()), "{whose:?}");
    }

    async fn rp_27_a_sign_in_that_waits_for_its_second_factor_ends_too(app: TestApp) {
        let scene = scene(&app).await;
        let one = scene.person("one", SUBJECT, Some("session-1")).await;
        let id = one.user_id().await;
        query(
            "INSERT INTO linked_accounts (id, user_id, provider, subject, label, created_at) \
             SELECT id, id, 'corp', $2, 'one', created_at FROM users WHERE id = $1",
        )
        .bind(id)
        .bind(SUBJECT)
        .execute(&scene.app.db)
        .await
        .expect("a link");
        let codes = one.add_codes().await;
        let waiting = scene.app.browser();
        waiting.identify("one@example.com").await.assert_status(200);
        waiting.give_password("sign-in/password", PASSWORD).await.assert_status(200);
        assert_eq!(waiting.way().await.step, SignInStep::SecondFactor);
        // The session there is another one, the person is not.
        let token = scene.provider.logout_token(&json!({}), &json!({ "sid": "session-9" }));
        assert_eq!(scene.log_out(&token).await.unwrap(), 0);
        assert_eq!(waiting.way().await.step, SignInStep::Identify);
        assert_ne!(waiting.give_code("sign-in/code", &codes.code()).await.status, 200);
        assert!(is_signed_in(&one).await);
    }

    async fn rp_27_a_token_with_one_thing_wrong_ends_nothing(app: TestApp) {
        let scene = scene(&app).await;
        let person = scene.person("person", SUBJECT, Some("session-1")).await;
        let (none, now) = (json!({}), scene.app.clock.now().timestamp());
        for (header, words) in [
            (json!({ "typ": "JWT" }), "(typ)"),
            (json!({ "typ": null }), "(typ)"),
            (json!({ "alg": "HS256" }), "counts"),
            (json!({ "kid": "b" }), "does not publish"),
            (json!({ "crit": ["x"] }), "demands"),
        ] {
            scene.refused(words, header, none.clone()).await;
        }
        for (claims, words) in [
            (json!({ "iss": "https://evil.example" }), "(iss)"),
            (json!({ "iss": null }), "does not say"),
            (json!({ "aud": "other" }), "(aud)"),
            (json!({ "aud": null }), "does not say"),
            (json!({ "events": null }), "does not say"),
            (json!({ "events": {} }), "(events)"),
            (json!({ "events": { "http://schemas.openid.net/event/other": {} } }), "(events)"),
            (json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": "x" } }), "(events)"),
            (json!({ "nonce": "x" }), "(nonce)"),
            (json!({ "sub": null, "sid": null }), "(sub, sid)"),
            (json!({ "sub": "" }), "(sub)"),
            (json!({ "jti": null }), "does not say"),
            (json!({ "jti": "" }), "(jti)"),
            (json!({ "iat": null }), "does not say"),
            (json!({ "iat": now + 61 }), "(iat)"),
            (json!({ "iat": now - 181 }), "(iat)"),
            (json!({ "exp": now - 60 }), "(exp)"),
        ] {
            scene.refused(words, none.clone(), claims).await;
        }
        for signer in [Signer::None, Signer::Hmac(public_pem()), Signer::RsaB] {
            scene.provider.state().signer = signer;
            assert!(scene.log_out(&scene.provider.logout_token(&none, &none)).await.is_err());
            scene.provider.reform();
        }
        // A token to sign in with does not sign out.
        sign_in(&scene.app, "corp", &scene.provider).await.unwrap();
        let id_token = scene.provider.state().last_token.clone().unwrap();
        assert!(scene.log_out(&id_token).await.unwrap_err().to_string().contains("(typ)"));
        assert!(is_signed_in(&person).await);
        let rows = query("SELECT outcome FROM audit WHERE action = 'session.end-by-provider'").all(&scene.app.db);
        assert!(rows.await.unwrap().iter().all(|row| row.get::<String>("outcome").unwrap() == "refused"));
        // The same without any of that.
        assert_eq!(scene.log_out(&scene.provider.logout_token(&none, &none)).await.unwrap(), 1);
        assert!(!is_signed_in(&person).await);
    }

    async fn rp_27_a_token_works_once(app: TestApp) {
        let scene = scene(&app).await;
        let token = scene.provider.logout_token(&json!({}), &json!({}));
        let (a, b) = tokio::join!(scene.log_out(&token), scene.log_out(&token));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        let said = scene.log_out(&token).await.unwrap_err().to_string();
        assert!(said.contains("(jti)"), "{said}");
        let other = scene.provider.logout_token(&json!({}), &json!({ "jti": "another" }));
        scene.log_out(&other).await.unwrap();
    }
}
