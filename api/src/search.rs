//! Search over everything that somebody may see.

use serde::{Deserialize, Serialize};

use crate::{names::Slug, runs::RunSummary};

/// What was found, the best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchResults {
    /// Organisations, by their names.
    pub orgs: Vec<OrgHit>,
    /// Projects, by their names.
    pub projects: Vec<ProjectHit>,
    /// Runs of the project that was named, by number, branch, tag or commit;
    /// newest first. None where no project was named.
    pub runs: Vec<RunSummary>,
}

/// An organisation that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrgHit {
    /// The name in addresses.
    pub slug: Slug,
    /// The name for people.
    pub display_name: String,
}

/// A project that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectHit {
    /// The organisation's name in addresses.
    pub org: Slug,
    /// The name in addresses.
    pub slug: Slug,
    /// One line about it; may be empty.
    pub description: String,
}
