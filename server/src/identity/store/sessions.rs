//! The SQL of sessions.

use devenv_cloud_api::{
    Timestamp,
    ids::{SessionId, UserId},
};

use super::{held_of, parse_words, policy, user, words};
use crate::{
    db::{Db, DbError, Row, Target, Tx, query},
    identity::{
        policy::{Held, Policy},
        principal::User,
        session::{Auth, ProviderSession},
    },
};

/// A session as it is stored.
#[derive(Debug)]
pub(in crate::identity) struct SessionRow {
    pub(in crate::identity) user: User,
    pub(in crate::identity) auth: Auth,
    pub(in crate::identity) last_seen_at: Timestamp,
    pub(in crate::identity) held: Held,
    pub(in crate::identity) policy: Policy,
}

/// The live session with this key.
pub(in crate::identity) async fn find_session(
    db: &Db,
    key_hash: Vec<u8>,
    now: Timestamp,
) -> Result<Option<SessionRow>, DbError> {
    query(concat!(
        "SELECT s.id, s.org_id, s.assurance, s.methods, s.authenticated_at, s.created_at, s.last_seen_at, \
         s.absolute_until, s.ip, s.user_agent, s.keep, s.provider, s.provider_subject, s.provider_session, \
         u.id AS user_id, u.email, u.name AS user_name, u.instance_admin, u.created_at AS user_created_at, ",
        standing_columns!(),
        "FROM sessions s JOIN users u ON u.id = s.user_id CROSS JOIN instance i \
         WHERE s.key_hash = $1 AND s.idle_until > $2 AND s.absolute_until > $2 AND u.disabled_at IS NULL",
    ))
    .bind(key_hash)
    .bind(now)
    .optional(db)
    .await?
    .map(|row| {
        let user = user(&row)?;
        Ok(SessionRow {
            auth: auth(&row, user.id)?,
            user,
            last_seen_at: row.get("last_seen_at")?,
            held: held_of(&row)?,
            policy: policy(&row)?,
        })
    })
    .transpose()
}

fn auth(row: &Row, user: UserId) -> Result<Auth, DbError> {
    Ok(Auth {
        session: row.get("id")?,
        user,
        org: row.get("org_id")?,
        methods: parse_words(&row.get::<String>("methods")?),
        assurance: row.get("assurance")?,
        authenticated_at: row.get("authenticated_at")?,
        created_at: row.get("created_at")?,
        absolute_until: row.get("absolute_until")?,
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
        keep: row.get("keep")?,
        provider: match (row.get("provider")?, row.get("provider_subject")?) {
            (Some(provider), Some(subject)) => {
                Some(ProviderSession { provider, subject, session: row.get("provider_session")? })
            }
            _ => None,
        },
    })
}

pub(in crate::identity) async fn insert_session(
    db: &Db,
    key_hash: Vec<u8>,
    auth: &Auth,
    now: Timestamp,
    idle_until: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO sessions (id, key_hash, user_id, org_id, assurance, methods, authenticated_at, \
         created_at, last_seen_at, idle_until, absolute_until, ip, user_agent, keep, provider, \
         provider_subject, provider_session) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(auth.session)
    .bind(key_hash)
    .bind(auth.user)
    .bind(auth.org)
    .bind(auth.assurance.as_str())
    .bind(words(&auth.methods))
    .bind(auth.authenticated_at)
    .bind(auth.created_at)
    .bind(now)
    .bind(idle_until)
    .bind(auth.absolute_until)
    .bind(&auth.ip)
    .bind(&auth.user_agent)
    .bind(auth.keep)
    .bind(auth.provider.as_ref().map(|p| p.provider.clone()))
    .bind(auth.provider.as_ref().map(|p| p.subject.clone()))
    .bind(auth.provider.as_ref().and_then(|p| p.session.clone()))
    .execute(db)
    .await
    .map(|_| ())
}

/// Gives a session another secret, and what was proved meanwhile. Whether it is
/// still there.
pub(in crate::identity) async fn renew_session(
    db: &Db,
    old: Vec<u8>,
    new: Vec<u8>,
    auth: &Auth,
) -> Result<bool, DbError> {
    let renewed = query(
        "UPDATE sessions SET key_hash = $2, methods = $3, assurance = $4, authenticated_at = $5 \
         WHERE key_hash = $1",
    )
    .bind(old)
    .bind(new)
    .bind(words(&auth.methods))
    .bind(auth.assurance.as_str())
    .bind(auth.authenticated_at)
    .execute(db)
    .await?;
    Ok(renewed == 1)
}

/// Only a session that is still there is seen: one that was ended meanwhile
/// must not come back.
pub(in crate::identity) async fn touch_session(
    db: &Db,
    id: SessionId,
    now: Timestamp,
    idle_until: Timestamp,
) -> Result<(), DbError> {
    query("UPDATE sessions SET last_seen_at = $2, idle_until = $3 WHERE id = $1")
        .bind(id)
        .bind(now)
        .bind(idle_until)
        .execute(db)
        .await
        .map(|_| ())
}

pub(in crate::identity) async fn delete_session_by_key(db: &Db, key_hash: Vec<u8>) -> Result<(), DbError> {
    query("DELETE FROM sessions WHERE key_hash = $1").bind(key_hash).execute(db).await.map(|_| ())
}

pub(in crate::identity) async fn delete_session(
    tx: &mut Tx,
    user: UserId,
    id: SessionId,
) -> Result<bool, DbError> {
    let deleted =
        query("DELETE FROM sessions WHERE id = $1 AND user_id = $2").bind(id).bind(user).execute(tx).await?;
    Ok(deleted > 0)
}

pub(in crate::identity) async fn delete_other_sessions(
    target: impl Into<Target<'_>>,
    user: UserId,
    but: SessionId,
) -> Result<u64, DbError> {
    query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2").bind(user).bind(but).execute(target).await
}

pub(in crate::identity) async fn delete_expired_sessions(db: &Db, now: Timestamp) -> Result<u64, DbError> {
    query("DELETE FROM sessions WHERE idle_until <= $1 OR absolute_until <= $1").bind(now).execute(db).await
}

/// Somebody's live sessions, newest first, from `before` on.
pub(in crate::identity) async fn list_sessions(
    db: &Db,
    user: UserId,
    now: Timestamp,
    before: Option<SessionId>,
    limit: u32,
) -> Result<Vec<(Auth, Timestamp)>, DbError> {
    query(
        "SELECT id, org_id, assurance, methods, authenticated_at, created_at, last_seen_at, absolute_until, \
         ip, user_agent, keep, provider, provider_subject, provider_session FROM sessions \
         WHERE user_id = $1 AND idle_until > $2 AND absolute_until > $2 AND ($3 IS NULL OR id < $3) \
         ORDER BY id DESC LIMIT $4",
    )
    .bind(user)
    .bind(now)
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((auth(row, user)?, row.get("last_seen_at")?)))
    .collect()
}

/// Whether a session goes on, by the id that is no secret.
pub(in crate::identity) async fn session_goes_on(
    db: &Db,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbError> {
    let row = query(
        "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE s.id = $1 AND s.idle_until > $2 AND s.absolute_until > $2 AND u.disabled_at IS NULL",
    );
    Ok(row.bind(id).bind(now).optional(db).await?.is_some())
}
