//! Proving once more who one is, before what matters: a stolen session alone
//! must not be enough to take an account over. Good for ten minutes, and only
//! with the strongest factor that the person has; a recovery code stands in
//! for one that is lost.

use chrono::TimeDelta;
use devenv_cloud_api::{
    Timestamp,
    accounts::AuthMethod,
    audit::AuditAction,
    factors::{Assertion, Ceremony, StepUp},
};
use tower_sessions::Session;

use super::{
    factors,
    policy::Strength,
    principal::{Principal, SessionPrincipal},
    session::{self, Origin},
    store,
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    refusal::Refusal,
};

/// How long a proof is good for.
pub const FRESH: TimeDelta = TimeDelta::minutes(10);

/// Whether the person's proof is strong and recent enough.
#[must_use]
pub fn is_fresh(asker: &SessionPrincipal, now: Timestamp) -> bool {
    let strong = Strength::of(&asker.methods) >= asker.held.strongest()
        || asker.methods.contains(&AuthMethod::RecoveryCode);
    strong && now - asker.authenticated_at < FRESH
}

/// Insists on it. A token has its own scopes, and proves nobody's presence.
///
/// # Errors
/// When a person's proof is too old or too weak.
pub fn require(principal: &Principal, now: Timestamp) -> Result<(), Refusal> {
    match principal {
        Principal::Session(session) if !is_fresh(session, now) => Err(Refusal::StepUp),
        _ => Ok(()),
    }
}

/// How the person can prove it, the strongest first.
///
/// # Errors
/// When the database says no.
pub async fn ways(app: &AppParts, asker: &SessionPrincipal) -> Result<StepUp, Refusal> {
    let now = app.clock.now();
    let fresh = is_fresh(asker, now);
    let second = factors::second_factors(app, asker.user.id).await?;
    let strongest = second.iter().copied().find(|method| *method != AuthMethod::RecoveryCode);
    let methods = match strongest {
        Some(strongest) => {
            let recovery = second.into_iter().filter(|method| *method == AuthMethod::RecoveryCode);
            [strongest].into_iter().chain(recovery).collect()
        }
        None if store::password_hash(&app.db, asker.user.id).await?.is_some() => vec![AuthMethod::Password],
        // By way of their provider: sign in anew.
        None => vec![AuthMethod::Federated],
    };
    Ok(StepUp { fresh, until: fresh.then(|| asker.authenticated_at + FRESH), methods })
}

async fn require_way(app: &AppParts, asker: &SessionPrincipal, method: AuthMethod) -> Result<(), Refusal> {
    if ways(app, asker).await?.methods.contains(&method) {
        Ok(())
    } else {
        Err(Refusal::Unproven("confirm it with something stronger that you have set up".to_owned()))
    }
}

/// With the password, for those who have nothing stronger.
///
/// # Errors
/// When it is wrong, tried too often, or there is something stronger.
pub async fn password(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    password: String,
    origin: &Origin,
) -> Result<(), Refusal> {
    require_way(app, asker, AuthMethod::Password).await?;
    let account = store::email_key(&asker.user.email);
    let taken = app.identity.sign_ins.take(&account, origin.address)?;
    let hash = store::password_hash(&app.db, asker.user.id).await?;
    if !app.identity.passwords.verify(password, hash).await? {
        note(app, asker, AuthMethod::Password, origin, false).await?;
        return Err(Refusal::field("password", "this is not your password"));
    }
    app.identity.sign_ins.give_back(&taken);
    confirmed(app, browser, asker, AuthMethod::Password, origin).await
}

/// With a one-time code.
///
/// # Errors
/// When it is wrong, tried too often, or there is something stronger.
pub async fn code(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    code: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    require_way(app, asker, AuthMethod::OneTimeCode).await?;
    factors::check_code(app, &asker.user, code, AuditAction::StepUp, origin).await?;
    confirmed(app, browser, asker, AuthMethod::OneTimeCode, origin).await
}

/// With a recovery code, where the passkey or the app is lost.
///
/// # Errors
/// When it is wrong or tried too often.
pub async fn recovery_code(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    code: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    factors::use_recovery_code(app, &asker.user, code, origin).await?;
    confirmed(app, browser, asker, AuthMethod::RecoveryCode, origin).await
}

/// Begins it with a passkey.
///
/// # Errors
/// When there is none.
pub async fn passkey_begin(app: &AppParts, asker: &SessionPrincipal) -> Result<Ceremony, Refusal> {
    factors::passkeys::begin_of(app, asker.user.id, Some(asker.session)).await
}

/// With a passkey.
///
/// # Errors
/// When it is none of theirs, or the proof is not right.
pub async fn passkey(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    given: Assertion,
    origin: &Origin,
) -> Result<(), Refusal> {
    factors::passkeys::finish_of(app, asker.user.id, Some(asker.session), given, origin).await?;
    confirmed(app, browser, asker, AuthMethod::Passkey, origin).await
}

async fn confirmed(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    method: AuthMethod,
    origin: &Origin,
) -> Result<(), Refusal> {
    note(app, asker, method, origin, true).await?;
    session::reauthenticated(app, browser, asker.held, method).await
}

async fn note(
    app: &AppParts,
    asker: &SessionPrincipal,
    method: AuthMethod,
    origin: &Origin,
    success: bool,
) -> Result<(), Refusal> {
    let event = Event::new(AuditAction::StepUp, origin).by(&asker.user).with(method);
    audit::record(app, &app.db, if success { event } else { event.refused() }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use devenv_cloud_api::{
        accounts::Assurance,
        factors::Standing,
        ids::{SessionId, UserId},
    };
    use uuid::Uuid;

    use super::*;
    use crate::identity::{Held, User};

    #[test]
    fn a_proof_is_good_for_ten_minutes_and_only_if_it_is_the_strongest() {
        use AuthMethod::{OneTimeCode, Passkey, Password, RecoveryCode};
        let start = Timestamp::UNIX_EPOCH;
        let asker = |methods: &[AuthMethod], passkeys, codes| SessionPrincipal {
            user: User {
                id: UserId(Uuid::nil()),
                email: "u@example.com".to_owned(),
                name: "U".to_owned(),
                instance_admin: false,
                created_at: start,
            },
            session: SessionId(Uuid::nil()),
            methods: methods.to_vec(),
            assurance: Assurance::Single,
            authenticated_at: start,
            held: Held { passkeys, codes },
            standing: Standing::Fine,
            due_at: None,
            org: None,
        };
        for (methods, passkeys, codes, fresh) in [
            (&[Password][..], false, false, true),
            (&[Password], false, true, false),
            (&[Password], true, false, false),
            (&[Password, OneTimeCode], false, true, true),
            (&[Password, OneTimeCode], true, true, false),
            (&[Passkey], true, true, true),
            (&[Password, RecoveryCode], true, true, true),
        ] {
            let asker = asker(methods, passkeys, codes);
            let last = start + TimeDelta::seconds(599);
            assert_eq!(is_fresh(&asker, last), fresh, "{methods:?} {passkeys} {codes}");
            assert!(!is_fresh(&asker, start + FRESH), "{methods:?}");
        }
    }
}
