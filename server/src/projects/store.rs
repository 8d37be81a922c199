//! The SQL of projects.

use devenv_cloud_api::{
    Timestamp,
    ids::{OrgId, ProjectId, RunId, UserId},
    names::Slug,
    orgs::ProjectSettings,
    permissions::Role,
    runs::{Commit, RunSummary},
};

use uuid::Uuid;

use crate::{
    db::{Db, DbError, Query, Row, Target, Tx, in_pattern, query},
    identity::policy,
    orgs::OrgRow,
};

/// A project as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRow {
    /// The id.
    pub id: ProjectId,
    /// Its organisation.
    pub org_id: OrgId,
    /// The name in addresses.
    pub slug: Slug,
    /// One line about it.
    pub description: String,
    /// The settings.
    pub settings: ProjectSettings,
    /// When it was created.
    pub created_at: Timestamp,
}

fn project(row: &Row) -> Result<ProjectRow, DbError> {
    let settings: String = row.get("settings")?;
    Ok(ProjectRow {
        id: row.get("project_id")?,
        org_id: row.get("org_id")?,
        slug: row.get("project_slug")?,
        description: row.get("description")?,
        settings: serde_json::from_str(&settings).map_err(|e| {
            DbError::Other(sqlx::Error::ColumnDecode { index: "settings".to_owned(), source: e.into() })
        })?,
        created_at: row.get("project_created_at")?,
    })
}

fn settings_text(settings: &ProjectSettings) -> Result<String, DbError> {
    serde_json::to_string(settings).map_err(|e| DbError::Other(sqlx::Error::Encode(e.into())))
}

/// A run with its project, that one's organisation, and the user's role in it.
pub(super) type FoundRun = (ProjectRow, OrgRow, Option<Role>, RunSummary);

fn found_run(row: &Row) -> Result<Option<FoundRun>, DbError> {
    Ok(match run(row)? {
        Some(run) => Some((project(row)?, org_of(row)?, row.get("role")?, run)),
        None => None,
    })
}

/// A SELECT of [`FoundRun`]s, with what comes after the tables. `$1` is the user.
macro_rules! select_runs {
    ($rest:literal) => {
        query(concat!(
            "SELECT p.id AS project_id, p.org_id, p.slug AS project_slug, p.description, p.settings, \
             p.created_at AS project_created_at, o.slug, o.display_name, o.created_at, o.second_factor, \
             o.grace_days, o.second_factor_since, m.role, r.id AS run_id, \
             r.number, r.state, r.reason, r.cause, r.triggered_by, r.sha, r.git_ref, r.title, r.author, \
             r.author_email, r.created_at AS run_created_at, r.started_at, r.finished_at \
             FROM projects p JOIN orgs o ON o.id = p.org_id \
             LEFT JOIN members m ON m.org_id = o.id AND m.user_id = $1 ",
            $rest
        ))
    };
}

async fn found_runs(db: &Db, query: Query) -> Result<Vec<FoundRun>, DbError> {
    query.all(db).await?.iter().filter_map(|row| found_run(row).transpose()).collect()
}

/// The newest run of each project of an organisation, or of all organisations
/// that the user is a member of; the newest first.
pub(super) async fn newest_runs(
    db: &Db,
    user: UserId,
    org: Option<OrgId>,
    limit: u32,
) -> Result<Vec<FoundRun>, DbError> {
    let query = match org {
        Some(org) => select_runs!(
            "JOIN runs r ON r.project_id = p.id AND r.number = p.next_run - 1 \
             WHERE p.org_id = $2 ORDER BY r.id DESC LIMIT $3"
        )
        .bind(user)
        .bind(org)
        .bind(limit),
        None => select_runs!(
            "JOIN runs r ON r.project_id = p.id AND r.number = p.next_run - 1 \
             WHERE m.role IS NOT NULL ORDER BY r.id DESC LIMIT $2"
        )
        .bind(user)
        .bind(limit),
    };
    found_runs(db, query).await
}

/// The newest runs of a project.
pub(super) async fn runs_of(
    db: &Db,
    user: UserId,
    project: ProjectId,
    limit: u32,
) -> Result<Vec<FoundRun>, DbError> {
    let query =
        select_runs!("JOIN runs r ON r.project_id = p.id WHERE p.id = $2 ORDER BY r.number DESC LIMIT $3");
    found_runs(db, query.bind(user).bind(project).bind(limit)).await
}

/// One run, wherever it is.
pub(super) async fn run_by_id(db: &Db, user: UserId, run: RunId) -> Result<Option<FoundRun>, DbError> {
    let query = select_runs!("JOIN runs r ON r.project_id = p.id WHERE r.id = $2");
    Ok(found_runs(db, query.bind(user).bind(run)).await?.pop())
}

/// The projects of the user's organisations, those first in which something
/// happened last, after the one of which `before` was the newest run (or which
/// it is itself, if it has none).
pub(super) async fn recent(
    db: &Db,
    user: UserId,
    only: Option<ProjectId>,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<(ProjectRow, OrgRow, Option<Role>, Option<RunSummary>)>, DbError> {
    select_runs!(
        "LEFT JOIN runs r ON r.project_id = p.id AND r.number = p.next_run - 1 \
         WHERE m.role IS NOT NULL AND ($2 IS NULL OR p.id = $2) AND ($3 IS NULL OR COALESCE(r.id, p.id) < $3) \
         ORDER BY COALESCE(r.id, p.id) DESC LIMIT $4"
    )
    .bind(user)
    .bind(only)
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((project(row)?, org_of(row)?, row.get("role")?, run(row)?)))
    .collect()
}

/// The newest run of a row that may have one.
fn run(row: &Row) -> Result<Option<RunSummary>, DbError> {
    let Some(id) = row.get("run_id")? else { return Ok(None) };
    Ok(Some(RunSummary {
        id,
        number: row.get("number")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        trigger: row.get("cause")?,
        triggered_by: row.get("triggered_by")?,
        commit: Commit {
            sha: row.get("sha")?,
            git_ref: row.get("git_ref")?,
            title: row.get("title")?,
            author: row.get("author")?,
            author_email: row.get("author_email")?,
        },
        created_at: row.get("run_created_at")?,
        started_at: row.get("started_at")?,
        finished_at: row.get("finished_at")?,
    }))
}

fn org_of(row: &Row) -> Result<OrgRow, DbError> {
    Ok(OrgRow {
        id: row.get("org_id")?,
        slug: row.get("slug")?,
        display_name: row.get("display_name")?,
        policy: policy(row)?,
        created_at: row.get("created_at")?,
    })
}

/// The project of these names, with its organisation and the user's role in that.
pub(super) async fn find(
    db: &Db,
    org: &Slug,
    slug: &Slug,
    user: UserId,
) -> Result<Option<(ProjectRow, OrgRow, Option<Role>)>, DbError> {
    query(
        "SELECT p.id AS project_id, p.org_id, p.slug AS project_slug, p.description, p.settings, \
         p.created_at AS project_created_at, o.slug, o.display_name, o.created_at, o.second_factor, \
             o.grace_days, o.second_factor_since, m.role \
         FROM projects p JOIN orgs o ON o.id = p.org_id \
         LEFT JOIN members m ON m.org_id = o.id AND m.user_id = $3 \
         WHERE o.slug = $1 AND p.slug = $2",
    )
    .bind(org)
    .bind(slug)
    .bind(user)
    .optional(db)
    .await?
    .map(|row| Ok((project(&row)?, org_of(&row)?, row.get("role")?)))
    .transpose()
}

/// The projects of somebody's organisations by a part of `organisation/project`;
/// those first whose own name begins so. Where `only` is given, that one or none.
pub(super) async fn search(
    db: &Db,
    user: UserId,
    only: Option<ProjectId>,
    text: &str,
    limit: u32,
) -> Result<Vec<(ProjectRow, OrgRow, Role)>, DbError> {
    let text = in_pattern(&text.to_lowercase());
    query(
        "SELECT p.id AS project_id, p.org_id, p.slug AS project_slug, p.description, p.settings, \
         p.created_at AS project_created_at, o.slug, o.display_name, o.created_at, o.second_factor, \
             o.grace_days, o.second_factor_since, m.role \
         FROM members m JOIN orgs o ON o.id = m.org_id JOIN projects p ON p.org_id = o.id \
         WHERE m.user_id = $1 AND ($2 IS NULL OR p.id = $2) AND o.slug || '/' || p.slug LIKE $3 ESCAPE '!' \
         ORDER BY CASE WHEN p.slug LIKE $4 ESCAPE '!' THEN 0 ELSE 1 END, p.slug, o.slug LIMIT $5",
    )
    .bind(user)
    .bind(only)
    .bind(format!("%{text}%"))
    .bind(format!("{text}%"))
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((project(row)?, org_of(row)?, row.get("role")?)))
    .collect()
}

/// The project with this id, and its organisation's name, for the system
/// itself. On somebody's behalf it is [`super::find_for`].
///
/// # Errors
/// See [`DbError`].
pub async fn find_by_id(
    target: impl Into<Target<'_>>,
    id: ProjectId,
) -> Result<Option<(ProjectRow, Slug)>, DbError> {
    query(
        "SELECT p.id AS project_id, p.org_id, p.slug AS project_slug, p.description, p.settings, \
         p.created_at AS project_created_at, o.slug FROM projects p JOIN orgs o ON o.id = p.org_id \
         WHERE p.id = $1",
    )
    .bind(id)
    .optional(target)
    .await?
    .map(|row| Ok((project(&row)?, row.get("slug")?)))
    .transpose()
}

/// The projects of an organisation, by name, each with its newest run: the one
/// before the number that the next one will have.
pub(super) async fn list(
    db: &Db,
    org: OrgId,
    after: Option<Slug>,
    limit: u32,
) -> Result<Vec<(ProjectRow, Option<RunSummary>)>, DbError> {
    query(
        "SELECT p.id AS project_id, p.org_id, p.slug AS project_slug, p.description, p.settings, \
         p.created_at AS project_created_at, r.id AS run_id, r.number, r.state, r.reason, r.cause, \
         r.triggered_by, r.sha, r.git_ref, r.title, r.author, r.author_email, \
         r.created_at AS run_created_at, r.started_at, r.finished_at \
         FROM projects p LEFT JOIN runs r ON r.project_id = p.id AND r.number = p.next_run - 1 \
         WHERE p.org_id = $1 AND ($2 IS NULL OR p.slug > $2) ORDER BY p.slug LIMIT $3",
    )
    .bind(org)
    .bind(after.map(|slug| slug.to_string()))
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| Ok((project(row)?, run(row)?)))
    .collect()
}

pub(super) async fn latest_run(db: &Db, id: ProjectId) -> Result<Option<RunSummary>, DbError> {
    let row = query(
        "SELECT r.id AS run_id, r.number, r.state, r.reason, r.cause, r.triggered_by, r.sha, r.git_ref, \
         r.title, r.author, r.author_email, r.created_at AS run_created_at, r.started_at, r.finished_at \
         FROM projects p JOIN runs r ON r.project_id = p.id AND r.number = p.next_run - 1 WHERE p.id = $1",
    )
    .bind(id)
    .optional(db)
    .await?;
    row.as_ref().map_or(Ok(None), run)
}

pub(super) async fn insert(db: &Db, project: &ProjectRow) -> Result<(), DbError> {
    query(
        "INSERT INTO projects (id, org_id, slug, description, settings, next_run, created_at) \
         VALUES ($1, $2, $3, $4, $5, 1, $6)",
    )
    .bind(project.id)
    .bind(project.org_id)
    .bind(&project.slug)
    .bind(&project.description)
    .bind(settings_text(&project.settings)?)
    .bind(project.created_at)
    .execute(db)
    .await
    .map(|_| ())
}

pub(super) async fn update(db: &Db, project: &ProjectRow) -> Result<(), DbError> {
    query("UPDATE projects SET description = $2, settings = $3 WHERE id = $1")
        .bind(project.id)
        .bind(&project.description)
        .bind(settings_text(&project.settings)?)
        .execute(db)
        .await
        .map(|_| ())
}

pub(super) async fn delete(tx: &mut Tx, id: ProjectId) -> Result<(), DbError> {
    query("DELETE FROM projects WHERE id = $1").bind(id).execute(tx).await.map(|_| ())
}
