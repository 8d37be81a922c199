//! People who use the application under test: in a browser, or with a token.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use devenv_cloud_api::{
    accounts::{NewToken, Setup, SignIn, Viewer},
    ids::UserId,
    orgs::{AddMember, Member},
    permissions::{Role, Scope},
};
use http::Method;
use serde::Serialize;
use serde_json::json;

use super::{Request, Response, TestApp, app::BASE_URL};

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery staple";

/// A browser: keeps cookies, and says where its requests come from.
#[derive(Clone)]
pub struct Browser {
    app: TestApp,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
}

impl TestApp {
    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser { app: self.clone(), cookies: Arc::default() }
    }

    /// The first user, who administrates the instance, signed in.
    pub async fn set_up(&self) -> Browser {
        let browser = self.browser();
        let token = self.setup_token().await;
        let setup = Setup {
            token,
            email: "admin@example.com".to_owned(),
            name: "Admin".to_owned(),
            password: PASSWORD.to_owned(),
        };
        browser.post("/api/v1/setup", &setup).await.assert_status(201);
        browser
    }

    /// An administrator of the instance where there are people already.
    pub async fn set_up_beside(&self) -> Browser {
        let browser = self.person("administrator").await;
        devenv_cloud::db::query("UPDATE users SET instance_admin = $1 WHERE name = 'administrator'")
            .bind(true)
            .execute(&self.db)
            .await
            .expect("an administrator");
        browser
    }

    /// The token of the set-up link that a start of the server prints now.
    pub async fn setup_token(&self) -> String {
        let link = devenv_cloud::identity::announce(&self.app).await.expect("the database");
        let link = link.expect("nobody has an account yet");
        let token = link.strip_prefix(&format!("{BASE_URL}/setup?token=")).expect("a link");
        token.to_owned()
    }

    /// Another person with an account, signed in. There is no way yet to get
    /// one over the API, so the row is put where it belongs.
    pub async fn person(&self, name: &str) -> Browser {
        let hash = self.identity.passwords.hash(PASSWORD.to_owned(), [1; 16]).await.expect("a hash");
        let now = self.clock.now();
        let email = format!("{name}@example.com");
        devenv_cloud::db::query(
            "INSERT INTO users (id, email, email_key, name, password_hash, instance_admin, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.random.id(now))
        .bind(&email)
        .bind(&email)
        .bind(name)
        .bind(hash)
        .bind(false)
        .bind(now)
        .execute(&self.db)
        .await
        .expect("a user");
        let browser = self.browser();
        browser.sign_in(&email, PASSWORD).await.assert_status(200);
        browser
    }
}

impl Browser {
    /// The application that it visits.
    pub fn app(&self) -> TestApp {
        self.app.clone()
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        let request = self.app.request(method, path).header("sec-fetch-site", "same-origin");
        let request = request.header("user-agent", "Testfox/1.0");
        match self.cookie_header() {
            Some(cookies) => request.header("cookie", &cookies),
            None => request,
        }
    }

    /// What the browser would send as `Cookie`.
    pub fn cookie_header(&self) -> Option<String> {
        let cookies = self.cookies.lock().expect("cookies");
        let all =
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        (!all.is_empty()).then_some(all)
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().expect("cookies").insert(name.to_owned(), value.to_owned());
    }

    /// Another browser with the same cookies: what a thief of them has.
    pub fn copy(&self) -> Self {
        let cookies = self.cookies.lock().expect("cookies").clone();
        Self { app: self.app.clone(), cookies: Arc::new(Mutex::new(cookies)) }
    }

    /// The same browser, against the application after a restart.
    pub fn visiting(&self, app: &TestApp) -> Self {
        Self { app: app.clone(), ..self.copy() }
    }

    /// Sends the request and keeps the cookies of the answer.
    pub async fn send(&self, request: Request) -> Response {
        let response = request.send().await;
        let mut cookies = self.cookies.lock().expect("cookies");
        for value in response.headers.get_all("set-cookie") {
            let value = value.to_str().expect("a cookie");
            let (name, rest) = value.split_once('=').expect("a cookie");
            let content = rest.split(';').next().unwrap_or_default();
            if content.is_empty() || value.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), content.to_owned());
            }
        }
        drop(cookies);
        response
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Response {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &impl Serialize) -> Response {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Response {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.send(self.request(Method::POST, path).form(fields)).await
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Response {
        let given = SignIn { email: email.to_owned(), password: password.to_owned() };
        self.post("/api/v1/session", &given).await
    }

    pub async fn viewer(&self) -> Viewer {
        self.get("/api/v1/session").await.assert_status(200).json()
    }

    pub async fn user_id(&self) -> UserId {
        self.viewer().await.user.id
    }

    /// A token with these scopes.
    pub async fn token(&self, scopes: &[Scope]) -> NewToken {
        let wanted = json!({"name": "test", "scopes": scopes, "expires_in_days": 30});
        self.post("/api/v1/account/tokens", &wanted).await.assert_status(201).json()
    }

    pub async fn create_org(&self, slug: &str) {
        self.post("/api/v1/orgs", &json!({"slug": slug})).await.assert_status(201);
    }

    pub async fn create_project(&self, org: &str, slug: &str) {
        let path = format!("/api/v1/orgs/{org}/projects");
        self.post(&path, &json!({"slug": slug})).await.assert_status(201);
    }

    /// Makes another person a member.
    pub async fn add_member(&self, org: &str, name: &str, role: Role) -> Member {
        let wanted = AddMember { email: format!("{name}@example.com"), role };
        self.post(&format!("/api/v1/orgs/{org}/members"), &wanted).await.assert_status(201).json()
    }
}
