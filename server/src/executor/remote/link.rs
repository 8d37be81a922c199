//! One runner's link to its server: requests with its credential, which is
//! exchanged in time, and answers turned into what they mean.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use chrono::TimeDelta;
use devenv_cloud_api::{PREFIX, problem::Problem};
use reqwest::{Method, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    state::{StateError, StateFile},
    wire::{Announcement, Credential, LEASE_HEADER, Register, Welcome, show_token},
};
use crate::{
    clock::{Clock, Random},
    executor::Lease,
};

/// How long an answer may take that nothing is waited for with.
const USUAL: Duration = Duration::from_secs(25);
/// How long before its end a credential is exchanged.
const EARLY: TimeDelta = TimeDelta::minutes(15);
/// Bytes of an answer that is no source.
const ANSWER: usize = 2 << 20;
/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// Where the server is.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Its address, without a slash at the end.
    pub server: String,
    /// A file with certificates (PEM) of authorities that are trusted beside
    /// those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// What can go wrong on the way to the server and back.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It cannot be reached, or did not answer.
    #[error("{server} cannot be reached: {cause:#}{}", hint(cause))]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        cause: anyhow::Error,
    },
    /// Somebody answered who is no server of ours.
    #[error(
        "{server} answered {status} to a runner's request, and not as a devenv-cloud of this version does: is the \
         address right, and is the server as new as this runner?"
    )]
    Stranger {
        /// The server.
        server: String,
        /// What came.
        status: StatusCode,
    },
    /// It said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// It wants nothing more of this runner, and why.
    #[error("{0}")]
    Dismissed(String),
    /// The credential cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What people can do about an error on the way.
fn hint(cause: &anyhow::Error) -> &'static str {
    let words = format!("{cause:#}").to_lowercase();
    if words.contains("certificate") && (words.contains("expired") || words.contains("not valid yet")) {
        "; if the certificate is fine, this machine's clock is wrong"
    } else if words.contains("certificate") || words.contains("unknownissuer") {
        "; if the certificate is of an authority of your own, name its file with runner.ca_file"
    } else if words.contains("corrupt message") || words.contains("invalidcontenttype") {
        "; it does not speak TLS there: is it http:// instead of https://?"
    } else {
        ""
    }
}

/// A request that may be sent more than once.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    lease: Option<String>,
    body: Option<Vec<u8>>,
    within: Option<Duration>,
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), lease: None, body: None, within: Some(USUAL) }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn lease(mut self, lease: &Lease) -> Self {
        self.lease = Some(show_token(lease.token));
        self
    }

    pub(super) fn body(mut self, json: Vec<u8>) -> Self {
        self.body = Some(json);
        self
    }

    pub(super) fn json(self, value: &impl Serialize) -> Self {
        // Our own types: they have no maps with keys that are no text.
        let json = serde_json::to_vec(value).unwrap_or_default();
        self.body(json)
    }

    pub(super) fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }
}

/// Growing pauses, each a little different, so that many runners do not come
/// back in step.
pub(super) struct Backoff {
    random: Random,
    pause: Duration,
}

impl Backoff {
    pub(super) const fn new(random: Random) -> Self {
        Self { random, pause: PAUSES.0 }
    }

    pub(super) async fn pause(&mut self) {
        let [share] = self.random.bytes::<1>();
        tokio::time::sleep(self.pause / 2 + self.pause * u32::from(share) / 512).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

/// The link.
pub struct Link {
    client: reqwest::Client,
    server: String,
    clock: Clock,
    state: Mutex<StateFile>,
    /// Whether the last request failed, and somebody was told.
    down: AtomicBool,
    dismissed: CancellationToken,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Link {
    /// A link of the runner with this state. Nothing is sent yet.
    ///
    /// # Errors
    /// When a file with certificates cannot be used.
    pub fn new(settings: &LinkSettings, clock: Clock, state: StateFile) -> anyhow::Result<Arc<Self>> {
        // Whoever was here first did the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("devenv-cloud-runner/", env!("CARGO_PKG_VERSION")))
            // A credential follows nobody to another place.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .tcp_keepalive(Duration::from_secs(15));
        if let Some(file) = &settings.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no certificates (PEM)", file.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().context("cannot set up TLS")?;
        Ok(Arc::new(Self {
            client,
            server: settings.server.clone(),
            clock,
            state: Mutex::new(state),
            down: AtomicBool::new(false),
            dismissed: CancellationToken::new(),
        }))
    }

    /// Cancelled when the server wants nothing more of this runner.
    #[must_use]
    pub fn dismissed(&self) -> CancellationToken {
        self.dismissed.clone()
    }

    /// Whether this machine is registered.
    pub async fn is_registered(&self) -> bool {
        self.state.lock().await.credential().is_some()
    }

    /// Registers this machine.
    ///
    /// # Errors
    /// When the server cannot be reached, or says no.
    pub async fn register(&self, token: &str, announcement: Announcement) -> Result<(), LinkError> {
        let mut state = self.state.lock().await;
        let nonce = state.nonce().to_owned();
        let call =
            Call::post("/runner/register").json(&Register { token: token.to_owned(), nonce, announcement });
        let response = self.send(&call, None).await?;
        state.keep(self.read(response).await?)?;
        Ok(())
    }

    /// Forgets who this runner was.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn begin_anew(&self, random: &Random) -> Result<(), LinkError> {
        Ok(self.state.lock().await.begin_anew(random)?)
    }

    /// Says that the runner is here.
    ///
    /// # Errors
    /// When the server cannot be reached, or says no.
    pub async fn hello(&self, announcement: &Announcement) -> Result<Welcome, LinkError> {
        self.ask(Call::post("/runner/hello").json(announcement)).await
    }

    /// Says that the runner ends.
    ///
    /// # Errors
    /// When the server cannot be reached, or says no.
    pub async fn leave(&self) -> Result<(), LinkError> {
        self.ask(Call::post("/runner/leave").within(Duration::from_secs(5))).await
    }

    /// Says, once, that the server cannot be reached.
    pub(super) fn complain(&self, error: &LinkError) {
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!("{error}; trying again until it works");
        }
    }

    /// Asks, and reads the answer. An answer without content reads as nothing.
    pub(super) async fn ask<A: DeserializeOwned>(&self, call: Call) -> Result<A, LinkError> {
        let response = self.open(call).await?;
        self.read(response).await
    }

    /// Asks, and leaves the answer to be read.
    pub(super) async fn open(&self, call: Call) -> Result<Response, LinkError> {
        let credential = self.credential(None).await?;
        match self.send(&call, Some(&credential)).await {
            // The clocks differ, or somebody slept: exchange it, and ask again.
            Err(LinkError::Refused(problem)) if problem.status == 401 => {
                let credential = self.credential(Some(&credential)).await?;
                self.send(&call, Some(&credential)).await
            }
            other => other,
        }
    }

    /// The credential, exchanged if it is about to expire or is the `refused` one.
    async fn credential(&self, refused: Option<&str>) -> Result<String, LinkError> {
        let mut state = self.state.lock().await;
        let Some(known) = state.credential() else {
            return Err(LinkError::Dismissed("this machine is registered nowhere".to_owned()));
        };
        let secret = known.credential.clone();
        let fresh = known.expires_at > self.clock.now() + EARLY;
        if fresh && refused != Some(secret.as_str()) {
            return Ok(secret);
        }
        let renewed = async {
            let response = self.send(&Call::post("/runner/credential"), Some(&secret)).await?;
            self.read::<Credential>(response).await
        };
        match renewed.await {
            Ok(credential) => {
                let secret = credential.credential.clone();
                state.keep(credential)?;
                Ok(secret)
            }
            Err(LinkError::Refused(problem)) if problem.status == 401 => {
                self.dismissed.cancel();
                Err(LinkError::Dismissed(
                    "the server does not know this runner (any more): it was away for more than 30 days, or the \
                     server's data is another; register again, with a new token"
                        .to_owned(),
                ))
            }
            // It still works: there is time to try again.
            Err(LinkError::Unreachable { .. }) if fresh => Ok(secret),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, call: &Call, credential: Option<&str>) -> Result<Response, LinkError> {
        let unreachable = |cause: reqwest::Error| LinkError::Unreachable {
            server: self.server.clone(),
            cause: anyhow::Error::from(cause.without_url()),
        };
        let url = format!("{}{PREFIX}{}", self.server, call.path);
        let mut request = self.client.request(call.method.clone(), url);
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        if let Some(lease) = &call.lease {
            request = request.header(LEASE_HEADER, lease);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let sent = match call.within {
            Some(time) => tokio::time::timeout(time, request.send()).await,
            None => Ok(request.send().await),
        };
        let response = sent
            .map_err(|_| LinkError::Unreachable {
                server: self.server.clone(),
                cause: anyhow::anyhow!("no answer within {} s", call.within.unwrap_or_default().as_secs()),
            })?
            .map_err(unreachable)?;
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::info!(server = self.server, "reached the server again");
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = read_all(response).await.unwrap_or_default();
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            return Err(self.no_problem(status));
        };
        if problem.kind == "runner-revoked" {
            self.dismissed.cancel();
            return Err(LinkError::Dismissed(problem.detail.unwrap_or(problem.title)));
        }
        Err(LinkError::Refused(Box::new(problem)))
    }

    /// An answer that is none of ours: a proxy's, when it says that the server
    /// is away.
    fn no_problem(&self, status: StatusCode) -> LinkError {
        let server = self.server.clone();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            LinkError::Unreachable { server, cause: anyhow::anyhow!("a proxy answers {status}") }
        } else {
            LinkError::Stranger { server, status }
        }
    }

    async fn read<A: DeserializeOwned>(&self, response: Response) -> Result<A, LinkError> {
        let status = response.status();
        let bytes = read_all(response)
            .await
            .map_err(|cause| LinkError::Unreachable { server: self.server.clone(), cause })?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|_| LinkError::Stranger { server: self.server.clone(), status })
    }
}

async fn read_all(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(bytes.len() + chunk.len() <= ANSWER, "the answer is too long");
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
