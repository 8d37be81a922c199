//! Signing in with an account elsewhere: providers of the configuration that
//! speak OpenID Connect, and GitHub.
//!
//! [`flow`] sends a browser to a provider and takes what it brings back;
//! [`oidc`] and [`github`] find out there who it is; [`logout`] ends sessions
//! when a provider says so. All of it ends in one value,
//! [`External`](crate::identity::arrival::External): this
//! provider says that this is its person of that number. Who that is *here*,
//! and whether it is enough to come in, is decided in [`crate::identity::arrival`]
//! for all ways of arriving alike.
//!
//! The libraries draw up requests, read keys and compute signatures. What is
//! believed is decided here, in functions that see nothing but their arguments:
//! [`jws::open`] and [`oidc::validate`].

mod flow;
mod github;
mod jws;
mod links;
mod logout;
mod oidc;
mod provider;
mod store;

use std::{collections::BTreeMap, sync::Arc};

use devenv_cloud_api::sign_in::Provider as Listed;

pub use flow::{Answer, Begin, Intent, Returned, begin, come_back, new_binding};
pub use links::{links, unlink};
pub use logout::log_out;

use crate::{app::AppParts, config::Config, outgoing::OutgoingError, refusal::Refusal};
use provider::Provider;

/// What the domain keeps in memory.
#[derive(Debug)]
pub struct Sso {
    providers: BTreeMap<String, Arc<Provider>>,
}

impl Sso {
    /// The providers of the configuration. Nothing is asked of them before
    /// somebody signs in.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let new = |(name, settings): (&String, &crate::config::Provider)| {
            (name.clone(), Arc::new(Provider::new(name, settings)))
        };
        Self { providers: config.providers.iter().map(new).collect() }
    }

    /// What people can choose from.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let show = |(name, provider): (&String, &Arc<Provider>)| Listed {
            name: name.clone(),
            label: provider.settings.label.clone(),
        };
        self.providers.iter().map(show).collect()
    }

    /// What people call the provider of this name. One that is no more in the
    /// configuration is called by its name.
    #[must_use]
    pub fn label(&self, name: &str) -> String {
        self.providers.get(name).map_or_else(|| name.to_owned(), |provider| provider.settings.label.clone())
    }

    fn find(&self, name: &str) -> Result<Arc<Provider>, Rejection> {
        self.providers.get(name).cloned().ok_or(Rejection::NoProvider)
    }
}

/// Why somebody does not come in by a provider.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// There is no such provider.
    #[error("there is no such way to sign in here (any more)")]
    NoProvider,
    /// The state is of no sign-in, of another provider's, or of another browser's.
    #[error(
        "this sign-in is not under way (any more), or was begun in another browser; begin again from the sign-in page"
    )]
    NotUnderWay,
    /// The provider, or the person there, said no.
    #[error("{provider} did not sign you in: {error}{}", if description.is_empty() { String::new() } else { format!(" ({description})") })]
    Denied {
        /// What people call it.
        provider: String,
        /// Its error, from RFC 6749 §4.1.2.1 or beyond.
        error: String,
        /// In its words.
        description: String,
    },
    /// What the provider says is not believed.
    #[error("{provider} gave an answer that is not accepted: {why}")]
    NotBelieved {
        /// What people call it.
        provider: String,
        /// What is wrong with it.
        why: String,
    },
    /// The provider cannot be asked. Why is for the log.
    #[error(
        "{provider} cannot be asked at the moment; the administrators of this server find the reason in its log"
    )]
    NoAnswer {
        /// What people call it.
        provider: String,
        /// Why.
        why: String,
    },
    /// Not with this provider.
    #[error("{0}")]
    NotAllowed(String),
    /// Our own reasons.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<crate::db::DbError> for Rejection {
    fn from(error: crate::db::DbError) -> Self {
        Self::Refused(error.into())
    }
}

/// Why a provider's words come to nothing, before it is known whose words they are.
#[derive(Debug)]
enum Wrong {
    /// They are not believed.
    Words(String),
    /// It has no words.
    Silence(String),
}

impl Wrong {
    fn words(why: impl Into<String>) -> Self {
        Self::Words(why.into())
    }

    fn of(self, provider: &Provider) -> Rejection {
        let label = provider.settings.label.clone();
        match self {
            Self::Words(why) => Rejection::NotBelieved { provider: label, why },
            Self::Silence(why) => Rejection::NoAnswer { provider: label, why },
        }
    }
}

impl From<OutgoingError> for Wrong {
    fn from(error: OutgoingError) -> Self {
        Self::Silence(error.to_string())
    }
}

/// Where a provider sends people back to.
#[must_use]
pub fn callback_url(app: &AppParts, provider: &str) -> String {
    app.url(&format!("/sign-in/provider/{provider}/callback"))
}
