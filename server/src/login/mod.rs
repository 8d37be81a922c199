//! `devenv-cloud login`, `whoami` and `logout`: a person's own access to a
//! server, by way of a browser (RFC 8628). No password is ever typed here.

mod credentials;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use devenv_cloud_api::{PREFIX, Timestamp, accounts::Viewer};
use reqwest::{RequestBuilder, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{clock::Clock, issuer};
use credentials::{Account, CredentialsFile};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that an answer may have.
const ANSWER: usize = 1 << 20;

/// What the three commands have in common.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The server's address, e.g. <https://ci.example.com> [the one that was logged in to last].
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// A file with certificates (PEM) of authorities that are trusted beside
    /// those of the machine.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Options of `login`.
#[derive(Clone, Debug, clap::Args)]
pub struct LoginOptions {
    #[command(flatten)]
    options: Options,
    /// What the token may be used for: read, write, admin, with commas between them.
    #[arg(long, default_value = "read,write", value_delimiter = ',')]
    scope: Vec<devenv_cloud_api::permissions::Scope>,
}

/// Signs in.
///
/// # Errors
/// When the server cannot be reached, or nobody allows it.
pub async fn login(options: LoginOptions) -> anyhow::Result<()> {
    let LoginOptions { options, scope } = options;
    let mut file = CredentialsFile::open(credentials::path()?)?;
    let server = Server::new(&options, &file)?;
    let scope = scope.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let begun: Begun = server
        .ask(server.post("/oauth/device", &[("client_id", issuer::CLI), ("scope", &scope)]))
        .await?
        .map_err(|problem| anyhow::anyhow!("{} does not let anybody log in: {problem}", server.address))?;
    println!(
        "Open this page in a browser, on this or any other device:\n\n    {}\n\nand compare the code there with \
         this one:\n\n    {}\n\nWaiting for up to {} minutes …",
        begun.verification_uri_complete,
        begun.user_code,
        begun.expires_in.div_ceil(60)
    );
    let issued = server.wait(&begun).await?;
    let viewer = server.viewer(&issued.access_token).await?;
    let Some(viewer) = viewer else { bail!("{} does not know the token that it just gave", server.address) };
    let until = Clock::system().now() + chrono::TimeDelta::seconds(issued.expires_in);
    // A token that is replaced is worth nothing to anybody but a thief.
    let old = file.take(&server.address);
    let account = Account { token: issued.access_token, email: viewer.user.email.clone(), expires_at: until };
    file.put(&server.address, account);
    file.save()?;
    if let Some(old) = old {
        server.revoke(&old.token).await.ok();
    }
    println!(
        "Signed in to {} as {} ({}), until {}.",
        server.address,
        viewer.user.name,
        viewer.user.email,
        day(until)
    );
    Ok(())
}

/// Says who is signed in.
///
/// # Errors
/// When nobody is, or the server cannot be reached.
pub async fn whoami(options: Options) -> anyhow::Result<()> {
    let file = CredentialsFile::open(credentials::path()?)?;
    let server = Server::new(&options, &file)?;
    let account = signed_in(&server, &file)?;
    let Some(viewer) = server.viewer(&account.token).await? else {
        bail!(
            "{} does not accept the token of {} any more: run `devenv-cloud login {0}`",
            server.address,
            account.email
        );
    };
    println!("{} ({}) at {}", viewer.user.name, viewer.user.email, server.address);
    println!("until {}", day(account.expires_at));
    for membership in viewer.orgs {
        println!("{}: {}", membership.org, membership.role);
    }
    Ok(())
}

/// Signs out: the token is dead on the server, and forgotten here.
///
/// # Errors
/// When nobody is signed in, or the server cannot be reached; the token is kept then.
pub async fn logout(options: Options) -> anyhow::Result<()> {
    let mut file = CredentialsFile::open(credentials::path()?)?;
    let server = Server::new(&options, &file)?;
    let token = signed_in(&server, &file)?.token.clone();
    server.revoke(&token).await.with_context(|| {
        format!(
            "the token still works; try again, or revoke it under Account at {} and remove {}",
            server.address,
            file.path().display()
        )
    })?;
    file.take(&server.address);
    file.save()?;
    println!("Signed out of {}.", server.address);
    Ok(())
}

fn signed_in<'a>(server: &Server, file: &'a CredentialsFile) -> anyhow::Result<&'a Account> {
    file.get(&server.address)
        .with_context(|| format!("nobody is signed in to {}: run `devenv-cloud login {0}`", server.address))
}

fn day(time: Timestamp) -> String {
    time.format("%Y-%m-%d").to_string()
}

/// The answer with which a login begins.
#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    expires_in: i64,
}

/// A refusal in OAuth's words.
#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.error_description.is_empty() { &self.error } else { &self.error_description })
    }
}

struct Server {
    address: String,
    client: reqwest::Client,
}

impl Server {
    fn new(options: &Options, file: &CredentialsFile) -> anyhow::Result<Self> {
        let given = options.server.as_deref().or_else(|| file.last());
        let address =
            given.context("which server? Give its address: devenv-cloud login https://ci.example.com")?;
        let address = check_address(address)?;
        // Whoever was here first did the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(|c| c.is_ascii_graphic() && !"()".contains(*c)).collect();
        let mut builder = reqwest::Client::builder()
            .user_agent(format!("devenv-cloud/{} ({host})", env!("CARGO_PKG_VERSION")))
            // A token follows nobody to another place.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE);
        if let Some(file) = &options.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no certificates (PEM)", file.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self { address, client: builder.build().context("cannot set up TLS")? })
    }

    /// A form, as OAuth wants it.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.address));
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        // Pairs of text can always be written so.
        request.body(serde_urlencoded::to_string(fields).unwrap_or_default())
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let unreachable = || format!("{} cannot be reached", self.address);
        let mut response =
            request.header(header::ACCEPT, "application/json").send().await.with_context(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.with_context(unreachable)? {
            ensure!(body.len() + chunk.len() <= ANSWER, "{} answers without end", self.address);
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> anyhow::Result<T> {
        serde_json::from_slice(body).map_err(|_| {
            anyhow::anyhow!(
                "{} answered {status}, and not as a devenv-cloud of this version does: is the address right?",
                self.address
            )
        })
    }

    /// Asks an endpoint of OAuth.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<Result<T, Refused>> {
        let (status, body) = self.send(request).await?;
        Ok(if status.is_success() { Ok(self.read(status, &body)?) } else { Err(self.read(status, &body)?) })
    }

    /// Asks until somebody has decided.
    async fn wait(&self, begun: &Begun) -> anyhow::Result<Issued> {
        let mut pause = Duration::from_secs(begun.interval.unwrap_or(5).max(1));
        loop {
            tokio::time::sleep(pause).await;
            let fields = [
                ("grant_type", issuer::DEVICE_GRANT_TYPE),
                ("client_id", issuer::CLI),
                ("device_code", begun.device_code.as_str()),
            ];
            let refused = match self.ask(self.post("/oauth/token", &fields)).await? {
                Ok(issued) => return Ok(issued),
                Err(refused) => refused,
            };
            match refused.error.as_str() {
                "authorization_pending" => {}
                "slow_down" | "temporarily_unavailable" => pause += Duration::from_secs(5),
                "access_denied" => bail!("the login was refused in the browser"),
                "expired_token" => bail!("nobody allowed the login in time; run the command again"),
                _ => bail!("{} gives no token: {refused}", self.address),
            }
        }
    }

    /// For whom a token works, if it does.
    async fn viewer(&self, token: &str) -> anyhow::Result<Option<Viewer>> {
        let request = self.client.get(format!("{}{PREFIX}/session", self.address)).bearer_auth(token);
        let (status, body) = self.send(request).await?;
        if status == StatusCode::UNAUTHORIZED { Ok(None) } else { self.read(status, &body).map(Some) }
    }

    async fn revoke(&self, token: &str) -> anyhow::Result<()> {
        let request = self.post("/oauth/revoke", &[("client_id", issuer::CLI), ("token", token)]);
        let (status, body) = self.send(request).await?;
        if status.is_success() {
            return Ok(());
        }
        let refused: Refused = self.read(status, &body)?;
        bail!("{refused}")
    }
}

/// The address as it is kept.
fn check_address(given: &str) -> anyhow::Result<String> {
    let address = given.trim_end_matches('/');
    let host = match address.split_once("://") {
        Some(("https", host)) => host,
        Some(("http", host)) => {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            ensure!(
                matches!(name, "localhost" | "127.0.0.1" | "[::1]"),
                "{address} is not https: whoever is on the way could read the token. Use https://{host}"
            );
            host
        }
        Some(_) => "",
        None => bail!("`{given}` is no address of a server: did you mean https://{address}?"),
    };
    ensure!(
        !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']),
        "`{given}` is no address of a server: give it without a path, like https://ci.example.com"
    );
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::check_address;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for good in
            ["https://ci.example.com", "http://localhost:8080", "http://[::1]:8080", "http://127.0.0.1"]
        {
            assert_eq!(check_address(good).unwrap(), good);
        }
        assert_eq!(check_address("https://ci.example.com/").unwrap(), "https://ci.example.com");
        for (bad, hint) in [
            ("ci.example.com", "did you mean https://ci.example.com?"),
            ("http://ci.example.com", "Use https://ci.example.com"),
            ("https://", "no address"),
            ("ftp://ci.example.com", "no address"),
            ("https://ci.example.com/acme", "without a path"),
            ("https://me@ci.example.com", "without a path"),
        ] {
            let error = check_address(bad).unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
