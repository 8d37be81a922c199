//! The HTTP edges. Every route of the API is registered here with its
//! description, so that the OpenAPI document cannot forget one.

mod accounts;
mod assets;
mod audit;
mod describe;
pub mod extract;
mod factors;
mod forms;
mod git;
mod health;
mod idempotency;
mod issuer;
pub mod layers;
mod live;
mod orgs;
mod pages;
mod people;
mod people_forms;
pub mod problem;
mod projects;
mod providers;
mod runner;
mod runners;
mod runs;
mod search;
mod session_layer;
mod sign_in;
mod trace;
mod way;

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get_service};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use idempotency::delete_old_answers_once;
pub use problem::ApiError;

use crate::app::App;

/// How large the body of a request to the API or of a form may be, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// All routes of the API, below [`devenv_cloud_api::PREFIX`].
fn api() -> OpenApiRouter<App> {
    let routes = OpenApiRouter::new()
        .merge(accounts::routes())
        .merge(sign_in::routes())
        .merge(factors::routes())
        .merge(providers::routes())
        .merge(people::routes())
        .merge(audit::routes())
        .merge(orgs::routes())
        .merge(projects::routes())
        .merge(runners::routes())
        .merge(runner::routes())
        .merge(runs::routes())
        .merge(trace::routes())
        .merge(search::routes())
        .merge(issuer::routes())
        .merge(live::routes());
    OpenApiRouter::with_openapi(describe::Document::openapi()).nest(devenv_cloud_api::PREFIX, routes)
}

/// The OpenAPI document of the API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = api().split_for_parts();
    describe::complete(&mut document);
    document
}

/// The whole application as one service: API, git, pages, assets.
pub fn router(app: App) -> Router {
    let (api, _) = api().split_for_parts();
    let document = axum::Json(openapi());
    // What knows sessions: the API and the forms. Pages ask the API.
    let with_sessions = api
        .layer(middleware::from_fn_with_state(app.clone(), idempotency::layer))
        .merge(forms::routes())
        .merge(issuer::forms())
        .merge(providers::forms())
        .merge(people_forms::routes())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(session_layer::require_origin_with_cookie))
        .layer(session_layer::layer(&app));
    // Pages call the API as it stands here, inside the other layers: a page view is one request.
    let pages = pages::router(with_sessions.clone().with_state(app.clone()), app.clock.clone());
    let router = with_sessions
        .route(
            &format!("{}/openapi.json", devenv_cloud_api::PREFIX),
            axum::routing::get(async move || document),
        )
        .merge(health::routes())
        .merge(issuer::programs())
        .merge(git::routes())
        .merge(assets::routes())
        // Forms are sent to where their pages are read.
        .route("/sign-in", get_service(pages.clone()))
        .route("/setup", get_service(pages.clone()))
        .route("/device", get_service(pages.clone()))
        .route("/oauth/consent", get_service(pages.clone()))
        .route("/reset", get_service(pages.clone()))
        .route("/verify-email", get_service(pages.clone()))
        .route("/invitation", get_service(pages.clone()))
        .fallback_service(pages);
    layers::apply(router, &app).with_state(app)
}

/// What listens where only the administrator's monitoring can reach it.
pub fn metrics_router(app: App) -> Router {
    health::metrics_routes().with_state(app)
}
