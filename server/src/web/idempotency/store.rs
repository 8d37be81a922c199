//! The SQL of kept answers.

use devenv_cloud_api::{Timestamp, ids::UserId};

use crate::db::{Db, DbError, query};

/// A key as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) request_hash: Vec<u8>,
    /// Absent while the request is being worked on.
    pub(super) status: Option<u16>,
    pub(super) response: Option<Vec<u8>>,
}

/// Forgets the key if its answer is old, or its request was cut off.
pub(super) async fn forget(
    db: &Db,
    user: UserId,
    key: &str,
    answered_before: Timestamp,
    claimed_before: Timestamp,
) -> Result<(), DbError> {
    query(
        "DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2 \
         AND (created_at < $3 OR (status IS NULL AND created_at < $4))",
    )
    .bind(user)
    .bind(key)
    .bind(answered_before)
    .bind(claimed_before)
    .execute(db)
    .await
    .map(|_| ())
}

/// Of several who claim a key, one gets it.
pub(super) async fn claim(
    db: &Db,
    user: UserId,
    key: &str,
    request_hash: &[u8],
    now: Timestamp,
) -> Result<bool, DbError> {
    let inserted = query(
        "INSERT INTO idempotency_keys (user_id, key, request_hash, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind(user)
    .bind(key)
    .bind(request_hash)
    .bind(now)
    .execute(db)
    .await?;
    Ok(inserted == 1)
}

pub(super) async fn find(db: &Db, user: UserId, key: &str) -> Result<Option<Row>, DbError> {
    query("SELECT request_hash, status, response FROM idempotency_keys WHERE user_id = $1 AND key = $2")
        .bind(user)
        .bind(key)
        .optional(db)
        .await?
        .map(|row| {
            Ok(Row {
                request_hash: row.get("request_hash")?,
                status: row.get::<Option<i64>>("status")?.and_then(|status| u16::try_from(status).ok()),
                response: row.get("response")?,
            })
        })
        .transpose()
}

pub(super) async fn keep(
    db: &Db,
    user: UserId,
    key: &str,
    status: u16,
    response: Option<Vec<u8>>,
) -> Result<(), DbError> {
    query("UPDATE idempotency_keys SET status = $3, response = $4 WHERE user_id = $1 AND key = $2")
        .bind(user)
        .bind(key)
        .bind(u32::from(status))
        .bind(response)
        .execute(db)
        .await
        .map(|_| ())
}

pub(super) async fn release(db: &Db, user: UserId, key: &str) -> Result<(), DbError> {
    query("DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2 AND status IS NULL")
        .bind(user)
        .bind(key)
        .execute(db)
        .await
        .map(|_| ())
}

pub(super) async fn delete_before(db: &Db, time: Timestamp) -> Result<u64, DbError> {
    query("DELETE FROM idempotency_keys WHERE created_at < $1").bind(time).execute(db).await
}
