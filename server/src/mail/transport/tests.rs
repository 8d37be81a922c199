use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;

fn server(url: &str, insecure: bool) -> anyhow::Result<MailServer> {
    MailServer::new(url, insecure, None, Duration::from_secs(1))
}

#[test]
fn addresses_of_mail_servers_are_understood() {
    let found = server("smtps://ci%40example.com:p%2Fw%25@mail.example.com", false).unwrap();
    assert_eq!((found.host.as_str(), found.port, found.wrapped), ("mail.example.com", 465, true));
    assert_eq!(found.credentials, Some(Credentials::new("ci@example.com".into(), "p/w%".into())));
    let found = server("smtp://mail.example.com:2525", false).unwrap();
    assert_eq!((found.port, found.wrapped, found.credentials.is_none()), (2525, false, true));
}

#[test]
fn only_to_this_machine_or_by_order_does_mail_travel_in_the_open() {
    for (url, insecure, encrypted) in [
        ("smtp://mail.example.com", false, true),
        ("smtp://10.0.0.1", false, true),
        ("smtp://localhost.example.com", false, true),
        ("smtps://localhost", false, true),
        ("smtp://localhost:1025", false, false),
        ("smtp://127.0.0.1:1025", false, false),
        ("smtp://[::1]:1025", false, false),
        ("smtp://mail.example.com", true, false),
        ("smtps://mail.example.com", true, true),
    ] {
        assert_eq!(server(url, insecure).unwrap().tls.is_some(), encrypted, "{url}");
    }
}

#[test]
fn what_is_wrong_is_said_without_the_secret() {
    for url in [
        "mail.example.com",
        "https://ci:hunter2@mail.example.com",
        "smtp://ci:hunter2@",
        "smtp://:hunter2@mail.example.com",
        "smtp://ci@mail.example.com",
        "smtp://ci:hunter2@mail.example.com:99999",
        "smtp://ci:hunter2@mail.example.com?tls=none",
        "smtp://ci:hunter2%ff@mail.example.com",
    ] {
        let error = format!("{:#}", server(url, false).unwrap_err());
        assert!(error.contains("mail.smtp_url"), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let shown = format!("{:?}", server("smtp://ci:hunter2@localhost", false).unwrap());
    assert!(!shown.contains("hunter2") && shown.contains("localhost"), "{shown}");
}

/// A mail server with a certificate for this name, of an authority of its own.
struct Encrypted {
    port: u16,
    /// The authority's certificate.
    ca: tempfile::NamedTempFile,
    /// Every line that it heard.
    heard: JoinHandle<Vec<String>>,
}

impl Encrypted {
    async fn start(name: &str, wrapped: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(authority.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer);
        let chain: Vec<CertificateDer<'static>> = vec![certificate.unwrap().into()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            let (stream, _) = listener.accept().await.unwrap();
            let secured = async {
                let plain = if wrapped { stream } else { until_starttls(stream, &mut heard).await? };
                let mut secured = acceptor.accept(plain).await?;
                if wrapped {
                    secured.write_all(b"220 localhost\r\n").await?;
                }
                hear(secured, &mut heard).await
            };
            // Whoever does not trust us hangs up.
            drop(secured.await);
            heard
        });
        Self { port, ca, heard }
    }
}

/// The part in the open: a greeting, and the change to TLS.
async fn until_starttls(stream: TcpStream, heard: &mut Vec<String>) -> std::io::Result<TcpStream> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 localhost\r\n").await?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        heard.push(line.trim_end().to_owned());
        if line.starts_with("STARTTLS") {
            stream.write_all(b"220 go on\r\n").await?;
            return Ok(stream.into_inner());
        }
        stream.write_all(b"250-localhost\r\n250 STARTTLS\r\n").await?;
    }
}

async fn hear(stream: impl AsyncRead + AsyncWrite + Unpin, heard: &mut Vec<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut data = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        heard.push(line.to_owned());
        let answer = match line {
            "DATA" => "354 go on",
            _ if data && line != "." => continue,
            _ => "250 ok",
        };
        data = line == "DATA";
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

#[tokio::test]
async fn a_mail_server_proves_its_name_before_it_hears_anything() {
    for wrapped in [true, false] {
        for (name, trusted, fine) in
            [("localhost", true, true), ("localhost", false, false), ("other.example", true, false)]
        {
            let there = Encrypted::start(name, wrapped).await;
            let ca = trusted.then(|| there.ca.path());
            let url = format!("smtps://localhost:{}", there.port);
            // To another machine it would not travel in the open; here it must be said.
            let found = MailServer::new(&url, false, ca, Duration::from_secs(30)).unwrap();
            let server = MailServer { wrapped, ..found };
            let envelope = Envelope::new(None, vec!["ada@example.org".parse().unwrap()]).unwrap();
            let sent = server.send("ci.example.com", &envelope, b"Subject: hello\r\n\r\nhello\r\n").await;
            drop(server);
            let heard = there.heard.await.unwrap();
            let what = format!("{name}, trusted: {trusted}, wrapped: {wrapped}: {sent:?} {heard:?}");
            if fine {
                assert_eq!(sent, Ok(()), "{what}");
                assert!(heard.contains(&"hello".to_owned()), "{what}");
            } else {
                let Err(Undelivered::Later(words)) = sent else { panic!("{what}") };
                assert!(words.contains("certificate"), "{what}");
                assert!(!heard.iter().any(|line| line.contains("MAIL") || line.contains("ada@")), "{what}");
            }
        }
    }
}
