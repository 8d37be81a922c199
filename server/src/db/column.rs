//! Columns on their way out of a row.

use devenv_cloud_api::{Timestamp, accounts, audit, factors, ids, names::Slug, permissions, runs};
use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

/// A Rust type that a column can be read as.
pub trait Column: Sized {
    /// Reads it from SQLite.
    ///
    /// # Errors
    /// When the column is missing or of another type.
    fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error>;

    /// Reads it from PostgreSQL.
    ///
    /// # Errors
    /// When the column is missing or of another type.
    fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error>;
}

macro_rules! native {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error> {
                not_null(name, row.try_get(name)?)
            }
            fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error> {
                row.try_get(name)
            }
        }
        impl Column for Option<$type> {
            fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error> {
                row.try_get(name)
            }
            fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error> {
                row.try_get(name)
            }
        }
    )*};
}

/// SQLite itself reads NULL as 0 or as empty. Nothing where something must be is
/// an error on both engines.
fn not_null<T>(name: &str, value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: name.to_owned(),
        source: Box::new(sqlx::error::UnexpectedNullError),
    })
}

native!(Uuid, String, i64, bool, Vec<u8>);

/// A type that is read by way of a simpler one.
macro_rules! by_way_of {
    ($($type:ty: $base:ty, |$x:ident| $convert:expr;)*) => {$(
        impl Column for $type {
            fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error> {
                let $x = <$base>::sqlite(row, name)?;
                decode(name, $convert)
            }
            fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error> {
                let $x = <$base>::postgres(row, name)?;
                decode(name, $convert)
            }
        }
        impl Column for Option<$type> {
            fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error> {
                <Option<$base>>::sqlite(row, name)?.map(|$x| decode(name, $convert)).transpose()
            }
            fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error> {
                <Option<$base>>::postgres(row, name)?.map(|$x| decode(name, $convert)).transpose()
            }
        }
    )*};
}

fn decode<T, E: std::error::Error + Send + Sync + 'static>(
    name: &str,
    result: Result<T, E>,
) -> Result<T, sqlx::Error> {
    result.map_err(|e| sqlx::Error::ColumnDecode { index: name.to_owned(), source: Box::new(e) })
}

type Sure<T> = Result<T, std::convert::Infallible>;

by_way_of! {
    ids::UserId: Uuid, |x| Sure::Ok(ids::UserId(x));
    ids::OrgId: Uuid, |x| Sure::Ok(ids::OrgId(x));
    ids::ProjectId: Uuid, |x| Sure::Ok(ids::ProjectId(x));
    ids::RunId: Uuid, |x| Sure::Ok(ids::RunId(x));
    ids::JobId: Uuid, |x| Sure::Ok(ids::JobId(x));
    ids::AttemptId: Uuid, |x| Sure::Ok(ids::AttemptId(x));
    ids::RunnerId: Uuid, |x| Sure::Ok(ids::RunnerId(x));
    ids::RunnerTokenId: Uuid, |x| Sure::Ok(ids::RunnerTokenId(x));
    ids::TokenId: Uuid, |x| Sure::Ok(ids::TokenId(x));
    ids::SessionId: Uuid, |x| Sure::Ok(ids::SessionId(x));
    ids::PasskeyId: Uuid, |x| Sure::Ok(ids::PasskeyId(x));
    ids::LinkId: Uuid, |x| Sure::Ok(ids::LinkId(x));
    ids::InvitationId: Uuid, |x| Sure::Ok(ids::InvitationId(x));
    ids::MailId: Uuid, |x| Sure::Ok(ids::MailId(x));
    ids::AuditId: Uuid, |x| Sure::Ok(ids::AuditId(x));
    Slug: String, |x| x.parse::<Slug>();
    permissions::Role: String, |x| x.parse::<permissions::Role>();
    runs::State: String, |x| x.parse::<runs::State>();
    runs::Trigger: String, |x| x.parse::<runs::Trigger>();
    runs::Stage: String, |x| x.parse::<runs::Stage>();
    runs::Step: String, |x| x.parse::<runs::Step>();
    runs::MachineStart: String, |x| x.parse::<runs::MachineStart>();
    accounts::Assurance: String, |x| x.parse::<accounts::Assurance>();
    accounts::AuthMethod: String, |x| x.parse::<accounts::AuthMethod>();
    audit::AuditAction: String, |x| x.parse::<audit::AuditAction>();
    audit::AuditOutcome: String, |x| x.parse::<audit::AuditOutcome>();
    factors::SecondFactor: String, |x| x.parse::<factors::SecondFactor>();
    u64: i64, |x| u64::try_from(x);
    u32: i64, |x| u32::try_from(x);
    i32: i64, |x| i32::try_from(x);
}

/// An instant that the column's microseconds cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0} µs is no instant")]
struct NoInstant(i64);

impl Column for Timestamp {
    fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error> {
        let micros: i64 = not_null(name, row.try_get(name)?)?;
        decode(name, Self::from_timestamp_micros(micros).ok_or(NoInstant(micros)))
    }
    fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error> {
        row.try_get(name)
    }
}

impl Column for Option<Timestamp> {
    fn sqlite(row: &SqliteRow, name: &str) -> Result<Self, sqlx::Error> {
        let Some(micros) = row.try_get::<Option<i64>, _>(name)? else { return Ok(None) };
        decode(name, Timestamp::from_timestamp_micros(micros).ok_or(NoInstant(micros)).map(Some))
    }
    fn postgres(row: &PgRow, name: &str) -> Result<Self, sqlx::Error> {
        row.try_get(name)
    }
}
