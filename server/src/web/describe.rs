//! What the OpenAPI document says about every operation alike.

use std::collections::BTreeMap;

use devenv_cloud_api::problem::Problem;
use utoipa::{
    IntoResponses, Modify, OpenApi,
    openapi::{
        Content, ObjectBuilder, OpenApi as OpenApiDocument, Ref, RefOr, Response, ResponseBuilder, Type,
        path::{ParameterBuilder, ParameterIn},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
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
        (name = "sign-in", description = "The way in, step by step"),
        (name = "factors", description = "Passkeys, one-time codes, recovery codes, confirming that it is you"),
        (name = "organisations", description = "Organisations and their members"),
        (name = "instance", description = "What administrators of the instance do: people, invitations, the \
            audit log, mail"),
        (name = "projects", description = "Projects, their settings and tokens"),
        (name = "runs", description = "Runs, jobs, traces and logs"),
        (name = "runners", description = "Machines that execute jobs for this server from elsewhere"),
        (name = "runner protocol", description = "What `devenv-cloud runner` says to its server. Both are one \
            program, so this changes from version to version"),
    ),
    components(schemas(Problem)),
    security(("session" = []), ("token" = [])),
    modifiers(&Schemes)
)]
pub(super) struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut OpenApiDocument) {
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
        let runner = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The credential of a runner, `dvrun_…`. It opens the runner protocol and nothing else.",
            ))
            .build();
        components.add_security_scheme("runner", SecurityScheme::Http(runner));
    }
}

/// How routes may say no: a type for each kind of route, to be named in its
/// `responses`.
macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident: $($status:literal $why:literal),*;)*) => {$(
        $(#[doc = $doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status, $why)),*].into_iter().map(|(status, why)| (status.to_owned(), problem(why))).collect()
            }
        }
    )*};
}

refusals! {
    /// A route that only reads.
    RefusedToRead:
        "401" "Nobody is signed in, or the token does not work",
        "403" "The one who asks may see it, but may not do this",
        "404" "It is not there, or the one who asks may not know that it is",
        "422" "A parameter makes no sense";
    /// A route that changes something.
    Refused:
        "401" "Nobody is signed in, or the token does not work",
        "403" "The one who asks may see it, but may not do this",
        "404" "It is not there, or the one who asks may not know that it is",
        "409" "It cannot be done in this state of things",
        "413" "The body is larger than 64 KiB",
        "422" "A field or parameter makes no sense";
    /// A route for the runner that has a lease.
    RefusedRunner:
        "401" "This is no credential of a runner, or it has expired",
        "403" "The runner was revoked, or the one who asks is none",
        "404" "This can be no attempt",
        "410" "The lease is not this runner's (any more): stop, and report nothing",
        "413" "The body is too large",
        "422" "A field makes no sense, or the source cannot be had",
        "503" "The server cannot store or deliver this at the moment; try again",
        "507" "There is no room for lines on the server";
    /// A route for machines that are no runners yet.
    RefusedToRegister:
        "403" "The registration token does not work (any more); the sentence says why",
        "409" "The runner's program and the server's do not understand each other",
        "413" "The body is larger than 64 KiB",
        "422" "A field makes no sense";
    /// A route that accepts an invitation.
    RefusedToAccept:
        "401" "There is an account with this address: sign in first",
        "403" "The link does not work (any more)",
        "409" "Signed in as somebody else: sign out first",
        "413" "The body is larger than 64 KiB",
        "422" "A field makes no sense",
        "429" "Too many attempts; `Retry-After` says how many seconds to wait";
    /// A route for those who are not signed in yet.
    RefusedToSignIn:
        "403" "What was given as a proof is wrong",
        "413" "The body is larger than 64 KiB",
        "422" "A field makes no sense",
        "429" "Too many attempts; `Retry-After` says how many seconds to wait";
}

fn problem(why: &str) -> RefOr<Response> {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(why)
        .content(devenv_cloud_api::problem::MEDIA_TYPE, problem)
        .build()
        .into()
}

/// Says of every creation that it can be repeated.
pub(super) fn complete(document: &mut OpenApiDocument) {
    for item in document.paths.paths.values_mut() {
        let Some(operation) = &mut item.post else { continue };
        let creates = operation.responses.responses.contains_key("201");
        let signed_in = operation.responses.responses.contains_key("401");
        if creates && signed_in {
            let key = ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .description(Some(
                    "Makes the request safe to repeat: 1 to 200 characters, new for each creation.",
                ))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .build();
            operation.parameters.get_or_insert_default().push(key.into());
        }
    }
}
