//! What tests stand on.

mod app;
pub mod authenticator;
mod database;
pub mod factors;
pub mod git;
mod http;
pub mod people;
pub mod provider;
pub mod runners;
pub mod smtp;
pub mod work;

pub use app::TestApp;
pub use database::{Engine, run};
pub use http::{Request, Response};
pub use people::{Browser, PASSWORD};

/// Makes two tests of each function: `sqlite::NAME` and `postgres::NAME`. Once
/// per file.
///
/// ```ignore
/// both_engines! {
///     async fn a_behaviour_in_words(app: TestApp) {
///         app.get("/healthz").send().await.assert_status(200);
///     }
/// }
/// ```
macro_rules! both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($($app:tt)+) $body:block)*) => {
        $($(#[$meta])* async fn $name($($app)+) $body)*

        mod sqlite {
            $(#[test] fn $name() {
                $crate::support::run($crate::support::Engine::Sqlite, super::$name);
            })*
        }

        mod postgres {
            $(#[test] fn $name() {
                $crate::support::run($crate::support::Engine::Postgres, super::$name);
            })*
        }
    };
}
