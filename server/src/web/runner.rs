//! The runner's protocol: what `devenv-cloud runner` says to its server. The
//! types are those of [`wire`]; what is done with them is the same that an
//! executor in this process has done, [`LocalControlPlane`].

use std::time::Duration;

use axum::{
    Json,
    body::Body as RawBody,
    extract::{DefaultBodyLimit, FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use devenv_cloud_api::ids::AttemptId;
use futures::TryStreamExt as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedRunner, RefusedToRegister},
    extract::{Body, OpenBody, Origin, Params, Runner, Segments, bearer},
};
use crate::{
    app::App,
    executor::{
        Conclusion, ControlPlane as _, Lease,
        remote::wire::{
            self, Announcement, Claim, Credential, FirstRecord, LEASE_HEADER, LONG_POLL_SECONDS,
            RECORDS_LIMIT, Register, Renewed, Report, Welcome, Work,
        },
    },
    runners,
    runs::{self, LocalControlPlane, queue},
    telemetry::Record,
};

/// The sequence number of the last record that an attempt may have.
const LAST_RECORD: u64 = 1 << 32;

pub(super) fn routes() -> OpenApiRouter<App> {
    let records = OpenApiRouter::new().routes(routes!(records)).layer(DefaultBodyLimit::max(RECORDS_LIMIT));
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(renew_credential))
        .routes(routes!(hello))
        .routes(routes!(leave))
        .routes(routes!(report))
        .routes(routes!(claim))
        .routes(routes!(renew))
        .routes(routes!(changed))
        .routes(routes!(source))
        .routes(routes!(finish))
        .merge(records)
}

/// A lease that the asking runner shows, on an attempt that is its own. Whether
/// the lease still holds is found out by what is done with it.
struct Held(Lease);

impl FromRequestParts<App> for Held {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Runner(runner) = Runner::from_request_parts(parts, app).await?;
        let Segments(attempt) = Segments::<AttemptId>::from_request_parts(parts, app).await?;
        let shown = parts.headers.get(LEASE_HEADER).and_then(|value| value.to_str().ok());
        let lease = shown.and_then(|shown| wire::lease(attempt, shown)).ok_or_else(|| {
            ApiError::Invalid(format!("the header {LEASE_HEADER} has the lease's 32 hexadecimal digits"))
        })?;
        // An attempt that is not there, is another runner's, or was taken away: all the same.
        if runs::is_of_runner(app, runner.runner, attempt).await? {
            Ok(Self(lease))
        } else {
            Err(ApiError::LeaseLost)
        }
    }
}

fn plane(app: &App) -> LocalControlPlane {
    LocalControlPlane::new(app.clone())
}

/// Become a runner
///
/// Exchanges a registration token for a credential. Asked again with the same
/// nonce, it is the same runner, and the token is not used a second time.
#[utoipa::path(post, path = "/runner/register", operation_id = "registerRunner", tag = "runner protocol",
    request_body = Register,
    responses((status = 201, description = "The credential", body = Credential), RefusedToRegister),
    security(()))]
async fn register(
    State(app): State<App>,
    Origin(origin): Origin,
    OpenBody(wanted): OpenBody<Register>,
) -> Result<Response, ApiError> {
    let credential = runners::register(&app, wanted, &origin).await?;
    Ok((StatusCode::CREATED, Json(credential)).into_response())
}

/// Exchange a credential
///
/// The new one works for an hour. The old one keeps working until it expires
/// or the new one is exchanged; an expired one can be exchanged for 30 days.
#[utoipa::path(post, path = "/runner/credential", operation_id = "renewRunnerCredential",
    tag = "runner protocol",
    responses((status = 200, description = "The new credential", body = Credential), Refused),
    security(("runner" = [])))]
async fn renew_credential(State(app): State<App>, headers: HeaderMap) -> Result<Json<Credential>, ApiError> {
    let given = bearer(&headers).ok_or(ApiError::Unauthenticated)?;
    if !given.starts_with(runners::CREDENTIAL_PREFIX) && given.starts_with("dvc_") {
        // A person's token may work, but not for this.
        let principal = crate::identity::authenticate_token(&app, given).await?;
        return Err(principal.map_or(ApiError::Unauthenticated, |_| ApiError::not_a_runner()));
    }
    Ok(Json(runners::renew(&app, given).await?))
}

/// Say that a runner has started
///
/// What an earlier process of the same runner had not ended is done again.
#[utoipa::path(post, path = "/runner/hello", operation_id = "startRunner", tag = "runner protocol",
    request_body = Announcement,
    responses((status = 200, description = "What the runner should know", body = Welcome), Refused),
    security(("runner" = [])))]
async fn hello(
    State(app): State<App>,
    Runner(runner): Runner,
    Body(announcement): Body<Announcement>,
) -> Result<Json<Welcome>, ApiError> {
    Ok(Json(runners::hello(&app, &runner, announcement).await?))
}

/// Say that a runner ends
///
/// What it has not ended is done again.
#[utoipa::path(post, path = "/runner/leave", operation_id = "stopRunner", tag = "runner protocol",
    responses((status = 204, description = "Farewell"), Refused), security(("runner" = [])))]
async fn leave(State(app): State<App>, Runner(runner): Runner) -> Result<StatusCode, ApiError> {
    runners::leave(&app, &runner).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say what a runner has
///
/// Before the first work is asked for, and every quarter of a minute.
#[utoipa::path(post, path = "/runner/report", operation_id = "reportRunner", tag = "runner protocol",
    request_body = Report,
    responses((status = 204, description = "Noted"), Refused), security(("runner" = [])))]
async fn report(
    State(app): State<App>,
    Runner(runner): Runner,
    Body(report): Body<Report>,
) -> Result<StatusCode, ApiError> {
    runners::report(&app, runner.runner, report).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for work
///
/// Answers when there is some, at the latest after half a minute.
#[utoipa::path(post, path = "/runner/claim", operation_id = "claimJob", tag = "runner protocol",
    request_body = Claim,
    responses((status = 200, description = "Work, leased for a minute", body = Work),
        (status = 204, description = "None for now; ask again"), Refused),
    security(("runner" = [])))]
async fn claim(
    State(app): State<App>,
    Runner(runner): Runner,
    Body(claim): Body<Claim>,
) -> Result<Response, ApiError> {
    let token = wire::parse_token(&claim.lease)
        .ok_or_else(|| ApiError::field("lease", "a lease's number has 32 hexadecimal digits"))?;
    let claimant = queue::Claimant::Runner { runner: &runner, token };
    Ok(match queue::claim(&app, claimant).await? {
        Some(assignment) => Json(Work::from(assignment)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Renew a lease
///
/// For another minute.
#[utoipa::path(post, path = "/runner/leases/{attempt}/renew", operation_id = "renewLease",
    tag = "runner protocol",
    params(("attempt" = AttemptId, Path, description = "The attempt"),
        ("x-lease" = String, Header, description = "The lease's number")),
    responses((status = 200, description = "Whether to go on", body = Renewed), RefusedRunner),
    security(("runner" = [])))]
async fn renew(State(app): State<App>, Held(lease): Held) -> Result<Json<Renewed>, ApiError> {
    Ok(Json(Renewed { state: plane(&app).renew(&lease).await? }))
}

/// Wait for news of a lease
///
/// Answers when it may have changed, at the latest after half a minute; renew
/// it to learn how.
#[utoipa::path(get, path = "/runner/leases/{attempt}/changed", operation_id = "awaitLease",
    tag = "runner protocol",
    params(("attempt" = AttemptId, Path, description = "The attempt"),
        ("x-lease" = String, Header, description = "The lease's number")),
    responses((status = 204, description = "It may have changed"), RefusedRunner),
    security(("runner" = [])))]
async fn changed(State(app): State<App>, Held(lease): Held) -> StatusCode {
    let plane = plane(&app);
    tokio::select! {
        () = plane.changed(&lease) => {}
        () = tokio::time::sleep(Duration::from_secs(LONG_POLL_SECONDS)) => {}
        () = app.shutdown.cancelled() => {}
    }
    StatusCode::NO_CONTENT
}

/// Fetch the source
///
/// A packfile with exactly the commit, its trees and its blobs.
#[utoipa::path(get, path = "/runner/leases/{attempt}/source", operation_id = "fetchSource",
    tag = "runner protocol",
    params(("attempt" = AttemptId, Path, description = "The attempt"),
        ("x-lease" = String, Header, description = "The lease's number")),
    responses((status = 200, description = "The packfile", content_type = "application/x-git-packfile"),
        RefusedRunner),
    security(("runner" = [])))]
async fn source(State(app): State<App>, Held(lease): Held) -> Result<Response, ApiError> {
    // Read as fast as it is sent: the pack is never in memory as a whole. An
    // error in the middle breaks the connection off, which the runner notices.
    let pack = plane(&app).source(&lease).await?;
    let body = RawBody::from_stream(pack.map_err(std::io::Error::other));
    Ok(([(header::CONTENT_TYPE, "application/x-git-packfile")], body).into_response())
}

/// Report records
///
/// They are durable when this answers. What is stored already is passed over,
/// so a batch whose answer was lost is simply sent again.
#[utoipa::path(post, path = "/runner/leases/{attempt}/records", operation_id = "reportRecords",
    tag = "runner protocol",
    params(("attempt" = AttemptId, Path, description = "The attempt"),
        ("x-lease" = String, Header, description = "The lease's number"), FirstRecord),
    request_body(content = Vec<serde_json::Value>, description = "Spans opened and closed, lines, annotations; at \
        most 12 MiB"),
    responses((status = 204, description = "Stored"), RefusedRunner),
    security(("runner" = [])))]
async fn records(
    State(app): State<App>,
    Held(lease): Held,
    Params(FirstRecord { first }): Params<FirstRecord>,
    Body(records): Body<Vec<Record>>,
) -> Result<StatusCode, ApiError> {
    if !(1..LAST_RECORD).contains(&first) {
        return Err(ApiError::field("first", "records are numbered from 1"));
    }
    Record::check_all(&records).map_err(ApiError::Invalid)?;
    plane(&app).append(&lease, first, records).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Report the end of an attempt
#[utoipa::path(post, path = "/runner/leases/{attempt}/finish", operation_id = "finishAttempt",
    tag = "runner protocol",
    params(("attempt" = AttemptId, Path, description = "The attempt"),
        ("x-lease" = String, Header, description = "The lease's number")),
    request_body = Conclusion,
    responses((status = 204, description = "Ended"), RefusedRunner),
    security(("runner" = [])))]
async fn finish(
    State(app): State<App>,
    Held(lease): Held,
    Body(conclusion): Body<Conclusion>,
) -> Result<StatusCode, ApiError> {
    conclusion.check().map_err(ApiError::Invalid)?;
    plane(&app).finish(&lease, conclusion).await?;
    Ok(StatusCode::NO_CONTENT)
}
