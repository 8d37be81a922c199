//! Who a runner is: its credential, looked up and exchanged.

use chrono::TimeDelta;

use super::{AWAY, CREDENTIAL_LIFE, CREDENTIAL_PREFIX, RunnerError, store};
use crate::{
    app::AppParts,
    db::Tx,
    executor::remote::wire::Credential,
    identity::{RunnerPrincipal, secret},
};

/// How exact the time is at which a runner was last seen.
const SEEN: TimeDelta = TimeDelta::seconds(10);

/// Which runner this credential is of.
///
/// # Errors
/// When it is of none, expired, or the runner was revoked.
pub async fn authenticate(app: &AppParts, given: &str) -> Result<RunnerPrincipal, RunnerError> {
    let known = find(app, given).await?;
    let now = app.clock.now();
    if known.expires_at <= now {
        return Err(RunnerError::ExpiredCredential);
    }
    if known.left || known.last_seen_at + SEEN <= now {
        store::touch(&app.db, known.principal.runner, now).await?;
    }
    Ok(known.principal)
}

async fn find(app: &AppParts, given: &str) -> Result<store::KnownCredential, RunnerError> {
    if !secret::is_secret(CREDENTIAL_PREFIX, given) {
        return Err(RunnerError::UnknownCredential);
    }
    let known = store::find_credential(&app.db, secret::hash(given.as_bytes())).await?;
    let known = known.ok_or(RunnerError::UnknownCredential)?;
    if known.revoked { Err(RunnerError::Revoked) } else { Ok(known) }
}

/// Exchanges a credential for a new one. The given one stays valid until it
/// expires or the new one is exchanged; any other stops working at once.
///
/// # Errors
/// When it is of no runner, too old, or the runner was revoked.
pub async fn renew(app: &AppParts, given: &str) -> Result<Credential, RunnerError> {
    let known = find(app, given).await?;
    if known.expires_at + AWAY <= app.clock.now() {
        return Err(RunnerError::UnknownCredential);
    }
    let hash = secret::hash(given.as_bytes());
    let mut tx = app.db.begin().await?;
    // Two exchanges of the same credential at once are to leave two, not three.
    store::lock(&mut tx, known.principal.runner).await?;
    if !store::forget_other_credentials(&mut tx, known.principal.runner, &hash).await? {
        return Err(RunnerError::UnknownCredential);
    }
    let credential = issue(app, &mut tx, known.principal.runner).await?;
    tx.commit().await?;
    Ok(credential)
}

/// A new credential for a runner.
pub(super) async fn issue(
    app: &AppParts,
    tx: &mut Tx,
    runner: devenv_cloud_api::ids::RunnerId,
) -> Result<Credential, RunnerError> {
    let now = app.clock.now();
    let secret = secret::new_secret(CREDENTIAL_PREFIX, &app.random);
    let expires_at = now + CREDENTIAL_LIFE;
    store::insert_credential(tx, runner, secret::hash(secret.as_bytes()), now, expires_at).await?;
    Ok(Credential { runner, credential: secret, expires_at })
}
