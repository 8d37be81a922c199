//! What people send from the issuer's pages, as plain HTML forms, and the door
//! through which applications send them here.

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::super::{
    ApiError,
    extract::{InPerson, Origin},
    forms::{Fields, back, see},
};
use crate::{
    app::App,
    issuer::{self, AuthorizeParams, Step},
};

pub(in crate::web) fn routes() -> Router<App> {
    Router::new()
        .route("/device", post(device))
        .route("/oauth/authorize", get(authorize))
        .route("/oauth/consent", post(consent))
}

/// What stands on the button that was pressed.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Deny,
}

#[derive(Deserialize)]
struct DeviceForm {
    user_code: String,
    word: Word,
}

async fn device(
    State(app): State<App>,
    asker: Result<InPerson, ApiError>,
    Origin(origin): Origin,
    Fields(form): Fields<DeviceForm>,
) -> Response {
    let allow = form.word == Word::Allow;
    let result = async {
        let InPerson(asker) = asker?;
        Ok::<_, ApiError>(issuer::decide_device(&app, &asker, &form.user_code, allow, &origin).await?)
    };
    match result.await {
        Ok(()) => see(if allow { "/device?done=allowed" } else { "/device?done=denied" }),
        // Its page says what to do: sign in, or type the code again.
        Err(ApiError::Unauthenticated | ApiError::NotFound) => match query(&[("user_code", &form.user_code)])
        {
            Ok(query) => see(&format!("/device?{query}")),
            Err(error) => error.into_response(),
        },
        Err(ApiError::StepUp) => match query(&[("user_code", &form.user_code)]) {
            Ok(query) => prove_again(&format!("/device?{query}")),
            Err(error) => error.into_response(),
        },
        Err(ApiError::MustEnrol) => see("/account/security"),
        Err(error) => back("/device", &error, &[]),
    }
}

/// They prove once more who they are, and come back.
fn prove_again(page: &str) -> Response {
    match query(&[("return_to", page)]) {
        Ok(query) => see(&format!("/confirm?{query}")),
        Err(error) => error.into_response(),
    }
}

fn query(pairs: &[(&str, &str)]) -> Result<String, ApiError> {
    serde_urlencoded::to_string(pairs).map_err(|e| ApiError::Internal(e.into()))
}

async fn authorize(
    State(app): State<App>,
    asker: Option<InPerson>,
    Origin(origin): Origin,
    params: Result<Query<AuthorizeParams>, QueryRejection>,
) -> Result<Response, ApiError> {
    // A parameter that is there twice could be read in two ways.
    let Ok(Query(params)) = params else { return Ok(see("/oauth/consent?problem=twice")) };
    let session = asker.map(|InPerson(session)| session);
    Ok(match issuer::authorize(&app, params, session.as_ref(), &origin).await? {
        Ok(Step::Ask(key)) => see(&format!("/oauth/consent?{}", query(&[("request", &key)])?)),
        Ok(Step::Return(to)) => leave(see(&to)),
        Err(untrusted) => see(&format!("/oauth/consent?problem={}", untrusted.as_str())),
    })
}

#[derive(Deserialize)]
struct ConsentForm {
    request: String,
    word: Word,
}

async fn consent(
    State(app): State<App>,
    asker: Result<InPerson, ApiError>,
    Origin(origin): Origin,
    Fields(form): Fields<ConsentForm>,
) -> Result<Response, ApiError> {
    let page = format!("/oauth/consent?{}", query(&[("request", &form.request)])?);
    let allow = form.word == Word::Allow;
    let result = async {
        let InPerson(asker) = asker?;
        Ok::<_, ApiError>(issuer::decide_authorization(&app, &asker, &form.request, allow, &origin).await?)
    };
    match result.await {
        Ok(to) => Ok(leave(onward(&to))),
        // Its page says what to do: sign in, perhaps once more, or begin anew.
        Err(ApiError::Unauthenticated | ApiError::NotFound | ApiError::Conflict(_)) => Ok(see(&page)),
        Err(ApiError::StepUp) => Ok(prove_again(&page)),
        Err(ApiError::MustEnrol) => Ok(see("/account/security")),
        Err(error) => Err(error),
    }
}

/// The address holds a code: nobody whom the browser asks next is told.
fn leave(mut response: Response) -> Response {
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page that goes on by itself. No redirect: the policy of our pages forbids
/// forms to lead anywhere but here, and browsers follow that through redirects.
fn onward(to: &str) -> Response {
    let mut address = String::with_capacity(to.len());
    for c in to.chars() {
        match c {
            '&' => address.push_str("&amp;"),
            '"' => address.push_str("&quot;"),
            '\'' => address.push_str("&#39;"),
            '<' => address.push_str("&lt;"),
            '>' => address.push_str("&gt;"),
            c => address.push(c),
        }
    }
    Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Going back</title>\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"refresh\" content=\"0;url={address}\"></head>\
         <body><p><a href=\"{address}\">Continue</a></p></body></html>"
    ))
    .into_response()
}
