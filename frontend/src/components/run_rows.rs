//! Runs in a list: state, what was committed, how long, when.

use devenv_cloud_api::runs::RunSummary;
use leptos::prelude::*;

use crate::components::{
    state::StateMark,
    time::{Ago, Elapsed},
};

/// The address of a run.
#[must_use]
pub fn run_href(org: &str, project: &str, number: u64) -> String {
    format!("/{org}/{project}/runs/{number}")
}

/// A list of runs of one project.
#[component]
pub fn RunRows(
    #[prop(into)] org: String,
    #[prop(into)] project: String,
    runs: Vec<RunSummary>,
) -> impl IntoView {
    view! {
        <ol class="rows run-rows" aria-label="Runs">
            {runs
                .into_iter()
                .map(|run| {
                    let href = run_href(&org, &project, run.number);
                    view! { <RunRow run href /> }
                })
                .collect_view()}
        </ol>
    }
}

/// One run.
#[component]
fn RunRow(run: RunSummary, href: String) -> impl IntoView {
    let title =
        if run.commit.title.is_empty() { "(no message)".to_owned() } else { run.commit.title.clone() };
    let bad = crate::components::state::is_bad(run.state);
    view! {
        <li class="row run-row">
            <span class="run-row-state">
                <StateMark state=run.state />
            </span>
            <span class="run-row-words">
                <a class="row-link" href=href data-row="" data-failure=bad.then_some("")>
                    <span class="run-row-title">{title}</span>
                </a>
                <span class="run-row-about muted">
                    <span class="run-number">"#" {run.number}</span>
                    <span class="ref">{run.commit.short_ref().to_owned()}</span>
                    <code>{run.commit.short_sha().to_owned()}</code>
                    <span class="clip">{run.commit.author.clone()}</span>
                    {run.reason.clone().map(|reason| view! { <span class="clip run-row-reason">{reason}</span> })}
                </span>
            </span>
            <span class="run-row-times muted">
                <Elapsed start=run.started_at end=run.finished_at />
                <Ago time=run.created_at />
            </span>
        </li>
    }
}
