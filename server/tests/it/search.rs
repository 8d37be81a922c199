//! Search over everything that somebody may see, and nothing else.

use devenv_cloud_api::{
    permissions::{Role, Scope},
    search::SearchResults,
};
use serde_json::json;

use crate::support::{Browser, TestApp, git, work::Project};

async fn search(browser: &Browser, query: &str) -> SearchResults {
    browser.get(&format!("/api/v1/search?{query}")).await.assert_status(200).json()
}

fn orgs(found: &SearchResults) -> Vec<&str> {
    found.orgs.iter().map(|hit| hit.slug.as_str()).collect()
}

fn projects(found: &SearchResults) -> Vec<String> {
    found.projects.iter().map(|hit| format!("{}/{}", hit.org, hit.slug)).collect()
}

fn runs(found: &SearchResults) -> Vec<u64> {
    found.runs.iter().map(|run| run.number).collect()
}

/// `acme` (Acme Works) with `web` and `web-api`; `zeta` with `my-web`.
async fn acme(app: &TestApp) -> Browser {
    let admin = app.set_up().await;
    let named = json!({"slug": "acme", "display_name": "Acme Works"});
    admin.post("/api/v1/orgs", &named).await.assert_status(201);
    admin.create_org("zeta").await;
    for (org, project) in [("zeta", "my-web"), ("acme", "web-api"), ("acme", "web"), ("acme", "docs")] {
        admin.create_project(org, project).await;
    }
    admin
}

both_engines! {
    async fn names_are_found_by_their_parts_and_beginnings_come_first(app: TestApp) {
        let admin = acme(&app).await;
        let found = search(&admin, "q=WEB").await;
        assert_eq!(projects(&found), ["acme/web", "acme/web-api", "zeta/my-web"]);
        assert!(found.orgs.is_empty() && found.runs.is_empty());
        assert_eq!(orgs(&search(&admin, "q=works").await), ["acme"]);
        assert_eq!(projects(&search(&admin, "q=acme/d").await), ["acme/docs"]);
        assert_eq!(orgs(&search(&admin, "").await), ["acme", "zeta"]);
        assert_eq!(projects(&search(&admin, "q=web&limit=1").await), ["acme/web"]);
        for nothing in ["%25", "_", "!", "%5C", "'"] {
            let found = search(&admin, &format!("q={nothing}")).await;
            assert_eq!((found.orgs.len(), found.projects.len()), (0, 0), "{nothing} is no pattern");
        }
    }

    async fn runs_of_the_project_that_one_is_in(app: TestApp) {
        let admin = app.set_up().await;
        let project = Project::create(&app, &Default::default()).await;
        for (branch, sha) in [("main", 'a'), ("fix/login", 'b'), ("feature", 'c'), ("main", 'd')] {
            project.run(&app, branch, sha).await;
        }
        let of = async |q: &str| runs(&search(&admin, &format!("project=acme/web&q={q}")).await);
        assert_eq!(of("").await, [4, 3, 2, 1]);
        assert_eq!((of("2").await, of("%232").await), (vec![2], vec![2]));
        assert_eq!(of("f").await, [3, 2]);
        assert_eq!(of("fix/").await, [2]);
        assert_eq!(of("login").await, [0; 0], "not in the middle");
        assert_eq!((of("bbb").await, of("BBBB").await), (vec![2], vec![2]));
        assert_eq!(of("b").await, [0; 0], "too little of a commit");
        assert_eq!(of("99999999999999999999").await, [0; 0]);
        assert_eq!(runs(&search(&admin, "q=main").await), [0; 0], "of no project");
    }

    async fn nobody_finds_what_they_may_not_see(app: TestApp) {
        let admin = acme(&app).await;
        let stranger = app.person("stranger").await;
        for query in ["", "q=web", "q=acme", "project=acme/web", "project=none/none", "project=zebra"] {
            assert_eq!(search(&stranger, query).await, SearchResults::default(), "{query}");
        }
        admin.add_member("zeta", "stranger", Role::Viewer).await;
        let found = search(&stranger, "project=acme/web").await;
        assert_eq!((orgs(&found), projects(&found), runs(&found)), (vec!["zeta"], vec!["zeta/my-web".into()], vec![]));
        app.get("/api/v1/search?q=web").send().await.assert_status(401);
        app.get("/api/v1/search?limit=0").send().await.assert_status(401);

        // A token finds what it may read; one of a project, only that.
        let token = admin.token(&[Scope::Read]).await.secret;
        let found: SearchResults =
            app.get("/api/v1/search?q=web").bearer(&token).send().await.assert_status(200).json();
        assert_eq!(found.projects.len(), 3);
        let wanted = json!({"name": "one", "scopes": ["read"], "expires_in_days": 30});
        let token: devenv_cloud_api::accounts::NewToken = admin
            .post("/api/v1/orgs/zeta/projects/my-web/tokens", &wanted)
            .await
            .assert_status(201)
            .json();
        let found: SearchResults =
            app.get("/api/v1/search?limit=1").bearer(&token.secret).send().await.assert_status(200).json();
        assert_eq!((orgs(&found), projects(&found)), (vec![], vec!["zeta/my-web".to_owned()]));
    }

    async fn what_makes_no_sense_is_refused(app: TestApp) {
        let (admin, _) = git::set_up(&app).await;
        for query in [format!("q={}", "x".repeat(101)), "limit=0".to_owned(), "limit=21".to_owned(), "what=1".to_owned()] {
            admin.get(&format!("/api/v1/search?{query}")).await.assert_status(422);
        }
    }
}
