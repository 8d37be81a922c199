//! What every request goes through, whatever it asks for.

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    csrf::{CsrfLayer, ProtectionError},
    trace::TraceLayer,
};

use super::ApiError;
use crate::app::App;

/// Puts the layers around all routes.
pub(super) fn apply(router: Router<App>, app: &App) -> Router<App> {
    let secure = app.config.server.is_https();
    let metrics = app.clone();
    router
        .layer(csrf(app))
        .layer(middleware::from_fn(move |request, next| security_headers(secure, request, next)))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let app = metrics.clone();
            async move {
                let response = next.run(request).await;
                let class = format!("{}xx", response.status().as_u16() / 100);
                app.metrics.requests.with_label_values(&[class.as_str()]).inc();
                response
            }
        }))
        // Paths, not queries: a query may hold the set-up token.
        .layer(TraceLayer::new_for_http().make_span_with(|request: &Request| {
            tracing::info_span!("request", method = %request.method(), path = request.uri().path())
        }))
}

/// Refuses requests that change something and come from another site. The
/// origin that people know us by is trusted whatever a proxy made of `Host`.
fn csrf(app: &App) -> CsrfLayer<fn(ProtectionError) -> Response> {
    fn refuse(_: ProtectionError) -> Response {
        ApiError::Forbidden("this request came from another site, and was refused to protect you".to_owned())
            .into_response()
    }
    let base_url = &app.config.server.base_url;
    let layer = CsrfLayer::new().add_trusted_origin(base_url).unwrap_or_else(|error| {
        tracing::warn!(%error, "server.base_url is no origin; behind a proxy that changes Host, forms will be refused");
        CsrfLayer::new()
    });
    // What comes back from a provider as a form comes from another site by nature: there,
    // the state and the browser's own cookie say whether it is to be believed.
    layer
        .with_insecure_bypass(|_, uri| super::providers::is_callback(uri.path()))
        .with_rejection_response(refuse)
}

/// The Content-Security-Policy of everything that is no page. Pages set their
/// own, with a nonce for the script that starts hydration.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

async fn security_headers(secure: bool, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::CONTENT_SECURITY_POLICY, NOTHING);
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::X_FRAME_OPTIONS, "DENY");
    default(header::REFERRER_POLICY, "same-origin");
    default(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    default(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    default(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    // What people see is theirs: nothing is cached unless the route says so.
    default(header::CACHE_CONTROL, "no-store");
    if secure {
        default(header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains");
    }
    response
}
