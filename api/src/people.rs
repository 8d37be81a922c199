//! People on an instance: invitations, addresses, resets, and who may come in.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{InvitationId, UserId},
    names::Slug,
    permissions::{Role, words},
};

/// Asks for a link to set a new password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskReset {
    /// The e-mail address of the account.
    pub email: String,
}

/// Sets a new password by a link.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResetPassword {
    /// The token of the link.
    pub token: String,
    /// The new password, exactly as typed.
    pub password: String,
}

/// One's own e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EmailAddress {
    /// The address.
    pub email: String,
    /// Since when it is known to be this person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<DateTime<Utc>>,
}

/// Asks to change one's e-mail address.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeEmail {
    /// The new address.
    pub email: String,
}

/// The token of a link in a mail.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkToken {
    /// The token.
    pub token: String,
}

/// Invites somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invite {
    /// The e-mail address.
    pub email: String,
}

/// Invites somebody to an organisation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InviteMember {
    /// The e-mail address.
    pub email: String,
    /// What they may do there.
    pub role: Role,
}

/// An invitation that can still be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invitation {
    /// The id.
    pub id: InvitationId,
    /// To whom it was sent.
    pub email: String,
    /// What they may do in the organisation, if it is to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Who invited them, by e-mail address.
    pub inviter: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

words! {
    /// How somebody who holds an invitation goes on.
    InvitationStep {
        /// They choose a name and a password, and have an account.
        CreateAccount = "create-account",
        /// They accept, signed in as they are.
        Accept = "accept",
        /// They sign in first: there is an account with this address.
        SignIn = "sign-in",
        /// They sign out first: they are signed in as somebody else.
        SignOut = "sign-out",
    }
}

/// An invitation, for the one who holds its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenInvitation {
    /// To whom it was sent.
    pub email: String,
    /// Who invited them, by e-mail address.
    pub inviter: String,
    /// The organisation's name in addresses, if it is to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<Slug>,
    /// The organisation's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_name: Option<String>,
    /// What they may do there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
    /// What comes next.
    pub step: InvitationStep,
}

/// Accepts an invitation. Name and password are for those who have no account yet.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcceptInvitation {
    /// The token of the link.
    pub token: String,
    /// What to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The password, exactly as typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// What accepting an invitation led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted {
    /// The organisation that one is a member of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<Slug>,
    /// Whether an account was created: then one signs in with it next.
    pub created: bool,
}

/// Somebody with an account, as administrators of the instance see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Person {
    /// The id.
    pub id: UserId,
    /// The display name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// Since when the address is known to be theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<DateTime<Utc>>,
    /// Whether they administrate the instance.
    pub instance_admin: bool,
    /// When the account was created.
    pub created_at: DateTime<Utc>,
    /// Since when they may not come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
}
