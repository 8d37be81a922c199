//! The application: everything that a request or a background loop may need,
//! put together once. Tests put it together with a fake clock and a seeded
//! generator; nothing else differs.

use std::sync::Arc;

use object_store::ObjectStore;

use crate::{
    clock::{Clock, Random},
    config::Config,
    db::Db,
};

/// The application's shared parts. Cheap to clone.
pub type App = Arc<AppParts>;

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct AppParts {
    /// The configuration.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The time.
    pub clock: Clock,
    /// Random bytes and ids.
    pub random: Random,
    /// Seals what a copy of the database must not tell.
    pub seal: crate::seal::Seal,
    /// Where the bytes of telemetry are.
    pub objects: Arc<dyn ObjectStore>,
    /// What is known about people while the server runs.
    pub identity: crate::identity::Guards,
    /// What is known about programs that ask for tokens.
    pub issuer: crate::issuer::Issuer,
    /// The client for requests that configuration makes us send.
    pub outgoing: crate::outgoing::Outgoing,
    /// The providers with which people can sign in.
    pub sso: crate::sso::Sso,
    /// How often mails may be asked for, and links tried.
    pub people: crate::people::Limits,
    /// This server's name among those that share the database; the same after a restart.
    pub instance: String,
    /// Sends mail.
    pub mailer: crate::mail::Mailer,
    /// What the git remote remembers.
    pub forge: crate::forge::Forge,
    /// What telemetry remembers.
    pub telemetry: crate::telemetry::Telemetry,
    /// What is counted for `/metrics`.
    pub metrics: crate::metrics::Metrics,
    /// Cancelled when the server stops: background loops end, live streams close.
    pub shutdown: tokio_util::sync::CancellationToken,
}

impl AppParts {
    /// An absolute address for people, e.g. `url("/acme/web/runs/42")`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.config.server.base_url)
    }

    /// The room that logs and pushes must leave on the disk.
    #[must_use]
    pub fn disk_reserve(&self) -> crate::disk::Reserve {
        crate::disk::Reserve::new(self.config.server.state_dir.clone(), self.config.limits.disk_reserve_mib)
    }

    /// Where bare repositories are.
    #[must_use]
    pub fn repositories(&self) -> std::path::PathBuf {
        self.config.server.state_dir.join("repositories")
    }
}
