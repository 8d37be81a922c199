//! A mail server of our own, which also does what real ones do on bad days.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::Engine as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// How it treats a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes every mail.
    Kind,
    /// Does not know any recipient, and never will (550).
    Unknown,
    /// Takes nothing now (451).
    Busy,
    /// Knows nobody's password (535).
    Locked,
    /// Takes the connection, and says nothing.
    Silent,
    /// Goes away when it has read half of the mail.
    DiesBefore,
    /// Goes away when it has taken the mail, without a word of farewell.
    DiesAfter,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub from: String,
    pub to: String,
    /// As it came over the wire, without the dots.
    pub raw: String,
}

impl Taken {
    pub fn header(&self, name: &str) -> String {
        let head = self.raw.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let prefix = format!("{}:", name.to_lowercase());
        let line = head.split("\r\n").find(|line| line.to_lowercase().starts_with(&prefix));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    }

    /// The part of this type, decoded.
    pub fn part(&self, kind: &str) -> String {
        let at = self.raw.find(&format!("Content-Type: {kind}")).expect("a part of this type");
        let (head, rest) = self.raw[at..].split_once("\r\n\r\n").expect("a body");
        let body = rest.split("\r\n--").next().expect("an end");
        let bytes = if head.contains("base64") {
            let packed: String = body.split_whitespace().collect();
            base64::engine::general_purpose::STANDARD.decode(packed).expect("Base64")
        } else if head.contains("quoted-printable") {
            unquote(body)
        } else {
            body.as_bytes().to_vec()
        };
        String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n")
    }
}

fn unquote(body: &str) -> Vec<u8> {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        if first == b'=' {
            let hex = std::str::from_utf8(&others[..2]).expect("hex");
            bytes.push(u8::from_str_radix(hex, 16).expect("hex"));
            rest = &others[2..];
        } else {
            bytes.push(first);
            rest = others;
        }
    }
    bytes
}

/// The server. It listens until the test ends.
#[derive(Clone)]
pub struct MailServer {
    pub address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let this = Self {
            address: listener.local_addr().expect("address"),
            mood: Arc::new(Mutex::new(mood)),
            taken: Arc::default(),
            said: Arc::default(),
        };
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // One who goes away in the middle is what some tests want.
                tokio::spawn(async move { server.talk(stream).await.ok() });
            }
        });
        this
    }

    /// For `mail.smtp_url`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn becomes(&self, mood: Mood) {
        *self.mood.lock().expect("mood") = mood;
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("mails").clone()
    }

    /// Every line that a client said, but for the mails.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("lines").clone()
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let mood = *self.mood.lock().expect("mood");
        let mut stream = BufReader::new(stream);
        if mood == Mood::Silent {
            // Until the other side has had enough.
            stream.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await?;
        let (mut from, mut to) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            self.said.lock().expect("lines").push(line.clone());
            let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let answer: &str = match word.as_str() {
                "EHLO" => "250-mail.example.com\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN",
                "AUTH" if mood == Mood::Locked => "535 5.7.8 no",
                "AUTH" => "235 2.7.0 welcome",
                "MAIL" => {
                    from = address(&line);
                    "250 ok"
                }
                "RCPT" if mood == Mood::Unknown => "550 5.1.1 no such mailbox",
                "RCPT" if mood == Mood::Busy => "451 4.3.0 try again later",
                "RCPT" => {
                    to = address(&line);
                    "250 ok"
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let raw = read_mail(&mut stream, mood == Mood::DiesBefore).await?;
                    if mood == Mood::DiesBefore {
                        return Ok(());
                    }
                    let mail = Taken { from: from.clone(), to: to.clone(), raw };
                    self.taken.lock().expect("mails").push(mail);
                    if mood == Mood::DiesAfter {
                        stream.write_all(b"250 taken\r\n").await?;
                        return Ok(());
                    }
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "502 what?",
            };
            stream.write_all(answer.as_bytes()).await?;
            stream.write_all(b"\r\n").await?;
            if word == "QUIT" {
                return Ok(());
            }
        }
    }
}

fn address(line: &str) -> String {
    let rest = line.split_once('<').map_or("", |(_, rest)| rest);
    rest.split_once('>').map_or("", |(address, _)| address).to_owned()
}

async fn read_mail(stream: &mut BufReader<TcpStream>, half: bool) -> std::io::Result<String> {
    let mut raw = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || (half && raw.len() > 200) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(raw);
        }
        raw.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
