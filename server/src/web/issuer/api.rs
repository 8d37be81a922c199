//! The API's part: what people decide, and what administrators do with keys.

use axum::{Json, extract::State, http::StatusCode};
use devenv_cloud_api::{
    issuer::{
        Authorization, DecideAuthorization, DecideDevice, DeviceLogin, Redirection, RotateKeys, SigningKey,
    },
    permissions::Action,
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::super::{
    ApiError,
    describe::{Refused, RefusedToRead},
    extract::{Body, InPerson, Origin, Params},
};
use crate::{
    access::{self, Resource},
    app::App,
    identity::Principal,
    issuer,
};

pub(in crate::web) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(device_login, decide_device))
        .routes(routes!(authorization, decide_authorization))
        .routes(routes!(list_keys, rotate_keys))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct UserCode {
    /// The code that the command line shows.
    user_code: String,
}

/// Show the login of a command line
///
/// The one that waits under the code. Codes that are none are counted: whoever
/// tries many must wait.
#[utoipa::path(get, path = "/device-login", operation_id = "getDeviceLogin", tag = "accounts", params(UserCode),
    responses((status = 200, description = "Who asks, from where", body = DeviceLogin), RefusedToRead),
    security(("session" = [])))]
async fn device_login(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Origin(origin): Origin,
    Params(UserCode { user_code }): Params<UserCode>,
) -> Result<Json<DeviceLogin>, ApiError> {
    Ok(Json(issuer::device_login(&app, &asker, &user_code, &origin).await?))
}

/// Allow or refuse the login of a command line
///
/// Allowing takes a recent proof of who one is.
#[utoipa::path(post, path = "/device-login", operation_id = "decideDeviceLogin", tag = "accounts",
    request_body = DecideDevice,
    responses((status = 204, description = "So it is"), Refused), security(("session" = [])))]
async fn decide_device(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Origin(origin): Origin,
    Body(word): Body<DecideDevice>,
) -> Result<StatusCode, ApiError> {
    issuer::decide_device(&app, &asker, &word.user_code, word.allow, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RequestKey {
    /// The request, from the address of the page.
    request: String,
}

/// Show what an application asks for
#[utoipa::path(get, path = "/authorization", operation_id = "getAuthorization", tag = "accounts",
    params(RequestKey),
    responses((status = 200, description = "Who asks for what", body = Authorization), RefusedToRead),
    security(("session" = [])))]
async fn authorization(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Params(RequestKey { request }): Params<RequestKey>,
) -> Result<Json<Authorization>, ApiError> {
    Ok(Json(issuer::authorization(&app, &asker, &request).await?))
}

/// Allow or refuse what an application asks for
///
/// Answers with the address to go to. Allowing a token for the API takes a
/// recent proof of who one is.
#[utoipa::path(post, path = "/authorization", operation_id = "decideAuthorization", tag = "accounts",
    request_body = DecideAuthorization,
    responses((status = 200, description = "Where to go", body = Redirection), Refused),
    security(("session" = [])))]
async fn decide_authorization(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Origin(origin): Origin,
    Body(word): Body<DecideAuthorization>,
) -> Result<Json<Redirection>, ApiError> {
    let redirect_to = issuer::decide_authorization(&app, &asker, &word.request, word.allow, &origin).await?;
    Ok(Json(Redirection { redirect_to }))
}

/// List the keys that sign
///
/// Those that are published: before they sign, while, and a day after.
#[utoipa::path(get, path = "/instance/signing-keys", operation_id = "listSigningKeys", tag = "accounts",
    responses((status = 200, description = "Keys", body = Vec<SigningKey>), RefusedToRead),
    security(("session" = [])))]
async fn list_keys(State(app): State<App>, principal: Principal) -> Result<Json<Vec<SigningKey>>, ApiError> {
    access::require(&principal, Action::AdministrateInstance, &Resource::Instance)?;
    Ok(Json(issuer::signing_keys(&app).await?))
}

/// Make a new key to sign with
///
/// Published now, signing from tomorrow. With `at_once` it signs now, and
/// nothing that an earlier key signed counts any more.
#[utoipa::path(post, path = "/instance/signing-keys", operation_id = "rotateSigningKeys", tag = "accounts",
    request_body = RotateKeys,
    responses((status = 200, description = "The keys now", body = Vec<SigningKey>), Refused),
    security(("session" = [])))]
async fn rotate_keys(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Body(wanted): Body<RotateKeys>,
) -> Result<Json<Vec<SigningKey>>, ApiError> {
    access::require(&principal, Action::AdministrateInstance, &Resource::Instance)?;
    let by = principal.user().ok_or(ApiError::Unauthenticated)?;
    Ok(Json(issuer::rotate_keys(&app, by, wanted.at_once, &origin).await?))
}
