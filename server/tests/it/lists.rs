//! Lists that live: the runs of projects, told as they change.

use std::{pin::Pin, time::Duration};

use devenv_cloud::{
    identity::{Principal, authenticate_token},
    projects::{Followed, run_events},
};
use devenv_cloud_api::{
    orgs::{Org, Project as Shown},
    page::Page,
    permissions::{Role, Scope},
    runs::State,
    trace::{PlacedRun, RunsEvent},
};
use futures::{Stream, StreamExt as _};
use http::Method;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::support::{
    Browser, TestApp,
    work::{Project, claim, finish},
};

/// The events of a stream, one by one.
struct Events(Pin<Box<dyn Stream<Item = Vec<PlacedRun>> + Send>>);

impl Events {
    fn of(app: &TestApp, principal: &Principal, followed: Followed) -> Self {
        let events = run_events(app.app.clone(), principal.clone(), followed);
        Self(Box::pin(events.map(|event| {
            let RunsEvent::Runs { runs } = event.expect("an event");
            runs
        })))
    }

    /// The next ones, as (project, number, state), in order.
    async fn next(&mut self) -> Vec<(String, u64, State)> {
        let runs = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await.expect("an event");
        let told = |placed: PlacedRun| (placed.project.to_string(), placed.run.number, placed.run.state);
        runs.expect("the stream goes on").into_iter().map(told).collect()
    }

    /// Reads until a run is in this state.
    async fn until(&mut self, number: u64, state: State) {
        while !self.next().await.iter().any(|told| told.1 == number && told.2 == state) {}
    }
}

fn told(number: u64, state: State) -> (String, u64, State) {
    ("web".to_owned(), number, state)
}

/// What a browser reads of a stream until `words` are in it.
async fn read_until(app: &TestApp, browser: &Browser, path: &str, words: &str) -> String {
    let request = http::Request::builder()
        .method(Method::GET)
        .uri(path)
        .header("host", "ci.example.com")
        .header("cookie", browser.cookie_header().expect("cookies"))
        .body(axum::body::Body::empty())
        .expect("a request");
    let response = app.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut body, mut text) = (response.into_body(), String::new());
    while !text.contains(words) {
        let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("a frame");
        let data = frame.expect("more").expect("a frame").into_data().expect("data");
        text.push_str(&String::from_utf8_lossy(&data));
    }
    text
}

async fn principal(app: &TestApp, browser: &Browser) -> Principal {
    let token = browser.token(&[Scope::Read]).await.secret;
    authenticate_token(app, &token).await.expect("look").expect("a token")
}

/// A project that was made over the API.
async fn made(browser: &Browser, org: &str, name: &str) -> Project {
    browser.create_project(org, name).await;
    let org: Org = browser.get(&format!("/api/v1/orgs/{org}")).await.assert_status(200).json();
    let project: Shown =
        browser.get(&format!("/api/v1/orgs/{}/projects/{name}", org.slug)).await.assert_status(200).json();
    Project { org: org.id, id: project.id }
}

async fn acme(app: &TestApp) -> (Browser, Project) {
    let admin = app.set_up().await;
    admin.create_org("acme").await;
    let project = made(&admin, "acme", "web").await;
    (admin, project)
}

both_engines! {
    async fn a_list_hears_of_each_run_that_is_new_or_changes(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let principal = principal(&app, &admin).await;
        let mut number = project.run(&app, "main", 'a').await;
        for followed in [Followed::Project(project.id), Followed::Org(project.org), Followed::Mine] {
            let mut events = Events::of(&app, &principal, followed);
            assert!(events.next().await.contains(&told(number, State::Queued)));
            number = project.run(&app, "other", 'b').await;
            assert_eq!(events.next().await, [told(number, State::Queued)]);
            while let Some(assignment) = claim(&app).await {
                finish(&app, &assignment.lease, State::Success).await;
            }
            events.until(number, State::Success).await;
            number = project.run(&app, "main", 'c').await;
        }
    }

    async fn whoever_comes_back_hears_how_things_stand(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let principal = principal(&app, &admin).await;
        project.run(&app, "main", 'a').await;
        let mut events = Events::of(&app, &principal, Followed::Project(project.id));
        assert_eq!(events.next().await, [told(1, State::Queued)]);
        drop(events);
        // The queue is first come, first served.
        app.advance(chrono::TimeDelta::seconds(1));
        project.run(&app, "other", 'b').await;
        let lease = claim(&app).await.expect("work").lease;
        finish(&app, &lease, State::Failure).await;
        let mut events = Events::of(&app, &principal, Followed::Project(project.id));
        assert_eq!(events.next().await, [told(2, State::Queued), told(1, State::Failure)]);
    }

    async fn nobody_hears_of_what_they_may_not_see(app: TestApp) {
        let (admin, project) = acme(&app).await;
        let member = app.person("vera").await;
        let added = admin.add_member("acme", "vera", Role::Viewer).await;
        member.create_org("own").await;
        let own = made(&member, "own", "mine").await;
        let principal = principal(&app, &member).await;
        let lists = [Followed::Mine, Followed::Org(project.org), Followed::Project(project.id)];
        let mut lists = lists.map(|followed| Events::of(&app, &principal, followed));
        project.run(&app, "main", 'a').await;
        for events in &mut lists {
            assert_eq!(events.next().await, [told(1, State::Queued)]);
        }
        // Removed while listening: what happens now is none of their business.
        admin.delete(&format!("/api/v1/orgs/acme/members/{}", added.user_id)).await.assert_status(204);
        for _ in 0..4 {
            project.run(&app, "other", 'b').await;
        }
        for branch in ["main", "other"] {
            own.run(&app, branch, 'c').await;
        }
        assert!(lists[0].next().await.iter().all(|told| told.0 == "mine"));
        app.shutdown.cancel();
        for events in &mut lists[1..] {
            let next = tokio::time::timeout(Duration::from_secs(20), events.0.next()).await.expect("it ends");
            assert_eq!(next, None);
        }
    }

    async fn a_stranger_does_not_learn_that_there_is_a_list(app: TestApp) {
        acme(&app).await;
        let stranger = app.person("stranger").await;
        for path in ["/api/v1/orgs/acme/events", "/api/v1/orgs/acme/projects/web/events"] {
            stranger.get(path).await.assert_status(404);
            app.get(path).send().await.assert_status(401);
        }
        for path in ["/api/v1/projects/events", "/api/v1/projects"] {
            app.get(path).send().await.assert_status(401);
        }
        let page: Page<Shown> = stranger.get("/api/v1/projects").await.assert_status(200).json();
        assert!(page.items.is_empty());
    }

    async fn a_browser_follows_its_lists(app: TestApp) {
        let (admin, project) = acme(&app).await;
        project.run(&app, "main", 'a').await;
        for path in ["/projects/events", "/orgs/acme/events", "/orgs/acme/projects/web/events"] {
            let text = read_until(&app, &admin, &format!("/api/v1{path}"), "\n\n").await;
            assert!(text.contains("event: runs") && text.contains("\"project\":\"web\""), "{text}");
        }
    }

    async fn my_projects_come_in_the_order_of_what_happened(app: TestApp) {
        let admin = app.set_up().await;
        for org in ["acme", "zeta"] {
            admin.create_org(org).await;
        }
        let mut projects = Vec::new();
        for (org, name) in [("acme", "one"), ("zeta", "two"), ("acme", "three")] {
            app.advance(chrono::TimeDelta::seconds(1));
            projects.push(made(&admin, org, name).await);
        }
        app.advance(chrono::TimeDelta::seconds(1));
        projects[0].run(&app, "main", 'a').await;
        let names = async |query: &str| {
            let page: Page<Shown> = admin.get(&format!("/api/v1/projects?{query}")).await.assert_status(200).json();
            (page.items.iter().map(|p| p.slug.to_string()).collect::<Vec<_>>(), page.next_cursor)
        };
        let (all, none) = names("").await;
        assert_eq!((all, none), (vec!["one".to_owned(), "three".to_owned(), "two".to_owned()], None));
        let (first, cursor) = names("limit=2").await;
        assert_eq!(first, ["one", "three"]);
        let (rest, end) = names(&format!("limit=2&cursor={}", cursor.expect("more"))).await;
        assert_eq!((rest, end), (vec!["two".to_owned()], None));
    }

    async fn the_streams_of_lists_end_when_the_server_stops(app: TestApp) {
        let admin = app.set_up().await;
        let principal = principal(&app, &admin).await;
        let reading = tokio::spawn(run_events(app.app.clone(), principal, Followed::Mine).count());
        tokio::task::yield_now().await;
        app.shutdown.cancel();
        let events = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("ends").expect("task");
        assert_eq!(events, 0);
    }
}
