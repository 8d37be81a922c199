//! The session cookie, and what must be true of a request that relies on it.

use axum::{
    extract::Request,
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tower_sessions::{
    Expiry, SessionManagerLayer,
    cookie::{SameSite, time::Duration},
};

use super::ApiError;
use crate::{app::AppParts, identity::SessionStore};

/// The cookie's name over https. The prefix makes browsers insist that it is
/// secure, for this host only, and for all of its paths (RFC 6265bis §4.1.3.2):
/// no neighbouring host can set one.
pub(super) const SECURE_COOKIE: &str = "__Host-sid";

/// Over plain http browsers refuse that prefix. `serve` warns about it.
const PLAIN_COOKIE: &str = "sid";

/// The cookies that speak for a person.
const COOKIES: [&str; 4] = [SECURE_COOKIE, PLAIN_COOKIE, super::way::SECURE, super::way::PLAIN];

/// The layer for routes that know sessions. It reads nothing from the database
/// before a route asks who is there.
pub(super) fn layer(app: &AppParts) -> SessionManagerLayer<SessionStore> {
    let secure = app.config.server.is_https();
    // Lax and not strict: strict would sign people out when they come back
    // from an identity provider, or follow a link in a mail.
    SessionManagerLayer::new(SessionStore::new(app))
        .with_name(if secure { SECURE_COOKIE } else { PLAIN_COOKIE })
        .with_secure(secure)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(Duration::days(i64::from(app.config.sessions.absolute_days))))
}

/// Refuses to change anything on the word of a cookie alone. The CSRF layer lets
/// requests pass that say nothing about where they come from, because programs
/// don't; but programs have no cookie, and every browser of today says it.
pub(super) async fn require_origin_with_cookie(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let says_where_from = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    let has_cookie = headers.get_all(header::COOKIE).iter().any(|cookies| {
        let cookies = cookies.to_str().unwrap_or_default().split(';');
        cookies.filter_map(|cookie| cookie.trim().split_once('=')).any(|(name, _)| COOKIES.contains(&name))
    });
    if !request.method().is_safe()
        && has_cookie
        && !says_where_from
        && !headers.contains_key(header::AUTHORIZATION)
    {
        return ApiError::Forbidden(
            "a request that changes something with a session cookie must say where it comes from (`Origin` or \
             `Sec-Fetch-Site`); programs should use a token"
                .to_owned(),
        )
        .into_response();
    }
    next.run(request).await
}
