//! What people prove themselves with, confirming that it is them, and what is
//! asked of everybody.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use devenv_cloud_api::{
    factors::{
        AddPasskey, Assertion, Ceremony, Code, Factors, NewCodes, Passkey, Password, RecoveryCodes,
        RenamePasskey, SignInPolicy, StepUp,
    },
    ids::PasskeyId,
    permissions::Action,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToRead},
    extract::{Body, Browser, Confirmed, InPerson, Origin, Segments},
    idempotency::Secret,
};
use crate::{
    access::{self, Resource},
    app::App,
    identity::{self, Principal, factors, step_up},
    orgs,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(begin_adding_passkey))
        .routes(routes!(add_passkey))
        .routes(routes!(rename_passkey, remove_passkey))
        .routes(routes!(begin_codes, remove_codes))
        .routes(routes!(confirm_codes))
        .routes(routes!(make_recovery_codes))
        .routes(routes!(ways))
        .routes(routes!(step_up_password))
        .routes(routes!(step_up_code))
        .routes(routes!(step_up_recovery_code))
        .routes(routes!(step_up_passkey_begin))
        .routes(routes!(step_up_passkey))
        .routes(routes!(instance_policy, set_instance_policy))
        .routes(routes!(org_policy, set_org_policy))
}

/// Show what I can sign in with
#[utoipa::path(get, path = "/account/factors", operation_id = "getFactors", tag = "factors",
    responses((status = 200, description = "Passkeys, codes, and what is asked for", body = Factors), RefusedToRead),
    security(("session" = [])))]
async fn all(State(app): State<App>, InPerson(asker): InPerson) -> Result<Json<Factors>, ApiError> {
    Ok(Json(factors::all(&app, &asker).await?))
}

/// Begin to add a passkey
///
/// Takes a recent proof of who one is (`POST /session/step-up/…`).
#[utoipa::path(post, path = "/account/passkeys/begin", operation_id = "beginAddingPasskey", tag = "factors",
    responses((status = 200, description = "What the browser needs", body = Ceremony), Refused),
    security(("session" = [])))]
async fn begin_adding_passkey(
    State(app): State<App>,
    Confirmed(asker): Confirmed,
) -> Result<Json<Ceremony>, ApiError> {
    Ok(Json(factors::passkeys::begin_adding(&app, &asker).await?))
}

/// Add a passkey
#[utoipa::path(post, path = "/account/passkeys", operation_id = "addPasskey", tag = "factors",
    request_body = AddPasskey,
    responses((status = 201, description = "The passkey", body = Passkey), Refused),
    security(("session" = [])))]
async fn add_passkey(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
    Body(given): Body<AddPasskey>,
) -> Result<(StatusCode, Json<Passkey>), ApiError> {
    let passkey = factors::passkeys::add(&app, &browser, &asker, given, &origin).await?;
    Ok((StatusCode::CREATED, Json(passkey)))
}

/// Rename a passkey
#[utoipa::path(patch, path = "/account/passkeys/{passkey}", operation_id = "renamePasskey", tag = "factors",
    request_body = RenamePasskey, params(("passkey" = PasskeyId, Path, description = "The passkey's id")),
    responses((status = 204, description = "Renamed"), Refused), security(("session" = [])))]
async fn rename_passkey(
    State(app): State<App>,
    Origin(origin): Origin,
    InPerson(asker): InPerson,
    Segments(id): Segments<PasskeyId>,
    Body(given): Body<RenamePasskey>,
) -> Result<StatusCode, ApiError> {
    factors::passkeys::rename(&app, &asker, id, &given.name, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a passkey
///
/// Takes a recent proof of who one is. The last way in cannot be removed, nor
/// what an organisation or this instance asks for.
#[utoipa::path(delete, path = "/account/passkeys/{passkey}", operation_id = "removePasskey", tag = "factors",
    params(("passkey" = PasskeyId, Path, description = "The passkey's id")),
    responses((status = 204, description = "It works no more"), Refused), security(("session" = [])))]
async fn remove_passkey(
    State(app): State<App>,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
    Segments(id): Segments<PasskeyId>,
) -> Result<StatusCode, ApiError> {
    factors::passkeys::remove(&app, &asker, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to set up an app for one-time codes
///
/// Takes a recent proof of who one is. The secret is shown this once, and
/// counts when it is confirmed.
#[utoipa::path(post, path = "/account/codes", operation_id = "beginCodes", tag = "factors",
    responses((status = 201, description = "The secret", body = NewCodes), Refused),
    security(("session" = [])))]
async fn begin_codes(State(app): State<App>, Confirmed(asker): Confirmed) -> Result<Response, ApiError> {
    let codes = factors::codes::begin(&app, &asker).await?;
    Ok((StatusCode::CREATED, Secret::mark(), Json(codes)).into_response())
}

/// Confirm the app for one-time codes
#[utoipa::path(post, path = "/account/codes/confirm", operation_id = "confirmCodes", tag = "factors",
    request_body = Code,
    responses((status = 204, description = "From here on a code is asked for"), Refused),
    security(("session" = [])))]
async fn confirm_codes(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
    Body(given): Body<Code>,
) -> Result<StatusCode, ApiError> {
    factors::codes::confirm(&app, &browser, &asker, &given.code, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the app for one-time codes
///
/// Takes a recent proof of who one is.
#[utoipa::path(delete, path = "/account/codes", operation_id = "removeCodes", tag = "factors",
    responses((status = 204, description = "Its codes work no more"), Refused), security(("session" = [])))]
async fn remove_codes(
    State(app): State<App>,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
) -> Result<StatusCode, ApiError> {
    factors::codes::remove(&app, &asker, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make recovery codes
///
/// Takes a recent proof of who one is. Ten codes, shown this once; those before
/// work no more.
#[utoipa::path(post, path = "/account/recovery-codes", operation_id = "makeRecoveryCodes", tag = "factors",
    responses((status = 201, description = "The codes", body = RecoveryCodes), Refused),
    security(("session" = [])))]
async fn make_recovery_codes(
    State(app): State<App>,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
) -> Result<Response, ApiError> {
    let codes = factors::recovery::make(&app, &asker, &origin).await?;
    Ok((StatusCode::CREATED, Secret::mark(), Json(codes)).into_response())
}

/// How I can confirm that it is me
///
/// What matters takes a proof from the last ten minutes, as strong as the
/// person can give.
#[utoipa::path(get, path = "/session/step-up", operation_id = "getStepUp", tag = "factors",
    responses((status = 200, description = "What can be used", body = StepUp), RefusedToRead),
    security(("session" = [])))]
async fn ways(State(app): State<App>, InPerson(asker): InPerson) -> Result<Json<StepUp>, ApiError> {
    Ok(Json(step_up::ways(&app, &asker).await?))
}

/// Confirm it with the password
///
/// For those who have nothing stronger.
#[utoipa::path(post, path = "/session/step-up/password", operation_id = "stepUpWithPassword", tag = "factors",
    request_body = Password,
    responses((status = 204, description = "Confirmed"), Refused), security(("session" = [])))]
async fn step_up_password(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    InPerson(asker): InPerson,
    Body(given): Body<Password>,
) -> Result<StatusCode, ApiError> {
    step_up::password(&app, &browser, &asker, given.password, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Confirm it with a one-time code
#[utoipa::path(post, path = "/session/step-up/code", operation_id = "stepUpWithCode", tag = "factors",
    request_body = Code,
    responses((status = 204, description = "Confirmed"), Refused), security(("session" = [])))]
async fn step_up_code(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    InPerson(asker): InPerson,
    Body(given): Body<Code>,
) -> Result<StatusCode, ApiError> {
    step_up::code(&app, &browser, &asker, &given.code, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Confirm it with a recovery code
#[utoipa::path(post, path = "/session/step-up/recovery-code", operation_id = "stepUpWithRecoveryCode",
    tag = "factors", request_body = Code,
    responses((status = 204, description = "Confirmed"), Refused), security(("session" = [])))]
async fn step_up_recovery_code(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    InPerson(asker): InPerson,
    Body(given): Body<Code>,
) -> Result<StatusCode, ApiError> {
    step_up::recovery_code(&app, &browser, &asker, &given.code, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to confirm it with a passkey
#[utoipa::path(post, path = "/session/step-up/passkey/begin", operation_id = "beginStepUpWithPasskey",
    tag = "factors",
    responses((status = 200, description = "What the browser needs", body = Ceremony), Refused),
    security(("session" = [])))]
async fn step_up_passkey_begin(
    State(app): State<App>,
    InPerson(asker): InPerson,
) -> Result<Json<Ceremony>, ApiError> {
    Ok(Json(step_up::passkey_begin(&app, &asker).await?))
}

/// Confirm it with a passkey
#[utoipa::path(post, path = "/session/step-up/passkey", operation_id = "stepUpWithPasskey", tag = "factors",
    request_body = Assertion,
    responses((status = 204, description = "Confirmed"), Refused), security(("session" = [])))]
async fn step_up_passkey(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    InPerson(asker): InPerson,
    Body(given): Body<Assertion>,
) -> Result<StatusCode, ApiError> {
    step_up::passkey(&app, &browser, &asker, given, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show what this instance asks of everybody's sign-in
#[utoipa::path(get, path = "/instance/sign-in-policy", operation_id = "getSignInPolicy", tag = "factors",
    responses((status = 200, description = "The policy", body = SignInPolicy), RefusedToRead),
    security(("session" = [])))]
async fn instance_policy(
    State(app): State<App>,
    principal: Principal,
) -> Result<Json<SignInPolicy>, ApiError> {
    access::require(&principal, Action::AdministrateInstance, &Resource::Instance)?;
    Ok(Json(identity::instance_policy(&app).await?.into()))
}

/// Change what this instance asks of everybody's sign-in
///
/// Takes a recent proof of who one is.
#[utoipa::path(put, path = "/instance/sign-in-policy", operation_id = "setSignInPolicy", tag = "factors",
    request_body = SignInPolicy,
    responses((status = 200, description = "The policy", body = SignInPolicy), Refused),
    security(("session" = [])))]
async fn set_instance_policy(
    State(app): State<App>,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
    Body(wanted): Body<SignInPolicy>,
) -> Result<Json<SignInPolicy>, ApiError> {
    let principal = Principal::Session(asker.clone());
    access::require(&principal, Action::AdministrateInstance, &Resource::Instance)?;
    Ok(Json(identity::set_instance_policy(&app, &asker, wanted, &origin).await?.into()))
}

/// Show what an organisation asks of everybody's sign-in
#[utoipa::path(get, path = "/orgs/{org}/sign-in-policy", operation_id = "getOrgSignInPolicy",
    tag = "organisations", params(("org" = String, Path, description = "The organisation's name")),
    responses((status = 200, description = "The policy", body = SignInPolicy), RefusedToRead))]
async fn org_policy(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
) -> Result<Json<SignInPolicy>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ReadOrg).await?;
    Ok(Json(access.org.policy.into()))
}

/// Change what an organisation asks of everybody's sign-in
///
/// Takes a recent proof of who one is. Members who do not have it can do
/// nothing in this organisation when the days of grace are over.
#[utoipa::path(put, path = "/orgs/{org}/sign-in-policy", operation_id = "setOrgSignInPolicy",
    tag = "organisations", request_body = SignInPolicy,
    params(("org" = String, Path, description = "The organisation's name")),
    responses((status = 200, description = "The policy", body = SignInPolicy), Refused),
    security(("session" = [])))]
async fn set_org_policy(
    State(app): State<App>,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
    Segments(org): Segments<String>,
    Body(wanted): Body<SignInPolicy>,
) -> Result<Json<SignInPolicy>, ApiError> {
    let principal = Principal::Session(asker);
    let access = orgs::find_for(&app, &principal, &org, Action::UpdateOrg).await?;
    Ok(Json(orgs::set_policy(&app, access, wanted, &origin).await?.into()))
}
