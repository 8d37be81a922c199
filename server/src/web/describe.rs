//! What the OpenAPI document says about every operation alike.

use devenv_cloud_api::problem::Problem;
use utoipa::{
    IntoResponses, Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// The frame of the document; routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "devenv-cloud",
        description = "CI that is local-first and built with Nix. What the pages can do, this API can do: they \
            use nothing else.\n\n**Signing in.** A browser has a session cookie; a program sends \
            `Authorization: Bearer dvc_…` with a personal access token. Managing an account takes a session.\n\n\
            **Errors** are `application/problem+json` (RFC 9457).\n\n**Lists** come in pages: pass `next_cursor` \
            as `cursor`, unchanged, until there is none.\n\n**Repeating.** A POST that creates something may carry \
            an `Idempotency-Key` of 1 to 200 characters. The same key with the same request within 24 hours gets \
            the first answer again and creates nothing; with another request, 422.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "accounts", description = "Set-up, signing in, one's own account"),
        (name = "organisations", description = "Organisations and their members"),
        (name = "projects", description = "Projects, their settings and tokens"),
        (name = "runs", description = "Runs, jobs, traces and logs"),
    ),
    components(schemas(Problem)),
    security(("session" = []), ("token" = [])),
    modifiers(&Schemes)
)]
pub(super) struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
            super::session_layer::SECURE_COOKIE,
            "The session of a browser (`sid` where the server is reached over plain http).",
        ));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A personal access token, `dvc_…`."))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// How a route that only reads may say no.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum RefusedToRead {
    /// Nobody is signed in, or the token does not work
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The one who asks may see it, but may not do this
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It is not there, or the one who asks may not know that it is
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// A parameter makes no sense
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
}

/// How a route that changes something may say no.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum Refused {
    /// Nobody is signed in, or the token does not work
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The one who asks may see it, but may not do this
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It is not there, or the one who asks may not know that it is
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// It cannot be done in this state of things
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// The body is larger than 64 KiB
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// A field or parameter makes no sense
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
}

/// How a route for those who are not signed in yet may say no.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum RefusedToSignIn {
    /// What was given to prove it is wrong
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// A field makes no sense
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too many attempts; `Retry-After` says how long to wait
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
}
