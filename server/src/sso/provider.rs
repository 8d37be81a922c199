//! A provider: what the configuration says of it, and what it says of itself.
//!
//! What it says is kept for an hour. Its keys are asked for again when a token
//! names one that is not known, but not more often than once a minute: whoever
//! sends us tokens with invented keys must not have us ask on their behalf.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use devenv_cloud_api::Timestamp;
use http::{Request, header};
use openidconnect::{JsonWebKeySet, core::CoreJsonWebKey as Key};
use serde::{Deserialize, de::DeserializeOwned};

use super::Wrong;
use crate::{
    app::AppParts,
    config::{Provider as Settings, ProviderKind},
};

/// How long what a provider says of itself is good for.
const FRESH: TimeDelta = TimeDelta::hours(1);
/// How often keys are asked for because one is not known.
const AGAIN: TimeDelta = TimeDelta::minutes(1);

/// A provider's word about itself (OpenID Connect Discovery §3), as far as it is used.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    pub(super) userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, Timestamp)>,
    keys: Option<(Arc<Vec<Key>>, Timestamp)>,
    /// When keys were last asked for because one was not known.
    asked_again: Option<Timestamp>,
}

/// A provider of the configuration.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) settings: Settings,
    known: Mutex<Known>,
    /// One asks, the others wait for what it brings.
    asking: tokio::sync::Mutex<()>,
}

impl Provider {
    pub(super) fn new(name: &str, settings: &Settings) -> Self {
        Self {
            name: name.to_owned(),
            settings: settings.clone(),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn is_github(&self) -> bool {
        self.settings.kind == ProviderKind::GitHub
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the provider says of itself. That it is the issuer that we want is
    /// checked by the letter (RFC 8414 §3.3): a document that was put somewhere
    /// by somebody else calls itself something else.
    pub(super) async fn metadata(&self, app: &AppParts) -> Result<Arc<Metadata>, Wrong> {
        let now = app.clock.now();
        if let Some((metadata, at)) = &self.known().metadata
            && now - *at < FRESH
        {
            return Ok(metadata.clone());
        }
        let issuer = &self.settings.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let metadata: Metadata = get(app, &address, None).await?;
        if metadata.issuer != *issuer {
            return Err(Wrong::Silence(format!(
                "{address} is about the issuer `{}`, and provider.{}.issuer is `{issuer}`: they must be the same to the \
                 letter",
                metadata.issuer.escape_debug(),
                self.name
            )));
        }
        // Where people are sent is checked like what we ask ourselves, but for its address:
        // they are not in our network.
        for endpoint in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            app.outgoing.check(endpoint).map_err(Wrong::Silence)?;
        }
        let metadata = Arc::new(metadata);
        self.known().metadata = Some((metadata.clone(), now));
        Ok(metadata)
    }

    /// The provider's keys.
    pub(super) async fn keys(&self, app: &AppParts) -> Result<Arc<Vec<Key>>, Wrong> {
        let now = app.clock.now();
        let fresh = |known: &Known| match &known.keys {
            Some((keys, at)) if now - *at < FRESH => Some(keys.clone()),
            _ => None,
        };
        if let Some(keys) = fresh(&self.known()) {
            return Ok(keys);
        }
        let _one = self.asking.lock().await;
        let found = fresh(&self.known());
        match found {
            Some(keys) => Ok(keys),
            None => self.ask_for_keys(app).await,
        }
    }

    /// The keys as they are now, since none of `seen` fits; `None` if they are
    /// still those, or it is too early to ask again.
    pub(super) async fn newer_keys(
        &self,
        app: &AppParts,
        seen: &Arc<Vec<Key>>,
    ) -> Result<Option<Arc<Vec<Key>>>, Wrong> {
        let _one = self.asking.lock().await;
        let now = app.clock.now();
        {
            let mut known = self.known();
            match &known.keys {
                Some((keys, _)) if !Arc::ptr_eq(keys, seen) => return Ok(Some(keys.clone())),
                _ => {}
            }
            if known.asked_again.is_some_and(|at| now - at < AGAIN) {
                return Ok(None);
            }
            known.asked_again = Some(now);
        }
        self.ask_for_keys(app).await.map(Some)
    }

    async fn ask_for_keys(&self, app: &AppParts) -> Result<Arc<Vec<Key>>, Wrong> {
        let metadata = self.metadata(app).await?;
        let set: JsonWebKeySet<Key> = get(app, &metadata.jwks_uri, None).await?;
        let keys = Arc::new(set.keys().clone());
        self.known().keys = Some((keys.clone(), app.clock.now()));
        Ok(keys)
    }
}

/// Asks for JSON.
pub(super) async fn get<T: DeserializeOwned>(
    app: &AppParts,
    address: &str,
    token: Option<&str>,
) -> Result<T, Wrong> {
    let mut request = Request::get(address).header(header::ACCEPT, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .body(Vec::new())
        .map_err(|error| Wrong::Silence(format!("{address} cannot be asked: {error}")))?;
    let answer = app.outgoing.send(request).await?;
    if !answer.status().is_success() {
        return Err(Wrong::Silence(format!("{address} answered with {}", answer.status())));
    }
    serde_json::from_slice(answer.body())
        .map_err(|error| Wrong::Silence(format!("the answer of {address} makes no sense: {error}")))
}
