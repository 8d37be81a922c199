//! Tokens: what programs sign in with, for somebody, with less than that
//! person's permissions. They always expire, and are shown once.

use chrono::{DurationRound as _, TimeDelta};
use devenv_cloud_api::{
    accounts::{CreateToken, NewToken, Token},
    audit::AuditAction,
    ids::{ProjectId, TokenId, UserId},
};

use super::{
    account::check_name,
    principal::{Principal, User},
    secret,
    session::Origin,
    store,
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::{DbError, Target},
    refusal::{Fields, Refusal},
};

/// For whom this token acts; `None` if it is none of ours, expired or revoked.
///
/// # Errors
/// When the database says no.
pub async fn authenticate_token(app: &AppParts, given: &str) -> Result<Option<Principal>, DbError> {
    if !secret::is_token(given) {
        return Ok(None);
    }
    let now = app.clock.now();
    let found = store::find_token(&app.db, secret::hash(given.as_bytes()), now).await?;
    let Some((token, last_used_at)) = found else { return Ok(None) };
    let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
    if last_used_at.is_none_or(|last| last < minute) {
        store::touch_token(&app.db, token.token, minute).await?;
    }
    Ok(Some(Principal::Token(token)))
}

/// Creates a token for `owner`, limited to `project` (with its name
/// `org/project`) if one is given.
///
/// # Errors
/// When a field makes no sense.
pub async fn create_token(
    app: &AppParts,
    owner: &User,
    project: Option<(ProjectId, String)>,
    wanted: CreateToken,
    origin: &Origin,
) -> Result<NewToken, Refusal> {
    let mut tx = app.db.begin().await?;
    let made = create_token_in(app, &mut tx, owner, project, wanted).await?;
    let event = Event::new(AuditAction::CreateToken, origin).by(owner).target(&made.token.name);
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(made)
}

/// The same, as a part of something else.
///
/// # Errors
/// When a field makes no sense.
pub async fn create_token_in(
    app: &AppParts,
    target: impl Into<Target<'_>>,
    owner: &User,
    project: Option<(ProjectId, String)>,
    wanted: CreateToken,
) -> Result<NewToken, Refusal> {
    let CreateToken { name, mut scopes, expires_in_days } = wanted;
    let name = name.trim().to_owned();
    scopes.sort_unstable();
    scopes.dedup();
    let mut fields = Fields::default();
    fields.check("name", check_name(&name));
    if scopes.is_empty() {
        fields.refuse("scopes", "choose what the token may be used for");
    }
    if !(1..=366).contains(&expires_in_days) {
        fields.refuse("expires_in_days", "a token expires after 1 to 366 days");
    }
    fields.done()?;
    let now = app.clock.now();
    let secret = secret::new_token(&app.random);
    let (project_id, project) = project.map_or((None, None), |(id, name)| (Some(id), Some(name)));
    let token = Token {
        id: TokenId(app.random.id(now)),
        name,
        prefix: secret::shown(&secret),
        scopes,
        project,
        owner: owner.email.clone(),
        created_at: now,
        expires_at: now + TimeDelta::days(i64::from(expires_in_days)),
        last_used_at: None,
    };
    store::insert_token(target, owner.id, project_id, &token, secret::hash(secret.as_bytes())).await?;
    Ok(NewToken { token, secret })
}

/// Somebody's tokens that work, newest first.
///
/// # Errors
/// When the database says no.
pub async fn tokens(
    app: &AppParts,
    owner: UserId,
    before: Option<TokenId>,
    limit: u32,
) -> Result<Vec<Token>, DbError> {
    store::list_tokens(&app.db, Some(owner), None, app.clock.now(), before, limit).await
}

/// The tokens that are limited to this project, whosever they are, newest first.
///
/// # Errors
/// When the database says no.
pub async fn project_tokens(
    app: &AppParts,
    project: ProjectId,
    before: Option<TokenId>,
    limit: u32,
) -> Result<Vec<Token>, DbError> {
    store::list_tokens(&app.db, None, Some(project), app.clock.now(), before, limit).await
}

/// Revokes one of somebody's tokens. Whether there was one.
///
/// # Errors
/// When the database says no.
pub async fn revoke_token(
    app: &AppParts,
    owner: &User,
    id: TokenId,
    origin: &Origin,
) -> Result<bool, DbError> {
    let mut tx = app.db.begin().await?;
    let revoked = store::revoke_token(&mut tx, owner.id, id, app.clock.now()).await?;
    let Some(name) = revoked else { return Ok(false) };
    let event = Event::new(AuditAction::RevokeToken, origin).by(owner).target(&name);
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(true)
}
