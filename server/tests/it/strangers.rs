//! All routes of the OpenAPI document, asked by those who have no business with
//! what they ask for. A route that is added later is tested without a change
//! here.

use devenv_cloud_api::permissions::{Role, Scope};
use http::Method;
use serde_json::Value;

use crate::support::{Browser, Request, Response, TestApp};

/// The one thing that only anonymous visitors and everybody may do.
const OPEN: &[&str] = &[
    "askPasswordReset",
    "resetPassword",
    "confirmEmail",
    "lookAtInvitation",
    "acceptInvitation",
    "getSetup",
    "setUp",
    "signIn",
    "signOut",
    "getSignIn",
    "startSignInOver",
    "identify",
    "signInWithPassword",
    "signInWithCode",
    "signInWithRecoveryCode",
    "beginSignInWithPasskey",
    "signInWithPasskey",
    "registerRunner",
];

/// What every signed-in person may do: it is about themselves.
const ONES_OWN: &[&str] = &[
    "getEmail",
    "changeEmail",
    "askVerification",
    "listMyAudit",
    "exportMyAudit",
    "getSession",
    "updateAccount",
    "changePassword",
    "listLinks",
    "unlinkAccount",
    "listTokens",
    "createToken",
    "revokeToken",
    "listSessions",
    "endSession",
    "endOtherSessions",
    "getFactors",
    "beginAddingPasskey",
    "addPasskey",
    "renamePasskey",
    "removePasskey",
    "beginCodes",
    "confirmCodes",
    "removeCodes",
    "makeRecoveryCodes",
    "getStepUp",
    "stepUpWithPassword",
    "stepUpWithCode",
    "stepUpWithRecoveryCode",
    "beginStepUpWithPasskey",
    "stepUpWithPasskey",
    "listOrgs",
    "createOrg",
    "search",
    "listMyProjects",
    "followMyProjects",
    "getDeviceLogin",
    "decideDeviceLogin",
    "getAuthorization",
    "decideAuthorization",
];

/// What administrators of the instance do, in person.
const FOR_ADMINISTRATORS: &[&str] = &[
    "listInstanceInvitations",
    "invite",
    "revokeInstanceInvitation",
    "listPeople",
    "disableAccount",
    "enableAccount",
    "listInstanceAudit",
    "exportInstanceAudit",
    "listMails",
    "getMail",
    "getSignInPolicy",
    "setSignInPolicy",
    "listInstanceRunners",
    "updateInstanceRunner",
    "revokeInstanceRunner",
    "listInstanceRunnerTokens",
    "createInstanceRunnerToken",
    "revokeInstanceRunnerToken",
    "listSigningKeys",
    "rotateSigningKeys",
];

/// What runners do, with a credential that is good for nothing else.
const FOR_RUNNERS: &[&str] = &[
    "renewRunnerCredential",
    "startRunner",
    "stopRunner",
    "reportRunner",
    "claimJob",
    "renewLease",
    "awaitLease",
    "fetchSource",
    "reportRecords",
    "finishAttempt",
];

struct Operation {
    id: String,
    method: Method,
    path: String,
    body: Option<Value>,
    /// Whether the answer goes on until somebody ends it.
    streams: bool,
}

/// Every operation, with a body that is fine where it takes one.
fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(devenv_cloud::web::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            operations.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                body: (!schema.is_null()).then(|| example(&document, schema)),
                streams: !operation["responses"]["200"]["content"]["text/event-stream"].is_null(),
            });
        }
    }
    assert!(operations.len() > 25, "{} operations: is this the whole document?", operations.len());
    operations
}

/// Some value that the schema allows: a body that is refused for its form would
/// hide that nobody asked for permission.
fn example(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document, document.pointer(&reference[1..]).unwrap());
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    if let Some(one) = schema["oneOf"].as_array().or_else(|| schema["allOf"].as_array()) {
        return example(document, &one[0]);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "object" => {
            let empty = serde_json::Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&empty);
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            properties
                .iter()
                .filter(|(name, _)| required.iter().any(|r| r.as_str() == Some(name)))
                .map(|(name, property)| (name.clone(), named_example(document, name, property)))
                .collect()
        }
        "array" => Value::Array(vec![example(document, &schema["items"])]),
        "integer" | "number" => Value::from(30),
        "boolean" => Value::Bool(true),
        "string" if schema["format"] == "uuid" => "019b76da-a800-7000-8000-000000000001".into(),
        _ => schema["example"].as_str().unwrap_or("example").into(),
    }
}

fn named_example(document: &Value, name: &str, schema: &Value) -> Value {
    match name {
        "email" => "somebody@example.com".into(),
        "password" | "new" | "current" => "a password that nobody has".into(),
        _ => example(document, schema),
    }
}

impl Operation {
    /// The path with everything filled in that is not given as an id that nobody has.
    fn at(&self, org: &str, project: &str) -> String {
        let path = self.path.replace("{org}", org).replace("{project}", project);
        let path = path.replace("{number}", "1").replace("{job}", "x86_64-linux");
        let mut filled = String::new();
        for (n, part) in path.split(['{', '}']).enumerate() {
            filled.push_str(if n % 2 == 1 { "019b76da-a800-7000-8000-000000000001" } else { part });
        }
        filled
    }

    fn is_about_an_org(&self) -> bool {
        self.path.contains("{org}")
    }

    fn with_body(&self, request: Request) -> Request {
        match &self.body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

async fn ask(browser: &Browser, operation: &Operation, org: &str, project: &str) -> Response {
    let request = browser.request(operation.method.clone(), &operation.at(org, project));
    browser.send(operation.with_body(request)).await
}

/// What a stranger could tell apart.
fn visible(response: &Response) -> (u16, String, Vec<(String, String)>) {
    let headers = response.headers.iter();
    let headers = headers.map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
    (response.status.as_u16(), response.text(), headers.collect())
}

async fn acme(app: &TestApp) -> Browser {
    let admin = app.set_up().await;
    admin.create_org("acme").await;
    admin.create_project("acme", "web").await;
    admin
}

both_engines! {
    async fn nobody_gets_anything_but_the_way_in(app: TestApp) {
        acme(&app).await;
        for operation in operations().iter().filter(|o| !OPEN.contains(&o.id.as_str())) {
            let real = operation.with_body(app.request(operation.method.clone(), &operation.at("acme", "web")));
            let real = real.send().await;
            assert_eq!(real.status, 401, "{}: {}", operation.id, real.text());
            assert_eq!(real.problem().kind, "unauthenticated");
            let absent =
                operation.with_body(app.request(operation.method.clone(), &operation.at("none", "none")));
            assert_eq!(visible(&real), visible(&absent.send().await), "{}", operation.id);
        }
    }

    async fn a_stranger_cannot_tell_what_exists_from_what_does_not(app: TestApp) {
        acme(&app).await;
        let stranger = app.person("stranger").await;
        for operation in operations().iter().filter(|o| o.is_about_an_org()) {
            let real = ask(&stranger, operation, "acme", "web").await;
            assert_eq!(real.status, 404, "{}: {}", operation.id, real.text());
            for (org, project) in [("acme", "none"), ("none", "web"), ("none", "none"), ("No%20slug", "..%2f..")] {
                let absent = ask(&stranger, operation, org, project).await;
                assert_eq!(visible(&real), visible(&absent), "{} {org}/{project}", operation.id);
            }
        }
    }

    async fn every_route_is_about_an_organisation_or_on_a_list(_app: TestApp) {
        for operation in operations().iter().filter(|o| !o.is_about_an_org()) {
            let lists = [OPEN, ONES_OWN, FOR_ADMINISTRATORS, FOR_RUNNERS];
            let known = lists.iter().any(|list| list.contains(&operation.id.as_str()));
            assert!(known, "{} is new: say here who may do it, and test it", operation.id);
        }
    }

    async fn a_member_of_another_organisation_is_a_stranger(app: TestApp) {
        acme(&app).await;
        let other = app.person("other").await;
        other.create_org("other").await;
        other.create_project("other", "web").await;
        for operation in operations().iter().filter(|o| o.is_about_an_org()) {
            let response = ask(&other, operation, "acme", "web").await;
            assert_eq!(response.status, 404, "{}: {}", operation.id, response.text());
            assert_eq!(response.problem().kind, "not-found");
        }
    }

    async fn only_an_administrator_in_person_does_what_is_about_the_instance(app: TestApp) {
        let admin = acme(&app).await;
        let token = admin.token(&[Scope::Admin]).await.secret;
        let owner = app.person("owner").await;
        owner.create_org("owned").await;
        for operation in operations().iter().filter(|o| FOR_ADMINISTRATORS.contains(&o.id.as_str())) {
            let response = ask(&owner, operation, "", "").await;
            assert_eq!(response.status, 403, "{}: {}", operation.id, response.text());
            let request = app.request(operation.method.clone(), &operation.at("", "")).bearer(&token);
            let response = operation.with_body(request).send().await;
            assert_eq!(response.status, 403, "{}: {}", operation.id, response.text());
            let status = ask(&admin, operation, "", "").await.status.as_u16();
            assert!(matches!(status, 200 | 201 | 404), "{}: {status}", operation.id);
        }
    }

    async fn nobody_but_a_runner_does_what_a_runner_does(app: TestApp) {
        let admin = acme(&app).await;
        let token = admin.token(&[Scope::Admin]).await.secret;
        for operation in operations().iter().filter(|o| FOR_RUNNERS.contains(&o.id.as_str())) {
            let request = app.request(operation.method.clone(), &operation.at("", "")).bearer(&token);
            let response = operation.with_body(request).send().await;
            assert_eq!(response.status, 403, "{}: {}", operation.id, response.text());
            // The session of the one who may do everything else.
            let status = ask(&admin, operation, "", "").await.status.as_u16();
            assert!(matches!(status, 401 | 403), "{}: {status}", operation.id);
        }
    }

    async fn a_runner_gets_nothing_but_work(app: TestApp) {
        let admin = acme(&app).await;
        let credential = admin.runner("acme").await.credential;
        let at_its_own = |o: &&Operation| {
            !OPEN.contains(&o.id.as_str()) && !FOR_RUNNERS.contains(&o.id.as_str())
        };
        for operation in operations().iter().filter(at_its_own) {
            let request = app.request(operation.method.clone(), &operation.at("acme", "web"));
            let real = operation.with_body(request.bearer(&credential)).send().await;
            let status = real.status.as_u16();
            assert!(matches!(status, 401 | 403 | 404), "{}: {status} {}", operation.id, real.text());
            let request = app.request(operation.method.clone(), &operation.at("none", "none"));
            let absent = operation.with_body(request.bearer(&credential)).send().await;
            assert_eq!(visible(&real), visible(&absent), "{}", operation.id);
        }
    }

    async fn a_viewer_changes_nothing(app: TestApp) {
        let admin = acme(&app).await;
        let viewer = app.person("viewer").await;
        admin.add_member("acme", "viewer", Role::Viewer).await;
        for operation in operations().iter().filter(|o| o.is_about_an_org() && o.method != Method::GET) {
            // For themselves, limited to what they may do.
            if operation.id == "createProjectToken" {
                continue;
            }
            let response = ask(&viewer, operation, "acme", "web").await;
            assert_eq!(response.status, 403, "{}: {}", operation.id, response.text());
        }
        viewer.get("/api/v1/orgs/acme/projects/web").await.assert_status(200);
    }

    async fn a_read_only_token_changes_nothing_whoever_owns_it(app: TestApp) {
        let admin = acme(&app).await;
        let token = admin.token(&[Scope::Read]).await.secret;
        for operation in operations() {
            if OPEN.contains(&operation.id.as_str()) {
                continue;
            }
            let request = app.request(operation.method.clone(), &operation.at("acme", "web")).bearer(&token);
            let request = operation.with_body(request);
            if operation.streams {
                let status = request.status().await.as_u16();
                assert!(matches!(status, 200 | 403 | 404), "{}: {status}", operation.id);
                continue;
            }
            let response = request.send().await;
            let status = response.status.as_u16();
            if operation.method == Method::GET {
                assert!(matches!(status, 200 | 403 | 404), "{}: {status}", operation.id);
            } else {
                assert!(matches!(status, 403 | 404), "{}: {status} {}", operation.id, response.text());
            }
        }
    }

    async fn no_token_manages_an_account(app: TestApp) {
        let admin = acme(&app).await;
        let token = admin.token(&[Scope::Admin]).await.secret;
        for operation in operations().iter().filter(|o| o.path.contains("/account")) {
            let request = app.request(operation.method.clone(), &operation.at("", "")).bearer(&token);
            let response = operation.with_body(request).send().await.assert_status(403);
            assert!(response.problem().detail.unwrap().contains("sign in with a browser"), "{}", operation.id);
        }
    }

    async fn a_token_that_does_not_work_is_refused_everywhere(app: TestApp) {
        let admin = acme(&app).await;
        for operation in operations().iter().filter(|o| !OPEN.contains(&o.id.as_str())) {
            // The cookie beside it does not help: whoever sends a token wants it used.
            let request = admin.request(operation.method.clone(), &operation.at("acme", "web"));
            let response = operation.with_body(request.bearer("dvc_wrong")).send().await;
            assert_eq!(response.status, 401, "{}: {}", operation.id, response.text());
        }
    }
}
