//! Lists that live: the runs of a project, of an organisation, of all that is
//! one's own.

use std::convert::Infallible;

use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use devenv_cloud_api::{permissions::Action, trace::RunsEvent};
use futures::Stream;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::RefusedToRead,
    extract::Segments,
    runs::{json, sse},
};
use crate::{
    app::App,
    identity::Principal,
    orgs,
    projects::{self, Followed},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(mine)).routes(routes!(org)).routes(routes!(project))
}

fn follow(
    app: App,
    principal: Principal,
    followed: Followed,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send> {
    sse(projects::run_events(app, principal, followed), |event| (None, "runs", json(&event)))
}

/// Follow my projects
///
/// Server-sent events: the newest run of each project of my organisations, and
/// every run of theirs that changes. Ends after a while; ask again.
#[utoipa::path(get, path = "/projects/events", operation_id = "followMyProjects", tag = "projects",
    responses((status = 200, description = "Events", body = RunsEvent, content_type = "text/event-stream"),
        RefusedToRead))]
async fn mine(
    State(app): State<App>,
    principal: Principal,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>, ApiError> {
    if principal.user().is_none() {
        return Err(ApiError::Unauthenticated);
    }
    Ok(follow(app, principal, Followed::Mine))
}

/// Follow the projects of an organisation
///
/// Server-sent events: the newest run of each project, and every run that
/// changes. Ends after a while; ask again.
#[utoipa::path(get, path = "/orgs/{org}/events", operation_id = "followOrg", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name")),
    responses((status = 200, description = "Events", body = RunsEvent, content_type = "text/event-stream"),
        RefusedToRead))]
async fn org(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ReadOrg).await?;
    Ok(follow(app, principal, Followed::Org(access.org.id)))
}

/// Follow the runs of a project
///
/// Server-sent events: the newest runs, and every run that changes. Ends after
/// a while; ask again.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/events", operation_id = "followProject",
    tag = "projects",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name")),
    responses((status = 200, description = "Events", body = RunsEvent, content_type = "text/event-stream"),
        RefusedToRead))]
async fn project(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project)): Segments<(String, String)>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    Ok(follow(app, principal, Followed::Project(access.project.id)))
}
