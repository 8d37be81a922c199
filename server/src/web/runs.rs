//! Runs and jobs: read, start, cancel, retry, follow.

#![expect(unused_qualifications, reason = "utoipa's macro names the types of parameters so")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::sse::{Event, KeepAlive, Sse},
};
use devenv_cloud_api::{
    page::Page,
    permissions::Action,
    runs::{Job, Run, RunSummary, StartRun, State as RunState},
    trace::RunEvent,
};
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToRead},
    extract::{Body, Paging, Params, Segments},
};
use crate::{
    app::App,
    identity::{self, Principal},
    projects::{self, ProjectAccess},
    runs::{self, RunError, RunFilter},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(events))
        .routes(routes!(get_job))
        .routes(routes!(cancel_job))
        .routes(routes!(retry_job))
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::NotFound(_) => Self::NotFound,
            RunError::Conflict(why) => Self::Conflict(why),
            RunError::Db(error) => error.into(),
            RunError::Forge(error) => Self::Internal(error.into()),
        }
    }
}

/// Which runs, and which page of them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunsQuery {
    /// Only of this branch, or of this full ref (`refs/tags/v1`).
    branch: Option<String>,
    /// Only in this state.
    state: Option<RunState>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
    /// How many rows at most, 1 to 100. Default 50.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
}

/// The parts of the path that name a run.
pub(super) type RunPath = (String, String, u64);

/// The parts of the path that name a job.
pub(super) type JobPath = (String, String, u64, String);

async fn show(app: &App, access: &ProjectAccess, number: u64) -> Result<Run, ApiError> {
    let place = (&access.org.slug, &access.project.slug, access.project.id);
    Ok(runs::find_run(app, place, number, access.allows(Action::OperateRuns)).await?)
}

async fn show_job(app: &App, access: &ProjectAccess, number: u64, name: &str) -> Result<Job, ApiError> {
    let run = show(app, access, number).await?;
    run.jobs.into_iter().find(|job| job.name == name).ok_or(ApiError::NotFound)
}

/// The name of the one who asks, for sentences about what they did.
fn who(access: &ProjectAccess) -> String {
    access.user().map_or_else(|| "somebody".to_owned(), |user| user.name.clone())
}

/// What is told of a project, as long as the one who asked may read it: whoever
/// signs out, is disabled or leaves hears nothing more. It is looked at whenever
/// there is something to tell.
pub(super) fn while_allowed<T: Send + 'static, S: Stream<Item = T> + Send + 'static>(
    app: &App,
    principal: &Principal,
    (org, project): (&str, &str),
    events: S,
) -> impl Stream<Item = T> + Send + use<T, S> {
    let asked = Arc::new((app.clone(), principal.clone(), org.to_owned(), project.to_owned()));
    events.take_while(move |_| {
        let asked = asked.clone();
        async move {
            let (app, principal, org, project) = &*asked;
            matches!(identity::is_still_there(app, principal).await, Ok(true))
                && projects::find_for(app, principal, org, project, Action::ReadProject).await.is_ok()
        }
    })
}

/// A stream of server-sent events, kept alive, that ends quietly when reading
/// fails: the client comes back and goes on where it was.
pub(super) fn sse<T, E>(
    events: impl Stream<Item = Result<T, E>> + Send + 'static,
    event: impl Fn(T) -> (Option<u64>, &'static str, serde_json::Result<String>) + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let events = events
        .map(move |item| {
            item.inspect_err(|error| tracing::warn!(%error, "a live stream broke off")).ok().and_then(
                |item| {
                    let (id, name, data) = event(item);
                    let event = Event::default().event(name).data(data.ok()?);
                    Some(match id {
                        Some(id) => event.id(id.to_string()),
                        None => event,
                    })
                },
            )
        })
        .take_while(|event| std::future::ready(event.is_some()))
        .filter_map(|event| std::future::ready(event.map(Ok)));
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

pub(super) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value)
}

/// List the runs of a project
///
/// Newest first.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs", operation_id = "listRuns", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"), RunsQuery),
    responses((status = 200, description = "Runs", body = Page<RunSummary>), RefusedToRead))]
async fn list(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project)): Segments<(String, String)>,
    Params(query): Params<RunsQuery>,
) -> Result<Json<Page<RunSummary>>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    let full = |name: String| if name.starts_with("refs/") { name } else { format!("refs/heads/{name}") };
    let filter =
        RunFilter { git_ref: query.branch.filter(|name| !name.is_empty()).map(full), state: query.state };
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let (before, limit) = (paging.after()?, paging.limit()? + 1);
    let found = runs::list_runs(&app, access.project.id, &filter, before, limit).await?;
    Ok(Json(paging.page(found, |run| run.number)?))
}

/// Start a run
///
/// Of the newest commit of a branch or tag, whatever the project's triggers say.
#[utoipa::path(post, path = "/orgs/{org}/projects/{project}/runs", operation_id = "startRun", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name")),
    request_body = StartRun,
    responses((status = 201, description = "The run", body = Run), Refused))]
async fn start(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project)): Segments<(String, String)>,
    Body(wanted): Body<StartRun>,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::OperateRuns).await?;
    let user = access.user().ok_or(ApiError::Unauthenticated)?;
    let number = runs::start(&app, access.project.id, wanted.git_ref.as_deref(), user.id, &user.name).await?;
    Ok((StatusCode::CREATED, Json(show(&app, &access, number).await?)))
}

/// Get a run
///
/// With its jobs, and all their attempts with their stages.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}", operation_id = "getRun", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project")),
    responses((status = 200, description = "The run", body = Run), RefusedToRead))]
async fn get(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number)): Segments<RunPath>,
) -> Result<Json<Run>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    Ok(Json(show(&app, &access, number).await?))
}

/// Cancel a run
///
/// What is queued is cancelled at once, what is running as soon as its machine has stopped it.
#[utoipa::path(post, path = "/orgs/{org}/projects/{project}/runs/{number}/cancel", operation_id = "cancelRun",
    tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project")),
    responses((status = 200, description = "The run as it is now", body = Run), Refused))]
async fn cancel(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number)): Segments<RunPath>,
) -> Result<Json<Run>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::OperateRuns).await?;
    runs::cancel_run(&app, access.project.id, number, &who(&access)).await?;
    Ok(Json(show(&app, &access, number).await?))
}

/// Retry a run
///
/// Its jobs that ended without success, as new attempts.
#[utoipa::path(post, path = "/orgs/{org}/projects/{project}/runs/{number}/retry", operation_id = "retryRun",
    tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project")),
    responses((status = 200, description = "The run as it is now", body = Run), Refused))]
async fn retry(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number)): Segments<RunPath>,
) -> Result<Json<Run>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::OperateRuns).await?;
    runs::retry_run(&app, access.project.id, number).await?;
    Ok(Json(show(&app, &access, number).await?))
}

/// Follow a run
///
/// Server-sent events: the run as it is, again whenever it changes, and `end`.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/events", operation_id = "followRun",
    tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project")),
    responses((status = 200, description = "Events", body = RunEvent, content_type = "text/event-stream"),
        RefusedToRead))]
async fn events(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number)): Segments<RunPath>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    show(&app, &access, number).await?;
    let can_operate = access.allows(Action::OperateRuns);
    let place = (access.org.slug, access.project.slug, access.project.id);
    let events = runs::run_events(app.clone(), place, number, can_operate);
    let events = while_allowed(&app, &principal, (&org, &project), events);
    Ok(sse(events, |event| {
        let name = match &event {
            RunEvent::Run { .. } => "run",
            RunEvent::End => "end",
        };
        (None, name, json(&event))
    }))
}

/// Get a job
///
/// With all its attempts and their stages.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}", operation_id = "getJob",
    tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run", example = "x86_64-linux")),
    responses((status = 200, description = "The job", body = Job), RefusedToRead))]
async fn get_job(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number, job)): Segments<JobPath>,
) -> Result<Json<Job>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::ReadProject).await?;
    Ok(Json(show_job(&app, &access, number, &job).await?))
}

/// Cancel a job
#[utoipa::path(post, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/cancel",
    operation_id = "cancelJob", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run")),
    responses((status = 200, description = "The job as it is now", body = Job), Refused))]
async fn cancel_job(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number, job)): Segments<JobPath>,
) -> Result<Json<Job>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::OperateRuns).await?;
    runs::cancel_job(&app, access.project.id, number, &job, &who(&access)).await?;
    Ok(Json(show_job(&app, &access, number, &job).await?))
}

/// Retry a job
///
/// As a new attempt, whatever came of the ones before.
#[utoipa::path(post, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/retry",
    operation_id = "retryJob", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run")),
    responses((status = 200, description = "The job as it is now", body = Job), Refused))]
async fn retry_job(
    State(app): State<App>,
    principal: Principal,
    Segments((org, project, number, job)): Segments<JobPath>,
) -> Result<Json<Job>, ApiError> {
    let access = projects::find_for(&app, &principal, &org, &project, Action::OperateRuns).await?;
    runs::retry_job(&app, access.project.id, number, &job).await?;
    Ok(Json(show_job(&app, &access, number, &job).await?))
}
