//! Pages, rendered on the server.
//!
//! A page reads the API as everybody does: its requests go through the very
//! router that serves the network, in-process, with the visitor's own cookie.
//! So there is one place that decides who may see what, and a page cannot show
//! more than the API would have said.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use devenv_cloud_api::client;
use devenv_cloud_frontend::{
    context::{Outcome, Theme, Visitor},
    transport::{Carried, Carrier, Carry},
};
use http_body_util::BodyExt as _;
use leptos::prelude::provide_context;
use tower::ServiceExt as _;

use super::{ApiError, assets};
use crate::clock::Clock;

/// The largest answer that a page reads from the API.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Renders pages for everything that `api` does not serve itself.
pub(super) fn router(api: Router, clock: Clock) -> Router {
    // Says what runs a page's futures. It fails when that was said already, which is fine.
    let _ = any_spawner::Executor::init_tokio();
    Router::new().fallback(render).with_state(Pages { api, clock })
}

/// What rendering needs.
#[derive(Clone)]
struct Pages {
    api: Router,
    clock: Clock,
}

async fn render(State(pages): State<Pages>, request: Request) -> Response {
    // The API answers in its own form; what it does not know is no page.
    if request.uri().path().starts_with("/api/") {
        return ApiError::NotFound.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let cookie = request.headers().get(header::COOKIE).cloned();
    let theme = cookie.as_ref().and_then(|c| c.to_str().ok()).map(Theme::from_cookies).unwrap_or_default();
    let carrier = Carrier::new(InProcess {
        api: pages.api,
        cookie,
        user_agent: request.headers().get(header::USER_AGENT).cloned(),
        peer: request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().copied(),
    });
    let visitor = Visitor { now: pages.clock.now(), theme };
    let outcome = Outcome::default();
    let nonce = Arc::new(Mutex::new(None::<String>));

    let context = {
        let (outcome, nonce) = (outcome.clone(), Arc::clone(&nonce));
        move || {
            provide_context(carrier.clone());
            provide_context(visitor.clone());
            provide_context(outcome.clone());
            *nonce.lock().unwrap_or_else(PoisonError::into_inner) =
                leptos::nonce::use_nonce().map(|n| n.to_string());
        }
    };
    let handler = leptos_axum::render_app_async_with_context(context, || {
        devenv_cloud_frontend::document(assets::for_pages())
    });
    let mut response = handler(request).await;

    let verdict = outcome.verdict();
    if let Some(to) = verdict.redirect {
        return with_headers(Redirect::to(&to).into_response(), None);
    }
    if let Some(status) = verdict.status.and_then(|s| StatusCode::from_u16(s).ok()) {
        *response.status_mut() = status;
    }
    let nonce = nonce.lock().unwrap_or_else(PoisonError::into_inner).take();
    with_headers(response, nonce.as_deref())
}

/// What a page may load and do: only what comes from here. The one inline
/// script, which starts the page, and the data beside it carry the nonce.
fn policy(nonce: Option<&str>) -> String {
    let nonce = nonce.map(|n| format!(" 'nonce-{n}'")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'{nonce} 'wasm-unsafe-eval'; style-src 'self'{nonce}; img-src 'self' \
         data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

fn with_headers(mut response: Response, nonce: Option<&str>) -> Response {
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy(nonce)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // What a page shows depends on who asks.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("same-origin"));
    response
}

/// Brings a page's requests to the API without leaving the process.
struct InProcess {
    api: Router,
    cookie: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    peer: Option<ConnectInfo<std::net::SocketAddr>>,
}

impl Carry for InProcess {
    fn carry(&self, request: client::Request) -> Carried {
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(&request.path)
            .header(header::ACCEPT, "application/json");
        for (name, value) in [(header::COOKIE, &self.cookie), (header::USER_AGENT, &self.user_agent)] {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        if let Some(peer) = self.peer {
            builder = builder.extension(peer);
        }
        let api = self.api.clone();
        Box::pin(async move {
            let broken = |e: &dyn std::fmt::Display| client::Error::Transport(e.to_string());
            let request =
                builder.body(request.body.map_or_else(Body::empty, Body::from)).map_err(|e| broken(&e))?;
            let response = match api.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            let body = http_body_util::Limited::new(response.into_body(), LARGEST_ANSWER)
                .collect()
                .await
                .map_err(|e| client::Error::Transport(e.to_string()))?;
            Ok(client::Response { status, body: body.to_bytes().to_vec() })
        })
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
