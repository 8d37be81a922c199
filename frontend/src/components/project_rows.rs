//! Projects in a list, each with its newest run, which changes where it stands.

use devenv_cloud_api::{orgs::Project, runs::State};
use leptos::prelude::*;

use crate::{
    components::{
        run_rows::run_href,
        state::{StateMark, is_bad},
        time::Ago,
    },
    live,
};

/// A list of projects.
#[component]
pub fn ProjectRows(
    projects: Vec<Project>,
    /// Where their runs are followed, below the API's prefix.
    follow: String,
    /// Whether rows also name the organisation.
    #[prop(optional)]
    of_all: bool,
) -> impl IntoView {
    let rows: Vec<(Project, RwSignal<Option<_>>)> = projects
        .into_iter()
        .map(|mut project| {
            let run = RwSignal::new(project.latest_run.take());
            (project, run)
        })
        .collect();
    let known: Vec<_> =
        rows.iter().map(|(project, run)| (project.org.clone(), project.slug.clone(), *run)).collect();
    Effect::new(move |_| {
        let known = known.clone();
        live::follow_runs(&follow, move |news| {
            for placed in news {
                let row = known.iter().find(|(org, slug, _)| *org == placed.org && *slug == placed.project);
                let Some((_, _, run)) = row else { continue };
                let newer = run.try_with_untracked(|shown| {
                    shown
                        .as_ref()
                        .is_none_or(|shown| shown.number < placed.run.number || shown.id == placed.run.id)
                });
                if newer == Some(true) {
                    let _ = run.try_set(Some(placed.run));
                }
            }
        });
    });
    view! {
        <ul class="rows" aria-label="Projects">
            {rows.into_iter().map(|(project, run)| view! { <ProjectRow project run of_all /> }).collect_view()}
        </ul>
    }
}

#[component]
fn ProjectRow(
    project: Project,
    run: RwSignal<Option<devenv_cloud_api::runs::RunSummary>>,
    of_all: bool,
) -> impl IntoView {
    let href = format!("/{}/{}", project.org, project.slug);
    let name = if of_all { format!("{}/{}", project.org, project.slug) } else { project.slug.to_string() };
    let state = Memo::new(move |_| run.with(|run| run.as_ref().map(|run| run.state)));
    // Another run is another link; a run that changes is not. (A memo that is
    // only tracked would never be computed.)
    let number = Memo::new(move |_| run.with(|run| run.as_ref().map(|run| run.number)));
    view! {
        <li class="row project-row">
            <span class="project-row-words">
                <a
                    class="row-link"
                    href=href.clone()
                    data-row=""
                    data-failure=move || state.get().is_some_and(is_bad).then_some("")
                >
                    <span class="row-title">{name}</span>
                </a>
                <span class="muted clip">{project.description}</span>
            </span>
            {move || {
                match number.get().and_then(|_| run.get_untracked()) {
                    Some(run) => {
                        let href = run_href(&project.org, &project.slug, run.number);
                        view! {
                            <a class="project-row-run" href=href>
                                <StateMark state=Signal::derive(move || state.get().unwrap_or(State::Queued)) />
                                <span class="clip">{run.commit.title}</span>
                            </a>
                            <span class="muted row-end">
                                <Ago time=run.created_at />
                            </span>
                        }
                            .into_any()
                    }
                    None => view! { <span class="muted project-row-none">"no runs yet"</span> }.into_any(),
                }
            }}
        </li>
    }
}
