//! Tokens that we sign, and programs that sign in with an account of ours.

mod code;
mod device;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use devenv_cloud::issuer::{self, ID_TOKEN_LIFE, Rejected};
use devenv_cloud_api::issuer::{Redirection, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Browser, Response, TestApp};

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
