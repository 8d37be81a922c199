//! Whose an e-mail address is, and changing it. An address counts when somebody
//! followed a link that was sent there; until then nothing is told about it.

use chrono::TimeDelta;
use devenv_cloud_api::{
    audit::AuditAction,
    ids::UserId,
    people::{ChangeEmail, EmailAddress, LinkToken},
};
use serde::{Deserialize, Serialize};

use super::{reset::forget_resets, store};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    identity::{Origin, User, check_email, email_key},
    mail::{self, Message, notices},
    once::{self, Once},
    refusal::Refusal,
};

/// A link by which an address becomes, or is known to be, somebody's.
#[derive(Serialize, Deserialize)]
struct Confirm {
    user: UserId,
    /// The address that the link was sent to.
    email: String,
    /// The address that the account had then.
    was: String,
}

impl Once for Confirm {
    const KIND: &'static str = "email-confirmation";
    const LIFE: TimeDelta = TimeDelta::hours(24);
}

/// Somebody's address.
///
/// # Errors
/// When the database says no.
pub async fn address(app: &AppParts, user: &User) -> Result<EmailAddress, Refusal> {
    let account = store::find(&app.db, user.id).await?.ok_or(Refusal::NotFound)?;
    Ok(EmailAddress { email: account.user.email, verified_at: account.verified_at })
}

/// Sends a link to the address that somebody has, to prove that it is theirs.
///
/// # Errors
/// When it is proven already, or was asked for too often.
pub async fn ask_verification(app: &AppParts, user: &User) -> Result<(), Refusal> {
    let account = store::find(&app.db, user.id).await?.ok_or(Refusal::NotFound)?;
    if account.verified_at.is_some() {
        return Err(Refusal::Conflict("this address is confirmed already".to_owned()));
    }
    let email = account.user.email.clone();
    app.people.mail(&email)?;
    let mut tx = app.db.begin().await?;
    once::forget_all::<Confirm>(&mut tx, user.id).await?;
    let confirm = Confirm { user: user.id, email: email.clone(), was: email };
    let key = once::put(app, &mut tx, Some(user.id), &confirm).await?;
    let message = Message::to(&account.user, "Confirm your e-mail address")
        .say("Confirm that this is your e-mail address, so that you can get back into your account by it.")
        .link("Confirm the address", app.url(&format!("/verify-email?token={key}")))
        .close("The link works once, within a day.")
        .close("If you have no account there, somebody else gave your address: do nothing.");
    mail::send(app, &mut tx, message).await?;
    tx.commit().await?;
    Ok(())
}

/// Sends a link to an address that somebody wants to have from now on. One that
/// somebody else has gets a mail, too, in which there is no link; the one who
/// asks does not see the difference.
///
/// # Errors
/// When it is no address or the same one, or was asked for too often.
pub async fn ask_change(
    app: &AppParts,
    user: &User,
    change: ChangeEmail,
    origin: &Origin,
) -> Result<(), Refusal> {
    let email = change.email.trim().to_owned();
    check_email(&email).map_err(|why| Refusal::field("email", why))?;
    if email == user.email {
        return Err(Refusal::field("email", "this is your address already"));
    }
    app.people.mail(&email)?;
    let other = store::find_by_email(&app.db, &email).await?.filter(|other| other.user.id != user.id);
    let mut tx = app.db.begin().await?;
    once::forget_all::<Confirm>(&mut tx, user.id).await?;
    let confirm = Confirm { user: user.id, email: email.clone(), was: user.email.clone() };
    let key = once::put(app, &mut tx, Some(user.id), &confirm).await?;
    let message = match other {
        None => Message::new(&email, &user.name, "Confirm your new e-mail address")
            .say(format!("Confirm this address, and it takes the place of {} in your account.", user.email))
            .link("Confirm the address", app.url(&format!("/verify-email?token={key}")))
            .close("The link works once, within a day. Until then nothing changes.")
            .close("If you have no account there, somebody else gave your address: do nothing."),
        Some(other) => {
            once::forget_all::<Confirm>(&mut tx, user.id).await?;
            Message::to(&other.user, "Somebody wanted to use your e-mail address")
                .say("Somebody asked to give their account this address, which is the one of your account.")
                .close("Nothing has changed, and there is nothing to do.")
        }
    };
    mail::send(app, &mut tx, message).await?;
    audit::record(app, &mut tx, Event::new(AuditAction::AskEmail, origin).by(user).target(&email)).await?;
    tx.commit().await?;
    Ok(())
}

/// Follows such a link. Gives the address, which is the account's now.
///
/// # Errors
/// When the link does not work (any more).
pub async fn confirm(app: &AppParts, given: LinkToken, origin: &Origin) -> Result<String, Refusal> {
    app.people.link(origin)?;
    let mut tx = app.db.begin().await?;
    let taken = once::take::<Confirm>(app, &mut tx, &given.token).await?.ok_or(Refusal::InvalidLink)?;
    let account = store::find(&mut tx, taken.user).await?;
    // An account that has another address by now was meant otherwise.
    let account = account.filter(|it| it.disabled_at.is_none() && it.user.email == taken.was);
    let before = account.ok_or(Refusal::InvalidLink)?.user;
    let now = app.clock.now();
    let user = User { email: taken.email, ..before.clone() };
    match store::set_email(&mut tx, user.id, &user.email, &email_key(&user.email), now).await {
        Err(DbError::Taken(_)) => {
            return Err(Refusal::Conflict("another account has this address by now".to_owned()));
        }
        other => other?,
    }
    let event = if user.email == before.email {
        Event::new(AuditAction::VerifyEmail, origin).by(&user)
    } else {
        // Links in the old mailbox are somebody else's perhaps.
        forget_resets(&mut tx, user.id).await?;
        notices::email_changed(app, &mut tx, &user, &before.email, origin).await?;
        Event::new(AuditAction::ChangeEmail, origin).by(&user).target(&before.email)
    };
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(user.email)
}
