//! The SQL of accounts, sessions and tokens.

use devenv_cloud_api::{
    Timestamp,
    accounts::{Membership, Token},
    ids::{LinkId, OrgId, ProjectId, SessionId, TokenId, UserId},
};

use super::{
    arrival::External,
    policy::{Held, Policy},
    principal::{TokenPrincipal, User},
    session::{Auth, ProviderSession},
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

/// A session as it is stored.
#[derive(Debug)]
pub(super) struct SessionRow {
    pub(super) user: User,
    pub(super) auth: Auth,
    pub(super) last_seen_at: Timestamp,
    pub(super) held: Held,
    pub(super) policy: Policy,
}

/// The second factors that the user `u` of a statement has, and the instance's policy.
macro_rules! standing_columns {
    () => {
        "EXISTS (SELECT 1 FROM passkeys k WHERE k.user_id = u.id) AS has_passkeys, \
         EXISTS (SELECT 1 FROM one_time_codes c WHERE c.user_id = u.id AND c.confirmed_at IS NOT NULL) \
         AS has_codes, i.second_factor, i.grace_days, i.second_factor_since "
    };
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

/// The live session with this key.
pub(super) async fn find_session(
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

pub(super) async fn insert_session(
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
pub(super) async fn renew_session(db: &Db, old: Vec<u8>, new: Vec<u8>, auth: &Auth) -> Result<bool, DbError> {
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
pub(super) async fn touch_session(
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

pub(super) async fn delete_session_by_key(db: &Db, key_hash: Vec<u8>) -> Result<(), DbError> {
    query("DELETE FROM sessions WHERE key_hash = $1").bind(key_hash).execute(db).await.map(|_| ())
}

pub(super) async fn delete_session(tx: &mut Tx, user: UserId, id: SessionId) -> Result<bool, DbError> {
    let deleted =
        query("DELETE FROM sessions WHERE id = $1 AND user_id = $2").bind(id).bind(user).execute(tx).await?;
    Ok(deleted > 0)
}

pub(super) async fn delete_other_sessions(
    target: impl Into<Target<'_>>,
    user: UserId,
    but: SessionId,
) -> Result<u64, DbError> {
    query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2").bind(user).bind(but).execute(target).await
}

pub(super) async fn delete_expired_sessions(db: &Db, now: Timestamp) -> Result<u64, DbError> {
    query("DELETE FROM sessions WHERE idle_until <= $1 OR absolute_until <= $1").bind(now).execute(db).await
}

/// Somebody's live sessions, newest first, from `before` on.
pub(super) async fn list_sessions(
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

/// The live token with this secret.
pub(super) async fn find_token(
    db: &Db,
    secret_hash: Vec<u8>,
    now: Timestamp,
) -> Result<Option<(TokenPrincipal, Option<Timestamp>)>, DbError> {
    query(concat!(
        "SELECT t.id, t.project_id, t.scopes, t.created_at, t.last_used_at, u.id AS user_id, u.email, \
         u.name AS user_name, u.instance_admin, u.created_at AS user_created_at, ",
        standing_columns!(),
        "FROM tokens t JOIN users u ON u.id = t.user_id CROSS JOIN instance i \
         WHERE t.secret_hash = $1 AND t.expires_at > $2 AND t.revoked_at IS NULL AND u.disabled_at IS NULL",
    ))
    .bind(secret_hash)
    .bind(now)
    .optional(db)
    .await?
    .map(|row| {
        let (user, held) = (user(&row)?, held_of(&row)?);
        let token = TokenPrincipal {
            standing: policy(&row)?.standing(held, None, user.created_at, now),
            held,
            user,
            token: row.get("id")?,
            scopes: parse_words(&row.get::<String>("scopes")?),
            project: row.get("project_id")?,
            created_at: row.get("created_at")?,
        };
        Ok((token, row.get("last_used_at")?))
    })
    .transpose()
}

/// Whether a session goes on, by the id that is no secret.
pub(super) async fn session_goes_on(db: &Db, id: SessionId, now: Timestamp) -> Result<bool, DbError> {
    let row = query(
        "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE s.id = $1 AND s.idle_until > $2 AND s.absolute_until > $2 AND u.disabled_at IS NULL",
    );
    Ok(row.bind(id).bind(now).optional(db).await?.is_some())
}

/// Whether a token works, by its id.
pub(super) async fn token_works(db: &Db, id: TokenId, now: Timestamp) -> Result<bool, DbError> {
    let row = query(
        "SELECT t.id FROM tokens t JOIN users u ON u.id = t.user_id \
         WHERE t.id = $1 AND t.expires_at > $2 AND t.revoked_at IS NULL AND u.disabled_at IS NULL",
    );
    Ok(row.bind(id).bind(now).optional(db).await?.is_some())
}

pub(super) async fn touch_token(db: &Db, id: TokenId, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(db)
        .await
        .map(|_| ())
}

pub(super) async fn insert_token(
    target: impl Into<Target<'_>>,
    user: UserId,
    project: Option<ProjectId>,
    token: &Token,
    secret_hash: Vec<u8>,
) -> Result<(), DbError> {
    query(
        "INSERT INTO tokens (id, user_id, project_id, name, prefix, secret_hash, scopes, created_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(token.id)
    .bind(user)
    .bind(project)
    .bind(&token.name)
    .bind(&token.prefix)
    .bind(secret_hash)
    .bind(words(&token.scopes))
    .bind(token.created_at)
    .bind(token.expires_at)
    .execute(target)
    .await
    .map(|_| ())
}

/// Tokens that work, newest first: somebody's own, or all of a project.
pub(super) async fn list_tokens(
    db: &Db,
    user: Option<UserId>,
    project: Option<ProjectId>,
    now: Timestamp,
    before: Option<TokenId>,
    limit: u32,
) -> Result<Vec<Token>, DbError> {
    query(
        "SELECT t.id, t.name, t.prefix, t.scopes, t.created_at, t.expires_at, t.last_used_at, \
         u.email AS owner, o.slug AS org, p.slug AS project \
         FROM tokens t JOIN users u ON u.id = t.user_id \
         LEFT JOIN projects p ON p.id = t.project_id LEFT JOIN orgs o ON o.id = p.org_id \
         WHERE t.revoked_at IS NULL AND t.expires_at > $3 AND ($1 IS NULL OR t.user_id = $1) \
         AND ($2 IS NULL OR t.project_id = $2) AND ($4 IS NULL OR t.id < $4) \
         ORDER BY t.id DESC LIMIT $5",
    )
    .bind(user)
    .bind(project)
    .bind(now)
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        let org: Option<String> = row.get("org")?;
        let project: Option<String> = row.get("project")?;
        Ok(Token {
            id: row.get("id")?,
            name: row.get("name")?,
            prefix: row.get("prefix")?,
            scopes: parse_words(&row.get::<String>("scopes")?),
            project: org.zip(project).map(|(org, project)| format!("{org}/{project}")),
            owner: row.get("owner")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            last_used_at: row.get("last_used_at")?,
        })
    })
    .collect()
}

/// Revokes a token that works; gives its name.
pub(super) async fn revoke_token(
    tx: &mut Tx,
    user: UserId,
    id: TokenId,
    now: Timestamp,
) -> Result<Option<String>, DbError> {
    query(
        "UPDATE tokens SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING name",
    )
    .bind(id)
    .bind(user)
    .bind(now)
    .optional(tx)
    .await?
    .map(|row| row.get("name"))
    .transpose()
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

/// With whom the account at a provider is linked.
pub(super) async fn find_link(db: &Db, provider: &str, subject: &str) -> Result<Option<UserId>, DbError> {
    query("SELECT user_id FROM linked_accounts WHERE provider = $1 AND subject = $2")
        .bind(provider)
        .bind(subject)
        .optional(db)
        .await?
        .map(|row| row.get("user_id"))
        .transpose()
}

pub(super) async fn touch_link(
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

pub(super) async fn insert_link(
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
