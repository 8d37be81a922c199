//! Accounts: people, their sessions and tokens.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    factors::Standing,
    ids::{SessionId, TokenId, UserId},
    names::Slug,
    permissions::{Role, Scope, words},
};

/// A person, as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The display name.
    pub name: String,
    /// The e-mail address, as it was given.
    pub email: String,
    /// Whether this person administrates the instance.
    pub instance_admin: bool,
    /// When the account was created.
    pub created_at: DateTime<Utc>,
}

words! {
    /// How somebody proved who they are (the values of RFC 8176 where it has one).
    AuthMethod {
        /// A password.
        Password = "pwd",
        /// A one-time code.
        OneTimeCode = "otp",
        /// A passkey or another proof with a hardware or platform key.
        Passkey = "hwk",
        /// A recovery code.
        RecoveryCode = "rec",
        /// An organisation's identity provider.
        Federated = "fed",
        /// An API token. Never the proof of a person's presence.
        Token = "token",
    }
}

words! {
    /// How sure we are who it is (in the sense of NIST SP 800-63B AAL).
    Assurance {
        /// One factor.
        Single = "aal1",
        /// Two factors, or a passkey with user verification.
        Multi = "aal2",
    }
}

/// The one who asks, as the API knows them: the answer of `GET /session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Viewer {
    /// The person.
    pub user: User,
    /// How they proved who they are.
    pub methods: Vec<AuthMethod>,
    /// How sure that makes us.
    pub assurance: Assurance,
    /// When they proved it.
    pub authenticated_at: DateTime<Utc>,
    /// Where they stand with what this instance asks of everybody's sign-in.
    pub standing: Standing,
    /// Until when they have time, where that is `grace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// Their organisations, for the switcher.
    pub orgs: Vec<Membership>,
}

/// An organisation that somebody is a member of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Membership {
    /// The name in addresses.
    pub org: Slug,
    /// The name for people.
    pub display_name: String,
    /// What they may do there.
    pub role: Role,
}

/// Whether the instance still waits for its first user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetupState {
    /// Whether the set-up link is still waiting to be used.
    pub needed: bool,
}

/// Creates the first user, who administrates the instance.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Setup {
    /// The one-time token of the set-up link.
    pub token: String,
    /// The e-mail address to sign in with.
    pub email: String,
    /// The display name.
    pub name: String,
    /// The password: 8 to 1,024 characters, exactly as given.
    pub password: String,
}

/// Signs in with a password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// The e-mail address.
    pub email: String,
    /// The password.
    pub password: String,
}

/// Changes one's own account. Absent fields stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateAccount {
    /// The new display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Changes one's own password. Ends all other sessions.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    /// The password until now.
    pub current: String,
    /// The password from now on.
    pub new: String,
}

/// A personal access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// The id.
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// The first characters of the secret, to tell tokens apart.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The one project that it is limited to, as `org/project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whose it is.
    pub owner: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it stops working. Tokens always expire.
    pub expires_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Creates a token for oneself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateToken {
    /// What to call it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// In how many days it expires: 1 to 366.
    pub expires_in_days: u32,
}

/// A new token, with its secret, which is shown this once.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// The token.
    pub token: Token,
    /// The secret, `dvc_…`. It cannot be shown again.
    pub secret: String,
}

/// A signed-in browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// The id, which is not the secret in the cookie.
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// The browser as it called itself.
    pub user_agent: String,
    /// The address that it signed in from.
    pub ip: String,
    /// How they proved who they are there.
    pub methods: Vec<AuthMethod>,
    /// How sure that makes us.
    pub assurance: Assurance,
    /// When they proved it last.
    pub authenticated_at: DateTime<Utc>,
    /// The provider by which they came, by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// When it signed in.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}
