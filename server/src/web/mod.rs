//! The HTTP edges. Every route of the API is registered here with its
//! description, so that the OpenAPI document cannot forget one.

mod health;
pub mod layers;
pub mod problem;

use axum::Router;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use problem::ApiError;

use crate::app::App;

/// The frame of the OpenAPI document; routes add themselves.
#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "devenv-cloud",
    description = "CI that is local-first and built with Nix. What the pages can do, this API can do: they use nothing else.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

/// All routes of the API, below [`devenv_cloud_api::PREFIX`].
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).nest(devenv_cloud_api::PREFIX, OpenApiRouter::new())
}

/// The OpenAPI document of the API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().split_for_parts().1
}

/// The whole application as one service: API, git, pages, assets.
pub fn router(app: App) -> Router {
    let (api, _) = api().split_for_parts();
    let router = api.merge(health::routes());
    layers::apply(router, &app).with_state(app)
}

/// What listens where only the administrator's monitoring can reach it.
pub fn metrics_router(app: App) -> Router {
    health::metrics_routes().with_state(app)
}
