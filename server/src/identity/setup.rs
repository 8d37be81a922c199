//! The first user. Whoever starts the server gets a link that works once; who
//! opens it becomes the administrator of the instance.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use devenv_cloud_api::{accounts::Setup, audit::AuditAction, ids::UserId};

use super::{account, password, principal::User, secret, session::Origin, store};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    refusal::{Fields, Refusal},
};

/// Whether there is no user yet.
///
/// # Errors
/// When the database says no.
pub async fn is_needed(app: &AppParts) -> Result<bool, DbError> {
    Ok(store::count_users(&app.db).await? == 0)
}

/// The link for whoever starts the server, as long as there is no user. Each
/// call makes a new one, and the one before is dead.
///
/// # Errors
/// When the database says no.
pub async fn announce(app: &AppParts) -> Result<Option<String>, DbError> {
    let mut tx = app.db.begin().await?;
    if store::count_users(&mut tx).await? > 0 {
        return Ok(None);
    }
    let token = URL_SAFE_NO_PAD.encode(app.random.bytes::<32>());
    store::put_setup(&mut tx, secret::hash(token.as_bytes()), app.clock.now()).await?;
    tx.commit().await?;
    Ok(Some(app.url(&format!("/setup?token={token}"))))
}

/// Creates the first user.
///
/// # Errors
/// When the link is not the right one or used up, or a field makes no sense.
pub async fn set_up(app: &AppParts, setup: Setup, origin: &Origin) -> Result<User, Refusal> {
    let Setup { token, email, name, password } = setup;
    let (email, name) = (email.trim().to_owned(), name.trim().to_owned());
    let mut fields = Fields::default();
    fields.check("email", account::check_email(&email));
    fields.check("name", account::check_name(&name));
    fields.check("password", password::check(&password, &[&email, &name]));
    // Without a valid link nobody learns anything, not even about passwords.
    let mut tx = app.db.begin().await?;
    let now = app.clock.now();
    let right = store::use_setup(&mut tx, secret::hash(token.as_bytes()), now).await?;
    if !right || store::count_users(&mut tx).await? > 0 {
        return Err(Refusal::InvalidSetupToken);
    }
    fields.done()?;
    // The row of the link is locked meanwhile; there is only ever one who waits for it.
    let hash = app.identity.passwords.hash(password, app.random.bytes()).await?;
    let user = User { id: UserId(app.random.id(now)), email, name, instance_admin: true, created_at: now };
    store::insert_user(&mut tx, &user, Some(&hash), None).await?;
    audit::record(app, &mut tx, Event::new(AuditAction::CreateAccount, origin).by(&user)).await?;
    tx.commit().await?;
    tracing::info!(user = user.email, "the instance is set up");
    Ok(user)
}
