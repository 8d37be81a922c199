//! Tokens that we sign, and programs that sign in with an account of ours. The
//! names in comments are those of the OpenID Foundation's conformance modules.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud::issuer::{self, ID_TOKEN_LIFE, Rejected};
use devenv_cloud_api::{
    accounts::{Token, Viewer},
    issuer::{Authorization, DeviceLogin, Redirection, SigningKey},
    page::Page,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Browser, PASSWORD, Response, TestApp};

const CLI: &str = "devenv-cloud-cli";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const LOOPBACK: &str = "http://127.0.0.1:4711/callback";
const GRAFANA: &str = "https://grafana.example.com/login?org=1";
const SECRET: &str = "a secret: of 100% chance+more";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// With clients in its configuration.
async fn with_clients(app: &TestApp) -> TestApp {
    let hash = hex(&Sha256::digest(SECRET));
    let clients = format!(
        "grafana sha256:{hash} {GRAFANA}; other sha256:{hash} https://other.example.com/cb; robot sha256:{hash} api \
         https://robot.example.com/cb; editor public http://127.0.0.1/cb"
    );
    app.restart(&[("DEVENV_CLOUD_ISSUER_CLIENTS", &clients)]).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// A request that is fine, with some parameters changed; `None` leaves one out.
fn ask(client: &str, redirect: &str, changes: &[(&str, Option<&str>)]) -> String {
    let challenge = challenge();
    let mut all = vec![
        ("client_id", client),
        ("redirect_uri", redirect),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "the state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        all.retain(|(known, _)| known != name);
        all.extend(value.map(|value| (*name, value)));
    }
    format!("/oauth/authorize?{}", serde_urlencoded::to_string(all).unwrap())
}

/// Where an answer leads.
#[track_caller]
fn leads(response: &Response) -> String {
    assert_eq!(response.status, 303, "{}", response.text());
    response.header("location").unwrap().to_owned()
}

/// A parameter of an address.
fn parameter(address: &str, name: &str) -> Option<String> {
    let query = address.split_once('?')?.1;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap();
    pairs.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// What is wrong, as the application hears it.
#[track_caller]
fn error(response: &Response) -> String {
    let to = leads(response);
    parameter(&to, "error").unwrap_or_else(|| panic!("no error: {to}"))
}

/// The key of the request that waits for the person's word.
#[track_caller]
fn waiting(response: &Response) -> String {
    let to = leads(response);
    assert!(to.starts_with("/oauth/consent?"), "{to}");
    parameter(&to, "request").unwrap_or_else(|| panic!("no request: {to}"))
}

async fn say(browser: &Browser, request: &str, allow: bool) -> Response {
    browser.post("/api/v1/authorization", &json!({"request": request, "allow": allow})).await
}

/// Goes the whole way to a code.
async fn code(browser: &Browser, address: &str) -> String {
    let request = waiting(&browser.get(address).await);
    let to = say(browser, &request, true).await.assert_status(200).json::<Redirection>().redirect_to;
    parameter(&to, "code").unwrap_or_else(|| panic!("no code: {to}"))
}

async fn token(app: &TestApp, fields: &[(&str, &str)]) -> Response {
    app.post("/oauth/token").form(fields).send().await
}

fn basic(client: &str, secret: &str) -> String {
    use base64::engine::general_purpose::STANDARD;
    let encode = |text: &str| serde_urlencoded::to_string([("", text)]).unwrap()[1..].to_owned();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client), encode(secret))))
}

async fn redeem(app: &TestApp, client: &str, redirect: &str, code: &str, verifier: &str) -> Response {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect),
        ("code_verifier", verifier),
    ];
    if client == CLI || client == "editor" {
        return token(app, &[fields.as_slice(), &[("client_id", client)]].concat()).await;
    }
    app.post("/oauth/token").header("authorization", &basic(client, SECRET)).form(&fields).send().await
}

#[track_caller]
fn refused(response: Response, status: u16, word: &str) -> Value {
    let response = response.assert_status(status);
    let answer: Value = response.json();
    assert_eq!(answer["error"], word, "{answer}");
    answer
}

async fn begin(app: &TestApp, client: &str, scope: &str) -> Value {
    let fields = [("client_id", client), ("scope", scope)];
    app.post("/oauth/device")
        .header("user-agent", "devenv-cloud/0.1")
        .form(&fields)
        .send()
        .await
        .assert_status(200)
        .json()
}

async fn poll(app: &TestApp, client: &str, device_code: &Value) -> Response {
    let code = device_code.as_str().unwrap();
    token(app, &[("grant_type", DEVICE_GRANT), ("client_id", client), ("device_code", code)]).await
}

async fn decide(browser: &Browser, user_code: &Value, allow: bool) -> Response {
    browser.post("/api/v1/device-login", &json!({"user_code": user_code, "allow": allow})).await
}

async fn actions(app: &TestApp) -> Vec<String> {
    devenv_cloud::db::query("SELECT action, outcome FROM audit ORDER BY id")
        .all(&app.db)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            format!("{} {}", row.get::<String>("action").unwrap(), row.get::<String>("outcome").unwrap())
        })
        .collect()
}

both_engines! {
    /// discovery-endpoint-verification
    async fn discovery_says_what_there_is_and_no_more(app: TestApp) {
        let oidc: Value = app.get("/.well-known/openid-configuration").send().await.assert_status(200).json();
        let oauth: Value =
            app.get("/.well-known/oauth-authorization-server").send().await.assert_status(200).json();
        assert_eq!(oidc, oauth);
        assert_eq!(oidc["issuer"], "https://ci.example.com");
        assert_eq!(oidc["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(oidc["response_types_supported"], json!(["code"]));
        // Every endpoint is there, and asks for no cookie.
        for (name, method) in [
            ("token_endpoint", "POST"),
            ("revocation_endpoint", "POST"),
            ("device_authorization_endpoint", "POST"),
            ("userinfo_endpoint", "GET"),
            ("jwks_uri", "GET"),
        ] {
            let path = oidc[name].as_str().unwrap().strip_prefix("https://ci.example.com").unwrap();
            let response = app.request(method.parse().unwrap(), path).form(&[]).send().await;
            assert!(matches!(response.status.as_u16(), 200 | 400 | 401), "{name}: {}", response.text());
            assert_eq!(response.header("set-cookie"), None, "{name}");
            assert_eq!(response.header("access-control-allow-origin"), None, "{name}");
        }
    }

    /// server-rotate-keys: who keeps our keys for a day never meets an unknown one.
    async fn a_key_is_published_before_it_signs_and_as_long_as_what_it_signed_counts(app: TestApp) {
        app.set_up().await;
        let first = issuer::signing_keys(&app).await.unwrap();
        assert_eq!((first.len(), first[0].signs), (1, true));
        issuer::rotate_once(&app).await.unwrap();
        assert_eq!(issuer::signing_keys(&app).await.unwrap(), first, "nothing to do yet");
        // The last time that housekeeping may come, and still be in time.
        app.advance(issuer::SIGNS - issuer::AHEAD);
        issuer::rotate_once(&app).await.unwrap();
        let both = issuer::signing_keys(&app).await.unwrap();
        assert_eq!(both.iter().map(|key| key.signs).collect::<Vec<_>>(), [true, false]);
        assert_eq!(both[1].signs_from, both[0].signs_until);
        assert!(both[1].signs_from - both[1].created_at >= issuer::AHEAD);
        app.advance(issuer::AHEAD);
        let both = issuer::signing_keys(&app).await.unwrap();
        assert_eq!(both.iter().map(|key| key.signs).collect::<Vec<_>>(), [false, true]);
        assert!(issuer::BEHIND > ID_TOKEN_LIFE);
        let published: Value = app.get("/.well-known/jwks.json").send().await.assert_status(200).json();
        let names: Vec<_> = published["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
        assert_eq!(names, [json!(both[0].key_id), json!(both[1].key_id)]);
        app.advance(issuer::BEHIND);
        assert_eq!(issuer::signing_keys(&app).await.unwrap().len(), 1);
        // Only public parts are shown, and the secret one is sealed.
        for key in published["keys"].as_array().unwrap() {
            assert_eq!(key["d"], Value::Null);
            assert_eq!((&key["alg"], &key["use"], &key["crv"]), (&json!("ES256"), &json!("sig"), &json!("P-256")));
        }
    }

    async fn an_administrator_changes_keys_in_time_or_at_once(app: TestApp) {
        let admin = app.set_up().await;
        let issued = redeem(&app, CLI, LOOPBACK, &code(&admin, &ask(CLI, LOOPBACK, &[])).await, VERIFIER).await;
        let issued: Value = issued.assert_status(200).json();
        let id_token = issued["id_token"].as_str().unwrap();
        let counts = async || issuer::verify_id_token(&app, id_token, CLI, false).await.unwrap().map(|claims| claims.aud);
        assert_eq!(counts().await.as_deref(), Ok(CLI));
        let path = "/api/v1/instance/signing-keys";
        assert_eq!(admin.get(path).await.assert_status(200).json::<Vec<SigningKey>>().len(), 1);
        let after: Vec<SigningKey> = admin.post(path, &json!({})).await.assert_status(200).json();
        assert_eq!(after.iter().map(|key| key.signs).collect::<Vec<_>>(), [true, false]);
        assert_eq!(counts().await.as_deref(), Ok(CLI), "what was signed goes on counting");
        let after: Vec<SigningKey> = admin.post(path, &json!({"at_once": true})).await.assert_status(200).json();
        assert_eq!(after.iter().map(|key| key.signs).collect::<Vec<_>>(), [true]);
        assert_eq!(counts().await, Err(Rejected::Key));
        assert_eq!(actions(&app).await.iter().filter(|a| *a == "key.rotate success").count(), 3);
        app.person("ada").await.post(path, &json!({})).await.assert_status(403);
    }

    async fn a_command_line_gets_a_token_that_its_person_allowed(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        assert_eq!(begun["verification_uri"], "https://ci.example.com/device");
        assert_eq!((&begun["expires_in"], &begun["interval"]), (&json!(600), &json!(5)));
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "authorization_pending");
        let user_code = begun["user_code"].as_str().unwrap();
        let shown: DeviceLogin =
            ada.get(&format!("/api/v1/device-login?user_code={user_code}")).await.assert_status(200).json();
        assert_eq!((shown.client.id.as_str(), shown.ip.as_str()), (CLI, "192.0.2.1"));
        assert_eq!(shown.user_agent, "devenv-cloud/0.1");
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        app.advance(TimeDelta::seconds(5));
        let issued: Value = poll(&app, CLI, &begun["device_code"]).await.assert_status(200).json();
        assert_eq!((&issued["token_type"], &issued["scope"]), (&json!("Bearer"), &json!("read write")));
        assert_eq!(issued["expires_in"], 90 * 24 * 3600);
        let secret = issued["access_token"].as_str().unwrap();
        let viewer: Viewer = app.get("/api/v1/session").bearer(secret).send().await.assert_status(200).json();
        assert_eq!(viewer.user.email, "ada@example.com");
        // Once.
        app.advance(TimeDelta::seconds(5));
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "invalid_grant");
        // It is a token like all of hers.
        let tokens = ada.get("/api/v1/account/tokens").await.json::<Page<Token>>().items;
        assert_eq!(tokens[0].name, "devenv-cloud-cli from 192.0.2.1");
        // And it can be given back, by its program alone.
        app.post("/oauth/revoke").form(&[("client_id", CLI), ("token", secret)]).send().await.assert_status(200);
        app.get("/api/v1/session").bearer(secret).send().await.assert_status(401);
        let said = actions(&app).await;
        let said: Vec<_> = said.iter().map(String::as_str).filter(|said| ["device.", "token."].iter().any(|of| said.starts_with(of))).collect();
        assert_eq!(said, ["device.decide success", "token.create success", "token.revoke success"]);
    }

    async fn who_asks_too_often_must_wait_longer_each_time(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        let device_code = &begun["device_code"];
        refused(poll(&app, CLI, device_code).await, 400, "authorization_pending");
        app.advance(TimeDelta::seconds(4));
        refused(poll(&app, CLI, device_code).await, 400, "slow_down");
        // Ten seconds from now on, also for one who could have the token.
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        app.advance(TimeDelta::seconds(9));
        refused(poll(&app, CLI, device_code).await, 400, "slow_down");
        app.advance(TimeDelta::seconds(15));
        poll(&app, CLI, device_code).await.assert_status(200);
    }

    async fn what_nobody_allows_in_time_is_over(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        app.advance(TimeDelta::minutes(10));
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "expired_token");
        decide(&ada, &begun["user_code"], true).await.assert_status(404);
        app.advance(TimeDelta::minutes(61));
        assert_eq!(issuer::delete_expired_once(&app).await.unwrap(), 1);
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "invalid_grant");
    }

    async fn a_no_is_a_no(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        decide(&ada, &begun["user_code"], false).await.assert_status(204);
        // Nobody changes it afterwards.
        decide(&ada, &begun["user_code"], true).await.assert_status(404);
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "access_denied");
        assert!(actions(&app).await.contains(&"device.decide refused".to_owned()));
    }

    async fn another_programs_code_gives_nothing(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        refused(poll(&app, "editor", &begun["device_code"]).await, 400, "invalid_grant");
        refused(poll(&app, "nobody", &begun["device_code"]).await, 401, "invalid_client");
        refused(poll(&app, CLI, &json!("x")).await, 400, "invalid_grant");
        poll(&app, CLI, &begun["device_code"]).await.assert_status(200);
        // One with a secret does not come this way.
        let fields = [("client_id", "grafana"), ("client_secret", SECRET), ("scope", "openid")];
        refused(app.post("/oauth/device").form(&fields).send().await, 400, "unauthorized_client");
    }

    /// RP-29: whoever tries codes in the hope that somebody waits under one.
    async fn rp_29_user_codes_cannot_be_tried_out(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        let code = begun["user_code"].as_str().unwrap();
        let (letters, alphabet) = (code.replace('-', ""), "BCDFGHJKLMNPQRSTVWXZ");
        assert_eq!((letters.len(), code.len()), (8, 9));
        assert!(letters.chars().all(|letter| alphabet.contains(letter)), "{code}");
        let look = async |browser: &Browser, code: &str| {
            browser.get(&format!("/api/v1/device-login?user_code={code}")).await.status.as_u16()
        };
        // Right ones do not count.
        for _ in 0..20 {
            assert_eq!(look(&ada, code).await, 200);
        }
        for n in 0..10 {
            assert_eq!(look(&ada, "BCDF-GHJK").await, 404, "{n}");
        }
        assert_eq!(look(&ada, code).await, 429);
        decide(&ada, &begun["user_code"], true).await.assert_status(429);
        // Also from elsewhere: it is the person who tries.
        let request = ada.request(http::Method::GET, &format!("/api/v1/device-login?user_code={code}"));
        assert_eq!(request.from("198.51.100.1").send().await.status, 429);
        // Many people at one address are stopped, too.
        let (bob, eve) = (app.person("bob").await, app.person("eve").await);
        for _ in 0..10 {
            look(&bob, "BCDF-GHJK").await;
        }
        assert_eq!(look(&eve, code).await, 429);
        app.advance(TimeDelta::seconds(61));
        assert_eq!(look(&ada, code).await, 200);
        // What is stored tells no code.
        let row = devenv_cloud::db::query("SELECT user_code_hash FROM device_logins").one(&app.db).await.unwrap();
        assert_ne!(row.get::<Vec<u8>>("user_code_hash").unwrap(), code.as_bytes());
    }

    /// RP-29: a link with a code approves nothing, and a stranger's page neither.
    async fn rp_29_only_a_word_on_our_own_page_allows(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let begun = begin(&app, CLI, "").await;
        let user_code = begun["user_code"].as_str().unwrap();
        let page = ada.get(&format!("/device?user_code={user_code}")).await.assert_status(200).text();
        for part in [user_code, "devenv-cloud-cli", "192.0.2.1", "devenv-cloud/0.1", "name=\"word\""] {
            assert!(page.contains(part), "{part}: {page}");
        }
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "authorization_pending");
        let fields = [("user_code", user_code), ("word", "allow")];
        let foreign = ada.request(http::Method::POST, "/device").header("sec-fetch-site", "cross-site");
        assert_eq!(foreign.header("origin", "https://evil.example").form(&fields).send().await.status, 403);
        // Who is not signed in is sent to do so, and comes back.
        let stranger = app.browser();
        let to = leads(&stranger.get(&format!("/device?user_code={user_code}")).await);
        assert_eq!(to, format!("/sign-in?return_to=/device%3Fuser_code%3D{user_code}"));
        assert_eq!(leads(&stranger.form("/device", &fields).await), format!("/device?user_code={user_code}"));
        assert_eq!(leads(&ada.form("/device", &fields).await), "/device?done=allowed");
        app.advance(TimeDelta::seconds(5));
        poll(&app, CLI, &begun["device_code"]).await.assert_status(200);
        // A code that is none (any more) is said to be so.
        let page = ada.get(&format!("/device?user_code={user_code}")).await.assert_status(404).text();
        assert!(page.contains("no login waits"), "{page}");
    }

    /// RP-29: a session that was left open allows nothing.
    async fn rp_29_allowing_takes_a_recent_proof(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let request = waiting(&ada.get(&ask(CLI, LOOPBACK, &[("scope", Some("read"))])).await);
        app.advance(TimeDelta::minutes(10));
        let begun = begin(&app, CLI, "").await;
        let other = begin(&app, CLI, "").await;
        let refused = decide(&ada, &begun["user_code"], true).await.assert_status(403);
        assert_eq!(refused.problem().kind, "step-up");
        say(&ada, &request, true).await.assert_status(403);
        let user_code = begun["user_code"].as_str().unwrap();
        let to = leads(&ada.form("/device", &[("user_code", user_code), ("word", "allow")]).await);
        assert_eq!(to, format!("/confirm?return_to=%2Fdevice%3Fuser_code%3D{user_code}"));
        let to = leads(&ada.form("/oauth/consent", &[("request", &request), ("word", "allow")]).await);
        assert_eq!(to, format!("/confirm?return_to=%2Foauth%2Fconsent%3Frequest%3D{request}"));
        // Refusing does not.
        decide(&ada, &other["user_code"], false).await.assert_status(204);
        ada.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        say(&ada, &request, true).await.assert_status(200);
    }

    /// Whoever has to set up a second factor lets no program in before.
    async fn no_program_goes_around_a_second_factor_that_is_required(app: TestApp) {
        let app = with_clients(&app).await;
        let admin = app.set_up().await;
        let ada = app.person("ada").await;
        code(&ada, &ask("grafana", GRAFANA, &[])).await;
        let policy = json!({"second_factor": "required", "grace_days": 0});
        let path = "/api/v1/instance/sign-in-policy";
        admin.send(admin.request(http::Method::PUT, path).json(&policy)).await.assert_status(200);
        let begun = begin(&app, CLI, "").await;
        let refused = decide(&ada, &begun["user_code"], true).await.assert_status(403);
        assert_eq!(refused.problem().kind, "must-enrol");
        // Not even what was allowed before.
        let request = waiting(&ada.get(&ask("grafana", GRAFANA, &[])).await);
        assert_eq!(say(&ada, &request, true).await.assert_status(403).problem().kind, "must-enrol");
        let silent = ask("grafana", GRAFANA, &[("prompt", Some("none"))]);
        assert_eq!(error(&ada.get(&silent).await), "consent_required");
    }

    /// server, idtoken-signature, scope-*, userinfo-get, userinfo-post-header,
    /// ensure-request-with-valid-pkce-succeeds
    async fn an_application_learns_who_somebody_is_and_what_they_allowed(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let changes = [("scope", Some("openid profile email phone")), ("nonce", Some("the nonce"))];
        let request = waiting(&ada.get(&ask("grafana", GRAFANA, &changes)).await);
        let shown: Authorization =
            ada.get(&format!("/api/v1/authorization?request={request}")).await.assert_status(200).json();
        assert_eq!((shown.client.id.as_str(), shown.client.first_party), ("grafana", false));
        assert_eq!((shown.returns_to.as_str(), shown.sign_in_again), ("grafana.example.com", false));
        let page = ada.get(&format!("/oauth/consent?request={request}")).await.assert_status(200).text();
        assert!(page.contains("grafana.example.com") && page.contains("ada@example.com"), "{page}");
        let to = say(&ada, &request, true).await.assert_status(200).json::<Redirection>().redirect_to;
        assert!(to.starts_with("https://grafana.example.com/login?org=1&code="), "{to}");
        assert_eq!(parameter(&to, "state").as_deref(), Some("the state"));
        // RFC 9207: who answers.
        assert_eq!(parameter(&to, "iss").as_deref(), Some("https://ci.example.com"));
        say(&ada, &request, true).await.assert_status(404);
        let code = parameter(&to, "code").unwrap();
        let issued: Value = redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200).json();
        assert_eq!(issued["scope"], "openid profile email");
        let id_token = issued["id_token"].as_str().unwrap();
        let claims = issuer::verify_id_token(&app, id_token, "grafana", false).await.unwrap().unwrap();
        let now = app.clock.now().timestamp();
        assert_eq!(claims.iss, "https://ci.example.com");
        assert_eq!(claims.sub, ada.user_id().await);
        assert_eq!((claims.iat, claims.exp, claims.auth_time), (now, now + 600, now));
        assert_eq!(claims.nonce.as_deref(), Some("the nonce"));
        assert_eq!(claims.amr, [devenv_cloud_api::accounts::AuthMethod::Password]);
        assert_eq!(claims.about.email.as_deref(), Some("ada@example.com"));
        assert_eq!((claims.about.name.as_deref(), claims.about.email_verified), (Some("ada"), Some(false)));
        let access = issued["access_token"].as_str().unwrap();
        assert_eq!(claims.at_hash, URL_SAFE_NO_PAD.encode(&Sha256::digest(access)[..16]));
        // It is for this client, for ten minutes, and opens nothing but userinfo.
        let verify = async |client: &str| issuer::verify_id_token(&app, id_token, client, false).await.unwrap();
        assert_eq!(verify("other").await.unwrap_err(), Rejected::Claim("aud"));
        for method in [http::Method::GET, http::Method::POST] {
            let info: Value = app.request(method, "/oauth/userinfo").bearer(access).send().await.assert_status(200).json();
            let id = ada.user_id().await;
            assert_eq!(info, json!({"sub": id, "name": "ada", "email": "ada@example.com", "email_verified": false}));
        }
        app.get("/api/v1/session").bearer(access).send().await.assert_status(401);
        app.get("/api/v1/session").bearer(id_token).send().await.assert_status(401);
        app.get("/oauth/userinfo").bearer(id_token).send().await.assert_status(401);
        app.advance(ID_TOKEN_LIFE);
        assert_eq!(verify("grafana").await.unwrap_err(), Rejected::Claim("exp"));
        let over = app.get("/oauth/userinfo").bearer(access).send().await.assert_status(401);
        assert_eq!(over.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }

    /// codereuse, codereuse-30seconds: and what it gave is taken back.
    async fn a_code_works_once_and_its_second_use_takes_back_what_it_gave(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        for (client, redirect, scope, path) in [
            (CLI, LOOPBACK, "read", "/api/v1/session"),
            ("grafana", GRAFANA, "openid", "/oauth/userinfo"),
        ] {
            let code = code(&ada, &ask(client, redirect, &[("scope", Some(scope))])).await;
            let issued: Value = redeem(&app, client, redirect, &code, VERIFIER).await.assert_status(200).json();
            let token = issued["access_token"].as_str().unwrap();
            app.get(path).bearer(token).send().await.assert_status(200);
            app.advance(TimeDelta::seconds(30));
            refused(redeem(&app, client, redirect, &code, VERIFIER).await, 400, "invalid_grant");
            app.get(path).bearer(token).send().await.assert_status(401);
        }
    }

    async fn a_code_is_good_for_a_minute(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let code = code(&ada, &ask(CLI, LOOPBACK, &[])).await;
        app.advance(TimeDelta::seconds(60));
        refused(redeem(&app, CLI, LOOPBACK, &code, VERIFIER).await, 400, "invalid_grant");
    }

    /// A code belongs to its client, address and verifier, and one mistake uses it up.
    async fn a_stolen_code_is_worth_nothing(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let long = "x".repeat(43);
        for (client, redirect, verifier) in [
            ("other", GRAFANA, VERIFIER),
            ("grafana", "https://other.example.com/cb", VERIFIER),
            ("grafana", GRAFANA, long.as_str()),
            ("grafana", GRAFANA, &challenge()),
            ("grafana", GRAFANA, "short"),
            ("grafana", GRAFANA, ""),
        ] {
            // The second time nobody is asked: it is the prompt that makes sure.
            let code = code(&ada, &ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await;
            refused(redeem(&app, client, redirect, &code, verifier).await, 400, "invalid_grant");
            refused(redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await, 400, "invalid_grant");
        }
        // Without a verifier at all, and without the client's secret.
        let code = code(&ada, &ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await;
        let fields = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", GRAFANA)];
        let request = app.post("/oauth/token").header("authorization", &basic("grafana", SECRET)).form(&fields);
        refused(request.send().await, 400, "invalid_request");
        let fields = [fields.as_slice(), &[("client_id", "grafana"), ("code_verifier", VERIFIER)]].concat();
        refused(token(&app, &fields).await, 401, "invalid_client");
        redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200);
    }

    /// server-client-secret-post, and every other way to say who one is.
    async fn a_client_says_who_it_is_in_one_way(app: TestApp) {
        let app = with_clients(&app).await;
        let fields = |extra: &[(&'static str, &'static str)]| {
            [[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", GRAFANA), ("code_verifier", VERIFIER)].as_slice(), extra].concat()
        };
        let send = async |header: Option<String>, extra: &[(&'static str, &'static str)]| {
            let request = app.post("/oauth/token").form(&fields(extra));
            match header {
                Some(header) => request.header("authorization", &header).send().await,
                None => request.send().await,
            }
        };
        let right = basic("grafana", SECRET);
        // Known: what is wrong now is the code.
        refused(send(Some(right.clone()), &[]).await, 400, "invalid_grant");
        refused(send(Some(right.clone()), &[("client_id", "grafana")]).await, 400, "invalid_grant");
        refused(send(None, &[("client_id", "grafana"), ("client_secret", SECRET)]).await, 400, "invalid_grant");
        refused(send(Some(right.clone()), &[("client_id", "other")]).await, 400, "invalid_request");
        refused(send(Some(right), &[("client_secret", SECRET)]).await, 400, "invalid_request");
        let unknown = send(Some(basic("nobody", SECRET)), &[]).await;
        assert_eq!(unknown.header("www-authenticate"), Some("Basic"));
        let unknown = refused(unknown, 401, "invalid_client");
        assert_eq!(refused(send(Some(basic("grafana", "wrong")), &[]).await, 401, "invalid_client"), unknown);
        refused(send(None, &[("client_id", "grafana")]).await, 401, "invalid_client");
        refused(send(None, &[("client_id", CLI), ("client_secret", "x")]).await, 401, "invalid_client");
        refused(send(Some("Bearer x".to_owned()), &[]).await, 401, "invalid_client");
        refused(send(None, &[]).await, 400, "invalid_request");
        refused(send(None, &[("client_id", CLI), ("client_id", CLI)]).await, 400, "invalid_request");
        let other = [("grant_type", "password"), ("client_id", CLI), ("username", "ada@example.com"), ("password", PASSWORD)];
        refused(token(&app, &other).await, 400, "unsupported_grant_type");
        let response = app.post("/oauth/token").json(&json!({"grant_type": "x"})).send().await;
        refused(response, 400, "invalid_request");
        // Secrets cannot be tried out.
        let mut last = 401;
        for _ in 0..40 {
            last = send(Some(basic("grafana", "wrong")), &[]).await.status.as_u16();
        }
        assert_eq!(last, 429);
    }

    /// ensure-registered-redirect-uri, redirect-uri-query-*, redirect-uri-regfrag,
    /// and the loop-back rule of RFC 8252.
    async fn nobody_is_sent_to_an_address_that_is_not_known(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        for (client, redirect) in [
            ("grafana", "https://grafana.example.com/login"),
            ("grafana", "https://grafana.example.com/login?org=1&x=2"),
            ("grafana", "https://grafana.example.com/login?org=1#x"),
            ("grafana", "https://grafana.example.com/login?org=2"),
            ("grafana", "https://evil.example/login?org=1"),
            ("grafana", "http://grafana.example.com/login?org=1"),
            ("grafana", "https://other.example.com/cb"),
            ("grafana", ""),
            (CLI, "http://127.0.0.1:4711/other"),
            (CLI, "http://127.0.0.1.evil.example:4711/callback"),
            (CLI, "http://localhost:4711/callback"),
            (CLI, "https://127.0.0.1:4711/callback"),
        ] {
            let to = leads(&ada.get(&ask(client, redirect, &[])).await);
            assert_eq!(to, "/oauth/consent?problem=redirect", "{redirect}");
        }
        let missing = ada.get(&ask(CLI, LOOPBACK, &[("redirect_uri", None)])).await;
        assert_eq!(leads(&missing), "/oauth/consent?problem=redirect");
        let unknown = ada.get(&ask("nobody", LOOPBACK, &[])).await;
        assert_eq!(leads(&unknown), "/oauth/consent?problem=client");
        let twice = ada.get(&format!("{}&redirect_uri=https://evil.example", ask(CLI, LOOPBACK, &[]))).await;
        assert_eq!(leads(&twice), "/oauth/consent?problem=twice");
        for redirect in ["http://127.0.0.1:1/callback", "http://[::1]:65535/callback", "http://127.0.0.1/callback"] {
            waiting(&ada.get(&ask(CLI, redirect, &[])).await);
        }
        let page = ada.get("/oauth/consent?problem=redirect").await.assert_status(400).text();
        assert!(page.contains("address"), "{page}");
    }

    /// PKCE downgrade; response-type-missing; unsigned-request-object-supported-
    /// correctly-or-rejected; ensure-request-with-unknown-parameter-succeeds;
    /// ensure-request-with-acr-values-succeeds; claims-locales; display-*
    async fn a_request_is_fine_or_refused_with_the_right_word(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let long = "A".repeat(44);
        for (changes, word) in [
            (vec![("code_challenge", None)], "invalid_request"),
            (vec![("code_challenge", None), ("code_challenge_method", None)], "invalid_request"),
            (vec![("code_challenge_method", None)], "invalid_request"),
            (vec![("code_challenge_method", Some("plain"))], "invalid_request"),
            (vec![("code_challenge", Some("short"))], "invalid_request"),
            (vec![("code_challenge", Some(long.as_str()))], "invalid_request"),
            (vec![("response_type", None)], "invalid_request"),
            (vec![("response_type", Some("token"))], "unsupported_response_type"),
            (vec![("response_type", Some("code id_token"))], "unsupported_response_type"),
            (vec![("response_mode", Some("fragment"))], "invalid_request"),
            (vec![("request", Some("e30.e30."))], "request_not_supported"),
            (vec![("request_uri", Some("https://evil.example"))], "request_uri_not_supported"),
            (vec![("scope", Some("phone"))], "invalid_scope"),
            (vec![("scope", None)], "invalid_scope"),
            (vec![("max_age", Some("x"))], "invalid_request"),
            (vec![("max_age", Some("-1"))], "invalid_request"),
            (vec![("prompt", Some("none login"))], "invalid_request"),
            (vec![("id_token_hint", Some("a.b.c"))], "invalid_request"),
        ] {
            let response = ada.get(&ask(CLI, LOOPBACK, &changes)).await;
            assert_eq!(error(&response), word, "{changes:?}");
            let to = leads(&response);
            assert_eq!(parameter(&to, "state").as_deref(), Some("the state"));
            assert_eq!(parameter(&to, "iss").as_deref(), Some("https://ci.example.com"));
            assert!(to.starts_with(LOOPBACK), "{to}");
        }
        for extra in ["acr_values=1", "display=popup", "claims_locales=se", "extra=foobar", "prompt=select_account"] {
            waiting(&ada.get(&format!("{}&{extra}", ask(CLI, LOOPBACK, &[]))).await);
        }
    }

    /// prompt-none-not-logged-in, prompt-none-logged-in, id-token-hint
    async fn without_a_word_only_what_was_allowed_before_is_given(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let (ada, bob) = (app.person("ada").await, app.person("bob").await);
        let silent = ask("grafana", GRAFANA, &[("prompt", Some("none"))]);
        assert_eq!(error(&app.browser().get(&silent).await), "login_required");
        assert_eq!(error(&ada.get(&silent).await), "consent_required");
        let code = code(&ada, &ask("grafana", GRAFANA, &[])).await;
        let issued: Value = redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200).json();
        assert!(parameter(&leads(&ada.get(&silent).await), "code").is_some());
        // Without the prompt it is the same; with another one they are asked.
        assert!(parameter(&leads(&ada.get(&ask("grafana", GRAFANA, &[])).await), "code").is_some());
        waiting(&ada.get(&ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await);
        // More than was allowed, another person, another program, and a public one: asked.
        let more = [("prompt", Some("none")), ("scope", Some("openid email"))];
        assert_eq!(error(&ada.get(&ask("grafana", GRAFANA, &more)).await), "consent_required");
        assert_eq!(error(&bob.get(&silent).await), "consent_required");
        let none = [("prompt", Some("none"))];
        let other = ada.get(&ask("other", "https://other.example.com/cb", &none)).await;
        assert_eq!(error(&other), "consent_required");
        let cli = self::code(&ada, &ask(CLI, LOOPBACK, &[])).await;
        redeem(&app, CLI, LOOPBACK, &cli, VERIFIER).await.assert_status(200);
        assert_eq!(error(&ada.get(&ask(CLI, LOOPBACK, &none)).await), "consent_required");
        // Another person than the application knows.
        let hint = issued["id_token"].as_str().unwrap();
        let hinted = ask("grafana", GRAFANA, &[("prompt", Some("none")), ("id_token_hint", Some(hint))]);
        assert!(parameter(&leads(&ada.get(&hinted).await), "code").is_some());
        assert_ne!(error(&bob.get(&hinted).await), "", "somebody else is signed in");
    }

    /// prompt-login, max-age-1, max-age-10000
    async fn an_application_can_insist_on_a_new_sign_in(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let again = async |request: &str| {
            let path = format!("/api/v1/authorization?request={request}");
            ada.get(&path).await.assert_status(200).json::<Authorization>().sign_in_again
        };
        code(&ada, &ask("grafana", GRAFANA, &[])).await;
        app.advance(TimeDelta::seconds(100));
        for (changes, expected) in
            [([("max_age", Some("10000"))], false), ([("max_age", Some("1"))], true), ([("prompt", Some("login"))], true)]
        {
            let response = ada.get(&ask("grafana", GRAFANA, &changes)).await;
            if !expected {
                assert!(parameter(&leads(&response), "code").is_some());
                continue;
            }
            let request = waiting(&response);
            assert!(again(&request).await, "{changes:?}");
            say(&ada, &request, true).await.assert_status(409);
            let page = leads(&ada.get(&format!("/oauth/consent?request={request}")).await);
            assert!(page.starts_with("/sign-in?return_to=/oauth/consent%3Frequest%3D"), "{page}");
            app.advance(TimeDelta::seconds(1));
            ada.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
            assert!(!again(&request).await, "{changes:?}");
            say(&ada, &request, true).await.assert_status(200);
            app.advance(TimeDelta::seconds(100));
        }
        let silent = [("max_age", Some("1")), ("prompt", Some("none"))];
        assert!(["login_required", "consent_required"].contains(&error(&ada.get(&ask("grafana", GRAFANA, &silent)).await).as_str()));
    }

    async fn somebody_who_is_not_signed_in_comes_back_to_the_question(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        app.person("ada").await;
        let browser = app.browser();
        let request = waiting(&browser.get(&ask("grafana", GRAFANA, &[])).await);
        let page = format!("/oauth/consent?request={request}");
        let to = leads(&browser.get(&page).await);
        assert_eq!(to, format!("/sign-in?return_to=/oauth/consent%3Frequest%3D{request}"));
        browser.sign_in("ada@example.com", PASSWORD).await.assert_status(200);
        // With a form, as there is no script: a page that goes on by itself.
        let fields = [("request", request.as_str()), ("word", "allow")];
        let response = browser.form("/oauth/consent", &fields).await.assert_status(200);
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        let text = response.text();
        assert!(text.contains("0;url=https://grafana.example.com/login?org=1&amp;code="), "{text}");
        // What is used up is said to be so.
        assert_eq!(leads(&browser.form("/oauth/consent", &fields).await), page);
        browser.get(&page).await.assert_status(404);
        // A no goes back, too.
        let request = waiting(&browser.get(&ask("grafana", GRAFANA, &[("prompt", Some("consent"))])).await);
        let fields = [("request", request.as_str()), ("word", "deny")];
        let text = browser.form("/oauth/consent", &fields).await.assert_status(200).text();
        assert!(text.contains("error=access_denied"), "{text}");
    }

    async fn an_application_gets_no_more_than_the_configuration_lets_it(app: TestApp) {
        let app = with_clients(&app).await;
        app.set_up().await;
        let ada = app.person("ada").await;
        let all = [("scope", Some("openid read admin"))];
        let code = code(&ada, &ask("grafana", GRAFANA, &all)).await;
        let issued: Value = redeem(&app, "grafana", GRAFANA, &code, VERIFIER).await.assert_status(200).json();
        assert_eq!(issued["scope"], "openid");
        let robot = "https://robot.example.com/cb";
        for _ in 0..2 {
            // A token that opens the API is asked for each time.
            let code = self::code(&ada, &ask("robot", robot, &all)).await;
            let issued: Value = redeem(&app, "robot", robot, &code, VERIFIER).await.assert_status(200).json();
            assert_eq!(issued["scope"], "openid read admin");
            let secret = issued["access_token"].as_str().unwrap();
            app.get("/api/v1/session").bearer(secret).send().await.assert_status(200);
            // Another program cannot revoke it.
            let fields = [("token", secret), ("client_id", CLI)];
            refused(app.post("/oauth/revoke").form(&fields).send().await, 400, "unauthorized_client");
            app.get("/api/v1/session").bearer(secret).send().await.assert_status(200);
        }
    }

    async fn what_is_no_token_is_revoked_already(app: TestApp) {
        let admin = app.set_up().await;
        for token in ["", "x", "dvc_x", "dvo_x"] {
            let fields = [("client_id", CLI), ("token", token)];
            app.post("/oauth/revoke").form(&fields).send().await.assert_status(200);
        }
        refused(app.post("/oauth/revoke").form(&[("client_id", CLI)]).send().await, 400, "invalid_request");
        refused(app.post("/oauth/revoke").form(&[("token", "x")]).send().await, 400, "invalid_request");
        // One that the person made themselves is no program's.
        let own = admin.token(&[devenv_cloud_api::permissions::Scope::Read]).await.secret;
        let fields = [("client_id", CLI), ("token", own.as_str())];
        refused(app.post("/oauth/revoke").form(&fields).send().await, 400, "unauthorized_client");
        app.get("/api/v1/session").bearer(&own).send().await.assert_status(200);
    }

    async fn whoever_may_not_sign_in_gets_nothing(app: TestApp) {
        app.set_up().await;
        let ada = app.person("ada").await;
        let code = code(&ada, &ask(CLI, LOOPBACK, &[])).await;
        let begun = begin(&app, CLI, "openid").await;
        decide(&ada, &begun["user_code"], true).await.assert_status(204);
        devenv_cloud::db::query("UPDATE users SET disabled_at = $1 WHERE name = 'ada'")
            .bind(app.clock.now())
            .execute(&app.db)
            .await
            .unwrap();
        refused(redeem(&app, CLI, LOOPBACK, &code, VERIFIER).await, 400, "access_denied");
        refused(poll(&app, CLI, &begun["device_code"]).await, 400, "access_denied");
    }
}
