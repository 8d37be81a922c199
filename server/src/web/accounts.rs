//! Set-up, signing in and out, and one's own account.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use devenv_cloud_api::{
    accounts::{
        AuthMethod, ChangePassword, CreateToken, NewToken, Session, Setup, SetupState, Token, UpdateAccount,
        User, Viewer,
    },
    ids::{SessionId, TokenId},
    page::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToRead, RefusedToSignIn},
    extract::{Body, Browser, Confirmed, InPerson, OpenBody, Origin, Paging, Segments},
    idempotency::Secret,
};
use crate::{
    app::App,
    identity::{self, Beginning, Principal},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(setup_state, set_up))
        .routes(routes!(viewer, sign_out))
        .routes(routes!(update_account))
        .routes(routes!(change_password))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
        .routes(routes!(list_sessions, end_other_sessions))
        .routes(routes!(end_session))
}

/// Whether the instance waits for its first user
///
/// Until then, nothing else can be done with it.
#[utoipa::path(get, path = "/setup", operation_id = "getSetup", tag = "accounts",
    responses((status = 200, description = "The state of the set-up", body = SetupState)), security(()))]
async fn setup_state(State(app): State<App>) -> Result<Json<SetupState>, ApiError> {
    Ok(Json(SetupState { needed: identity::is_needed(&app).await? }))
}

/// Create the first user
///
/// They administrate the instance, and are signed in. Takes the token of the
/// link that the server printed when it started; it works once.
#[utoipa::path(post, path = "/setup", operation_id = "setUp", tag = "accounts", request_body = Setup,
    responses((status = 201, description = "The first user, signed in", body = Viewer), RefusedToSignIn),
    security(()))]
async fn set_up(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    OpenBody(setup): OpenBody<Setup>,
) -> Result<(StatusCode, Json<Viewer>), ApiError> {
    let user = identity::set_up(&app, setup, &origin).await?;
    let beginning = Beginning::with(vec![AuthMethod::Password]);
    let principal = identity::begin_session(&app, &browser, &user, beginning, &origin).await?;
    Ok((StatusCode::CREATED, Json(show_viewer(&app, &Principal::Session(principal)).await?)))
}

/// Who am I
///
/// The person who is signed in, or for whom the token acts.
#[utoipa::path(get, path = "/session", operation_id = "getSession", tag = "accounts",
    responses((status = 200, description = "The one who asks", body = Viewer), RefusedToRead))]
async fn viewer(State(app): State<App>, principal: Principal) -> Result<Json<Viewer>, ApiError> {
    Ok(Json(show_viewer(&app, &principal).await?))
}

pub(super) async fn show_viewer(app: &App, principal: &Principal) -> Result<Viewer, ApiError> {
    identity::viewer(app, principal).await?.ok_or(ApiError::Unauthenticated)
}

/// Sign out
///
/// Signed out already is fine.
#[utoipa::path(delete, path = "/session", operation_id = "signOut", tag = "accounts",
    responses((status = 204, description = "Signed out")), security(()))]
async fn sign_out(Browser(browser): Browser) -> Result<StatusCode, ApiError> {
    super::forms::end(&browser).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change my account
#[utoipa::path(patch, path = "/account", operation_id = "updateAccount", tag = "accounts",
    request_body = UpdateAccount,
    responses((status = 200, description = "The account as it is now", body = User), Refused),
    security(("session" = [])))]
async fn update_account(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Body(change): Body<UpdateAccount>,
) -> Result<Json<User>, ApiError> {
    let user = match change.name {
        Some(name) => identity::rename(&app, &asker, &name).await?,
        None => asker.user,
    };
    Ok(Json(user.into()))
}

/// Change my password
///
/// Ends all other sessions. Tokens go on working; revoke them one by one.
#[utoipa::path(post, path = "/account/password", operation_id = "changePassword", tag = "accounts",
    request_body = ChangePassword,
    responses((status = 204, description = "Changed"), Refused), security(("session" = [])))]
async fn change_password(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    InPerson(asker): InPerson,
    Body(change): Body<ChangePassword>,
) -> Result<StatusCode, ApiError> {
    identity::change_password(&app, &browser, &asker, change, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List my tokens
///
/// Those that work, newest first.
#[utoipa::path(get, path = "/account/tokens", operation_id = "listTokens", tag = "accounts", params(Paging),
    responses((status = 200, description = "Tokens", body = Page<Token>), RefusedToRead),
    security(("session" = [])))]
async fn list_tokens(
    State(app): State<App>,
    InPerson(asker): InPerson,
    super::extract::Params(paging): super::extract::Params<Paging>,
) -> Result<Json<Page<Token>>, ApiError> {
    let tokens = identity::tokens(&app, asker.user.id, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(tokens, |token| token.id)?))
}

/// Create a token
///
/// The answer holds its secret, which is shown this once. With an
/// `Idempotency-Key`, a repeated request creates nothing and is answered with
/// 409, because the secret is not kept.
#[utoipa::path(post, path = "/account/tokens", operation_id = "createToken", tag = "accounts",
    request_body = CreateToken,
    responses((status = 201, description = "The token with its secret", body = NewToken), Refused),
    security(("session" = [])))]
async fn create_token(
    State(app): State<App>,
    Confirmed(asker): Confirmed,
    Origin(origin): Origin,
    Body(wanted): Body<CreateToken>,
) -> Result<Response, ApiError> {
    let token = identity::create_token(&app, &asker.user, None, wanted, &origin).await?;
    Ok((StatusCode::CREATED, Secret::mark(), Json(token)).into_response())
}

/// Revoke a token
#[utoipa::path(delete, path = "/account/tokens/{token}", operation_id = "revokeToken", tag = "accounts",
    params(("token" = TokenId, Path, description = "The token's id")),
    responses((status = 204, description = "It does not work any more"), Refused),
    security(("session" = [])))]
async fn revoke_token(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Origin(origin): Origin,
    Segments(token): Segments<TokenId>,
) -> Result<StatusCode, ApiError> {
    if identity::revoke_token(&app, &asker.user, token, &origin).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound)
    }
}

/// List my sessions
///
/// The browsers in which I am signed in, newest first.
#[utoipa::path(get, path = "/account/sessions", operation_id = "listSessions", tag = "accounts",
    params(Paging),
    responses((status = 200, description = "Sessions", body = Page<Session>), RefusedToRead),
    security(("session" = [])))]
async fn list_sessions(
    State(app): State<App>,
    InPerson(asker): InPerson,
    super::extract::Params(paging): super::extract::Params<Paging>,
) -> Result<Json<Page<Session>>, ApiError> {
    let sessions = identity::sessions(&app, &asker, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(sessions, |session| session.id)?))
}

/// End one of my sessions
#[utoipa::path(delete, path = "/account/sessions/{session}", operation_id = "endSession", tag = "accounts",
    params(("session" = SessionId, Path, description = "The session's id")),
    responses((status = 204, description = "That browser is signed out"), Refused),
    security(("session" = [])))]
async fn end_session(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Origin(origin): Origin,
    Segments(session): Segments<SessionId>,
) -> Result<StatusCode, ApiError> {
    if identity::end_session(&app, &asker.user, session, &origin).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound)
    }
}

/// End all my other sessions
#[utoipa::path(delete, path = "/account/sessions", operation_id = "endOtherSessions", tag = "accounts",
    responses((status = 204, description = "All other browsers are signed out"), Refused),
    security(("session" = [])))]
async fn end_other_sessions(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Origin(origin): Origin,
) -> Result<StatusCode, ApiError> {
    identity::end_other_sessions(&app, &asker, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
