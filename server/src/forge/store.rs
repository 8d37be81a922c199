//! All SQL about refs.

use std::collections::HashMap;

use devenv_cloud_api::{Timestamp, ids::ProjectId, orgs::ProjectSettings};

use crate::db::{Db, DbError, Tx, query};

/// Locks the project until the transaction ends, and reads its settings.
/// `None` when it is gone.
pub(super) async fn lock_project(
    tx: &mut Tx,
    project: ProjectId,
) -> Result<Option<(ProjectSettings, String)>, DbError> {
    let row = query("UPDATE projects SET next_run = next_run WHERE id = $1 RETURNING settings, slug, org_id")
        .bind(project)
        .optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let settings = serde_json::from_str(&row.get::<String>("settings")?).unwrap_or_default();
    let org: devenv_cloud_api::ids::OrgId = row.get("org_id")?;
    let org: String = query("SELECT slug FROM orgs WHERE id = $1").bind(org).one(tx).await?.get("slug")?;
    let slug: String = row.get("slug")?;
    Ok(Some((settings, format!("/{org}/{slug}"))))
}

/// The refs as we last saw them.
pub(super) async fn refs(tx: &mut Tx, project: ProjectId) -> Result<HashMap<String, String>, DbError> {
    query("SELECT name, sha FROM refs WHERE project_id = $1")
        .bind(project)
        .all(tx)
        .await?
        .iter()
        .map(|row| Ok((row.get("name")?, row.get("sha")?)))
        .collect()
}

/// Remembers a ref.
pub(super) async fn put_ref(
    tx: &mut Tx,
    project: ProjectId,
    name: &str,
    sha: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO refs (project_id, name, sha, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (project_id, name) DO UPDATE SET sha = excluded.sha, updated_at = excluded.updated_at",
    )
    .bind(project)
    .bind(name)
    .bind(sha)
    .bind(now)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Forgets a ref.
pub(super) async fn delete_ref(tx: &mut Tx, project: ProjectId, name: &str) -> Result<(), DbError> {
    query("DELETE FROM refs WHERE project_id = $1 AND name = $2")
        .bind(project)
        .bind(name)
        .execute(tx)
        .await
        .map(|_| ())
}

/// All projects.
pub(super) async fn projects(db: &Db) -> Result<Vec<ProjectId>, DbError> {
    query("SELECT id FROM projects ORDER BY id").all(db).await?.iter().map(|row| row.get("id")).collect()
}
