//! Requests to the real router, and their answers.

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::ConnectInfo};
use devenv_cloud_api::problem::Problem;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::{Serialize, de::DeserializeOwned};
use tower::ServiceExt as _;

/// A request under construction.
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    router: Router,
    request: http::Request<Body>,
}

impl Request {
    pub fn new(router: Router, method: Method, path: &str) -> Self {
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4711))));
        Self { router, request }.header("host", "ci.example.com")
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: header::HeaderName = name.parse().expect("a header's name");
        self.request.headers_mut().insert(name, value.parse().expect("a header's value"));
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    /// As if it came from this address.
    pub fn from(mut self, address: &str) -> Self {
        let address = SocketAddr::new(address.parse().expect("an address"), 4711);
        self.request.extensions_mut().insert(ConnectInfo(address));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn json(mut self, body: &impl Serialize) -> Self {
        *self.request.body_mut() = Body::from(serde_json::to_vec(body).expect("JSON"));
        self.header("content-type", "application/json")
    }

    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let body = serde_urlencoded::to_string(fields).expect("a form");
        *self.request.body_mut() = Body::from(body);
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// Sends it and does not wait for the body, which may have no end.
    pub async fn status(self) -> StatusCode {
        self.router.oneshot(self.request).await.expect("infallible").status()
    }

    pub async fn send(self) -> Response {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        let response = self.router.oneshot(self.request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Response { what, status: parts.status, headers: parts.headers, body }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    what: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Response {
    #[track_caller]
    pub fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.what, self.text());
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{}: {e}: {}", self.what, self.text()))
    }

    /// The problem, which must be announced as one.
    #[track_caller]
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.what);
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status.as_u16(), "{}", self.what);
        problem
    }
}
