//! Projects and the tokens that are limited to them.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use devenv_cloud_api::{
    accounts::{CreateToken, NewToken, Token},
    orgs::{CreateProject, Project, UpdateProject},
    page::Page,
    permissions::Action,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToRead},
    extract::{Body, Confirmed, Origin, Paging, Params, Segments},
    idempotency::Secret,
};
use crate::{
    app::App,
    identity::{self, Principal},
    orgs, projects,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(recent))
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(list_tokens, create_token))
}

/// List my projects
///
/// Those of all my organisations, each with its newest run; first those in which something happened last.
#[utoipa::path(get, path = "/projects", operation_id = "listMyProjects", tag = "projects", params(Paging),
    responses((status = 200, description = "Projects", body = Page<Project>), RefusedToRead))]
async fn recent(
    State(app): State<App>,
    principal: Principal,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Project>>, ApiError> {
    let projects = projects::recent(&app, &principal, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(projects, projects::recency)?))
}

/// List the projects of an organisation
///
/// By name, each with its newest run.
#[utoipa::path(get, path = "/orgs/{org}/projects", operation_id = "listProjects", tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"), Paging),
    responses((status = 200, description = "Projects", body = Page<Project>), RefusedToRead))]
async fn list(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Project>>, ApiError> {
    let org = orgs::find_for(&app, &principal, &org, Action::ReadOrg).await?;
    let projects = projects::list(&app, &principal, &org, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(projects, |project| project.slug.clone())?))
}

/// Create a project
///
/// With an empty repository, to which commits can be pushed at once.
#[utoipa::path(post, path = "/orgs/{org}/projects", operation_id = "createProject", tag = "projects",
    params(("org" = String, Path, description = "The organisation's name")), request_body = CreateProject,
    responses((status = 201, description = "The project", body = Project), Refused))]
async fn create(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Body(wanted): Body<CreateProject>,
) -> Result<(StatusCode, Json<Project>), ApiError> {
    let org = orgs::find_for(&app, &principal, &org, Action::CreateProject).await?;
    Ok((StatusCode::CREATED, Json(projects::create(&app, &principal, &org, wanted).await?)))
}

/// Get a project
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}", operation_id = "getProject", tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name")),
    responses((status = 200, description = "The project", body = Project), RefusedToRead))]
async fn get(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project)): Segments<(String, String)>,
) -> Result<Json<Project>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    Ok(Json(projects::show(&app, access).await?))
}

/// Change a project
#[utoipa::path(patch, path = "/orgs/{org}/projects/{project}", operation_id = "updateProject",
    tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name")),
    request_body = UpdateProject,
    responses((status = 200, description = "The project as it is now", body = Project), Refused))]
async fn update(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project)): Segments<(String, String)>,
    Body(change): Body<UpdateProject>,
) -> Result<Json<Project>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::UpdateProject).await?;
    Ok(Json(projects::update(&app, access, change).await?))
}

/// Delete a project
///
/// With its repository, runs and logs. There is no way back.
#[utoipa::path(delete, path = "/orgs/{org}/projects/{project}", operation_id = "deleteProject",
    tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name")),
    responses((status = 204, description = "It is gone"), Refused))]
async fn delete(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments((org, project)): Segments<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::DeleteProject).await?;
    projects::delete(&app, access, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the tokens of a project
///
/// Those that are limited to it, whosever they are, newest first.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/tokens", operation_id = "listProjectTokens",
    tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"), Paging),
    responses((status = 200, description = "Tokens", body = Page<Token>), RefusedToRead))]
async fn list_tokens(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project)): Segments<(String, String)>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Token>>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ManageProjectTokens).await?;
    let id = access.project.id;
    let tokens = identity::project_tokens(&app, id, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(tokens, |token| token.id)?))
}

/// Create a token that is limited to a project
///
/// It acts for the one who creates it, in this project only. It is listed with
/// their other tokens too, and revoked there. Takes a recent proof of who one is.
#[utoipa::path(post, path = "/orgs/{org}/projects/{project}/tokens", operation_id = "createProjectToken",
    tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name")),
    request_body = CreateToken,
    responses((status = 201, description = "The token with its secret", body = NewToken), Refused),
    security(("session" = [])))]
async fn create_token(
    State(app): State<App>,
    Confirmed(asker): Confirmed,
    Origin(origin): Origin,
    Segments((org, project)): Segments<(String, String)>,
    Body(wanted): Body<CreateToken>,
) -> Result<Response, ApiError> {
    let principal = Principal::Session(asker.clone());
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    let limit = Some((access.project.id, access.full_name()));
    let token = identity::create_token(&app, &asker.user, limit, wanted, &origin).await?;
    Ok((StatusCode::CREATED, Secret::mark(), Json(token)).into_response())
}
