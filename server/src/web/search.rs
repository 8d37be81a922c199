//! Search over everything that somebody may see.

#![expect(unused_qualifications, reason = "utoipa's macro names the types of parameters so")]

use axum::{Json, extract::State};
use devenv_cloud_api::{permissions::Action, search::SearchResults};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ApiError, describe::RefusedToRead, extract::Params};
use crate::{app::App, identity::Principal, orgs, projects, refusal::Refusal, runs};

/// Characters that one can search for at most.
const LONGEST: usize = 100;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search))
}

/// What to search for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// A part of a name; of a run its number, or the beginning of its branch,
    /// tag or commit. The first ones of all when absent.
    #[param(max_length = 100)]
    q: Option<String>,
    /// The project whose runs are searched, as `organisation/project`.
    project: Option<String>,
    /// How many of each kind at most. Default 8.
    #[param(minimum = 1, maximum = 20, default = 8)]
    limit: Option<u32>,
}

/// Search
///
/// My organisations and their projects by name, and the runs of one project.
#[utoipa::path(get, path = "/search", operation_id = "search", tag = "organisations", params(SearchQuery),
    responses((status = 200, description = "What was found", body = SearchResults), RefusedToRead))]
async fn search(
    State(app): State<App>,
    principal: Principal,
    Params(query): Params<SearchQuery>,
) -> Result<Json<SearchResults>, ApiError> {
    if principal.user().is_none() {
        return Err(ApiError::Unauthenticated);
    }
    let text = query.q.unwrap_or_default();
    let text = text.trim();
    if text.chars().count() > LONGEST {
        return Err(ApiError::field("q", format!("search for at most {LONGEST} characters")));
    }
    let limit = query.limit.unwrap_or(8);
    if !(1..=20).contains(&limit) {
        return Err(ApiError::field("limit", "1 to 20 of each kind"));
    }
    let runs = match query.project.as_deref().and_then(|name| name.split_once('/')) {
        Some((org, project)) => {
            match projects::find_for(&app, &principal, org, project, Action::ReadProject).await {
                Ok(access) => runs::search(&app, access.project.id, text, limit).await?,
                // What is not there, or not theirs to see, has no runs.
                Err(Refusal::NotFound) => Vec::new(),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        None => Vec::new(),
    };
    Ok(Json(SearchResults {
        orgs: orgs::search(&app, &principal, text, limit).await?,
        projects: projects::search(&app, &principal, text, limit).await?,
        runs,
    }))
}
