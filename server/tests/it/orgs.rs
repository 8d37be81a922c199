//! Organisations and their members.

use devenv_cloud_api::{
    orgs::{Member, Org},
    page::Page,
    permissions::{Action, Role},
};
use serde_json::json;

use crate::support::{Browser, TestApp};

async fn members(browser: &Browser) -> Vec<Member> {
    browser.get("/api/v1/orgs/acme/members").await.assert_status(200).json::<Page<Member>>().items
}

async fn set_role(browser: &Browser, member: &Browser, role: Role) -> u16 {
    let path = format!("/api/v1/orgs/acme/members/{}", member.user_id().await);
    browser.patch(&path, &json!({"role": role})).await.status.as_u16()
}

async fn remove(browser: &Browser, member: &Browser) -> u16 {
    let path = format!("/api/v1/orgs/acme/members/{}", member.user_id().await);
    browser.delete(&path).await.status.as_u16()
}

/// An organisation `acme` of a person who is no administrator of the instance.
async fn acme(app: &TestApp) -> Browser {
    let owner = app.person("owner").await;
    owner.create_org("acme").await;
    owner
}

both_engines! {
    async fn whoever_creates_an_organisation_is_its_owner(app: TestApp) {
        let person = app.person("person").await;
        let wanted = json!({"slug": "acme", "display_name": " Acme, Inc. "});
        let org: Org = person.post("/api/v1/orgs", &wanted).await.assert_status(201).json();
        assert_eq!((org.slug.as_str(), org.display_name.as_str()), ("acme", "Acme, Inc."));
        assert_eq!(org.role, Some(Role::Owner));
        assert!(org.allowed.contains(&Action::DeleteOrg));
        let again: Org = person.get("/api/v1/orgs/acme").await.assert_status(200).json();
        assert_eq!(again, org);
        assert_eq!(person.viewer().await.orgs[0].role, Role::Owner);
    }

    async fn a_name_is_checked_and_taken_once(app: TestApp) {
        let person = acme(&app).await;
        for (slug, part) in [("acme", "taken"), ("sign-in", "application itself"), ("api", "application itself")] {
            let refused = person.post("/api/v1/orgs", &json!({"slug": slug})).await.assert_status(422);
            let error = &refused.problem().errors[0];
            assert!(error.field == "slug" && error.message.contains(part), "{error:?}");
        }
        let wanted = json!({"slug": "x", "display_name": "\n"});
        let refused = person.post("/api/v1/orgs", &wanted).await.assert_status(422);
        assert_eq!(refused.problem().errors[0].field, "display_name");
        for slug in ["", "Acme", "a b", "-a"] {
            person.post("/api/v1/orgs", &json!({"slug": slug})).await.assert_status(422);
        }
    }

    async fn people_see_their_own_organisations_only_and_in_pages(app: TestApp) {
        let person = app.person("person").await;
        let other = app.person("other").await;
        other.create_org("theirs").await;
        for slug in ["c", "a", "b"] {
            person.create_org(slug).await;
        }
        let first: Page<Org> = person.get("/api/v1/orgs?limit=2").await.assert_status(200).json();
        let slugs = |page: &Page<Org>| page.items.iter().map(|o| o.slug.to_string()).collect::<Vec<_>>();
        assert_eq!(slugs(&first), ["a", "b"]);
        let next = format!("/api/v1/orgs?limit=2&cursor={}", first.next_cursor.unwrap());
        let second: Page<Org> = person.get(&next).await.assert_status(200).json();
        assert_eq!(slugs(&second), ["c"]);
        assert_eq!(second.next_cursor, None);
    }

    async fn an_administrator_of_the_instance_may_do_everything_without_being_a_member(app: TestApp) {
        let admin = app.set_up().await;
        acme(&app).await;
        let org: Org = admin.get("/api/v1/orgs/acme").await.assert_status(200).json();
        assert_eq!(org.role, None);
        assert!(org.allowed.contains(&Action::DeleteOrg));
        admin.create_project("acme", "web").await;
        let orgs: Page<Org> = admin.get("/api/v1/orgs").await.assert_status(200).json();
        assert_eq!(orgs.items, [], "the list is of one's own");
    }

    async fn an_organisation_is_renamed_for_people_and_not_in_addresses(app: TestApp) {
        let owner = acme(&app).await;
        let org: Org =
            owner.patch("/api/v1/orgs/acme", &json!({"display_name": "New"})).await.assert_status(200).json();
        assert_eq!((org.slug.as_str(), org.display_name.as_str()), ("acme", "New"));
        owner.patch("/api/v1/orgs/acme", &json!({"display_name": ""})).await.assert_status(422);
        owner.patch("/api/v1/orgs/acme", &json!({"slug": "new"})).await.assert_status(422);
    }

    async fn a_deleted_organisation_is_gone_with_all_that_it_had(app: TestApp) {
        let owner = acme(&app).await;
        owner.create_project("acme", "web").await;
        assert_eq!(std::fs::read_dir(app.repositories()).unwrap().count(), 1);
        owner.delete("/api/v1/orgs/acme").await.assert_status(204);
        owner.get("/api/v1/orgs/acme").await.assert_status(404);
        assert_eq!(owner.viewer().await.orgs, []);
        assert_eq!(std::fs::read_dir(app.repositories()).unwrap().count(), 0);
        owner.create_org("acme").await;
        owner.get("/api/v1/orgs/acme/projects/web").await.assert_status(404);
    }

    async fn members_are_added_listed_changed_and_removed(app: TestApp) {
        let owner = acme(&app).await;
        let ada = app.person("ada").await;
        let wanted = json!({"email": " ADA@example.com", "role": "viewer"});
        let added: Member =
            owner.post("/api/v1/orgs/acme/members", &wanted).await.assert_status(201).json();
        assert_eq!((added.name.as_str(), added.role), ("ada", Role::Viewer));
        assert_eq!(members(&ada).await.len(), 2);
        assert!(members(&owner).await.contains(&added));
        let org: Org = ada.get("/api/v1/orgs/acme").await.json();
        assert_eq!(org.allowed, [Action::ReadOrg, Action::ReadMembers, Action::ReadRunners]);
        assert_eq!(set_role(&owner, &ada, Role::Admin).await, 200);
        let org: Org = ada.get("/api/v1/orgs/acme").await.json();
        assert!(org.allowed.contains(&Action::ManageMembers));
        assert_eq!(remove(&owner, &ada).await, 204);
        ada.get("/api/v1/orgs/acme").await.assert_status(404);
        assert_eq!(remove(&owner, &ada).await, 404);
    }

    async fn who_cannot_be_added_is_said_to_those_who_may_add(app: TestApp) {
        let owner = acme(&app).await;
        let ada = app.person("ada").await;
        for (email, part) in [("nobody@example.com", "nobody has an account"), ("owner@example.com", "already")] {
            let wanted = json!({"email": email, "role": "member"});
            let refused = owner.post("/api/v1/orgs/acme/members", &wanted).await.assert_status(422);
            let error = &refused.problem().errors[0];
            assert!(error.field == "email" && error.message.contains(part), "{error:?}");
        }
        // And to nobody else: who may not add members learns nothing about accounts.
        owner.add_member("acme", "ada", Role::Member).await;
        for email in ["nobody@example.com", "owner@example.com"] {
            let wanted = json!({"email": email, "role": "member"});
            let refused = ada.post("/api/v1/orgs/acme/members", &wanted).await.assert_status(403);
            assert_eq!(refused.problem().errors, []);
        }
    }

    async fn nobody_gives_or_takes_a_role_above_their_own(app: TestApp) {
        let owner = acme(&app).await;
        let admin = app.person("admin").await;
        let member = app.person("member").await;
        app.person("newcomer").await;
        owner.add_member("acme", "admin", Role::Admin).await;
        owner.add_member("acme", "member", Role::Member).await;
        assert_eq!(set_role(&admin, &admin, Role::Owner).await, 403);
        assert_eq!(set_role(&admin, &member, Role::Owner).await, 403);
        assert_eq!(set_role(&admin, &owner, Role::Viewer).await, 403);
        assert_eq!(remove(&admin, &owner).await, 403);
        let wanted = json!({"email": "newcomer@example.com", "role": "owner"});
        admin.post("/api/v1/orgs/acme/members", &wanted).await.assert_status(403);
        assert_eq!(set_role(&admin, &member, Role::Admin).await, 200);
        assert_eq!(set_role(&owner, &admin, Role::Owner).await, 200);
        assert_eq!(set_role(&admin, &owner, Role::Viewer).await, 200);
    }

    async fn an_organisation_always_has_an_owner(app: TestApp) {
        let owner = acme(&app).await;
        let second = app.person("second").await;
        assert_eq!(remove(&owner, &owner).await, 409);
        assert_eq!(set_role(&owner, &owner, Role::Admin).await, 409);
        // Not even an administrator of the instance leaves it without one.
        let admin = app.set_up_beside().await;
        assert_eq!(remove(&admin, &owner).await, 409);
        owner.add_member("acme", "second", Role::Owner).await;
        assert_eq!(remove(&owner, &owner).await, 204);
        assert_eq!(remove(&second, &second).await, 409);
    }

    async fn two_owners_cannot_both_leave_at_once(app: TestApp) {
        let first = acme(&app).await;
        let second = app.person("second").await;
        for _ in 0..5 {
            first.add_member("acme", "second", Role::Owner).await;
            let (a, b) = tokio::join!(remove(&first, &first), remove(&second, &second));
            let mut statuses = [a, b];
            statuses.sort_unstable();
            assert_eq!(statuses, [204, 409]);
            // To the same again, whoever is left.
            if a == 204 {
                second.add_member("acme", "owner", Role::Owner).await;
                assert_eq!(remove(&first, &second).await, 204);
            }
        }
    }

    async fn whoever_came_in_may_leave(app: TestApp) {
        let owner = acme(&app).await;
        let viewer = app.person("viewer").await;
        let other = app.person("other").await;
        owner.add_member("acme", "viewer", Role::Viewer).await;
        owner.add_member("acme", "other", Role::Viewer).await;
        assert_eq!(remove(&viewer, &other).await, 403);
        assert_eq!(remove(&viewer, &viewer).await, 204);
        viewer.get("/api/v1/orgs/acme").await.assert_status(404);
    }
}
