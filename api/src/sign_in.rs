//! The way in: from an e-mail address to a session, step by step.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{accounts::AuthMethod, ids::LinkId, permissions::words};

words! {
    /// What comes next on the way in.
    SignInStep {
        /// Say who you are, or use a passkey or a provider.
        Identify = "identify",
        /// Prove it.
        Prove = "prove",
        /// Prove it with something else, too.
        SecondFactor = "second-factor",
        /// Done: the browser has a session.
        Done = "done",
    }
}

/// Another account with which people can sign in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provider {
    /// Its name in addresses, from the configuration.
    pub name: String,
    /// Its name for people.
    pub label: String,
}

/// How far somebody has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInState {
    /// What comes next.
    pub step: SignInStep,
    /// The address that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What can be used for the next step, the strongest first. Before anything
    /// is proven it says nothing about the account, nor whether there is one.
    pub methods: Vec<AuthMethod>,
    /// Providers that can be used.
    pub providers: Vec<Provider>,
    /// An account elsewhere that will be linked once the person has signed in
    /// with what they have, e.g. `GitHub (octocat)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<String>,
    /// Whether the person can choose to stay signed in on this computer.
    pub may_keep: bool,
    /// Where they wanted to go; a path of this application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
}

/// Says who one is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Identify {
    /// The e-mail address.
    pub email: String,
    /// Where to go afterwards; a path of this application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
    /// Whether to stay signed in on this computer, where that may be chosen.
    #[serde(default)]
    pub keep: bool,
}

/// An account elsewhere with which somebody signs in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkedAccount {
    /// The id of the link.
    pub id: LinkId,
    /// The provider, by its name in addresses.
    pub provider: String,
    /// The provider's name for people.
    pub provider_label: String,
    /// What the account is called there. Identifies nobody.
    pub label: String,
    /// When it was linked.
    pub created_at: DateTime<Utc>,
    /// When somebody last signed in with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
}
