//! The database: the only place that knows which engine it is.
//!
//! Statements are written once, in SQL that SQLite and PostgreSQL both
//! understand (`$1` parameters, `RETURNING`, `ON CONFLICT`), and run through
//! [`query`]. `sqlx::Any` is not used: it loses types. Columns have one of six
//! shapes in both engines:
//!
//! | shape | SQLite | PostgreSQL | Rust |
//! |---|---|---|---|
//! | id | `BLOB` (16 bytes) | `UUID` | the id types, [`uuid::Uuid`] |
//! | time | `INTEGER` (µs since 1970, UTC) | `TIMESTAMPTZ` | [`Timestamp`](devenv_cloud_api::Timestamp) |
//! | text, also JSON and words | `TEXT` | `TEXT` | [`String`] |
//! | whole number | `INTEGER` | `BIGINT` | [`i64`] |
//! | yes or no | `INTEGER` | `BOOLEAN` | [`bool`] |
//! | bytes | `BLOB` | `BYTEA` | `Vec<u8>` |

mod column;
mod examine;
mod migrate;
mod notify;
mod pool;
mod query;
mod value;

pub use column::Column;
pub use examine::{Examined, examine};
pub use migrate::MigrationError;
pub use notify::{Topic, Wakeups};
pub use pool::{Db, DbError, Engine, Tx};
pub(crate) use query::skipping_locked;
pub use query::{Query, Row, Target, in_pattern, query, query_in_two_words};
pub use value::Value;
