//! Codes, policies and the audit log, as people and tests use them.

use devenv_cloud::{
    audit::{self, Filter},
    db::query,
};
use devenv_cloud_api::{
    audit::{AuditEntry, AuditOutcome},
    factors::{NewCodes, RecoveryCodes, SecondFactor},
    sign_in::SignInState,
};
use serde_json::json;
use totp_rs::{Builder, Secret};

use super::{Browser, Response, TestApp};

/// An app for one-time codes.
#[derive(Clone)]
pub struct CodesApp {
    app: TestApp,
    secret: Vec<u8>,
}

impl CodesApp {
    /// As a person types the secret in.
    pub fn of(app: &TestApp, secret: &str) -> Self {
        let secret = Secret::try_from_base32(secret).expect("base 32").as_bytes().to_vec();
        Self { app: app.clone(), secret }
    }

    /// The code of so many steps after the present one.
    pub fn code_at(&self, steps: i64) -> String {
        let totp =
            Builder::new().with_secret(Secret::from(self.secret.as_slice())).build().expect("a secret");
        let time = self.app.clock.now().timestamp() + steps * 30;
        totp.generate(u64::try_from(time).expect("after 1970")).to_string()
    }

    /// The code of the moment.
    pub fn code(&self) -> String {
        self.code_at(0)
    }

    /// A code that is none of these minutes.
    pub fn wrong(&self) -> String {
        let near: Vec<String> = (-3..=3).map(|step| self.code_at(step)).collect();
        let wrong = (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code));
        wrong.expect("most codes are wrong")
    }

    /// Waits for the next code.
    pub fn wait(&self) {
        self.app.advance(chrono::TimeDelta::seconds(30));
    }

    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl Browser {
    /// Sets an app for one-time codes up. Its next code is good.
    pub async fn add_codes(&self) -> CodesApp {
        let new: NewCodes = self.post("/api/v1/account/codes", &json!({})).await.assert_status(201).json();
        let codes = CodesApp::of(&self.app(), &new.secret);
        self.post("/api/v1/account/codes/confirm", &json!({"code": codes.code()})).await.assert_status(204);
        codes.wait();
        codes
    }

    pub async fn make_recovery_codes(&self) -> Vec<String> {
        let made = self.post("/api/v1/account/recovery-codes", &json!({})).await.assert_status(201);
        made.json::<RecoveryCodes>().codes
    }

    pub async fn identify(&self, email: &str) -> Response {
        self.post("/api/v1/sign-in/identify", &json!({"email": email})).await
    }

    /// What comes next on the way in.
    pub async fn way(&self) -> SignInState {
        self.get("/api/v1/sign-in").await.assert_status(200).json()
    }

    /// A step on the way in, or a step-up: with a code.
    pub async fn give_code(&self, path: &str, code: &str) -> Response {
        self.post(&format!("/api/v1/{path}"), &json!({"code": code})).await
    }

    /// A step on the way in, or a step-up: with a password.
    pub async fn give_password(&self, path: &str, password: &str) -> Response {
        self.post(&format!("/api/v1/{path}"), &json!({"password": password})).await
    }

    /// Says what is asked of everybody's sign-in, in the instance or an organisation.
    pub async fn put_policy(&self, path: &str, second_factor: SecondFactor, grace_days: u32) -> Response {
        let body = json!({"second_factor": second_factor, "grace_days": grace_days});
        self.send(self.request(http::Method::PUT, &format!("/api/v1/{path}/sign-in-policy")).json(&body))
            .await
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let all = self.cookie_header()?;
        all.split("; ").find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
    }
}

impl TestApp {
    /// What the audit log says, newest first: what was done, with what outcome, about whom.
    pub async fn audit(&self) -> Vec<AuditEntry> {
        audit::list(&self.app, &Filter::default(), None, 1000).await.expect("the audit log")
    }

    /// How often the audit log says that something was done.
    pub async fn audited(&self, action: &str, outcome: AuditOutcome) -> usize {
        let all = self.audit().await;
        all.iter().filter(|entry| entry.action.as_str() == action && entry.outcome == outcome).count()
    }

    /// A number out of the database.
    pub async fn count(&self, what: &'static str) -> i64 {
        query(what).one(&self.db).await.expect("rows").get("n").expect("a number")
    }

    /// Disables somebody, as an administrator's tool does it.
    pub async fn disable(&self, name: &str) {
        query("UPDATE users SET disabled_at = $1 WHERE name = $2")
            .bind(self.clock.now())
            .bind(name)
            .execute(&self.db)
            .await
            .expect("disabled");
    }
}
