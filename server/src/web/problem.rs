//! Errors at the edge: whatever goes wrong in a route becomes one [`Problem`],
//! and whatever is our own fault is logged here, once, and told in general words.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use devenv_cloud_api::problem::{FieldError, MEDIA_TYPE, Problem};

use crate::{db::DbError, executor::ControlError, refusal::Refusal, runners::RunnerError};

/// The error of every route of the API.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody is signed in, or the token is none of ours.
    #[error("you are not signed in")]
    Unauthenticated,
    /// Signed in, may see it, but may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// E-mail address and password do not belong together.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// The first proof is right, and this account asks for a second one.
    #[error("{}", Refusal::SecondFactor)]
    SecondFactor,
    /// It takes a recent proof of who one is.
    #[error("{}", Refusal::StepUp)]
    StepUp,
    /// A second factor must be set up first.
    #[error("{}", Refusal::MustEnrol)]
    MustEnrol,
    /// A proof that was refused.
    #[error("{0}")]
    Unproven(String),
    /// The token of the set-up link is none, or used up.
    #[error("{}", Refusal::InvalidSetupToken)]
    InvalidSetupToken,
    /// The token of a link in a mail is none, used up, or too old.
    #[error("{}", Refusal::InvalidLink)]
    InvalidLink,
    /// It is not there, or the one who asks may not know that it is.
    #[error("there is no such thing here, or you may not see it")]
    NotFound,
    /// It cannot be done in this state of things.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Single fields make no sense.
    #[error("some fields need another value")]
    Fields(Vec<FieldError>),
    /// Too often.
    #[error("too many attempts; wait {retry_after} seconds and try again")]
    RateLimited {
        /// In how many seconds it is worth another try.
        retry_after: u64,
    },
    /// Too large.
    #[error("{0}")]
    TooLarge(String),
    /// A registration token of a runner that does not work.
    #[error("{0}")]
    InvalidRunnerToken(String),
    /// A runner's credential that has to be exchanged.
    #[error("this credential has expired; exchange it for a new one")]
    ExpiredCredential,
    /// A runner that is one no more.
    #[error("this runner was revoked by an administrator of the server")]
    RunnerRevoked,
    /// Two programs of different versions.
    #[error("{0}")]
    Incompatible(String),
    /// An attempt that is not the runner's (any more).
    #[error("the lease on this attempt is lost: stop, and report nothing")]
    LeaseLost,
    /// A source that cannot be had, however often one asks.
    #[error("{0}")]
    NoSource(String),
    /// No room for what was sent.
    #[error("{0}")]
    NoRoom(String),
    /// The database is gone for the moment.
    #[error("the database cannot be reached at the moment; try again in a minute")]
    Unavailable(#[source] anyhow::Error),
    /// Our own fault.
    #[error("something went wrong on our side; it has been logged")]
    Internal(#[source] anyhow::Error),
}

impl ApiError {
    /// One refused field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Fields(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// Somebody who does what only a runner may.
    pub fn not_a_runner() -> Self {
        Self::Forbidden("only a runner may do this, with the credential that it registered for".to_owned())
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::ExpiredCredential => StatusCode::UNAUTHORIZED,
            // Not 401: that is for requests that could be repeated with a proof.
            Self::Forbidden(_)
            | Self::WrongCredentials
            | Self::SecondFactor
            | Self::StepUp
            | Self::MustEnrol
            | Self::Unproven(_)
            | Self::InvalidSetupToken
            | Self::InvalidLink
            | Self::InvalidRunnerToken(_)
            | Self::RunnerRevoked => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict(_) | Self::Incompatible(_) => StatusCode::CONFLICT,
            Self::LeaseLost => StatusCode::GONE,
            Self::Invalid(_) | Self::Fields(_) | Self::NoSource(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable name, and the kind in a few words.
    const fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Unauthenticated => ("unauthenticated", "Not signed in"),
            Self::Forbidden(_) => ("forbidden", "Not allowed"),
            Self::WrongCredentials => ("wrong-credentials", "Wrong e-mail address or password"),
            Self::SecondFactor => ("second-factor", "A second proof is needed"),
            Self::StepUp => ("step-up", "Confirm that it is you"),
            Self::MustEnrol => ("must-enrol", "Set up a second factor first"),
            Self::Unproven(_) => ("unproven", "This proof was not accepted"),
            Self::InvalidSetupToken => ("invalid-token", "Invalid set-up link"),
            Self::InvalidLink => ("invalid-token", "Invalid link"),
            Self::InvalidRunnerToken(_) => ("invalid-token", "Invalid registration token"),
            Self::ExpiredCredential => ("expired-credential", "Expired credential"),
            Self::RunnerRevoked => ("runner-revoked", "Revoked"),
            Self::Incompatible(_) => ("incompatible", "Different versions"),
            Self::LeaseLost => ("lease-lost", "Lease lost"),
            Self::NoSource(_) => ("no-source", "No source"),
            Self::NoRoom(_) => ("no-room", "No room"),
            Self::NotFound => ("not-found", "Not found"),
            Self::Conflict(_) => ("conflict", "Conflict"),
            Self::Invalid(_) | Self::Fields(_) => ("invalid", "Invalid request"),
            Self::RateLimited { .. } => ("rate-limited", "Too many requests"),
            Self::TooLarge(_) => ("too-large", "Too large"),
            Self::Unavailable(_) => ("unavailable", "Unavailable"),
            Self::Internal(_) => ("internal", "Internal error"),
        }
    }

    /// What the client gets to read.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (kind, title) = self.kind();
        Problem {
            kind: kind.to_owned(),
            title: title.to_owned(),
            status: self.status().as_u16(),
            detail: Some(self.to_string()),
            errors: if let Self::Fields(errors) = self { errors.clone() } else { Vec::new() },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal(source) | Self::Unavailable(source) = &self {
            tracing::error!(error = format!("{source:#}"), "request failed");
        }
        let mut response = (self.status(), Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Self::RateLimited { retry_after } = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        if matches!(self, Self::Unauthenticated | Self::ExpiredCredential) {
            // No `Basic`: a browser must not open its own dialogue over our pages.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) => Self::Unavailable(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated => Self::Unauthenticated,
            Refusal::Forbidden(why) => Self::Forbidden(why),
            Refusal::WrongCredentials => Self::WrongCredentials,
            Refusal::SecondFactor => Self::SecondFactor,
            Refusal::StepUp => Self::StepUp,
            Refusal::MustEnrol => Self::MustEnrol,
            Refusal::Unproven(why) => Self::Unproven(why),
            Refusal::InvalidSetupToken => Self::InvalidSetupToken,
            Refusal::InvalidLink => Self::InvalidLink,
            Refusal::NotFound => Self::NotFound,
            Refusal::Conflict(why) => Self::Conflict(why),
            Refusal::Invalid(why) => Self::Invalid(why),
            Refusal::Fields(errors) => Self::Fields(errors),
            Refusal::RateLimited { retry_after } => Self::RateLimited { retry_after },
            Refusal::Db(error) => error.into(),
            Refusal::Failed(error) => Self::Internal(error),
        }
    }
}

impl From<RunnerError> for ApiError {
    fn from(error: RunnerError) -> Self {
        use RunnerError as E;
        match error {
            E::UnknownToken | E::ExpiredToken | E::UsedToken | E::RevokedToken => {
                Self::InvalidRunnerToken(error.to_string())
            }
            E::UnknownCredential => Self::Unauthenticated,
            E::ExpiredCredential => Self::ExpiredCredential,
            E::Revoked => Self::RunnerRevoked,
            E::Incompatible { .. } => Self::Incompatible(error.to_string()),
            E::Invalid(why) => Self::Invalid(why),
            E::Db(error) => error.into(),
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::LeaseLost(_) => Self::LeaseLost,
            ControlError::Source(why) => Self::NoSource(why),
            ControlError::NoRoom(why) => Self::NoRoom(why),
            ControlError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::TooLarge("the request is too large".to_owned())
        } else {
            Self::Invalid(rejection.body_text())
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    /// A path that cannot be one of ours leads nowhere.
    fn from(_: PathRejection) -> Self {
        Self::NotFound
    }
}
