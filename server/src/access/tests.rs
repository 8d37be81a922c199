//! The whole table, spelled out a second time: a mistake in the rules must not
//! be able to hide in the rules.

use devenv_cloud_api::{
    Timestamp,
    accounts::{Assurance, AuthMethod},
    ids::{SessionId, TokenId},
};
use uuid::Uuid;

use super::*;
use crate::identity::{Held, RunnerPrincipal, SessionPrincipal, TokenPrincipal, User};

fn user(instance_admin: bool) -> User {
    User {
        id: UserId(Uuid::from_u128(1)),
        email: "u@example.com".to_owned(),
        name: "U".to_owned(),
        instance_admin,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn session(instance_admin: bool) -> Principal {
    Principal::Session(SessionPrincipal {
        user: user(instance_admin),
        session: SessionId(Uuid::nil()),
        methods: vec![AuthMethod::Password],
        assurance: Assurance::Single,
        authenticated_at: Timestamp::UNIX_EPOCH,
        held: Held::default(),
        standing: Standing::Fine,
        due_at: None,
        org: None,
    })
}

fn token(scopes: &[Scope], project: Option<ProjectId>, instance_admin: bool) -> Principal {
    Principal::Token(TokenPrincipal {
        user: user(instance_admin),
        token: TokenId(Uuid::nil()),
        scopes: scopes.to_vec(),
        project,
        created_at: Timestamp::UNIX_EPOCH,
        held: Held::default(),
        standing: Standing::Fine,
    })
}

const PROJECT: ProjectId = ProjectId(Uuid::from_u128(7));
const OTHER_PROJECT: ProjectId = ProjectId(Uuid::from_u128(8));

/// For each action on an organisation or project: viewer, member, admin, owner;
/// then a token with read, write, admin.
const TABLE: &[(Action, &str, &str)] = &[
    (Action::ReadOrg, "yes yes yes yes", "yes yes yes"),
    (Action::UpdateOrg, "no no yes yes", "no no yes"),
    (Action::DeleteOrg, "no no no yes", "no no yes"),
    (Action::ReadMembers, "yes yes yes yes", "yes yes yes"),
    (Action::ManageMembers, "no no yes yes", "no no yes"),
    (Action::ReadAudit, "no no yes yes", "no no yes"),
    (Action::ReadRunners, "yes yes yes yes", "yes yes yes"),
    (Action::ManageRunners, "no no yes yes", "no no yes"),
    (Action::CreateProject, "no no yes yes", "no no yes"),
    (Action::ReadProject, "yes yes yes yes", "yes yes yes"),
    (Action::UpdateProject, "no no yes yes", "no no yes"),
    (Action::DeleteProject, "no no yes yes", "no no yes"),
    (Action::PushSource, "no yes yes yes", "no yes yes"),
    (Action::OperateRuns, "no yes yes yes", "no yes yes"),
    (Action::ManageProjectTokens, "no no yes yes", "no no yes"),
];

fn resource(action: Action, role: Option<Role>) -> Resource {
    let org = Resource::Org { id: OrgId(Uuid::from_u128(3)), role, standing: Standing::Fine };
    if fits(action, &org) { org } else { Resource::Project { id: PROJECT, role, standing: Standing::Fine } }
}

fn yes(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "yes",
        Decision::Deny(_) => "no",
        Decision::Enrol => "enrol",
        Decision::Prove => "prove",
        Decision::Hide => "hidden",
        Decision::SignIn => "sign in",
    }
}

#[test]
fn every_role_may_do_what_the_table_says() {
    for (action, by_role, _) in TABLE {
        for (role, expected) in Role::ALL.iter().zip(by_role.split(' ')) {
            let decision = allowed(&session(false), *action, &resource(*action, Some(*role)));
            assert_eq!(yes(decision), expected, "{role} {action}");
        }
    }
}

#[test]
fn every_scope_may_do_what_the_table_says_and_never_more_than_its_owner() {
    for (action, by_role, by_scope) in TABLE {
        for (scope, expected) in Scope::ALL.iter().zip(by_scope.split(' ')) {
            let owner =
                allowed(&token(&[*scope], None, false), *action, &resource(*action, Some(Role::Owner)));
            assert_eq!(yes(owner), expected, "{scope} {action}");
            for (role, role_may) in Role::ALL.iter().zip(by_role.split(' ')) {
                let decision =
                    allowed(&token(&[*scope], None, false), *action, &resource(*action, Some(*role)));
                let both = if role_may == "yes" && expected == "yes" { "yes" } else { "no" };
                assert_eq!(yes(decision), both, "{scope} {role} {action}");
            }
        }
    }
}

#[test]
fn the_table_and_the_other_tests_cover_every_action() {
    let elsewhere =
        [Action::CreateOrg, Action::ManageOwnAccount, Action::ExecuteJobs, Action::AdministrateInstance];
    for action in Action::ALL {
        let covered = TABLE.iter().any(|(a, ..)| a == action) || elsewhere.contains(action);
        assert!(covered, "{action} stands in no table");
    }
}

#[test]
fn a_stranger_sees_nothing_and_nobody_is_asked_to_sign_in() {
    for (action, ..) in TABLE {
        let resource = resource(*action, None);
        assert_eq!(allowed(&session(false), *action, &resource), Decision::Hide, "{action}");
        assert_eq!(allowed(&Principal::Anonymous, *action, &resource), Decision::SignIn, "{action}");
    }
}

#[test]
fn an_instance_administrator_may_do_everything_but_only_knowingly() {
    for (action, ..) in TABLE {
        let foreign = resource(*action, None);
        assert_eq!(allowed(&session(true), *action, &foreign), Decision::Allow, "{action}");
        assert_eq!(allowed(&token(&[Scope::Admin], None, true), *action, &foreign), Decision::Allow);
        for scope in [Scope::Read, Scope::Write] {
            let decision = allowed(&token(&[scope], None, true), *action, &foreign);
            assert_eq!(decision, Decision::Hide, "{scope} {action}");
        }
    }
}

#[test]
fn a_token_limited_to_a_project_sees_nothing_else() {
    for instance_admin in [false, true] {
        let limited = token(&[Scope::Admin], Some(PROJECT), instance_admin);
        for action in Action::ALL {
            for resource in [
                Resource::Instance,
                Resource::Org {
                    id: OrgId(Uuid::from_u128(3)),
                    role: Some(Role::Owner),
                    standing: Standing::Fine,
                },
                Resource::Project { id: OTHER_PROJECT, role: Some(Role::Owner), standing: Standing::Fine },
                Resource::Account { user: user(false).id },
            ] {
                assert_eq!(allowed(&limited, *action, &resource), Decision::Hide, "{action} {resource:?}");
            }
        }
        let own = Resource::Project { id: PROJECT, role: Some(Role::Member), standing: Standing::Fine };
        assert_eq!(allowed(&limited, Action::PushSource, &own), Decision::Allow);
    }
}

#[test]
fn an_account_is_managed_by_its_owner_in_person() {
    let own = Resource::Account { user: user(false).id };
    let foreign = Resource::Account { user: UserId(Uuid::from_u128(2)) };
    let action = Action::ManageOwnAccount;
    assert_eq!(allowed(&session(false), action, &own), Decision::Allow);
    assert_eq!(allowed(&session(true), action, &foreign), Decision::Hide);
    assert_eq!(yes(allowed(&token(&[Scope::Admin], None, true), action, &own)), "no");
    assert_eq!(allowed(&Principal::Anonymous, action, &own), Decision::SignIn);
}

#[test]
fn the_instance_is_administrated_by_its_administrators_in_person() {
    let action = Action::AdministrateInstance;
    assert_eq!(allowed(&session(true), action, &Resource::Instance), Decision::Allow);
    assert_eq!(yes(allowed(&session(false), action, &Resource::Instance)), "no");
    assert_eq!(yes(allowed(&token(&[Scope::Admin], None, true), action, &Resource::Instance)), "no");
}

#[test]
fn anybody_with_an_account_may_create_an_organisation() {
    let action = Action::CreateOrg;
    assert_eq!(allowed(&session(false), action, &Resource::Instance), Decision::Allow);
    assert_eq!(allowed(&token(&[Scope::Admin], None, false), action, &Resource::Instance), Decision::Allow);
    assert_eq!(yes(allowed(&token(&[Scope::Write], None, false), action, &Resource::Instance)), "no");
    assert_eq!(allowed(&Principal::Anonymous, action, &Resource::Instance), Decision::SignIn);
}

#[test]
fn an_action_on_the_wrong_kind_of_thing_is_never_allowed() {
    let owner = Some(Role::Owner);
    let all = [
        Resource::Instance,
        Resource::Org { id: OrgId(Uuid::from_u128(3)), role: owner, standing: Standing::Fine },
        Resource::Project { id: PROJECT, role: owner, standing: Standing::Fine },
        Resource::Account { user: user(false).id },
    ];
    for action in Action::ALL {
        for resource in all.iter().filter(|r| !fits(*action, r)) {
            assert_eq!(allowed(&session(true), *action, resource), Decision::Hide, "{action} {resource:?}");
        }
    }
}

#[test]
fn a_runner_executes_jobs_as_itself_and_does_nothing_else() {
    let id = RunnerId(Uuid::from_u128(9));
    let runner = Principal::Runner(RunnerPrincipal {
        runner: id,
        name: "r".to_owned(),
        org: Some(OrgId(Uuid::from_u128(3))),
    });
    let all = [
        Resource::Instance,
        Resource::Org { id: OrgId(Uuid::from_u128(3)), role: Some(Role::Owner), standing: Standing::Fine },
        Resource::Project { id: PROJECT, role: Some(Role::Owner), standing: Standing::Fine },
        Resource::Account { user: user(false).id },
        Resource::Runner { id: RunnerId(Uuid::from_u128(10)) },
    ];
    for action in Action::ALL {
        for resource in &all {
            assert_eq!(allowed(&runner, *action, resource), Decision::Hide, "{action} {resource:?}");
        }
    }
    let itself = Resource::Runner { id };
    assert_eq!(allowed(&runner, Action::ExecuteJobs, &itself), Decision::Allow);
    assert_eq!(allowed(&runner, Action::ManageRunners, &itself), Decision::Hide);
    // And nobody else executes any, whatever they administrate.
    for person in [session(true), token(&[Scope::Admin], None, true)] {
        assert_eq!(yes(allowed(&person, Action::ExecuteJobs, &itself)), "no");
    }
    assert_eq!(allowed(&Principal::Anonymous, Action::ExecuteJobs, &itself), Decision::SignIn);
}

#[test]
fn who_must_enrol_or_prove_can_do_that_and_nothing_else() {
    let fine = |action| resource(action, Some(Role::Owner));
    for (standing, answer) in [
        (Standing::Fine, "yes"),
        (Standing::Grace, "yes"),
        (Standing::MustEnrol, "enrol"),
        (Standing::MustProve, "prove"),
    ] {
        // By the instance's policy: everywhere, but at their own account.
        let mut person = session(true);
        let mut program = token(&[Scope::Admin], None, false);
        if let Principal::Session(session) = &mut person {
            session.standing = standing;
        }
        if let Principal::Token(token) = &mut program {
            token.standing = standing;
        }
        for (action, ..) in TABLE {
            assert_eq!(yes(allowed(&person, *action, &fine(*action))), answer, "{action}");
            assert_eq!(yes(allowed(&program, *action, &fine(*action))), answer, "{action}");
        }
        assert_eq!(yes(allowed(&person, Action::AdministrateInstance, &Resource::Instance)), answer);
        let account = Resource::Account { user: UserId(Uuid::from_u128(1)) };
        assert_eq!(yes(allowed(&person, Action::ManageOwnAccount, &account)), "yes");
        // By an organisation's: there, and only for those who may know of it.
        let org = |role| Resource::Org { id: OrgId(Uuid::from_u128(3)), role, standing };
        assert_eq!(yes(allowed(&session(false), Action::ReadOrg, &org(Some(Role::Viewer)))), answer);
        assert_eq!(yes(allowed(&session(false), Action::ReadOrg, &org(None))), "hidden");
        assert_eq!(yes(allowed(&session(false), Action::CreateOrg, &Resource::Instance)), "yes");
    }
}
