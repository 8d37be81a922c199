//! Resets, confirmations and invitations with plain HTML forms: a mail is read
//! on any device, with or without a script.

use axum::{Router, extract::State, response::Response, routing::post};
use devenv_cloud_api::people::{AcceptInvitation, AskReset, LinkToken, ResetPassword};
use serde::Deserialize;

use super::{
    extract::{InPerson, Origin},
    forms::{Fields, back, see},
};
use crate::{app::App, people};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/reset", post(reset))
        .route("/verify-email", post(verify_email))
        .route("/invitation", post(accept))
}

/// Without a token it asks for a link; with one it sets the password.
#[derive(Deserialize)]
struct ResetForm {
    #[serde(default)]
    email: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    password: String,
}

async fn reset(State(app): State<App>, Origin(origin): Origin, Fields(form): Fields<ResetForm>) -> Response {
    let ResetForm { email, token, password } = form;
    if token.is_empty() {
        return match people::ask_reset(&app, AskReset { email }, &origin).await {
            Ok(()) => see("/reset?sent=1"),
            Err(refusal) => back("/reset", &refusal.into(), &[]),
        };
    }
    match people::reset(&app, ResetPassword { token: token.clone(), password }, &origin).await {
        Ok(()) => see("/reset?done=1"),
        Err(refusal) => back("/reset", &refusal.into(), &[("token", Some(&token))]),
    }
}

async fn verify_email(
    State(app): State<App>,
    Origin(origin): Origin,
    Fields(form): Fields<LinkToken>,
) -> Response {
    match people::confirm(&app, form, &origin).await {
        Ok(_) => see("/verify-email?done=1"),
        Err(refusal) => back("/verify-email", &refusal.into(), &[]),
    }
}

async fn accept(
    State(app): State<App>,
    asker: Option<InPerson>,
    Origin(origin): Origin,
    Fields(form): Fields<AcceptInvitation>,
) -> Response {
    let token = form.token.clone();
    let asker = asker.map(|InPerson(session)| session.user);
    match people::accept(&app, form, asker, &origin).await {
        Ok(accepted) if accepted.created => see("/invitation?done=1"),
        Ok(accepted) => see(&accepted.org.map_or_else(|| "/".to_owned(), |org| format!("/{org}"))),
        Err(refusal) => back("/invitation", &refusal.into(), &[("token", Some(&token))]),
    }
}
