//! How people come to have an account, get back into it, and lose it: the links
//! in mails, invitations, and what administrators of the instance do to accounts.
//!
//! Nothing in here signs anybody in. A link proves that somebody reads the mail
//! of an address, which is one proof and not two: it sets a password, or says
//! whose an address is, and then leads to the sign-in, which asks for all that
//! it asks everybody for.

mod email;
mod invitations;
mod manage;
mod reset;
mod store;

use chrono::TimeDelta;

pub use email::{address, ask_change, ask_verification, confirm};
pub use invitations::{
    Asker, accept, invite, invite_member, list as invitations, look, revoke as revoke_invitation,
};
pub use manage::{disable, enable, list};
pub use reset::{ask_reset, forget_resets, reset};

use crate::{
    clock::Clock,
    identity::{Limit, neighbourhood},
    refusal::Refusal,
};

/// How often mails may be asked for, and links tried.
#[derive(Debug)]
pub struct Limits {
    /// From one network.
    links: Limit<std::net::IpAddr>,
    /// To one address, whoever asks: nobody's mailbox is filled by way of us.
    mails: Limit<String>,
}

impl Limits {
    /// With nothing remembered yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            links: Limit::new(clock.clone(), 20, TimeDelta::seconds(30)),
            mails: Limit::new(clock.clone(), 3, TimeDelta::minutes(20)),
        }
    }

    fn link(&self, origin: &crate::identity::Origin) -> Result<(), Refusal> {
        self.links.take(&neighbourhood(origin.address))
    }

    fn mail(&self, email: &str) -> Result<(), Refusal> {
        self.mails.take(&crate::identity::email_key(email))
    }
}
