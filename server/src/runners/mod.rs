//! Runners: machines elsewhere that execute jobs.
//!
//! A machine becomes a runner with a registration token, which it exchanges
//! once for a credential of its own. The credential opens the runner's protocol
//! and nothing else, for an hour; the runner exchanges it for the next one in
//! time, or, having been away, up to [`AWAY`] later. At most two are valid: the
//! newest, and the one that it was exchanged for, because the answer with the
//! newest may have been lost. Of all of them only hashes are stored.
//!
//! A runner belongs to an organisation and gets the jobs of its projects only,
//! or to the instance and gets any. What it executes is bound to it twice: the
//! attempt's row names the runner, and every report shows the lease's number.

mod credential;
mod manage;
mod register;
mod report;
mod store;
mod tokens;

use chrono::TimeDelta;
use devenv_cloud_api::{audit::AuditAction, ids::OrgId};

pub use credential::{authenticate, renew};
pub use manage::{list, revoke, update};
pub use register::{hello, leave, register};
pub use report::{embedded, leave_embedded, report, report_embedded};
pub use tokens::{create_token, revoke_token, tokens};

use crate::{audit::Event, db::DbError, executor::remote::wire, identity::Origin};

/// What a registration token begins with.
pub const TOKEN_PREFIX: &str = "dvreg_";

/// What a runner's credential begins with.
pub const CREDENTIAL_PREFIX: &str = "dvrun_";

/// How long a credential works.
pub const CREDENTIAL_LIFE: TimeDelta = TimeDelta::hours(1);

/// How long after its credential's end a runner can still exchange it.
pub const AWAY: TimeDelta = TimeDelta::days(30);

/// Without a sign of life for so long, a runner is shown as offline. It asks
/// for work or renews a lease more often than this.
pub const SILENT: TimeDelta = TimeDelta::seconds(90);

/// Whose runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An organisation's.
    Org(OrgId),
    /// The instance's.
    Instance,
}

impl Owner {
    const fn org(self) -> Option<OrgId> {
        match self {
            Self::Org(id) => Some(id),
            Self::Instance => None,
        }
    }

    /// Something that happened to their runners.
    fn event(self, action: AuditAction, origin: &Origin) -> Event<'_> {
        let event = Event::new(action, origin);
        match self {
            Self::Org(id) => event.of(id),
            Self::Instance => event,
        }
    }
}

impl From<Option<OrgId>> for Owner {
    fn from(org: Option<OrgId>) -> Self {
        org.map_or(Self::Instance, Self::Org)
    }
}

/// Why a machine was not accepted. The sentences are for the one who started it.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The registration token is not known.
    #[error(
        "this registration token is none of this server's: copy it again, or create a new one on the page Runners"
    )]
    UnknownToken,
    /// It was good once.
    #[error("this registration token has expired: create a new one on the page Runners")]
    ExpiredToken,
    /// As many machines as may have registered with it.
    #[error("this registration token is used up: create a new one on the page Runners")]
    UsedToken,
    /// Somebody withdrew it.
    #[error("this registration token was revoked: create a new one on the page Runners")]
    RevokedToken,
    /// No credential of ours, or not any more.
    #[error("the server does not know this runner's credential (any more): register again, with a new token")]
    UnknownCredential,
    /// It has to be exchanged first.
    #[error("this credential has expired; exchange it for a new one")]
    ExpiredCredential,
    /// Somebody revoked the runner.
    #[error("this runner was revoked by an administrator of the server")]
    Revoked,
    /// The two programs do not understand each other.
    #[error(
        "this runner speaks version {theirs} of the protocol and the server version {}: install devenv-cloud {} on both",
        wire::PROTOCOL, env!("CARGO_PKG_VERSION")
    )]
    Incompatible {
        /// The runner's version of the protocol.
        theirs: u32,
    },
    /// The announcement makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The database said no.
    #[error(transparent)]
    Db(#[from] DbError),
}
