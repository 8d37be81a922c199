//! Organisations and their members.
//!
//! [`find_for`] is the only way to get at an organisation on somebody's behalf:
//! it asks [`crate::access`] first, and what it hands out cannot be made
//! otherwise.

mod members;
mod store;

use devenv_cloud_api::{
    Timestamp,
    audit::AuditAction,
    factors::{SecondFactor, SignInPolicy, Standing},
    ids::{OrgId, ProjectId, UserId},
    names::Slug,
    orgs::{CreateOrg, Org, UpdateOrg},
    permissions::{Action, Role},
    search::OrgHit,
};

pub use members::{add_member, change_role, list_members, remove_member};
pub use store::{OrgRow, join};

use crate::{
    access::{self, Resource},
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    identity::{self, Origin, Policy, Principal, check_name, step_up},
    refusal::Refusal,
};

/// An organisation, found for a principal who may do to it what was asked for.
#[derive(Clone, Debug)]
pub struct OrgAccess {
    /// The organisation.
    pub org: OrgRow,
    /// The principal's role in it; none for an administrator of the instance who is no member.
    pub role: Option<Role>,
    /// Where the principal stands with what the organisation asks of sign-in.
    pub standing: Standing,
    principal: Principal,
}

impl OrgAccess {
    fn new(org: OrgRow, role: Option<Role>, principal: &Principal, now: Timestamp) -> Self {
        Self { standing: org.standing(principal, now), org, role, principal: principal.clone() }
    }

    /// The organisation as a resource of [`crate::access`].
    #[must_use]
    pub const fn resource(&self) -> Resource {
        Resource::Org { id: self.org.id, role: self.role, standing: self.standing }
    }

    /// Insists that the principal gives or takes no role above their own.
    ///
    /// # Errors
    /// When `role` is above.
    pub fn require_rank(&self, role: Role) -> Result<(), Refusal> {
        access::require_rank(&self.principal, self.role, role)
    }

    /// The organisation as the API shows it.
    #[must_use]
    pub fn show(self) -> Org {
        let allowed = access::all_allowed(&self.principal, &self.resource());
        let OrgRow { id, slug, display_name, created_at, .. } = self.org;
        Org { id, slug, display_name, created_at, role: self.role, standing: self.standing, allowed }
    }
}

/// The organisation with this name, if the principal may do `action` to it. A
/// name that cannot be one leads nowhere, as one that is not there.
///
/// # Errors
/// When there is none, or the principal may not.
pub async fn find_for(
    app: &AppParts,
    principal: &Principal,
    slug: &str,
    action: Action,
) -> Result<OrgAccess, Refusal> {
    // Nobody learns anything by how long the look-up takes.
    let Some(user) = principal.user_id() else { return Err(Refusal::Unauthenticated) };
    let slug: Slug = slug.parse().map_err(|_| Refusal::NotFound)?;
    let (org, role) = store::find(&app.db, &slug, user).await?.ok_or(Refusal::NotFound)?;
    let access = OrgAccess::new(org, role, principal, app.clock.now());
    access::require(principal, action, &access.resource())?;
    if access::takes_fresh_proof(action) {
        step_up::require(principal, app.clock.now())?;
    }
    Ok(access)
}

/// The organisations that the principal is a member of, by name, after `after`.
///
/// # Errors
/// When the principal is nobody, or the database says no.
pub async fn list(
    app: &AppParts,
    principal: &Principal,
    after: Option<Slug>,
    limit: u32,
) -> Result<Vec<Org>, Refusal> {
    let Some(user) = principal.user_id() else { return Err(Refusal::Unauthenticated) };
    let rows = store::list_for(&app.db, user, after, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(org, role)| OrgAccess::new(org, Some(role), principal, app.clock.now()))
        .filter(|access| access::allowed(principal, Action::ReadOrg, &access.resource()).shows())
        .map(OrgAccess::show)
        .collect())
}

/// The principal's organisations by a part of a name, at most `limit`.
///
/// # Errors
/// When the principal is nobody, or the database says no.
pub async fn search(
    app: &AppParts,
    principal: &Principal,
    text: &str,
    limit: u32,
) -> Result<Vec<OrgHit>, Refusal> {
    let Some(user) = principal.user_id() else { return Err(Refusal::Unauthenticated) };
    let rows = store::search(&app.db, user, text, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(org, role)| OrgAccess::new(org, Some(role), principal, app.clock.now()))
        .filter(|access| access::allowed(principal, Action::ReadOrg, &access.resource()).shows())
        .map(|access| OrgHit { slug: access.org.slug, display_name: access.org.display_name })
        .collect())
}

/// Creates an organisation, with its creator as owner.
///
/// # Errors
/// When the name is taken, or the principal may not.
pub async fn create(
    app: &AppParts,
    principal: &Principal,
    wanted: CreateOrg,
    origin: &Origin,
) -> Result<Org, Refusal> {
    access::require(principal, Action::CreateOrg, &Resource::Instance)?;
    let Some(owner) = principal.user() else { return Err(Refusal::Unauthenticated) };
    let CreateOrg { slug, display_name } = wanted;
    if slug.is_reserved() {
        return Err(Refusal::field("slug", format!("`{slug}` is a name that the application itself uses")));
    }
    let display_name = display_name.unwrap_or_else(|| slug.to_string()).trim().to_owned();
    check_name(&display_name).map_err(|why| Refusal::field("display_name", why))?;
    let now = app.clock.now();
    let org = OrgRow {
        id: OrgId(app.random.id(now)),
        slug,
        display_name,
        policy: Policy { second_factor: SecondFactor::Optional, grace_days: 0, since: now },
        created_at: now,
    };
    let mut tx = app.db.begin().await?;
    match store::insert(&mut tx, &org).await {
        Err(DbError::Taken(_)) => {
            return Err(Refusal::field("slug", format!("the name `{}` is taken", org.slug)));
        }
        other => other?,
    }
    store::put_member(&mut tx, org.id, owner.id, Role::Owner, now).await?;
    let event = Event::new(AuditAction::CreateOrg, origin).by(owner).of(org.id).target(org.slug.as_str());
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(OrgAccess::new(org, Some(Role::Owner), principal, now).show())
}

/// Changes an organisation that was found for [`Action::UpdateOrg`].
///
/// # Errors
/// When a field makes no sense.
pub async fn update(app: &AppParts, mut access: OrgAccess, change: UpdateOrg) -> Result<Org, Refusal> {
    if let Some(name) = change.display_name {
        let name = name.trim();
        check_name(name).map_err(|why| Refusal::field("display_name", why))?;
        store::rename(&app.db, access.org.id, name).await?;
        name.clone_into(&mut access.org.display_name);
    }
    Ok(access.show())
}

/// Changes what an organisation that was found for [`Action::UpdateOrg`] asks of
/// everybody's sign-in.
///
/// # Errors
/// When it makes no sense.
pub async fn set_policy(
    app: &AppParts,
    access: OrgAccess,
    wanted: SignInPolicy,
    origin: &Origin,
) -> Result<Policy, Refusal> {
    let policy = identity::new_policy(app, &access.org.policy, wanted)?;
    let mut tx = app.db.begin().await?;
    store::set_policy(&mut tx, access.org.id, &policy).await?;
    let mut event = Event::new(AuditAction::ChangePolicy, origin).of(access.org.id);
    if let Some(user) = access.principal.user() {
        event = event.by(user);
    }
    audit::record(app, &mut tx, event.target(&policy.words())).await?;
    tx.commit().await?;
    Ok(policy)
}

/// Deletes an organisation that was found for [`Action::DeleteOrg`], with its
/// projects. Returns those, whose repositories are still to be thrown away.
///
/// # Errors
/// When the database says no.
pub async fn delete(app: &AppParts, access: OrgAccess, origin: &Origin) -> Result<Vec<ProjectId>, Refusal> {
    let mut tx = app.db.begin().await?;
    let projects = store::projects_of(&mut tx, access.org.id).await?;
    store::delete(&mut tx, access.org.id).await?;
    let mut event =
        Event::new(AuditAction::DeleteOrg, origin).of(access.org.id).target(access.org.slug.as_str());
    if let Some(user) = access.principal.user() {
        event = event.by(user);
    }
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(projects)
}

/// The role of somebody in an organisation.
///
/// # Errors
/// When the database says no.
pub async fn role_of(app: &AppParts, org: OrgId, user: UserId) -> Result<Option<Role>, DbError> {
    store::role_of(&app.db, org, user).await
}
