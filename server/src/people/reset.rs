//! Forgotten passwords.

use chrono::TimeDelta;
use devenv_cloud_api::{
    audit::AuditAction,
    ids::UserId,
    people::{AskReset, ResetPassword},
};
use serde::{Deserialize, Serialize};

use super::store;
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::{DbError, Target},
    identity::{self, Origin, secret},
    mail::{self, Message, notices},
    once::{self, Once},
    refusal::Refusal,
};

/// A link to set a new password. For nobody, if there was nobody to send it to:
/// then nobody has the key either.
#[derive(Serialize, Deserialize)]
struct Reset {
    user: Option<UserId>,
    /// The hash of the hash that the password had: the link is for that one.
    was: Option<Vec<u8>>,
}

impl Once for Reset {
    const KIND: &'static str = "password-reset";
    const LIFE: TimeDelta = TimeDelta::hours(1);
}

fn fingerprint(hash: Option<&String>) -> Option<Vec<u8>> {
    hash.map(|hash| secret::hash(hash.as_bytes()))
}

/// Ends all links that would set somebody's password.
///
/// # Errors
/// When the database says no.
pub async fn forget_resets(target: impl Into<Target<'_>>, user: UserId) -> Result<(), DbError> {
    once::forget_all::<Reset>(target, user).await
}

/// Sends a link to set a new password, if there is such an account. Whether
/// there is cannot be told: not by the answer, and not by the time it takes,
/// since for nobody the same is done, but for the mail.
///
/// # Errors
/// When it was asked for too often from this network.
pub async fn ask_reset(app: &AppParts, ask: AskReset, origin: &Origin) -> Result<(), Refusal> {
    app.people.link(origin)?;
    let email: String = ask.email.trim().chars().take(254).collect();
    // Whose mailbox got enough of these hears no more for now, and nobody is told.
    let enough = app.people.mail(&email).is_err();
    let found = store::find_by_email(&app.db, &email).await?;
    let found = found.filter(|account| account.disabled_at.is_none() && !enough);
    let mut tx = app.db.begin().await?;
    if let Some(account) = &found {
        forget_resets(&mut tx, account.user.id).await?;
    }
    let user = found.as_ref().map(|account| account.user.id);
    let was = found.as_ref().and_then(|account| fingerprint(account.password_hash.as_ref()));
    let key = once::put(app, &mut tx, user, &Reset { user, was }).await?;
    let link = app.url(&format!("/reset?token={key}"));
    let event = Event::new(AuditAction::AskReset, origin);
    if let Some(account) = &found {
        let message = Message::to(&account.user, "Set a new password")
            .say("Somebody, probably you, asked to set a new password for your account.")
            .link("Set a new password", link)
            .close("The link works once, within an hour. A newer one ends it.")
            .close("If you did not ask for it, there is nothing to do: without the link nobody can use it.");
        mail::send(app, &mut tx, message).await?;
        audit::record(app, &mut tx, event.about(&account.user)).await?;
    } else {
        audit::record(app, &mut tx, event.target(&email).refused()).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Sets a new password by a link. All sessions end, and all that is under way.
/// It signs nobody in: the link is one proof, and there may be more to ask for.
///
/// # Errors
/// When the link does not work (any more), or the password is not accepted.
pub async fn reset(app: &AppParts, given: ResetPassword, origin: &Origin) -> Result<(), Refusal> {
    app.people.link(origin)?;
    let ResetPassword { token, password } = given;
    let known = once::look::<Reset>(app, &app.db, &token).await?.ok_or(Refusal::InvalidLink)?;
    let user = known.user.ok_or(Refusal::InvalidLink)?;
    let account = store::find(&app.db, user).await?.ok_or(Refusal::InvalidLink)?;
    let own = [account.user.email.as_str(), account.user.name.as_str()];
    identity::check_password(&password, &own).map_err(|why| Refusal::field("password", why))?;
    let hash = app.identity.passwords.hash(password, app.random.bytes()).await?;

    let mut tx = app.db.begin().await?;
    let taken = once::take::<Reset>(app, &mut tx, &token).await?.ok_or(Refusal::InvalidLink)?;
    let account = store::find(&mut tx, user).await?.filter(|account| account.disabled_at.is_none());
    let account = account.ok_or(Refusal::InvalidLink)?;
    let old = account.password_hash;
    let now = app.clock.now();
    if taken.was != fingerprint(old.as_ref()) || !store::set_password(&mut tx, user, old, &hash, now).await? {
        return Err(Refusal::InvalidLink);
    }
    store::end_sessions(&mut tx, user).await?;
    once::forget_everything(&mut tx, user).await?;
    notices::password_reset(app, &mut tx, &account.user, origin).await?;
    audit::record(app, &mut tx, Event::new(AuditAction::ResetPassword, origin).about(&account.user)).await?;
    tx.commit().await?;
    Ok(())
}
