//! The SQL of signing in with an account elsewhere.

use devenv_cloud_api::{
    ids::{LinkId, UserId},
    sign_in::LinkedAccount,
};

use crate::db::{Db, DbError, Tx, query};

/// Somebody's linked accounts, oldest first, after `after`. What people call
/// their providers is not known here.
pub(super) async fn links(
    db: &Db,
    user: UserId,
    after: Option<LinkId>,
    limit: u32,
) -> Result<Vec<LinkedAccount>, DbError> {
    query(
        "SELECT id, provider, label, created_at, last_used_at FROM linked_accounts \
         WHERE user_id = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3",
    )
    .bind(user)
    .bind(after)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        let provider: String = row.get("provider")?;
        Ok(LinkedAccount {
            id: row.get("id")?,
            provider_label: provider.clone(),
            provider,
            label: row.get("label")?,
            created_at: row.get("created_at")?,
            last_used_at: row.get("last_used_at")?,
        })
    })
    .collect()
}

/// Removes a link, if it is this person's: its provider, and what it was called.
pub(super) async fn delete_link(
    tx: &mut Tx,
    user: UserId,
    id: LinkId,
) -> Result<Option<(String, String)>, DbError> {
    query("DELETE FROM linked_accounts WHERE id = $1 AND user_id = $2 RETURNING provider, label")
        .bind(id)
        .bind(user)
        .optional(tx)
        .await?
        .map(|row| Ok((row.get("provider")?, row.get("label")?)))
        .transpose()
}

/// Ends the sessions that began with a provider, for this subject there, and of
/// this session there, as far as they are given: a session of which we do not
/// know the provider's ends with all of its subject. Returns whose they were.
pub(super) async fn end_sessions(
    tx: &mut Tx,
    provider: &str,
    subject: Option<&str>,
    session: Option<&str>,
) -> Result<Vec<UserId>, DbError> {
    query(
        "DELETE FROM sessions WHERE provider = $1 AND ($2 IS NULL OR provider_subject = $2) \
         AND ($3 IS NULL OR provider_session = $3 OR ($2 IS NOT NULL AND provider_session IS NULL)) \
         RETURNING user_id",
    )
    .bind(provider)
    .bind(subject.map(str::to_owned))
    .bind(session.map(str::to_owned))
    .all(tx)
    .await?
    .iter()
    .map(|row| row.get("user_id"))
    .collect()
}
