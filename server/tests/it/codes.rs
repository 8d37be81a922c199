//! One-time codes and recovery codes. The ids are those of `docs/security.md`.

use chrono::TimeDelta;
use devenv_cloud::db::query;
use devenv_cloud_api::{
    accounts::{Assurance, AuthMethod},
    audit::AuditOutcome,
    factors::{Factors, NewCodes, StepUp},
    permissions::Scope,
    sign_in::{SignInState, SignInStep},
};
use serde_json::json;

use crate::support::{Browser, PASSWORD, Response, TestApp, factors::CodesApp};

const MAIL: &str = "person@example.com";

/// Somebody with a password and an app for one-time codes.
async fn with_codes(app: &TestApp) -> (Browser, CodesApp) {
    let person = app.person("person").await;
    let codes = person.add_codes().await;
    (person, codes)
}

/// A browser in which the password was right.
async fn half_way(app: &TestApp) -> Browser {
    let browser = app.browser();
    browser.identify(MAIL).await.assert_status(200);
    let state: SignInState =
        browser.give_password("sign-in/password", PASSWORD).await.assert_status(200).json();
    assert_eq!(state.step, SignInStep::SecondFactor);
    browser
}

async fn sign_in(app: &TestApp, code: &str) -> Response {
    half_way(app).await.give_code("sign-in/code", code).await
}

async fn factors(browser: &Browser) -> Factors {
    browser.get("/api/v1/account/factors").await.assert_status(200).json()
}

#[track_caller]
fn assert_kind(response: &Response, status: u16, kind: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.problem().kind, kind);
}

both_engines! {
    async fn a_code_is_the_second_factor_after_a_password(app: TestApp) {
        let (_, codes) = with_codes(&app).await;
        let browser = half_way(&app).await;
        assert_eq!(browser.way().await.methods, [AuthMethod::OneTimeCode]);
        let done: SignInState =
            browser.give_code("sign-in/code", &codes.code()).await.assert_status(200).json();
        assert_eq!(done.step, SignInStep::Done);
        let viewer = browser.viewer().await;
        assert_eq!(viewer.methods, [AuthMethod::Password, AuthMethod::OneTimeCode]);
        assert_eq!(viewer.assurance, Assurance::Multi);
    }

    /// OT-02
    async fn ot_02_a_code_counts_once_and_none_before_it_any_more(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let code = codes.code();
        sign_in(&app, &code).await.assert_status(200);
        let again = sign_in(&app, &code).await;
        assert_kind(&again, 403, "unproven");
        assert!(again.problem().detail.unwrap().contains("used already"));
        // Nor for anything else.
        assert_kind(&person.give_code("session/step-up/code", &code).await, 403, "unproven");
        // One that is older than one that was used, though it would be in time.
        codes.wait();
        let (earlier, now) = (codes.code_at(0), codes.code_at(1));
        sign_in(&app, &now).await.assert_status(200);
        assert_kind(&sign_in(&app, &earlier).await, 403, "unproven");
        // The code that confirmed the app is used up, too.
        let other = app.person("other").await;
        let new: NewCodes = other.post("/api/v1/account/codes", &json!({})).await.assert_status(201).json();
        let theirs = CodesApp::of(&app, &new.secret);
        let code = theirs.code();
        other.give_code("account/codes/confirm", &code).await.assert_status(204);
        assert_kind(&other.give_code("session/step-up/code", &code).await, 403, "unproven");
        theirs.wait();
        other.give_code("session/step-up/code", &theirs.code()).await.assert_status(204);
    }

    /// OT-02, by two processes and many browsers at the same moment.
    async fn ot_02_of_many_with_the_same_code_one_gets_in(app: TestApp) {
        let (_, codes) = with_codes(&app).await;
        let other = app.second_process(&[]).await;
        for _ in 0..3 {
            let code = codes.code();
            let mut browsers = Vec::new();
            for app in [&app, &other, &app, &other] {
                browsers.push(half_way(app).await);
            }
            let all = futures::future::join_all(browsers.iter().map(|b| b.give_code("sign-in/code", &code))).await;
            let mut won = 0;
            for (browser, response) in browsers.iter().zip(all) {
                let signed_in = browser.get("/api/v1/session").await.status == 200;
                assert_eq!(response.status == 200, signed_in, "{}", response.text());
                won += u32::from(signed_in);
            }
            assert_eq!(won, 1);
            app.advance(TimeDelta::minutes(5));
        }
    }

    /// OT-03
    async fn ot_03_clocks_may_be_off_by_one_step_and_no_more(app: TestApp) {
        let (_, codes) = with_codes(&app).await;
        // Long enough that no step is one that was used before.
        for (off, fine) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            app.advance(TimeDelta::minutes(10));
            assert_eq!(sign_in(&app, &codes.code_at(off)).await.status == 200, fine, "{off}");
        }
    }

    /// OT-04
    async fn ot_04_after_five_wrong_codes_it_takes_waiting_and_nobody_else_is_locked_out(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let recovery = person.make_recovery_codes().await;
        let (mut key, _) = person.add_passkey("laptop").await;
        let other = app.person("other").await;
        let others = other.add_codes().await;

        let browser = half_way(&app).await;
        for _ in 0..5 {
            assert_kind(&browser.give_code("sign-in/code", &codes.wrong()).await, 403, "unproven");
        }
        // The right one too: otherwise the limit would limit nothing. From wherever.
        let refused = browser.give_code("sign-in/code", &codes.code()).await;
        assert_kind(&refused, 429, "rate-limited");
        assert_eq!(refused.header("retry-after"), Some("60"));
        let elsewhere = half_way(&app).await;
        let request = elsewhere.request(http::Method::POST, "/api/v1/sign-in/code").from("203.0.113.9");
        let refused = elsewhere.send(request.json(&json!({"code": codes.code()}))).await;
        assert_kind(&refused, 429, "rate-limited");

        // The person's other ways: recovery codes, passkeys, alone and as a second factor.
        elsewhere.give_code("sign-in/recovery-code", &recovery[0]).await.assert_status(200);
        app.browser().sign_in_with(&mut key).await.assert_status(200);
        half_way(&app).await.sign_in_with(&mut key).await.assert_status(200);
        // Other people.
        let theirs = app.browser();
        theirs.sign_in("other@example.com", PASSWORD).await.assert_status(403);
        theirs.give_code("sign-in/code", &others.code()).await.assert_status(200);

        // One more a minute, and no more.
        app.advance(TimeDelta::seconds(60));
        assert_kind(&browser.give_code("sign-in/code", &codes.wrong()).await, 403, "unproven");
        assert_kind(&browser.give_code("sign-in/code", &codes.code()).await, 429, "rate-limited");
        app.advance(TimeDelta::seconds(60));
        browser.give_code("sign-in/code", &codes.code()).await.assert_status(200);
    }

    /// OT-04: the same bucket for sign-in, step-up and set-up, so that none is
    /// a way around the other.
    async fn ot_04_step_up_is_no_other_place_to_guess(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        for _ in 0..5 {
            assert_kind(&person.give_code("session/step-up/code", &codes.wrong()).await, 403, "unproven");
        }
        assert_kind(&sign_in(&app, &codes.code()).await, 429, "rate-limited");
    }

    /// OT-04, all at once.
    async fn ot_04_many_guesses_at_once_are_not_more(app: TestApp) {
        let (_, codes) = with_codes(&app).await;
        let browser = half_way(&app).await;
        let wrong = codes.wrong();
        let all = futures::future::join_all((0..20).map(|_| browser.give_code("sign-in/code", &wrong))).await;
        assert_eq!(all.iter().filter(|r| r.status == 403).count(), 5);
        assert_eq!(all.iter().filter(|r| r.status == 429).count(), 15);
    }

    /// OT-05
    async fn ot_05_an_app_counts_when_it_is_confirmed(app: TestApp) {
        let person = app.person("person").await;
        let first: NewCodes = person.post("/api/v1/account/codes", &json!({})).await.assert_status(201).json();
        assert_eq!(factors(&person).await.codes_since, None);
        let step_up: StepUp = person.get("/api/v1/session/step-up").await.json();
        assert_eq!(step_up.methods, [AuthMethod::Password]);
        // It is not asked for, and good for nothing.
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(200);
        let unconfirmed = CodesApp::of(&app, &first.secret);
        assert_kind(&person.give_code("session/step-up/code", &unconfirmed.code()).await, 403, "unproven");
        let refused = person.give_code("account/codes/confirm", &unconfirmed.wrong()).await.assert_status(422);
        assert_eq!(refused.problem().errors[0].field, "code");
        // Begun anew, the secret before is dead.
        let second: NewCodes = person.post("/api/v1/account/codes", &json!({})).await.assert_status(201).json();
        assert_ne!(first.secret, second.secret);
        person.give_code("account/codes/confirm", &unconfirmed.code()).await.assert_status(422);
        let codes = CodesApp::of(&app, &second.secret);
        person.give_code("account/codes/confirm", &codes.code()).await.assert_status(204);
        assert_eq!(factors(&person).await.codes_since, Some(app.clock.now()));
        assert_eq!(app.audited("codes.add", AuditOutcome::Success).await, 1);
        // From here on nobody sees the secret again, nor puts another one in its place.
        assert_kind(&person.post("/api/v1/account/codes", &json!({})).await, 409, "conflict");
        codes.wait();
        assert_kind(&person.give_code("account/codes/confirm", &codes.code()).await, 409, "conflict");
        sign_in(&app, &codes.code()).await.assert_status(200);
    }

    /// OT-05: a repeated request does not show it again either.
    async fn ot_05_the_secret_and_recovery_codes_are_not_kept_for_repetition(app: TestApp) {
        let person = app.person("person").await;
        let post = |path: &str| {
            let request = person.request(http::Method::POST, path).json(&json!({}));
            person.send(request.header("idempotency-key", path))
        };
        post("/api/v1/account/codes").await.assert_status(201);
        post("/api/v1/account/codes").await.assert_status(409);
        person.add_codes().await;
        post("/api/v1/account/recovery-codes").await.assert_status(201);
        post("/api/v1/account/recovery-codes").await.assert_status(409);
    }

    /// OT-06
    async fn ot_06_the_secret_has_160_bits_and_is_sealed(app: TestApp) {
        let (_, codes) = with_codes(&app).await;
        assert_eq!(codes.secret().len(), 20);
        let row = query("SELECT secret FROM one_time_codes").one(&app.db).await.unwrap();
        let stored: Vec<u8> = row.get("secret").unwrap();
        assert!(!stored.windows(6).any(|part| codes.secret().windows(6).any(|s| s == part)));
        // And only for what it is: another key file opens nothing.
        assert_eq!(app.seal.open("one-time code secret", &stored).unwrap(), codes.secret());
        assert!(app.seal.open("something else", &stored).is_err());
    }

    async fn an_app_reads_the_secret_from_the_qr_code(app: TestApp) {
        let person = app.person("person").await;
        let new: NewCodes = person.post("/api/v1/account/codes", &json!({})).await.assert_status(201).json();
        assert!(new.uri.starts_with("otpauth://totp/"), "{}", new.uri);
        assert!(new.uri.contains(&format!("secret={}", new.secret)) && new.uri.contains("ci.example.com"));
        assert!(new.qr.len() >= 21 && new.qr.iter().all(|row| row.len() == new.qr.len()));
    }

    /// OT-07
    async fn ot_07_recovery_codes_are_ten_good_once_and_told(app: TestApp) {
        let (person, _) = with_codes(&app).await;
        let made = person.make_recovery_codes().await;
        assert_eq!(made.len(), 10);
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), 10);
        assert_eq!(factors(&person).await.recovery_codes, 10);
        // 24 letters of 5 bits; what is stored is none of them.
        assert!(made.iter().all(|code| code.replace('-', "").len() == 24));
        for row in query("SELECT code_hash FROM recovery_codes").all(&app.db).await.unwrap() {
            assert_eq!(row.get::<Vec<u8>>("code_hash").unwrap().len(), 32);
        }
        let browser = half_way(&app).await;
        assert_eq!(browser.way().await.methods, [AuthMethod::OneTimeCode, AuthMethod::RecoveryCode]);
        let typed = made[3].to_lowercase().replace('-', " ");
        browser.give_code("sign-in/recovery-code", &typed).await.assert_status(200);
        let viewer = browser.viewer().await;
        assert_eq!(viewer.methods, [AuthMethod::Password, AuthMethod::RecoveryCode]);
        assert_eq!(viewer.assurance, Assurance::Multi);
        assert_eq!(factors(&person).await.recovery_codes, 9);
        assert_eq!(app.audited("recovery.use", AuditOutcome::Success).await, 1);
        // Once, and for nothing else.
        let refused = half_way(&app).await.give_code("sign-in/recovery-code", &made[3]).await;
        assert_kind(&refused, 403, "unproven");
        assert_kind(&person.give_code("session/step-up/recovery-code", &made[3]).await, 403, "unproven");
        assert_eq!(app.audited("recovery.use", AuditOutcome::Refused).await, 2);
        // New ones kill those before.
        let new = person.make_recovery_codes().await;
        assert_kind(&person.give_code("session/step-up/recovery-code", &made[4]).await, 403, "unproven");
        person.give_code("session/step-up/recovery-code", &new[0]).await.assert_status(204);
        assert_eq!(app.audited("recovery.make", AuditOutcome::Success).await, 2);
    }

    /// OT-07
    async fn ot_07_of_many_with_the_same_recovery_code_one_gets_in(app: TestApp) {
        let (person, _) = with_codes(&app).await;
        let made = person.make_recovery_codes().await;
        let other = app.second_process(&[]).await;
        for code in &made[..2] {
            let mut browsers = Vec::new();
            for app in [&app, &other, &app, &other] {
                browsers.push(half_way(app).await);
            }
            let all =
                futures::future::join_all(browsers.iter().map(|b| b.give_code("sign-in/recovery-code", code)));
            let all = all.await;
            assert_eq!(all.iter().filter(|r| r.status == 200).count(), 1, "{all:?}");
            app.advance(TimeDelta::minutes(5));
        }
        assert_eq!(factors(&person).await.recovery_codes, 8);
    }

    /// OT-07
    async fn ot_07_recovery_codes_are_somebodys_own_and_limited(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let made = person.make_recovery_codes().await;
        let other = app.person("other").await;
        // Nothing to lose, nothing to recover.
        assert_kind(&other.post("/api/v1/account/recovery-codes", &json!({})).await, 409, "conflict");
        other.add_codes().await;
        other.make_recovery_codes().await;
        for _ in 0..5 {
            assert_kind(&other.give_code("session/step-up/recovery-code", &made[0]).await, 403, "unproven");
        }
        assert_kind(&other.give_code("session/step-up/recovery-code", &made[0]).await, 429, "rate-limited");
        person.give_code("session/step-up/recovery-code", &made[0]).await.assert_status(204);
        // They end with what they are for.
        person.delete("/api/v1/account/codes").await.assert_status(204);
        assert_eq!(factors(&person).await.recovery_codes, 0);
        assert_eq!(app.audited("codes.remove", AuditOutcome::Success).await, 1);
        app.browser().sign_in(MAIL, PASSWORD).await.assert_status(200);
        drop(codes);
    }

    /// OT-08
    async fn ot_08_nothing_goes_around_the_second_factor(app: TestApp) {
        app.set_up().await;
        let (person, codes) = with_codes(&app).await;
        person.create_org("acme").await;
        // The API's one-step sign-in, and the form's.
        let browser = app.browser();
        assert_kind(&browser.sign_in(MAIL, PASSWORD).await, 403, "second-factor");
        browser.get("/api/v1/session").await.assert_status(401);
        let form = app.browser();
        let fields = [("email", MAIL), ("password", PASSWORD), ("return_to", "/acme")];
        let asked = form.form("/sign-in", &fields).await.assert_status(303);
        assert_eq!(asked.header("location"), Some("/sign-in"));
        // The half way gives access to nothing (SE-12: there is no session).
        let sessions = app.count("SELECT COUNT(*) AS n FROM sessions").await;
        for browser in [&browser, &form] {
            for path in ["/api/v1/session", "/api/v1/orgs/acme", "/api/v1/account/factors", "/api/v1/orgs"] {
                browser.get(path).await.assert_status(401);
            }
            browser.post("/api/v1/account/codes", &json!({})).await.assert_status(401);
            browser.delete("/api/v1/account/codes").await.assert_status(401);
            // Nor does its key as a session, or as a token.
            let key = browser.cookie("__Host-way").unwrap();
            let thief = app.browser();
            thief.set_cookie("__Host-sid", &key);
            thief.get("/api/v1/session").await.assert_status(401);
            app.get("/api/v1/session").bearer(&key).send().await.assert_status(401);
        }
        // The password a second time is no second factor.
        let again: SignInState =
            form.give_password("sign-in/password", PASSWORD).await.assert_status(200).json();
        assert_eq!(again.step, SignInStep::SecondFactor);
        assert_eq!(app.count("SELECT COUNT(*) AS n FROM sessions").await, sessions);
        // Steps in the wrong order: a code where there is no first proof.
        let code = codes.code();
        let skipping = app.browser();
        assert_kind(&skipping.give_code("sign-in/code", &code).await, 403, "unproven");
        skipping.identify(MAIL).await.assert_status(200);
        assert_kind(&skipping.give_code("sign-in/code", &code).await, 403, "unproven");
        assert_kind(&skipping.give_code("sign-in/recovery-code", "x").await, 403, "unproven");
        // A first proof of another person in between.
        let mallory = app.person("mallory").await;
        mallory.add_codes().await;
        let mixed = half_way(&app).await;
        mixed.identify("mallory@example.com").await.assert_status(200);
        assert_kind(&mixed.give_code("sign-in/code", &code).await, 403, "unproven");
        let state = mixed.way().await;
        assert_eq!(state.step, SignInStep::Prove);
        // The code was not used up by all this.
        form.form("/sign-in/code", &[("code", &code)]).await.assert_status(303);
        form.viewer().await;
    }

    /// OT-08: a token is a proof that was given before; its owner's second
    /// factor is what made it, and it makes no other one.
    async fn ot_08_a_token_makes_no_sessions_tokens_or_factors(app: TestApp) {
        let (person, _) = with_codes(&app).await;
        let token = person.token(&[Scope::Admin]).await.secret;
        for path in ["account/codes", "account/passkeys/begin", "account/tokens", "session/step-up/password"] {
            let body = json!({"name": "t", "scopes": ["read"], "expires_in_days": 1, "password": PASSWORD});
            let refused = app.post(&format!("/api/v1/{path}")).bearer(&token).json(&body).send().await;
            assert_eq!(refused.status, 403, "{path}: {}", refused.text());
            assert!(!refused.headers.contains_key("set-cookie"));
        }
    }

    /// OT-08: what was proved before the password changed counts no more.
    async fn ot_08_a_new_password_ends_sign_ins_that_are_under_way(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let thief = half_way(&app).await;
        person.give_code("session/step-up/code", &codes.code()).await.assert_status(204);
        let change = json!({"current": PASSWORD, "new": "another long password"});
        person.post("/api/v1/account/password", &change).await.assert_status(204);
        codes.wait();
        assert_kind(&thief.give_code("sign-in/code", &codes.code()).await, 403, "unproven");
        assert_eq!(thief.way().await.step, SignInStep::Identify);
        person.give_code("session/step-up/code", &codes.code()).await.assert_status(204);
    }

    /// OT-09
    async fn ot_09_codes_are_taken_as_people_type_them(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let full_width: fn(&str) -> String = |code| {
            code.chars().map(|c| char::from_u32(c as u32 - '0' as u32 + 0xff10).unwrap()).collect()
        };
        let typed: [fn(&str) -> String; 4] = [
            |code| format!(" {} {} ", &code[..3], &code[3..]),
            |code| format!("{}-{}", &code[..3], &code[3..]),
            full_width,
            |code| format!("\u{a0}{code}\n"),
        ];
        for typed in typed {
            codes.wait();
            person.give_code("session/step-up/code", &typed(&codes.code())).await.assert_status(204);
        }
        // Zeros at the beginning belong to it.
        let leading = loop {
            codes.wait();
            let code = codes.code();
            if code.starts_with('0') {
                break code;
            }
        };
        app.browser().get("/healthz").await;
        let browser = half_way(&app).await;
        let shorter = leading.trim_start_matches('0');
        assert_kind(&browser.give_code("sign-in/code", shorter).await, 403, "unproven");
        browser.give_code("sign-in/code", &leading).await.assert_status(200);
    }

    async fn a_wrong_code_looks_alike_wherever_it_is_given(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let browser = half_way(&app).await;
        let mut seen = Vec::new();
        for wrong in [codes.wrong(), "nonsense".to_owned(), String::new(), codes.code_at(5)] {
            app.advance(TimeDelta::minutes(2));
            let at_sign_in = browser.give_code("sign-in/code", &wrong).await.assert_status(403);
            let at_step_up = person.give_code("session/step-up/code", &wrong).await.assert_status(403);
            seen.extend([(at_sign_in.body, at_sign_in.headers), (at_step_up.body, at_step_up.headers)]);
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    }

    async fn a_form_takes_codes_without_scripts(app: TestApp) {
        let (person, codes) = with_codes(&app).await;
        let recovery = person.make_recovery_codes().await;
        for (path, code) in [("/sign-in/code", codes.code()), ("/sign-in/recovery-code", recovery[0].clone())] {
            let browser = app.browser();
            let fields = [("email", MAIL), ("password", PASSWORD), ("return_to", "/acme/web")];
            browser.form("/sign-in", &fields).await.assert_status(303);
            let refused = browser.form(path, &[("code", "000-000")]).await.assert_status(303);
            assert_eq!(refused.header("location"), Some("/sign-in?problem=unproven"));
            let done = browser.form(path, &[("code", &code)]).await.assert_status(303);
            assert_eq!(done.header("location"), Some("/acme/web"));
            browser.viewer().await;
            assert_eq!(browser.cookie("__Host-way"), None);
        }
        // With nothing under way there is nothing to add a code to.
        let lost = app.browser().form("/sign-in/code", &[("code", &codes.code())]).await.assert_status(303);
        assert_eq!(lost.header("location"), Some("/sign-in?problem=over"));
    }
}
