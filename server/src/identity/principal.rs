//! Who asks.

use devenv_cloud_api::{
    Timestamp,
    accounts::{Assurance, AuthMethod},
    factors::Standing,
    ids::{OrgId, ProjectId, RunnerId, SessionId, TokenId, UserId},
    permissions::Scope,
};

use super::policy::{Held, Strength};

/// A person with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The e-mail address, as it was given.
    pub email: String,
    /// The display name.
    pub name: String,
    /// Whether they administrate the instance.
    pub instance_admin: bool,
    /// When the account was created.
    pub created_at: Timestamp,
}

impl From<User> for devenv_cloud_api::accounts::User {
    fn from(user: User) -> Self {
        let User { id, email, name, instance_admin, created_at } = user;
        Self { id, name, email, instance_admin, created_at }
    }
}

/// Somebody who signed in with a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPrincipal {
    /// Who.
    pub user: User,
    /// The session, by the id that is no secret.
    pub session: SessionId,
    /// How they proved who they are.
    pub methods: Vec<AuthMethod>,
    /// How sure that makes us.
    pub assurance: Assurance,
    /// When they proved it last.
    pub authenticated_at: Timestamp,
    /// The second factors that they have.
    pub held: Held,
    /// Where they stand with what this instance asks for.
    pub standing: Standing,
    /// Until when they have time, where that is [`Standing::Grace`].
    pub due_at: Option<Timestamp>,
    /// The organisation through whose own sign-in they came, if any.
    pub org: Option<OrgId>,
}

/// A program that acts for somebody, with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPrincipal {
    /// For whom.
    pub user: User,
    /// The token.
    pub token: TokenId,
    /// What the token may be used for.
    pub scopes: Vec<Scope>,
    /// The one project that it is limited to, if it is.
    pub project: Option<ProjectId>,
    /// When the token was created.
    pub created_at: Timestamp,
    /// The second factors that its owner has.
    pub held: Held,
    /// Where its owner stands with what this instance asks for.
    pub standing: Standing,
}

/// A machine that executes jobs, with its own credential. It acts for nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerPrincipal {
    /// Which.
    pub runner: RunnerId,
    /// Its name, for people.
    pub name: String,
    /// The organisation whose jobs it executes; none: the jobs of all.
    pub org: Option<OrgId>,
}

/// Who asks. What they may do is decided in [`crate::access`], and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody we know.
    Anonymous,
    /// A person, present.
    Session(SessionPrincipal),
    /// A program.
    Token(TokenPrincipal),
    /// A runner.
    Runner(RunnerPrincipal),
}

impl Principal {
    /// The person who asks or is acted for.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        match self {
            Self::Anonymous | Self::Runner(_) => None,
            Self::Session(session) => Some(&session.user),
            Self::Token(token) => Some(&token.user),
        }
    }

    /// Where they stand with what this instance asks of everybody's sign-in.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Anonymous | Self::Runner(_) => Standing::Fine,
            Self::Session(session) => session.standing,
            Self::Token(token) => token.standing,
        }
    }

    /// The second factors that the person has, and how strong a proof they gave;
    /// no proof for a token.
    #[must_use]
    pub fn proof(&self) -> (Held, Option<Strength>) {
        match self {
            Self::Anonymous | Self::Runner(_) => (Held::default(), None),
            Self::Session(session) => (session.held, Some(Strength::of(&session.methods))),
            Self::Token(token) => (token.held, None),
        }
    }

    /// Their id.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.user().map(|user| user.id)
    }
}
