//! What programs ask, without a cookie: the standards say how.

use axum::{
    Form, Json, Router,
    extract::{FromRequest, Request, State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::super::{
    ApiError, BODY_LIMIT,
    extract::{Origin, bearer},
};
use crate::{
    app::{App, AppParts},
    issuer::{self, Client, Credentials, OAuthError, SCOPES},
    refusal::Refusal,
};

/// How long others may keep our keys, in seconds. Much less than the day for
/// which a key is published before it signs.
const KEYS_KEPT: &str = "public, max-age=900";

pub(in crate::web) fn routes() -> Router<App> {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/.well-known/oauth-authorization-server", get(discovery))
        .route("/.well-known/jwks.json", get(key_set))
        .route("/oauth/token", post(token))
        .route("/oauth/revoke", post(revoke))
        .route("/oauth/device", post(device))
        .route("/oauth/userinfo", get(userinfo).post(userinfo))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT))
}

/// What we can (OIDC discovery §3, RFC 8414).
fn metadata(app: &AppParts) -> Value {
    let proofs = ["client_secret_basic", "client_secret_post", "none"];
    json!({
        "issuer": app.config.server.base_url,
        "authorization_endpoint": app.url("/oauth/authorize"),
        "token_endpoint": app.url("/oauth/token"),
        "userinfo_endpoint": app.url("/oauth/userinfo"),
        "revocation_endpoint": app.url("/oauth/revoke"),
        "device_authorization_endpoint": app.url("/oauth/device"),
        "jwks_uri": app.url("/.well-known/jwks.json"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", issuer::DEVICE_GRANT_TYPE],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": proofs,
        "revocation_endpoint_auth_methods_supported": proofs,
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "amr", "nonce", "at_hash", "name", "email",
            "email_verified"
        ],
        "prompt_values_supported": ["none", "login", "consent"],
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "claims_parameter_supported": false,
    })
}

fn kept(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static(KEYS_KEPT))], Json(body)).into_response()
}

async fn discovery(State(app): State<App>) -> Response {
    kept(metadata(&app))
}

async fn key_set(State(app): State<App>) -> Result<Response, ApiError> {
    Ok(kept(issuer::key_set(&app).await?))
}

/// A form, whose parameters are there once each.
struct Fields<T>(T);

impl<T: DeserializeOwned> FromRequest<App> for Fields<T> {
    type Rejection = No;

    async fn from_request(request: Request, app: &App) -> Result<Self, No> {
        let Form(fields) = Form::<T>::from_request(request, app).await.map_err(|rejection| {
            let why = match rejection {
                FormRejection::InvalidFormContentType(_) => {
                    "send the parameters as application/x-www-form-urlencoded".to_owned()
                }
                other => other.body_text(),
            };
            No(OAuthError::InvalidRequest(why))
        })?;
        Ok(Self(fields))
    }
}

/// Who the client says that it is: in a header or in the form, not in both.
#[derive(Deserialize)]
struct ClientFields {
    client_id: Option<String>,
    client_secret: Option<String>,
}

fn client(
    app: &AppParts,
    headers: &HeaderMap,
    fields: ClientFields,
    origin: &crate::identity::Origin,
) -> Result<Client, OAuthError> {
    let invalid = |why: &str| OAuthError::InvalidRequest(why.to_owned());
    let ClientFields { client_id, client_secret } = fields;
    let given = match headers.get(header::AUTHORIZATION) {
        Some(header) => {
            let (id, secret) = basic(header).ok_or(OAuthError::InvalidClient)?;
            if client_secret.is_some() || client_id.is_some_and(|other| other != id) {
                return Err(invalid("the client says in two ways who it is"));
            }
            Credentials { id, secret: Some(secret).filter(|secret| !secret.is_empty()) }
        }
        None => {
            let id = client_id.ok_or_else(|| invalid("client_id is missing"))?;
            Credentials { id, secret: client_secret.filter(|secret| !secret.is_empty()) }
        }
    };
    issuer::authenticate(app, &given, origin)
}

/// Name and secret, each encoded as in a form (RFC 6749 §2.3.1).
fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let plain = |text: &str| {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&format!("v={text}")).ok()?;
        match <[_; 1]>::try_from(pairs).ok()? {
            [(_, value)] => Some(value),
        }
    };
    Some((plain(id)?, plain(secret)?))
}

#[derive(Deserialize)]
struct TokenFields {
    grant_type: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    device_code: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

async fn token(
    State(app): State<App>,
    headers: HeaderMap,
    Origin(origin): Origin,
    Fields(fields): Fields<TokenFields>,
) -> Result<Response, No> {
    let TokenFields { grant_type, code, redirect_uri, code_verifier, device_code, client_id, client_secret } =
        fields;
    let missing = |name: &str| OAuthError::InvalidRequest(format!("{name} is missing"));
    let client = client(&app, &headers, ClientFields { client_id, client_secret }, &origin)?;
    let issued = match grant_type.ok_or_else(|| missing("grant_type"))?.as_str() {
        "authorization_code" => {
            let code = code.ok_or_else(|| missing("code"))?;
            let redirect_uri = redirect_uri.ok_or_else(|| missing("redirect_uri"))?;
            let verifier = code_verifier.ok_or_else(|| missing("code_verifier"))?;
            issuer::redeem_code(&app, &client, &code, &redirect_uri, &verifier, &origin).await?
        }
        issuer::DEVICE_GRANT_TYPE => {
            let code = device_code.ok_or_else(|| missing("device_code"))?;
            issuer::redeem_device(&app, &client, &code, &origin).await?
        }
        _ => return Err(OAuthError::UnsupportedGrantType.into()),
    };
    Ok(Json(issued).into_response())
}

#[derive(Deserialize)]
struct RevokeFields {
    token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

async fn revoke(
    State(app): State<App>,
    headers: HeaderMap,
    Origin(origin): Origin,
    Fields(fields): Fields<RevokeFields>,
) -> Result<StatusCode, No> {
    let RevokeFields { token, client_id, client_secret } = fields;
    let client = client(&app, &headers, ClientFields { client_id, client_secret }, &origin)?;
    let token = token.ok_or_else(|| OAuthError::InvalidRequest("token is missing".to_owned()))?;
    issuer::revoke(&app, &client, &token, &origin).await?;
    Ok(StatusCode::OK)
}

#[derive(Deserialize)]
struct DeviceFields {
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

async fn device(
    State(app): State<App>,
    headers: HeaderMap,
    Origin(origin): Origin,
    Fields(fields): Fields<DeviceFields>,
) -> Result<Response, No> {
    let DeviceFields { scope, client_id, client_secret } = fields;
    let client = client(&app, &headers, ClientFields { client_id, client_secret }, &origin)?;
    let begun = issuer::begin_device(&app, &client, &scope.unwrap_or_default(), &origin).await?;
    Ok(Json(begun).into_response())
}

async fn userinfo(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let found = match bearer(&headers) {
        Some(token) => issuer::userinfo(&app, token).await?,
        None => None,
    };
    Ok(match found {
        Some(found) => Json(found).into_response(),
        // RFC 6750 §3: no word about an error where nothing was given.
        None => {
            let challenge =
                if bearer(&headers).is_some() { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            let mut response = ApiError::Unauthenticated.into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            response
        }
    })
}

/// A refusal on its way out (RFC 6749 §5.2).
struct No(OAuthError);

impl From<OAuthError> for No {
    fn from(error: OAuthError) -> Self {
        Self(error)
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let (word, why) = (error.word(), error.to_string());
        let status = match error {
            OAuthError::InvalidClient => StatusCode::UNAUTHORIZED,
            // What is our own fault is logged and told in general words where all is.
            OAuthError::Refused(refusal) => {
                let wait = matches!(refusal, Refusal::RateLimited { .. });
                let mut response = ApiError::from(refusal).into_response();
                if wait {
                    let body = Json(json!({"error": word, "error_description": why}));
                    let headers = response.headers().get(header::RETRY_AFTER).cloned();
                    response = (StatusCode::TOO_MANY_REQUESTS, body).into_response();
                    headers.map(|value| response.headers_mut().insert(header::RETRY_AFTER, value));
                }
                return response;
            }
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = (status, Json(json!({"error": word, "error_description": why}))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        }
        response
    }
}
