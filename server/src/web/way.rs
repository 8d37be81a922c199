//! The cookie of a sign-in that is under way.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};

use crate::app::{App, AppParts};

pub(super) const SECURE: &str = "__Host-way";
pub(super) const PLAIN: &str = "way";

fn name(app: &AppParts) -> &'static str {
    if app.config.server.is_https() { SECURE } else { PLAIN }
}

/// The key of the sign-in that this browser has under way, if any.
#[derive(Clone, Debug)]
pub(super) struct Way(pub Option<String>);

impl FromRequestParts<App> for Way {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(cookie(&parts.headers, name(app))))
    }
}

impl Way {
    /// The key, as text.
    #[must_use]
    pub(super) fn key(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// A cookie of the request.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

/// The header that gives the browser another key, or takes it away.
pub(super) fn set(app: &AppParts, key: Option<&str>) -> (header::HeaderName, HeaderValue) {
    let secure = if app.config.server.is_https() { "; Secure" } else { "" };
    // As long as a sign-in may take, and a little more, so that one that took
    // too long is told so.
    let (value, age) = key.map_or(("", 0), |key| (key, 1200));
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}", name(app));
    (header::SET_COOKIE, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("")))
}
