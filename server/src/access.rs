//! Who may do what: one pure function over (principal, action, resource).
//!
//! Nothing else in the program decides about permission. A resource is given
//! with the role that the principal has in its organisation, looked up by
//! `orgs::find_for` and `projects::find_for`; these two are the only way to get
//! at an organisation or a project on somebody's behalf, and both ask here.
//!
//! What somebody may not even see is hidden ([`Decision::Hide`], 404), in the
//! same words as what is not there. What they may see but not do is denied with
//! the reason ([`Decision::Deny`], 403).

use devenv_cloud_api::{
    factors::Standing,
    ids::{OrgId, ProjectId, RunnerId, UserId},
    permissions::{Action, Role, Scope},
};

use crate::{identity::Principal, refusal::Refusal};

/// What somebody wants to do something to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// This instance.
    Instance,
    /// An organisation.
    Org {
        /// Which.
        id: OrgId,
        /// The principal's role in it.
        role: Option<Role>,
        /// Where the principal stands with what it asks of sign-in.
        standing: Standing,
    },
    /// A project.
    Project {
        /// Which.
        id: ProjectId,
        /// The principal's role in its organisation.
        role: Option<Role>,
        /// Where the principal stands with what its organisation asks of sign-in.
        standing: Standing,
    },
    /// Somebody's account, with its sessions and tokens.
    Account {
        /// Whose.
        user: UserId,
    },
    /// A runner, as that which executes jobs. Managing it is the affair of its
    /// organisation, or of the instance.
    Runner {
        /// Which.
        id: RunnerId,
    },
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// Not before signing in. Says nothing about whether the resource exists.
    SignIn,
    /// No, and why. Only for those who may know that the resource exists.
    Deny(&'static str),
    /// Not before setting up what is asked of everybody's sign-in.
    Enrol,
    /// Not before proving who one is with what one has set up.
    Prove,
    /// No, and whether it exists is none of their business.
    Hide,
}

impl Decision {
    /// Whether the principal may know that the resource is there.
    #[must_use]
    pub const fn shows(&self) -> bool {
        !matches!(self, Self::Hide | Self::SignIn)
    }
}

/// The lowest role that may do this in an organisation; `None` for actions
/// that have nothing to do with one.
const fn lowest_role(action: Action) -> Option<Role> {
    match action {
        Action::ReadOrg | Action::ReadMembers | Action::ReadProject | Action::ReadRunners => {
            Some(Role::Viewer)
        }
        Action::PushSource | Action::OperateRuns => Some(Role::Member),
        Action::UpdateOrg
        | Action::ManageMembers
        | Action::ReadAudit
        | Action::ManageRunners
        | Action::CreateProject
        | Action::UpdateProject
        | Action::DeleteProject
        | Action::ManageProjectTokens => Some(Role::Admin),
        Action::DeleteOrg => Some(Role::Owner),
        Action::CreateOrg | Action::ManageOwnAccount | Action::ExecuteJobs | Action::AdministrateInstance => {
            None
        }
    }
}

/// The lowest scope with which a token may do this; each scope includes the
/// ones below it. `None`: no token may, it takes a person.
const fn lowest_scope(action: Action) -> Option<Scope> {
    match action {
        Action::ReadOrg | Action::ReadMembers | Action::ReadProject | Action::ReadRunners => {
            Some(Scope::Read)
        }
        Action::PushSource | Action::OperateRuns => Some(Scope::Write),
        Action::CreateOrg
        | Action::UpdateOrg
        | Action::DeleteOrg
        | Action::ManageMembers
        | Action::ReadAudit
        | Action::ManageRunners
        | Action::CreateProject
        | Action::UpdateProject
        | Action::DeleteProject
        | Action::ManageProjectTokens => Some(Scope::Admin),
        Action::ManageOwnAccount | Action::ExecuteJobs | Action::AdministrateInstance => None,
    }
}

/// Whether this action is one that is done to such a resource.
const fn fits(action: Action, resource: &Resource) -> bool {
    match action {
        Action::CreateOrg | Action::AdministrateInstance => matches!(resource, Resource::Instance),
        Action::ReadOrg
        | Action::UpdateOrg
        | Action::DeleteOrg
        | Action::ReadMembers
        | Action::ManageMembers
        | Action::ReadAudit
        | Action::ReadRunners
        | Action::ManageRunners
        | Action::CreateProject => matches!(resource, Resource::Org { .. }),
        Action::ReadProject
        | Action::UpdateProject
        | Action::DeleteProject
        | Action::PushSource
        | Action::OperateRuns
        | Action::ManageProjectTokens => matches!(resource, Resource::Project { .. }),
        Action::ManageOwnAccount => matches!(resource, Resource::Account { .. }),
        Action::ExecuteJobs => matches!(resource, Resource::Runner { .. }),
    }
}

/// Whether a person who does this must have proved just now who they are: a
/// browser that somebody else sits at must not be enough for it.
#[must_use]
pub const fn takes_fresh_proof(action: Action) -> bool {
    matches!(action, Action::ManageMembers | Action::DeleteOrg | Action::DeleteProject)
}

/// What a token may be used for at most; `None` for one who is there in person.
fn highest_scope(principal: &Principal) -> Option<Scope> {
    match principal {
        Principal::Token(token) => Some(token.scopes.iter().copied().max().unwrap_or(Scope::Read)),
        Principal::Session(_) | Principal::Anonymous | Principal::Runner(_) => None,
    }
}

/// The role that counts. An administrator of the instance can do everything on
/// it, but a token for reading or pushing must not open doors that its owner
/// would open knowingly.
fn effective_role(principal: &Principal, role: Option<Role>) -> Option<Role> {
    let knowingly = highest_scope(principal).is_none_or(|scope| scope == Scope::Admin);
    let administrates = principal.user().is_some_and(|user| user.instance_admin);
    if administrates && knowingly { Some(Role::Owner) } else { role }
}

/// What a policy of sign-in says to somebody who stands so with it.
const fn held_back(standing: Standing) -> Option<Decision> {
    match standing {
        Standing::Fine | Standing::Grace => None,
        Standing::MustEnrol => Some(Decision::Enrol),
        Standing::MustProve => Some(Decision::Prove),
    }
}

/// Decides.
#[must_use]
pub fn allowed(principal: &Principal, action: Action, resource: &Resource) -> Decision {
    if let Principal::Runner(runner) = principal {
        // One thing, and nothing else, whatever it is that is asked for.
        let own = matches!(resource, Resource::Runner { id } if *id == runner.runner);
        return if own && action == Action::ExecuteJobs { Decision::Allow } else { Decision::Hide };
    }
    let Some(user) = principal.user() else { return Decision::SignIn };
    if !fits(action, resource) {
        return Decision::Hide;
    }
    // First: whether the principal may see the resource at all.
    let scope = highest_scope(principal);
    if let Principal::Token(token) = principal
        && let Some(only) = token.project
        && !matches!(resource, Resource::Project { id, .. } if *id == only)
    {
        return Decision::Hide;
    }
    match *resource {
        Resource::Instance => {
            if action == Action::AdministrateInstance && !user.instance_admin {
                return Decision::Deny("only an administrator of this instance may do this");
            }
        }
        Resource::Account { user: owner } => {
            if owner != user.id {
                return Decision::Hide;
            }
        }
        Resource::Runner { .. } => {
            return Decision::Deny("only a runner may do this, with the credential that it registered for");
        }
        Resource::Org { role, standing, .. } | Resource::Project { role, standing, .. } => {
            let Some(role) = effective_role(principal, role) else { return Decision::Hide };
            match lowest_role(action) {
                Some(lowest) if role >= lowest => {}
                Some(Role::Owner) => return Decision::Deny("only an owner of the organisation may do this"),
                Some(Role::Admin) => {
                    return Decision::Deny("only an admin or owner of the organisation may do this");
                }
                _ => return Decision::Deny("a viewer of the organisation may not do this; ask an admin"),
            }
            if let Some(decision) = held_back(standing) {
                return decision;
            }
        }
    }
    // Whoever has to set something up can still do that, and nothing else.
    if action != Action::ManageOwnAccount
        && let Some(decision) = held_back(principal.standing())
    {
        return decision;
    }
    // Then: whether it is the right kind of principal for this.
    match (scope, lowest_scope(action)) {
        (None, _) => Decision::Allow,
        (Some(_), None) => Decision::Deny("no token may do this; sign in with a browser"),
        (Some(scope), Some(lowest)) if scope >= lowest => Decision::Allow,
        (Some(_), Some(Scope::Admin)) => Decision::Deny("this takes a token with the scope `admin`"),
        (Some(_), Some(_)) => Decision::Deny("this takes a token with the scope `write`"),
    }
}

/// Insists on it.
///
/// # Errors
/// When the answer is no.
pub fn require(principal: &Principal, action: Action, resource: &Resource) -> Result<(), Refusal> {
    match allowed(principal, action, resource) {
        Decision::Allow => Ok(()),
        Decision::SignIn => Err(Refusal::Unauthenticated),
        Decision::Deny(reason) => Err(Refusal::Forbidden(reason.to_owned())),
        Decision::Enrol => Err(Refusal::MustEnrol),
        Decision::Prove => Err(Refusal::StepUp),
        Decision::Hide => Err(Refusal::NotFound),
    }
}

/// Insists that somebody who manages members, with the role `own`, gives or
/// takes no role above it: an admin who could make an owner would be one.
///
/// # Errors
/// When `other` is above.
pub fn require_rank(principal: &Principal, own: Option<Role>, other: Role) -> Result<(), Refusal> {
    if effective_role(principal, own).is_some_and(|own| own >= other) {
        Ok(())
    } else {
        Err(Refusal::Forbidden(format!("only an {other} of the organisation may give or take this role")))
    }
}

/// What it takes to remove a member: managing members, or, for a person who is
/// there, being that member. Whoever may come in may leave.
#[must_use]
pub fn to_remove_member(principal: &Principal, member: UserId) -> Action {
    let oneself = matches!(principal, Principal::Session(session) if session.user.id == member);
    if oneself { Action::ReadOrg } else { Action::ManageMembers }
}

/// Everything that the principal may do to the resource, for pages that show
/// or hide buttons.
#[must_use]
pub fn all_allowed(principal: &Principal, resource: &Resource) -> Vec<Action> {
    let may = |action: &Action| allowed(principal, *action, resource) == Decision::Allow;
    Action::ALL.iter().copied().filter(may).collect()
}

#[cfg(test)]
mod tests;
