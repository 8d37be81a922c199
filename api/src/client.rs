//! The typed client. How bytes travel is the caller's affair: the browser
//! fetches, the server's own rendering calls the router in-process, the
//! command line speaks HTTP. All of them see the same [`Client`].

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::problem::Problem;

/// An HTTP method that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Create or act.
    Post,
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
        self.call(Method::Get, path, None::<&()>).await
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, Error> {
        self.call(Method::Post, path, Some(body)).await
    }

    /// Changes what is at `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn patch<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, Error> {
        self.call(Method::Patch, path, Some(body)).await
    }

    /// Removes what is at `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.call(Method::Delete, path, None::<&()>).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, Error> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| Error::Transport(e.to_string()))?;
        let path = format!("{}{path}", crate::PREFIX);
        let response = self.transport.send(Request { method, path, body, idempotency_key: None }).await?;
        let status = response.status;
        if (200..300).contains(&status) {
            // An answer without content reads as `null`, which is `()`.
            let bytes: &[u8] = if response.body.is_empty() { b"null" } else { &response.body };
            return serde_json::from_slice(bytes)
                .map_err(|e| Error::Answer { status, reason: e.to_string() });
        }
        match serde_json::from_slice::<Problem>(&response.body) {
            Ok(problem) => Err(Error::Problem(Box::new(problem))),
            Err(e) => Err(Error::Answer { status, reason: e.to_string() }),
        }
    }
}
