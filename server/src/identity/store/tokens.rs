//! The SQL of tokens.

use devenv_cloud_api::{
    Timestamp,
    accounts::Token,
    ids::{ProjectId, TokenId, UserId},
};

use super::{held_of, parse_words, policy, user, words};
use crate::{
    db::{Db, DbError, Target, Tx, query},
    identity::principal::TokenPrincipal,
};

/// The live token with this secret.
pub(in crate::identity) async fn find_token(
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

/// Whether a token works, by its id.
pub(in crate::identity) async fn token_works(db: &Db, id: TokenId, now: Timestamp) -> Result<bool, DbError> {
    let row = query(
        "SELECT t.id FROM tokens t JOIN users u ON u.id = t.user_id \
         WHERE t.id = $1 AND t.expires_at > $2 AND t.revoked_at IS NULL AND u.disabled_at IS NULL",
    );
    Ok(row.bind(id).bind(now).optional(db).await?.is_some())
}

pub(in crate::identity) async fn touch_token(db: &Db, id: TokenId, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(db)
        .await
        .map(|_| ())
}

pub(in crate::identity) async fn insert_token(
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
pub(in crate::identity) async fn list_tokens(
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
pub(in crate::identity) async fn revoke_token(
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
