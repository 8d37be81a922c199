//! The SQL of accounts elsewhere that are linked with accounts here.

use devenv_cloud_api::{
    Timestamp,
    ids::{LinkId, UserId},
};

use crate::{
    db::{Db, DbError, Target, Tx, query},
    identity::arrival::External,
};

/// With whom the account at a provider is linked.
///
/// # Errors
/// When the database says no.
pub async fn find_link(
    target: impl Into<Target<'_>>,
    provider: &str,
    subject: &str,
) -> Result<Option<UserId>, DbError> {
    query("SELECT user_id FROM linked_accounts WHERE provider = $1 AND subject = $2")
        .bind(provider)
        .bind(subject)
        .optional(target)
        .await?
        .map(|row| row.get("user_id"))
        .transpose()
}

pub(in crate::identity) async fn touch_link(
    db: &Db,
    provider: &str,
    subject: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    query("UPDATE linked_accounts SET last_used_at = $3 WHERE provider = $1 AND subject = $2")
        .bind(provider)
        .bind(subject)
        .bind(now)
        .execute(db)
        .await
        .map(|_| ())
}

pub(in crate::identity) async fn insert_link(
    tx: &mut Tx,
    id: LinkId,
    user: UserId,
    external: &External,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO linked_accounts (id, user_id, provider, subject, label, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(user)
    .bind(&external.provider)
    .bind(&external.subject)
    .bind(&external.label)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}
