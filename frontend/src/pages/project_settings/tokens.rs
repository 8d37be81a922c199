//! Tokens that are limited to this project.

use devenv_cloud_api::{accounts::Token, orgs::Project};
use leptos::prelude::*;

use super::api_path;
use crate::components::tokens::{CreateTokenForm, TokenRows};

/// This section of the settings.
#[component]
pub fn Tokens(
    project: Project,
    tokens: Vec<Token>,
    reload: impl Fn() + Clone + Send + Sync + 'static,
) -> impl IntoView {
    let path = format!("{}/tokens", api_path(&project));
    view! {
        <section>
            <h2>"Tokens of this project"</h2>
            <p class="muted">
                "A token is the password for git and the API. These can reach this project and nothing else, and are "
                "the right ones for machines. For all that you can reach, create one in your "
                <a href="/account/tokens">"account"</a> "."
            </p>
            <CreateTokenForm path=path />
            <TokenRows tokens on_revoked=reload />
        </section>
    }
}
