//! The SQL of passkeys, one-time codes and recovery codes.

use devenv_cloud_api::{
    Timestamp,
    factors::Passkey as Listed,
    ids::{PasskeyId, UserId},
};
use webauthn_rs::prelude::{Credential, Passkey};

use crate::db::{Db, DbError, Row, Target, Tx, query};

/// A passkey as it is stored.
#[derive(Clone, Debug)]
pub(super) struct PasskeyRow {
    pub(super) id: PasskeyId,
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) passkey: Passkey,
    /// The column's text, to change it only if nobody else has.
    pub(super) text: String,
}

fn text_of(passkey: &Passkey) -> Result<String, DbError> {
    serde_json::to_string(passkey).map_err(|e| DbError::Other(sqlx::Error::Encode(e.into())))
}

fn parse(text: &str) -> Result<Passkey, DbError> {
    serde_json::from_str(text).map_err(|e| {
        DbError::Other(sqlx::Error::ColumnDecode { index: "credential".to_owned(), source: e.into() })
    })
}

fn passkey(row: &Row) -> Result<PasskeyRow, DbError> {
    let text: String = row.get("credential")?;
    Ok(PasskeyRow {
        id: row.get("id")?,
        user: row.get("user_id")?,
        name: row.get("name")?,
        passkey: parse(&text)?,
        text,
    })
}

pub(super) async fn insert_passkey(
    tx: &mut Tx,
    id: PasskeyId,
    user: UserId,
    name: &str,
    passkey: &Passkey,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO passkeys (id, user_id, credential_id, name, credential, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(user)
    .bind(passkey.cred_id().as_slice())
    .bind(name)
    .bind(text_of(passkey)?)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}

pub(super) async fn find_passkey(db: &Db, credential: &[u8]) -> Result<Option<PasskeyRow>, DbError> {
    query("SELECT id, user_id, name, credential FROM passkeys WHERE credential_id = $1")
        .bind(credential)
        .optional(db)
        .await?
        .as_ref()
        .map(passkey)
        .transpose()
}

pub(super) async fn passkeys_of(
    target: impl Into<Target<'_>>,
    user: UserId,
) -> Result<Vec<PasskeyRow>, DbError> {
    query("SELECT id, user_id, name, credential FROM passkeys WHERE user_id = $1 ORDER BY id")
        .bind(user)
        .all(target)
        .await?
        .iter()
        .map(passkey)
        .collect()
}

pub(super) async fn list_passkeys(db: &Db, user: UserId) -> Result<Vec<Listed>, DbError> {
    query(
        "SELECT id, user_id, credential, name, created_at, last_used_at FROM passkeys WHERE user_id = $1 \
         ORDER BY id",
    )
    .bind(user)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        let credential: Credential = parse(&row.get::<String>("credential")?)?.into();
        Ok(Listed {
            id: row.get("id")?,
            name: row.get("name")?,
            synced: credential.backup_state,
            created_at: row.get("created_at")?,
            last_used_at: row.get("last_used_at")?,
        })
    })
    .collect()
}

/// Notes that the passkey was used. Of two answers with the same counter, one
/// gets a yes: the row is no more as the other one read it.
pub(super) async fn use_passkey(
    db: &Db,
    row: &PasskeyRow,
    now: &Passkey,
    at: Timestamp,
) -> Result<bool, DbError> {
    let used =
        query("UPDATE passkeys SET credential = $3, last_used_at = $4 WHERE id = $1 AND credential = $2")
            .bind(row.id)
            .bind(&row.text)
            .bind(text_of(now)?)
            .bind(at)
            .execute(db)
            .await?;
    Ok(used == 1)
}

pub(super) async fn rename_passkey(
    tx: &mut Tx,
    user: UserId,
    id: PasskeyId,
    name: &str,
) -> Result<bool, DbError> {
    let renamed = query("UPDATE passkeys SET name = $3 WHERE id = $1 AND user_id = $2")
        .bind(id)
        .bind(user)
        .bind(name)
        .execute(tx)
        .await?;
    Ok(renamed == 1)
}

/// Removes a passkey. Its name, if there was one.
pub(super) async fn delete_passkey(
    tx: &mut Tx,
    user: UserId,
    id: PasskeyId,
) -> Result<Option<String>, DbError> {
    query("DELETE FROM passkeys WHERE id = $1 AND user_id = $2 RETURNING name")
        .bind(id)
        .bind(user)
        .optional(tx)
        .await?
        .map(|row| row.get("name"))
        .transpose()
}

/// What authenticators know somebody by.
pub(super) async fn handle(tx: &mut Tx, user: UserId, new: [u8; 16]) -> Result<Vec<u8>, DbError> {
    query(
        "UPDATE users SET passkey_handle = COALESCE(passkey_handle, $2) WHERE id = $1 \
         RETURNING passkey_handle",
    )
    .bind(user)
    .bind(new.as_slice())
    .one(tx)
    .await?
    .get("passkey_handle")
}

/// Whom authenticators know by this handle.
pub(super) async fn user_of_handle(db: &Db, handle: &[u8]) -> Result<Option<UserId>, DbError> {
    query("SELECT id FROM users WHERE passkey_handle = $1 AND disabled_at IS NULL")
        .bind(handle)
        .optional(db)
        .await?
        .map(|row| row.get("id"))
        .transpose()
}

/// Somebody's app for one-time codes.
#[derive(Clone, Debug)]
pub(super) struct CodesRow {
    pub(super) secret: Vec<u8>,
    pub(super) confirmed_at: Option<Timestamp>,
}

pub(super) async fn codes(db: &Db, user: UserId) -> Result<Option<CodesRow>, DbError> {
    query("SELECT secret, confirmed_at FROM one_time_codes WHERE user_id = $1")
        .bind(user)
        .optional(db)
        .await?
        .map(|row| Ok(CodesRow { secret: row.get("secret")?, confirmed_at: row.get("confirmed_at")? }))
        .transpose()
}

/// Remembers a secret that is to be confirmed. Whether it was: a confirmed one stays.
pub(super) async fn put_codes(db: &Db, user: UserId, secret: &[u8], now: Timestamp) -> Result<bool, DbError> {
    let put = query(
        "INSERT INTO one_time_codes (user_id, secret, last_step, created_at) VALUES ($1, $2, 0, $3) \
         ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at, \
         last_step = 0 WHERE one_time_codes.confirmed_at IS NULL",
    )
    .bind(user)
    .bind(secret)
    .bind(now)
    .execute(db)
    .await?;
    Ok(put == 1)
}

pub(super) async fn confirm_codes(
    tx: &mut Tx,
    user: UserId,
    secret: &[u8],
    step: u64,
    now: Timestamp,
) -> Result<bool, DbError> {
    let confirmed = query(
        "UPDATE one_time_codes SET confirmed_at = $4, last_step = $3 \
         WHERE user_id = $1 AND secret = $2 AND confirmed_at IS NULL",
    )
    .bind(user)
    .bind(secret)
    .bind(step)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(confirmed == 1)
}

/// Uses the code of a step up, with all before it. Of two who come with the
/// same code, one gets a yes.
pub(super) async fn use_step(db: &Db, user: UserId, step: u64) -> Result<bool, DbError> {
    let used = query(
        "UPDATE one_time_codes SET last_step = $2 \
         WHERE user_id = $1 AND last_step < $2 AND confirmed_at IS NOT NULL",
    )
    .bind(user)
    .bind(step)
    .execute(db)
    .await?;
    Ok(used == 1)
}

pub(super) async fn delete_codes(tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
    Ok(query("DELETE FROM one_time_codes WHERE user_id = $1").bind(user).execute(tx).await? == 1)
}

pub(super) async fn replace_recovery_codes(
    tx: &mut Tx,
    user: UserId,
    hashes: &[Vec<u8>],
    now: Option<Timestamp>,
) -> Result<(), DbError> {
    query("DELETE FROM recovery_codes WHERE user_id = $1").bind(user).execute(&mut *tx).await?;
    for hash in hashes {
        query("INSERT INTO recovery_codes (user_id, code_hash, created_at) VALUES ($1, $2, $3)")
            .bind(user)
            .bind(hash.as_slice())
            .bind(now)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// How many recovery codes are left, and since when there are any.
pub(super) async fn recovery_codes_left(
    target: impl Into<Target<'_>>,
    user: UserId,
) -> Result<(u32, Option<Timestamp>), DbError> {
    let row = query(
        "SELECT COUNT(*) AS n, MIN(created_at) AS since FROM recovery_codes \
         WHERE user_id = $1 AND used_at IS NULL",
    )
    .bind(user)
    .one(target)
    .await?;
    Ok((row.get("n")?, row.get("since")?))
}

/// Uses a recovery code up. Of two who come with the same, one gets a yes.
pub(super) async fn use_recovery_code(
    tx: &mut Tx,
    user: UserId,
    hash: &[u8],
    now: Timestamp,
) -> Result<bool, DbError> {
    let used = query(
        "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL",
    )
    .bind(user)
    .bind(hash)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(used == 1)
}
