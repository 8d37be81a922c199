//! The SQL of what is good for one use.

use devenv_cloud_api::{Timestamp, ids::UserId};

use crate::db::{Db, DbError, Target, query};

pub(super) async fn put(
    target: impl Into<Target<'_>>,
    key_hash: &[u8],
    kind: &str,
    user: Option<UserId>,
    state: &[u8],
    now: Timestamp,
    until: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO once (key_hash, kind, user_id, state, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (key_hash) DO UPDATE SET user_id = excluded.user_id, state = excluded.state, \
         created_at = excluded.created_at, expires_at = excluded.expires_at WHERE once.kind = excluded.kind",
    )
    .bind(key_hash)
    .bind(kind)
    .bind(user)
    .bind(state)
    .bind(now)
    .bind(until)
    .execute(target)
    .await
    .map(|_| ())
}

pub(super) async fn put_first(
    target: impl Into<Target<'_>>,
    key_hash: &[u8],
    kind: &str,
    state: &[u8],
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, DbError> {
    let put = query(
        "INSERT INTO once (key_hash, kind, user_id, state, created_at, expires_at) \
         VALUES ($1, $2, NULL, $3, $4, $5) \
         ON CONFLICT (key_hash) DO UPDATE SET kind = excluded.kind, state = excluded.state, \
         created_at = excluded.created_at, expires_at = excluded.expires_at \
         WHERE once.expires_at <= excluded.created_at",
    )
    .bind(key_hash)
    .bind(kind)
    .bind(state)
    .bind(now)
    .bind(until)
    .execute(target)
    .await?;
    Ok(put == 1)
}

pub(super) async fn find(
    target: impl Into<Target<'_>>,
    key_hash: &[u8],
    kind: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, DbError> {
    query("SELECT state FROM once WHERE key_hash = $1 AND kind = $2 AND expires_at > $3")
        .bind(key_hash)
        .bind(kind)
        .bind(now)
        .optional(target)
        .await?
        .map(|row| row.get("state"))
        .transpose()
}

pub(super) async fn take(
    target: impl Into<Target<'_>>,
    key_hash: &[u8],
    kind: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, DbError> {
    query("DELETE FROM once WHERE key_hash = $1 AND kind = $2 AND expires_at > $3 RETURNING state")
        .bind(key_hash)
        .bind(kind)
        .bind(now)
        .optional(target)
        .await?
        .map(|row| row.get("state"))
        .transpose()
}

pub(super) async fn forget(
    target: impl Into<Target<'_>>,
    user: UserId,
    kind: Option<&str>,
) -> Result<(), DbError> {
    query("DELETE FROM once WHERE user_id = $1 AND ($2 IS NULL OR kind = $2)")
        .bind(user)
        .bind(kind.map(str::to_owned))
        .execute(target)
        .await
        .map(|_| ())
}

pub(super) async fn delete_expired(db: &Db, now: Timestamp) -> Result<u64, DbError> {
    query("DELETE FROM once WHERE expires_at <= $1").bind(now).execute(db).await
}
