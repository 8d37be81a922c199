//! Managing runners: an organisation's, and the instance's.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use devenv_cloud_api::{
    ids::{RunnerId, RunnerTokenId},
    page::Page,
    permissions::Action,
    runners::{CreateRunnerToken, NewRunnerToken, Runner, RunnerScope, RunnerToken, UpdateRunner},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToRead},
    extract::{Body, Origin, Paging, Params, Segments},
    idempotency::Secret,
};
use crate::{
    access::{self, Resource},
    app::{App, AppParts},
    identity::{self, Principal, User, step_up},
    orgs,
    refusal::Refusal,
    runners::{self, Owner},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(update, revoke))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
        .routes(routes!(list_of_instance))
        .routes(routes!(update_of_instance, revoke_of_instance))
        .routes(routes!(list_tokens_of_instance, create_token_of_instance))
        .routes(routes!(revoke_token_of_instance))
}

/// An organisation's runners, and whether the principal may manage them.
async fn of_org(
    app: &AppParts,
    principal: &Principal,
    org: &str,
    action: Action,
) -> Result<(Owner, bool), Refusal> {
    let access = orgs::find_for(app, principal, org, action).await?;
    let may_manage = access::require(principal, Action::ManageRunners, &access.resource()).is_ok();
    Ok((Owner::Org(access.org.id), may_manage))
}

fn of_instance(principal: &Principal) -> Result<Owner, Refusal> {
    access::require(principal, Action::AdministrateInstance, &Resource::Instance)?;
    Ok(Owner::Instance)
}

async fn page(
    app: &AppParts,
    (owner, may_manage): (Owner, bool),
    paging: &Paging,
) -> Result<Json<Page<Runner>>, ApiError> {
    let rows = runners::list(app, owner, may_manage, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(rows, |runner| (runner.scope == RunnerScope::Instance, runner.id))?))
}

async fn create(
    app: &AppParts,
    principal: &Principal,
    owner: Owner,
    wanted: CreateRunnerToken,
    origin: &identity::Origin,
) -> Result<Response, ApiError> {
    // Whoever has it receives the jobs, with the sources of everybody.
    step_up::require(principal, app.clock.now())?;
    let token = runners::create_token(app, owner, person(principal)?, wanted, origin).await?;
    Ok((StatusCode::CREATED, Secret::mark(), Json(token)).into_response())
}

/// Who manages them.
fn person(principal: &Principal) -> Result<&User, ApiError> {
    principal.user().ok_or(ApiError::Unauthenticated)
}

/// List the runners of an organisation
///
/// Its own, oldest first, and then those of the instance, which execute its
/// jobs too.
#[utoipa::path(get, path = "/orgs/{org}/runners", operation_id = "listRunners", tag = "runners",
    params(("org" = String, Path, description = "The organisation's name"), Paging),
    responses((status = 200, description = "Runners", body = Page<Runner>), RefusedToRead))]
async fn list(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Runner>>, ApiError> {
    let owner = of_org(&app, &principal, &org, Action::ReadRunners).await?;
    page(&app, owner, &paging).await
}

/// Change a runner
///
/// A runner that drains ends what it has, and takes nothing new.
#[utoipa::path(patch, path = "/orgs/{org}/runners/{runner}", operation_id = "updateRunner", tag = "runners",
    params(("org" = String, Path, description = "The organisation's name"),
        ("runner" = RunnerId, Path, description = "The runner's id")),
    request_body = UpdateRunner,
    responses((status = 204, description = "Changed"), Refused))]
async fn update(
    State(app): State<App>,
    principal: Principal,
    Segments((org, runner)): Segments<(String, RunnerId)>,
    Body(change): Body<UpdateRunner>,
) -> Result<StatusCode, ApiError> {
    let (owner, _) = of_org(&app, &principal, &org, Action::ManageRunners).await?;
    runners::update(&app, owner, runner, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke a runner
///
/// Its credential works no more. The jobs that it is executing end with an
/// error, and are done again by somebody else.
#[utoipa::path(delete, path = "/orgs/{org}/runners/{runner}", operation_id = "revokeRunner", tag = "runners",
    params(("org" = String, Path, description = "The organisation's name"),
        ("runner" = RunnerId, Path, description = "The runner's id")),
    responses((status = 204, description = "It is no runner any more"), Refused))]
async fn revoke(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments((org, runner)): Segments<(String, RunnerId)>,
) -> Result<StatusCode, ApiError> {
    let (owner, _) = of_org(&app, &principal, &org, Action::ManageRunners).await?;
    runners::revoke(&app, owner, person(&principal)?, runner, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the registration tokens of an organisation
///
/// Those that still work, newest first.
#[utoipa::path(get, path = "/orgs/{org}/runner-tokens", operation_id = "listRunnerTokens", tag = "runners",
    params(("org" = String, Path, description = "The organisation's name"), Paging),
    responses((status = 200, description = "Tokens", body = Page<RunnerToken>), RefusedToRead))]
async fn list_tokens(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<RunnerToken>>, ApiError> {
    let (owner, _) = of_org(&app, &principal, &org, Action::ManageRunners).await?;
    let tokens = runners::tokens(&app, owner, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(tokens, |token| token.id)?))
}

/// Create a registration token
///
/// Machines that register with it become runners of the organisation. Its
/// secret is in this answer and never again.
#[utoipa::path(post, path = "/orgs/{org}/runner-tokens", operation_id = "createRunnerToken", tag = "runners",
    params(("org" = String, Path, description = "The organisation's name")),
    request_body = CreateRunnerToken,
    responses((status = 201, description = "The token with its secret", body = NewRunnerToken), Refused))]
async fn create_token(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments(org): Segments<String>,
    Body(wanted): Body<CreateRunnerToken>,
) -> Result<Response, ApiError> {
    let (owner, _) = of_org(&app, &principal, &org, Action::ManageRunners).await?;
    create(&app, &principal, owner, wanted, &origin).await
}

/// Revoke a registration token
///
/// Runners that registered with it stay.
#[utoipa::path(delete, path = "/orgs/{org}/runner-tokens/{token}", operation_id = "revokeRunnerToken",
    tag = "runners",
    params(("org" = String, Path, description = "The organisation's name"),
        ("token" = RunnerTokenId, Path, description = "The token's id")),
    responses((status = 204, description = "It works no more"), Refused))]
async fn revoke_token(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments((org, token)): Segments<(String, RunnerTokenId)>,
) -> Result<StatusCode, ApiError> {
    let (owner, _) = of_org(&app, &principal, &org, Action::ManageRunners).await?;
    runners::revoke_token(&app, owner, person(&principal)?, token, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the runners of the instance
///
/// Those that execute everybody's jobs. For administrators of the instance.
#[utoipa::path(get, path = "/runners", operation_id = "listInstanceRunners", tag = "runners", params(Paging),
    responses((status = 200, description = "Runners", body = Page<Runner>), RefusedToRead))]
async fn list_of_instance(
    State(app): State<App>,
    principal: Principal,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Runner>>, ApiError> {
    let owner = of_instance(&principal)?;
    page(&app, (owner, true), &paging).await
}

/// Change a runner of the instance
#[utoipa::path(patch, path = "/runners/{runner}", operation_id = "updateInstanceRunner", tag = "runners",
    params(("runner" = RunnerId, Path, description = "The runner's id")), request_body = UpdateRunner,
    responses((status = 204, description = "Changed"), Refused))]
async fn update_of_instance(
    State(app): State<App>,
    principal: Principal,
    Segments(runner): Segments<RunnerId>,
    Body(change): Body<UpdateRunner>,
) -> Result<StatusCode, ApiError> {
    runners::update(&app, of_instance(&principal)?, runner, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke a runner of the instance
///
/// The jobs that it is executing end with an error, and are done again by
/// somebody else.
#[utoipa::path(delete, path = "/runners/{runner}", operation_id = "revokeInstanceRunner", tag = "runners",
    params(("runner" = RunnerId, Path, description = "The runner's id")),
    responses((status = 204, description = "It is no runner any more"), Refused))]
async fn revoke_of_instance(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments(runner): Segments<RunnerId>,
) -> Result<StatusCode, ApiError> {
    runners::revoke(&app, of_instance(&principal)?, person(&principal)?, runner, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the registration tokens of the instance
#[utoipa::path(get, path = "/runner-tokens", operation_id = "listInstanceRunnerTokens", tag = "runners",
    params(Paging),
    responses((status = 200, description = "Tokens", body = Page<RunnerToken>), RefusedToRead))]
async fn list_tokens_of_instance(
    State(app): State<App>,
    principal: Principal,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<RunnerToken>>, ApiError> {
    let owner = of_instance(&principal)?;
    let tokens = runners::tokens(&app, owner, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(tokens, |token| token.id)?))
}

/// Create a registration token of the instance
///
/// Machines that register with it execute everybody's jobs.
#[utoipa::path(post, path = "/runner-tokens", operation_id = "createInstanceRunnerToken", tag = "runners",
    request_body = CreateRunnerToken,
    responses((status = 201, description = "The token with its secret", body = NewRunnerToken), Refused))]
async fn create_token_of_instance(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Body(wanted): Body<CreateRunnerToken>,
) -> Result<Response, ApiError> {
    let owner = of_instance(&principal)?;
    create(&app, &principal, owner, wanted, &origin).await
}

/// Revoke a registration token of the instance
#[utoipa::path(delete, path = "/runner-tokens/{token}", operation_id = "revokeInstanceRunnerToken",
    tag = "runners", params(("token" = RunnerTokenId, Path, description = "The token's id")),
    responses((status = 204, description = "It works no more"), Refused))]
async fn revoke_token_of_instance(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments(token): Segments<RunnerTokenId>,
) -> Result<StatusCode, ApiError> {
    runners::revoke_token(&app, of_instance(&principal)?, person(&principal)?, token, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
