//! Projects: a repository, its settings, and the runs made of it.
//!
//! [`find_for`] is the only way to get at a project on somebody's behalf: it
//! asks [`crate::access`] first, and what it hands out cannot be made otherwise.

mod live;
mod settings;
mod store;

use devenv_cloud_api::{
    Timestamp,
    audit::AuditAction,
    factors::Standing,
    ids::ProjectId,
    names::Slug,
    orgs::{CreateProject, Project, ProjectSettings, UpdateProject},
    permissions::{Action, Role},
    runs::RunSummary,
    search::ProjectHit,
};

pub use live::{Followed, run_events};
pub use settings::check as check_settings;
pub use store::{ProjectRow, find_by_id};

use uuid::Uuid;

use crate::{
    access::{self, Resource},
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    forge,
    identity::{Origin, Principal, User, step_up},
    orgs::{OrgAccess, OrgRow},
    refusal::{Fields, Refusal},
    runs,
};

/// A project, found for a principal who may do to it what was asked for.
#[derive(Clone, Debug)]
pub struct ProjectAccess {
    /// The project.
    pub project: ProjectRow,
    /// Its organisation.
    pub org: OrgRow,
    /// The principal's role in the organisation; none for an administrator of the instance who is no member.
    pub role: Option<Role>,
    /// Where the principal stands with what the organisation asks of sign-in.
    pub standing: Standing,
    principal: Principal,
}

impl ProjectAccess {
    fn new(
        project: ProjectRow,
        org: OrgRow,
        role: Option<Role>,
        principal: &Principal,
        now: Timestamp,
    ) -> Self {
        Self { standing: org.standing(principal, now), project, org, role, principal: principal.clone() }
    }

    /// The project as a resource of [`crate::access`].
    #[must_use]
    pub const fn resource(&self) -> Resource {
        Resource::Project { id: self.project.id, role: self.role, standing: self.standing }
    }

    /// Who asks.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The person who asks or is acted for.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        self.principal.user()
    }

    /// Whether the principal may also do this.
    #[must_use]
    pub fn allows(&self, action: Action) -> bool {
        access::allowed(&self.principal, action, &self.resource()) == access::Decision::Allow
    }

    /// The project's name with the organisation's, as people write it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.org.slug, self.project.slug)
    }

    /// The project as the API shows it.
    #[must_use]
    pub fn show(self, app: &AppParts, latest_run: Option<RunSummary>) -> Project {
        let allowed = access::all_allowed(&self.principal, &self.resource());
        let ProjectRow { id, slug, description, settings, created_at, .. } = self.project;
        Project {
            id,
            clone_url: app.url(&format!("/{}/{slug}.git", self.org.slug)),
            org: self.org.slug,
            slug,
            description,
            settings,
            created_at,
            latest_run,
            allowed,
        }
    }
}

/// The project with these names, if the principal may do `action` to it. Names
/// that cannot be any lead nowhere, as ones that are not there.
///
/// # Errors
/// When there is none, or the principal may not.
pub async fn find_for(
    app: &AppParts,
    principal: &Principal,
    org: &str,
    project: &str,
    action: Action,
) -> Result<ProjectAccess, Refusal> {
    // Nobody learns anything by how long the look-up takes.
    let Some(user) = principal.user_id() else { return Err(Refusal::Unauthenticated) };
    let org: Slug = org.parse().map_err(|_| Refusal::NotFound)?;
    let project: Slug = project.parse().map_err(|_| Refusal::NotFound)?;
    let found = store::find(&app.db, &org, &project, user).await?;
    let (project, org, role) = found.ok_or(Refusal::NotFound)?;
    let access = ProjectAccess::new(project, org, role, principal, app.clock.now());
    access::require(principal, action, &access.resource())?;
    if access::takes_fresh_proof(action) {
        step_up::require(principal, app.clock.now())?;
    }
    Ok(access)
}

/// The projects of an organisation, by name, after `after`.
///
/// # Errors
/// When the database says no.
pub async fn list(
    app: &AppParts,
    principal: &Principal,
    org: &OrgAccess,
    after: Option<Slug>,
    limit: u32,
) -> Result<Vec<Project>, DbError> {
    let rows = store::list(&app.db, org.org.id, after, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(project, latest_run)| {
            let (org, role, principal) = (org.org.clone(), org.role, principal.clone());
            ProjectAccess::new(project, org, role, &principal, app.clock.now()).show(app, latest_run)
        })
        .collect())
}

/// The projects of the principal's organisations, those first in which
/// something happened last. `before` is what [`recency`] gave of the last one
/// before.
///
/// # Errors
/// When the principal is nobody, or the database says no.
pub async fn recent(
    app: &AppParts,
    principal: &Principal,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Project>, Refusal> {
    let Some(user) = principal.user_id() else { return Err(Refusal::Unauthenticated) };
    let rows = store::recent(&app.db, user, limit_of(principal), before, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(project, org, role, run)| {
            (ProjectAccess::new(project, org, role, principal, app.clock.now()), run)
        })
        .filter(|(access, _)| access.allows(Action::ReadProject))
        .map(|(access, run)| access.show(app, run))
        .collect())
}

/// What projects are sorted by in [`recent`]. Ids are made of the time.
#[must_use]
pub fn recency(project: &Project) -> Uuid {
    project.latest_run.as_ref().map_or(project.id.0, |run| run.id.0)
}

/// The one project that the principal is limited to, if it is.
const fn limit_of(principal: &Principal) -> Option<ProjectId> {
    match principal {
        Principal::Token(token) => token.project,
        Principal::Session(_) | Principal::Runner(_) | Principal::Anonymous => None,
    }
}

/// The projects of the principal's organisations by a part of their names, at
/// most `limit`.
///
/// # Errors
/// When the principal is nobody, or the database says no.
pub async fn search(
    app: &AppParts,
    principal: &Principal,
    text: &str,
    limit: u32,
) -> Result<Vec<ProjectHit>, Refusal> {
    let Some(user) = principal.user_id() else { return Err(Refusal::Unauthenticated) };
    let rows = store::search(&app.db, user, limit_of(principal), text, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(project, org, role)| ProjectAccess::new(project, org, Some(role), principal, app.clock.now()))
        .filter(|access| access.allows(Action::ReadProject))
        .map(|access| ProjectHit {
            org: access.org.slug,
            slug: access.project.slug,
            description: access.project.description,
        })
        .collect())
}

/// Reads a project's newest run and shows the project with it.
///
/// # Errors
/// When the database says no.
pub async fn show(app: &AppParts, access: ProjectAccess) -> Result<Project, DbError> {
    let latest_run = store::latest_run(&app.db, access.project.id).await?;
    Ok(access.show(app, latest_run))
}

/// Creates a project with an empty repository, in an organisation that was
/// found for [`Action::CreateProject`].
///
/// # Errors
/// When the name is taken, a setting makes no sense, or git says no.
pub async fn create(
    app: &AppParts,
    principal: &Principal,
    org: &OrgAccess,
    wanted: CreateProject,
) -> Result<Project, Refusal> {
    let CreateProject { slug, description, settings } = wanted;
    check(&description, &settings)?;
    let now = app.clock.now();
    let id = ProjectId(app.random.id(now));
    let project = ProjectRow { id, org_id: org.org.id, slug, description, settings, created_at: now };
    // The repository comes first: a crash between the two leaves an empty
    // directory that nobody refers to (see `remove_orphans_once`), and not a
    // project that cannot be pushed to.
    forge::create_repository(app, id, &project.settings.default_branch)
        .await
        .map_err(|e| Refusal::Failed(anyhow::Error::new(e).context("cannot create the repository")))?;
    if let Err(error) = store::insert(&app.db, &project).await {
        discard(app, id).await;
        return Err(match error {
            DbError::Taken(_) => Refusal::field("slug", format!("the name `{}` is taken", project.slug)),
            DbError::Dangling(_) => Refusal::NotFound,
            other => other.into(),
        });
    }
    tracing::info!(org = %org.org.slug, project = %project.slug, user = ?principal.user_id(), "project created");
    let access = ProjectAccess::new(project, org.org.clone(), org.role, principal, app.clock.now());
    Ok(access.show(app, None))
}

/// Changes a project that was found for [`Action::UpdateProject`].
///
/// # Errors
/// When a field makes no sense.
pub async fn update(
    app: &AppParts,
    mut access: ProjectAccess,
    change: UpdateProject,
) -> Result<Project, Refusal> {
    let UpdateProject { description, settings } = change;
    let was = access.project.settings.clone();
    let project = &mut access.project;
    if let Some(description) = description {
        project.description = description;
    }
    if let Some(settings) = settings {
        project.settings = settings;
    }
    check(&project.description, &project.settings)?;
    store::update(&app.db, project).await?;
    let ProjectSettings { memory_mib, cpus, .. } = project.settings;
    if (memory_mib, cpus) != (was.memory_mib, was.cpus) {
        runs::queue::resize_queued(app, project.id, memory_mib, cpus).await?;
    }
    if project.settings.default_branch != was.default_branch {
        forge::set_default_branch(app, project.id, &project.settings.default_branch)
            .await
            .map_err(|e| Refusal::Failed(e.into()))?;
    }
    Ok(show(app, access).await?)
}

/// Deletes a project that was found for [`Action::DeleteProject`], with all
/// that it has. What its jobs said goes with the rows: objects that no row
/// names are removed in the background.
///
/// # Errors
/// When the database says no.
pub async fn delete(app: &AppParts, access: ProjectAccess, origin: &Origin) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    store::delete(&mut tx, access.project.id).await?;
    let mut event =
        Event::new(AuditAction::DeleteProject, origin).of(access.project.org_id).target(&access.full_name());
    if let Some(user) = access.principal.user() {
        event = event.by(user);
    }
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    discard(app, access.project.id).await;
    Ok(())
}

/// Throws away what a project that is no more had on the disk. It is gone for
/// everybody already, so a disk that says no is for the log, and for
/// [`remove_orphans_once`] to try again.
pub async fn discard(app: &AppParts, id: ProjectId) {
    if let Err(error) = forge::delete_repository(app, id).await {
        tracing::error!(project = %id, %error, "the repository of a deleted project is still there");
    }
}

/// Throws away repositories that no project refers to: what a crash between
/// two steps of a creation or a deletion left behind. Only before requests are
/// served, because a creation begins with the repository.
///
/// # Errors
/// When the database or the disk says no.
pub async fn remove_orphans_once(app: &AppParts) -> anyhow::Result<u32> {
    let mut entries = match tokio::fs::read_dir(app.repositories()).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut removed = 0;
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        let id =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<ProjectId>().ok());
        let Some(id) = id else { continue };
        if find_by_id(&app.db, id).await?.is_none() {
            forge::delete_repository(app, id).await?;
            removed += 1;
            tracing::info!(project = %id, "removed a repository that no project refers to");
        }
    }
    Ok(removed)
}

fn check(description: &str, settings: &ProjectSettings) -> Result<(), Refusal> {
    let mut fields = Fields::default();
    if description.chars().count() > 200 || description.chars().any(char::is_control) {
        fields.refuse("description", "a description is one line of at most 200 characters");
    }
    settings::check(settings, &mut fields);
    fields.done()
}
