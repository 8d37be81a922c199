//! Runners of the application under test, and bad connections to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use devenv_cloud::{
    executor::{
        Assignment, Lease,
        remote::{
            Link, LinkSettings, RemoteControlPlane, StateFile,
            wire::{Announcement, Credential, PROTOCOL, Register, Work, show_token},
        },
    },
    runners,
    runs::queue,
};
use devenv_cloud_api::runners::{NewRunnerToken, Runner};
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Browser, Request, Response, TestApp};

pub fn announcement() -> Announcement {
    Announcement {
        protocol: PROTOCOL,
        version: "0.1.0".to_owned(),
        name: "builder".to_owned(),
        labels: Vec::new(),
        platforms: vec!["x86_64-linux".to_owned()],
        slots: 1,
    }
}

/// Some nonce, another one each time.
pub fn nonce(app: &TestApp) -> String {
    hex::encode(app.random.bytes::<16>())
}

impl Browser {
    /// A registration token of an organisation, or, without one, of the instance.
    pub async fn runner_token(&self, org: Option<&str>) -> NewRunnerToken {
        let path =
            org.map_or("/api/v1/runner-tokens".to_owned(), |o| format!("/api/v1/orgs/{o}/runner-tokens"));
        self.post(&path, &json!({})).await.assert_status(201).json()
    }

    /// A new runner of an organisation.
    pub async fn runner(&self, org: &str) -> TestRunner {
        self.runner_like(Some(org), announcement()).await
    }

    pub async fn runner_like(&self, org: Option<&str>, announcement: Announcement) -> TestRunner {
        let app = self.app();
        let token = self.runner_token(org).await.secret;
        let wanted = Register { token, nonce: nonce(&app), announcement };
        let credential: Credential =
            app.post("/api/v1/runner/register").json(&wanted).send().await.assert_status(201).json();
        TestRunner { app, id: credential.runner.to_string(), credential: credential.credential }
    }

    pub async fn runners(&self, org: &str) -> Vec<Runner> {
        let page: devenv_cloud_api::page::Page<Runner> =
            self.get(&format!("/api/v1/orgs/{org}/runners")).await.assert_status(200).json();
        page.items
    }
}

/// A runner, one request at a time.
#[derive(Clone)]
pub struct TestRunner {
    pub app: TestApp,
    pub id: String,
    pub credential: String,
}

impl TestRunner {
    pub fn request(&self, method: Method, path: &str) -> Request {
        self.app.request(method, &format!("/api/v1/runner/{path}")).bearer(&self.credential)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn about(&self, method: Method, lease: &Lease, what: &str) -> Request {
        let path = format!("leases/{}/{what}", lease.attempt);
        self.request(method, &path).header("x-lease", &show_token(lease.token))
    }

    /// Claims with this number, knowing that the answer comes at once.
    pub async fn claim_with(&self, token: u128) -> Response {
        self.post("claim").json(&json!({ "lease": show_token(token) })).send().await
    }

    /// Claims what there is.
    pub async fn claim(&self) -> Lease {
        let token = u128::from_be_bytes(self.app.random.bytes());
        let work: Work = self.claim_with(token).await.assert_status(200).json();
        Lease { attempt: work.attempt, token }
    }

    /// Claims what there is, without waiting for it.
    pub async fn claim_once(&self) -> Option<Assignment> {
        let runner = runners::authenticate(&self.app, &self.credential).await.expect("the runner");
        let token = u128::from_be_bytes(self.app.random.bytes());
        let claimant = queue::Claimant::Runner { runner: &runner, token };
        queue::claim_once(&self.app, claimant).await.expect("claim")
    }

    pub async fn renew(&self, lease: &Lease) -> Response {
        self.about(Method::POST, lease, "renew").send().await
    }
}

/// A runner's control plane, over real connections to `server`.
pub async fn remote(app: &TestApp, directory: &std::path::Path, server: SocketAddr) -> RemoteControlPlane {
    RemoteControlPlane::new(link(app, directory, server), app.random.clone())
}

pub fn link(app: &TestApp, directory: &std::path::Path, server: SocketAddr) -> Arc<Link> {
    let server = format!("http://{server}");
    let state = StateFile::open(directory, &server, &app.random).expect("the state");
    Link::new(&LinkSettings { server, ca_file: None }, app.clock.clone(), state).expect("a link")
}

/// A connection to the application that breaks when it is told to.
#[derive(Clone)]
pub struct Flaky {
    pub address: SocketAddr,
    /// How many bytes of answers pass until the connection breaks; below 0: it does not.
    left: Arc<AtomicI64>,
    /// And once it has broken: the same for the next time.
    then: Arc<AtomicI64>,
    /// How often it broke.
    broke: Arc<AtomicU32>,
}

impl Flaky {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let this = Self {
            address,
            left: Arc::new(AtomicI64::new(-1)),
            then: Arc::new(AtomicI64::new(-1)),
            broke: Arc::default(),
        };
        let flaky = this.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let flaky = flaky.clone();
                tokio::spawn(async move { flaky.carry(client, server).await });
            }
        });
        this
    }

    /// The connection breaks after so many more bytes of answers.
    pub fn break_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// And, having broken, again after so many more.
    pub fn and_after(&self, bytes: i64) {
        self.then.store(bytes, Ordering::SeqCst);
    }

    pub fn broke(&self) -> u32 {
        self.broke.load(Ordering::SeqCst)
    }

    async fn carry(&self, mut client: TcpStream, server: SocketAddr) {
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = tokio::io::copy(&mut from_client, &mut to_server);
        let down = async {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let Ok(read @ 1..) = from_server.read(&mut buffer).await else { return };
                let left = self.left.load(Ordering::SeqCst);
                let size = i64::try_from(read).expect("small");
                if (0..size).contains(&left) {
                    let part = usize::try_from(left).expect("small");
                    let _ = to_client.write_all(&buffer[..part]).await;
                    self.left.store(self.then.swap(-1, Ordering::SeqCst), Ordering::SeqCst);
                    self.broke.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if left >= 0 {
                    self.left.fetch_sub(size, Ordering::SeqCst);
                }
                if to_client.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = up => {}
            () = down => {}
        }
    }
}
