//! The one client for requests that people's configuration makes us send: to
//! identity providers now, to whatever they name later.
//!
//! Whoever may name an address may try to name one inside our own network, so
//! nothing is left to a library's defaults. The name is resolved here, once;
//! an address that is not public is refused; what is connected to is exactly
//! an address that was checked, so that a name that changes its mind gets
//! nobody anywhere. No redirect is followed, no proxy is used, nothing is
//! unpacked; the answer has a largest size and a last moment. Only https is
//! spoken. What an administrator has named as internal is free of the first
//! and the last of these rules, and of no other.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::executor::egress::{Connection, Destination, Host, Outside, RealOutside, special};

/// How long all of a request may take.
const WHOLE: Duration = Duration::from_secs(15);
/// How long an address may take to answer, and how many are tried.
const CONNECT: Duration = Duration::from_secs(5);
const ADDRESSES: usize = 3;
/// The largest answer, in bytes.
const LARGEST: usize = 1 << 20;

/// Why there is no answer. The sentence is for administrators.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// It may not be asked.
    #[error("{0}")]
    Refused(String),
    /// It cannot be asked.
    #[error("{0}")]
    Unreachable(String),
    /// It points elsewhere.
    #[error(
        "{host} answered with a redirect ({status}), and redirects are not followed: name the right address"
    )]
    Redirect {
        /// Who.
        host: Destination,
        /// The status.
        status: u16,
    },
    /// Its answer has no end.
    #[error("the answer of {0} is larger than {limit} KiB", limit = LARGEST >> 10)]
    TooLarge(Destination),
    /// Its answer does not end in time.
    #[error("{0} did not answer within {seconds} s", seconds = WHOLE.as_secs())]
    TooSlow(Destination),
    /// It speaks no HTTP, or not to the end.
    #[error("the conversation with {host} broke: {why}")]
    Broken {
        /// Who.
        host: Destination,
        /// Why.
        why: String,
    },
}

/// The client.
pub struct Outgoing {
    outside: Arc<dyn Outside>,
    internal: Vec<Destination>,
    tls: OnceLock<Result<tokio_rustls::TlsConnector, String>>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("internal", &self.internal).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// For the network that this process is in. `internal` is what an
    /// administrator allows although it is not public, or speaks no TLS.
    #[must_use]
    pub fn new(internal: &[Destination]) -> Self {
        Self::to(Arc::new(RealOutside), internal)
    }

    fn to(outside: Arc<dyn Outside>, internal: &[Destination]) -> Self {
        Self { outside, internal: internal.to_vec(), tls: OnceLock::new() }
    }

    /// Whether this address may be asked at all, as far as that can be said
    /// before its name is resolved.
    ///
    /// # Errors
    /// In words, why not.
    pub fn check(&self, address: &str) -> Result<(), String> {
        let uri: Uri = address.parse().map_err(|_| format!("`{}` is no address", address.escape_debug()))?;
        self.target(&uri).map(|_| ())
    }

    /// Sends a request, and has the whole answer.
    ///
    /// # Errors
    /// See [`OutgoingError`]. An answer with a status of failure is an answer.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, OutgoingError> {
        let (to, is_tls) = self.target(request.uri()).map_err(OutgoingError::Refused)?;
        let too_slow = |_| OutgoingError::TooSlow(to.clone());
        timeout(WHOLE, self.exchange(request, &to, is_tls)).await.map_err(too_slow)?
    }

    /// The host and port of an address, and whether TLS is spoken there.
    fn target(&self, uri: &Uri) -> Result<(Destination, bool), String> {
        let shown = || uri.host().unwrap_or_default().escape_debug().to_string();
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{}` begins with neither https:// nor http://", shown())),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        if authority.contains('@') {
            return Err(format!("the address of {} holds a user's name or password", shown()));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let to = Destination { host: Host::parse(host)?, port };
        if !is_tls && !self.internal.contains(&to) {
            return Err(format!(
                "{to} would be asked over plain http, where everybody on the way can read and change what is said: use \
                 https, or allow it with sign_in.internal_hosts = \"{to}\""
            ));
        }
        Ok((to, is_tls))
    }

    async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        to: &Destination,
        is_tls: bool,
    ) -> Result<Response<Vec<u8>>, OutgoingError> {
        let broken = |why: String| OutgoingError::Broken { host: to.clone(), why };
        let mut connection = self.connect(to).await?;
        if is_tls {
            let tls = self.tls.get_or_init(connector).clone().map_err(broken)?;
            let name = match &to.host {
                Host::Address(address) => ServerName::IpAddress((*address).into()),
                Host::Name(name) => ServerName::try_from(name.clone()).map_err(|e| broken(e.to_string()))?,
            };
            let stream = tls.connect(name, connection).await.map_err(|e| broken(e.to_string()))?;
            connection = Box::new(stream);
        }
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|e| broken(e.to_string()))?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let mut response =
            sender.send_request(prepare(request, to, is_tls)?).await.map_err(|e| broken(e.to_string()))?;
        if response.status().is_redirection() {
            return Err(OutgoingError::Redirect { host: to.clone(), status: response.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(frame) = response.frame().await {
            let frame = frame.map_err(|e| broken(e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > LARGEST {
                return Err(OutgoingError::TooLarge(to.clone()));
            }
            body.extend_from_slice(&data);
        }
        Ok(response.map(|_| body))
    }

    /// Connects to an address of the host that may be connected to.
    async fn connect(&self, to: &Destination) -> Result<Box<dyn Connection>, OutgoingError> {
        let unreachable = OutgoingError::Unreachable;
        let addresses = match &to.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self
                .outside
                .resolve(name)
                .await
                .map_err(|error| unreachable(format!("{name} cannot be resolved: {error}")))?,
        };
        let what = |address| {
            special(address).or_else(|| self.outside.is_own(address).then_some("an address of this server"))
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match what(address) {
                Some(what) if !self.internal.contains(to) => refused = Some(what),
                _ => allowed.push(address),
            }
        }
        let mut why = match refused {
            // Whoever may name a host here may also read its address in the DNS: the kind is enough.
            Some(what) if allowed.is_empty() => {
                let verb = if matches!(to.host, Host::Address(_)) { "is" } else { "has" };
                return Err(OutgoingError::Refused(format!(
                    "{} {verb} {what}, and only public addresses are asked; an administrator of this server can allow \
                     it with sign_in.internal_hosts = \"{to}\"",
                    to.host
                )));
            }
            _ => "it has no address".to_owned(),
        };
        // Each as it was checked: nothing is resolved a second time.
        for address in allowed.into_iter().take(ADDRESSES) {
            match timeout(CONNECT, self.outside.connect(SocketAddr::new(address, to.port))).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("no answer within {} s", CONNECT.as_secs()),
            }
        }
        Err(unreachable(format!("{to} cannot be reached: {why}")))
    }
}

/// The request as it goes out: the path alone in its first line, and only the
/// headers that its maker and we have set.
fn prepare(
    request: Request<Vec<u8>>,
    to: &Destination,
    is_tls: bool,
) -> Result<Request<Full<bytes::Bytes>>, OutgoingError> {
    let broken = |why: String| OutgoingError::Broken { host: to.clone(), why };
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = if to.port == if is_tls { 443 } else { 80 } { to.host.to_string() } else { to.to_string() };
    parts.uri = path.parse().map_err(|e: http::uri::InvalidUri| broken(e.to_string()))?;
    let host = HeaderValue::from_str(&host).map_err(|e| broken(e.to_string()))?;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    parts.headers.insert(header::USER_AGENT, HeaderValue::from_static("devenv-cloud"));
    // What is packed could be small here and without end when it is unpacked.
    parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(Request::from_parts(parts, Full::from(body)))
}

/// Trusts the certificate authorities that this machine trusts.
fn connector() -> Result<tokio_rustls::TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine trusts no certificate authority; install its package of them \
                    (ca-certificates)"
            .to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

#[cfg(test)]
mod tests;
