//! Statements: written once, run on either engine.

use sqlx::{
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    Column, Db, DbError, Tx, Value,
    pool::{Pools, TxInner},
};

/// A statement with its parameters.
#[derive(Debug)]
pub struct Query {
    sql: &'static str,
    /// Where PostgreSQL needs other words.
    postgres: Option<&'static str>,
    values: Vec<Value>,
}

/// A statement that both engines understand, with parameters `$1`, `$2`, ….
#[must_use]
pub const fn query(sql: &'static str) -> Query {
    Query { sql, postgres: None, values: Vec::new() }
}

/// Text as a part of a pattern of `LIKE … ESCAPE '!'`: what has a meaning there
/// loses it.
#[must_use]
pub fn in_pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            out.push('!');
        }
        out.push(c);
    }
    out
}

/// A statement for which PostgreSQL needs other words than SQLite. See
/// [`skipping_locked!`](crate::db::skipping_locked), which is the only reason for it.
#[must_use]
pub const fn query_in_two_words(sqlite: &'static str, postgres: &'static str) -> Query {
    Query { sql: sqlite, postgres: Some(postgres), values: Vec::new() }
}

/// A SELECT that locks the rows it gives until the transaction ends, and passes
/// over rows that others have locked. On SQLite a transaction that may write
/// excludes all others anyway.
macro_rules! skipping_locked {
    ($($sql:tt)+) => {
        $crate::db::query_in_two_words($($sql)+, concat!($($sql)+, " FOR UPDATE SKIP LOCKED"))
    };
}
pub(crate) use skipping_locked;

/// A row of an answer.
#[derive(Debug)]
pub enum Row {
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From PostgreSQL.
    Postgres(PgRow),
}

impl Row {
    /// The column of this name.
    ///
    /// # Errors
    /// When it is missing, NULL where `T` is no `Option`, or of another type.
    pub fn get<T: Column>(&self, name: &str) -> Result<T, DbError> {
        Ok(match self {
            Self::Sqlite(row) => T::sqlite(row, name)?,
            Self::Postgres(row) => T::postgres(row, name)?,
        })
    }
}

/// Where a statement runs: on its own, or as a part of a transaction.
#[derive(Debug)]
pub enum Target<'a> {
    /// On its own.
    Db(&'a Db),
    /// In a transaction.
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Db> for Target<'a> {
    fn from(db: &'a Db) -> Self {
        Self::Db(db)
    }
}

impl<'a> From<&'a mut Tx> for Target<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Self::Tx(tx)
    }
}

/// Runs `$body` with `$q` and `$e` bound to the engine's own query and executor.
macro_rules! on_engine {
    ($self:ident, $target:expr, |$q:ident, $e:ident| $body:expr, $sqlite:path, $postgres:path) => {{
        let reads = $self.reads();
        let Query { sql, postgres, values } = $self;
        let postgres = postgres.unwrap_or(sql);
        match $target {
            Target::Db(db) => match &db.pools {
                Pools::Sqlite { read, write } => {
                    let $q = sqlx::query_with(sql, sqlite_arguments(values)?);
                    let $e = if reads { read } else { write };
                    $sqlite($body)
                }
                Pools::Postgres(pool) => {
                    let $q = sqlx::query_with(postgres, postgres_arguments(values)?);
                    let $e = pool;
                    $postgres($body)
                }
            },
            Target::Tx(tx) => match &mut tx.inner {
                TxInner::Sqlite(tx) => {
                    let $q = sqlx::query_with(sql, sqlite_arguments(values)?);
                    let $e = &mut **tx;
                    $sqlite($body)
                }
                TxInner::Postgres(tx) => {
                    let $q = sqlx::query_with(postgres, postgres_arguments(values)?);
                    let $e = &mut **tx;
                    $postgres($body)
                }
            },
        }
    }};
}

impl Query {
    /// Binds the next parameter.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// SQLite has one writer at a time; statements that only read need not wait for it.
    fn reads(&self) -> bool {
        self.sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
    }

    /// All rows.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn all<'a>(self, target: impl Into<Target<'a>>) -> Result<Vec<Row>, DbError> {
        fn sqlite(rows: Vec<SqliteRow>) -> Vec<Row> {
            rows.into_iter().map(Row::Sqlite).collect()
        }
        fn postgres(rows: Vec<PgRow>) -> Vec<Row> {
            rows.into_iter().map(Row::Postgres).collect()
        }
        Ok(on_engine!(self, target.into(), |q, e| q.fetch_all(e).await?, sqlite, postgres))
    }

    /// The one row, if there is one.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn optional<'a>(self, target: impl Into<Target<'a>>) -> Result<Option<Row>, DbError> {
        fn sqlite(row: Option<SqliteRow>) -> Option<Row> {
            row.map(Row::Sqlite)
        }
        fn postgres(row: Option<PgRow>) -> Option<Row> {
            row.map(Row::Postgres)
        }
        Ok(on_engine!(self, target.into(), |q, e| q.fetch_optional(e).await?, sqlite, postgres))
    }

    /// The one row, which is there.
    ///
    /// # Errors
    /// See [`DbError`]; also when there is no row.
    pub async fn one<'a>(self, target: impl Into<Target<'a>>) -> Result<Row, DbError> {
        self.optional(target).await?.ok_or(DbError::Other(sqlx::Error::RowNotFound))
    }

    /// Executes, and says how many rows were changed.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn execute<'a>(self, target: impl Into<Target<'a>>) -> Result<u64, DbError> {
        #[expect(clippy::needless_pass_by_value, reason = "has the form that `on_engine!` calls")]
        fn sqlite(done: sqlx::sqlite::SqliteQueryResult) -> u64 {
            done.rows_affected()
        }
        #[expect(clippy::needless_pass_by_value, reason = "has the form that `on_engine!` calls")]
        fn postgres(done: sqlx::postgres::PgQueryResult) -> u64 {
            done.rows_affected()
        }
        Ok(on_engine!(self, target.into(), |q, e| q.execute(e).await?, sqlite, postgres))
    }
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, DbError> {
    use sqlx::Arguments as _;
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Id(v) => arguments.add(v),
            Value::Time(v) => arguments.add(v.map(|t| t.timestamp_micros())),
            Value::Text(v) => arguments.add(v),
            Value::Int(v) => arguments.add(v),
            Value::Bool(v) => arguments.add(v),
            Value::Bytes(v) => arguments.add(v),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, DbError> {
    use sqlx::Arguments as _;
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Id(v) => arguments.add(v),
            Value::Time(v) => arguments.add(v),
            Value::Text(v) => arguments.add(v),
            Value::Int(v) => arguments.add(v),
            Value::Bool(v) => arguments.add(v),
            Value::Bytes(v) => arguments.add(v),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
