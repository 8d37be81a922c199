//! What is good for one use within a short time: the challenge of a ceremony,
//! the state of a sign-in, a link in a mail.
//!
//! Whoever begins something gets a random key; the database holds its hash,
//! and what must be remembered meanwhile, sealed. Taking it deletes it in the
//! same statement, so of two who come with the same key one gets a yes. What
//! it is for is part of the look-up: a link to verify an address resets no password.

mod store;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud_api::ids::UserId;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    app::AppParts,
    db::{DbError, Target},
    identity::secret,
    refusal::Refusal,
};

/// Something that is remembered under a key, once.
pub trait Once: Serialize + DeserializeOwned {
    /// What it is; no two types share one.
    const KIND: &'static str;
    /// How long it is good for.
    const LIFE: TimeDelta;
}

/// Remembers something, about `user` if it is about somebody: what is about
/// them ends with their account. Returns the key.
///
/// # Errors
/// When the database says no.
pub async fn put<T: Once>(
    app: &AppParts,
    target: impl Into<Target<'_>>,
    user: Option<UserId>,
    value: &T,
) -> Result<String, Refusal> {
    let key = URL_SAFE_NO_PAD.encode(app.random.bytes::<32>());
    put_as(app, target, &key, user, value).await?;
    Ok(key)
}

/// Remembers something under a key that is there already, in place of what was
/// under it. Its time begins anew.
///
/// # Errors
/// When the database says no.
pub async fn put_as<T: Once>(
    app: &AppParts,
    target: impl Into<Target<'_>>,
    key: &str,
    user: Option<UserId>,
    value: &T,
) -> Result<(), Refusal> {
    let text = serde_json::to_vec(value).map_err(|e| Refusal::Failed(e.into()))?;
    let sealed = app.seal.seal(T::KIND, &text).map_err(Refusal::Failed)?;
    let now = app.clock.now();
    store::put(target, &hash(key), T::KIND, user, &sealed, now, now + T::LIFE).await?;
    Ok(())
}

/// Remembers something under a key that nothing is remembered under. Whether
/// this was the first to do so: of several at once, one is.
///
/// # Errors
/// When the database says no.
pub async fn put_first<T: Once>(
    app: &AppParts,
    target: impl Into<Target<'_>>,
    key: &str,
    value: &T,
) -> Result<bool, Refusal> {
    let text = serde_json::to_vec(value).map_err(|e| Refusal::Failed(e.into()))?;
    let sealed = app.seal.seal(T::KIND, &text).map_err(Refusal::Failed)?;
    let now = app.clock.now();
    // With the kind in it: this key is not a random one that nothing else could have.
    Ok(store::put_first(target, &hash(&format!("{} {key}", T::KIND)), T::KIND, &sealed, now, now + T::LIFE)
        .await?)
}

/// What is remembered under the key, if it still is. It stays.
///
/// # Errors
/// When the database says no.
pub async fn look<T: Once>(
    app: &AppParts,
    target: impl Into<Target<'_>>,
    key: &str,
) -> Result<Option<T>, Refusal> {
    let sealed = store::find(target, &hash(key), T::KIND, app.clock.now()).await?;
    sealed.map(|sealed| open(app, &sealed)).transpose()
}

/// Takes what is remembered under the key; nobody gets it again.
///
/// # Errors
/// When the database says no.
pub async fn take<T: Once>(
    app: &AppParts,
    target: impl Into<Target<'_>>,
    key: &str,
) -> Result<Option<T>, Refusal> {
    let sealed = store::take(target, &hash(key), T::KIND, app.clock.now()).await?;
    sealed.map(|sealed| open(app, &sealed)).transpose()
}

/// Forgets all of this kind that is about somebody.
///
/// # Errors
/// When the database says no.
pub async fn forget_all<T: Once>(target: impl Into<Target<'_>>, user: UserId) -> Result<(), DbError> {
    store::forget(target, user, Some(T::KIND)).await
}

/// Forgets whatever is about somebody: what they have under way ends.
///
/// # Errors
/// When the database says no.
pub async fn forget_everything(target: impl Into<Target<'_>>, user: UserId) -> Result<(), DbError> {
    store::forget(target, user, None).await
}

/// Forgets what is too old to be used. It is dead without it: this is housekeeping.
///
/// # Errors
/// When the database says no.
pub async fn delete_expired_once(app: &AppParts) -> Result<u64, DbError> {
    store::delete_expired(&app.db, app.clock.now()).await
}

fn open<T: Once>(app: &AppParts, sealed: &[u8]) -> Result<T, Refusal> {
    let text = app.seal.open(T::KIND, sealed).map_err(Refusal::Failed)?;
    serde_json::from_slice(&text).map_err(|e| Refusal::Failed(e.into()))
}

fn hash(key: &str) -> Vec<u8> {
    secret::hash(key.as_bytes())
}
