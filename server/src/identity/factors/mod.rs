//! What somebody proves with who they are, besides a password: passkeys,
//! one-time codes, recovery codes.

pub mod codes;
pub mod passkeys;
pub mod recovery;
mod store;

use devenv_cloud_api::{
    accounts::AuthMethod,
    factors::{Factors, Standing},
    ids::UserId,
};

pub use codes::check_code;
pub use recovery::use_recovery_code;

use super::{
    policy::{Held, Strength, worse},
    principal::SessionPrincipal,
    store as accounts,
};
use crate::{
    app::AppParts,
    db::{DbError, Tx},
    refusal::Refusal,
};

/// Everything with which somebody can prove who they are, for themselves.
///
/// # Errors
/// When the database says no.
pub async fn all(app: &AppParts, asker: &SessionPrincipal) -> Result<Factors, Refusal> {
    let user = asker.user.id;
    let codes_since = store::codes(&app.db, user).await?.and_then(|codes| codes.confirmed_at);
    let (recovery_codes, recovery_codes_since) = store::recovery_codes_left(&app.db, user).await?;
    let mut standing = asker.standing;
    let policy = accounts::instance_policy(&app.db).await?;
    let mut asked = policy.second_factor;
    let mut due_at = asker.due_at;
    let (now, used) = (app.clock.now(), Some(Strength::of(&asker.methods)));
    for policy in accounts::policies_of(&app.db, user).await? {
        let at = policy.standing(asker.held, used, asker.user.created_at, now);
        if at == Standing::Grace {
            let due = policy.due_at(asker.user.created_at);
            due_at = Some(due_at.map_or(due, |other| other.min(due)));
        }
        standing = worse(standing, at);
        asked = asked.max(policy.second_factor);
    }
    Ok(Factors {
        password: accounts::password_hash(&app.db, user).await?.is_some(),
        passkeys: store::list_passkeys(&app.db, user).await?,
        codes_since,
        recovery_codes,
        recovery_codes_since,
        standing,
        due_at,
        asked,
    })
}

/// What can be used as a second proof, the strongest first.
///
/// # Errors
/// When the database says no.
pub async fn second_factors(app: &AppParts, user: UserId) -> Result<Vec<AuthMethod>, Refusal> {
    let held = accounts::held(&app.db, user).await?;
    let (recovery, _) = store::recovery_codes_left(&app.db, user).await?;
    let mut methods = Vec::new();
    if held.passkeys && app.identity.passkeys.is_some() {
        methods.push(AuthMethod::Passkey);
    }
    if held.codes {
        methods.push(AuthMethod::OneTimeCode);
    }
    if recovery > 0 {
        methods.push(AuthMethod::RecoveryCode);
    }
    Ok(methods)
}

/// Refuses to leave somebody without a way in, or without what is asked of
/// everybody. Called in the transaction that took something away.
///
/// # Errors
/// When too little is left.
pub async fn require_enough_left(tx: &mut Tx, user: UserId) -> Result<(), Refusal> {
    accounts::lock_user(&mut *tx, user).await?;
    let held = accounts::held(&mut *tx, user).await?;
    let ways = accounts::first_factors(&mut *tx, user).await?;
    if !(ways.password || ways.links > 0 || held.passkeys) {
        return Err(Refusal::Conflict(
            "this is the last way into your account; add another one before you remove it".to_owned(),
        ));
    }
    let mut policies = accounts::policies_of(&mut *tx, user).await?;
    policies.push(accounts::instance_policy(&mut *tx).await?);
    if policies.iter().any(|policy| policy.lacks(held)) {
        return Err(Refusal::Conflict(
            "this instance or one of your organisations asks for it; add another one before you remove it"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Recovery codes are for those who have something to recover from losing.
///
/// # Errors
/// When the database says no.
pub async fn forget_useless_recovery_codes(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    let held: Held = accounts::held(&mut *tx, user).await?;
    if !held.any() {
        store::replace_recovery_codes(tx, user, &[], None).await?;
    }
    Ok(())
}
