//! The SQL of accounts.

/// The second factors that the user `u` of a statement has, and the instance's policy.
macro_rules! standing_columns {
    () => {
        "EXISTS (SELECT 1 FROM passkeys k WHERE k.user_id = u.id) AS has_passkeys, \
         EXISTS (SELECT 1 FROM one_time_codes c WHERE c.user_id = u.id AND c.confirmed_at IS NOT NULL) \
         AS has_codes, i.second_factor, i.grace_days, i.second_factor_since "
    };
}

mod links;
mod sessions;
mod tokens;

use devenv_cloud_api::{
    Timestamp,
    accounts::Membership,
    ids::{OrgId, UserId},
};

pub use self::links::find_link;
pub(super) use self::{
    links::{insert_link, touch_link},
    sessions::{
        SessionRow, delete_expired_sessions, delete_other_sessions, delete_session, delete_session_by_key,
        find_session, insert_session, list_sessions, renew_session, session_goes_on, touch_session,
    },
    tokens::{find_token, insert_token, list_tokens, revoke_token, token_works, touch_token},
};
use super::{
    policy::{Held, Policy},
    principal::User,
};
use crate::db::{Db, DbError, Row, Target, Tx, query};

/// The form in which addresses are compared.
#[must_use]
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

fn user(row: &Row) -> Result<User, DbError> {
    Ok(User {
        id: row.get("user_id")?,
        email: row.get("email")?,
        name: row.get("user_name")?,
        instance_admin: row.get("instance_admin")?,
        created_at: row.get("user_created_at")?,
    })
}

/// Words in one column, separated by spaces.
fn words<T: std::fmt::Display>(words: &[T]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A word that this version does not know (any more) grants nothing.
fn parse_words<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(' ').filter_map(|word| word.parse().ok()).collect()
}

fn held_of(row: &Row) -> Result<Held, DbError> {
    Ok(Held { passkeys: row.get("has_passkeys")?, codes: row.get("has_codes")? })
}

/// The policy of an instance or an organisation, from its columns.
///
/// # Errors
/// When a column is missing or makes no sense.
pub fn policy(row: &Row) -> Result<Policy, DbError> {
    Ok(Policy {
        second_factor: row.get("second_factor")?,
        grace_days: row.get("grace_days")?,
        since: row.get("second_factor_since")?,
    })
}

/// How many people have an account.
pub(super) async fn count_users(target: impl Into<Target<'_>>) -> Result<i64, DbError> {
    query("SELECT COUNT(*) AS n FROM users").one(target).await?.get("n")
}

/// Somebody who may sign in, by id.
///
/// # Errors
/// See [`DbError`].
pub async fn find_user(target: impl Into<Target<'_>>, id: UserId) -> Result<Option<User>, DbError> {
    query(
        "SELECT id AS user_id, email, name AS user_name, instance_admin, created_at AS user_created_at \
         FROM users WHERE id = $1 AND disabled_at IS NULL",
    )
    .bind(id)
    .optional(target)
    .await?
    .as_ref()
    .map(user)
    .transpose()
}

/// Somebody who may sign in, by e-mail address in whatever case.
///
/// # Errors
/// See [`DbError`].
pub async fn find_user_by_email(target: impl Into<Target<'_>>, email: &str) -> Result<Option<User>, DbError> {
    Ok(find_credentials(target, email).await?.map(|(user, _)| user))
}

/// Somebody who may sign in, with the hash of their password.
pub(super) async fn find_credentials(
    target: impl Into<Target<'_>>,
    email: &str,
) -> Result<Option<(User, Option<String>)>, DbError> {
    query(
        "SELECT id AS user_id, email, name AS user_name, instance_admin, created_at AS user_created_at, \
         password_hash FROM users WHERE email_key = $1 AND disabled_at IS NULL",
    )
    .bind(email_key(email))
    .optional(target)
    .await?
    .map(|row| Ok((user(&row)?, row.get("password_hash")?)))
    .transpose()
}

pub(super) async fn password_hash(db: &Db, id: UserId) -> Result<Option<String>, DbError> {
    query("SELECT password_hash FROM users WHERE id = $1").bind(id).one(db).await?.get("password_hash")
}

/// A new account; with a password or without, and with the moment since when its
/// address is known to be its owner's.
///
/// # Errors
/// See [`DbError`]; taken if somebody has the address.
pub async fn insert_user(
    tx: &mut Tx,
    user: &User,
    password_hash: Option<&str>,
    verified_at: Option<Timestamp>,
) -> Result<(), DbError> {
    query(
        "INSERT INTO users (id, email, email_key, name, password_hash, instance_admin, created_at, \
         email_verified_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(user.id)
    .bind(&user.email)
    .bind(email_key(&user.email))
    .bind(&user.name)
    .bind(password_hash.map(str::to_owned))
    .bind(user.instance_admin)
    .bind(user.created_at)
    .bind(verified_at)
    .execute(tx)
    .await
    .map(|_| ())
}

pub(super) async fn rename_user(db: &Db, id: UserId, name: &str) -> Result<(), DbError> {
    query("UPDATE users SET name = $2 WHERE id = $1").bind(id).bind(name).execute(db).await.map(|_| ())
}

/// Sets the password, if it is still the one that was checked.
pub(super) async fn set_password(tx: &mut Tx, id: UserId, old: &str, new: &str) -> Result<bool, DbError> {
    let changed = query("UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
        .bind(id)
        .bind(old)
        .bind(new)
        .execute(tx)
        .await?;
    Ok(changed == 1)
}

pub(super) async fn memberships(db: &Db, user: UserId) -> Result<Vec<Membership>, DbError> {
    query(
        "SELECT o.slug, o.display_name, m.role FROM members m JOIN orgs o ON o.id = m.org_id \
         WHERE m.user_id = $1 ORDER BY o.slug",
    )
    .bind(user)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        Ok(Membership {
            org: row.get("slug")?,
            display_name: row.get("display_name")?,
            role: row.get("role")?,
        })
    })
    .collect()
}

/// Replaces the token of the set-up link.
pub(super) async fn put_setup(tx: &mut Tx, token_hash: Vec<u8>, now: Timestamp) -> Result<(), DbError> {
    query(
        "INSERT INTO setup (id, token_hash, created_at, used_at) VALUES (1, $1, $2, NULL) \
         ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, created_at = excluded.created_at \
         WHERE setup.used_at IS NULL",
    )
    .bind(token_hash)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Uses the set-up link up. Of several who try at once, one gets a yes: the
/// others wait for the row, and then find it used.
pub(super) async fn use_setup(tx: &mut Tx, token_hash: Vec<u8>, now: Timestamp) -> Result<bool, DbError> {
    let used = query("UPDATE setup SET used_at = $2 WHERE id = 1 AND token_hash = $1 AND used_at IS NULL")
        .bind(token_hash)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(used == 1)
}

/// Whether somebody is still a member of the organisation of this session.
pub(super) async fn is_member(db: &Db, org: OrgId, user: UserId) -> Result<bool, DbError> {
    let row = query("SELECT role FROM members WHERE org_id = $1 AND user_id = $2")
        .bind(org)
        .bind(user)
        .optional(db)
        .await?;
    Ok(row.is_some())
}

/// Whoever takes something away from somebody's ways in waits here for the one
/// before: two who each leave the other's would leave none.
pub(super) async fn lock_user(tx: &mut Tx, id: UserId) -> Result<(), DbError> {
    query("UPDATE users SET name = name WHERE id = $1").bind(id).execute(tx).await.map(|_| ())
}

/// The second factors that somebody has.
pub(super) async fn held(target: impl Into<Target<'_>>, user: UserId) -> Result<Held, DbError> {
    let row = query(
        "SELECT EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1) AS has_passkeys, \
         EXISTS (SELECT 1 FROM one_time_codes WHERE user_id = $1 AND confirmed_at IS NOT NULL) AS has_codes",
    )
    .bind(user)
    .one(target)
    .await?;
    held_of(&row)
}

/// The first factors that somebody has, besides passkeys.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstFactors {
    pub(super) password: bool,
    /// How many accounts elsewhere.
    pub(super) links: i64,
}

pub(super) async fn first_factors(
    target: impl Into<Target<'_>>,
    user: UserId,
) -> Result<FirstFactors, DbError> {
    let row = query(
        "SELECT password_hash IS NOT NULL AS password, \
         (SELECT COUNT(*) FROM linked_accounts l WHERE l.user_id = users.id) AS links \
         FROM users WHERE id = $1",
    )
    .bind(user)
    .one(target)
    .await?;
    Ok(FirstFactors { password: row.get("password")?, links: row.get("links")? })
}

/// What the instance asks of everybody's sign-in.
pub(super) async fn instance_policy(target: impl Into<Target<'_>>) -> Result<Policy, DbError> {
    let row =
        query("SELECT second_factor, grace_days, second_factor_since FROM instance").one(target).await?;
    policy(&row)
}

pub(super) async fn set_instance_policy(tx: &mut Tx, policy: &Policy) -> Result<(), DbError> {
    query("UPDATE instance SET second_factor = $1, grace_days = $2, second_factor_since = $3")
        .bind(policy.second_factor.as_str())
        .bind(policy.grace_days)
        .bind(policy.since)
        .execute(tx)
        .await
        .map(|_| ())
}

/// What somebody's organisations ask of everybody's sign-in.
pub(super) async fn policies_of(target: impl Into<Target<'_>>, user: UserId) -> Result<Vec<Policy>, DbError> {
    query(
        "SELECT o.second_factor, o.grace_days, o.second_factor_since FROM members m \
         JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1",
    )
    .bind(user)
    .all(target)
    .await?
    .iter()
    .map(policy)
    .collect()
}
