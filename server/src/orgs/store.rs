//! The SQL of organisations and members.

use devenv_cloud_api::{
    Timestamp,
    factors::Standing,
    ids::{OrgId, ProjectId, UserId},
    names::Slug,
    orgs::Member,
    permissions::Role,
};

use crate::{
    db::{Db, DbError, Row, Target, Tx, in_pattern, query},
    identity::{Policy, Principal, policy},
};

/// An organisation as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgRow {
    /// The id.
    pub id: OrgId,
    /// The name in addresses.
    pub slug: Slug,
    /// The name for people.
    pub display_name: String,
    /// What it asks of everybody's sign-in.
    pub policy: Policy,
    /// When it was created.
    pub created_at: Timestamp,
}

impl OrgRow {
    /// Where somebody stands with what the organisation asks of sign-in.
    #[must_use]
    pub fn standing(&self, principal: &Principal, now: Timestamp) -> Standing {
        let (held, used) = principal.proof();
        let since = principal.user().map_or(now, |user| user.created_at);
        self.policy.standing(held, used, since, now)
    }
}

fn org(row: &Row) -> Result<OrgRow, DbError> {
    Ok(OrgRow {
        id: row.get("id")?,
        slug: row.get("slug")?,
        display_name: row.get("display_name")?,
        policy: policy(row)?,
        created_at: row.get("created_at")?,
    })
}

/// The organisation of this name, with the user's role in it.
pub(super) async fn find(
    db: &Db,
    slug: &Slug,
    user: UserId,
) -> Result<Option<(OrgRow, Option<Role>)>, DbError> {
    query(
        "SELECT o.id, o.slug, o.display_name, o.created_at, o.second_factor, \
         o.grace_days, o.second_factor_since, m.role FROM orgs o \
         LEFT JOIN members m ON m.org_id = o.id AND m.user_id = $2 WHERE o.slug = $1",
    )
    .bind(slug)
    .bind(user)
    .optional(db)
    .await?
    .map(|row| Ok((org(&row)?, row.get("role")?)))
    .transpose()
}

/// The organisations that somebody is a member of, by name, after `after`.
pub(super) async fn list_for(
    db: &Db,
    user: UserId,
    after: Option<Slug>,
    limit: u32,
) -> Result<Vec<(OrgRow, Role)>, DbError> {
    query(
        "SELECT o.id, o.slug, o.display_name, o.created_at, o.second_factor, \
         o.grace_days, o.second_factor_since, m.role FROM members m \
         JOIN orgs o ON o.id = m.org_id \
         WHERE m.user_id = $1 AND ($2 IS NULL OR o.slug > $2) ORDER BY o.slug LIMIT $3",
    )
    .bind(user)
    .bind(after.map(|slug| slug.to_string()))
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((org(row)?, row.get("role")?)))
    .collect()
}

/// The organisations that somebody is a member of, by a part of a name; those
/// first whose name begins so.
pub(super) async fn search(
    db: &Db,
    user: UserId,
    text: &str,
    limit: u32,
) -> Result<Vec<(OrgRow, Role)>, DbError> {
    let text = in_pattern(&text.to_lowercase());
    query(
        "SELECT o.id, o.slug, o.display_name, o.created_at, o.second_factor, \
         o.grace_days, o.second_factor_since, m.role FROM members m \
         JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1 \
         AND (o.slug LIKE $2 ESCAPE '!' OR LOWER(o.display_name) LIKE $2 ESCAPE '!') \
         ORDER BY CASE WHEN o.slug LIKE $3 ESCAPE '!' THEN 0 ELSE 1 END, o.slug LIMIT $4",
    )
    .bind(user)
    .bind(format!("%{text}%"))
    .bind(format!("{text}%"))
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((org(row)?, row.get("role")?)))
    .collect()
}

pub(super) async fn set_policy(tx: &mut Tx, org: OrgId, policy: &Policy) -> Result<(), DbError> {
    query("UPDATE orgs SET second_factor = $2, grace_days = $3, second_factor_since = $4 WHERE id = $1")
        .bind(org)
        .bind(policy.second_factor.as_str())
        .bind(policy.grace_days)
        .bind(policy.since)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn insert(tx: &mut Tx, org: &OrgRow) -> Result<(), DbError> {
    query(
        "INSERT INTO orgs (id, slug, display_name, created_at, second_factor, grace_days, second_factor_since) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
        .bind(org.id)
        .bind(&org.slug)
        .bind(&org.display_name)
        .bind(org.created_at)
        .bind(org.policy.second_factor.as_str())
        .bind(org.policy.grace_days)
        .bind(org.policy.since)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn rename(db: &Db, id: OrgId, name: &str) -> Result<(), DbError> {
    query("UPDATE orgs SET display_name = $2 WHERE id = $1").bind(id).bind(name).execute(db).await.map(|_| ())
}

pub(super) async fn projects_of(tx: &mut Tx, id: OrgId) -> Result<Vec<ProjectId>, DbError> {
    let rows = query("SELECT id FROM projects WHERE org_id = $1").bind(id).all(tx).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

pub(super) async fn delete(tx: &mut Tx, id: OrgId) -> Result<(), DbError> {
    query("DELETE FROM orgs WHERE id = $1").bind(id).execute(tx).await.map(|_| ())
}

pub(super) async fn role_of(
    target: impl Into<Target<'_>>,
    org: OrgId,
    user: UserId,
) -> Result<Option<Role>, DbError> {
    query("SELECT role FROM members WHERE org_id = $1 AND user_id = $2")
        .bind(org)
        .bind(user)
        .optional(target)
        .await?
        .map(|row| row.get("role"))
        .transpose()
}

/// Makes somebody a member; one who is one already stays what they are.
///
/// # Errors
/// See [`DbError`].
pub async fn join(tx: &mut Tx, org: OrgId, user: UserId, role: Role, now: Timestamp) -> Result<(), DbError> {
    query(
        "INSERT INTO members (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org_id, user_id) DO NOTHING",
    )
    .bind(org)
    .bind(user)
    .bind(role)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Takes the organisation's row for this transaction: whoever changes its
/// members waits here, so that two owners cannot remove each other at once.
pub(super) async fn lock(tx: &mut Tx, org: OrgId) -> Result<bool, DbError> {
    let found = query("UPDATE orgs SET slug = slug WHERE id = $1").bind(org).execute(tx).await?;
    Ok(found == 1)
}

pub(super) async fn count_owners(tx: &mut Tx, org: OrgId) -> Result<i64, DbError> {
    query("SELECT COUNT(*) AS n FROM members WHERE org_id = $1 AND role = $2")
        .bind(org)
        .bind(Role::Owner)
        .one(tx)
        .await?
        .get("n")
}

pub(super) async fn put_member(
    tx: &mut Tx,
    org: OrgId,
    user: UserId,
    role: Role,
    now: Timestamp,
) -> Result<(), DbError> {
    query("INSERT INTO members (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)")
        .bind(org)
        .bind(user)
        .bind(role)
        .bind(now)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn set_role(tx: &mut Tx, org: OrgId, user: UserId, role: Role) -> Result<(), DbError> {
    query("UPDATE members SET role = $3 WHERE org_id = $1 AND user_id = $2")
        .bind(org)
        .bind(user)
        .bind(role)
        .execute(tx)
        .await
        .map(|_| ())
}

pub(super) async fn remove_member(tx: &mut Tx, org: OrgId, user: UserId) -> Result<(), DbError> {
    query("DELETE FROM members WHERE org_id = $1 AND user_id = $2")
        .bind(org)
        .bind(user)
        .execute(tx)
        .await
        .map(|_| ())
}

fn member(row: &Row) -> Result<Member, DbError> {
    Ok(Member {
        user_id: row.get("user_id")?,
        name: row.get("name")?,
        email: row.get("email")?,
        role: row.get("role")?,
        since: row.get("created_at")?,
    })
}

pub(super) async fn find_member(
    target: impl Into<Target<'_>>,
    org: OrgId,
    user: UserId,
) -> Result<Option<Member>, DbError> {
    query(
        "SELECT m.user_id, u.name, u.email, m.role, m.created_at FROM members m \
         JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND m.user_id = $2",
    )
    .bind(org)
    .bind(user)
    .optional(target)
    .await?
    .as_ref()
    .map(member)
    .transpose()
}

pub(super) async fn list_members(
    db: &Db,
    org: OrgId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Member>, DbError> {
    query(
        "SELECT m.user_id, u.name, u.email, m.role, m.created_at FROM members m \
         JOIN users u ON u.id = m.user_id \
         WHERE m.org_id = $1 AND ($2 IS NULL OR m.user_id > $2) ORDER BY m.user_id LIMIT $3",
    )
    .bind(org)
    .bind(after)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(member)
    .collect()
}
