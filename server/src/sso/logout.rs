//! A provider ends sessions that began with it (OpenID Connect Back-Channel
//! Logout 1.0): it sends a signed token that says whose, and nothing of a browser.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use devenv_cloud_api::{Timestamp, audit::AuditAction, ids::UserId};
use openidconnect::core::CoreJsonWebKey as Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Rejection, Wrong,
    jws::{self, NotOpened, no},
    oidc::{Audience, check_subject, check_times, maybe_seconds, seconds, with_keys},
    provider::Provider,
    store,
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    config::Algorithms,
    identity::{Origin, arrival, find_link, find_user},
    once::{self, Once},
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a token may be that was made to be sent at once.
const OLD: TimeDelta = TimeDelta::minutes(2);

/// A token that was used.
#[derive(Serialize, Deserialize)]
struct Used;

impl Once for Used {
    const KIND: &'static str = "logout by a provider";
    /// Longer than a token is young enough.
    const LIFE: TimeDelta = TimeDelta::minutes(10);
}

/// What the token says (§2.4).
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    #[serde(deserialize_with = "seconds")]
    iat: i64,
    #[serde(default, deserialize_with = "maybe_seconds")]
    exp: Option<i64>,
    jti: String,
    events: BTreeMap<String, Value>,
    sub: Option<String>,
    sid: Option<String>,
    nonce: Option<Value>,
}

struct Expected<'a> {
    issuer: &'a str,
    client_id: &'a str,
    other_audiences: &'a [String],
    now: Timestamp,
}

fn validate(
    token: &str,
    expected: &Expected<'_>,
    allowed: &Algorithms,
    keys: &[Key],
) -> Result<Claims, NotOpened> {
    let opened = jws::open(token, allowed, keys)?;
    if !opened.typ.as_deref().is_some_and(|typ| {
        typ.eq_ignore_ascii_case("logout+jwt") || typ.eq_ignore_ascii_case("application/logout+jwt")
    }) {
        return no("its token is of another kind (typ)");
    }
    let claims: Claims = serde_json::from_slice(&opened.payload)
        .map_err(|error| NotOpened::Bad(format!("its token does not say what it must: {error}")))?;
    if claims.iss != expected.issuer {
        return no("its token is somebody else's (iss)");
    }
    claims.aud.check(expected.client_id, expected.other_audiences).map_err(NotOpened::Bad)?;
    check_times(expected.now, claims.exp, claims.iat, None, OLD).or_else(no)?;
    // Without this, a token to log somebody in could log them out.
    if !claims.events.get(EVENT).is_some_and(Value::is_object) {
        return no("its token is about no logout (events)");
    }
    if claims.nonce.is_some() {
        return no("its token answers a question, and none was asked (nonce)");
    }
    if claims.sub.is_none() && claims.sid.is_none() {
        return no("its token says neither whose sessions end nor which (sub, sid)");
    }
    if let Some(sub) = &claims.sub {
        check_subject(sub).or_else(no)?;
    }
    if claims.jti.is_empty() {
        return no("its token has no number (jti)");
    }
    Ok(claims)
}

/// Ends the sessions that a provider's token names. How many.
///
/// # Errors
/// See [`Rejection`]; a token that was used is refused.
pub async fn log_out(
    app: &AppParts,
    provider: &str,
    token: &str,
    origin: &Origin,
) -> Result<usize, Rejection> {
    let provider = app.sso.find(provider)?;
    let result = end(app, &provider, token, origin).await;
    if let Err(rejection) = &result {
        tracing::warn!(provider = provider.name, %rejection, "a provider's logout was refused");
        let target = format!("{}: {rejection}", provider.name);
        let event = Event::new(AuditAction::ProviderSignOut, origin).target(&target);
        audit::record(app, &app.db, event.refused()).await?;
    }
    result
}

async fn end(app: &AppParts, provider: &Provider, token: &str, origin: &Origin) -> Result<usize, Rejection> {
    if provider.is_github() {
        return Err(Wrong::words("it knows no logout of this kind").of(provider));
    }
    let metadata = provider.metadata(app).await.map_err(|wrong| wrong.of(provider))?;
    let settings = &provider.settings;
    let expected = Expected {
        issuer: &metadata.issuer,
        client_id: &settings.client_id,
        other_audiences: &settings.other_audiences.0,
        now: app.clock.now(),
    };
    let check = |keys: &[Key]| validate(token, &expected, &settings.allowed_algorithms, keys);
    let claims = with_keys(app, provider, check).await.map_err(|wrong| wrong.of(provider))?;
    let mut tx = app.db.begin().await?;
    let key = format!("{} {}", provider.name, claims.jti);
    if !once::put_first(app, &mut tx, &key, &Used).await? {
        return Err(Wrong::words("its token was used already (jti)").of(provider));
    }
    let (subject, session) = (claims.sub.as_deref(), claims.sid.as_deref());
    let ended = store::end_sessions(&mut tx, &provider.name, subject, session).await?;
    // Nor does a sign-in go on that waits for a second factor.
    let mut whose: BTreeSet<UserId> = ended.iter().copied().collect();
    if let Some(subject) = subject {
        whose.extend(find_link(&mut tx, &provider.name, subject).await?);
    }
    for user in whose {
        arrival::end_all(&mut tx, user).await?;
    }
    for &user in &ended {
        if let Some(user) = find_user(&mut tx, user).await? {
            let event = Event::new(AuditAction::ProviderSignOut, origin).about(&user).target(&provider.name);
            audit::record(app, &mut tx, event).await?;
        }
    }
    tx.commit().await?;
    Ok(ended.len())
}
