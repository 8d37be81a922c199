//! The application under test.

use std::{net::SocketAddr, ops::Deref, path::PathBuf, sync::Arc};

use axum::Router;
use chrono::TimeDelta;
use devenv_cloud::{
    app::{App, AppParts},
    clock::{Clock, Random},
    config::Config,
    mail, serve, web,
};
use devenv_cloud_api::mail::MailText;
use http::Method;

use super::{Request, database::TestDatabase};

/// The address under which the application under test believes to be reached.
pub const BASE_URL: &str = "https://ci.example.com";

/// The whole application, with a clock and a generator that the test rules.
/// Derefs to the application's parts.
#[derive(Clone)]
pub struct TestApp {
    pub app: App,
    pub router: Router,
    state_dir: Arc<tempfile::TempDir>,
    database: Arc<TestDatabase>,
}

impl Deref for TestApp {
    type Target = AppParts;
    fn deref(&self) -> &AppParts {
        &self.app
    }
}

impl TestApp {
    pub async fn start(database: Arc<TestDatabase>) -> Self {
        let state_dir = Arc::new(tempfile::tempdir().expect("a directory for the test's state"));
        let start = "2026-01-01T00:00:00Z".parse().expect("time");
        Self::assemble(state_dir, database, Clock::fake(start), Random::seeded(42), &[]).await
    }

    async fn assemble(
        state_dir: Arc<tempfile::TempDir>,
        database: Arc<TestDatabase>,
        clock: Clock,
        random: Random,
        settings: &[(&str, &str)],
    ) -> Self {
        let config = Self::config(state_dir.path().to_owned(), &database, settings);
        let app = serve::assemble(config, clock, random).await.expect("the application");
        let router = web::router(app.clone());
        Self { app, router, state_dir, database }
    }

    fn config(state_dir: PathBuf, database: &TestDatabase, settings: &[(&str, &str)]) -> Config {
        let state_dir = state_dir.display().to_string();
        let url = database.url();
        let usual = [
            ("DEVENV_CLOUD_SERVER_BASE_URL", BASE_URL),
            ("DEVENV_CLOUD_SERVER_METRICS_LISTEN", ""),
            ("DEVENV_CLOUD_SERVER_STATE_DIR", &state_dir),
            ("DEVENV_CLOUD_DATABASE_URL", &url),
            ("DEVENV_CLOUD_EXECUTOR_ENABLED", "false"),
        ];
        let all = usual.iter().chain(settings).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        // An empty file, so that no file of the machine is read.
        let file = tempfile::NamedTempFile::new().expect("a file");
        Config::load(Some(file.path()), all).expect("the configuration")
    }

    /// The same state, served anew: what a restart of the process does, with
    /// these environment variables on top.
    pub async fn restart(&self, settings: &[(&str, &str)]) -> Self {
        self.app.shutdown.cancel();
        self.app.db.close().await;
        self.second_process(settings).await
    }

    /// Another process with the same state, beside this one.
    pub async fn second_process(&self, settings: &[(&str, &str)]) -> Self {
        let (clock, random) = (self.app.clock.clone(), self.app.random.clone());
        Self::assemble(self.state_dir.clone(), self.database.clone(), clock, random, settings).await
    }

    /// The configuration's `database.url`, to connect past the application.
    pub fn database_url(&self) -> &str {
        self.app.config.database.url.reveal()
    }

    /// Lets time pass.
    pub fn advance(&self, by: TimeDelta) {
        self.app.clock.advance(by);
    }

    /// Sends what is due, and gives all mails that were written to files so far,
    /// oldest first.
    pub async fn mails(&self) -> Vec<MailText> {
        while mail::deliver_once(&self.app).await.expect("the database") != mail::Delivery::Idle {}
        let mut mails = Vec::new();
        for mail in mail::list(&self.app, None, 1000).await.expect("the database").into_iter().rev() {
            mails.push(mail::read(&self.app, mail.id).await.expect("a mail in a file"));
        }
        mails
    }

    /// Listens on a real socket, for clients that must not know that this is a
    /// test (git). The address is none that the application knows of.
    pub async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let service = self.router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let stop = self.app.shutdown.clone();
        tokio::spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
        });
        address
    }

    /// A request by nobody in particular, as a program sends it.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.router.clone(), method, path)
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }
}
