//! What we sign, and programs that sign in with an account of ours: command
//! lines (RFC 8628) and other applications (OpenID Connect).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::permissions::{Scope, words};

words! {
    /// What a program may get to know about somebody.
    Claim {
        /// That it is the same person as last time.
        OpenId = "openid",
        /// Their name.
        Profile = "profile",
        /// Their e-mail address.
        Email = "email",
    }
}

/// A program that asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientShown {
    /// Its name in the configuration.
    pub id: String,
    /// Whether it is a part of devenv-cloud.
    pub first_party: bool,
}

/// The login of a command line, as the person sees it who is to allow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceLogin {
    /// The code, as the command line shows it.
    pub user_code: String,
    /// Which program.
    pub client: ClientShown,
    /// What its token could be used for.
    pub scopes: Vec<Scope>,
    /// The network address that it asks from.
    pub ip: String,
    /// The program, in its own words.
    pub user_agent: String,
    /// When it asked.
    pub created_at: DateTime<Utc>,
    /// When it must ask anew.
    pub expires_at: DateTime<Utc>,
}

/// Allows or refuses the login of a command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecideDevice {
    /// The code, as the command line shows it.
    pub user_code: String,
    /// Whether to allow it.
    pub allow: bool,
}

/// An application that asks to sign somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authorization {
    /// Which application.
    pub client: ClientShown,
    /// The host that the person is sent back to.
    pub returns_to: String,
    /// What it would get to know.
    pub claims: Vec<Claim>,
    /// What its token could be used for; empty if it gets none for the API.
    pub scopes: Vec<Scope>,
    /// Whether it insists on a sign-in that is newer than this session's.
    pub sign_in_again: bool,
}

/// Allows or refuses what an application asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecideAuthorization {
    /// The request, from the address of the page.
    pub request: String,
    /// Whether to allow it.
    pub allow: bool,
}

/// Where to go now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Redirection {
    /// The application's address, with its answer.
    pub redirect_to: String,
}

/// A key that we sign with, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SigningKey {
    /// Its name in the key set (`kid`).
    pub key_id: String,
    /// When it was made, and published.
    pub created_at: DateTime<Utc>,
    /// When it begins to sign.
    pub signs_from: DateTime<Utc>,
    /// When the next one takes over.
    pub signs_until: DateTime<Utc>,
    /// When nothing that it signed counts any more.
    pub published_until: DateTime<Utc>,
    /// Whether it is the one that signs.
    pub signs: bool,
}

/// Makes a new key to sign with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateKeys {
    /// Whether it signs at once and the keys before it count no more, because
    /// one has become known. Else it is published now and signs from tomorrow.
    #[serde(default)]
    pub at_once: bool,
}
