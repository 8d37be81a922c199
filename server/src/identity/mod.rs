//! Who people are: their accounts, passwords, sessions and tokens.
//!
//! Everything ends in a [`Principal`], which is what the rest of the program
//! knows of the one who asks; what a principal may do is [`crate::access`]'s
//! affair. The way in is [`arrival`]; what else than a password people prove
//! themselves with is in [`factors`]; before what matters, [`step_up`].

mod account;
pub mod arrival;
pub mod factors;
mod limit;
mod password;
mod policy;
mod principal;
pub(crate) mod secret;
mod session;
mod setup;
pub mod step_up;
mod store;
mod token;

pub use account::{change_password, check_email, check_name, rename, viewer};
pub use limit::{Limit, SignInLimits, neighbourhood};
pub use password::{Passwords, check as check_password};
pub use policy::{Held, Policy, Strength, instance_policy, new_policy, set_instance_policy};
pub use principal::{Principal, RunnerPrincipal, SessionPrincipal, TokenPrincipal, User};
pub use session::{
    Auth, Beginning, Origin, ProviderSession, Store as SessionStore, authenticate_session, begin_session,
    delete_expired_sessions_once, end_other_sessions, end_session, is_still_there, sessions,
};
pub use setup::{announce, is_needed, set_up};
pub use store::{email_key, find_link, find_user, find_user_by_email, insert_user, policy};
pub use token::{authenticate_token, create_token, create_token_in, project_tokens, revoke_token, tokens};

use chrono::TimeDelta;
use devenv_cloud_api::ids::UserId;
use webauthn_rs::Webauthn;

use crate::{clock::Clock, config::Config};

/// What the domain keeps in memory.
#[derive(Debug)]
pub struct Guards {
    /// Hashes and checks passwords, away from the threads that serve requests.
    pub passwords: Passwords,
    /// How often who may try to sign in with a password.
    pub sign_ins: SignInLimits,
    /// How often one network address may begin something on the way in.
    pub steps: Limit<std::net::IpAddr>,
    /// How often one-time codes of somebody may be tried. By then the first
    /// proof was right; who uses them up locks nobody out of other ways.
    pub codes: Limit<UserId>,
    /// The same for recovery codes.
    pub recovery: Limit<UserId>,
    /// Who we are to authenticators; none where there can be no passkeys.
    pub passkeys: Option<Webauthn>,
}

impl Guards {
    /// With nothing remembered yet.
    #[must_use]
    pub fn new(config: &Config, clock: &Clock) -> Self {
        let minute = TimeDelta::minutes(1);
        Self {
            passwords: Passwords::new(),
            sign_ins: SignInLimits::new(clock.clone(), config.limits.sign_ins_per_minute),
            steps: Limit::new(
                clock.clone(),
                config.limits.sign_ins_per_minute.saturating_mul(4),
                minute / 60,
            ),
            codes: Limit::new(clock.clone(), 5, minute),
            recovery: Limit::new(clock.clone(), 5, minute),
            passkeys: factors::passkeys::relying_party(&config.server.base_url),
        }
    }
}
