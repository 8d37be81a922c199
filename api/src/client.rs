//! The typed client. How bytes travel is the caller's affair: the browser
//! fetches, the server's own rendering calls the router in-process, the
//! command line speaks HTTP. All of them see the same [`Client`].

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::{json, problem::Problem};

/// An HTTP method that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Create or act.
    Post,
    /// Replace.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request as a transport gets it. `path` includes [`crate::PREFIX`] and the query.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// A JSON body.
    pub body: Option<Vec<u8>>,
    /// A key that makes a creation safe to repeat.
    pub idempotency_key: Option<String>,
}

/// An answer as a transport gives it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body, usually JSON.
    pub body: Vec<u8>,
}

/// What can go wrong in a call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server said no, and why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The server could not be reached.
    #[error("the server cannot be reached: {0}")]
    Transport(String),
    /// The server answered something that this client does not understand.
    #[error("the server's answer cannot be understood ({status}): {reason}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// What was wrong with it.
        reason: String,
    },
}

impl Error {
    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Answer { status, .. } => Some(*status),
            Self::Transport(_) => None,
        }
    }
}

/// Carries a request to the server and brings back the answer.
pub trait Transport {
    /// Sends one request.
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, Error>>;
}

/// The API, typed. Generic over how bytes travel.
#[derive(Clone, Debug)]
pub struct Client<T> {
    transport: T,
}

impl<T: Transport> Client<T> {
    /// A client over this transport.
    pub const fn new(transport: T) -> Self {
        Self { transport }
    }

    /// Reads `path` (without the prefix, with any query).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        answer(self.call(Method::Get, path, None).await?)
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, Error> {
        answer(self.call(Method::Post, path, Some(written(body)?)).await?)
    }

    /// Posts JSON that is text already, and gives the answer's text.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_text(&self, path: &str, body: Option<String>) -> Result<String, Error> {
        let response = self.call(Method::Post, path, body.map(String::into_bytes)).await?;
        String::from_utf8(response.body)
            .map_err(|e| Error::Answer { status: response.status, reason: e.to_string() })
    }

    /// Replaces what is at `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, Error> {
        answer(self.call(Method::Put, path, Some(written(body)?)).await?)
    }

    /// Changes what is at `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn patch<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, Error> {
        answer(self.call(Method::Patch, path, Some(written(body)?)).await?)
    }

    /// Removes what is at `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.call(Method::Delete, path, None).await.map(drop)
    }

    /// The whole call but for the types of what goes and comes, so that a
    /// browser downloads it once and not once for each of them.
    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response, Error> {
        let path = format!("{}{path}", crate::PREFIX);
        let response = self.transport.send(Request { method, path, body, idempotency_key: None }).await?;
        if (200..300).contains(&response.status) { Ok(response) } else { Err(refusal(&response)) }
    }
}

fn written<B: Serialize>(body: &B) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|e| Error::Transport(e.to_string()))
}

fn answer<A: DeserializeOwned>(response: Response) -> Result<A, Error> {
    json::read(text(&response)?).map_err(|e| misunderstood(&response, &e))
}

fn refusal(response: &Response) -> Error {
    match text(response).and_then(|text| json::read(text).map_err(|e| misunderstood(response, &e))) {
        Ok(problem) => Error::Problem(Box::new(problem)),
        Err(error) => error,
    }
}

/// An answer without content reads as `null`, which is `()`.
fn text(response: &Response) -> Result<&str, Error> {
    let bytes: &[u8] = if response.body.is_empty() { b"null" } else { &response.body };
    std::str::from_utf8(bytes).map_err(|e| misunderstood(response, &e))
}

fn misunderstood(response: &Response, reason: &dyn std::fmt::Display) -> Error {
    Error::Answer { status: response.status, reason: reason.to_string() }
}
