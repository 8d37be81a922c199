//! Invitations.

use chrono::TimeDelta;
use devenv_cloud_api::{
    orgs::Member,
    page::Page,
    people::{Accepted, Invitation, InvitationStep, OpenInvitation},
    permissions::Role,
};
use serde_json::json;

use crate::support::{Browser, PASSWORD, Response, TestApp};

async fn invite(browser: &Browser, email: &str, role: Role) -> Response {
    browser.app().advance(TimeDelta::seconds(1));
    browser.post("/api/v1/orgs/acme/invitations", &json!({"email": email, "role": role})).await
}

/// The token of the newest mail to this address.
async fn token(app: &TestApp, email: &str) -> String {
    let mails = app.mails().await;
    let mail = mails.iter().rfind(|mail| mail.recipient == email).expect("a mail");
    let mut tokens =
        mail.text.lines().filter_map(|line| line.strip_prefix("https://ci.example.com/invitation?token="));
    tokens.next().expect("an invitation").to_owned()
}

async fn look(browser: &Browser, token: &str) -> OpenInvitation {
    browser.get(&format!("/api/v1/invitation?token={token}")).await.assert_status(200).json()
}

async fn accept(browser: &Browser, token: &str) -> Response {
    browser.post("/api/v1/invitation/accept", &json!({"token": token})).await
}

async fn create(browser: &Browser, token: &str, name: &str) -> Response {
    let given = json!({"token": token, "name": name, "password": PASSWORD});
    browser.post("/api/v1/invitation/accept", &given).await
}

async fn acme(app: &TestApp) -> Browser {
    let admin = app.set_up().await;
    admin.create_org("acme").await;
    admin
}

async fn members(browser: &Browser) -> Vec<(String, Role)> {
    let page: Page<Member> = browser.get("/api/v1/orgs/acme/members").await.assert_status(200).json();
    page.items.into_iter().map(|member| (member.email, member.role)).collect()
}

both_engines! {
    async fn somebody_new_gets_an_account_and_is_a_member(app: TestApp) {
        let admin = acme(&app).await;
        let made: Invitation = invite(&admin, "new@example.com", Role::Member).await.assert_status(201).json();
        assert_eq!((made.role, made.inviter.as_str()), (Some(Role::Member), "admin@example.com"));
        let token = token(&app, "new@example.com").await;
        let browser = app.browser();
        let seen = look(&browser, &token).await;
        assert_eq!(seen.step, InvitationStep::CreateAccount);
        assert_eq!((seen.org.unwrap().as_str(), seen.role), ("acme", Some(Role::Member)));
        let wrong = json!({"token": token, "name": "", "password": "x"});
        let refused = browser.post("/api/v1/invitation/accept", &wrong).await.assert_status(422);
        assert_eq!(refused.problem().errors.len(), 2);
        let accepted: Accepted = create(&browser, &token, "New").await.assert_status(200).json();
        assert!(accepted.created);
        browser.get("/api/v1/session").await.assert_status(401);
        browser.sign_in("new@example.com", PASSWORD).await.assert_status(200);
        assert!(members(&browser).await.contains(&("new@example.com".to_owned(), Role::Member)));
        let address: serde_json::Value = browser.get("/api/v1/account/email").await.json();
        assert!(address["verified_at"].is_string(), "{address}");
        create(&app.browser(), &token, "Again").await.assert_status(403);
    }

    async fn of_two_who_accept_at_once_one_gets_an_account(app: TestApp) {
        let admin = acme(&app).await;
        invite(&admin, "new@example.com", Role::Viewer).await.assert_status(201);
        let token = token(&app, "new@example.com").await;
        let (one, two) = (app.browser(), app.browser());
        let (a, b) = tokio::join!(create(&one, &token, "One"), create(&two, &token, "Two"));
        let ok = [&a, &b].iter().filter(|response| response.status == 200).count();
        assert_eq!(ok, 1, "{} {}", a.text(), b.text());
    }

    async fn who_has_an_account_signs_in_and_joins(app: TestApp) {
        let admin = acme(&app).await;
        let ada = app.person("ada").await;
        let bob = app.person("bob").await;
        invite(&admin, "Ada@Example.com", Role::Admin).await.assert_status(201);
        let token = token(&app, "Ada@Example.com").await;
        assert_eq!(look(&app.browser(), &token).await.step, InvitationStep::SignIn);
        create(&app.browser(), &token, "Impostor").await.assert_status(401);
        assert_eq!(look(&bob, &token).await.step, InvitationStep::SignOut);
        let refused = accept(&bob, &token).await.assert_status(409);
        assert!(refused.problem().detail.unwrap().contains("sign out"), "{}", refused.text());
        assert_eq!(look(&ada, &token).await.step, InvitationStep::Accept);
        let accepted: Accepted = accept(&ada, &token).await.assert_status(200).json();
        assert_eq!((accepted.org.unwrap().as_str(), accepted.created), ("acme", false));
        assert!(members(&ada).await.contains(&("ada@example.com".to_owned(), Role::Admin)));
        accept(&ada, &token).await.assert_status(403);
        // Who is a member already is not invited.
        let refused = invite(&admin, "ada@example.com", Role::Viewer).await.assert_status(422);
        assert_eq!(refused.problem().errors[0].field, "email");
    }

    async fn a_link_dies_with_time_a_newer_one_and_when_it_is_taken_back(app: TestApp) {
        let admin = acme(&app).await;
        invite(&admin, "new@example.com", Role::Member).await.assert_status(201);
        let first = token(&app, "new@example.com").await;
        let made: Invitation = invite(&admin, "new@example.com", Role::Viewer).await.assert_status(201).json();
        let second = token(&app, "new@example.com").await;
        let kind = create(&app.browser(), &first, "New").await.assert_status(403).problem().kind;
        assert_eq!(kind, "invalid-token");
        let listed: Page<Invitation> = admin.get("/api/v1/orgs/acme/invitations").await.assert_status(200).json();
        assert_eq!(listed.items.iter().map(|it| it.id).collect::<Vec<_>>(), [made.id]);
        admin.delete(&format!("/api/v1/orgs/acme/invitations/{}", made.id)).await.assert_status(204);
        admin.delete(&format!("/api/v1/orgs/acme/invitations/{}", made.id)).await.assert_status(404);
        create(&app.browser(), &second, "New").await.assert_status(403);
        invite(&admin, "new@example.com", Role::Viewer).await.assert_status(201);
        let third = token(&app, "new@example.com").await;
        app.advance(TimeDelta::days(7));
        create(&app.browser(), &third, "New").await.assert_status(403);
        assert!(app.browser().sign_in("new@example.com", PASSWORD).await.status == 403);
    }

    async fn nobody_invites_above_themselves_and_members_invite_nobody(app: TestApp) {
        let owner = acme(&app).await;
        let boss = app.person("boss").await;
        let member = app.person("member").await;
        owner.add_member("acme", "boss", Role::Admin).await;
        owner.add_member("acme", "member", Role::Member).await;
        invite(&boss, "new@example.com", Role::Owner).await.assert_status(403);
        invite(&member, "new@example.com", Role::Viewer).await.assert_status(403);
        member.get("/api/v1/orgs/acme/invitations").await.assert_status(403);
        invite(&boss, "new@example.com", Role::Admin).await.assert_status(201);
    }

    async fn an_invitation_is_worth_what_its_inviter_is(app: TestApp) {
        let owner = acme(&app).await;
        let boss = app.person("boss").await;
        owner.add_member("acme", "boss", Role::Admin).await;
        invite(&boss, "new@example.com", Role::Admin).await.assert_status(201);
        let token = token(&app, "new@example.com").await;
        let id = boss.user_id().await;
        owner.delete(&format!("/api/v1/orgs/acme/members/{id}")).await.assert_status(204);
        create(&app.browser(), &token, "New").await.assert_status(403);
    }

    async fn inviting_takes_a_recent_proof(app: TestApp) {
        let admin = acme(&app).await;
        app.advance(TimeDelta::minutes(11));
        let refused = invite(&admin, "new@example.com", Role::Member).await.assert_status(403);
        assert_eq!(refused.problem().kind, "step-up");
        let refused = admin.post("/api/v1/instance/invitations", &json!({"email": "new@example.com"})).await;
        assert_eq!(refused.assert_status(403).problem().kind, "step-up");
        // Looking does not.
        admin.get("/api/v1/orgs/acme/invitations").await.assert_status(200);
    }

    async fn nobodys_mailbox_is_filled_with_invitations(app: TestApp) {
        let admin = acme(&app).await;
        for _ in 0..3 {
            invite(&admin, "new@example.com", Role::Member).await.assert_status(201);
        }
        invite(&admin, "NEW@example.com", Role::Member).await.assert_status(429);
        assert_eq!(app.mails().await.len(), 3);
    }

    async fn an_administrator_invites_to_the_instance(app: TestApp) {
        let admin = app.set_up().await;
        let wanted = json!({"email": "new@example.com"});
        let made: Invitation = admin.post("/api/v1/instance/invitations", &wanted).await.assert_status(201).json();
        assert_eq!(made.role, None);
        let token = token(&app, "new@example.com").await;
        let accepted: Accepted = create(&app.browser(), &token, "New").await.assert_status(200).json();
        assert_eq!((accepted.org, accepted.created), (None, true));
        let taken = admin.post("/api/v1/instance/invitations", &wanted).await.assert_status(422);
        assert_eq!(taken.problem().errors[0].field, "email");
        let listed: Page<Invitation> = admin.get("/api/v1/instance/invitations").await.json();
        assert!(listed.items.is_empty(), "it was accepted");
    }

    async fn a_name_that_is_an_advertisement_is_not_mailed(app: TestApp) {
        let admin = acme(&app).await;
        admin.patch("/api/v1/orgs/acme", &json!({"display_name": "win at https://evil.example"})).await;
        admin.patch("/api/v1/account", &json!({"name": "evil.example"})).await.assert_status(200);
        invite(&admin, "new@example.com", Role::Member).await.assert_status(201);
        let mails = app.mails().await;
        assert!(!mails[0].text.contains("evil") && !mails[0].subject.contains("evil"), "{mails:?}");
        assert_eq!(mails[0].subject, "You are invited to acme");
    }

    /// OT-08: an invitation signs nobody in, so what sign-in asks for is asked for.
    async fn ot_08_an_invitation_does_not_go_around_the_second_factor(app: TestApp) {
        let admin = acme(&app).await;
        invite(&admin, "new@example.com", Role::Member).await.assert_status(201);
        let token = token(&app, "new@example.com").await;
        devenv_cloud::db::query("UPDATE instance SET second_factor = 'required'").execute(&app.db).await.unwrap();
        let browser = app.browser();
        create(&browser, &token, "New").await.assert_status(200);
        browser.get("/api/v1/session").await.assert_status(401);
        browser.sign_in("new@example.com", PASSWORD).await.assert_status(200);
        let viewer = browser.viewer().await;
        assert_eq!(viewer.standing.as_str(), "must-enrol");
        browser.get("/api/v1/orgs/acme").await.assert_status(403);
    }

    async fn an_invitation_is_accepted_with_a_plain_form(app: TestApp) {
        let admin = acme(&app).await;
        invite(&admin, "new@example.com", Role::Member).await.assert_status(201);
        let token = token(&app, "new@example.com").await;
        let browser = app.browser();
        let page = browser.get(&format!("/invitation?token={token}")).await.assert_status(200).text();
        assert!(page.contains("new@example.com") && page.contains("action=\"/invitation\""), "{page}");
        let fields = [("token", token.as_str()), ("name", "New"), ("password", PASSWORD)];
        let done = browser.form("/invitation", &fields).await.assert_status(303);
        assert_eq!(done.header("location"), Some("/invitation?done=1"));
        assert!(browser.get("/invitation?done=1").await.text().contains("href=\"/sign-in\""));

        let ada = app.person("ada").await;
        invite(&admin, "ada@example.com", Role::Member).await.assert_status(201);
        let token = self::token(&app, "ada@example.com").await;
        let page = app.browser().get(&format!("/invitation?token={token}")).await.text();
        assert!(page.contains("/sign-in?return_to=/invitation%3Ftoken%3D"), "{page}");
        let done = ada.form("/invitation", &[("token", &token)]).await.assert_status(303);
        assert_eq!(done.header("location"), Some("/acme"));
        let page = app.browser().get("/invitation?token=wrong").await.text();
        assert!(page.contains("It was used or taken back, is too old"), "{page}");
    }
}
