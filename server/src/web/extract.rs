//! What routes take out of a request, with our own errors when it is not there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    Json,
    extract::{ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use devenv_cloud_api::{
    ids::{RunnerId, UserId},
    page::Page,
    permissions::Action,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tower_sessions::Session;
use utoipa::IntoParams;
use uuid::Uuid;

use super::ApiError;
use crate::{
    access::{self, Resource},
    app::{App, AppParts},
    identity::{self, Principal, RunnerPrincipal, SessionPrincipal, step_up},
    runners,
};

/// Who asks. A token, if one is given, else the browser's session, else nobody.
/// A token that does not work is an error even where nobody would do: whoever
/// sends one wants it used.
impl FromRequestParts<App> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let principal = match bearer(&parts.headers) {
            Some(credential) if credential.starts_with(runners::CREDENTIAL_PREFIX) => {
                Self::Runner(runners::authenticate(app, credential).await?)
            }
            Some(token) => {
                identity::authenticate_token(app, token).await?.ok_or(ApiError::Unauthenticated)?
            }
            None => match parts.extensions.get::<Session>().and_then(Session::id) {
                Some(id) => identity::authenticate_session(app, id).await?,
                None => Self::Anonymous,
            },
        };
        parts.extensions.insert(principal.clone());
        Ok(principal)
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Somebody who is there in person and may manage their own account.
#[derive(Clone, Debug)]
pub struct InPerson(pub SessionPrincipal);

impl FromRequestParts<App> for InPerson {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = <Principal as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        let user: Option<UserId> = principal.user_id();
        let account = Resource::Account { user: user.ok_or(ApiError::Unauthenticated)? };
        access::require(&principal, Action::ManageOwnAccount, &account)?;
        match principal {
            Principal::Session(session) => Ok(Self(session)),
            Principal::Token(_) | Principal::Runner(_) | Principal::Anonymous => {
                Err(ApiError::Unauthenticated)
            }
        }
    }
}

/// Somebody who is there in person and has just proved who they are, as
/// strongly as they can. See [`step_up`].
#[derive(Clone, Debug)]
pub struct Confirmed(pub SessionPrincipal);

impl FromRequestParts<App> for Confirmed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let InPerson(asker) = <InPerson as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if step_up::is_fresh(&asker, app.clock.now()) { Ok(Self(asker)) } else { Err(ApiError::StepUp) }
    }
}

/// An administrator of the instance, in person.
#[derive(Clone, Debug)]
pub struct Administrator(pub SessionPrincipal);

impl FromRequestParts<App> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = <Principal as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        access::require(&principal, Action::AdministrateInstance, &Resource::Instance)?;
        match principal {
            Principal::Session(session) => Ok(Self(session)),
            Principal::Token(_) | Principal::Runner(_) | Principal::Anonymous => {
                Err(ApiError::Unauthenticated)
            }
        }
    }
}

/// An administrator of the instance who has just proved who they are.
#[derive(Clone, Debug)]
pub struct ConfirmedAdministrator(pub SessionPrincipal);

impl FromRequestParts<App> for ConfirmedAdministrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Administrator(asker) =
            <Administrator as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if step_up::is_fresh(&asker, app.clock.now()) { Ok(Self(asker)) } else { Err(ApiError::StepUp) }
    }
}

/// A runner that shows its credential.
#[derive(Clone, Debug)]
pub struct Runner(pub RunnerPrincipal);

impl FromRequestParts<App> for Runner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = <Principal as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        let id = match &principal {
            Principal::Runner(runner) => runner.runner,
            _ => RunnerId(Uuid::nil()),
        };
        access::require(&principal, Action::ExecuteJobs, &Resource::Runner { id })?;
        match principal {
            Principal::Runner(runner) => Ok(Self(runner)),
            _ => Err(ApiError::Unauthenticated),
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct Origin(pub identity::Origin);

impl FromRequestParts<App> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self(identity::Origin {
            address: client_address(parts, app),
            user_agent: user_agent.unwrap_or_default().to_owned(),
        }))
    }
}

/// The visitor's address. A header is believed only if the administrator says
/// that a proxy sets it and the request comes from one; then the last entry
/// that is no proxy's: the ones before it are what the visitor claimed.
fn client_address(parts: &Parts, app: &AppParts) -> IpAddr {
    let server = &app.config.server;
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if server.client_ip_header.is_empty() || !server.trusted_proxies.contain(peer) {
        return peer;
    }
    let claimed = parts.headers.get_all(&server.client_ip_header).iter();
    let mut claimed: Vec<&str> =
        claimed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    let mut address = peer;
    while let Some(Ok(next)) = claimed.pop().map(|entry| entry.trim().parse::<IpAddr>()) {
        address = next;
        if !server.trusted_proxies.contain(next) {
            break;
        }
    }
    address
}

/// A JSON body. The size is limited by a layer around all routes of the API.
#[derive(Clone, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let principal = <Principal as FromRequestParts<App>>::from_request_parts(&mut parts, app).await?;
        match Json::from_request(Request::from_parts(parts, body), app).await {
            Ok(Json(body)) => Ok(Self(body)),
            // A stranger is told to sign in before being told what to write.
            Err(_) if matches!(principal, Principal::Anonymous) => Err(ApiError::Unauthenticated),
            Err(rejection) => Err(rejection.into()),
        }
    }
}

/// A JSON body of a route that is for strangers.
#[derive(Clone, Debug)]
pub struct OpenBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for OpenBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let Json(body) = Json::from_request(request, app).await?;
        Ok(Self(body))
    }
}

/// The variable parts of the path. A part that cannot be what it should leads
/// nowhere, as one that is not there.
#[derive(Clone, Debug)]
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Path(segments) = <Path<T> as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        Ok(Self(segments))
    }
}

/// The parameters after the question mark.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(params) = Query::from_request_parts(parts, app).await?;
        Ok(Self(params))
    }
}

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// `next_cursor` of the page before; absent for the first page.
    pub cursor: Option<String>,
    /// How many rows at most, 1 to 100. Default 50.
    #[param(minimum = 1, maximum = 100, default = 50)]
    pub limit: Option<u32>,
}

impl Paging {
    /// How many rows at most.
    ///
    /// # Errors
    /// When it is none of 1 to 100.
    pub fn limit(&self) -> Result<u32, ApiError> {
        match self.limit.unwrap_or(50) {
            limit @ 1..=100 => Ok(limit),
            _ => Err(ApiError::field("limit", "a page has 1 to 100 rows")),
        }
    }

    /// The key of the last row before this page, as [`Paging::page`] wrote it down.
    ///
    /// # Errors
    /// When it is no cursor of ours.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, ApiError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let key = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let refused = || {
            ApiError::field(
                "cursor",
                "this is no cursor of this list; leave it out to begin with the first page",
            )
        };
        key.ok_or_else(refused).map(Some)
    }

    /// Makes a page of the rows that a store found when asked for one more than
    /// [`Paging::limit`]: whether there is more is then known without counting.
    ///
    /// # Errors
    /// When a key cannot be written down.
    pub fn page<T, K: Serialize>(
        &self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> K,
    ) -> Result<Page<T>, ApiError> {
        let limit = usize::try_from(self.limit()?).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = match items.last() {
            Some(last) if more => Some(cursor(&key(last))?),
            _ => None,
        };
        Ok(Page { items, next_cursor })
    }
}

/// Writes down where the next page begins, for [`Paging::after`] to read.
///
/// # Errors
/// When it cannot be written down.
pub fn cursor(key: &impl Serialize) -> Result<String, ApiError> {
    let key = serde_json::to_vec(key).map_err(|e| ApiError::Internal(e.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(key))
}

/// The session of the browser, for those few routes that begin or end one.
pub struct Browser(pub Session);

impl FromRequestParts<App> for Browser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let session = parts.extensions.get::<Session>().cloned();
        session.map(Self).ok_or_else(|| ApiError::Internal(anyhow::anyhow!("no session layer")))
    }
}

impl OptionalFromRequestParts<App> for InPerson {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, ApiError> {
        match <Principal as FromRequestParts<App>>::from_request_parts(parts, app).await? {
            Principal::Session(session) => Ok(Some(Self(session))),
            Principal::Token(_) | Principal::Runner(_) | Principal::Anonymous => Ok(None),
        }
    }
}
