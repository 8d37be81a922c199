//! How a machine becomes a runner, comes, and goes.

use devenv_cloud_api::{audit::AuditAction, ids::RunnerId, runners::check_label};

use super::{Owner, RunnerError, TOKEN_PREFIX, credential::issue, store};
use crate::{
    app::AppParts,
    audit,
    db::DbError,
    executor::remote::wire::{Announcement, Credential, PROTOCOL, Register, Welcome, parse_token},
    identity::{Origin, RunnerPrincipal, secret},
    runs,
};

/// Exchanges a registration token for a credential.
///
/// # Errors
/// When the token does not work (any more), or the announcement makes no sense.
pub async fn register(app: &AppParts, wanted: Register, origin: &Origin) -> Result<Credential, RunnerError> {
    let Register { token, nonce, announcement } = wanted;
    check(&announcement)?;
    let Some(nonce) = parse_token(&nonce) else {
        return Err(RunnerError::Invalid("the nonce has 32 hexadecimal digits".to_owned()));
    };
    if !secret::is_secret(TOKEN_PREFIX, &token) {
        return Err(RunnerError::UnknownToken);
    }
    let now = app.clock.now();
    let nonce_hash = secret::hash(&nonce.to_be_bytes());
    let mut tx = app.db.begin().await?;
    let found = store::lock_token(&mut tx, secret::hash(token.as_bytes())).await?;
    let token = found.ok_or(RunnerError::UnknownToken)?;
    if let Some((runner, org, revoked)) = store::find_by_nonce(&mut tx, &nonce_hash).await? {
        // It was here before, and did not hear the answer.
        if revoked {
            return Err(RunnerError::Revoked);
        }
        if org != token.org {
            return Err(RunnerError::Invalid(
                "this machine is a runner already, of somebody else; give it another state directory"
                    .to_owned(),
            ));
        }
        store::forget_credentials(&mut tx, runner).await?;
        let credential = issue(app, &mut tx, runner).await?;
        tx.commit().await?;
        return Ok(credential);
    }
    if token.revoked {
        return Err(RunnerError::RevokedToken);
    }
    if token.expires_at <= now {
        return Err(RunnerError::ExpiredToken);
    }
    if !store::use_token(&mut tx, token.id).await? {
        return Err(RunnerError::UsedToken);
    }
    let runner = RunnerId(app.random.id(now));
    store::insert_runner(&mut tx, runner, token.org, &announcement, nonce_hash, now).await?;
    let event = Owner::from(token.org).event(AuditAction::RegisterRunner, origin).target(&announcement.name);
    audit::record(app, &mut tx, event).await?;
    let credential = issue(app, &mut tx, runner).await?;
    tx.commit().await?;
    tracing::info!(%runner, name = announcement.name, "runner registered");
    Ok(credential)
}

/// A runner's process has started. What an earlier process of it was working on
/// is nobody's any more, and is done again.
///
/// # Errors
/// When the announcement makes no sense.
pub async fn hello(
    app: &AppParts,
    runner: &RunnerPrincipal,
    announcement: Announcement,
) -> Result<Welcome, RunnerError> {
    check(&announcement)?;
    store::announce(&app.db, runner.runner, &announcement, app.clock.now()).await?;
    let reason = "the runner restarted while this was running";
    let left = runs::end_all_of_runner(app, runner.runner, reason).await?;
    tracing::info!(runner = announcement.name, version = announcement.version, left, "runner started");
    let org = match runner.org {
        Some(org) => store::slug_of(&app.db, org).await?,
        None => None,
    };
    Ok(Welcome { org, version: env!("CARGO_PKG_VERSION").to_owned(), time: app.clock.now() })
}

/// A runner's process ends. What it did not end is done again.
///
/// # Errors
/// When the database says no.
pub async fn leave(app: &AppParts, runner: &RunnerPrincipal) -> Result<(), DbError> {
    let reason = "the runner was stopped while this was running";
    let left = runs::end_all_of_runner(app, runner.runner, reason).await?;
    store::set_left(&app.db, runner.runner, app.clock.now()).await?;
    tracing::info!(runner = runner.name, left, "runner left");
    Ok(())
}

fn check(announcement: &Announcement) -> Result<(), RunnerError> {
    let Announcement { protocol, version, name, labels, platforms, slots } = announcement;
    let fail = |why: String| Err(RunnerError::Invalid(why));
    if *protocol != PROTOCOL {
        return Err(RunnerError::Incompatible { theirs: *protocol });
    }
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    if name.trim() != name || !(1..=64).contains(&name.len()) || !name.chars().all(fine) {
        return fail(format!(
            "`{}` is no runner's name: 1 to 64 letters, digits, spaces, dots, hyphens and underscores",
            name.chars().take(64).collect::<String>().escape_debug()
        ));
    }
    if version.len() > 64 || !version.chars().all(|c| c.is_ascii_graphic()) {
        return fail("this is no version".to_owned());
    }
    if labels.len() > 20 {
        return fail("a runner has at most 20 labels".to_owned());
    }
    if let Some(why) = labels.iter().find_map(|label| check_label(label).err()) {
        return fail(why);
    }
    let platform = |p: &String| {
        (1..=32).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if !(1..=10).contains(&platforms.len()) || !platforms.iter().all(platform) {
        return fail("a runner has 1 to 10 platforms, like x86_64-linux".to_owned());
    }
    if !(1..=1000).contains(slots) {
        return fail("a runner does 1 to 1000 jobs at once".to_owned());
    }
    Ok(())
}
