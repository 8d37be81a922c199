//! Projects and their settings.

use devenv_cloud_api::{
    ids::RunId,
    orgs::{Project, ProjectSettings},
    page::Page,
    permissions::{Action, Role},
    runs::State,
};
use serde_json::json;

use crate::support::TestApp;

const WEB: &str = "/api/v1/orgs/acme/projects/web";

both_engines! {
    async fn a_project_is_created_with_an_empty_repository(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        let wanted = json!({"slug": "web", "description": "The site", "settings": {"default_branch": "trunk"}});
        let project: Project =
            admin.post("/api/v1/orgs/acme/projects", &wanted).await.assert_status(201).json();
        assert_eq!(project.clone_url, "https://ci.example.com/acme/web.git");
        assert_eq!(project.settings.default_branch, "trunk");
        assert_eq!(project.settings.timeout_minutes, 60);
        assert!(project.allowed.contains(&Action::PushSource));
        let again: Project = admin.get(WEB).await.assert_status(200).json();
        assert_eq!(again, project);
        let head = app.repositories().join(format!("{}.git/HEAD", project.id));
        assert_eq!(std::fs::read_to_string(head).unwrap(), "ref: refs/heads/trunk\n");
    }

    async fn a_name_is_taken_once_in_an_organisation(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_org("other").await;
        admin.create_project("acme", "web").await;
        let refused = admin.post("/api/v1/orgs/acme/projects", &json!({"slug": "web"})).await.assert_status(422);
        assert_eq!(refused.problem().errors[0].field, "slug");
        admin.create_project("other", "web").await;
        // What was refused leaves nothing on the disk.
        assert_eq!(std::fs::read_dir(app.repositories()).unwrap().count(), 2);
    }

    async fn settings_are_checked_and_replaced_as_a_whole(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        let settings = ProjectSettings {
            default_branch: "trunk".to_owned(),
            trigger_tags: vec!["v*".to_owned()],
            cpus: 4,
            ..ProjectSettings::default()
        };
        let change = json!({"settings": settings});
        let project: Project = admin.patch(WEB, &change).await.assert_status(200).json();
        assert_eq!(project.settings, settings);
        let head = app.repositories().join(format!("{}.git/HEAD", project.id));
        assert_eq!(std::fs::read_to_string(head).unwrap(), "ref: refs/heads/trunk\n");
        let project: Project =
            admin.patch(WEB, &json!({"description": "New"})).await.assert_status(200).json();
        assert_eq!((project.description.as_str(), &project.settings), ("New", &settings));

        let wrong = json!({"settings": {"cpus": 0, "trigger_branches": ["a b"]}, "description": "a\nb"});
        let refused = admin.patch(WEB, &wrong).await.assert_status(422);
        let fields: Vec<_> = refused.problem().errors.into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["description", "settings.trigger_branches", "settings.cpus"]);
        admin.patch(WEB, &json!({"settings": {"colour": "red"}})).await.assert_status(422);
        let project: Project = admin.get(WEB).await.json();
        assert_eq!(project.settings, settings, "a refused change changes nothing");
    }

    async fn a_deleted_project_is_gone_with_its_repository(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        admin.delete(WEB).await.assert_status(204);
        admin.get(WEB).await.assert_status(404);
        admin.delete(WEB).await.assert_status(404);
        assert_eq!(std::fs::read_dir(app.repositories()).unwrap().count(), 0);
        admin.create_project("acme", "web").await;
    }

    async fn a_list_shows_the_newest_run_of_each_project(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        for slug in ["b", "a", "c"] {
            admin.create_project("acme", slug).await;
        }
        let projects: Page<Project> =
            admin.get("/api/v1/orgs/acme/projects?limit=2").await.assert_status(200).json();
        let slugs: Vec<_> = projects.items.iter().map(|p| p.slug.as_str()).collect();
        assert_eq!(slugs, ["a", "b"]);
        assert!(projects.next_cursor.is_some());
        let project = projects.items[0].id;
        for number in 1_i64..=2 {
            devenv_cloud::db::query(
                "INSERT INTO runs (id, project_id, number, state, cause, triggered_by, sha, git_ref, title, \
                 author, author_email, created_at) VALUES ($1, $2, $3, $4, 'push', 'Ada', 'abc', \
                 'refs/heads/main', 'Title', 'Ada', 'ada@example.com', $5)",
            )
            .bind(RunId(app.random.id(app.clock.now())))
            .bind(project)
            .bind(number)
            .bind(State::Queued)
            .bind(app.clock.now())
            .execute(&app.db)
            .await
            .unwrap();
        }
        devenv_cloud::db::query("UPDATE projects SET next_run = 3 WHERE id = $1")
            .bind(project)
            .execute(&app.db)
            .await
            .unwrap();
        let projects: Page<Project> = admin.get("/api/v1/orgs/acme/projects").await.json();
        assert_eq!(projects.items[0].latest_run.as_ref().unwrap().number, 2);
        assert_eq!(projects.items[1].latest_run, None);
        let project: Project = admin.get("/api/v1/orgs/acme/projects/a").await.json();
        assert_eq!(project, projects.items[0]);
    }

    async fn what_a_crash_left_behind_is_removed_and_nothing_else(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        let project: Project = admin.get(WEB).await.json();
        // A creation that was cut off before the row, a deletion before the end.
        for left_over in ["019b76da-a800-7000-8000-00000000000a.git", "019b76da-a800-7000-8000-00000000000b.deleted"] {
            std::fs::create_dir(app.repositories().join(left_over)).unwrap();
        }
        std::fs::create_dir(app.repositories().join("somebody-elses")).unwrap();
        assert_eq!(devenv_cloud::projects::remove_orphans_once(&app.app).await.unwrap(), 2);
        let mut left: Vec<_> = std::fs::read_dir(app.repositories())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [format!("{}.git", project.id), "somebody-elses".to_owned()]);
        assert_eq!(devenv_cloud::projects::remove_orphans_once(&app.app).await.unwrap(), 0);
    }

    async fn what_one_may_do_depends_on_the_role(app: TestApp) {
        let owner = app.person("owner").await;
        owner.create_org("acme").await;
        owner.create_project("acme", "web").await;
        for (name, role, expected) in [
            ("viewer", Role::Viewer, &[Action::ReadProject][..]),
            ("member", Role::Member, &[Action::ReadProject, Action::PushSource, Action::OperateRuns]),
        ] {
            let person = app.person(name).await;
            owner.add_member("acme", name, role).await;
            let project: Project = person.get(WEB).await.assert_status(200).json();
            assert_eq!(project.allowed, expected, "{role}");
            person.patch(WEB, &json!({"description": "x"})).await.assert_status(403);
            person.delete(WEB).await.assert_status(403);
            person.post("/api/v1/orgs/acme/projects", &json!({"slug": "new"})).await.assert_status(403);
        }
    }
}
