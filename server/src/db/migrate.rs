//! Bringing the schema up to date.

use sqlx::migrate::{MigrateError, Migrator};

use super::pool::Pools;

static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A newer program was here before.
    #[error(
        "the database has schema version {found}, and this program knows only up to {known}: it was used by a \
         newer devenv-cloud. Install that version again, or restore the backup from before the upgrade"
    )]
    Newer {
        /// The version found.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// A step failed; the database is as it was before that step.
    #[error("the schema could not be brought up to date: {0}")]
    Failed(#[source] Box<MigrateError>),
}

/// Runs all steps that have not run yet. PostgreSQL takes an advisory lock, so
/// that two servers starting at once do not meet; for SQLite the server's lock
/// on the state directory does it.
pub(super) async fn run(pools: &Pools) -> Result<(), MigrationError> {
    let result = match pools {
        Pools::Sqlite { write, .. } => SQLITE.run(write).await,
        Pools::Postgres(pool) => POSTGRES.run(pool).await,
    };
    result.map_err(|e| match e {
        MigrateError::VersionMissing(found) => MigrationError::Newer { found, known: known() },
        other => MigrationError::Failed(Box::new(other)),
    })
}

/// The newest version that this program knows.
pub(super) fn known() -> i64 {
    SQLITE.iter().map(|m| m.version).max().unwrap_or_default()
}
