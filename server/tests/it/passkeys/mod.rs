//! Passkeys. The ids are those of `docs/security.md`.

mod answers;

use chrono::TimeDelta;
use devenv_cloud::db::query;
use devenv_cloud_api::{
    accounts::{Assurance, AuthMethod},
    audit::AuditOutcome,
    factors::{Ceremony, Factors, Passkey, SecondFactor},
    sign_in::{SignInState, SignInStep},
};
use serde_json::json;

use crate::support::{
    Browser, PASSWORD, Response, TestApp,
    authenticator::{Answer, Key},
};

const MAIL: &str = "person@example.com";

/// Somebody with a password and a passkey.
async fn with_passkey(app: &TestApp) -> (Browser, Key, Passkey) {
    let person = app.person("person").await;
    let (key, listed) = person.add_passkey("laptop").await;
    (person, key, listed)
}

async fn factors(browser: &Browser) -> Factors {
    browser.get("/api/v1/account/factors").await.assert_status(200).json()
}

#[track_caller]
fn assert_unproven(response: &Response, what: &str) {
    assert_eq!(response.status, 403, "{what}: {}", response.text());
    assert_eq!(response.problem().kind, "unproven", "{what}");
    assert!(!response.headers.contains_key("set-cookie"), "{what}");
}

/// Somebody without a password: their only ways in are what they add.
async fn forget_password(app: &TestApp) {
    query("UPDATE users SET password_hash = NULL WHERE name = 'person'").execute(&app.db).await.unwrap();
}

both_engines! {
    async fn a_passkey_is_added_and_alone_signs_in_with_two_factors(app: TestApp) {
        app.set_up().await;
        let person = app.person("person").await;
        let before = person.copy();
        let (mut key, listed) = person.add_passkey(" laptop ").await;
        assert_eq!((listed.name.as_str(), listed.synced, listed.last_used_at), ("laptop", false, None));
        // The session says so, and has a new secret (SE-01).
        let viewer = person.viewer().await;
        assert_eq!(viewer.methods, [AuthMethod::Password, AuthMethod::Passkey]);
        before.get("/api/v1/session").await.assert_status(401);

        app.advance(TimeDelta::minutes(1));
        let browser = app.browser();
        let state: SignInState = browser.sign_in_with(&mut key).await.assert_status(200).json();
        assert_eq!(state.step, SignInStep::Done);
        let viewer = browser.viewer().await;
        assert_eq!(viewer.user.email, MAIL);
        assert_eq!((viewer.methods, viewer.assurance), (vec![AuthMethod::Passkey], Assurance::Multi));
        assert_eq!(factors(&browser).await.passkeys[0].last_used_at, Some(app.clock.now()));
        assert_eq!(app.audited("passkey.add", AuditOutcome::Success).await, 1);
    }

    async fn a_passkey_is_the_second_factor_after_a_password(app: TestApp) {
        let (_, mut key, _) = with_passkey(&app).await;
        let browser = app.browser();
        let asked = browser.sign_in(MAIL, PASSWORD).await.assert_status(403);
        assert_eq!(asked.problem().kind, "second-factor");
        browser.get("/api/v1/session").await.assert_status(401);
        let state = browser.way().await;
        assert_eq!((state.step, state.methods), (SignInStep::SecondFactor, vec![AuthMethod::Passkey]));
        // Now it is this person's keys that are asked for.
        let Ceremony { ceremony, options } = browser.begin_sign_in().await;
        assert_eq!(options["publicKey"]["allowCredentials"].as_array().unwrap().len(), 1);
        assert_eq!(options["publicKey"]["userVerification"], "required");
        browser.finish_sign_in(&ceremony, &key.answer(&options)).await.assert_status(200);
        let viewer = browser.viewer().await;
        assert_eq!(viewer.methods, [AuthMethod::Password, AuthMethod::Passkey]);
    }

    /// WA-08
    async fn wa_08_a_credential_is_registered_once(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        let stranger = app.person("stranger").await;
        for browser in [&person, &stranger] {
            let Ceremony { ceremony, options } = browser.begin_passkey().await;
            let (_, credential) = Key::make_with(&options, |a| a.id.clone_from(&key.id));
            let refused = browser.finish_passkey(&ceremony, "again", &credential).await;
            assert!(matches!(refused.status.as_u16(), 403 | 409), "{}", refused.text());
        }
        assert_eq!(app.count("SELECT COUNT(*) AS n FROM passkeys").await, 1);
        // It is still the key that it was, and still the person's.
        let browser = app.browser();
        browser.sign_in_with(&mut key).await.assert_status(200);
        assert_eq!(browser.viewer().await.user.email, MAIL);
    }

    /// WA-09
    async fn wa_09_what_could_not_be_copied_cannot_become_copyable(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        let begun = person.begin_passkey().await;
        let (mut synced, credential) = Key::make_with(&begun.options, |a| a.eligible = true);
        person.finish_passkey(&begun.ceremony, "phone", &credential).await.assert_status(201);
        for key in [&mut key, &mut synced] {
            let flip = |a: &mut Answer| (a.eligible, a.backed_up) = (!a.eligible, false);
            let browser = app.browser();
            let Ceremony { ceremony, options } = browser.begin_sign_in().await;
            let answer = key.answer_with(&options, flip);
            assert_unproven(&browser.finish_sign_in(&ceremony, &answer).await, "sign-in");
            let Ceremony { ceremony, options } = person.begin_step_up().await;
            let answer = key.answer_with(&options, flip);
            assert_unproven(&person.finish_step_up(&ceremony, &answer).await, "step-up");
            browser.sign_in_with(key).await.assert_status(200);
        }
        // Whether there is a copy at the moment may change.
        let begun = app.browser().begin_sign_in().await;
        let answer = synced.answer_with(&begun.options, |a| a.backed_up = true);
        app.browser().finish_sign_in(&begun.ceremony, &answer).await.assert_status(200);
        let keys = factors(&person).await.passkeys;
        assert!(keys.iter().any(|k| k.name == "phone" && k.synced), "{keys:?}");
        assert!(keys.iter().any(|k| k.name == "laptop" && !k.synced), "{keys:?}");
    }

    /// WA-11
    async fn wa_11_the_last_way_in_cannot_be_removed(app: TestApp) {
        let (person, _, first) = with_passkey(&app).await;
        forget_password(&app).await;
        let path = |key: &Passkey| format!("/api/v1/account/passkeys/{}", key.id);
        let refused = person.delete(&path(&first)).await.assert_status(409);
        assert!(refused.problem().detail.unwrap().contains("last way"));
        // One-time codes alone are no way in.
        person.add_codes().await;
        person.delete(&path(&first)).await.assert_status(409);
        let (_, second) = person.add_passkey("phone").await;
        person.delete(&path(&first)).await.assert_status(204);
        person.delete(&path(&second)).await.assert_status(409);
        assert_eq!(factors(&person).await.passkeys, [second]);
        assert_eq!(app.audited("passkey.remove", AuditOutcome::Success).await, 1);
    }

    /// WA-11: not even by two who each remove another one.
    async fn wa_11_two_at_once_do_not_remove_the_last_two(app: TestApp) {
        let (person, _, _) = with_passkey(&app).await;
        person.add_passkey("phone").await;
        forget_password(&app).await;
        let other = app.second_process(&[]).await;
        for _ in 0..5 {
            let keys = factors(&person).await.passkeys;
            assert_eq!(keys.len(), 2);
            let (here, there) = (person.clone(), person.visiting(&other));
            let paths: Vec<_> = keys.iter().map(|k| format!("/api/v1/account/passkeys/{}", k.id)).collect();
            let (one, two) = futures::join!(here.delete(&paths[0]), there.delete(&paths[1]));
            let mut all = [one.status.as_u16(), two.status.as_u16()];
            all.sort_unstable();
            assert_eq!(all, [204, 409]);
            person.add_passkey("another").await;
        }
    }

    /// WA-11, with what is asked for.
    async fn wa_11_what_is_asked_of_everybody_cannot_be_removed(app: TestApp) {
        let admin = app.set_up().await;
        let (person, _, key) = with_passkey(&app).await;
        person.add_codes().await;
        admin.put_policy("instance", SecondFactor::PhishingResistant, 30).await.assert_status(200);
        let path = format!("/api/v1/account/passkeys/{}", key.id);
        let refused = person.delete(&path).await.assert_status(409);
        assert!(refused.problem().detail.unwrap().contains("asks for it"));
        admin.put_policy("instance", SecondFactor::Required, 30).await.assert_status(200);
        // A code will do; and then it is the last one.
        person.delete(&path).await.assert_status(204);
        person.delete("/api/v1/account/codes").await.assert_status(409);
    }

    /// WA-12
    async fn wa_12_adding_and_removing_takes_a_recent_proof(app: TestApp) {
        let (person, mut key, listed) = with_passkey(&app).await;
        let begun = person.begin_passkey().await;
        let (_, credential) = Key::make(&begun.options);
        app.advance(TimeDelta::minutes(10));
        let path = format!("/api/v1/account/passkeys/{}", listed.id);
        let begin = "/api/v1/account/passkeys/begin";
        // The ceremony is too old by then, but the proof is looked at first.
        for refused in [
            person.post(begin, &json!({})).await,
            person.finish_passkey(&begun.ceremony, "x", &credential).await,
            person.delete(&path).await,
        ] {
            assert_eq!((refused.status.as_u16(), refused.problem().kind.as_str()), (403, "step-up"));
        }
        person.step_up_with(&mut key).await.assert_status(204);
        person.post(begin, &json!({})).await.assert_status(200);
        person.delete(&path).await.assert_status(204);
    }

    async fn passkeys_are_renamed_by_their_owner(app: TestApp) {
        let (person, _, listed) = with_passkey(&app).await;
        let stranger = app.person("stranger").await;
        let path = format!("/api/v1/account/passkeys/{}", listed.id);
        stranger.patch(&path, &json!({"name": "mine"})).await.assert_status(404);
        stranger.delete(&path).await.assert_status(404);
        for wrong in ["", " ", "a\nb", &"x".repeat(101)] {
            person.patch(&path, &json!({"name": wrong})).await.assert_status(422);
        }
        person.patch(&path, &json!({"name": " work laptop "})).await.assert_status(204);
        assert_eq!(factors(&person).await.passkeys[0].name, "work laptop");
        assert_eq!(app.audited("passkey.rename", AuditOutcome::Success).await, 1);
    }

    async fn nobody_has_more_than_twenty(app: TestApp) {
        let person = app.person("person").await;
        for n in 0..19 {
            person.add_passkey(&format!("key {n}")).await;
        }
        // Three are begun while there is room for one.
        let begun = [person.begin_passkey().await, person.begin_passkey().await, person.begin_passkey().await];
        let other = app.second_process(&[]).await;
        let browsers = [person.clone(), person.visiting(&other), person.visiting(&other)];
        let mut statuses = Vec::new();
        for (browser, Ceremony { ceremony, options }) in browsers.iter().zip(&begun) {
            let (_, credential) = Key::make(options);
            // The session's secret changes with each key that is added.
            let browser = if statuses.is_empty() { browser.clone() } else { person.visiting(&other) };
            statuses.push(browser.finish_passkey(ceremony, "one more", &credential).await.status.as_u16());
        }
        assert_eq!(statuses, [201, 409, 409]);
        person.post("/api/v1/account/passkeys/begin", &json!({})).await.assert_status(409);
        assert_eq!(factors(&person).await.passkeys.len(), 20);
    }

    async fn without_https_and_a_name_there_are_no_passkeys_and_it_is_said_so(app: TestApp) {
        let person = app.person("person").await;
        let app = app.restart(&[("DEVENV_CLOUD_SERVER_BASE_URL", "http://192.0.2.9:8080")]).await;
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(200);
        let refused = browser.post("/api/v1/account/passkeys/begin", &json!({})).await.assert_status(409);
        assert!(refused.problem().detail.unwrap().contains("https"));
        assert!(app.browser().way().await.methods.is_empty());
        drop(person);
    }
}
