//! Every page, rendered with made-up data: it says what it should, its status
//! is right, and nothing in it needs what the content security policy forbids.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::{fixtures, router};
use crate::clock::Clock;

fn site() -> Router {
    router(fixtures::api(), Clock::fake(fixtures::now()))
}

async fn get(path: &str, cookie: &str) -> Response {
    let mut request = Request::get(path);
    if !cookie.is_empty() {
        request = request.header(header::COOKIE, cookie);
    }
    site().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer")
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The words of a page, without markup and scripts.
fn words(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        out.push_str(before);
        let skip = if tag.starts_with("script") { "</script>" } else { ">" };
        rest = tag.split_once(skip).map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every page: its address, and words that a reader must find on it.
const PAGES: &[(&str, &[&str])] = &[
    ("/sign-in?return_to=/acme&problem=wrong-credentials", &["Sign in", "the password is wrong"]),
    ("/setup", &["This instance is set up"]),
    ("/", &["Acme Ltd", "Nothing here", "New organisation", "Ada Lovelace", "Sign out"]),
    ("/acme", &["web", "compiler", "no runs yet", "New project", "Members"]),
    ("/acme/-/members", &["Ada Lovelace", "owner", "viewer", "grace@example.org"]),
    (
        "/acme/-/runners",
        &[
            "builder-1",
            "online",
            "2 of 4 slots",
            "4096 of 14336 MiB",
            "template holds 171 MiB",
            "no template yet",
            "the server itself",
            "gpu, big",
            "web #42 x86_64-linux",
            "draining",
            "offline",
            "Last error",
            "no sign of life",
            "shared by the whole instance",
            "Drain",
            "Revoke",
            "Add a runner",
        ],
    ),
    ("/empty/-/runners", &["No runners yet", "Add the first one", "Create the command"]),
    ("/empty", &["No projects yet", "Create project"]),
    ("/acme/web", &["running", "failure", "#42", "4f2a9c1b", "Older", "Grace Hopper"]),
    ("/acme/web?branch=nowhere", &["No run matches", "Show all runs"]),
    (
        "/acme/new",
        &[
            "Nothing was pushed yet",
            "git remote add cloud https://ci.example.org/acme/new.git",
            "git push cloud HEAD:main",
        ],
    ),
    ("/acme/web/settings/general", &["https://ci.example.org/acme/web.git", "Default branch", "Memory, MiB"]),
    (
        "/acme/web/settings/triggers",
        &["Branches whose pushes make a run", "Protected refs", "refs/heads/main"],
    ),
    ("/acme/web/settings/tokens", &["laptop", "Revoke", "expired"]),
    ("/acme/web/settings/danger", &["Delete this project", "Type the project’s name"]),
    // A failed run: the error with its place, and the last lines of the task that failed.
    (
        "/acme/web/runs/41",
        &[
            "devenv.nix:11",
            "undefined variable",
            "Did you mean",
            "x86_64-linux · web:test",
            "test result: FAILED",
            "Retry",
        ],
    ),
    ("/acme/web/runs/42", &["running web:test", "none has the platform aarch64-linux", "Cancel"]),
    // A job that failed opens on what is to blame.
    (
        "/acme/web/runs/41/x86_64-linux",
        &[
            "web:test",
            "exit status 101",
            "attempt 1",
            "attempt 2",
            "test result: FAILED",
            "1,234 lines",
            "0.21 s",
            "from the queue to evaluation",
        ],
    ),
    ("/acme/web/runs/41/x86_64-linux?span=all", &["test result: FAILED", "Trace and log"]),
    ("/acme/web/runs/40/x86_64-linux", &["1,000,000 lines", "20,011 spans", "Download"]),
    (
        "/account",
        &["ada@example.org", "not confirmed yet", "Your name", "Current password", "Security", "Tokens"],
    ),
    (
        "/account/security",
        &[
            "Passkeys",
            "blue key",
            "on several devices",
            "never used",
            "Add a passkey",
            "Remove the app",
            "8 of 10 are left",
            "Set it up: you have time",
            "octocat",
            "Link an account at GitHub",
        ],
    ),
    (
        "/account/sessions",
        &[
            "Chrome on Linux",
            "this browser",
            "End all other sessions",
            "password and one-time code",
            "two factors",
        ],
    ),
    ("/account/tokens", &["laptop", "Revoke", "New token"]),
    ("/sign-in", &["E-mail address", "Continue", "Use a passkey", "Continue with GitHub"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_says_what_it_should_and_needs_nothing_forbidden() {
    for (path, expected) in PAGES {
        let response = get(path, "session=x").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text").to_owned();
        let nonce =
            policy.split("'nonce-").nth(1).and_then(|p| p.split('\'').next()).expect("a nonce").to_owned();
        let html = text(response).await;
        let words = words(&html);
        for expected in *expected {
            assert!(words.contains(expected), "{path} does not say “{expected}”:\n{words}");
        }
        let lower = html.to_lowercase();
        for forbidden in [" style=", "javascript:", " onclick=", " onload=", "<style"] {
            assert!(!lower.contains(forbidden), "{path} has {forbidden}");
        }
        for script in html.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap_or_default();
            assert!(tag.contains(&format!("nonce=\"{nonce}\"")), "{path}: a script without the nonce: {tag}");
        }
        assert_eq!(html.matches("<h1").count(), 1, "{path}: one main heading");
        assert_eq!(html.matches("<main").count(), 1, "{path}: one main part");
        assert!(html.contains("<title>") && !html.contains("<title></title>"), "{path}: a title");
        unlabelled(path, &html);
    }
}

/// What a page is made of comes and goes on several threads, and nothing of it
/// may mind on which.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_that_many_ask_for_at_once_are_whole() {
    for (path, _) in PAGES {
        let asked = (0..24).map(|_| {
            tokio::spawn(async move {
                let html = text(get(path, "session=x").await).await;
                // A part that was waited for may follow; what breaks off has no end.
                assert!(html.contains("</html>"), "{path} is cut off");
            })
        });
        for page in futures::future::join_all(asked).await {
            page.expect(path);
        }
    }
}

/// Every field has a label, and every id stands once.
fn unlabelled(path: &str, html: &str) {
    let attribute = |tag: &str, name: &str| {
        tag.split(&format!(" {name}=\"")).nth(1).and_then(|v| v.split('"').next()).map(str::to_owned)
    };
    let mut ids = std::collections::HashSet::new();
    for tag in html.split('<').filter_map(|t| t.split('>').next()) {
        if let Some(id) = attribute(tag, "id") {
            assert!(ids.insert(id.clone()), "{path}: the id {id} stands twice");
        }
        let is_field = ["input ", "select ", "textarea "].iter().any(|name| tag.starts_with(name));
        if is_field && attribute(tag, "type").as_deref() != Some("hidden") {
            let labelled = tag.contains(" aria-label=\"")
                || tag.contains("type=\"radio\"")
                || attribute(tag, "id").is_some_and(|id| html.contains(&format!("for=\"{id}\"")));
            assert!(labelled, "{path}: a field without a label: {tag}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_is_sent_there_and_back() {
    for (path, to) in [
        ("/", "/sign-in?return_to=/"),
        ("/account", "/sign-in?return_to=/account"),
        ("/?a=b%20c&d=e", "/sign-in?return_to=/%3Fa%3Db%2520c%26d%3De"),
    ] {
        let response = get(path, "").await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(response.headers()[header::LOCATION], to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_leads_to_its_set_up() {
    let response = get("/sign-in", "fresh").await;
    assert_eq!(response.headers()[header::LOCATION], "/setup");
    let html = text(get("/setup", "fresh").await).await;
    assert!(words(&html).contains("Open the set-up link"));
    let html = text(get("/setup?token=abc&problem=weak-password", "fresh").await).await;
    assert!(html.contains("name=\"token\"") && html.contains("value=\"abc\""));
    assert!(words(&html).contains("Choose 8 characters or more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_and_what_is_broken_says_so() {
    for path in [
        "/nobody",
        "/acme/nothing",
        "/acme/web/runs/999",
        "/acme/web/runs/x",
        "/acme/web/runs/41/nojob",
        "/a/b/c/d/e/f",
    ] {
        let response = get(path, "session=x").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(text(response).await.contains("There is nothing here"), "{path}");
    }
    let response = get("/trouble", "session=x").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(response).await.contains("the database cannot be reached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chosen_colours_are_in_the_first_byte() {
    for (cookie, theme) in
        [("session=x", "system"), ("session=x; theme=dark", "dark"), ("theme=\"x; session=y", "system")]
    {
        let html = text(get("/", cookie).await).await;
        assert!(html.contains(&format!("data-theme=\"{theme}\"")), "{cookie}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_holds_a_window_of_a_long_log_and_trace_not_all_of_it() {
    let html = text(get("/acme/web/runs/40/x86_64-linux?span=all", "session=x").await).await;
    assert!(html.len() < 900_000, "{} bytes", html.len());
    assert!(html.contains("id=\"L1\"") && html.contains("id=\"L300\"") && !html.contains("id=\"L301\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_reading_is_a_page() {
    let request = Request::post("/acme").body(Body::empty()).expect("a request");
    let response = site().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let response = get("/api/v1/nothing", "").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}

/// Serves all of it at the address in `DEVENV_CLOUD_GALLERY`, for eyes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is stopped"]
async fn gallery() {
    let Ok(address) = std::env::var("DEVENV_CLOUD_GALLERY") else { return };
    let site = fixtures::api().merge(super::assets::routes()).fallback_service(site());
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
    axum::serve(listener, site).await.expect("it serves");
}
