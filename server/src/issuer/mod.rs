//! Tokens that we sign, and programs that sign in with an account of ours.
//!
//! This server is a small OpenID provider. It has two kinds of clients: our own
//! command line, which anybody can run and which therefore has no secret, and
//! applications that the administrator names in the configuration. Both get in
//! in one of two ways, and no other: a code that a person types or confirms in
//! a browser (RFC 8628), or a redirect with PKCE (RFC 6749 §4.1, RFC 7636).
//! There is no implicit grant, no password grant and no refresh token: who
//! wants to stay asks the person again in ninety days.
//!
//! What a program gets for the API is a token as in [`crate::identity`]: listed
//! among the person's, and revoked like those. What it gets to know who
//! somebody is, is a signed `id_token`, and a token of ten minutes that opens
//! the userinfo endpoint and nothing else.

mod client;
mod code;
mod device;
mod error;
mod jwt;
mod keys;
mod scopes;
mod store;
mod tokens;

use std::net::IpAddr;

use chrono::TimeDelta;
use devenv_cloud_api::{factors::Standing, ids::UserId};

pub use client::{CLI, Client, Clients, Credentials, authenticate, shown};
pub use code::{
    AuthorizeParams, Step, Untrusted, authorize, decide as decide_authorization, redeem as redeem_code,
    show as authorization,
};
pub use device::{
    Begun, GRANT_TYPE as DEVICE_GRANT_TYPE, begin as begin_device, decide as decide_device,
    redeem as redeem_device, show as device_login,
};
pub use error::OAuthError;
pub use jwt::Rejected;
pub use keys::{AHEAD, BEHIND, SIGNS, key_set, list as signing_keys, rotate as rotate_keys, rotate_once};
pub use scopes::{SCOPES, Scopes};
pub use tokens::{ACCESS_PREFIX, ID_TOKEN_LIFE, IdTokenClaims, Issued, revoke, userinfo, verify_id_token};

use crate::{
    app::AppParts,
    clock::Clock,
    identity::{Limit, SessionPrincipal, neighbourhood},
    refusal::Refusal,
};

/// What the domain keeps in memory: how often who may try.
#[derive(Debug)]
pub struct Issuer {
    /// Logins that were begun, and wrong secrets, per address.
    asked: Limit<IpAddr>,
    /// Wrong user codes, per address.
    guesses: Limit<IpAddr>,
    /// Wrong user codes, per person.
    guesses_of: Limit<UserId>,
}

impl Issuer {
    /// With nothing remembered yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            asked: Limit::new(clock.clone(), 30, TimeDelta::seconds(2)),
            guesses: Limit::new(clock.clone(), 20, TimeDelta::seconds(30)),
            guesses_of: Limit::new(clock.clone(), 10, TimeDelta::seconds(60)),
        }
    }

    /// Counts a login that is begun, or a secret that is tried.
    fn take_asked(&self, address: IpAddr) -> Result<(), Refusal> {
        self.asked.take(&neighbourhood(address))
    }

    fn give_back_asked(&self, address: IpAddr) {
        self.asked.give_back(&neighbourhood(address));
    }

    /// Counts a user code that is tried.
    fn take_guess(&self, user: UserId, address: IpAddr) -> Result<(), Refusal> {
        self.guesses_of.take(&user)?;
        self.guesses.take(&neighbourhood(address)).inspect_err(|_| self.guesses_of.give_back(&user))
    }

    /// It was a right one, and does not count.
    fn give_back_guess(&self, user: UserId, address: IpAddr) {
        self.guesses_of.give_back(&user);
        self.guesses.give_back(&neighbourhood(address));
    }
}

/// Whether this person may let programs in: not before they have set up what
/// the instance asks for, and proved it.
fn require_standing(asker: &SessionPrincipal) -> Result<(), Refusal> {
    match asker.standing {
        Standing::Fine | Standing::Grace => Ok(()),
        Standing::MustEnrol => Err(Refusal::MustEnrol),
        Standing::MustProve => Err(Refusal::StepUp),
    }
}

/// Deletes logins that nobody asks about any more. They are dead without it:
/// this is housekeeping.
///
/// # Errors
/// When the database says no.
pub async fn delete_expired_once(app: &AppParts) -> Result<u64, crate::db::DbError> {
    // A while later, so that who comes late hears "expired" and not "unknown".
    store::delete_logins_before(&app.db, app.clock.now() - TimeDelta::hours(1)).await
}
