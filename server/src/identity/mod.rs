//! Who people are: their accounts, passwords, sessions and tokens.
//!
//! Everything ends in a [`Principal`], which is what the rest of the program
//! knows of the one who asks; what a principal may do is [`crate::access`]'s
//! affair. A session already carries by which methods somebody signed in, how
//! sure that makes us, when, and through which organisation, so that passkeys,
//! one-time codes and single sign-on are further ways to fill in the same form.

mod account;
mod limit;
mod password;
mod principal;
pub(crate) mod secret;
mod session;
mod setup;
mod store;
mod token;

pub use account::{change_password, check_email, check_name, rename, sign_in, viewer};
pub use limit::SignInLimits;
pub use password::Passwords;
pub use principal::{Principal, RunnerPrincipal, SessionPrincipal, TokenPrincipal, User};
pub use session::{
    Auth, Origin, Store as SessionStore, authenticate_session, begin_session, delete_expired_sessions_once,
    end_other_sessions, end_session, sessions,
};
pub use setup::{announce, is_needed, set_up};
pub use store::{find_user, find_user_by_email};
pub use token::{authenticate_token, create_token, project_tokens, revoke_token, tokens};

use crate::{clock::Clock, config::Config};

/// What the domain keeps in memory.
#[derive(Debug)]
pub struct Identity {
    /// Hashes and checks passwords, away from the threads that serve requests.
    pub passwords: Passwords,
    /// How often who may try to sign in.
    pub sign_ins: SignInLimits,
}

impl Identity {
    /// With nothing remembered yet.
    #[must_use]
    pub fn new(config: &Config, clock: &Clock) -> Self {
        Self {
            passwords: Passwords::new(),
            sign_ins: SignInLimits::new(clock.clone(), config.limits.sign_ins_per_minute),
        }
    }
}
