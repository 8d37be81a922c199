//! An API with made-up data: one organisation with everything, one with
//! nothing, and names as long as they may be. Pages are tested and looked at with it.

mod account;

use axum::{
    Json, Router,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::TimeDelta;
use devenv_cloud_api::{
    PREFIX, Timestamp,
    ids::SpanId,
    permissions::{Action, Role},
    runs::{Stage, State},
    trace::{LogLine, LogWindow, Span, SpanKind, Stream, Trace},
};
use serde_json::{Value, json};

/// When it is, in the made-up world.
pub(super) fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().expect("a time")
}

fn ago(seconds: i64) -> Timestamp {
    now() - TimeDelta::seconds(seconds)
}

/// A name as long as an address allows.
pub(super) const LONG: &str = "an-organisation-with-the-longest-name-that-an-address-can-hold-x";

fn id(n: u32) -> String {
    format!("01939f00-0000-7000-8000-{n:012x}")
}

fn all_actions() -> Vec<&'static str> {
    Action::ALL.iter().map(|a| a.as_str()).collect()
}

fn user() -> Value {
    json!({ "id": id(1), "name": "Ada Lovelace", "email": "ada@example.org", "instance_admin": true, "created_at": ago(9_000_000) })
}

fn org(slug: &str, display_name: &str) -> Value {
    json!({
        "id": id(2), "slug": slug, "display_name": display_name, "created_at": ago(9_000_000),
        "role": Role::Owner, "standing": "fine", "allowed": all_actions(),
    })
}

fn commit(title: &str, branch: &str) -> Value {
    json!({
        "sha": "4f2a9c1be07d3358aa6f1d0b9c2e7716453fd001", "git_ref": format!("refs/heads/{branch}"),
        "title": title, "author": "Grace Hopper", "author_email": "grace@example.org",
    })
}

fn summary(number: u64, state: State, title: &str, branch: &str) -> Value {
    let age = i64::try_from(number).expect("small");
    let (created, started) = (ago(60_000 - age * 1_200), ago(60_000 - age * 1_200 - 2));
    json!({
        "id": id(100), "number": number, "state": state,
        "reason": match state {
            State::Skip => Some("There is no devenv.nix in this commit. Add one with a task, and push again."),
            State::Cancellation => Some("A newer push to this branch took its place."),
            State::Error => Some("The machine went away. It was tried once more."),
            _ => None,
        },
        "trigger": "push", "triggered_by": "Grace Hopper", "commit": commit(title, branch),
        "created_at": created,
        "started_at": (state != State::Queued && state != State::Skip).then_some(started),
        "finished_at": state.is_final().then(|| started + TimeDelta::milliseconds(48_210 + age * 977)),
    })
}

const TITLES: [(&str, &str); 6] = [
    ("web: render the waterfall without inline styles", "main"),
    ("runs: requeue a job whose lease lapsed", "main"),
    ("fix", "fix"),
    (
        "A first line that goes on and on, because whoever wrote it has never heard of the seventy characters that others keep to, and will not begin today",
        "feature/a-branch-name-that-is-also-rather-long-and-has/several/slashes-in-it-to-break-layouts",
    ),
    ("deps: update all", "renovate/all"),
    ("", "main"),
];

fn runs() -> Vec<Value> {
    (1..=42_u64)
        .rev()
        .map(|number| {
            let (title, branch) = TITLES[usize::try_from(number).expect("small") % TITLES.len()];
            let state = match number {
                42 => State::Running,
                41 => State::Failure,
                40 => State::Success,
                n => State::ALL[usize::try_from(n * 7 % 11).expect("small").min(7)],
            };
            let state = if number < 42 && !state.is_final() { State::Success } else { state };
            summary(number, state, title, branch)
        })
        .collect()
}

fn project(org: &str, slug: &str, description: &str, latest: Option<Value>) -> Value {
    json!({
        "id": id(3), "org": org, "slug": slug, "description": description,
        "settings": {}, "clone_url": format!("https://ci.example.org/{org}/{slug}.git"),
        "created_at": ago(5_000_000), "latest_run": latest, "allowed": all_actions(),
    })
}

fn projects(org: &str) -> Vec<Value> {
    match org {
        "empty" => Vec::new(),
        "acme" => vec![
            project(org, "web", "The public web site and its API", runs().into_iter().next()),
            project(
                org,
                "compiler",
                "",
                Some(summary(7, State::Failure, "parser: accept trailing commas", "main")),
            ),
            project(org, "new", "Nobody has pushed to it yet", None),
            project(
                org,
                LONG,
                "A description that says more about the project than anybody will ever want to read in a list of projects",
                Some(summary(3, State::Success, TITLES[3].0, TITLES[3].1)),
            ),
        ],
        _ => vec![project(org, LONG, "", None)],
    }
}

/// One stage, as the run's page sums it up: span, stage, name, state, begin and end in milliseconds.
type Step = (u64, Stage, &'static str, State, i64, Option<i64>);

fn steps(state: State) -> Vec<Step> {
    use State::{Failure, Running, Success};
    let mut steps = vec![
        (2, Stage::Queue, "queue", Success, 0, Some(120)),
        (3, Stage::Machine, "machine", Success, 120, Some(3_900)),
        (4, Stage::Checkout, "checkout", Success, 3_900, Some(4_350)),
    ];
    match state {
        Running => steps.extend([
            (5, Stage::Evaluate, "evaluate", Success, 4_350, Some(9_100)),
            (10, Stage::Task, "web:lint", Success, 9_100, Some(15_000)),
            (11, Stage::Task, "web:test", Running, 9_100, None),
        ]),
        Failure => steps.extend([
            (5, Stage::Evaluate, "evaluate", Success, 4_350, Some(9_100)),
            (10, Stage::Task, "web:lint", Success, 9_100, Some(15_000)),
            (11, Stage::Task, "web:test", Failure, 9_100, Some(44_000)),
            (12, Stage::Teardown, "teardown", Success, 44_000, Some(44_300)),
        ]),
        State::Error => steps.push((5, Stage::Evaluate, "evaluate", Failure, 4_350, Some(5_000))),
        _ => steps.extend([
            (5, Stage::Evaluate, "evaluate", Success, 4_350, Some(9_100)),
            (10, Stage::Task, "web:lint", Success, 9_100, Some(15_000)),
            (11, Stage::Task, "web:test", Success, 9_100, Some(44_000)),
            (12, Stage::Teardown, "teardown", Success, 44_000, Some(44_300)),
        ]),
    }
    steps
}

fn start_of(state: State) -> Timestamp {
    if state.is_final() { ago(10_800) } else { ago(30) }
}

fn attempt(number: u32, state: State) -> Value {
    let start = start_of(state);
    let at = |millis: i64| start + TimeDelta::milliseconds(millis);
    let annotations = match state {
        State::Error => json!([{
            "message": "error: undefined variable 'pkg'\n\n   11|   packages = [ pkg.ripgrep ];\n     |                ^\n\nDid you mean `pkgs`?",
            "file": "devenv.nix", "line": 11, "span": SpanId(5),
        }]),
        _ => json!([]),
    };
    json!({
        "id": id(200 + number), "number": number,
        "state": if state == State::Error { State::Failure } else { state },
        "reason": match state {
            State::Failure => Some("The task web:test ended with exit status 101."),
            State::Error => Some("devenv.nix has an error."),
            _ => None,
        },
        "exit_status": (state == State::Failure).then_some(101),
        "queued_at": start, "started_at": (state != State::Queued).then(|| at(120)),
        "finished_at": state.is_final().then(|| at(44_300)),
        "stages": if state == State::Queued { json!([]) } else {
            steps(state).into_iter().map(|(span, stage, name, state, from, to)| json!({
                "span": SpanId(span), "stage": stage, "name": name, "state": state,
                "started_at": at(from), "finished_at": to.map(at),
                "exit_status": (stage == Stage::Task).then_some(if state == State::Failure { 101 } else { 0 }),
            })).collect()
        },
        "waits": (state == State::Queued).then_some("waits for a runner: none has the platform aarch64-linux"),
        "latency": (state != State::Queued).then(|| json!({
            "start": "pooled", "push_to_evaluation_ms": 214,
            "steps": [
                { "step": "accepted", "millis": 9 }, { "step": "queued", "millis": 12 },
                { "step": "machine", "millis": 4 }, { "step": "reseed", "millis": 31 },
                { "step": "source", "millis": 58 }, { "step": "evaluator", "millis": 100 },
                { "step": "evaluation", "millis": 820 },
            ],
        })),
        "annotations": annotations,
    })
}

fn job(name: &str, state: State) -> Value {
    let attempts = if state == State::Failure {
        vec![attempt(1, State::Success), attempt(2, state)]
    } else {
        vec![attempt(1, state)]
    };
    let (platform, profile) = name.split_once('.').map_or((name, None), |(p, f)| (p, Some(f)));
    let state = if state == State::Error { State::Failure } else { state };
    json!({ "id": id(300), "name": name, "platform": platform, "profile": profile, "state": state, "attempts": attempts })
}

fn run(org: &str, project: &str, number: u64) -> Option<Value> {
    let mut run = runs().into_iter().find(|r| r["number"] == number)?;
    let state: State = serde_json::from_value(run["state"].clone()).expect("a state");
    let jobs = match number {
        42 => vec![
            job("x86_64-linux", State::Running),
            job("x86_64-linux.release", State::Success),
            job("aarch64-linux", State::Queued),
        ],
        41 => vec![
            job("aarch64-linux", State::Success),
            job("x86_64-linux", State::Failure),
            job("x86_64-linux.broken", State::Error),
        ],
        _ if state == State::Skip => Vec::new(),
        _ => vec![job("x86_64-linux", state)],
    };
    let object = run.as_object_mut().expect("an object");
    object.insert("org".into(), json!(org));
    object.insert("project".into(), json!(project));
    object.insert("jobs".into(), json!(jobs));
    object.insert("can_operate".into(), json!(true));
    Some(run)
}

/// The trace of a job; of the big one if its run is number 40.
pub(super) fn trace(number: u64, state: State) -> Trace {
    let start = start_of(state);
    let at = |millis: i64| start + TimeDelta::milliseconds(millis);
    let end = state.is_final().then(|| at(44_300));
    let span = |id: u64, parent: u64, kind, name: &str, state, from: i64, to: Option<i64>, depth| Span {
        id: SpanId(id),
        parent: (parent > 0).then_some(SpanId(parent)),
        kind,
        stage: None,
        name: name.to_owned(),
        state,
        started_at: at(from),
        finished_at: to.map(at),
        depth,
        lines: 4,
        attributes: [("cicd.pipeline.task.name", name), ("process.exit.code", "0")]
            .into_iter()
            .filter(|_| kind == SpanKind::Task)
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
    };
    let mut spans =
        vec![Span { finished_at: end, ..span(1, 0, SpanKind::Job, "x86_64-linux", state, 0, None, 0) }];
    for (id, stage, name, state, from, to) in steps(state) {
        let kind = if stage == Stage::Task { SpanKind::Task } else { SpanKind::Stage };
        spans.push(span(id, 1, kind, name, state, from, to, 1));
        if stage == Stage::Evaluate {
            spans.push(span(
                20,
                id,
                SpanKind::Evaluation,
                "devenv.nix",
                State::Success,
                from + 40,
                Some(from + 4_000),
                2,
            ));
            spans.push(span(
                21,
                20,
                SpanKind::Fetch,
                "copying source",
                State::Success,
                from + 50,
                Some(from + 300),
                3,
            ));
            spans.push(span(
                22,
                20,
                SpanKind::Build,
                "/nix/store/3r8h0v0-hello-2.12.1.drv",
                State::Success,
                from + 300,
                Some(from + 3_700),
                3,
            ));
        }
        if name == "web:test" && number == 40 {
            for i in 0..20_000_u64 {
                let from = 9_100 + i64::try_from(i).expect("small") * 3 / 2;
                let name = format!("test module_{}::case_{i}", i / 250);
                spans.push(span(
                    1_000 + i,
                    id,
                    SpanKind::Command,
                    &name,
                    State::Success,
                    from,
                    Some(from + 40),
                    2,
                ));
            }
        }
    }
    Trace { total: spans.len() as u64, spans, seq: 9 }
}

fn log_line(number: u64, state: State, last: u64) -> LogLine {
    let text = match number % 12 {
        1 => format!("\u{1b}[1;34m==>\u{1b}[0m running \u{1b}[1mweb:test\u{1b}[0m, part {}", number / 12 + 1),
        3 => "\u{1b}[32m   Compiling\u{1b}[0m serde v1.0.228".to_owned(),
        5 => "\u{1b}[33mwarning\u{1b}[0m: unused variable: `started`".to_owned(),
        7 => format!("test runs::a_lapsed_lease_puts_the_job_back ... \u{1b}[32mok\u{1b}[0m ({number} ms)"),
        9 => "a line that is far longer than anything that fits into a window on a laptop, because some tool prints its whole command line with every flag and every path that it has ever been given: --library-path /nix/store/0123456789abcdefghijklmnopqrstuv-glibc-2.40/lib --include /nix/store/0123456789abcdefghijklmnopqrstuv-openssl-3.4.0-dev/include".to_owned(),
        _ => format!("line {number}"),
    };
    let text = match (state, last - number) {
        (State::Failure, 3) => "thread 'main' panicked at src/lease.rs:118:9:".to_owned(),
        (State::Failure, 2) => {
            "\u{1b}[31massertion `left == right` failed: the job is back in the queue\u{1b}[0m".to_owned()
        }
        (State::Failure, 1) => "  left: Running, right: Queued".to_owned(),
        (State::Failure, 0) => "\u{1b}[1;31mtest result: FAILED\u{1b}[0m. 211 passed; 1 failed".to_owned(),
        _ => text,
    };
    LogLine {
        number,
        span: SpanId(11),
        stream: if number.is_multiple_of(12) { Stream::Stderr } else { Stream::Stdout },
        time: start_of(state) + TimeDelta::milliseconds(9_100 + i64::try_from(number).expect("small")),
        text,
    }
}

fn problem(status: StatusCode, kind: &str, title: &str) -> Response {
    let body = json!({ "type": kind, "title": title, "status": status.as_u16() });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "not-found", "there is no such thing here, or you may not see it")
}

fn page(items: Vec<Value>) -> Response {
    Json(json!({ "items": items })).into_response()
}

fn known_state(number: u64, job: &str) -> State {
    match (number, job) {
        (42, "x86_64-linux") => State::Running,
        (41, "x86_64-linux") => State::Failure,
        (41, "x86_64-linux.broken") => State::Error,
        _ => State::Success,
    }
}

#[derive(serde::Deserialize)]
struct LogQuery {
    from: Option<u64>,
    limit: Option<u64>,
    tail: Option<u64>,
    span: Option<String>,
}

#[derive(serde::Deserialize)]
struct RunsQuery {
    branch: Option<String>,
    state: Option<String>,
    cursor: Option<usize>,
    limit: Option<usize>,
}

/// The API. Who has no cookie is not signed in; `trouble` is an organisation
/// whose every page has a problem.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn api() -> Router {
    let run_path = "/orgs/{org}/projects/{project}/runs/{number}";
    let routes = Router::new()
        .route(
            "/setup",
            get(|headers: HeaderMap| async move {
                let cookie = headers.get(header::COOKIE).and_then(|c| c.to_str().ok()).unwrap_or_default();
                Json(json!({ "needed": cookie.contains("fresh") }))
            }),
        )
        .route(
            "/session",
            get(|headers: HeaderMap| async move {
                if !headers.contains_key(header::COOKIE) {
                    return problem(StatusCode::UNAUTHORIZED, "unauthenticated", "you are not signed in");
                }
                let orgs = [("acme", "Acme Ltd"), ("empty", "Nothing here"), (LONG, LONG)]
                    .map(|(org, name)| json!({ "org": org, "display_name": name, "role": "owner" }));
                Json(json!({
                    "user": user(), "methods": ["pwd"], "assurance": "aal1",
                    "authenticated_at": ago(600), "standing": "fine", "orgs": orgs,
                }))
                .into_response()
            }),
        )
        .route(
            "/orgs",
            get(|headers: HeaderMap| async move {
                match headers.get(header::COOKIE).and_then(|c| c.to_str().ok()) {
                    None => problem(StatusCode::UNAUTHORIZED, "unauthenticated", "you are not signed in"),
                    Some(cookie) if cookie.contains("nothing") => page(Vec::new()),
                    Some(_) => page(vec![org("acme", "Acme Ltd"), org("empty", "Nothing here"), org(LONG, LONG)]),
                }
            }),
        )
        .route(
            "/projects",
            get(|headers: HeaderMap| async move {
                let cookie = headers.get(header::COOKIE).and_then(|c| c.to_str().ok()).unwrap_or_default();
                page(if cookie.contains("nothing") { Vec::new() } else { projects("acme") })
            }),
        )
        .route(
            "/orgs/{org}",
            get(|Path(slug): Path<String>| async move {
                match slug.as_str() {
                    "acme" => Json(org("acme", "Acme Ltd")).into_response(),
                    "empty" => Json(org("empty", "Nothing here")).into_response(),
                    LONG => Json(org(LONG, LONG)).into_response(),
                    "trouble" => problem(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "unavailable",
                        "the database cannot be reached at the moment",
                    ),
                    _ => not_found(),
                }
            }),
        )
        .route(
            "/orgs/{org}/members",
            get(|| async {
                page(vec![
                    json!({ "user_id": id(1), "name": "Ada Lovelace", "email": "ada@example.org", "role": "owner", "since": ago(9_000_000) }),
                    json!({ "user_id": id(5), "name": LONG, "email": format!("{LONG}@example.org"), "role": "viewer", "since": ago(4_000) }),
                ])
            }),
        )
        .route("/orgs/{org}/invitations", get(|| async { page(vec![account::invitation("grace@example.org")]) }))
        .route("/orgs/{org}/runners", get(|Path(org): Path<String>| async move { page(runners(&org)) }))
        .route("/orgs/{org}/projects", get(|Path(org): Path<String>| async move { page(projects(&org)) }))
        .route(
            "/orgs/{org}/projects/{project}",
            get(|Path((org, slug)): Path<(String, String)>| async move {
                let found = projects(&org).into_iter().find(|p| p["slug"] == slug);
                found.map_or_else(not_found, |p| Json(p).into_response())
            }),
        )
        .route("/orgs/{org}/projects/{project}/tokens", get(|| async { page(tokens()) }))
        .route(
            "/orgs/{org}/projects/{project}/runs",
            get(|Path((_, slug)): Path<(String, String)>, Query(query): Query<RunsQuery>| async move {
                if slug == "new" || slug == LONG {
                    return page(Vec::new());
                }
                let start = query.cursor.unwrap_or(0);
                let limit = query.limit.unwrap_or(50).min(20);
                let all: Vec<Value> = runs()
                    .into_iter()
                    .filter(|r| query.state.as_ref().is_none_or(|s| r["state"] == *s))
                    .filter(|r| {
                        query.branch.as_ref().is_none_or(|b| r["commit"]["git_ref"] == format!("refs/heads/{b}"))
                    })
                    .collect();
                let next = (start + limit < all.len()).then(|| (start + limit).to_string());
                let items: Vec<Value> = all.into_iter().skip(start).take(limit).collect();
                Json(json!({ "items": items, "next_cursor": next })).into_response()
            }),
        )
        .route(
            run_path,
            get(|Path((org, project, number)): Path<(String, String, String)>| async move {
                let found = number.parse().ok().and_then(|n| run(&org, &project, n));
                found.map_or_else(not_found, |r| Json(r).into_response())
            }),
        )
        .route(
            &format!("{run_path}/jobs/{{job}}/trace"),
            get(
                |Path((_, _, number, job)): Path<(String, String, u64, String)>, Query(query): Query<LogQuery>| async move {
                    let mut trace = trace(number, known_state(number, &job));
                    trace.spans.truncate(query.limit.map_or(usize::MAX, |n| usize::try_from(n).expect("small")));
                    Json(trace)
                },
            ),
        )
        .route(
            &format!("{run_path}/jobs/{{job}}/log"),
            get(
                |Path((_, _, number, job)): Path<(String, String, u64, String)>, Query(query): Query<LogQuery>| async move {
                    let state = known_state(number, &job);
                    let total = match (number, &query.span) {
                        (40, None) => 1_000_000,
                        (_, Some(span)) if span != "000000000000000b" => 0,
                        _ => 1_234,
                    };
                    let limit = query.tail.or(query.limit).unwrap_or(500);
                    let from = match query.tail {
                        Some(tail) => total - tail.min(total) + 1,
                        None => query.from.unwrap_or(1),
                    };
                    let lines = (from..(from + limit).min(total + 1)).map(|n| log_line(n, state, total)).collect();
                    Json(LogWindow { lines, total, dropped: 0, seq: 9 })
                },
            ),
        )
        .merge(account::routes())
        .fallback(|| async { not_found() });
    Router::new().nest(PREFIX, routes)
}

fn runners(org: &str) -> Vec<Value> {
    if org != "acme" {
        return Vec::new();
    }
    let runner = |n: u32, name: &str, state: &str| {
        json!({
            "id": id(n), "name": name, "scope": "org", "state": state, "labels": [], "platforms": ["x86_64-linux"],
            "slots": 1, "version": "0.1.0", "created_at": ago(9_000), "last_seen_at": ago(3), "jobs": [],
            "can_manage": true,
        })
    };
    let mut busy = runner(301, "builder-1", "online");
    busy["labels"] = json!(["gpu", "big"]);
    busy["slots"] = json!(4);
    busy["room"] = json!({ "memory_mib": 14336, "memory_used_mib": 4096, "cpus": 8, "cpus_used": 4 });
    busy["ready"] = json!({ "templates": [
        { "cpus": 2, "memory_mib": 2048, "disk_mib": 8192, "holds_mib": 171, "made_at": ago(7_000), "waiting": 2 },
        { "cpus": 8, "memory_mib": 8192, "disk_mib": 8192, "waiting": 0 },
    ] });
    busy["jobs"] = json!([
        { "org": "acme", "project": "web", "run": 42, "job": "x86_64-linux", "started_at": ago(30) },
        { "org": "acme", "project": LONG, "run": 7, "job": "x86_64-linux", "started_at": ago(300) },
    ]);
    let mut gone = runner(303, &LONG[..60], "offline");
    gone["last_seen_at"] = json!(ago(90_000));
    gone["last_error"] = json!("the runner was lost: no sign of life for 60 s");
    gone["last_error_at"] = json!(ago(89_000));
    let mut shared = runner(304, "shared", "online");
    shared["scope"] = json!("instance");
    shared["embedded"] = json!(true);
    shared["can_manage"] = json!(false);
    vec![busy, runner(302, "builder-2", "draining"), gone, shared]
}

fn tokens() -> Vec<Value> {
    vec![
        json!({
            "id": id(50), "name": "laptop", "prefix": "dvc_3Kx9", "scopes": ["read", "write"], "owner": "Ada Lovelace",
            "created_at": ago(90_000), "expires_at": now() + TimeDelta::days(80), "last_used_at": ago(1_200),
        }),
        json!({
            "id": id(51), "name": LONG, "prefix": "dvc_9aBc", "scopes": ["read", "write", "admin"],
            "project": format!("acme/{LONG}"), "owner": "Grace Hopper",
            "created_at": ago(9_000_000), "expires_at": ago(100),
        }),
    ]
}
