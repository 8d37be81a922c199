//! What a page knows when a call did not succeed.

use devenv_cloud_api::{client::Error, problem::FieldError};
use serde::{Deserialize, Serialize};

/// The answer of one call, as it travels from the server's rendering to the browser.
pub type Answer<T> = Result<T, Failure>;

/// Why a call did not succeed, in words for the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The kind of problem, where the server named one.
    pub kind: Option<String>,
    /// What happened, in a few words.
    pub title: String,
    /// Why, and what to do.
    pub detail: Option<String>,
    /// Refused fields.
    pub fields: Vec<FieldError>,
}

impl Failure {
    /// A failure that the page itself found.
    pub fn local(title: impl Into<String>) -> Self {
        Self { status: None, kind: None, title: title.into(), detail: None, fields: Vec::new() }
    }

    /// What the reader asked for does not exist, or not for them.
    #[must_use]
    pub fn not_found() -> Self {
        Self { status: Some(404), ..Self::local("Not found") }
    }

    /// Whether signing in could help.
    #[must_use]
    pub fn is_signed_out(&self) -> bool {
        self.status == Some(401)
    }

    /// Whether it does not exist, or not for the one who asks.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether a second factor must be set up before anything else.
    #[must_use]
    pub fn must_enrol(&self) -> bool {
        self.kind.as_deref() == Some("must-enrol")
    }

    /// The sentence about one field, if that field was refused.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        // A nested field is `settings.cpus`; a form knows it as `cpus`.
        self.fields
            .iter()
            .find(|f| f.field == name || f.field.rsplit('.').next() == Some(name))
            .map(|f| f.message.clone())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Problem(problem) => Self {
                status: Some(problem.status).filter(|status| *status > 0),
                kind: Some(problem.kind),
                title: problem.title,
                detail: problem.detail,
                fields: problem.errors,
            },
            Error::Transport(reason) => Self {
                status: None,
                kind: None,
                title: "The server cannot be reached".to_owned(),
                detail: Some(format!("Check your connection and try again. ({reason})")),
                fields: Vec::new(),
            },
            Error::Answer { status, reason } => Self {
                status: Some(status),
                kind: None,
                title: "The server answered something that this page does not understand".to_owned(),
                detail: Some(format!("Reload the page; it may be older than the server. ({reason})")),
                fields: Vec::new(),
            },
        }
    }
}
