//! Signing in and out with plain HTML forms, for when there is no JavaScript.
//! They do what the API does, and answer with a redirect.

use axum::{
    Form, Router,
    extract::{FromRequest, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use devenv_cloud_api::{
    accounts::{AuthMethod, Setup},
    factors::Code,
    sign_in::Identify,
};
use serde::{Deserialize, de::DeserializeOwned};
use tower_sessions::Session;

use super::{
    ApiError,
    extract::{Browser, InPerson, Origin},
    way::{self, Way},
};
use crate::{
    app::App,
    identity::{
        self, Beginning,
        arrival::{self, Arrival},
        step_up,
    },
    refusal::Refusal,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sign-in", post(sign_in))
        .route("/sign-in/password", post(password))
        .route("/sign-in/code", post(code))
        .route("/sign-in/recovery-code", post(recovery_code))
        .route("/sign-in/start-over", post(start_over))
        .route("/confirm/password", post(|a, b, c, d, e| confirm(Confirming::Password, a, b, c, d, e)))
        .route("/confirm/code", post(|a, b, c, d, e| confirm(Confirming::Code, a, b, c, d, e)))
        .route(
            "/confirm/recovery-code",
            post(|a, b, c, d, e| confirm(Confirming::RecoveryCode, a, b, c, d, e)),
        )
        .route("/sign-out", post(sign_out))
        .route("/setup", post(set_up))
}

#[derive(Deserialize)]
struct SignInForm {
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    return_to: String,
    /// Present if it is chosen.
    #[serde(default)]
    keep: String,
}

/// With whatever else password managers fill in.
#[derive(Deserialize)]
struct PasswordForm {
    password: String,
}

/// A form's fields. What is no such form is nothing that a person filled in.
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Fields<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let Form(fields) = Form::<T>::from_request(request, app)
            .await
            .map_err(|rejection| ApiError::Invalid(rejection.body_text()))?;
        Ok(Self(fields))
    }
}

/// With an address alone it begins; with a password too it is one step. Both
/// stand in one form, because password managers fill in both.
async fn sign_in(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Fields(form): Fields<SignInForm>,
) -> Response {
    let SignInForm { email, password, return_to, keep } = form;
    let return_to = own_path(&return_to).map(str::to_owned);
    let given = Identify { email, return_to: return_to.clone(), keep: !keep.is_empty() };
    let key = match arrival::identify(&app, way.key(), given, &origin).await {
        Ok(key) => key,
        Err(refusal) => return back("/sign-in", &refusal.into(), &[("return_to", return_to.as_deref())]),
    };
    if password.is_empty() {
        return ([way::set(&app, Some(&key))], see("/sign-in")).into_response();
    }
    let arrival = arrival::password(&app, &browser, &key, password, &origin).await;
    if arrival.is_err() {
        // As if nothing had been said: the form asks for both again.
        if let Err(refusal) = arrival::start_over(&app, &key).await {
            return back("/sign-in", &refusal.into(), &[]);
        }
    }
    step(&app, arrival, return_to.as_deref())
}

/// Where a step on the way in leads.
pub(super) fn step(app: &App, arrival: Result<Arrival, Refusal>, return_to: Option<&str>) -> Response {
    match arrival {
        Ok(Arrival::SignedIn { return_to, .. }) => {
            let path = return_to.as_deref().and_then(own_path).unwrap_or("/");
            ([way::set(app, None)], see(path)).into_response()
        }
        Ok(Arrival::More { key }) => ([way::set(app, Some(&key))], see("/sign-in")).into_response(),
        Ok(Arrival::Linked) => see("/account/security"),
        Err(refusal) => back("/sign-in", &refusal.into(), &[("return_to", return_to)]),
    }
}

async fn password(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Fields(form): Fields<PasswordForm>,
) -> Response {
    let Some(key) = way.key() else { return nothing_under_way() };
    step(&app, arrival::password(&app, &browser, key, form.password, &origin).await, None)
}

async fn code(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Fields(form): Fields<Code>,
) -> Response {
    let Some(key) = way.key() else { return nothing_under_way() };
    step(&app, arrival::code(&app, &browser, key, &form.code, &origin).await, None)
}

async fn recovery_code(
    State(app): State<App>,
    way: Way,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Fields(form): Fields<Code>,
) -> Response {
    let Some(key) = way.key() else { return nothing_under_way() };
    step(&app, arrival::recovery_code(&app, &browser, key, &form.code, &origin).await, None)
}

async fn start_over(State(app): State<App>, way: Way) -> Result<Response, ApiError> {
    if let Some(key) = way.key() {
        arrival::start_over(&app, key).await?;
    }
    Ok(([way::set(&app, None)], see("/sign-in")).into_response())
}

fn nothing_under_way() -> Response {
    see("/sign-in?problem=over")
}

/// A proof, and where to go with it.
#[derive(Deserialize)]
struct ConfirmForm {
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    return_to: String,
}

/// What somebody confirms it with.
#[derive(Clone, Copy, Debug)]
enum Confirming {
    Password,
    Code,
    RecoveryCode,
}

/// Confirms that it is them; whoever is signed out by now signs in instead.
async fn confirm(
    with: Confirming,
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    asker: Option<InPerson>,
    Fields(form): Fields<ConfirmForm>,
) -> Response {
    let ConfirmForm { password, code, return_to } = form;
    let return_to = own_path(&return_to);
    let Some(InPerson(asker)) = asker else {
        return back("/sign-in", &ApiError::Unauthenticated, &[("return_to", return_to)]);
    };
    let result = match with {
        Confirming::Password => step_up::password(&app, &browser, &asker, password, &origin).await,
        Confirming::Code => step_up::code(&app, &browser, &asker, &code, &origin).await,
        Confirming::RecoveryCode => step_up::recovery_code(&app, &browser, &asker, &code, &origin).await,
    };
    match result {
        Ok(()) => see(return_to.unwrap_or("/")),
        Err(refusal) => back("/confirm", &refusal.into(), &[("return_to", return_to)]),
    }
}

async fn sign_out(Browser(browser): Browser) -> Result<Response, ApiError> {
    end(&browser).await?;
    Ok(see("/sign-in"))
}

async fn set_up(
    State(app): State<App>,
    Browser(browser): Browser,
    Origin(origin): Origin,
    Fields(form): Fields<Setup>,
) -> Response {
    let token = form.token.clone();
    let result = async {
        let user = identity::set_up(&app, form, &origin).await?;
        let beginning = Beginning::with(vec![AuthMethod::Password]);
        identity::begin_session(&app, &browser, &user, beginning, &origin).await
    };
    match result.await {
        Ok(_) => see("/"),
        Err(refusal) => back("/setup", &refusal.into(), &[("token", Some(&token))]),
    }
}

/// Ends the browser's session, in the database too.
///
/// # Errors
/// When the database says no: then the session lives, and the person must know.
pub(super) async fn end(browser: &Session) -> Result<(), ApiError> {
    browser.flush().await.map_err(|e| ApiError::Internal(e.into()))
}

pub(super) fn see(path: &str) -> Response {
    match HeaderValue::from_str(path) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(e) => ApiError::Internal(e.into()).into_response(),
    }
}

/// Back to the form, with the kind of problem and what must not get lost. Never
/// with what was typed.
pub(super) fn back(path: &str, error: &ApiError, keep: &[(&str, Option<&str>)]) -> Response {
    if let ApiError::Internal(source) | ApiError::Unavailable(source) = error {
        tracing::error!(error = format!("{source:#}"), "request failed");
    }
    let problem = error.problem();
    let only_password = !problem.errors.is_empty() && problem.errors.iter().all(|e| e.field == "password");
    let kind = if only_password { "weak-password" } else { problem.kind.as_str() };
    let query: Vec<(&str, &str)> = [("problem", Some(kind))]
        .iter()
        .chain(keep)
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect();
    match serde_urlencoded::to_string(query) {
        Ok(query) => see(&format!("{path}?{query}")),
        Err(e) => ApiError::Internal(e.into()).into_response(),
    }
}

/// The path, if it leads nowhere but into this application: a sign-in page that
/// sends people elsewhere afterwards is a gift to impostors.
pub(super) fn own_path(path: &str) -> Option<&str> {
    let mut chars = path.chars();
    let own = chars.next() == Some('/')
        && !matches!(chars.next(), Some('/' | '\\'))
        // Browsers drop control characters, and read a backslash as a slash.
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.len() <= 2048
        && path.is_ascii();
    own.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn only_paths_of_our_own_are_returned_to() {
        for good in ["/", "/acme", "/acme/web/runs/42?tab=log#L1", "/a//b", "/?x=https://example.com"] {
            assert_eq!(own_path(good), Some(good));
        }
        for bad in [
            "",
            "acme",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a\\b",
            "/\t/evil.example",
            "/\n/evil.example",
            "javascript:alert(1)",
            " /",
            "/ü",
        ] {
            assert_eq!(own_path(bad), None, "{bad:?}");
        }
    }
}
