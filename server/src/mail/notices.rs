//! Mails that tell somebody what happened to their account, with when and from
//! where, and what to do if it was not them. Whoever takes an account over does
//! so without its owner noticing, but for these.

use crate::{
    app::AppParts,
    db::Tx,
    identity::{Origin, User},
    refusal::Refusal,
};

use super::{Message, send};

/// A passkey was added.
///
/// # Errors
/// When the database says no.
pub async fn passkey_added(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    name: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what =
        format!("The passkey “{name}” was added to your account. Whoever holds it can sign in as you.");
    tell(app, tx, user, "A passkey was added to your account", &what, origin).await
}

/// A passkey was removed.
///
/// # Errors
/// When the database says no.
pub async fn passkey_removed(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    name: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = format!("The passkey “{name}” was removed from your account, and signs nobody in any more.");
    tell(app, tx, user, "A passkey was removed from your account", &what, origin).await
}

/// A passkey was refused because its counter went backwards: there may be a copy of it.
///
/// # Errors
/// When the database says no.
pub async fn passkey_suspected(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    name: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = format!(
        "Somebody tried to sign in with your passkey “{name}”, and was refused: the passkey seems to have been \
         copied. Remove it from your account, and add a new one from a device that you trust."
    );
    tell(app, tx, user, "A passkey of yours may have been copied", &what, origin).await
}

/// An app for one-time codes was set up.
///
/// # Errors
/// When the database says no.
pub async fn codes_added(app: &AppParts, tx: &mut Tx, user: &User, origin: &Origin) -> Result<(), Refusal> {
    let what = "An app for one-time codes was set up for your account. From now on its codes are asked for when \
                you sign in.";
    tell(app, tx, user, "One-time codes were set up for your account", what, origin).await
}

/// The app for one-time codes was removed.
///
/// # Errors
/// When the database says no.
pub async fn codes_removed(app: &AppParts, tx: &mut Tx, user: &User, origin: &Origin) -> Result<(), Refusal> {
    let what =
        "The app for one-time codes was removed from your account. Its codes are not asked for any more.";
    tell(app, tx, user, "One-time codes were removed from your account", what, origin).await
}

/// Recovery codes were made; those before are dead.
///
/// # Errors
/// When the database says no.
pub async fn recovery_codes_made(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = "New recovery codes were made for your account. The ones before, if there were any, do not work \
                any more.";
    tell(app, tx, user, "New recovery codes for your account", what, origin).await
}

/// A recovery code was used; so many are left.
///
/// # Errors
/// When the database says no.
pub async fn recovery_code_used(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    left: u32,
    origin: &Origin,
) -> Result<(), Refusal> {
    let left = match left {
        0 => "None is left: make new ones on the security page of your account.".to_owned(),
        1 => "One is left: make new ones on the security page of your account.".to_owned(),
        left => format!("{left} are left."),
    };
    let what = format!("Somebody signed in to your account with one of your recovery codes. {left}");
    tell(app, tx, user, "A recovery code of yours was used", &what, origin).await
}

/// The password was changed by one who was signed in.
///
/// # Errors
/// When the database says no.
pub async fn password_changed(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = "The password of your account was changed, and all other browsers were signed out.";
    tell(app, tx, user, "Your password was changed", what, origin).await
}

/// The password was set anew by a link in a mail.
///
/// # Errors
/// When the database says no.
pub async fn password_reset(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what =
        "The password of your account was set anew by a link in a mail, and all browsers were signed out.";
    tell(app, tx, user, "Your password was reset", what, origin).await
}

/// The e-mail address was changed. Told to the old address, too, which is
/// where the owner is if this was not the owner.
///
/// # Errors
/// When the database says no.
pub async fn email_changed(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    old_email: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = format!(
        "The e-mail address of your account was changed from {old_email} to {}. Sign in with the new one from now on.",
        user.email
    );
    const SUBJECT: &str = "The e-mail address of your account was changed";
    tell(app, tx, user, SUBJECT, &what, origin).await?;
    let before = User { email: old_email.to_owned(), ..user.clone() };
    tell(app, tx, &before, SUBJECT, &what, origin).await
}

/// An account elsewhere was linked, e.g. `GitHub (octocat)`.
///
/// # Errors
/// When the database says no.
pub async fn account_linked(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    label: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = format!("{label} was linked to your account. Whoever signs in there can sign in here as you.");
    tell(app, tx, user, "Another account was linked to yours", &what, origin).await
}

/// The link to an account elsewhere was removed.
///
/// # Errors
/// When the database says no.
pub async fn account_unlinked(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    label: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what =
        format!("The link from {label} to your account was removed. It signs nobody in here any more.");
    tell(app, tx, user, "A linked account was removed from yours", &what, origin).await
}

/// Somebody signed in through an account elsewhere for the first time.
///
/// # Errors
/// When the database says no.
pub async fn provider_sign_in(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    label: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let what = format!("Somebody signed in to your account through {label} for the first time.");
    tell(app, tx, user, "A new way of signing in to your account was used", &what, origin).await
}

async fn tell(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    subject: &str,
    what: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let when = app.clock.now().format("%-d %B %Y at %H:%M UTC");
    let place = format!("This happened on {when}, from the address {}{}.", origin.address, program(origin));
    let message =
        Message::to(user, subject).say(what).say(place).link("See your account", app.url("/account"));
    let message = message.close(
        "If it was you, there is nothing to do. If it was not: change your password and end all other sessions on \
         the pages of your account at once. If you cannot sign in any more, tell an administrator of this instance.",
    );
    send(app, tx, message).await.map(|_| ())
}

/// The program in words of ours, ` with Firefox on Linux`. What it says of itself
/// is anything that a stranger likes, and not for our mails.
fn program(origin: &Origin) -> String {
    let known = |names: &[(&str, &'static str)]| {
        names.iter().find(|(key, _)| origin.user_agent.contains(key)).map(|(_, name)| *name)
    };
    let program = known(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "an iPhone"),
        ("iPad", "an iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!(" with {program} on {system}"),
        (Some(program), None) => format!(" with {program}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_in_our_words_only() {
        let origin = |user_agent: &str| Origin {
            address: std::net::IpAddr::from([192, 0, 2, 1]),
            user_agent: user_agent.to_owned(),
        };
        let firefox = origin("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0");
        assert_eq!(program(&firefox), " with Firefox on Linux");
        assert_eq!(program(&origin("curl/8.5")), " with curl");
        assert_eq!(program(&origin("visit https://evil.example")), "");
    }
}
