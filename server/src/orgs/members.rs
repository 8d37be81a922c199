//! Who belongs to an organisation. Two rules stand here, because they are about
//! more than the one who asks: nobody gives or takes a role above their own, and
//! an organisation always has an owner.

use devenv_cloud_api::{
    audit::AuditAction,
    ids::UserId,
    orgs::{AddMember, Member, UpdateMember},
    permissions::Role,
};

use super::{OrgAccess, store};
use crate::{
    access,
    app::AppParts,
    audit::{self, Event},
    db::{DbError, Tx},
    identity::{self, Origin, User},
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
pub async fn add_member(
    app: &AppParts,
    access: &OrgAccess,
    wanted: AddMember,
    origin: &Origin,
) -> Result<Member, Refusal> {
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
    record(app, &mut tx, access, AuditAction::AddMember, &user, role, origin).await?;
    tx.commit().await?;
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
    origin: &Origin,
) -> Result<Member, Refusal> {
    let UpdateMember { role } = change;
    let mut tx = app.db.begin().await?;
    let member = find_to_change(&mut tx, access, user).await?;
    access::require_rank(&access.principal, access.role, role)?;
    if member.role == Role::Owner && role != Role::Owner {
        require_another_owner(&mut tx, access).await?;
    }
    store::set_role(&mut tx, access.org.id, user, role).await?;
    record(app, &mut tx, access, AuditAction::ChangeRole, &person(&member), role, origin).await?;
    tx.commit().await?;
    Ok(Member { role, ..member })
}

/// Removes a member. Everybody may remove themselves.
///
/// # Errors
/// When they are no member, their role is above one's own, or no owner would be left.
pub async fn remove_member(
    app: &AppParts,
    access: &OrgAccess,
    user: UserId,
    origin: &Origin,
) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let member = find_to_change(&mut tx, access, user).await?;
    if member.role == Role::Owner {
        require_another_owner(&mut tx, access).await?;
    }
    store::remove_member(&mut tx, access.org.id, user).await?;
    let role = member.role;
    record(app, &mut tx, access, AuditAction::RemoveMember, &person(&member), role, origin).await?;
    tx.commit().await?;
    Ok(())
}

/// The member as an account, as far as the audit log knows accounts.
fn person(member: &Member) -> User {
    let Member { user_id, name, email, since, .. } = member.clone();
    User { id: user_id, email, name, instance_admin: false, created_at: since }
}

async fn record(
    app: &AppParts,
    tx: &mut Tx,
    access: &OrgAccess,
    action: AuditAction,
    member: &User,
    role: Role,
    origin: &Origin,
) -> Result<(), DbError> {
    let mut event = Event::new(action, origin).of(access.org.id);
    if let Some(user) = access.principal.user() {
        event = event.by(user);
    }
    audit::record(app, tx, event.about(member).target(&format!("{}, {role}", access.org.slug))).await
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
