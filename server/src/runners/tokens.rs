//! Registration tokens: shown once, good for a few machines and a short time.

use chrono::TimeDelta;
use devenv_cloud_api::{
    audit::AuditAction,
    ids::RunnerTokenId,
    runners::{CreateRunnerToken, NewRunnerToken, RunnerToken},
};

use super::{Owner, TOKEN_PREFIX, store};
use crate::{
    app::AppParts,
    audit,
    db::DbError,
    identity::{Origin, User, secret},
    refusal::{Fields, Refusal},
};

/// Creates one, for this person.
///
/// # Errors
/// When a field makes no sense.
pub async fn create_token(
    app: &AppParts,
    owner: Owner,
    by: &User,
    wanted: CreateRunnerToken,
    origin: &Origin,
) -> Result<NewRunnerToken, Refusal> {
    let CreateRunnerToken { uses, expires_in_hours } = wanted;
    let mut fields = Fields::default();
    if !(1..=100).contains(&uses) {
        fields.refuse("uses", "a token is for 1 to 100 machines");
    }
    if !(1..=720).contains(&expires_in_hours) {
        fields.refuse("expires_in_hours", "a token expires after 1 to 720 hours");
    }
    fields.done()?;
    let now = app.clock.now();
    let secret = secret::new_secret(TOKEN_PREFIX, &app.random);
    let token = RunnerToken {
        id: RunnerTokenId(app.random.id(now)),
        prefix: secret::shown(&secret),
        created_by: by.name.clone(),
        created_at: now,
        expires_at: now + TimeDelta::hours(i64::from(expires_in_hours)),
        uses,
        used: 0,
    };
    let mut tx = app.db.begin().await?;
    store::insert_token(&mut tx, owner.org(), &token, secret::hash(secret.as_bytes())).await?;
    let event = owner.event(AuditAction::CreateRunnerToken, origin).by(by);
    audit::record(app, &mut tx, event.target(&format!("{}, {uses} machines", token.prefix))).await?;
    tx.commit().await?;
    let command = format!("devenv-cloud runner --server {} --token {secret}", app.config.server.base_url);
    Ok(NewRunnerToken { token, secret, command })
}

/// The tokens that still work, newest first.
///
/// # Errors
/// When the database says no.
pub async fn tokens(
    app: &AppParts,
    owner: Owner,
    before: Option<RunnerTokenId>,
    limit: u32,
) -> Result<Vec<RunnerToken>, DbError> {
    store::list_tokens(&app.db, owner.org(), app.clock.now(), before, limit).await
}

/// Revokes one. Runners that registered with it stay.
///
/// # Errors
/// When there is none.
pub async fn revoke_token(
    app: &AppParts,
    owner: Owner,
    by: &User,
    id: RunnerTokenId,
    origin: &Origin,
) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let prefix = store::revoke_token(&mut tx, owner.org(), id, app.clock.now()).await?;
    let event = owner.event(AuditAction::RevokeRunnerToken, origin).by(by);
    audit::record(app, &mut tx, event.target(&prefix.ok_or(Refusal::NotFound)?)).await?;
    tx.commit().await?;
    Ok(())
}
