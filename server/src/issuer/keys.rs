//! The keys that we sign with, and their change.
//!
//! Others keep our key set for a while. So a key is published a day before it
//! signs, and stays published for a day after, which is longer than anything
//! that it signed. What has to be done is read off the table: housekeeping may
//! come late, twice, or on two servers at once.

use anyhow::Context as _;
use chrono::TimeDelta;
use devenv_cloud_api::{Timestamp, audit::AuditAction, issuer::SigningKey};
use jsonwebtoken::jwk::{Jwk, JwkSet};

use super::{
    jwt::Signer,
    store::{self, KeyRow},
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{Origin, User},
    refusal::Refusal,
};

/// How long a key signs.
pub const SIGNS: TimeDelta = TimeDelta::days(90);
/// How long before it signs a key is published at least.
pub const AHEAD: TimeDelta = TimeDelta::days(1);
/// How long after it signed a key stays published.
pub const BEHIND: TimeDelta = TimeDelta::days(1);

/// What the secret is sealed for.
const PURPOSE: &str = "signing key";

/// Makes the keys that are missing. Called by housekeeping, and before signing.
///
/// # Errors
/// When the database says no, or a key cannot be made.
pub async fn rotate_once(app: &AppParts) -> Result<(), Refusal> {
    let now = app.clock.now();
    store::delete_old_keys(&app.db, now).await?;
    let keys = store::keys(&app.db, now).await?;
    let last = keys.iter().map(|key| key.signs_until).max().unwrap_or(now);
    // Twice the time, so that housekeeping may be late.
    if last - now > AHEAD * 2 {
        return Ok(());
    }
    let mut tx = app.db.begin().await?;
    let from = last.max(now);
    let key = insert(app, &mut tx, from).await?;
    let origin = Origin { address: std::net::Ipv4Addr::UNSPECIFIED.into(), user_agent: String::new() };
    audit::record(app, &mut tx, Event::new(AuditAction::RotateKey, &origin).target(&key)).await?;
    tx.commit().await?;
    Ok(())
}

/// Makes a new key at an administrator's wish.
///
/// # Errors
/// When the database says no, or a key cannot be made.
pub async fn rotate(
    app: &AppParts,
    by: &User,
    at_once: bool,
    origin: &Origin,
) -> Result<Vec<SigningKey>, Refusal> {
    let now = app.clock.now();
    let from = if at_once { now } else { now + AHEAD };
    let mut tx = app.db.begin().await?;
    store::end_keys(&mut tx, from, if at_once { now } else { from + BEHIND }).await?;
    let key = insert(app, &mut tx, from).await?;
    let what = if at_once { format!("{key}, at once") } else { key };
    audit::record(app, &mut tx, Event::new(AuditAction::RotateKey, origin).by(by).target(&what)).await?;
    tx.commit().await?;
    rotate_once(app).await?;
    list(app).await
}

async fn insert(app: &AppParts, tx: &mut crate::db::Tx, from: Timestamp) -> Result<String, Refusal> {
    // One number in four thousand million is no key.
    let made = std::iter::repeat_with(|| app.random.bytes::<32>())
        .take(8)
        .find_map(|secret| Signer::new(&secret).map(|made| (secret, made)));
    let Some((secret, (signer, public))) = made else {
        return Err(Refusal::Failed(anyhow::anyhow!("no signing key could be made")));
    };
    let now = app.clock.now();
    let row = KeyRow {
        id: app.random.id(now),
        key_id: signer.key_id().to_owned(),
        secret: app.seal.seal(PURPOSE, &secret).map_err(Refusal::Failed)?,
        public: serde_json::to_string(&public).map_err(|e| Refusal::Failed(e.into()))?,
        created_at: now,
        signs_from: from,
        signs_until: from + SIGNS,
        published_until: from + SIGNS + BEHIND,
    };
    store::insert_key(tx, &row).await?;
    tracing::info!(key = row.key_id, from = %row.signs_from, "new signing key");
    Ok(row.key_id)
}

/// Of all published keys the one that signs: of two that servers made at the
/// same moment, both take the same.
fn signing(keys: &[KeyRow], now: Timestamp) -> Option<&KeyRow> {
    keys.iter()
        .filter(|key| key.signs_from <= now && now < key.signs_until)
        .max_by_key(|key| (key.signs_from, key.id))
}

async fn published(app: &AppParts) -> Result<Vec<KeyRow>, Refusal> {
    let now = app.clock.now();
    let keys = store::keys(&app.db, now).await?;
    if signing(&keys, now).is_some() {
        return Ok(keys);
    }
    rotate_once(app).await?;
    Ok(store::keys(&app.db, now).await?)
}

/// The key to sign with now. May write to the database: not to be called
/// within a transaction.
pub(super) async fn signer(app: &AppParts) -> Result<Signer, Refusal> {
    let keys = published(app).await?;
    let open = || {
        let row = signing(&keys, app.clock.now()).context("there is no key to sign with")?;
        let secret = app.seal.open(PURPOSE, &row.secret)?;
        let secret = <[u8; 32]>::try_from(secret.as_slice()).context("the signing key is damaged")?;
        Signer::new(&secret).map(|(signer, _)| signer).context("the signing key is damaged")
    };
    open().map_err(Refusal::Failed)
}

/// The public keys, as others read them.
///
/// # Errors
/// When the database says no.
pub async fn key_set(app: &AppParts) -> Result<JwkSet, Refusal> {
    let keys = published(app).await?;
    let keys: Result<Vec<Jwk>, _> = keys.iter().map(|key| serde_json::from_str(&key.public)).collect();
    Ok(JwkSet { keys: keys.map_err(|e| Refusal::Failed(e.into()))? })
}

/// The published keys, as administrators see them.
///
/// # Errors
/// When the database says no.
pub async fn list(app: &AppParts) -> Result<Vec<SigningKey>, Refusal> {
    let keys = published(app).await?;
    let now = app.clock.now();
    let signs = signing(&keys, now).map(|key| key.id);
    let show = |key: &KeyRow| SigningKey {
        key_id: key.key_id.clone(),
        created_at: key.created_at,
        signs_from: key.signs_from,
        signs_until: key.signs_until,
        published_until: key.published_until,
        signs: Some(key.id) == signs,
    };
    Ok(keys.iter().map(show).collect())
}
