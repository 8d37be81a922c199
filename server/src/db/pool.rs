//! Connections and transactions.

use std::{str::FromStr, time::Duration};

use sqlx::{
    PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// How long a statement waits for a connection or for SQLite's one writer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file of our own.
    Sqlite,
    /// A server that others may share.
    Postgres,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pub(super) pools: Pools,
    pub(super) wakeups: super::Wakeups,
}

#[derive(Clone, Debug)]
pub(super) enum Pools {
    /// SQLite has one writer at a time. Writers queue for one connection in
    /// fair order, instead of meeting at the file's lock and backing off.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
    },
    Postgres(PgPool),
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A row with this key is there already. Holds the constraint's name or columns.
    #[error("the value is taken already: {0}")]
    Taken(String),
    /// What the row refers to is not there (any more).
    #[error("what the row refers to is gone: {0}")]
    Dangling(String),
    /// The database cannot be reached at this moment.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Anything else.
    #[error("the database refused a statement: {0}")]
    Other(#[source] sqlx::Error),
    /// The address of the database cannot be understood.
    #[error("`{0}` is no database address; use `sqlite:PATH` or `postgres://USER@HOST/NAME`")]
    Address(String),
    /// See [`super::MigrationError`].
    #[error(transparent)]
    Migration(#[from] super::MigrationError),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(e) if e.is_unique_violation() => {
                Self::Taken(e.constraint().unwrap_or_else(|| e.message()).to_owned())
            }
            sqlx::Error::Database(e) if e.is_foreign_key_violation() => {
                Self::Dangling(e.message().to_owned())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Other(error),
        }
    }
}

impl Db {
    /// Connects, and brings the schema up to date.
    ///
    /// `address` is `sqlite:PATH` or `postgres://…`.
    ///
    /// # Errors
    /// When the address makes no sense, the database cannot be reached, or its
    /// schema is newer than this program.
    pub async fn connect(address: &str) -> Result<Self, DbError> {
        let pools = if let Some(path) = address.strip_prefix("sqlite:") {
            let options = SqliteConnectOptions::new()
                .filename(path.trim_start_matches("//"))
                .create_if_missing(true)
                .foreign_keys(true)
                .journal_mode(SqliteJournalMode::Wal)
                // With WAL, FULL is what survives a power cut; the cost is one
                // fsync a transaction.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(PATIENCE);
            let pool = || SqlitePoolOptions::new().acquire_timeout(PATIENCE);
            let write = pool().max_connections(1).connect_with(options.clone()).await?;
            let read = pool().max_connections(8).connect_with(options).await?;
            Pools::Sqlite { read, write }
        } else if address.starts_with("postgres://") || address.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(address)
                .map_err(|_| DbError::Address("postgres://…".to_owned()))?;
            let options = options.application_name("devenv-cloud");
            Pools::Postgres(
                PgPoolOptions::new()
                    .max_connections(16)
                    .acquire_timeout(PATIENCE)
                    .connect_with(options)
                    .await?,
            )
        } else {
            return Err(DbError::Address(address.to_owned()));
        };
        super::migrate::run(&pools).await?;
        let wakeups = match &pools {
            Pools::Sqlite { .. } => super::Wakeups::local(),
            Pools::Postgres(pool) => super::Wakeups::shared(pool).await?,
        };
        Ok(Self { pools, wakeups })
    }

    /// Which engine it is, for those few who must know.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        match self.pools {
            Pools::Sqlite { .. } => Engine::Sqlite,
            Pools::Postgres(_) => Engine::Postgres,
        }
    }

    /// Begins a transaction that may write. On SQLite it takes the writer's
    /// lock at once, so that reading and then writing cannot fail half-way.
    /// Dropped without [`Tx::commit`], it changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let inner = match &self.pools {
            Pools::Sqlite { write, .. } => TxInner::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres(pool) => TxInner::Postgres(pool.begin().await?),
        };
        Ok(Tx { inner, wakeups: self.wakeups.clone(), pending: Vec::new() })
    }

    /// What wakes those who wait for work.
    #[must_use]
    pub const fn wakeups(&self) -> &super::Wakeups {
        &self.wakeups
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        super::query("SELECT 1 AS one").one(self).await.map(|_| ())
    }

    /// Closes all connections, having waited for the statements under way.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction.
#[derive(Debug)]
pub struct Tx {
    pub(super) inner: TxInner,
    wakeups: super::Wakeups,
    pending: Vec<super::Topic>,
}

#[derive(Debug)]
pub(super) enum TxInner {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Tx {
    /// Wakes those who wait for `topic`, once this transaction is committed.
    pub fn wake(&mut self, topic: super::Topic) {
        if !self.pending.contains(&topic) {
            self.pending.push(topic);
        }
    }

    /// Makes it true.
    ///
    /// # Errors
    /// When the database says no; nothing has changed then.
    pub async fn commit(self) -> Result<(), DbError> {
        match self.inner {
            TxInner::Sqlite(tx) => tx.commit().await?,
            TxInner::Postgres(mut tx) => {
                for topic in &self.pending {
                    super::notify::notify(&mut tx, *topic).await?;
                }
                tx.commit().await?;
            }
        }
        for topic in self.pending {
            self.wakeups.wake_local(topic);
        }
        Ok(())
    }
}
