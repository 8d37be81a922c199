//! Traces and logs of attempts: read, download, follow.

#![expect(unused_qualifications, reason = "utoipa's macro names the types of parameters so")]

use std::convert::Infallible;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use devenv_cloud_api::{
    ids::SpanId,
    permissions::Action,
    trace::{LiveEvent, LogMatches, LogWindow, Trace},
};
use futures::Stream;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::RefusedToRead,
    extract::{Paging, Params, Segments, cursor},
    runs::{JobPath, json, sse, while_allowed},
};
use crate::{
    app::App,
    identity::Principal,
    projects,
    runs::{self, AttemptRow},
    telemetry::{self, LogQuery, Resume, Search, TelemetryError},
};

/// Lines of one window at most.
const MOST_LINES: u64 = 5000;

/// Matches of one page at most.
const MOST_MATCHES: u32 = 1000;

/// Characters that one can search for at most.
const LONGEST_SEARCH: usize = 200;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(trace))
        .routes(routes!(log))
        .routes(routes!(search_log))
        .routes(routes!(log_text))
        .routes(routes!(events))
}

impl From<TelemetryError> for ApiError {
    fn from(error: TelemetryError) -> Self {
        match error {
            TelemetryError::Db(error) => error.into(),
            other => Self::Internal(other.into()),
        }
    }
}

async fn find(
    app: &App,
    principal: &Principal,
    (org, project, number, job): &JobPath,
    attempt: Option<u32>,
) -> Result<AttemptRow, ApiError> {
    let access = projects::find_for(app, principal, org, project, Action::ReadProject).await?;
    // Attempts count from 1; 0 is none.
    let found = runs::find_attempt(&app.db, access.project.id, *number, job, attempt).await?;
    found.filter(|_| attempt != Some(0)).ok_or(ApiError::NotFound)
}

/// Which attempt's trace, and how much of it.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TraceQuery {
    /// The attempt's number; the newest when absent.
    attempt: Option<u32>,
    /// How many spans at most; all when absent.
    limit: Option<usize>,
}

/// Get the trace of a job
///
/// Spans in depth-first order, siblings by start. `seq` is where to follow from.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/trace",
    operation_id = "getTrace", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run"), TraceQuery),
    responses((status = 200, description = "The trace", body = Trace), RefusedToRead))]
async fn trace(
    State(app): State<App>,
    principal: Principal,
    Segments(path): Segments<JobPath>,
    Params(query): Params<TraceQuery>,
) -> Result<Json<Trace>, ApiError> {
    let attempt = find(&app, &principal, &path, query.attempt).await?;
    Ok(Json(telemetry::trace(&app, &attempt, query.limit.unwrap_or(usize::MAX)).await?))
}

/// Which lines of which attempt's log.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LinesQuery {
    /// The attempt's number; the newest when absent.
    attempt: Option<u32>,
    /// Only the lines of this span: 16 hexadecimal digits.
    #[param(value_type = Option<String>)]
    span: Option<SpanId>,
    /// From this line on, counted from 1 in the log as it is asked for. Default 1.
    from: Option<u64>,
    /// The last lines, this many, instead of `from` and `limit`.
    #[param(maximum = 5000)]
    tail: Option<u64>,
    /// How many lines at most. Default 1000.
    #[param(maximum = 5000, default = 1000)]
    limit: Option<u64>,
}

/// Get a window of a job's log
///
/// Lines keep their ANSI escape sequences.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/log",
    operation_id = "getLog", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run"), LinesQuery),
    responses((status = 200, description = "Lines", body = LogWindow), RefusedToRead))]
async fn log(
    State(app): State<App>,
    principal: Principal,
    Segments(path): Segments<JobPath>,
    Params(query): Params<LinesQuery>,
) -> Result<Json<LogWindow>, ApiError> {
    let attempt = find(&app, &principal, &path, query.attempt).await?;
    for (field, value) in [("limit", query.limit), ("tail", query.tail)] {
        if value.is_some_and(|value| value > MOST_LINES) {
            return Err(ApiError::field(field, format!("at most {MOST_LINES} lines at once")));
        }
    }
    let wanted = LogQuery {
        span: query.span,
        from: query.from.unwrap_or(1),
        tail: query.tail,
        limit: query.limit.or(query.tail).unwrap_or(1000),
    };
    Ok(Json(telemetry::log_window(&app, &attempt, &wanted).await?))
}

/// What to look for, in which attempt's log.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MatchesQuery {
    /// The attempt's number; the newest when absent.
    attempt: Option<u32>,
    /// Only the lines of this span: 16 hexadecimal digits.
    #[param(value_type = Option<String>)]
    span: Option<SpanId>,
    /// What a line must have in it, as it stands: 1 to 200 characters.
    #[param(required = true, min_length = 1, max_length = 200)]
    q: Option<String>,
    /// Whether upper and lower case differ. Default no.
    case: Option<bool>,
    /// Begin with this match, counted from 1. Default 1.
    from: Option<u64>,
    /// `next_cursor` of the page before, instead of `from`.
    cursor: Option<String>,
    /// How many matches at most. Default 200.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: Option<u32>,
}

/// Search a job's log
///
/// Lines that have some text in them, looked at without ANSI escape sequences,
/// and how many there are in the whole log. Pages after the first repeat what
/// the first one counted.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/log/search",
    operation_id = "searchLog", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run"), MatchesQuery),
    responses((status = 200, description = "Matches", body = LogMatches), RefusedToRead))]
async fn search_log(
    State(app): State<App>,
    principal: Principal,
    Segments(path): Segments<JobPath>,
    Params(query): Params<MatchesQuery>,
) -> Result<Json<LogMatches>, ApiError> {
    let attempt = find(&app, &principal, &path, query.attempt).await?;
    let text = query.q.unwrap_or_default();
    if text.is_empty() || text.chars().count() > LONGEST_SEARCH {
        return Err(ApiError::field("q", format!("search for 1 to {LONGEST_SEARCH} characters")));
    }
    let limit = query.limit.unwrap_or(200);
    if !(1..=MOST_MATCHES).contains(&limit) {
        return Err(ApiError::field("limit", format!("a page has 1 to {MOST_MATCHES} matches")));
    }
    let resume: Option<Resume> = Paging { cursor: query.cursor, limit: None }.after()?;
    let wanted = Search {
        text,
        case: query.case.unwrap_or_default(),
        span: query.span,
        from: query.from.unwrap_or(1),
        resume,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let found = telemetry::search_log(&app, &attempt, wanted).await?;
    let next_cursor = found.next.as_ref().map(cursor).transpose()?;
    Ok(Json(LogMatches { next_cursor, ..found.matches }))
}

/// Which attempt's log, and in which form.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TextQuery {
    /// The attempt's number; the newest when absent.
    attempt: Option<u32>,
    /// Whether ANSI escape sequences stay in. Default no.
    ansi: Option<bool>,
}

/// Download a job's log
///
/// As far as it is written, as plain text.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/log.txt",
    operation_id = "downloadLog", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run"), TextQuery),
    responses((status = 200, description = "The log", body = String, content_type = "text/plain"), RefusedToRead))]
async fn log_text(
    State(app): State<App>,
    principal: Principal,
    Segments(path): Segments<JobPath>,
    Params(query): Params<TextQuery>,
) -> Result<Response, ApiError> {
    let attempt = find(&app, &principal, &path, query.attempt).await?;
    let (_, project, number, job) = &path;
    // Names of projects and jobs are harmless in a file's name: they were checked.
    let name = format!("inline; filename=\"{project}-{number}-{job}.log\"");
    let text = telemetry::log_text(app, attempt.id, query.ansi.unwrap_or_default());
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONTENT_DISPOSITION, &name)];
    Ok((headers, Body::from_stream(text)).into_response())
}

/// Which attempt's stream, and from where.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The attempt's number; the newest when absent.
    attempt: Option<u32>,
    /// Only what comes after this record: `seq` of a trace or a log.
    after: Option<u64>,
}

/// Follow a job
///
/// Server-sent events: spans, lines and changes of the attempt, and `end`. A client that comes back with
/// `Last-Event-ID` misses nothing and gets no line twice.
#[utoipa::path(get, path = "/orgs/{org}/projects/{project}/runs/{number}/jobs/{job}/events",
    operation_id = "followJob", tag = "runs",
    params(("org" = String, Path, description = "The organisation's name"),
        ("project" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number within the project"),
        ("job" = String, Path, description = "The job's name within the run"), EventsQuery,
        ("last-event-id" = Option<u64>, Header, description = "The number of the last event that was received")),
    responses((status = 200, description = "Events", body = LiveEvent, content_type = "text/event-stream"),
        RefusedToRead))]
async fn events(
    State(app): State<App>,
    principal: Principal,
    Segments(path): Segments<JobPath>,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>, ApiError> {
    let attempt = find(&app, &principal, &path, query.attempt).await?;
    // A browser that comes back asks for the same address again, and says in
    // the header how far it had come.
    let last: Option<u64> =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = last.max(query.after).unwrap_or_default();
    let events = telemetry::attempt_events(app.clone(), attempt.id, after);
    let events = while_allowed(&app, &principal, (&path.0, &path.1), events);
    Ok(sse(events, |event| {
        let name = match &event.event {
            LiveEvent::Spans { .. } => "spans",
            LiveEvent::Lines { .. } => "lines",
            LiveEvent::Attempt { .. } => "attempt",
            LiveEvent::End => "end",
        };
        (event.seq, name, json(&event.event))
    }))
}
