//! Errors as RFC 9457 says (`application/problem+json`).

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, in words that say what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{title}{}", detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable, short name of the kind of problem, e.g. `not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words; the same for every problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case: what happened, why, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields of the request that were refused, each with a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One refused field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field's name in the request, e.g. `email`.
    pub field: String,
    /// A sentence for the person who filled it in.
    pub message: String,
}
