//! What administrators of the instance do to accounts.

use devenv_cloud_api::{audit::AuditAction, ids::UserId, people::Person};

use super::store;
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    identity::{Origin, User},
    once,
    refusal::Refusal,
};

/// People, newest account first, by a part of name or address.
///
/// # Errors
/// When the database says no.
pub async fn list(
    app: &AppParts,
    text: Option<&str>,
    before: Option<UserId>,
    limit: u32,
) -> Result<Vec<Person>, DbError> {
    store::list_people(&app.db, text, before, limit).await
}

/// Disables an account: its sessions, tokens, and whatever it has under way end
/// at once, and for good. Nobody can disable themselves, so that there is always
/// an administrator left: the one who did it last.
///
/// # Errors
/// When there is no such account, it is one's own, or one was disabled meanwhile.
pub async fn disable(app: &AppParts, asker: &User, id: UserId, origin: &Origin) -> Result<(), Refusal> {
    if asker.id == id {
        return Err(Refusal::Conflict(
            "you cannot disable your own account; another administrator can".to_owned(),
        ));
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    store::lock_instance(&mut tx).await?;
    // Who was disabled while waiting for the lock disables nobody.
    let still = store::find(&mut tx, asker.id).await?;
    if !still.is_some_and(|it| it.disabled_at.is_none() && it.user.instance_admin) {
        return Err(Refusal::Unauthenticated);
    }
    let account = store::find(&mut tx, id).await?.ok_or(Refusal::NotFound)?;
    if account.disabled_at.is_some() {
        return Ok(());
    }
    store::set_disabled(&mut tx, id, Some(now)).await?;
    store::end_sessions(&mut tx, id).await?;
    store::revoke_tokens(&mut tx, id, now).await?;
    once::forget_everything(&mut tx, id).await?;
    let event = Event::new(AuditAction::DisableAccount, origin).by(asker).about(&account.user);
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(())
}

/// Enables an account again. Its sessions and tokens stay dead.
///
/// # Errors
/// When there is no such account.
pub async fn enable(app: &AppParts, asker: &User, id: UserId, origin: &Origin) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let account = store::find(&mut tx, id).await?.ok_or(Refusal::NotFound)?;
    if account.disabled_at.is_none() {
        return Ok(());
    }
    store::set_disabled(&mut tx, id, None).await?;
    let event = Event::new(AuditAction::EnableAccount, origin).by(asker).about(&account.user);
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(())
}
