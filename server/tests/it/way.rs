//! The way in: what it tells strangers, what a sign-in that is under way is
//! good for, and how long. The ids are those of `docs/security.md`.

use chrono::TimeDelta;
use devenv_cloud::db::query;
use devenv_cloud_api::{
    Timestamp,
    accounts::Session,
    page::Page,
    permissions::Scope,
    sign_in::{SignInState, SignInStep},
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Browser, PASSWORD, Response, TestApp};

const MAIL: &str = "person@example.com";
const WAY: &str = "__Host-way";

async fn sessions(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) AS n FROM sessions").await
}

async fn under_way(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) AS n FROM once WHERE kind = 'sign-in'").await
}

/// Everything that a stranger sees of an answer, but who they said they are
/// and the cookie's value.
fn visible(response: &Response, mail: &str, key: Option<&str>) -> (u16, String, Vec<(String, String)>) {
    let hide = |text: String| {
        let text = text.replace(mail, "SOMEBODY");
        key.map_or(text.clone(), |key| text.replace(key, "KEY"))
    };
    let headers = response.headers.iter().map(|(name, value)| {
        (name.to_string(), hide(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    (response.status.as_u16(), hide(response.text()), headers.collect())
}

/// A browser in which the password was right, of somebody with a second factor.
async fn half_way(app: &TestApp) -> Browser {
    let browser = app.browser();
    browser.identify(MAIL).await.assert_status(200);
    let state: SignInState =
        browser.give_password("sign-in/password", PASSWORD).await.assert_status(200).json();
    assert_eq!(state.step, SignInStep::SecondFactor);
    browser
}

async fn signed_in_at(app: &TestApp, browser: &Browser) -> (Timestamp, Timestamp) {
    let id = browser.get("/api/v1/account/sessions").await.assert_status(200).json::<Page<Session>>();
    let id = id.items.into_iter().find(|s| s.current).unwrap().id;
    let row = query("SELECT created_at, absolute_until FROM sessions WHERE id = $1").bind(id).one(&app.db);
    let row = row.await.unwrap();
    (row.get("created_at").unwrap(), row.get("absolute_until").unwrap())
}

both_engines! {
    /// ASVS 6.3.8: whoever only knows an address sees the same whatever is behind it.
    async fn every_address_gets_the_same_answers(app: TestApp) {
        app.person("password").await;
        app.person("passkeys").await.add_passkey("laptop").await;
        let both = app.person("withboth").await;
        both.add_codes().await;
        both.add_passkey("laptop").await;
        both.make_recovery_codes().await;
        app.person("hascodes").await.add_codes().await;
        app.person("disabled").await;
        app.disable("disabled").await;
        let mut seen: Vec<Vec<_>> = Vec::new();
        for name in ["nobodyat", "password", "passkeys", "hascodes", "withboth", "disabled"] {
            let mail = format!("{name}@example.com");
            let mut answers = Vec::new();
            let browser = app.browser();
            let see = |response: &Response| visible(response, &mail, browser.cookie(WAY).as_deref());
            answers.push(see(&browser.identify(&mail).await.assert_status(200)));
            answers.push(see(&browser.get("/api/v1/sign-in").await.assert_status(200)));
            // The passkeys that are asked for are anybody's.
            let mut begun: Value = serde_json::to_value(browser.begin_sign_in().await).unwrap();
            begun["ceremony"] = Value::Null;
            begun["options"]["publicKey"]["challenge"] = Value::Null;
            answers.push((200, begun.to_string(), Vec::new()));
            answers.push(see(&browser.give_password("sign-in/password", "wrong").await.assert_status(403)));
            // What comes after a first proof that was not given.
            answers.push(see(&browser.give_code("sign-in/code", "123456").await.assert_status(403)));
            answers.push(see(&browser.give_code("sign-in/recovery-code", "x").await.assert_status(403)));
            // The same by the form.
            let form = app.browser();
            let response = form.form("/sign-in", &[("email", &mail)]).await.assert_status(303);
            answers.push(visible(&response, &mail, form.cookie(WAY).as_deref()));
            let page = form.get("/api/v1/sign-in").await.assert_status(200);
            answers.push(visible(&page, &mail, form.cookie(WAY).as_deref()));
            let wrong = form.form("/sign-in/password", &[("password", "wrong")]).await.assert_status(303);
            answers.push(visible(&wrong, &mail, None));
            let at_once = app.browser().form("/sign-in", &[("email", &mail), ("password", "wrong")]).await;
            answers.push(visible(&at_once, &mail, None));
            seen.push(answers);
        }
        for other in &seen[1..] {
            assert_eq!(other, &seen[0]);
        }
    }

    async fn the_way_begins_with_who_one_is(app: TestApp) {
        app.person("person").await;
        let browser = app.browser();
        let state = browser.way().await;
        assert_eq!((state.step, state.email), (SignInStep::Identify, None));
        for wrong in ["", "nonsense", "a b@c", &format!("{}@c", "x".repeat(260))] {
            let refused = browser.identify(wrong).await.assert_status(422);
            assert_eq!(refused.problem().errors[0].field, "email");
        }
        let state: SignInState = browser.identify(" Person@Example.COM ").await.assert_status(200).json();
        assert_eq!((state.step, state.email.as_deref()), (SignInStep::Prove, Some("Person@Example.COM")));
        let done: SignInState =
            browser.give_password("sign-in/password", PASSWORD).await.assert_status(200).json();
        assert_eq!(done.step, SignInStep::Done);
        assert_eq!(browser.cookie(WAY), None);
        assert_eq!(browser.viewer().await.user.email, MAIL);
        assert_eq!(under_way(&app).await, 0);
        // Without an address there is nothing to prove.
        let refused = app.browser().give_password("sign-in/password", PASSWORD).await.assert_status(403);
        assert_eq!(refused.problem().kind, "unproven");
    }

    async fn a_sign_in_that_is_under_way_ends_after_ten_minutes(app: TestApp) {
        let codes = app.person("person").await.add_codes().await;
        let browser = app.browser();
        browser.identify(MAIL).await.assert_status(200);
        app.advance(TimeDelta::seconds(599));
        assert_eq!(browser.way().await.step, SignInStep::Prove);
        browser.give_password("sign-in/password", PASSWORD).await.assert_status(200);
        app.advance(TimeDelta::seconds(599));
        assert_eq!(browser.way().await.step, SignInStep::SecondFactor);
        let mut late = browser.copy();
        app.advance(TimeDelta::seconds(1));
        assert_eq!(browser.way().await.step, SignInStep::Identify);
        for browser in [&browser, &late] {
            let refused = browser.give_code("sign-in/code", &codes.code()).await.assert_status(403);
            assert_eq!(refused.problem().kind, "unproven");
        }
        late = app.browser();
        late.identify(MAIL).await.assert_status(200);
        app.advance(TimeDelta::minutes(10));
        late.give_password("sign-in/password", PASSWORD).await.assert_status(403);
        assert_eq!(sessions(&app).await, 1);
        // What is too old to be used is swept away.
        assert!(devenv_cloud::once::delete_expired_once(&app).await.unwrap() > 0);
        assert_eq!(under_way(&app).await, 0);
    }

    /// SE-01, SE-02
    async fn se_01_se_02_the_key_changes_with_every_proof_and_the_old_one_is_dead(app: TestApp) {
        let codes = app.person("person").await.add_codes().await;
        let browser = app.browser();
        let mut before = Vec::new();
        browser.identify("somebody@example.com").await.assert_status(200);
        before.push(browser.copy());
        browser.identify(MAIL).await.assert_status(200);
        before.push(browser.copy());
        browser.give_password("sign-in/password", PASSWORD).await.assert_status(200);
        // Whoever planted the key, or saw it, has nothing.
        for old in &before {
            assert_eq!(old.way().await.step, SignInStep::Identify);
            old.give_password("sign-in/password", PASSWORD).await.assert_status(403);
            old.give_code("sign-in/code", &codes.code()).await.assert_status(403);
        }
        let half = browser.copy();
        browser.give_code("sign-in/code", &codes.code()).await.assert_status(200);
        codes.wait();
        half.give_code("sign-in/code", &codes.code()).await.assert_status(403);
        half.get("/api/v1/session").await.assert_status(401);
        // A key that somebody else chose is none.
        let victim = app.browser();
        victim.set_cookie(WAY, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(victim.way().await.step, SignInStep::Identify);
        victim.identify(MAIL).await.assert_status(200);
        assert_ne!(victim.cookie(WAY).unwrap(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        // Beginning anew ends it.
        let old = victim.copy();
        victim.delete("/api/v1/sign-in").await.assert_status(204);
        assert_eq!(victim.cookie(WAY), None);
        assert_eq!(old.way().await.step, SignInStep::Identify);
        old.give_password("sign-in/password", PASSWORD).await.assert_status(403);
    }

    /// SE-01: two steps with one key, at the same moment: one counts.
    async fn se_01_of_two_steps_with_one_key_one_counts(app: TestApp) {
        app.person("person").await;
        let other = app.second_process(&[]).await;
        for round in 0..4 {
            let browser = app.browser();
            browser.identify(MAIL).await.assert_status(200);
            let before = sessions(&app).await;
            let (here, there) = (browser.copy(), browser.visiting(&other));
            let (one, two) = futures::join!(
                here.give_password("sign-in/password", PASSWORD),
                there.give_password("sign-in/password", PASSWORD)
            );
            let mut all = [one.status.as_u16(), two.status.as_u16()];
            all.sort_unstable();
            assert_eq!(all, [200, 403], "{round}");
            assert_eq!(sessions(&app).await, before + 1);
        }
        let person = app.browser();
        person.sign_in(MAIL, PASSWORD).await.assert_status(200);
        person.add_codes().await;
        let browser = app.browser();
        browser.identify(MAIL).await.assert_status(200);
        let (here, there) = (browser.copy(), browser.visiting(&other));
        futures::join!(
            here.give_password("sign-in/password", PASSWORD),
            there.give_password("sign-in/password", PASSWORD)
        );
        assert_eq!(under_way(&app).await, 1);
    }

    /// SE-08, for what comes before a session.
    async fn se_08_a_copy_of_the_database_continues_no_sign_in(app: TestApp) {
        app.person("person").await.add_codes().await;
        let browser = half_way(&app).await;
        let key = browser.cookie(WAY).unwrap();
        // 256 bits.
        assert_eq!(key.len(), 43);
        let row = query("SELECT key_hash, state FROM once WHERE kind = 'sign-in'").one(&app.db).await.unwrap();
        let (hash, state): (Vec<u8>, Vec<u8>) = (row.get("key_hash").unwrap(), row.get("state").unwrap());
        use sha2::Digest as _;
        assert_eq!(hash, sha2::Sha256::digest(&key).to_vec());
        assert!(!String::from_utf8_lossy(&state).contains("person"), "sealed");
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let thief = app.browser();
        for stolen in [URL_SAFE_NO_PAD.encode(&hash), hex::encode(&hash)] {
            thief.set_cookie(WAY, &stolen);
            assert_eq!(thief.way().await.step, SignInStep::Identify);
        }
    }

    /// SE-12
    async fn se_12_who_only_looks_leaves_no_trace(app: TestApp) {
        app.person("person").await.add_codes().await;
        let before = sessions(&app).await;
        let robot = app.browser();
        for path in ["/sign-in", "/api/v1/sign-in", "/", "/setup", "/api/v1/session", "/account/security"] {
            let response = robot.get(path).await;
            assert!(!response.headers.contains_key("set-cookie"), "{path}");
        }
        assert_eq!(under_way(&app).await, 0);
        half_way(&app).await;
        assert_eq!(sessions(&app).await, before);
    }

    /// SE-03
    async fn se_03_the_key_is_bound_to_this_host_and_out_of_reach_of_scripts(app: TestApp) {
        let response = app.browser().identify(MAIL).await.assert_status(200);
        let cookie = response.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-way="), "{cookie}");
        for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(cookie.split("; ").any(|p| p == part), "{part}: {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        // Not in the answer, where scripts could read it.
        let key = cookie["__Host-way=".len()..].split(';').next().unwrap().to_owned();
        assert!(!response.text().contains(&key));
        let app = app.restart(&[("DEVENV_CLOUD_SERVER_BASE_URL", "http://localhost:8080")]).await;
        let response = app.browser().identify(MAIL).await.assert_status(200);
        let cookie = response.header("set-cookie").unwrap();
        assert!(cookie.starts_with("way=") && !cookie.contains("Secure"), "{cookie}");
    }

    /// RP-18: by whichever steps, it leads to where one came from, and nowhere else.
    async fn rp_18_a_deep_link_survives_and_leads_nowhere_else(app: TestApp) {
        let person = app.person("person").await;
        let (mut key, _) = person.add_passkey("laptop").await;
        let codes = person.add_codes().await;
        for (wanted, followed) in [
            ("/acme/web/runs/42?tab=log#L1", Some("/acme/web/runs/42?tab=log#L1")),
            ("https://evil.example/", None),
            ("//evil.example/", None),
            ("/\\evil.example/", None),
            ("\\\\evil.example", None),
            ("/\t/evil.example", None),
            ("javascript:alert(1)", None),
            ("acme", None),
            ("", None),
        ] {
            let body = json!({"email": MAIL, "return_to": wanted});
            // Password and code.
            let browser = app.browser();
            let state: SignInState =
                browser.post("/api/v1/sign-in/identify", &body).await.assert_status(200).json();
            assert_eq!(state.return_to.as_deref(), followed, "{wanted}");
            browser.give_password("sign-in/password", PASSWORD).await.assert_status(200);
            codes.wait();
            let done: SignInState =
                browser.give_code("sign-in/code", &codes.code()).await.assert_status(200).json();
            assert_eq!(done.return_to.as_deref(), followed, "{wanted}");
            // A passkey.
            let browser = app.browser();
            browser.post("/api/v1/sign-in/identify", &body).await.assert_status(200);
            let done: SignInState = browser.sign_in_with(&mut key).await.assert_status(200).json();
            assert_eq!(done.return_to.as_deref(), followed, "{wanted}");
            // Forms.
            let browser = app.browser();
            browser.form("/sign-in", &[("email", MAIL), ("return_to", wanted)]).await.assert_status(303);
            browser.form("/sign-in/password", &[("password", PASSWORD)]).await.assert_status(303);
            codes.wait();
            let done = browser.form("/sign-in/code", &[("code", &codes.code())]).await.assert_status(303);
            assert_eq!(done.header("location"), Some(followed.unwrap_or("/")), "{wanted}");
        }
    }

    /// SE-09, for the steps of a sign-in: its cookie speaks for a person, too.
    async fn se_09_another_site_takes_no_step_of_a_sign_in(app: TestApp) {
        const GOOD: &str = "https://ci.example.com";
        app.person("person").await.add_codes().await;
        let steps = [
            (Method::DELETE, "/api/v1/sign-in", json!({})),
            (Method::POST, "/api/v1/sign-in/identify", json!({"email": "mallory@example.com"})),
            (Method::POST, "/api/v1/sign-in/password", json!({"password": PASSWORD})),
            (Method::POST, "/api/v1/sign-in/code", json!({"code": "123456"})),
            (Method::POST, "/api/v1/sign-in/recovery-code", json!({"code": "x"})),
            (Method::POST, "/api/v1/sign-in/passkey/begin", json!({})),
            (Method::POST, "/api/v1/sign-in/passkey", json!({"ceremony": "x", "credential": {}})),
            (Method::POST, "/api/v1/session", json!({"email": "mallory@example.com", "password": PASSWORD})),
            (Method::POST, "/sign-in", json!({})),
            (Method::POST, "/sign-in/password", json!({})),
            (Method::POST, "/sign-in/code", json!({})),
            (Method::POST, "/sign-in/recovery-code", json!({})),
            (Method::POST, "/sign-in/start-over", json!({})),
        ];
        let sites = [None, Some("same-origin"), Some("none"), Some("same-site"), Some("cross-site")];
        let origins = [None, Some(GOOD), Some("https://evil.example"), Some("null")];
        for (method, path, body) in steps {
            for site in sites {
                for origin in origins {
                    let fine = matches!((site, origin), (_, Some(GOOD)) | (Some("same-origin" | "none"), _));
                    // Not a step that would end it: what it is for here is its cookie.
                    let request = app.request(method.clone(), path).json(&body);
                    let mut request = request.header("cookie", "__Host-way=AAAA");
                    if let Some(site) = site {
                        request = request.header("sec-fetch-site", site);
                    }
                    if let Some(origin) = origin {
                        request = request.header("origin", origin);
                    }
                    let response = request.send().await;
                    let forbidden = response.status == 403 && response.problem().kind == "forbidden";
                    assert_eq!(forbidden, !fine, "{method} {path} {site:?} {origin:?}: {}", response.text());
                    assert!(fine || !response.headers.contains_key("set-cookie"));
                }
            }
            // The bucket of steps has to fill again.
            app.advance(TimeDelta::minutes(3));
        }
        // Reading a state changes nothing, wherever the question comes from.
        let browser = half_way(&app).await;
        let key = browser.cookie(WAY).unwrap();
        let request = app.get("/api/v1/sign-in").header("cookie", &format!("__Host-way={key}"));
        request.header("sec-fetch-site", "cross-site").send().await.assert_status(200);
        assert_eq!(browser.way().await.step, SignInStep::SecondFactor);
    }

    /// SE-05
    async fn se_05_signing_out_ends_the_session_and_no_sign_in_remains(app: TestApp) {
        let person = app.person("person").await;
        let (mut key, _) = person.add_passkey("laptop").await;
        let browser = app.browser();
        browser.sign_in_with(&mut key).await.assert_status(200);
        let back_button = browser.copy();
        let out = browser.form("/sign-out", &[]).await.assert_status(303);
        assert_eq!(out.header("location"), Some("/sign-in"));
        back_button.get("/api/v1/session").await.assert_status(401);
        back_button.post("/api/v1/session/step-up/passkey/begin", &json!({})).await.assert_status(401);
        assert_eq!((browser.cookie("__Host-sid"), under_way(&app).await), (None, 0));
        person.viewer().await;
    }

    /// Staying signed in is a policy of the server; the browser's wish counts
    /// where it is one.
    async fn a_session_outlives_the_browser_only_where_the_server_says_so(app: TestApp) {
        app.person("person").await;
        for (policy, may_choose, wishes) in [
            ("always", false, &[(false, true), (true, true)][..]),
            ("choice", true, &[(false, false), (true, true)]),
            ("never", false, &[(false, false), (true, false)]),
        ] {
            let app = app.second_process(&[("DEVENV_CLOUD_SESSIONS_KEEP", policy)]).await;
            for &(wish, kept) in wishes {
                let browser = app.browser();
                let body = json!({"email": MAIL, "keep": wish});
                let state: SignInState =
                    browser.post("/api/v1/sign-in/identify", &body).await.assert_status(200).json();
                assert_eq!(state.may_keep, may_choose, "{policy}");
                let done = browser.give_password("sign-in/password", PASSWORD).await.assert_status(200);
                let cookies: Vec<_> = done.headers.get_all("set-cookie").iter().collect();
                let cookies: Vec<_> = cookies.into_iter().map(|c| c.to_str().unwrap()).collect();
                let cookie = cookies.iter().find(|c| c.starts_with("__Host-sid=")).unwrap();
                let lasts = cookie.contains("Max-Age=") || cookie.contains("Expires=");
                assert_eq!(lasts, kept, "{policy} {wish}: {cookie}");
                let (from, until) = signed_in_at(&app, &browser).await;
                let life = if kept { TimeDelta::days(30) } else { TimeDelta::hours(24) };
                assert_eq!(until - from, life, "{policy} {wish}");
                // A step-up makes it neither longer nor more lasting.
                let again = browser.give_password("session/step-up/password", PASSWORD).await.assert_status(204);
                let cookie = again.header("set-cookie").unwrap();
                assert_eq!(cookie.contains("Max-Age=") || cookie.contains("Expires="), kept, "{cookie}");
                assert_eq!(signed_in_at(&app, &browser).await, (from, until));
                // The form says the same.
                let form = app.browser();
                let fields = [("email", MAIL), ("password", PASSWORD), ("keep", if wish { "on" } else { "" })];
                form.form("/sign-in", &fields).await.assert_status(303);
                let (from, until) = signed_in_at(&app, &form).await;
                assert_eq!(until - from, life, "{policy} {wish} form");
            }
        }
    }

    /// SE-06
    async fn se_06_who_is_disabled_is_out_at_once_wherever_they_were(app: TestApp) {
        let person = app.person("person").await;
        let (mut key, _) = person.add_passkey("laptop").await;
        let codes = person.add_codes().await;
        let recovery = person.make_recovery_codes().await;
        let token = person.token(&[Scope::Admin]).await.secret;
        let begun_step_up = person.begin_step_up().await;
        let begun_sign_in = app.browser().begin_sign_in().await;
        let (with_code, with_recovery, with_key) = (half_way(&app).await, half_way(&app).await, half_way(&app).await);
        let asked = with_key.begin_sign_in().await;
        let prove = app.browser();
        prove.identify(MAIL).await.assert_status(200);
        app.get("/api/v1/orgs").bearer(&token).send().await.assert_status(200);

        app.disable("person").await;
        person.get("/api/v1/session").await.assert_status(401);
        app.get("/api/v1/orgs").bearer(&token).send().await.assert_status(401);
        let answer = key.answer(&begun_step_up.options);
        person.finish_step_up(&begun_step_up.ceremony, &answer).await.assert_status(401);
        for refused in [
            with_code.give_code("sign-in/code", &codes.code()).await,
            with_recovery.give_code("sign-in/recovery-code", &recovery[0]).await,
            with_key.finish_sign_in(&asked.ceremony, &key.answer(&asked.options)).await,
            app.browser().finish_sign_in(&begun_sign_in.ceremony, &key.answer(&begun_sign_in.options)).await,
            prove.give_password("sign-in/password", PASSWORD).await,
            app.browser().sign_in(MAIL, PASSWORD).await,
            app.browser().sign_in_with(&mut key).await,
        ] {
            assert_eq!(refused.status, 403, "{}", refused.text());
        }
        // In the same words as to those who are nobody.
        let refused = app.browser().sign_in(MAIL, PASSWORD).await;
        assert_eq!(refused.problem().kind, "wrong-credentials");
    }
}
