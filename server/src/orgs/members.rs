//! Who belongs to an organisation. Two rules stand here, because they are about
//! more than the one who asks: nobody gives or takes a role above their own, and
//! an organisation always has an owner.

use devenv_cloud_api::{
    ids::UserId,
    orgs::{AddMember, Member, UpdateMember},
    permissions::Role,
};

use super::{OrgAccess, store};
use crate::{
    access,
    app::AppParts,
    db::{DbError, Tx},
    identity,
    refusal::Refusal,
};

/// The members, by the age of their accounts, after `after`.
///
/// # Errors
/// When the database says no.
pub async fn list_members(
    app: &AppParts,
    access: &OrgAccess,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Member>, DbError> {
    store::list_members(&app.db, access.org.id, after, limit).await
}

/// Adds somebody who has an account, for one who may manage members.
///
/// # Errors
/// When there is no such account, they are a member already, or the role is too high to give.
pub async fn add_member(app: &AppParts, access: &OrgAccess, wanted: AddMember) -> Result<Member, Refusal> {
    let AddMember { email, role } = wanted;
    access::require_rank(&access.principal, access.role, role)?;
    let user = identity::find_user_by_email(&app.db, email.trim()).await?.ok_or_else(|| {
        Refusal::field("email", "nobody has an account with this e-mail address on this instance")
    })?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    match store::put_member(&mut tx, access.org.id, user.id, role, now).await {
        Err(DbError::Taken(_)) => {
            return Err(Refusal::field("email", format!("{} is a member already", user.name)));
        }
        // The organisation or the account was deleted this moment.
        Err(DbError::Dangling(_)) => return Err(Refusal::NotFound),
        other => other?,
    }
    tx.commit().await?;
    tracing::info!(org = %access.org.slug, user = %user.id, %role, "member added");
    Ok(Member { user_id: user.id, name: user.name, email: user.email, role, since: now })
}

/// Gives a member another role.
///
/// # Errors
/// When they are no member, a role is above one's own, or no owner would be left.
pub async fn change_role(
    app: &AppParts,
    access: &OrgAccess,
    user: UserId,
    change: UpdateMember,
) -> Result<Member, Refusal> {
    let UpdateMember { role } = change;
    let mut tx = app.db.begin().await?;
    let member = find_to_change(&mut tx, access, user).await?;
    access::require_rank(&access.principal, access.role, role)?;
    if member.role == Role::Owner && role != Role::Owner {
        require_another_owner(&mut tx, access).await?;
    }
    store::set_role(&mut tx, access.org.id, user, role).await?;
    tx.commit().await?;
    tracing::info!(org = %access.org.slug, %user, %role, "role changed");
    Ok(Member { role, ..member })
}

/// Removes a member. Everybody may remove themselves.
///
/// # Errors
/// When they are no member, their role is above one's own, or no owner would be left.
pub async fn remove_member(app: &AppParts, access: &OrgAccess, user: UserId) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let member = find_to_change(&mut tx, access, user).await?;
    if member.role == Role::Owner {
        require_another_owner(&mut tx, access).await?;
    }
    store::remove_member(&mut tx, access.org.id, user).await?;
    tx.commit().await?;
    tracing::info!(org = %access.org.slug, %user, "member removed");
    Ok(())
}

async fn find_to_change(tx: &mut Tx, access: &OrgAccess, user: UserId) -> Result<Member, Refusal> {
    store::lock(tx, access.org.id).await?;
    let member = store::find_member(&mut *tx, access.org.id, user).await?.ok_or(Refusal::NotFound)?;
    access::require_rank(&access.principal, access.role, member.role)?;
    Ok(member)
}

async fn require_another_owner(tx: &mut Tx, access: &OrgAccess) -> Result<(), Refusal> {
    if store::count_owners(tx, access.org.id).await? < 2 {
        return Err(Refusal::Conflict(
            "this is the only owner, and an organisation always has one; make somebody else an owner first"
                .to_owned(),
        ));
    }
    Ok(())
}
