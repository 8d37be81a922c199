//! The git remote, `/<organisation>/<project>.git`, for any git (smart HTTP,
//! gitprotocol-http(5)).
//!
//! Git's own clients know basic authentication, so here, and only here, a token
//! may come as the password. Cookies count for nothing: what a browser sends by
//! itself must not be able to push.

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use devenv_cloud_api::permissions::Action;
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    app::App,
    disk::DiskFull,
    forge::{
        Pusher, Repository,
        backend::{self, Answer, BackendError, Receiving},
    },
    identity::{self, Principal},
    projects::{self, ProjectAccess},
    refusal::Refusal,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/{org}/{project}/info/refs", get(info_refs))
        .route("/{org}/{project}/git-upload-pack", post(upload_pack))
        .route("/{org}/{project}/git-receive-pack", post(receive_pack))
}

/// A no, in a sentence that git shows behind `remote: `.
#[derive(Debug)]
struct No(StatusCode, String);

impl No {
    fn unauthenticated(why: &str) -> Self {
        Self(StatusCode::UNAUTHORIZED, why.to_owned())
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let mut response = (self.0, format!("{}\n", self.1)).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Basic realm=\"devenv-cloud\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated => Self::unauthenticated("sign in with a token as the password"),
            Refusal::Forbidden(why) => Self(StatusCode::FORBIDDEN, why),
            Refusal::NotFound => Self(
                StatusCode::NOT_FOUND,
                "there is no such repository, or this token may not see it".to_owned(),
            ),
            other => {
                tracing::error!(error = %other, "git request failed");
                Self(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the server cannot answer at the moment; try again in a minute".to_owned(),
                )
            }
        }
    }
}

impl From<DiskFull> for No {
    fn from(full: DiskFull) -> Self {
        Self(StatusCode::INSUFFICIENT_STORAGE, full.to_string())
    }
}

impl From<BackendError> for No {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::NoPush(error) => Self(StatusCode::BAD_REQUEST, error.to_string()),
            BackendError::ClientGone => Self(StatusCode::REQUEST_TIMEOUT, error.to_string()),
            BackendError::Forge(_) | BackendError::NoAnswer(_) => {
                tracing::error!(%error, "git request failed");
                Self(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "something went wrong on the server; it has been logged".to_owned(),
                )
            }
        }
    }
}

/// The token of a request: basic authentication with the token as the password
/// (or as the name, with no password), or a bearer token.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    let token = if password.is_empty() { name } else { password };
    (!token.is_empty()).then(|| token.to_owned())
}

async fn find(
    app: &App,
    headers: &HeaderMap,
    (org, project): &(String, String),
    action: Action,
) -> Result<ProjectAccess, No> {
    let token = token(headers)
        .ok_or_else(|| No::unauthenticated("sign in with a token as the password (account → tokens)"))?;
    let principal: Option<Principal> =
        identity::authenticate_token(app, &token).await.map_err(|error| No::from(Refusal::Db(error)))?;
    let principal = principal.ok_or_else(|| {
        No::unauthenticated("this token does not work: it may have expired or been revoked")
    })?;
    let project = project.strip_suffix(".git").unwrap_or(project);
    Ok(projects::find_for(app, &principal, org, project, action).await?)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn request(headers: &HeaderMap, method: &'static str, path: &'static str, query: String) -> backend::Request {
    backend::Request {
        method,
        path,
        query,
        content_type: text(headers, "content-type"),
        content_encoding: text(headers, "content-encoding"),
        protocol: text(headers, "git-protocol"),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = Body::from_stream(ReceiverStream::new(self.body));
        (self.status, self.headers, body).into_response()
    }
}

#[derive(Debug, Deserialize)]
struct Service {
    service: Option<String>,
}

/// What refs there are, and what the server can do.
async fn info_refs(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
    Query(Service { service }): Query<Service>,
    headers: HeaderMap,
) -> Result<Answer, No> {
    let (service, action) = match service.as_deref() {
        Some("git-upload-pack") => ("git-upload-pack", Action::ReadProject),
        Some("git-receive-pack") => ("git-receive-pack", Action::PushSource),
        _ => {
            let why = "only the smart protocol is spoken here; use git 1.6.6 or newer".to_owned();
            return Err(No(StatusCode::FORBIDDEN, why));
        }
    };
    let access = find(&app, &headers, &path, action).await?;
    if action == Action::PushSource {
        app.disk_reserve().check()?;
    }
    let request = request(&headers, "GET", "info/refs", format!("service={service}"));
    let repository = Repository::of(&app, access.project.id);
    let nothing = futures::stream::empty::<Result<bytes::Bytes, axum::Error>>();
    Ok(backend::fetch(&repository, &request, nothing).await?)
}

/// A fetch.
async fn upload_pack(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
    http: Request,
) -> Result<Answer, No> {
    let access = find(&app, http.headers(), &path, Action::ReadProject).await?;
    let request = request(http.headers(), "POST", "git-upload-pack", String::new());
    let repository = Repository::of(&app, access.project.id);
    Ok(backend::fetch(&repository, &request, http.into_body().into_data_stream()).await?)
}

/// A push.
async fn receive_pack(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
    http: Request,
) -> Result<Answer, No> {
    let access = find(&app, http.headers(), &path, Action::PushSource).await?;
    app.disk_reserve().check()?;
    let request = request(http.headers(), "POST", "git-receive-pack", String::new());
    if request.content_encoding.as_deref().is_some_and(|encoding| encoding != "identity") {
        let why = "a push is sent as it is, not compressed once more; packs are compressed already";
        return Err(No(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    let user = access.user();
    let receiving = Receiving {
        project: access.project.id,
        settings_url: app.url(&format!("/{}/settings/triggers", access.full_name())),
        pusher: Pusher {
            name: user.map_or_else(|| "somebody".to_owned(), |user| user.name.clone()),
            user: user.map(|user| user.id),
            options: Vec::new(),
            refs: Vec::new(),
        },
        settings: access.project.settings.clone(),
    };
    let body = http.into_body().into_data_stream();
    Ok(backend::receive(app, receiving, &request, body).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_git_puts_it() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, token_is) in [
            (basic("ada:dvc_x"), Some("dvc_x")),
            (basic(":dvc_x"), Some("dvc_x")),
            (basic("dvc_x:"), Some("dvc_x")),
            (basic("a:b:c"), Some("b:c")),
            ("Bearer dvc_x".to_owned(), Some("dvc_x")),
            ("bearer dvc_x".to_owned(), Some("dvc_x")),
            (basic(":"), None),
            ("Basic !!!".to_owned(), None),
            ("Digest x".to_owned(), None),
            ("Basic".to_owned(), None),
        ] {
            let headers = [(header::AUTHORIZATION, value.parse().expect("a value"))].into_iter().collect();
            assert_eq!(token(&headers).as_deref(), token_is, "{value}");
        }
    }
}
