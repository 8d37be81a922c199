//! `Idempotency-Key`: a creation that can be repeated without creating twice.
//!
//! A client that got no answer does not know whether its request was carried
//! out. With a key it can simply send it again: the first answer is kept for a
//! day and given again. The key belongs to the user; the same key with another
//! request is a mistake and refused.
//!
//! Only answers of success are kept: a refusal changed nothing, so the request
//! may be mended and sent again. An answer that holds a secret is not kept
//! either (see [`Secret`]): that it was carried out is remembered, and said.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use chrono::TimeDelta;
use devenv_cloud_api::{Timestamp, ids::UserId};
use http_body_util::{BodyExt as _, Limited};
use sha2::{Digest as _, Sha256};

use super::ApiError;
use crate::{
    app::App,
    db::{Db, DbError},
    identity::Principal,
};

mod store;

const HEADER: &str = "idempotency-key";

/// How long an answer is kept.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// After this time a request without an answer was cut off, by a crash of the
/// server or a client that went away, and may be tried again.
const ABANDONED: TimeDelta = TimeDelta::minutes(1);

/// Marks an answer that holds a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secret;

impl Secret {
    /// To be made a part of the response.
    pub(super) const fn mark() -> axum::Extension<Self> {
        axum::Extension(Self)
    }
}

/// What is known about a key.
#[derive(Debug)]
enum Known {
    /// Nothing: it is ours now.
    New,
    /// It was used for another request.
    Other,
    /// The first request is still being worked on.
    Busy,
    /// Carried out, with this answer, if it was one to be kept.
    Done(StatusCode, Option<Vec<u8>>),
}

/// The layer around all routes of the API.
pub(super) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    match once(&app, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn once(app: &App, request: Request, next: Next) -> Result<Response, ApiError> {
    let key = match request.headers().get(HEADER).map(HeaderValue::to_str) {
        Some(Ok(key)) if (1..=200).contains(&key.len()) => key.to_owned(),
        _ => return Err(ApiError::Invalid("an Idempotency-Key has 1 to 200 ASCII characters".to_owned())),
    };
    let (mut parts, body) = request.into_parts();
    let principal = Principal::from_request_parts(&mut parts, app).await?;
    let Some(user) = principal.user_id() else {
        // Nobody creates nothing; the route will say so.
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let body = Limited::new(body, super::BODY_LIMIT)
        .collect()
        .await
        .map_err(|_| ApiError::TooLarge(format!("the body is larger than {} KiB", super::BODY_LIMIT / 1024)))?
        .to_bytes();
    let path = parts.uri.path_and_query().map_or("", |p| p.as_str());
    let request_hash = hash(path, &body);
    let now = app.clock.now();
    match claim(&app.db, user, &key, &request_hash, now).await? {
        Known::New => {}
        Known::Other => {
            return Err(ApiError::Invalid(
                "this Idempotency-Key was used for another request; make a new one for each creation"
                    .to_owned(),
            ));
        }
        Known::Busy => {
            return Err(ApiError::Conflict(
                "the first request with this Idempotency-Key is still being worked on; try again in a moment"
                    .to_owned(),
            ));
        }
        Known::Done(_, None) => {
            return Err(ApiError::Conflict(
                "the first request with this Idempotency-Key was carried out, and its answer held a secret, which \
                 is not kept; revoke what it created and create another one with a new key"
                    .to_owned(),
            ));
        }
        Known::Done(status, Some(body)) => {
            let json = [(header::CONTENT_TYPE, "application/json"), (REPLAYED, "true")];
            return Ok((status, json, body).into_response());
        }
    }
    // The claim is given back unless there is an answer to keep, also when the
    // client goes away and this future is dropped: then after `ABANDONED`.
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        store::release(&app.db, user, &key).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body: Bytes = body.collect().await.map_err(|e| ApiError::Internal(e.into()))?.to_bytes();
    let kept = parts.extensions.get::<Secret>().is_none().then(|| body.to_vec());
    store::keep(&app.db, user, &key, parts.status.as_u16(), kept).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Tells an answer that was given before.
const REPLAYED: header::HeaderName = header::HeaderName::from_static("idempotent-replayed");

fn hash(path: &str, body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(path);
    hash.update([0]);
    hash.update(body);
    hash.finalize().to_vec()
}

async fn claim(
    db: &Db,
    user: UserId,
    key: &str,
    request_hash: &[u8],
    now: Timestamp,
) -> Result<Known, DbError> {
    store::forget(db, user, key, now - KEPT, now - ABANDONED).await?;
    if store::claim(db, user, key, request_hash, now).await? {
        return Ok(Known::New);
    }
    Ok(match store::find(db, user, key).await? {
        // Given back between the two statements.
        None => Known::Busy,
        Some(row) if row.request_hash != request_hash => Known::Other,
        Some(store::Row { status: None, .. }) => Known::Busy,
        Some(store::Row { status: Some(status), response, .. }) => {
            Known::Done(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), response)
        }
    })
}

/// Deletes answers that are a day old.
///
/// # Errors
/// When the database says no.
pub async fn delete_old_answers_once(app: &App) -> Result<u64, DbError> {
    store::delete_before(&app.db, app.clock.now() - KEPT).await
}
