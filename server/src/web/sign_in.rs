//! The way in, step by step.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use devenv_cloud_api::{
    accounts::{SignIn, Viewer},
    factors::{Assertion, Ceremony, Code, Password},
    sign_in::{Identify, SignInState, SignInStep},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    accounts::show_viewer,
    describe::RefusedToSignIn,
    extract::{Browser, OpenBody, Origin},
    way::{self, Way},
};
use crate::{
    app::App,
    identity::{
        Principal,
        arrival::{self, Arrival},
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign_in))
        .routes(routes!(state, start_over))
        .routes(routes!(identify))
        .routes(routes!(password))
        .routes(routes!(code))
        .routes(routes!(recovery_code))
        .routes(routes!(passkey_begin))
        .routes(routes!(passkey))
}

/// Sign in
///
/// With an e-mail address and a password at once. Answers with a session
/// cookie. An unknown address and a wrong password get the same answer. Where
/// the account has a second factor, the answer is a problem of the type
/// `second-factor`: go on with `POST /sign-in/code` and the cookie that came with it.
#[utoipa::path(post, path = "/session", operation_id = "signIn", tag = "sign-in", request_body = SignIn,
    responses((status = 200, description = "Signed in", body = Viewer), RefusedToSignIn), security(()))]
async fn sign_in(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<SignIn>,
) -> Result<Response, ApiError> {
    match arrival::sign_in(&app, &browser, given, &origin).await? {
        Arrival::SignedIn { principal, .. } => {
            Ok(Json(show_viewer(&app, &Principal::Session(*principal)).await?).into_response())
        }
        Arrival::More { key } => Ok(([way::set(&app, Some(&key))], ApiError::SecondFactor).into_response()),
        Arrival::Linked => Err(ApiError::NotFound),
    }
}

/// How far the sign-in has come
///
/// The browser's sign-in is known by a cookie, and good for ten minutes. What
/// can be used is the same for every address until a first proof is right.
#[utoipa::path(get, path = "/sign-in", operation_id = "getSignIn", tag = "sign-in",
    responses((status = 200, description = "What comes next", body = SignInState)), security(()))]
async fn state(State(app): State<App>, way: Way) -> Result<Json<SignInState>, ApiError> {
    Ok(Json(arrival::state(&app, way.key()).await?))
}

/// Begin the sign-in anew
#[utoipa::path(delete, path = "/sign-in", operation_id = "startSignInOver", tag = "sign-in",
    responses((status = 204, description = "Forgotten")), security(()))]
async fn start_over(State(app): State<App>, way: Way) -> Result<Response, ApiError> {
    if let Some(key) = way.key() {
        arrival::start_over(&app, key).await?;
    }
    Ok((StatusCode::NO_CONTENT, [way::set(&app, None)]).into_response())
}

/// Say who I am
///
/// Begins a sign-in with an e-mail address. It is answered alike for every address.
#[utoipa::path(post, path = "/sign-in/identify", operation_id = "identify", tag = "sign-in",
    request_body = Identify,
    responses((status = 200, description = "What comes next", body = SignInState), RefusedToSignIn),
    security(()))]
async fn identify(
    State(app): State<App>,
    way: Way,
    Origin(origin): Origin,
    OpenBody(mut given): OpenBody<Identify>,
) -> Result<Response, ApiError> {
    given.return_to = given.return_to.filter(|path| super::forms::own_path(path).is_some());
    let key = arrival::identify(&app, way.key(), given, &origin).await?;
    more(&app, &key).await
}

async fn more(app: &App, key: &str) -> Result<Response, ApiError> {
    let state = arrival::state(app, Some(key)).await?;
    Ok(([way::set(app, Some(key))], Json(state)).into_response())
}

/// The key of the sign-in that is under way.
///
/// # Errors
/// When there is none.
pub(super) fn under_way(way: &Way) -> Result<&str, ApiError> {
    way.key().ok_or_else(|| {
        ApiError::Unproven(
            "no sign-in is under way in this browser, or it took too long; begin anew".to_owned(),
        )
    })
}

async fn answer(app: &App, arrival: Arrival) -> Result<Response, ApiError> {
    match arrival {
        Arrival::SignedIn { return_to, .. } => {
            let mut state = arrival::state(app, None).await?;
            state.step = SignInStep::Done;
            state.methods.clear();
            state.return_to = return_to;
            Ok(([way::set(app, None)], Json(state)).into_response())
        }
        Arrival::More { key } => more(app, &key).await,
        Arrival::Linked => Err(ApiError::NotFound),
    }
}

/// Prove it with the password
#[utoipa::path(post, path = "/sign-in/password", operation_id = "signInWithPassword", tag = "sign-in",
    request_body = Password,
    responses((status = 200, description = "What comes next", body = SignInState), RefusedToSignIn),
    security(()))]
async fn password(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<Password>,
) -> Result<Response, ApiError> {
    let arrival = arrival::password(&app, &browser, under_way(&way)?, given.password, &origin).await?;
    answer(&app, arrival).await
}

/// Prove it with a one-time code, too
#[utoipa::path(post, path = "/sign-in/code", operation_id = "signInWithCode", tag = "sign-in",
    request_body = Code,
    responses((status = 200, description = "What comes next", body = SignInState), RefusedToSignIn),
    security(()))]
async fn code(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<Code>,
) -> Result<Response, ApiError> {
    let arrival = arrival::code(&app, &browser, under_way(&way)?, &given.code, &origin).await?;
    answer(&app, arrival).await
}

/// Prove it with a recovery code, too
///
/// It is used up.
#[utoipa::path(post, path = "/sign-in/recovery-code", operation_id = "signInWithRecoveryCode",
    tag = "sign-in", request_body = Code,
    responses((status = 200, description = "What comes next", body = SignInState), RefusedToSignIn),
    security(()))]
async fn recovery_code(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<Code>,
) -> Result<Response, ApiError> {
    let arrival = arrival::recovery_code(&app, &browser, under_way(&way)?, &given.code, &origin).await?;
    answer(&app, arrival).await
}

/// Begin to prove it with a passkey
///
/// Nothing needs to be said before: the passkey says whose it is.
#[utoipa::path(post, path = "/sign-in/passkey/begin", operation_id = "beginSignInWithPasskey",
    tag = "sign-in",
    responses((status = 200, description = "What the browser needs", body = Ceremony), RefusedToSignIn),
    security(()))]
async fn passkey_begin(
    State(app): State<App>,
    way: Way,
    Origin(origin): Origin,
) -> Result<Json<Ceremony>, ApiError> {
    Ok(Json(arrival::passkey_begin(&app, way.key(), &origin).await?))
}

/// Prove it with a passkey
#[utoipa::path(post, path = "/sign-in/passkey", operation_id = "signInWithPasskey", tag = "sign-in",
    request_body = Assertion,
    responses((status = 200, description = "What comes next", body = SignInState), RefusedToSignIn),
    security(()))]
async fn passkey(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<Assertion>,
) -> Result<Response, ApiError> {
    let arrival = arrival::passkey(&app, &browser, way.key(), given, &origin).await?;
    answer(&app, arrival).await
}
