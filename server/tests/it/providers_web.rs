//! The same as a browser goes: forms, pages, cookies, and who somebody is here.

use chrono::TimeDelta;
use devenv_cloud::db::query;
use devenv_cloud_api::{
    accounts::AuthMethod,
    page::Page,
    sign_in::{LinkedAccount, SignInState, SignInStep},
};
use http::Method;
use serde_json::{Map, Value, json};

use crate::support::{
    Browser, PASSWORD, Response, TestApp,
    provider::{self, Brought, CLIENT_ID, Provider, parameters},
};

async fn scene(app: &TestApp, more: &[(&str, &str)]) -> (TestApp, Provider) {
    let provider = Provider::start(&app.clock).await;
    let app = provider::with_providers(app, &[("corp", "oidc", &provider, more)]).await;
    (app, provider)
}

#[track_caller]
fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("{value}") };
    map
}

/// The address to which a page sends the browser.
#[track_caller]
fn onward(page: &Response) -> String {
    let text = page.text();
    let (_, rest) = text.split_once("content=\"0; url=").unwrap_or_else(|| panic!("{text}"));
    rest.split_once('"').expect("an end").0.replace("&amp;", "&")
}

async fn set_out(browser: &Browser, fields: &[(&str, &str)]) -> String {
    let page = browser.form("/sign-in/provider/corp", fields).await.assert_status(200);
    onward(&page)
}

fn answer(brought: &Brought) -> String {
    let iss = brought.iss.clone().expect("an issuer");
    let fields = [("state", &brought.state), ("code", &brought.code), ("iss", &iss)];
    serde_urlencoded::to_string(fields).expect("a query")
}

async fn come_back(browser: &Browser, brought: &Brought) -> Response {
    browser.get(&format!("/sign-in/provider/corp/callback?{}", answer(brought))).await
}

/// There and back.
async fn by_provider(browser: &Browser, provider: &Provider, fields: &[(&str, &str)]) -> Response {
    let address = set_out(browser, fields).await;
    come_back(browser, &provider.authorize(&address)).await
}

#[track_caller]
fn leads_to(response: Response, path: &str) {
    let response = response.assert_status(303);
    assert_eq!(response.header("location"), Some(path));
}

/// Links the account at the provider with whoever is signed in.
async fn link(browser: &Browser, provider: &Provider) {
    leads_to(by_provider(browser, provider, &[("link", "yes")]).await, "/account/security");
}

async fn links(browser: &Browser) -> Vec<LinkedAccount> {
    browser.get("/api/v1/account/links").await.assert_status(200).json::<Page<LinkedAccount>>().items
}

async fn count_links(app: &TestApp) -> i64 {
    query("SELECT COUNT(*) AS n FROM linked_accounts").one(&app.db).await.unwrap().get("n").unwrap()
}

/// Gives somebody an address that the provider's person has, too.
async fn with_address(app: &TestApp, name: &str, email: &str) {
    query("UPDATE users SET email = $2, email_key = $2 WHERE name = $1")
        .bind(name)
        .bind(email)
        .execute(&app.db)
        .await
        .unwrap();
}

both_engines! {
    async fn a_linked_account_signs_in(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let person = app.person("person").await;
        link(&person, &provider).await;
        let browser = app.browser();
        let state: SignInState = browser.get("/api/v1/sign-in").await.json();
        assert_eq!(state.providers.iter().map(|p| (p.name.as_str(), p.label.as_str())).collect::<Vec<_>>(), [("corp", "corp")]);
        leads_to(by_provider(&browser, &provider, &[("return_to", "/acme/web?tab=log")]).await, "/acme/web?tab=log");
        let viewer = browser.viewer().await;
        assert_eq!(viewer.user.name, "person");
        assert_eq!(viewer.methods, [AuthMethod::Federated]);
        let [linked] = &links(&person).await[..] else { panic!("one link") };
        assert_eq!((linked.label.as_str(), linked.provider_label.as_str()), ("ada", "corp"));
        assert!(linked.last_used_at.is_some());
    }

    async fn the_page_between_is_no_redirect_and_binds_the_browser(app: TestApp) {
        let (app, _provider) = scene(&app, &[]).await;
        let browser = app.browser();
        let page = browser.form("/sign-in/provider/corp", &[]).await.assert_status(200);
        let cookie = page.header("set-cookie").unwrap().to_owned();
        for part in ["__Host-provider=", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("script"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        // Several tabs of a browser share it.
        let again = browser.form("/sign-in/provider/corp", &[]).await.assert_status(200);
        assert_eq!(cookie.split(';').next(), again.header("set-cookie").unwrap().split(';').next());
        browser.form("/sign-in/provider/none", &[]).await.assert_status(400);
        let cross = browser.request(Method::POST, "/sign-in/provider/corp").header("sec-fetch-site", "cross-site");
        assert_eq!(cross.form(&[]).status().await, 403);
    }

    async fn rp_01_and_rp_19_another_browsers_answer_is_refused_before_anybody_is_asked(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let attacker = app.person("attacker").await;
        link(&attacker, &provider).await;
        let asked = provider.asked("POST /token");
        // The attacker begins, and has the victim's browser finish.
        let brought = provider.authorize(&set_out(&attacker, &[]).await);
        for victim in [app.browser(), {
            // One that has begun a sign-in of its own.
            let victim = app.browser();
            set_out(&victim, &[]).await;
            victim
        }] {
            let page = come_back(&victim, &brought).await.assert_status(400);
            assert!(page.text().contains("begun in another browser"), "{}", page.text());
            victim.get("/api/v1/session").await.assert_status(401);
        }
        app.browser().get("/sign-in/provider/corp/callback").await.assert_status(400);
        assert_eq!(provider.asked("POST /token"), asked);
        leads_to(come_back(&attacker, &brought).await, "/");
    }

    async fn rp_17_a_providers_words_are_shown_as_words(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let browser = app.browser();
        let state = parameters(&set_out(&browser, &[]).await)["state"].clone();
        let issuer = provider.issuer();
        let query = serde_urlencoded::to_string([
            ("state", state.as_str()),
            ("iss", issuer.as_str()),
            ("error", "access_denied"),
            ("error_description", "<script>alert('x')</script><img src=x onerror=\"y\">"),
        ]).unwrap();
        let page = browser.get(&format!("/sign-in/provider/corp/callback?{query}")).await.assert_status(400);
        let text = page.text();
        assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
        assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{text}");
        assert!(!page.header("content-security-policy").unwrap().contains("script-src"));
    }

    async fn rp_18_nobody_is_sent_elsewhere_afterwards(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        link(&app.person("person").await, &provider).await;
        for evil in ["//evil.example", "https:evil.example", "https://evil.example/", "\\\\evil.example", "/\\evil.example", "data:text/html,x", "javascript:alert(1)", "/\t/evil.example"] {
            leads_to(by_provider(&app.browser(), &provider, &[("return_to", evil)]).await, "/");
        }
    }

    async fn rp_21_and_rp_22_an_address_opens_no_account(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        app.person("victim").await;
        with_address(&app, "victim", "ada@corp.example").await;
        // Somebody elsewhere says so of themselves, and the provider does not confirm it.
        for unverified in [json!(false), json!(null), json!("true")] {
            provider.state().claims = object(json!({ "email_verified": unverified, "sub": "attacker" }));
            let browser = app.browser();
            let page = by_provider(&browser, &provider, &[]).await.assert_status(403);
            assert!(page.text().contains("nobody here is linked") || page.text().contains("Nobody here is linked"), "{}", page.text());
            browser.get("/api/v1/session").await.assert_status(401);
        }
        // The provider confirms it: that is still no sign-in.
        provider.reform();
        let browser = app.browser();
        leads_to(by_provider(&browser, &provider, &[("return_to", "/acme")]).await, "/sign-in");
        browser.get("/api/v1/session").await.assert_status(401);
        assert_eq!(count_links(&app).await, 0);
        let state: SignInState = browser.get("/api/v1/sign-in").await.json();
        assert_eq!(state.step, SignInStep::Prove);
        assert_eq!(state.links.as_deref(), Some("corp (ada)"));
        // Whoever has the password here, too, links the two, and goes where they wanted to.
        browser.form("/sign-in/password", &[("password", "wrong")]).await.assert_status(303);
        assert_eq!(count_links(&app).await, 0);
        leads_to(browser.form("/sign-in/password", &[("password", PASSWORD)]).await, "/acme");
        assert_eq!(browser.viewer().await.user.name, "victim");
        assert_eq!(count_links(&app).await, 1);
        // From now on it signs in, whatever becomes of the address there.
        provider.state().claims = object(json!({ "email": "other@corp.example" }));
        let next = app.browser();
        leads_to(by_provider(&next, &provider, &[]).await, "/");
        assert_eq!(next.viewer().await.user.name, "victim");
    }

    async fn rp_23_addresses_that_look_alike_are_not_alike(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        app.person("victim").await;
        with_address(&app, "victim", "ada@corp.example").await;
        for (email, same) in [
            ("ADA@Corp.Example", true),
            ("ada+ci@corp.example", false),
            ("a.da@corp.example", false),
            ("ada@corp.example.", false),
            ("\u{430}d\u{430}@corp.example", false),
            ("ada@c\u{43e}rp.example", false),
            ("ada@xn--crp-jjc.example", false),
            ("ada\u{ff20}corp.example", false),
        ] {
            provider.state().claims = object(json!({ "email": email, "sub": email }));
            let response = by_provider(&app.browser(), &provider, &[]).await;
            assert_eq!(response.status.as_u16(), if same { 303 } else { 403 }, "{email}");
        }
        assert_eq!(count_links(&app).await, 0);
    }

    async fn rp_24_an_account_that_was_made_beforehand_is_not_merged(app: TestApp) {
        let (app, provider) = scene(&app, &[("CREATE_ACCOUNTS", "true")]).await;
        // An attacker has an account under the victim's address, with a password of theirs.
        let attacker = app.person("attacker").await;
        with_address(&app, "attacker", "ada@corp.example").await;
        let victim = app.browser();
        leads_to(by_provider(&victim, &provider, &[]).await, "/sign-in");
        victim.get("/api/v1/session").await.assert_status(401);
        assert_eq!(count_links(&app).await, 0, "the attacker's account gets nothing of the victim's");
        assert!(links(&attacker).await.is_empty());
        // Neither does an attacker's sign-in elsewhere link what waits in the victim's browser.
        attacker.sign_in("ada@corp.example", PASSWORD).await.assert_status(200);
        assert_eq!(count_links(&app).await, 0);
    }

    async fn accounts_are_made_only_where_the_administrator_says_so(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        by_provider(&app.browser(), &provider, &[]).await.assert_status(403);
        let (app, provider) = scene(&app, &[("CREATE_ACCOUNTS", "true"), ("LABEL", "Corp <ID>")]).await;
        let browser = app.browser();
        leads_to(by_provider(&browser, &provider, &[]).await, "/");
        let viewer = browser.viewer().await;
        assert_eq!((viewer.user.name.as_str(), viewer.user.email.as_str()), ("Ada Lovelace", "ada@corp.example"));
        assert!(!viewer.user.instance_admin && viewer.orgs.is_empty());
        assert_eq!(links(&browser).await[0].provider_label, "Corp <ID>");
        // The second time it is the same account.
        let again = app.browser();
        leads_to(by_provider(&again, &provider, &[]).await, "/");
        assert_eq!(again.user_id().await, browser.user_id().await);
        // Without a verified address there is no account.
        provider.state().claims = object(json!({ "sub": "another", "email": "b@corp.example", "email_verified": false }));
        by_provider(&app.browser(), &provider, &[]).await.assert_status(403);
    }

    async fn a_disabled_account_is_not_made_again_by_a_provider(app: TestApp) {
        let (app, provider) = scene(&app, &[("CREATE_ACCOUNTS", "true")]).await;
        let admin = app.set_up().await;
        let person = app.person("person").await;
        with_address(&app, "person", "ada@corp.example").await;
        let path = format!("/api/v1/instance/users/{}/disable", person.user_id().await);
        admin.post(&path, &json!({})).await.assert_status(204);
        let page = by_provider(&app.browser(), &provider, &[]).await.assert_status(403);
        assert!(page.text().contains("is disabled"), "{}", page.text());
        assert_eq!(count_links(&app).await, 0);
    }

    async fn a_provider_does_not_stand_for_the_second_factor(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let person = app.person("person").await;
        link(&person, &provider).await;
        query("INSERT INTO one_time_codes (user_id, secret, last_step, created_at, confirmed_at) VALUES ($1, $2, 0, $3, $3)")
            .bind(person.user_id().await)
            .bind(vec![0_u8])
            .bind(app.clock.now())
            .execute(&app.db)
            .await
            .unwrap();
        let browser = app.browser();
        leads_to(by_provider(&browser, &provider, &[("return_to", "/acme")]).await, "/sign-in");
        browser.get("/api/v1/session").await.assert_status(401);
        let state: SignInState = browser.get("/api/v1/sign-in").await.json();
        assert_eq!((state.step, state.return_to.as_deref()), (SignInStep::SecondFactor, Some("/acme")));
    }

    async fn what_was_proved_for_one_sign_in_counts_for_no_other(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        link(&app.person("person").await, &provider).await;
        app.person("other").await;
        // Half-way in as somebody, then by the provider as somebody else.
        let browser = app.browser();
        browser.form("/sign-in", &[("email", "other@example.com")]).await.assert_status(303);
        leads_to(by_provider(&browser, &provider, &[]).await, "/");
        assert_eq!(browser.viewer().await.user.name, "person");
    }

    async fn linking_takes_a_fresh_proof_and_the_session_that_asked(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let person = app.person("person").await;
        // A stranger cannot, and neither can a proof of yesterday.
        let response = app.browser().form("/sign-in/provider/corp", &[("link", "yes")]).await.assert_status(303);
        assert!(response.header("location").unwrap().starts_with("/sign-in?problem=unauthenticated"));
        // It was fresh when they set out, and is not any more when they are back.
        app.advance(TimeDelta::minutes(9));
        let brought = provider.authorize(&set_out(&person, &[("link", "yes")]).await);
        app.advance(TimeDelta::minutes(1));
        assert_ne!(come_back(&person, &brought).await.status, 303);
        let response = person.form("/sign-in/provider/corp", &[("link", "yes")]).await.assert_status(303);
        assert!(response.header("location").unwrap().starts_with("/account/security?problem=step-up"));
        assert_eq!(count_links(&app).await, 0);
        // Signed out meanwhile, or somebody else by now.
        person.sign_in("person@example.com", PASSWORD).await.assert_status(200);
        let brought = provider.authorize(&set_out(&person, &[("link", "yes")]).await);
        person.delete("/api/v1/session").await.assert_status(204);
        app.person("other").await;
        person.sign_in("other@example.com", PASSWORD).await.assert_status(200);
        come_back(&person, &brought).await.assert_status(401);
        assert_eq!(count_links(&app).await, 0);
        // As it should be; twice is once.
        link(&person, &provider).await;
        link(&person, &provider).await;
        assert_eq!(count_links(&app).await, 1);
        // What is linked with somebody is nobody else's.
        let third = app.person("third").await;
        let page = by_provider(&third, &provider, &[("link", "yes")]).await.assert_status(403);
        assert!(page.text().contains("linked with somebody else"), "{}", page.text());
    }

    async fn unlinking_leaves_a_way_in(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let person = app.person("person").await;
        link(&person, &provider).await;
        let path = format!("/api/v1/account/links/{}", links(&person).await[0].id);
        // Not somebody else's.
        app.person("other").await.delete(&path).await.assert_status(404);
        // Not on a proof of yesterday.
        app.advance(TimeDelta::minutes(10));
        assert_eq!(person.delete(&path).await.assert_status(403).problem().kind, "step-up");
        // Not the last way in.
        person.sign_in("person@example.com", PASSWORD).await.assert_status(200);
        query("UPDATE users SET password_hash = NULL WHERE name = 'person'").execute(&app.db).await.unwrap();
        person.delete(&path).await.assert_status(409);
        assert_eq!(count_links(&app).await, 1);
        query("UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE name = 'other') WHERE name = 'person'")
            .execute(&app.db).await.unwrap();
        person.delete(&path).await.assert_status(204);
        assert!(links(&person).await.is_empty());
        by_provider(&app.browser(), &provider, &[]).await.assert_status(403);
        let rows = query("SELECT action, target FROM audit WHERE action LIKE 'link.%' ORDER BY id").all(&app.db).await.unwrap();
        let log: Vec<(String, String)> = rows.iter().map(|row| (row.get("action").unwrap(), row.get("target").unwrap())).collect();
        let corp = "corp (ada)".to_owned();
        assert_eq!(log, [("link.add".to_owned(), corp.clone()), ("link.remove".to_owned(), corp)]);
    }

    async fn rp_26_a_form_from_the_providers_site_is_posted_once_more(app: TestApp) {
        let (app, provider) = scene(&app, &[("RESPONSE_MODE", "form_post")]).await;
        link_by_form(&app, &provider).await;
        let browser = app.browser();
        let address = set_out(&browser, &[("return_to", "/acme")]).await;
        assert_eq!(parameters(&address)["response_mode"], "form_post");
        let brought = provider.authorize(&address);
        let (state, code, iss) = (brought.state.as_str(), brought.code.as_str(), brought.iss.clone().unwrap());
        let fields = [("state", state), ("code", code), ("iss", &*iss), ("session_state", "\"><script>")];
        let path = "/sign-in/provider/corp/callback";
        // From the provider's site: without our cookies, which are not for other sites.
        let from_there = |fields: &[(&str, &str)]| {
            app.post(path).header("sec-fetch-site", "cross-site").header("origin", "https://id.example").form(fields)
        };
        let page = from_there(&fields).send().await.assert_status(200);
        let text = page.text();
        for (name, value) in &fields[..3] {
            assert!(text.contains(&format!("name=\"{name}\" value=\"{value}\"")), "{text}");
        }
        assert!(text.contains("name=\"again\"") && !text.contains("session_state"), "{text}");
        let nonce = text.split_once("<script nonce=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("script-src 'nonce-{nonce}'")) && policy.contains("form-action 'self'"), "{policy}");
        assert_eq!(page.header("set-cookie"), None);
        // It is posted again: but once.
        let again = [fields[0], fields[1], fields[2], ("again", "yes")];
        from_there(&again).send().await.assert_status(400);
        leads_to(browser.form(path, &again).await, "/acme");
        assert_eq!(browser.viewer().await.user.name, "person");
        // What is in the fields is no markup.
        let page = from_there(&[("state", "\"><script>alert(1)</script>")]).send().await.assert_status(200);
        assert!(!page.text().contains("<script>alert"), "{}", page.text());
    }

    async fn rp_27_a_provider_ends_what_began_with_it(app: TestApp) {
        let (app, provider) = scene(&app, &[]).await;
        let person = app.person("person").await;
        link(&person, &provider).await;
        let browser = app.browser();
        leads_to(by_provider(&browser, &provider, &[]).await, "/");
        let path = "/sign-in/provider/corp/logout";
        for (header, claims) in [(json!({ "typ": "JWT" }), json!({})), (json!({}), json!({ "nonce": "x" })), (json!({}), json!({ "sid": "other-session" }))] {
            let token = provider.logout_token(&header, &claims);
            let _ = app.post(path).form(&[("logout_token", &token)]).send().await;
            browser.get("/api/v1/session").await.assert_status(200);
        }
        let wrong = provider.logout_token(&json!({}), &json!({ "aud": "other" }));
        let answer = app.post(path).form(&[("logout_token", &wrong)]).send().await.assert_status(400);
        assert_eq!(answer.json::<Value>()["error"], "invalid_request");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let right = provider.logout_token(&json!({}), &json!({ "jti": "right", "aud": [CLIENT_ID] }));
        app.post(path).form(&[("logout_token", &right)]).send().await.assert_status(200);
        browser.get("/api/v1/session").await.assert_status(401);
        person.get("/api/v1/session").await.assert_status(200);
        app.post("/sign-in/provider/none/logout").form(&[("logout_token", &right)]).send().await.assert_status(400);
    }
}

async fn link_by_form(app: &TestApp, provider: &Provider) {
    let person = app.person("person").await;
    let brought = provider.authorize(&set_out(&person, &[("link", "yes")]).await);
    leads_to(come_back(&person, &brought).await, "/account/security");
}
