//! How a mail leaves: through a mail server, or into a file.
//!
//! A connection is opened for each mail; there are few. Encryption is not
//! negotiable: TLS from the first byte, or STARTTLS that must succeed before
//! anything else is said. Only to this very machine, or where the administrator
//! says `insecure`, does a mail travel in the open.

use std::{
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use devenv_cloud_api::{Timestamp, ids::MailId};
use lettre::{
    Address, Message,
    address::Envelope,
    message::{Mailbox, MultiPart},
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        extension::ClientId,
    },
};
use reqwest::Url;

use crate::config::Config;

/// A mail that is ready to go.
#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub(super) id: MailId,
    pub(super) created_at: Timestamp,
    pub(super) recipient: &'a str,
    pub(super) name: &'a str,
    pub(super) subject: &'a str,
    pub(super) text: String,
    pub(super) html: String,
}

/// Why a mail did not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undelivered {
    /// It may another time.
    #[error("{0}")]
    Later(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

/// Sends mails, one by one.
#[derive(Debug)]
pub struct Mailer {
    from: Mailbox,
    /// What the ids of mails end with, and what we are called by.
    host: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Files(PathBuf),
    Server(Box<MailServer>),
}

struct MailServer {
    host: String,
    port: u16,
    /// TLS from the first byte, and not only after STARTTLS.
    wrapped: bool,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    timeout: Duration,
}

impl std::fmt::Debug for MailServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of the credentials.
        write!(f, "MailServer({}:{})", self.host, self.port)
    }
}

impl Mailer {
    /// As the configuration says.
    ///
    /// # Errors
    /// When `[mail]` makes no sense; never with what is secret in it.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let host = Url::parse(&config.server.base_url).ok().and_then(|url| match url.host()? {
            // Addresses are no names that a mail can come from.
            host if host.to_string().parse::<std::net::Ipv4Addr>().is_ok() => None,
            host if host.to_string().starts_with('[') => None,
            host => Some(host.to_string()),
        });
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        let mail = &config.mail;
        let from = if mail.from.is_empty() {
            let address = Address::new("devenv-cloud", &host);
            Mailbox::new(Some("devenv-cloud".to_owned()), address.context("set mail.from")?)
        } else {
            mail.from.parse().with_context(|| {
                format!("mail.from is `{}`; it looks like `CI <ci@example.com>` or ci@example.com", mail.from)
            })?
        };
        let way = if mail.smtp_url.reveal().is_empty() {
            Way::Files(config.server.state_dir.join("mail"))
        } else {
            let ca = Some(mail.ca_file.as_path()).filter(|file| !file.as_os_str().is_empty());
            let timeout = Duration::from_secs(u64::from(mail.timeout_seconds.max(1)));
            Way::Server(Box::new(MailServer::new(mail.smtp_url.reveal(), mail.insecure, ca, timeout)?))
        };
        Ok(Self { from, host, way })
    }

    /// Whether mails become files, for want of a mail server.
    #[must_use]
    pub const fn writes_files(&self) -> bool {
        matches!(self.way, Way::Files(_))
    }

    /// Sends a mail, or writes it.
    pub(super) async fn deliver(&self, letter: Letter<'_>) -> Result<(), Undelivered> {
        let message = self.message(&letter).map_err(|e| Undelivered::Never(format!("{e:#}")))?;
        match &self.way {
            Way::Files(directory) => {
                let (directory, id, eml) = (directory.clone(), letter.id, message.formatted());
                let text = letter.text;
                let write = tokio::task::spawn_blocking(move || {
                    write(&directory, &format!("{id}.txt"), text.as_bytes())?;
                    write(&directory, &format!("{id}.eml"), &eml)
                });
                let written = write.await.map_err(|e| Undelivered::Later(e.to_string()))?;
                written.map_err(|e| Undelivered::Later(format!("{e:#}")))
            }
            Way::Server(server) => server.send(&self.host, message.envelope(), &message.formatted()).await,
        }
    }

    fn message(&self, letter: &Letter<'_>) -> anyhow::Result<Message> {
        let address: Address = letter.recipient.parse().context("no mail can be sent to this address")?;
        let name = Some(letter.name.to_owned()).filter(|name| !name.is_empty());
        let parts = MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name, address))
            .subject(letter.subject)
            .date(SystemTime::from(letter.created_at))
            // The same at every attempt, so that mailboxes can tell a second copy.
            .message_id(Some(format!("<{}@{}>", letter.id, self.host)))
            // Nobody's out-of-office need answer (RFC 3834 §5).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .multipart(parts)
            .context("this cannot be put into a mail")
    }

    /// The text of a mail that was written to a file, if it is still there.
    pub(super) async fn read(&self, id: MailId) -> anyhow::Result<Option<String>> {
        let Way::Files(directory) = &self.way else { return Ok(None) };
        match tokio::fs::read_to_string(directory.join(format!("{id}.txt"))).await {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read the mail's file"),
        }
    }

    /// Removes the files of a mail, if there are any.
    pub(super) async fn remove(&self, id: MailId) -> anyhow::Result<()> {
        let Way::Files(directory) = &self.way else { return Ok(()) };
        for kind in ["txt", "eml"] {
            match tokio::fs::remove_file(directory.join(format!("{id}.{kind}"))).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn header(name: &'static str, value: &str) -> lettre::message::header::HeaderValue {
    let name = lettre::message::header::HeaderName::new_from_ascii_str(name);
    lettre::message::header::HeaderValue::new(name, value.to_owned())
}

/// Writes a file for the owner alone, all of it or nothing.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let create = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let unfinished = directory.join(format!(".{name}"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(unfinished, directory.join(name))
    };
    create().with_context(|| format!("cannot write to {}", directory.display()))
}

impl MailServer {
    fn new(url: &str, insecure: bool, ca: Option<&Path>, timeout: Duration) -> anyhow::Result<Self> {
        const FORM: &str = "mail.smtp_url must be smtps://USER:PASSWORD@HOST or smtp://USER:PASSWORD@HOST, with \
                            special characters in user and password percent-encoded";
        // The error itself might say more than it should.
        let Ok(url) = Url::parse(url) else { bail!(FORM) };
        let wrapped = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => bail!(FORM),
        };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { bail!(FORM) };
        if url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
            bail!("{FORM}; and nothing behind the host and its port");
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        let local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let encrypted = wrapped || !(local || insecure);
        let tls = if encrypted { Some(tls(&host, ca)?) } else { None };
        let decode = |part: &str| {
            let bytes: Vec<u8> = percent_decode(part);
            String::from_utf8(bytes).map_err(|_| anyhow::anyhow!(FORM))
        };
        let credentials = match (decode(url.username())?, url.password()) {
            (user, Some(password)) if !user.is_empty() => Some(Credentials::new(user, decode(password)?)),
            (user, None) if user.is_empty() => None,
            _ => bail!("mail.smtp_url has a user without a password, or a password without a user"),
        };
        let port = url.port().unwrap_or(if wrapped { 465 } else { 587 });
        Ok(Self { host, port, wrapped, tls, credentials, timeout })
    }

    async fn send(&self, hello: &str, envelope: &Envelope, message: &[u8]) -> Result<(), Undelivered> {
        let attempt = self.attempt(hello, envelope, message);
        tokio::time::timeout(self.timeout, attempt).await.unwrap_or_else(|_| {
            let waited = self.timeout.as_secs();
            Err(Undelivered::Later(format!("the mail server has not answered within {waited} seconds")))
        })
    }

    async fn attempt(&self, hello: &str, envelope: &Envelope, message: &[u8]) -> Result<(), Undelivered> {
        let later = |doing: &str, error: &SmtpError| Undelivered::Later(format!("{doing}: {}", words(error)));
        let hello = ClientId::Domain(hello.to_owned());
        let address = (self.host.as_str(), self.port);
        let tls = self.tls.clone();
        let wrapper = tls.clone().filter(|_| self.wrapped);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &hello, wrapper, None)
                .await
                .map_err(|e| later("cannot connect to the mail server", &e))?;
        if let Some(tls) = tls.filter(|_| !self.wrapped) {
            connection
                .starttls(tls, &hello)
                .await
                .map_err(|e| later("cannot encrypt the connection to the mail server", &e))?;
        }
        if let Some(credentials) = &self.credentials {
            // Wrong credentials are mended in the configuration, not in the mail.
            connection
                .auth(DEFAULT_MECHANISMS, credentials)
                .await
                .map_err(|e| later("the mail server does not let us in", &e))?;
        }
        match connection.send(envelope, message).await {
            Ok(_) => {
                // It has the mail, whatever becomes of the connection now.
                connection.abort().await;
                Ok(())
            }
            Err(error) if error.is_permanent() => {
                Err(Undelivered::Never(format!("the mail server refused the mail: {}", words(&error))))
            }
            Err(error) => Err(later("the mail server did not take the mail", &error)),
        }
    }
}

/// What the mail server must prove: its name, to authorities that are trusted.
fn tls(host: &str, ca: Option<&Path>) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = ca {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let certificates = Certificate::from_pem(&pem)
            .with_context(|| format!("{} holds no certificates (PEM)", file.display()))?;
        builder = builder.add_root_certificate(certificates);
    }
    builder.build().context("cannot set up TLS for mail")
}

/// The error with its causes, on one line, not longer than a person reads.
fn words(error: &SmtpError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// What stands behind `%XX`.
fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let hex = others.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &others[2..];
            }
            _ => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
