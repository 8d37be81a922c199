//! The steps on the way in, one function each.

use devenv_cloud_api::{
    accounts::{AuthMethod, SignIn},
    audit::AuditAction,
    factors::{Assertion, Ceremony},
    sign_in::Identify,
};
use tower_sessions::Session;

use super::{Arrival, Identity, Pending, Who, arrive, find, go_on};
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{account, factors, limit::neighbourhood, principal::User, session::Origin, store},
    once,
    refusal::Refusal,
};

/// Says who one is. It is believed, and tells nothing.
///
/// # Errors
/// When this cannot be an address, or one network address says it too often.
pub async fn identify(
    app: &AppParts,
    key: Option<&str>,
    given: Identify,
    origin: &Origin,
) -> Result<String, Refusal> {
    let email = given.email.trim().to_owned();
    account::check_email(&email).map_err(|why| Refusal::field("email", why))?;
    app.identity.steps.take(&neighbourhood(origin.address))?;
    let before = find(app, key).await?.unwrap_or_default();
    let pending = Pending {
        email: Some(email),
        return_to: given.return_to.or(before.return_to),
        keep: given.keep,
        // An account elsewhere that waits to be linked goes on waiting.
        link: before.link,
        ..Pending::default()
    };
    if let Some(key) = key {
        once::take::<Pending>(app, &app.db, key).await?;
    }
    once::put(app, &app.db, None, &pending).await
}

/// Begins a sign-in of somebody who comes from a provider, in place of one that
/// was under way: what was proved for that one counts for nothing here.
///
/// # Errors
/// When the database says no.
pub async fn set_out(
    app: &AppParts,
    before: Option<&str>,
    return_to: Option<String>,
    keep: bool,
) -> Result<String, Refusal> {
    if let Some(before) = before {
        start_over(app, before).await?;
    }
    once::put(app, &app.db, None, &Pending { return_to, keep, ..Pending::default() }).await
}

/// Forgets the sign-in that is under way.
///
/// # Errors
/// When the database says no.
pub async fn start_over(app: &AppParts, key: &str) -> Result<(), Refusal> {
    once::take::<Pending>(app, &app.db, key).await.map(|_| ())
}

/// Signs in with an address and a password at once, as programs and plain forms do.
///
/// # Errors
/// See [`password`].
pub async fn sign_in(
    app: &AppParts,
    browser: &Session,
    given: SignIn,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let SignIn { email, password } = given;
    let user = check_password(app, &email, password, origin).await?;
    let identity = Identity { who: Who::Local(user), method: AuthMethod::Password };
    arrive(app, browser, None, identity, origin).await
}

/// Proves with the password that one is who one said. Whether there is no such
/// account or the password is wrong cannot be told apart: not by the answer,
/// and not by the time it takes.
///
/// # Errors
/// When it was tried too often, or address and password do not belong together.
pub async fn password(
    app: &AppParts,
    browser: &Session,
    key: &str,
    password: String,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let pending = find(app, Some(key)).await?.ok_or_else(over)?;
    let email = pending.email.clone().ok_or_else(over)?;
    let user = check_password(app, &email, password, origin).await?;
    let identity = Identity { who: Who::Local(user), method: AuthMethod::Password };
    go_on(app, browser, Some((key, pending)), identity, origin).await
}

pub(super) fn over() -> Refusal {
    Refusal::Unproven("this sign-in took too long or was used up; begin anew".to_owned())
}

async fn check_password(
    app: &AppParts,
    email: &str,
    password: String,
    origin: &Origin,
) -> Result<User, Refusal> {
    let email = email.trim();
    let count = |result: &str| app.metrics.sign_ins.with_label_values(&[result]).inc();
    // An address that is too long is none of ours, and need not be remembered.
    let account: String = store::email_key(email).chars().take(254).collect();
    let taken = app.identity.sign_ins.take(&account, origin.address).inspect_err(|_| count("limited"))?;
    let found = store::find_credentials(&app.db, email).await?;
    let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), hash));
    let right = app.identity.passwords.verify(password, hash.clone()).await?;
    let event = Event::new(AuditAction::SignIn, origin).with(AuthMethod::Password).refused();
    let Some(known) = user else {
        count("refused");
        // What is no address may be a password in the wrong field.
        let tried = if account::check_email(email).is_ok() { email } else { "" };
        audit::record(app, &app.db, event.target(tried)).await?;
        return Err(Refusal::WrongCredentials);
    };
    if !right {
        count("refused");
        audit::record(app, &app.db, event.about(&known).target(email)).await?;
        return Err(Refusal::WrongCredentials);
    }
    // Checking takes its time, and longer in a queue: the old password must not
    // open what was closed meanwhile.
    if store::password_hash(&app.db, known.id).await? != hash {
        return Err(Refusal::WrongCredentials);
    }
    app.identity.sign_ins.give_back(&taken);
    Ok(known)
}

/// Proves with a one-time code that it is the person who gave the first proof.
///
/// # Errors
/// When the code is wrong, was used, or it was tried too often.
pub async fn code(
    app: &AppParts,
    browser: &Session,
    key: &str,
    code: &str,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let (user, pending) = first_proved(app, key).await?;
    factors::check_code(app, &user, code, AuditAction::SignIn, origin).await?;
    let identity = Identity { who: Who::Local(user), method: AuthMethod::OneTimeCode };
    go_on(app, browser, Some((key, pending)), identity, origin).await
}

/// Proves with a recovery code that it is the person who gave the first proof.
///
/// # Errors
/// When the code is wrong, was used, or it was tried too often.
pub async fn recovery_code(
    app: &AppParts,
    browser: &Session,
    key: &str,
    code: &str,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let (user, pending) = first_proved(app, key).await?;
    factors::use_recovery_code(app, &user, code, origin).await?;
    let identity = Identity { who: Who::Local(user), method: AuthMethod::RecoveryCode };
    go_on(app, browser, Some((key, pending)), identity, origin).await
}

/// The person of whom the first proof is there already, and their sign-in.
async fn first_proved(app: &AppParts, key: &str) -> Result<(User, Pending), Refusal> {
    let pending = find(app, Some(key)).await?.ok_or_else(over)?;
    let user = pending.user.ok_or_else(over)?;
    Ok((store::find_user(&app.db, user).await?.ok_or_else(over)?, pending))
}

/// Begins a sign-in with a passkey. Which one, and so whose, the browser and
/// the person choose; after a first proof, one of that person's.
///
/// # Errors
/// When there can be no passkeys here, or one network address asks too often.
pub async fn passkey_begin(app: &AppParts, key: Option<&str>, origin: &Origin) -> Result<Ceremony, Refusal> {
    app.identity.steps.take(&neighbourhood(origin.address))?;
    let pending = find(app, key).await?;
    match pending.and_then(|pending| pending.user) {
        Some(user) => factors::passkeys::begin_of(app, user, None).await,
        None => factors::passkeys::begin(app).await,
    }
}

/// Proves with a passkey who one is. It is two factors in one.
///
/// # Errors
/// When it is none of anybody's here, or the proof is not right.
pub async fn passkey(
    app: &AppParts,
    browser: &Session,
    key: Option<&str>,
    given: Assertion,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let pending = find(app, key).await?;
    let user = match pending.as_ref().and_then(|pending| pending.user) {
        Some(user) => factors::passkeys::finish_of(app, user, None, given, origin).await?,
        None => factors::passkeys::finish(app, given, origin).await?,
    };
    let identity = Identity { who: Who::Local(user), method: AuthMethod::Passkey };
    go_on(app, browser, key.zip(pending), identity, origin).await
}
