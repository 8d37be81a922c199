//! A provider for tests: an OpenID Connect provider that does all as it should,
//! or exactly one thing wrong, as a test says; and GitHub, as far as sign-in
//! sees it. It listens on a real socket and speaks HTTP.

mod keys;
mod serve;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use devenv_cloud::{
    clock::Clock,
    identity::{Origin, arrival::External},
    sso::{self, Answer, Begin, Intent, Rejection, Returned},
};
use http::StatusCode;
use serde_json::{Map, Value, json};

pub use keys::{Signer, half_hash, jwk, public_der, public_pem};

use super::TestApp;

/// What the application is called there.
pub const CLIENT_ID: &str = "ci";
/// And with which secret it proves that it is.
pub const CLIENT_SECRET: &str = "the client's secret";

/// Who signs in there.
pub const SUBJECT: &str = "subject-1";

/// An answer that is given in place of the right one.
#[derive(Clone, Debug)]
pub struct Instead {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

impl Instead {
    pub fn json(body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status: StatusCode::OK, content_type: "application/json", location: None, body }
    }
}

/// What a provider does. The default is all as it should be.
pub struct State {
    /// What tokens are signed with.
    pub signer: Signer,
    /// What is published.
    pub keys: Vec<Value>,
    /// Changes of the ID token's header; null takes something away.
    pub header: Map<String, Value>,
    /// Changes of the ID token's claims.
    pub claims: Map<String, Value>,
    /// Changes of the discovery document.
    pub metadata: Map<String, Value>,
    /// Changes of the token endpoint's answer.
    pub tokens: Map<String, Value>,
    /// What the token endpoint answers in place of tokens.
    pub token_answer: Option<Instead>,
    /// What `userinfo` says beside the subject.
    pub userinfo: Map<String, Value>,
    /// GitHub's account, and its addresses.
    pub account: Value,
    pub emails: Value,
    /// The ID token that was minted last.
    pub last_token: Option<String>,
    codes: HashMap<String, Code>,
    /// All that was asked: `POST /token`.
    pub requests: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            signer: Signer::RsaA,
            keys: vec![jwk(Signer::RsaA, Some("a"))],
            header: json!({ "kid": "a" }).as_object().expect("an object").clone(),
            claims: Map::new(),
            metadata: Map::new(),
            tokens: Map::new(),
            token_answer: None,
            userinfo: Map::new(),
            account: json!({ "id": 583_231, "login": "octocat", "name": "Octo Cat", "email": "shown@example.com" }),
            emails: json!([
                { "email": "other@example.com", "primary": false, "verified": true },
                { "email": "octo@example.com", "primary": true, "verified": true },
            ]),
            last_token: None,
            codes: HashMap::new(),
            requests: Vec::new(),
        }
    }
}

/// What a code is good for.
#[derive(Clone)]
struct Code {
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
}

/// The provider. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    pub address: SocketAddr,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

/// What a browser brings back.
#[derive(Clone, Debug)]
pub struct Brought {
    pub state: String,
    pub code: String,
    pub iss: Option<String>,
}

impl Provider {
    /// Listens.
    pub async fn start(clock: &Clock) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let provider = Self { address, clock: clock.clone(), state: Arc::new(Mutex::new(State::default())) };
        let router = serve::router(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the provider's state")
    }

    /// Does all as it should again.
    pub fn reform(&self) {
        *self.state() = State::default();
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often this was asked.
    pub fn asked(&self, what: &str) -> usize {
        self.state().requests.iter().filter(|request| *request == what).count()
    }

    /// The person there agrees: what the provider sends back through the browser
    /// that came with this address.
    pub fn authorize(&self, address: &str) -> Brought {
        let query = parameters(address);
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], CLIENT_ID);
        assert_eq!(query["code_challenge_method"], "S256", "always with PKCE");
        assert!(query["state"].len() >= 22, "128 bits and more");
        let code = Code {
            nonce: query.get("nonce").cloned(),
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
        };
        let mut state = self.state();
        let name = format!("code-{}-{}", self.address.port(), state.codes.len());
        // GitHub does not say who it is.
        let iss = code.nonce.is_some().then(|| self.issuer());
        state.codes.insert(name.clone(), code);
        Brought { state: query["state"].clone(), code: name, iss }
    }

    /// A logout token with these changes.
    pub fn logout_token(&self, header: &Value, claims: &Value) -> String {
        let now = self.clock.now().timestamp();
        let state = self.state();
        let mut all = Map::new();
        for (name, value) in [
            ("iss", json!(self.issuer())),
            ("aud", json!(CLIENT_ID)),
            ("iat", json!(now)),
            ("exp", json!(now + 120)),
            ("jti", json!("logout-1")),
            ("sub", json!(SUBJECT)),
            ("sid", json!("session-1")),
            ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
        ] {
            all.insert(name.to_owned(), value);
        }
        change(&mut all, claims.as_object().expect("an object"));
        let mut head = json!({ "typ": "logout+jwt", "kid": "a" }).as_object().expect("an object").clone();
        change(&mut head, header.as_object().expect("an object"));
        keys::sign(&state.signer, &head, &all)
    }

    fn id_token(&self, state: &State, code: &Code, name: &str, access_token: &str) -> String {
        let now = self.clock.now().timestamp();
        let mut claims = Map::new();
        for (name, value) in [
            ("iss", json!(self.issuer())),
            ("sub", json!(SUBJECT)),
            ("aud", json!(CLIENT_ID)),
            ("exp", json!(now + 300)),
            ("iat", json!(now)),
            ("nonce", json!(code.nonce)),
            ("at_hash", json!(half_hash(&state.signer, access_token))),
            ("c_hash", json!(half_hash(&state.signer, name))),
            ("sid", json!("session-1")),
            ("email", json!("ada@corp.example")),
            ("email_verified", json!(true)),
            ("name", json!("Ada Lovelace")),
            ("preferred_username", json!("ada")),
        ] {
            claims.insert(name.to_owned(), value);
        }
        change(&mut claims, &state.claims);
        let mut header = json!({ "typ": "JWT" }).as_object().expect("an object").clone();
        change(&mut header, &state.header);
        keys::sign(&state.signer, &header, &claims)
    }
}

/// Sets what is not null, and takes away what is.
fn change(all: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        match value {
            Value::Null => all.remove(name),
            value => all.insert(name.clone(), value.clone()),
        };
    }
}

/// The parameters of an address.
pub fn parameters(address: &str) -> BTreeMap<String, String> {
    let (_, query) = address.split_once('?').expect("parameters");
    serde_urlencoded::from_str(query).expect("parameters")
}

/// A provider of the configuration: a name, its kind, where it is, and more keys.
pub type Configured<'a> = (&'a str, &'a str, &'a Provider, &'a [(&'a str, &'a str)]);

/// The application, with providers in its configuration.
pub async fn with_providers(app: &TestApp, providers: &[Configured<'_>]) -> TestApp {
    let hosts: Vec<String> =
        providers.iter().map(|(_, _, provider, _)| provider.address.to_string()).collect();
    let mut settings = vec![("DEVENV_CLOUD_SIGN_IN_INTERNAL_HOSTS".to_owned(), hosts.join(", "))];
    for (name, kind, provider, more) in providers {
        let mut set = |key: &str, value: &str| {
            let variable = format!("DEVENV_CLOUD_PROVIDER_{}_{key}", name.to_uppercase().replace('-', "_"));
            settings.push((variable, value.to_owned()));
        };
        set("KIND", kind);
        set("ISSUER", &provider.issuer());
        set("CLIENT_ID", CLIENT_ID);
        set("CLIENT_SECRET", CLIENT_SECRET);
        for (key, value) in *more {
            set(key, value);
        }
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    app.second_process(&settings).await
}

/// From where people sign in.
pub fn origin() -> Origin {
    Origin { address: [192, 0, 2, 1].into(), user_agent: "Testfox/1.0".to_owned() }
}

/// Begins a sign-in in a browser with this binding. The address where it goes on.
pub async fn begin(app: &TestApp, name: &str, binding: &str) -> Result<String, Rejection> {
    let intent = Intent::SignIn { keep: false };
    sso::begin(app, Begin { provider: name, intent, return_to: Some("/acme".to_owned()), binding }).await
}

/// Comes back with what the provider sent.
pub async fn come_back(
    app: &TestApp,
    name: &str,
    binding: &str,
    brought: &Brought,
) -> Result<Returned, Rejection> {
    let answer = Answer {
        state: Some(brought.state.clone()),
        code: Some(brought.code.clone()),
        iss: brought.iss.clone(),
        ..Answer::default()
    };
    sso::come_back(app, name, answer, Some(binding), &origin()).await
}

/// There and back.
pub async fn sign_in(app: &TestApp, name: &str, provider: &Provider) -> Result<External, Rejection> {
    let binding = sso::new_binding(app);
    let address = begin(app, name, &binding).await?;
    let brought = provider.authorize(&address);
    Ok(come_back(app, name, &binding, &brought).await?.external)
}
