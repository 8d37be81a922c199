//! Looking at a database without changing it.

use std::str::FromStr as _;

use sqlx::{
    Connection as _, PgConnection, SqliteConnection, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};

use super::{DbError, Engine, MigrationError, migrate};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Which engine it is.
    pub engine: Engine,
    /// The schema's version; none where no server has ever used it.
    pub schema: Option<i64>,
    /// The newest version that this program knows.
    pub known: i64,
}

/// Connects and asks for the schema's version. Makes no file, runs no migration.
///
/// # Errors
/// As [`super::Db::connect`], but for what only migrating can find.
pub async fn examine(address: &str) -> Result<Examined, DbError> {
    const VERSION: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";
    let known = migrate::known();
    let (engine, found) = if let Some(path) = address.strip_prefix("sqlite:") {
        let options =
            SqliteConnectOptions::new().filename(path.trim_start_matches("//")).create_if_missing(false);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let schema = sqlx::query_scalar::<_, Option<i64>>(VERSION).fetch_one(&mut connection).await;
        let _ = connection.close().await;
        (Engine::Sqlite, schema)
    } else if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        let options = PgConnectOptions::from_str(address)
            .map_err(|_| DbError::Address("postgres://…".to_owned()))?
            .application_name("devenv-cloud doctor");
        let mut connection = PgConnection::connect_with(&options).await?;
        let schema = sqlx::query_scalar::<_, Option<i64>>(VERSION).fetch_one(&mut connection).await;
        let _ = connection.close().await;
        (Engine::Postgres, schema)
    } else {
        return Err(DbError::Address(address.to_owned()));
    };
    let schema = match found {
        Ok(schema) => schema,
        // There is no such table.
        Err(sqlx::Error::Database(error)) if no_table(&*error) => None,
        Err(error) => return Err(error.into()),
    };
    match schema {
        Some(found) if found > known => Err(MigrationError::Newer { found, known }.into()),
        schema => Ok(Examined { engine, schema, known }),
    }
}

fn no_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}
