//! The SQL of accounts as others see them, and of invitations.

use devenv_cloud_api::{
    Timestamp,
    ids::{InvitationId, OrgId, UserId},
    names::Slug,
    people::{Invitation, Person},
    permissions::Role,
};

use crate::{
    db::{Db, DbError, Row, Target, Tx, in_pattern, query},
    identity::{User, email_key},
};

/// An account, whether or not its owner may come in.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) user: User,
    pub(super) password_hash: Option<String>,
    pub(super) verified_at: Option<Timestamp>,
    pub(super) disabled_at: Option<Timestamp>,
}

fn account(row: &Row) -> Result<Account, DbError> {
    Ok(Account {
        user: User {
            id: row.get("id")?,
            email: row.get("email")?,
            name: row.get("name")?,
            instance_admin: row.get("instance_admin")?,
            created_at: row.get("created_at")?,
        },
        password_hash: row.get("password_hash")?,
        verified_at: row.get("email_verified_at")?,
        disabled_at: row.get("disabled_at")?,
    })
}

pub(super) async fn find(target: impl Into<Target<'_>>, id: UserId) -> Result<Option<Account>, DbError> {
    query(
        "SELECT id, email, name, instance_admin, created_at, password_hash, email_verified_at, disabled_at \
         FROM users WHERE id = $1",
    )
    .bind(id)
    .optional(target)
    .await?
    .as_ref()
    .map(account)
    .transpose()
}

pub(super) async fn find_by_email(
    target: impl Into<Target<'_>>,
    email: &str,
) -> Result<Option<Account>, DbError> {
    query(
        "SELECT id, email, name, instance_admin, created_at, password_hash, email_verified_at, disabled_at \
         FROM users WHERE email_key = $1",
    )
    .bind(email_key(email))
    .optional(target)
    .await?
    .as_ref()
    .map(account)
    .transpose()
}

/// Sets a password, if the old one is still this. Whoever could read the link
/// has the address, too.
pub(super) async fn set_password(
    tx: &mut Tx,
    id: UserId,
    old: Option<String>,
    new: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE users SET password_hash = $3, email_verified_at = COALESCE(email_verified_at, $4) \
         WHERE id = $1 AND password_hash IS NOT DISTINCT FROM $2 AND disabled_at IS NULL",
    )
    .bind(id)
    .bind(old)
    .bind(new)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// Gives the account this address, which is known to be its owner's.
pub(super) async fn set_email(
    tx: &mut Tx,
    id: UserId,
    email: &str,
    key: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    query("UPDATE users SET email = $2, email_key = $3, email_verified_at = $4 WHERE id = $1")
        .bind(id)
        .bind(email)
        .bind(key)
        .bind(now)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn verify_email(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE users SET email_verified_at = COALESCE(email_verified_at, $2) WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(tx)
        .await
        .map(|_| ())
}

/// Signs somebody out everywhere, and ends the logins of command lines that they approved.
pub(super) async fn end_sessions(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    query("DELETE FROM sessions WHERE user_id = $1").bind(user).execute(&mut *tx).await?;
    query("DELETE FROM device_logins WHERE user_id = $1").bind(user).execute(tx).await.map(|_| ())
}

pub(super) async fn revoke_tokens(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL")
        .bind(user)
        .bind(now)
        .execute(tx)
        .await
        .map(|_| ())
}

/// Takes the instance's row for this transaction: administrators who disable
/// each other at the same moment wait here, one for the other.
pub(super) async fn lock_instance(tx: &mut Tx) -> Result<(), DbError> {
    query("UPDATE instance SET id = 1 WHERE id = 1").execute(tx).await.map(|_| ())
}

pub(super) async fn set_disabled(
    tx: &mut Tx,
    id: UserId,
    disabled_at: Option<Timestamp>,
) -> Result<(), DbError> {
    query("UPDATE users SET disabled_at = $2 WHERE id = $1")
        .bind(id)
        .bind(disabled_at)
        .execute(tx)
        .await
        .map(|_| ())
}

/// People, newest first, from `before` on, by a part of name or address.
pub(super) async fn list_people(
    db: &Db,
    text: Option<&str>,
    before: Option<UserId>,
    limit: u32,
) -> Result<Vec<Person>, DbError> {
    query(
        "SELECT id, email, name, instance_admin, created_at, email_verified_at, disabled_at FROM users \
         WHERE ($1 IS NULL OR email_key LIKE $1 ESCAPE '!' OR LOWER(name) LIKE $1 ESCAPE '!') \
         AND ($2 IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
    )
    .bind(text.map(|text| format!("%{}%", in_pattern(&text.to_lowercase()))))
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        Ok(Person {
            id: row.get("id")?,
            name: row.get("name")?,
            email: row.get("email")?,
            verified_at: row.get("email_verified_at")?,
            instance_admin: row.get("instance_admin")?,
            created_at: row.get("created_at")?,
            disabled_at: row.get("disabled_at")?,
        })
    })
    .collect()
}

/// An invitation as it is stored, with its organisation.
#[derive(Debug)]
pub(super) struct InvitationRow {
    pub(super) invitation: Invitation,
    pub(super) org: Option<(OrgId, Slug, String)>,
    pub(super) invited_by: Option<UserId>,
}

pub(super) async fn insert_invitation(
    tx: &mut Tx,
    invitation: &Invitation,
    token_hash: &[u8],
    org: Option<OrgId>,
    invited_by: UserId,
) -> Result<(), DbError> {
    query(
        "INSERT INTO invitations (id, token_hash, email, email_key, org_id, role, invited_by, inviter, \
         created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(invitation.id)
    .bind(token_hash)
    .bind(&invitation.email)
    .bind(email_key(&invitation.email))
    .bind(org)
    .bind(invitation.role)
    .bind(invited_by)
    .bind(&invitation.inviter)
    .bind(invitation.created_at)
    .bind(invitation.expires_at)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Ends the invitations of this address to the same place: a newer one counts.
pub(super) async fn revoke_earlier(
    tx: &mut Tx,
    email: &str,
    org: Option<OrgId>,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "UPDATE invitations SET revoked_at = $3 WHERE email_key = $1 AND org_id IS NOT DISTINCT FROM $2 \
         AND accepted_at IS NULL AND revoked_at IS NULL",
    )
    .bind(email_key(email))
    .bind(org)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}

/// The invitation with this token that can still be accepted.
pub(super) async fn find_invitation(
    target: impl Into<Target<'_>>,
    token_hash: &[u8],
    now: Timestamp,
) -> Result<Option<InvitationRow>, DbError> {
    query(
        "SELECT i.id, i.email, i.role, i.inviter, i.invited_by, i.created_at, i.expires_at, i.org_id, o.slug, \
         o.display_name FROM invitations i LEFT JOIN orgs o ON o.id = i.org_id \
         WHERE i.token_hash = $1 AND i.expires_at > $2 AND i.accepted_at IS NULL AND i.revoked_at IS NULL",
    )
    .bind(token_hash)
    .bind(now)
    .optional(target)
    .await?
    .map(|row| {
        let org = match row.get::<Option<OrgId>>("org_id")? {
            Some(id) => Some((id, row.get("slug")?, row.get("display_name")?)),
            None => None,
        };
        Ok(InvitationRow { invitation: invitation(&row)?, org, invited_by: row.get("invited_by")? })
    })
    .transpose()
}

fn invitation(row: &Row) -> Result<Invitation, DbError> {
    Ok(Invitation {
        id: row.get("id")?,
        email: row.get("email")?,
        role: row.get::<Option<Role>>("role")?,
        inviter: row.get("inviter")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
    })
}

/// Uses an invitation up. Of several who try at once, one gets a yes.
pub(super) async fn use_invitation(tx: &mut Tx, id: InvitationId, now: Timestamp) -> Result<bool, DbError> {
    let used = query(
        "UPDATE invitations SET accepted_at = $2 WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL \
         AND expires_at > $2",
    )
    .bind(id)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(used == 1)
}

/// Takes an invitation back. Gives the address that it was for.
pub(super) async fn revoke_invitation(
    tx: &mut Tx,
    id: InvitationId,
    org: Option<OrgId>,
    now: Timestamp,
) -> Result<Option<String>, DbError> {
    query(
        "UPDATE invitations SET revoked_at = $3 WHERE id = $1 AND org_id IS NOT DISTINCT FROM $2 \
         AND accepted_at IS NULL AND revoked_at IS NULL RETURNING email",
    )
    .bind(id)
    .bind(org)
    .bind(now)
    .optional(tx)
    .await?
    .map(|row| row.get("email"))
    .transpose()
}

/// The invitations to a place that can still be accepted, newest first.
pub(super) async fn list_invitations(
    db: &Db,
    org: Option<OrgId>,
    now: Timestamp,
    before: Option<InvitationId>,
    limit: u32,
) -> Result<Vec<Invitation>, DbError> {
    query(
        "SELECT id, email, role, inviter, created_at, expires_at FROM invitations \
         WHERE org_id IS NOT DISTINCT FROM $1 AND expires_at > $2 AND accepted_at IS NULL \
         AND revoked_at IS NULL AND ($3 IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
    )
    .bind(org)
    .bind(now)
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(invitation)
    .collect()
}
