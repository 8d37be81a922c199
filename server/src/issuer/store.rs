//! The SQL of what we sign, and of programs that sign in with an account of ours.

use devenv_cloud_api::{
    Timestamp,
    accounts::AuthMethod,
    ids::{TokenId, UserId},
};
use uuid::Uuid;

use crate::db::{Db, DbError, Row, Target, Tx, query};

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) id: Uuid,
    pub(super) key_id: String,
    pub(super) secret: Vec<u8>,
    pub(super) public: String,
    pub(super) created_at: Timestamp,
    pub(super) signs_from: Timestamp,
    pub(super) signs_until: Timestamp,
    pub(super) published_until: Timestamp,
}

/// The published keys, oldest first.
pub(super) async fn keys(target: impl Into<Target<'_>>, now: Timestamp) -> Result<Vec<KeyRow>, DbError> {
    query(
        "SELECT id, key_id, secret, public, created_at, signs_from, signs_until, published_until \
         FROM signing_keys WHERE published_until > $1 ORDER BY signs_from, id",
    )
    .bind(now)
    .all(target)
    .await?
    .iter()
    .map(|row| {
        Ok(KeyRow {
            id: row.get("id")?,
            key_id: row.get("key_id")?,
            secret: row.get("secret")?,
            public: row.get("public")?,
            created_at: row.get("created_at")?,
            signs_from: row.get("signs_from")?,
            signs_until: row.get("signs_until")?,
            published_until: row.get("published_until")?,
        })
    })
    .collect()
}

pub(super) async fn insert_key(tx: &mut Tx, key: &KeyRow) -> Result<(), DbError> {
    query(
        "INSERT INTO signing_keys (id, key_id, secret, public, created_at, signs_from, signs_until, \
         published_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key.id)
    .bind(&key.key_id)
    .bind(key.secret.as_slice())
    .bind(&key.public)
    .bind(key.created_at)
    .bind(key.signs_from)
    .bind(key.signs_until)
    .bind(key.published_until)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Lets no key sign from then on, and none that is there count after `published`.
pub(super) async fn end_keys(
    tx: &mut Tx,
    signs_until: Timestamp,
    published: Timestamp,
) -> Result<(), DbError> {
    query("UPDATE signing_keys SET signs_until = $1 WHERE signs_until > $1")
        .bind(signs_until)
        .execute(&mut *tx)
        .await?;
    query("UPDATE signing_keys SET published_until = $1 WHERE published_until > $1")
        .bind(published)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn delete_old_keys(db: &Db, now: Timestamp) -> Result<u64, DbError> {
    query("DELETE FROM signing_keys WHERE published_until <= $1").bind(now).execute(db).await
}

/// A login of a command line as it is stored.
#[derive(Clone, Debug)]
pub(super) struct LoginRow {
    pub(super) id: Uuid,
    pub(super) client_id: String,
    pub(super) scope: String,
    pub(super) ip: String,
    pub(super) user_agent: String,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) polled_at: Option<Timestamp>,
    pub(super) interval: u32,
    pub(super) user: Option<UserId>,
    pub(super) approved: Option<bool>,
    pub(super) methods: Vec<AuthMethod>,
    pub(super) authenticated_at: Option<Timestamp>,
}

macro_rules! login {
    ($($rest:tt)+) => {
        concat!(
            "SELECT id, client_id, scope, ip, user_agent, created_at, expires_at, polled_at, interval_s, user_id, \
             approved, methods, authenticated_at FROM device_logins ",
            $($rest)+
        )
    };
}

fn login(row: &Row) -> Result<LoginRow, DbError> {
    let methods: Option<String> = row.get("methods")?;
    Ok(LoginRow {
        id: row.get("id")?,
        client_id: row.get("client_id")?,
        scope: row.get("scope")?,
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        polled_at: row.get("polled_at")?,
        interval: row.get("interval_s")?,
        user: row.get("user_id")?,
        approved: row.get("approved")?,
        methods: methods.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect(),
        authenticated_at: row.get("authenticated_at")?,
    })
}

pub(super) async fn insert_login(
    db: &Db,
    row: &LoginRow,
    device_hash: &[u8],
    user_code_hash: &[u8],
) -> Result<(), DbError> {
    query(
        "INSERT INTO device_logins (id, device_hash, user_code_hash, client_id, scope, ip, user_agent, \
         created_at, expires_at, interval_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(row.id)
    .bind(device_hash)
    .bind(user_code_hash)
    .bind(&row.client_id)
    .bind(&row.scope)
    .bind(&row.ip)
    .bind(&row.user_agent)
    .bind(row.created_at)
    .bind(row.expires_at)
    .bind(row.interval)
    .execute(db)
    .await
    .map(|_| ())
}

/// The login that this device asks about, whatever became of it.
pub(super) async fn find_login_by_device(tx: &mut Tx, hash: &[u8]) -> Result<Option<LoginRow>, DbError> {
    let row = query(login!("WHERE device_hash = $1")).bind(hash).optional(tx).await?;
    row.as_ref().map(login).transpose()
}

/// The login with this code that still waits for somebody's word.
pub(super) async fn find_login_by_code(
    target: impl Into<Target<'_>>,
    hash: &[u8],
    now: Timestamp,
) -> Result<Option<LoginRow>, DbError> {
    let row = query(login!("WHERE user_code_hash = $1 AND expires_at > $2 AND decided_at IS NULL"))
        .bind(hash)
        .bind(now)
        .optional(target)
        .await?;
    row.as_ref().map(login).transpose()
}

/// Notes that it was asked, and how long to wait from now on. Of two who ask at
/// the same moment, one gets a yes.
pub(super) async fn note_poll(
    tx: &mut Tx,
    id: Uuid,
    before: Option<Timestamp>,
    now: Timestamp,
    interval: u32,
) -> Result<bool, DbError> {
    let noted = query(
        "UPDATE device_logins SET polled_at = $3, interval_s = $4 \
         WHERE id = $1 AND (polled_at = $2 OR (polled_at IS NULL AND $2 IS NULL))",
    )
    .bind(id)
    .bind(before)
    .bind(now)
    .bind(interval)
    .execute(tx)
    .await?;
    Ok(noted == 1)
}

/// Writes down somebody's word, if nobody has had one yet.
pub(super) async fn decide_login(
    tx: &mut Tx,
    id: Uuid,
    user: UserId,
    approved: bool,
    methods: &[AuthMethod],
    authenticated_at: Timestamp,
    now: Timestamp,
) -> Result<bool, DbError> {
    let methods = methods.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let decided = query(
        "UPDATE device_logins SET decided_at = $2, user_id = $3, approved = $4, methods = $5, \
         authenticated_at = $6 WHERE id = $1 AND decided_at IS NULL AND expires_at > $2",
    )
    .bind(id)
    .bind(now)
    .bind(user)
    .bind(approved)
    .bind(methods)
    .bind(authenticated_at)
    .execute(tx)
    .await?;
    Ok(decided == 1)
}

/// Takes the login: nobody gets it again.
pub(super) async fn take_login(tx: &mut Tx, id: Uuid) -> Result<bool, DbError> {
    Ok(query("DELETE FROM device_logins WHERE id = $1").bind(id).execute(tx).await? == 1)
}

pub(super) async fn delete_logins_before(db: &Db, then: Timestamp) -> Result<u64, DbError> {
    query("DELETE FROM device_logins WHERE expires_at <= $1").bind(then).execute(db).await
}

/// Says of which program a token is.
pub(super) async fn mark_token(tx: &mut Tx, id: TokenId, client: &str) -> Result<(), DbError> {
    query("UPDATE tokens SET client_id = $2 WHERE id = $1")
        .bind(id)
        .bind(client)
        .execute(tx)
        .await
        .map(|_| ())
}

/// Whose token this is, and of which program; only tokens that were not revoked.
pub(super) async fn find_token(
    tx: &mut Tx,
    secret_hash: Vec<u8>,
) -> Result<Option<(TokenId, UserId, Option<String>)>, DbError> {
    query("SELECT id, user_id, client_id FROM tokens WHERE secret_hash = $1 AND revoked_at IS NULL")
        .bind(secret_hash)
        .optional(tx)
        .await?
        .map(|row| Ok((row.get("id")?, row.get("user_id")?, row.get("client_id")?)))
        .transpose()
}

pub(super) async fn revoke_token(tx: &mut Tx, id: TokenId, now: Timestamp) -> Result<bool, DbError> {
    let revoked = query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(revoked == 1)
}

/// Whether somebody's address was verified.
pub(super) async fn email_verified(target: impl Into<Target<'_>>, user: UserId) -> Result<bool, DbError> {
    let row = query("SELECT email_verified_at FROM users WHERE id = $1").bind(user).one(target).await?;
    Ok(row.get::<Option<Timestamp>>("email_verified_at")?.is_some())
}

/// What somebody lets a program know.
pub(super) async fn consent(db: &Db, user: UserId, client: &str) -> Result<Option<String>, DbError> {
    query("SELECT scope FROM consents WHERE user_id = $1 AND client_id = $2")
        .bind(user)
        .bind(client)
        .optional(db)
        .await?
        .map(|row| row.get("scope"))
        .transpose()
}

pub(super) async fn put_consent(
    tx: &mut Tx,
    user: UserId,
    client: &str,
    scope: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO consents (user_id, client_id, scope, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id, client_id) DO UPDATE SET scope = excluded.scope, created_at = excluded.created_at",
    )
    .bind(user)
    .bind(client)
    .bind(scope)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}
