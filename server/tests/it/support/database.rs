//! A database for each test, and the frame in which a test runs.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::FutureExt as _;
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use super::TestApp;

/// Names the PostgreSQL server that tests may create databases on.
const VARIABLE: &str = "DEVENV_CLOUD_TEST_POSTGRES";

/// Which engine a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A database that exists as long as the test does.
#[derive(Debug)]
pub enum TestDatabase {
    /// A file in the test's own state directory.
    Sqlite,
    Postgres {
        server: Box<PgConnectOptions>,
        name: String,
        url: String,
    },
}

impl TestDatabase {
    async fn create(engine: Engine) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if engine == Engine::Sqlite {
            return Self::Sqlite;
        }
        let Ok(address) = std::env::var(VARIABLE) else {
            panic!(
                "this test needs a PostgreSQL server and ${VARIABLE} is not set; run `cargo xtask test`, which \
                 starts one, or set the variable to postgres://USER@HOST:PORT/postgres of a server on which \
                 databases may be created"
            );
        };
        let server: PgConnectOptions = address.parse().expect(VARIABLE);
        let name =
            format!("devenv_cloud_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (before, query) = address.split_once('?').map_or((&*address, None), |(a, q)| (a, Some(q)));
        let (base, _) = before.rsplit_once('/').expect("the address ends with the name of a database");
        let url = match query {
            Some(query) => format!("{base}/{name}?{query}"),
            None => format!("{base}/{name}"),
        };
        execute(&server, format!("CREATE DATABASE {name}")).await;
        Self::Postgres { server: Box::new(server), name, url }
    }

    /// The value of `database.url`; empty means the usual file.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite => String::new(),
            Self::Postgres { url, .. } => url.clone(),
        }
    }

    async fn remove(&self) {
        if let Self::Postgres { server, name, .. } = self {
            execute(server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
}

async fn execute(server: &PgConnectOptions, statement: String) {
    let mut connection = PgConnection::connect_with(server)
        .await
        .unwrap_or_else(|e| panic!("the PostgreSQL server in ${VARIABLE} cannot be reached: {e}"));
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("statement");
    connection.close().await.expect("close");
}

/// Runs one test with an application of its own, and clears up after it, also
/// when it fails.
pub fn run<F, Fut>(engine: Engine, test: F)
where
    F: FnOnce(TestApp) -> Fut,
    Fut: Future<Output = ()>,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let database = std::sync::Arc::new(TestDatabase::create(engine).await);
        let result = AssertUnwindSafe(async {
            let app = TestApp::start(database.clone()).await;
            Box::pin(test(app)).await;
        })
        .catch_unwind()
        .await;
        database.remove().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}
