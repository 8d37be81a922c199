//! `git http-backend` as a child, a CGI program (RFC 3875) with streams on both
//! sides. It is killed, with all that it has started, when its client goes
//! away or nothing moves for a while.

use std::{io, process::Stdio, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::{Bytes, BytesMut};
use devenv_cloud_api::{ids::ProjectId, orgs::ProjectSettings};
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
};

use super::{
    ForgeError, Pusher, Repository,
    git::{self, Group},
    pushed,
    receive::{self, Gate, NoPush, Push},
    repository, settings,
};
use crate::app::App;

/// How long a client, or git, may be silent.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long git may take before it says anything at all.
const FIRST_WORD: Duration = Duration::from_secs(30);

/// Bytes that a client may send to say what it wants to fetch.
const LONGEST_WANTS: u64 = 64 << 20;

/// What git is asked to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The part of the path after the repository, e.g. `info/refs`.
    pub path: &'static str,
    /// The query, e.g. `service=git-upload-pack`.
    pub query: String,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// The header `Git-Protocol`.
    pub protocol: Option<String>,
}

/// What git answers.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it comes.
    pub body: mpsc::Receiver<io::Result<Bytes>>,
}

/// Why git could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// See [`ForgeError`].
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// See [`NoPush`].
    #[error(transparent)]
    NoPush(#[from] NoPush),
    /// The client was silent for too long or went away.
    #[error("the client went away")]
    ClientGone,
    /// Git's answer is none.
    #[error("git http-backend gave no answer: {0}")]
    NoAnswer(String),
}

struct Running {
    child: Child,
    group: Group,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

fn start(repository: &Repository, request: &Request, config: &[(&str, &str)]) -> Result<Running, ForgeError> {
    let mut command = git::command(&repository.path, config);
    let root = repository.path.parent().unwrap_or(&repository.path);
    let name = repository.path.file_name().unwrap_or_default().to_string_lossy();
    command
        .arg("http-backend")
        .env_remove("GIT_DIR")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{name}/{}", request.path))
        .env("REQUEST_METHOD", request.method)
        .env("QUERY_STRING", &request.query)
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .stdin(Stdio::piped());
    for (variable, value) in [
        ("CONTENT_TYPE", &request.content_type),
        ("HTTP_CONTENT_ENCODING", &request.content_encoding),
        // What the client asks for is a word or two; git itself reads it.
        ("GIT_PROTOCOL", &request.protocol),
    ] {
        if let Some(value) = value.as_ref().filter(|value| value.len() <= 256) {
            command.env(variable, value);
        }
    }
    let mut child = command.spawn().map_err(ForgeError::NoGit)?;
    let group = Group::of(&child);
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok(Running { child, group, stdin, stdout: BufReader::with_capacity(32 << 10, stdout), stderr })
        }
        _ => Err(ForgeError::Git { command: "http-backend", message: "it has no pipes".to_owned() }),
    }
}

/// Reads the head of a CGI answer (RFC 3875 §6).
async fn read_head(out: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap), BackendError> {
    let no = |what: &str| BackendError::NoAnswer(what.to_owned());
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    let mut left: u64 = 16 << 10;
    loop {
        let mut line = String::new();
        let read = (&mut *out).take(left).read_line(&mut line).await.map_err(|e| no(&e.to_string()))?;
        left -= read as u64;
        if !line.ends_with('\n') {
            return Err(no("it ended in the middle of the head"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| no("a head that is none"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            status = code.ok_or_else(|| no("a status that is none"))?;
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}

/// Asks git for what it has, or to send it: everything but a push.
///
/// # Errors
/// See [`BackendError`].
pub async fn fetch<S, E>(repository: &Repository, request: &Request, body: S) -> Result<Answer, BackendError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Send + 'static,
{
    let Running { mut child, mut group, stdin, mut stdout, stderr } = start(repository, request, &[])?;
    tokio::spawn(log_words(stderr));
    let feeding = tokio::spawn(feed_wants(body, stdin));
    let head = tokio::time::timeout(FIRST_WORD, read_head(&mut stdout)).await;
    let (status, headers) = head.map_err(|_| BackendError::NoAnswer("it was silent".to_owned()))??;
    let (out, answer) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut buffer = BytesMut::with_capacity(64 << 10);
        loop {
            buffer.reserve(64 << 10);
            // Whoever stops reading, or hangs, ends git and everything below it.
            let read = tokio::select! {
                read = tokio::time::timeout(PATIENCE, stdout.read_buf(&mut buffer)) => read,
                () = out.closed() => break,
            };
            match read {
                Ok(Ok(0)) => {
                    let _ = child.wait().await;
                    group.ended();
                    break;
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => {
                    let _ = out.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                    break;
                }
            }
            if out.send_timeout(Ok(buffer.split().freeze()), PATIENCE).await.is_err() {
                break;
            }
        }
        feeding.abort();
    });
    Ok(Answer { status, headers, body: answer })
}

async fn feed_wants<S, E>(mut body: S, mut stdin: ChildStdin)
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut left = LONGEST_WANTS;
    while let Ok(Some(Ok(bytes))) = tokio::time::timeout(PATIENCE, body.next()).await {
        let Some(rest) = left.checked_sub(bytes.len() as u64) else { return };
        left = rest;
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Git's own words on standard error are for us.
async fn log_words(stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr.take(16 << 10)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line, "git");
    }
}

/// A push: who, where to, and under which rules.
#[derive(Debug)]
pub struct Receiving {
    /// The project.
    pub project: ProjectId,
    /// Its settings.
    pub settings: ProjectSettings,
    /// Where people read and change those settings.
    pub settings_url: String,
    /// Who pushes. The options come from the push itself.
    pub pusher: Pusher,
}

/// Lets git receive a push, and makes the runs for it before the client hears
/// the end of the answer.
///
/// # Errors
/// See [`BackendError`].
pub async fn receive<S, E>(
    app: App,
    receiving: Receiving,
    request: &Request,
    mut body: S,
) -> Result<Answer, BackendError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Send + 'static,
{
    let mut begun = BytesMut::new();
    let push = loop {
        if let Some(push) = receive::parse(&begun)? {
            break push;
        }
        match tokio::time::timeout(PATIENCE, body.next()).await {
            Ok(Some(Ok(bytes))) => begun.extend_from_slice(&bytes),
            Ok(None) => return Err(NoPush::Malformed.into()),
            Ok(Some(Err(_))) | Err(_) => return Err(BackendError::ClientGone),
        }
    };
    let rules = Rules::of(&receiving.settings, &push);
    let limit = u64::from(app.config.limits.push_mib) << 20;
    // Ours counts first and has the better words; git's is for the case that we err.
    let git_limit = (limit + (1 << 20)).to_string();
    let mut config = vec![("receive.maxInputSize", git_limit.as_str())];
    config.extend(rules.config());
    let repository = Repository::of(&app, receiving.project);
    let Running { mut child, mut group, stdin, mut stdout, stderr } = start(&repository, request, &config)?;
    tokio::spawn(log_words(stderr));

    let (out, answer) = mpsc::channel(64);
    let (ready, may_answer) = oneshot::channel();
    let (head_out, head_in) = oneshot::channel();
    // A task of its own: when the client goes away after its last byte, git
    // still stores the push, and the runs are still made.
    tokio::spawn(async move {
        let feeding = tokio::spawn(feed_push(body, begun.freeze(), stdin, limit));
        let head = tokio::time::timeout(FIRST_WORD, read_head(&mut stdout)).await;
        let good = matches!(&head, Ok(Ok((status, _))) if status.is_success());
        let _ =
            head_out.send(head.unwrap_or_else(|_| Err(BackendError::NoAnswer("it was silent".to_owned()))));
        let mut conversation =
            Conversation { gate: Gate::default(), out, ready: Some(ready), talk: push.can_talk && good };
        let mut fed = None;
        let mut feeding = feeding;
        let mut buffer = BytesMut::new();
        let complete = loop {
            buffer.reserve(16 << 10);
            tokio::select! {
                end = &mut feeding, if fed.is_none() => {
                    let end = end.unwrap_or(Fed::Gone);
                    fed = Some(end);
                    conversation.may_answer();
                    if end == Fed::Gone {
                        break false;
                    }
                }
                read = tokio::time::timeout(2 * PATIENCE, stdout.read_buf(&mut buffer)) => match read {
                    Ok(Ok(0)) => break true,
                    Ok(Ok(_)) => conversation.pass(buffer.split().freeze()).await,
                    Ok(Err(_)) | Err(_) => break false,
                },
            }
        };
        if complete {
            let _ = child.wait().await;
            group.ended();
        }
        // Kills git, if it is still there.
        drop(group);
        let _ = child.wait().await;
        let mut lines = rules.refused(&repository, &receiving.settings_url).await;
        let refs = push.commands.into_iter().map(|command| (command.name, command.new)).collect();
        let pusher = Pusher { options: push.options, refs, ..receiving.pusher };
        match pushed::refs_changed(&app, receiving.project, &pusher).await {
            Ok(runs) => lines.extend(runs),
            Err(error) => {
                tracing::error!(project = %receiving.project, %error, "cannot make the runs of a push");
                app.forge.again.notify_one();
                lines.push(
                    "the push is stored; its run will be made as soon as the database answers".to_owned(),
                );
            }
        }
        // What is left of the request: a client that is still sending must be
        // let finish, or it never reads the answer.
        let end = match fed {
            Some(end) => end,
            None => feeding.await.unwrap_or(Fed::Gone),
        };
        if end == Fed::TooLarge {
            lines.insert(0, format!(
                "this push is larger than {} MiB, which is all that one push may send here (limits.push_mib)",
                limit >> 20
            ));
        }
        conversation.finish(&lines).await;
    });
    let head = head_in.await.map_err(|_| BackendError::ClientGone)?;
    let (status, headers) = head?;
    // Half of an answer before the whole question confuses some clients.
    let _ = may_answer.await;
    Ok(Answer { status, headers, body: answer })
}

/// What to say, and through what.
struct Conversation {
    gate: Gate,
    out: mpsc::Sender<io::Result<Bytes>>,
    ready: Option<oneshot::Sender<()>>,
    talk: bool,
}

impl Conversation {
    fn may_answer(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(());
        }
    }

    async fn pass(&mut self, bytes: Bytes) {
        let bytes = if self.talk { self.gate.pass(&bytes) } else { bytes };
        if !bytes.is_empty() {
            self.send(bytes).await;
        }
    }

    /// A client that is gone is no reason to stop: the push goes on.
    async fn send(&mut self, bytes: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(bytes)) = self.out.try_send(Ok(bytes)) {
            self.may_answer();
            let Ok(bytes) = bytes else { return };
            let _ = self.out.send_timeout(Ok(bytes), PATIENCE).await;
        }
    }

    async fn finish(mut self, lines: &[String]) {
        self.may_answer();
        if self.talk && self.gate.is_between() {
            self.send(receive::say(lines)).await;
        }
        let rest = std::mem::take(&mut self.gate).finish();
        if !rest.is_empty() {
            self.send(rest).await;
        }
    }
}

/// How feeding git with a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    /// All of it, or git wanted no more.
    All,
    /// It was larger than it may be.
    TooLarge,
    /// The client went away in the middle.
    Gone,
}

async fn feed_push<S, E>(mut body: S, begun: Bytes, stdin: ChildStdin, limit: u64) -> Fed
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut sent = 0_u64;
    let mut end = Fed::All;
    let mut stdin = Some(stdin);
    let mut next = Some(begun);
    loop {
        let bytes = match next.take() {
            Some(bytes) => bytes,
            None => match tokio::time::timeout(PATIENCE, body.next()).await {
                Ok(Some(Ok(bytes))) => bytes,
                Ok(None) => return end,
                Ok(Some(Err(_))) | Err(_) => return Fed::Gone,
            },
        };
        sent = sent.saturating_add(bytes.len() as u64);
        if sent > limit {
            end = Fed::TooLarge;
            // What comes now is thrown away; four times the limit is enough politeness.
            stdin = None;
            if sent > limit.saturating_mul(4).saturating_add(64 << 20) {
                return Fed::TooLarge;
            }
        }
        if let Some(pipe) = &mut stdin {
            let written = tokio::time::timeout(PATIENCE, pipe.write_all(&bytes)).await;
            if !matches!(written, Ok(Ok(()))) {
                // Git has heard enough (it refused the push).
                stdin = None;
            }
        }
    }
}

/// What of a push the project's settings forbid. Git itself enforces it, by
/// configuration that we give for this one push; here is also who is told what.
#[derive(Debug, Default)]
struct Rules {
    /// Protected branches that would move: only forwards.
    forwards: Vec<(String, String)>,
    /// Protected refs that would vanish, and protected tags that would move.
    frozen: Vec<(String, &'static str)>,
    /// Names that are not for pushing.
    foreign: Vec<String>,
}

impl Rules {
    fn of(settings: &ProjectSettings, push: &Push) -> Self {
        let mut rules = Self::default();
        for command in &push.commands {
            let name = command.name.as_str();
            let ours = ["refs/heads/", "refs/tags/", "refs/notes/"].iter().any(|p| name.starts_with(p));
            if !ours {
                rules.foreign.push(command.name.clone());
            } else if settings::is_protected(settings, name) {
                if command.deletes() {
                    rules.frozen.push((command.name.clone(), "deleted"));
                } else if command.updates() && name.starts_with("refs/heads/") {
                    rules.forwards.push((command.name.clone(), command.new.clone()));
                } else if command.updates() {
                    rules.frozen.push((command.name.clone(), "moved"));
                }
            }
        }
        rules
    }

    fn config(&self) -> impl Iterator<Item = (&str, &str)> {
        let forwards = (!self.forwards.is_empty()).then_some(("receive.denyNonFastForwards", "true"));
        forwards.into_iter().chain(self.frozen.iter().map(|(name, _)| ("receive.hideRefs", name.as_str())))
    }

    /// What the pusher is to read about what was refused.
    async fn refused(&self, repository: &Repository, url: &str) -> Vec<String> {
        let mut lines: Vec<_> = self
            .frozen
            .iter()
            .map(|(name, what)| {
                format!("{name} is protected and cannot be {what}; see Protected refs at {url}")
            })
            .collect();
        lines.extend(self.foreign.iter().map(|name| {
            format!("{name} cannot be pushed: only refs/heads/, refs/tags/ and refs/notes/ are yours")
        }));
        if !self.forwards.is_empty() {
            let names = self.forwards.iter().map(|(name, _)| name.as_str());
            let there = repository::objects_of(repository, names).await.unwrap_or_default();
            for (name, new) in &self.forwards {
                if there.get(name) != Some(new) {
                    lines.push(format!(
                        "{name} is protected and accepts no force push; see Protected refs at {url}"
                    ));
                }
            }
        }
        lines
    }
}
