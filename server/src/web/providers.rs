//! Signing in with an account elsewhere: the browser's ways to a provider and
//! back, a provider's own way to end sessions, and the list of linked accounts.
//!
//! The pages here are what stands between two sites: they work without a script
//! and hold nothing but a sentence, a link or a form.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use devenv_cloud_api::{accounts::AuthMethod, ids::LinkId, page::Page, sign_in::LinkedAccount};
use devenv_cloud_frontend::context::Theme;
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError, assets,
    describe::{Refused, RefusedToRead},
    extract::{Browser, Confirmed, InPerson, Origin, Paging, Params, Segments},
    forms::{Fields, back, own_path, step},
    way::{self, Way},
};
use crate::{
    app::{App, AppParts},
    identity::{
        self, Principal, SessionPrincipal,
        arrival::{self, Arrival, Identity, Who},
        neighbourhood, step_up,
    },
    refusal::Refusal,
    sso::{self, Answer, Begin, Intent, Rejection, Returned},
};

pub(super) fn forms() -> Router<App> {
    Router::new()
        .route("/sign-in/provider/{provider}", post(begin))
        .route("/sign-in/provider/{provider}/callback", get(come_back).post(come_back_by_form))
        .route("/sign-in/provider/{provider}/logout", post(log_out))
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_links)).routes(routes!(unlink))
}

/// Whether a path is one that providers send browsers back to.
pub(super) fn is_callback(path: &str) -> bool {
    path.strip_prefix("/sign-in/provider/")
        .and_then(|rest| rest.strip_suffix("/callback"))
        .is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The cookie that binds what a browser begins to that browser.
struct Binding;

impl Binding {
    fn name(app: &AppParts) -> &'static str {
        if app.config.server.is_https() { "__Host-provider" } else { "provider" }
    }

    /// One of ours, by its form. What else is in it cannot be told.
    fn of(app: &AppParts, headers: &HeaderMap) -> Option<String> {
        way::cookie(headers, Self::name(app)).filter(|value| {
            value.len() == 43 && URL_SAFE_NO_PAD.decode(value).is_ok_and(|bytes| bytes.len() == 32)
        })
    }

    fn set(app: &AppParts, value: &str) -> (header::HeaderName, HeaderValue) {
        let secure = if app.config.server.is_https() { "; Secure" } else { "" };
        let name = Self::name(app);
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=1200{secure}");
        (header::SET_COOKIE, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("")))
    }
}

#[derive(Deserialize)]
struct BeginForm {
    #[serde(default)]
    return_to: String,
    /// Present if it is chosen.
    #[serde(default)]
    keep: String,
    /// Present to link the account there with one's own here.
    #[serde(default)]
    link: String,
}

/// Sends the browser to a provider.
async fn begin(
    State(app): State<App>,
    Path(provider): Path<String>,
    Origin(origin): Origin,
    headers: HeaderMap,
    asker: Option<InPerson>,
    Fields(form): Fields<BeginForm>,
) -> Response {
    let BeginForm { return_to, keep, link } = form;
    let intent = if link.is_empty() {
        Intent::SignIn { keep: !keep.is_empty() }
    } else {
        match asker.map(|InPerson(asker)| asker) {
            Some(asker) if step_up::is_fresh(&asker, app.clock.now()) => {
                Intent::Link { user: asker.user.id, session: asker.session }
            }
            Some(_) => return back("/account/security", &ApiError::StepUp, &[]),
            None => {
                return back(
                    "/sign-in",
                    &ApiError::Unauthenticated,
                    &[("return_to", Some("/account/security"))],
                );
            }
        }
    };
    if let Err(refusal) = app.identity.steps.take(&neighbourhood(origin.address)) {
        return back("/sign-in", &refusal.into(), &[("return_to", own_path(&return_to))]);
    }
    let binding = Binding::of(&app, &headers).unwrap_or_else(|| sso::new_binding(&app));
    let return_to = own_path(&return_to).map(str::to_owned);
    let begin = Begin { provider: &provider, intent, return_to, binding: &binding };
    match sso::begin(&app, begin).await {
        Ok(address) => ([Binding::set(&app, &binding)], leave(&headers, &address)).into_response(),
        Err(rejection) => say(&headers, rejection),
    }
}

/// Who comes back: with which sign-in, browser and address, and as whom so far.
type Visitor = (Way, Browser, Origin, Option<InPerson>);

async fn come_back(
    State(app): State<App>,
    Path(provider): Path<String>,
    (way, Browser(browser), Origin(origin), asker): Visitor,
    headers: HeaderMap,
    Params(answer): Params<Answer>,
) -> Response {
    let binding = Binding::of(&app, &headers);
    let result = sso::come_back(&app, &provider, answer, binding.as_deref(), &origin).await;
    let asker = asker.map(|InPerson(asker)| asker);
    let returned = match result {
        Ok(returned) => returned,
        Err(rejection) => return say(&headers, rejection),
    };
    match arrive(&app, &browser, &way, asker, returned, &origin).await {
        Err(refusal) => say(&headers, refusal.into()),
        arrival => step(&app, arrival, None),
    }
}

/// The same in a form. A browser that posts it from the provider's site keeps
/// our cookies back, as it should; so the form is posted once more, from a page
/// of ours. Once: a browser that has no cookie even then began nothing here.
async fn come_back_by_form(
    State(app): State<App>,
    Path(provider): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    Fields(mut fields): Fields<BTreeMap<String, String>>,
) -> Response {
    let again = fields.remove(AGAIN).is_some();
    if Binding::of(&app, &headers).is_none() && !again {
        return post_again(&app, &headers, &fields);
    }
    let answer = Answer {
        state: fields.remove("state"),
        code: fields.remove("code"),
        iss: fields.remove("iss"),
        error: fields.remove("error"),
        error_description: fields.remove("error_description"),
    };
    come_back(State(app), Path(provider), visitor, headers, Params(answer)).await
}

/// The field that says that a form is posted for the second time.
const AGAIN: &str = "again";

/// Goes on with somebody of whom a provider has said who they are there.
async fn arrive(
    app: &AppParts,
    browser: &tower_sessions::Session,
    way: &Way,
    asker: Option<SessionPrincipal>,
    returned: Returned,
    origin: &identity::Origin,
) -> Result<Arrival, Refusal> {
    let Returned { external, intent, return_to } = returned;
    let (key, intent) = match intent {
        Intent::SignIn { keep } => {
            let key = arrival::set_out(app, way.key(), return_to, keep).await?;
            (Some(key), arrival::Intent::SignIn)
        }
        Intent::Link { user, session } => {
            // Still the same person, in the session in which they asked for it.
            let asker = asker.filter(|asker| asker.user.id == user && asker.session == session);
            let asker = asker.ok_or(Refusal::Unauthenticated)?;
            step_up::require(&Principal::Session(asker), app.clock.now())?;
            (None, arrival::Intent::Link(user))
        }
    };
    let identity = Identity { who: Who::Elsewhere(external, intent), method: AuthMethod::Federated };
    arrival::arrive(app, browser, key.as_deref(), identity, origin).await
}

#[derive(Deserialize)]
struct LogoutForm {
    logout_token: String,
}

/// A provider ends sessions (OpenID Connect Back-Channel Logout §2.5–2.8).
async fn log_out(
    State(app): State<App>,
    Path(provider): Path<String>,
    Origin(origin): Origin,
    Fields(form): Fields<LogoutForm>,
) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    if let Err(refusal) = app.identity.steps.take(&neighbourhood(origin.address)) {
        return ApiError::from(refusal).into_response();
    }
    match sso::log_out(&app, &provider, &form.logout_token, &origin).await {
        Ok(_) => (StatusCode::OK, no_store).into_response(),
        Err(Rejection::Refused(refusal)) => ApiError::from(refusal).into_response(),
        Err(rejection) => {
            let body = serde_json::json!({
                "error": "invalid_request", "error_description": rejection.to_string(),
            });
            (StatusCode::BAD_REQUEST, no_store, Json(body)).into_response()
        }
    }
}

/// List my linked accounts
///
/// Accounts elsewhere with which I can sign in here, oldest first. To link one,
/// a browser posts the form `link=yes` to `/sign-in/provider/{name}`.
#[utoipa::path(get, path = "/account/links", operation_id = "listLinks", tag = "sign-in", params(Paging),
    responses((status = 200, description = "Linked accounts", body = Page<LinkedAccount>), RefusedToRead),
    security(("session" = [])))]
async fn list_links(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<LinkedAccount>>, ApiError> {
    let links = sso::links(&app, &asker, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(links, |link| link.id)?))
}

/// Remove a linked account
///
/// Takes a fresh proof of who I am. The last way in stays.
#[utoipa::path(delete, path = "/account/links/{link}", operation_id = "unlinkAccount", tag = "sign-in",
    params(("link" = LinkId, Path, description = "The link")),
    responses((status = 204, description = "Removed"), Refused), security(("session" = [])))]
async fn unlink(
    State(app): State<App>,
    Confirmed(asker): Confirmed,
    Origin(origin): Origin,
    Segments(link): Segments<LinkId>,
) -> Result<StatusCode, ApiError> {
    sso::unlink(&app, &asker, link, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page that sends the browser on. Not a redirect: browsers hold the answer to
/// a form to where the page with the form may send forms, and that is nowhere
/// but here.
fn leave(headers: &HeaderMap, address: &str) -> Response {
    let address = escape(address);
    let head = format!("<meta http-equiv=\"refresh\" content=\"0; url={address}\">");
    let body = format!("<h1>On to the sign-in…</h1><p><a href=\"{address}\">Go on</a></p>");
    page(headers, StatusCode::OK, "Signing in", &head, &body, None)
}

fn post_again(app: &AppParts, headers: &HeaderMap, fields: &BTreeMap<String, String>) -> Response {
    let nonce = URL_SAFE_NO_PAD.encode(app.random.bytes::<16>());
    let mut body = String::from("<h1>Signing in…</h1><form class=\"form\" method=\"post\">");
    for name in ["state", "code", "iss", "error", "error_description"] {
        if let Some(value) = fields.get(name) {
            body.push_str(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value)));
        }
    }
    body.push_str(&format!(
        "<input type=\"hidden\" name=\"{AGAIN}\" value=\"yes\"><div class=\"form-actions\">\
         <button class=\"button primary\">Go on</button></div></form>\
         <script nonce=\"{nonce}\">document.forms[0].submit();</script>"
    ));
    page(headers, StatusCode::OK, "Signing in", "", &body, Some(&nonce))
}

/// A page that says why it did not work.
fn say(headers: &HeaderMap, rejection: Rejection) -> Response {
    let words = rejection.to_string();
    let (status, words) = match rejection {
        Rejection::NoAnswer { .. } => (StatusCode::BAD_GATEWAY, words),
        Rejection::NotAllowed(_) => (StatusCode::FORBIDDEN, words),
        Rejection::Refused(refusal) => {
            let error = ApiError::from(refusal);
            let problem = error.problem();
            // Logs what is our own fault.
            let status = error.into_response().status();
            (status, problem.detail.unwrap_or(problem.title))
        }
        _ => (StatusCode::BAD_REQUEST, words),
    };
    let body = format!(
        "<h1>Signing in did not work</h1><p class=\"notice is-failure\" role=\"alert\">{}</p>\
         <p><a href=\"/sign-in\">Back to the sign-in page</a></p>",
        escape(&sentence(&words))
    );
    page(headers, status, "Signing in did not work", "", &body, None)
}

/// Beginning with a capital, ending with a full stop.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn page(
    headers: &HeaderMap,
    status: StatusCode,
    title: &str,
    head: &str,
    body: &str,
    nonce: Option<&str>,
) -> Response {
    let cookies = headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let theme = Theme::from_cookies(cookies);
    let (style, icon) = (assets::for_pages().style, assets::for_pages().icon);
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\" data-theme=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title} · devenv-cloud</title><link rel=\"stylesheet\" href=\"{style}\">\
         <link rel=\"icon\" type=\"image/svg+xml\" href=\"{icon}\">{head}</head>\
         <body><main class=\"door\">{body}</main></body></html>",
        theme.as_str()
    );
    let script = nonce.map(|nonce| format!(" script-src 'nonce-{nonce}';")).unwrap_or_default();
    let policy = format!(
        "default-src 'none';{script} style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    );
    let mut response = (status, axum::response::Html(html)).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_callbacks_themselves_are_free_of_the_check_of_where_forms_come_from() {
        assert!(is_callback("/sign-in/provider/corp/callback"));
        for other in [
            "/sign-in/provider/corp",
            "/sign-in/provider//callback",
            "/sign-in/provider/a/b/callback",
            "/sign-in/provider/corp/logout",
            "/sign-in/provider/corp/callback/",
            "/api/v1/session",
        ] {
            assert!(!is_callback(other), "{other}");
        }
    }
}
