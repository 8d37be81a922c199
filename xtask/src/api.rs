//! The REST API as a script uses it: plain requests, the contract's types.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use devenv_cloud_api::{PREFIX, problem::Problem};
use serde::{Serialize, de::DeserializeOwned};
use ureq::{Agent, Body, RequestBuilder, http::Response};

/// A visitor: keeps the session that the server gives it, or brings a token.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
    token: Option<String>,
    /// `name=value` of the session cookie.
    cookie: Mutex<Option<String>>,
}

impl Client {
    pub(crate) fn new(base_url: &str) -> Self {
        let agent = Agent::config_builder()
            // The body of an error says what is wrong.
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        Self { agent, base_url: base_url.to_owned(), token: None, cookie: Mutex::default() }
    }

    /// The same server, asked with a personal access token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::new(&self.base_url) }
    }

    /// Reads; nothing if there is no such thing.
    pub(crate) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let request = self.as_visitor(self.agent.get(format!("{}{PREFIX}{path}", self.base_url)));
        let response = request.call().with_context(|| format!("GET {path}"))?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        self.read(response).with_context(|| format!("GET {path}")).map(Some)
    }

    /// Reads.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.find(path)?.with_context(|| format!("GET {path}: there is no such thing"))
    }

    /// Creates or acts.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let request = self.as_visitor(self.agent.post(format!("{}{PREFIX}{path}", self.base_url)));
        let response = request.send_json(body).with_context(|| format!("POST {path}"))?;
        self.read(response).with_context(|| format!("POST {path}"))
    }

    fn as_visitor<B>(&self, mut request: RequestBuilder<B>) -> RequestBuilder<B> {
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(cookie) = &*self.cookie.lock().unwrap_or_else(PoisonError::into_inner) {
            // A session is a browser's: it says which page a request comes from.
            request = request.header("cookie", cookie).header("origin", &self.base_url);
        }
        request
    }

    fn read<T: DeserializeOwned>(&self, mut response: Response<Body>) -> Result<T> {
        let status = response.status();
        let cookie = response.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        if let Some(pair) = cookie.and_then(|cookie| cookie.split(';').next()) {
            *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair.to_owned());
        }
        let body = response.body_mut().read_to_string()?;
        if !status.is_success() {
            if let Ok(problem) = serde_json::from_str::<Problem>(&body) {
                let fields: Vec<_> = problem
                    .errors
                    .iter()
                    .map(|error| format!("{}: {}", error.field, error.message))
                    .collect();
                bail!("{status}: {problem} {}", fields.join("; "));
            }
            bail!("{status}: {body}");
        }
        serde_json::from_str(&body).with_context(|| format!("the answer cannot be read: {body}"))
    }

    /// Whether the server answers and calls itself ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.agent
            .get(format!("{}/readyz", self.base_url))
            .call()
            .is_ok_and(|response| response.status().is_success())
    }
}
