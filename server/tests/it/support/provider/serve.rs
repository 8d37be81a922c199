//! What the provider answers.

use std::collections::BTreeMap;

use axum::{
    Form, Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{CLIENT_ID, CLIENT_SECRET, Instead, Provider, SUBJECT, change, keys};

const ACCESS_TOKEN: &str = "access-token-1";

pub(super) fn router(provider: Provider) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/token", post(token))
        .route("/userinfo", get(userinfo))
        .route("/login/oauth/access_token", post(token))
        .route("/api/v3/user", get(account))
        .route("/api/v3/user/emails", get(emails))
        .layer(middleware::from_fn_with_state(provider.clone(), note))
        .with_state(provider)
}

async fn note(State(provider): State<Provider>, request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    provider.state().requests.push(what);
    next.run(request).await
}

async fn discovery(State(provider): State<Provider>) -> Json<Value> {
    let issuer = provider.issuer();
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // Its word on this is not what counts.
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
        "authorization_response_iss_parameter_supported": true,
    });
    change(metadata.as_object_mut().expect("an object"), &provider.state().metadata);
    Json(metadata)
}

async fn jwks(State(provider): State<Provider>) -> Json<Value> {
    Json(json!({ "keys": provider.state().keys }))
}

fn refuse(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    if !is_client(&headers, &form) {
        return refuse("invalid_client");
    }
    let mut state = provider.state();
    if let Some(Instead { status, content_type, location, body }) = state.token_answer.clone() {
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location.parse().expect("a location"));
        }
        return response;
    }
    // A code works once.
    let name = form.get("code").cloned().unwrap_or_default();
    let Some(code) = state.codes.remove(&name) else { return refuse("invalid_grant") };
    let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
    if form.get("redirect_uri") != Some(&code.redirect_uri) || keys::challenge(verifier) != code.challenge {
        return refuse("invalid_grant");
    }
    let id_token = provider.id_token(&state, &code, &name, ACCESS_TOKEN);
    state.last_token = Some(id_token.clone());
    let mut tokens = Map::new();
    tokens.insert("access_token".to_owned(), json!(ACCESS_TOKEN));
    tokens.insert("token_type".to_owned(), json!("Bearer"));
    tokens.insert("expires_in".to_owned(), json!(300));
    if code.nonce.is_some() {
        tokens.insert("id_token".to_owned(), json!(id_token));
    }
    change(&mut tokens, &state.tokens);
    Json(Value::from(tokens)).into_response()
}

/// Whether the client has proven itself, in either of the usual ways.
fn is_client(headers: &HeaderMap, form: &BTreeMap<String, String>) -> bool {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(basic) = basic.and_then(|value| value.strip_prefix("Basic ")) {
        let given = STANDARD.decode(basic).expect("Base64");
        let secret = serde_urlencoded::to_string([("x", CLIENT_SECRET)]).expect("a form");
        return given == format!("{CLIENT_ID}:{}", &secret[2..]).into_bytes();
    }
    form.get("client_id").is_some_and(|id| id == CLIENT_ID)
        && form.get("client_secret").is_some_and(|secret| secret == CLIENT_SECRET)
}

fn has_token(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| value == &format!("Bearer {ACCESS_TOKEN}"))
}

async fn userinfo(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    if !has_token(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut claims = json!({ "sub": SUBJECT }).as_object().expect("an object").clone();
    change(&mut claims, &provider.state().userinfo);
    Json(Value::from(claims)).into_response()
}

async fn account(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    if !has_token(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(provider.state().account.clone()).into_response()
}

async fn emails(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    if !has_token(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(provider.state().emails.clone()).into_response()
}
