//! Why a program gets no token, in the words of OAuth.

use crate::{db::DbError, refusal::Refusal};

/// Every way to be refused at the endpoints for programs.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// Something is missing, twice there, or makes no sense.
    #[error("{0}")]
    InvalidRequest(String),
    /// It is no client of ours, or did not prove it.
    #[error("this is no client of this server, or its secret is wrong")]
    InvalidClient,
    /// The code is none (any more), or somebody else's.
    #[error("{0}")]
    InvalidGrant(String),
    /// This client may not do it in this way.
    #[error("{0}")]
    UnauthorizedClient(String),
    /// A way that we do not offer.
    #[error(
        "this server gives tokens for `authorization_code` and for device codes (RFC 8628), in no other way"
    )]
    UnsupportedGrantType,
    /// Nothing that it asked for can be given.
    #[error("{0}")]
    InvalidScope(String),
    /// The person has not decided yet.
    #[error("nobody has allowed it yet; ask again")]
    AuthorizationPending,
    /// It asks too often.
    #[error("ask less often: wait five seconds longer from now on")]
    SlowDown,
    /// The person said no.
    #[error("the person said no")]
    AccessDenied,
    /// Nobody decided in time.
    #[error("nobody allowed it in time; begin anew")]
    ExpiredToken,
    /// What is not about OAuth.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl OAuthError {
    /// The word on the wire (RFC 6749 §5.2, RFC 8628 §3.5).
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope(_) => "invalid_scope",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::Refused(Refusal::RateLimited { .. }) => "temporarily_unavailable",
            Self::Refused(_) => "server_error",
        }
    }
}

impl From<DbError> for OAuthError {
    fn from(error: DbError) -> Self {
        Self::Refused(error.into())
    }
}
