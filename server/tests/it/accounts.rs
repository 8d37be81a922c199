//! Set-up, signing in and out, sessions, passwords and tokens.

use devenv_cloud_api::accounts::{Assurance, AuthMethod, SetupState, Viewer};

use crate::support::{PASSWORD, TestApp};

both_engines! {
    async fn the_first_user_is_created_with_the_link_and_administrates_the_instance(app: TestApp) {
        let state: SetupState = app.get("/api/v1/setup").send().await.assert_status(200).json();
        assert!(state.needed);
        let browser = app.set_up().await;
        let viewer: Viewer = browser.viewer().await;
        assert!(viewer.user.instance_admin);
        assert_eq!(viewer.methods, [AuthMethod::Password]);
        assert_eq!(viewer.assurance, Assurance::Single);
        let state: SetupState = app.get("/api/v1/setup").send().await.assert_status(200).json();
        assert!(!state.needed);
    }

    async fn organisations_projects_and_tokens_work_through_the_api(app: TestApp) {
        let admin = app.set_up().await;
        admin.create_org("acme").await;
        admin.create_project("acme", "web").await;
        let token = admin.token(&[devenv_cloud_api::permissions::Scope::Read]).await;
        app.get("/api/v1/orgs/acme/projects/web").bearer(&token.secret).send().await.assert_status(200);
        app.get("/api/v1/orgs/acme/projects").bearer(&token.secret).send().await.assert_status(200);
        admin.delete("/api/v1/session").await.assert_status(204);
        admin.get("/api/v1/session").await.assert_status(401);
        admin.sign_in("Admin@Example.COM", PASSWORD).await.assert_status(200);
        admin.get("/api/v1/session").await.assert_status(200);
    }
}
