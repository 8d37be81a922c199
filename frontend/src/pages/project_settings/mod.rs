//! `/{org}/{project}/settings/{section}`: general, triggers, network, tokens, danger.

pub mod danger;
pub mod general;
pub mod network;
pub mod tokens;
pub mod triggers;

use devenv_cloud_api::{
    accounts::Token,
    orgs::{Project, ProjectSettings, UpdateProject},
    page::Page,
    permissions::Action,
};
use leptos::prelude::*;

use super::{param, project::tabs};
use crate::{
    asked::ask,
    components::{
        form::Submit,
        load::{Load, ProblemPage},
        page_head::PageHead,
        tabs::{Tab, Tabs},
    },
    context::use_api,
    failure::Failure,
    transport::Api,
};

/// The settings.
#[component]
pub fn Settings() -> impl IntoView {
    let api = use_api();
    let (org, project, section) = (param("org"), param("project"), param("section"));
    let section = Memo::new(move |_| {
        Some(section.get()).filter(|s| !s.is_empty()).unwrap_or_else(|| "general".to_owned())
    });
    let asked = ask(move || {
        let api = api.clone();
        let base = format!("/orgs/{}/projects/{}", org.get(), project.get());
        let section = section.get();
        async move {
            let project: Project = api.get(&base).await?;
            let tokens: Option<Page<Token>> =
                if section == "tokens" { Some(api.get(&format!("{base}/tokens")).await?) } else { None };
            Ok((project, tokens))
        }
    });
    view! {
        <Load
            asked
            what="the settings"
            view=move |(project, tokens): (Project, Option<Page<Token>>)| {
                if !project.allowed.contains(&Action::UpdateProject) {
                    return view! { <ProblemPage failure=Failure::not_found() /> }.into_any();
                }
                let current = section.get();
                let base = format!("/{}/{}/settings", project.org, project.slug);
                let sections = [("general", "General"), ("triggers", "Triggers"), ("network", "Network"), ("tokens", "Tokens"), ("danger", "Danger zone")]
                    .into_iter()
                    .map(|(word, label)| Tab { label, href: format!("{base}/{word}"), current: word == current })
                    .collect::<Vec<_>>();
                let body = match current.as_str() {
                    "general" => view! { <general::General project=project.clone() /> }.into_any(),
                    "triggers" => view! { <triggers::Triggers project=project.clone() /> }.into_any(),
                    "network" => view! { <network::Network project=project.clone() /> }.into_any(),
                    "tokens" => {
                        let tokens = tokens.map(|t| t.items).unwrap_or_default();
                        view! { <tokens::Tokens project=project.clone() tokens reload=move || asked.refetch() /> }
                            .into_any()
                    }
                    "danger" => view! { <danger::Danger project=project.clone() /> }.into_any(),
                    _ => return view! { <ProblemPage failure=Failure::not_found() /> }.into_any(),
                };
                view! {
                    <PageHead
                        title=project.slug.to_string()
                        window_title=format!("Settings of {}/{}", project.org, project.slug)
                        about=project.description.clone()
                    />
                    <Tabs label="Project" tabs=tabs(&project, "settings") />
                    <div class="settings">
                        <Tabs label="Settings" tabs=sections />
                        <div class="settings-body">{body}</div>
                    </div>
                }
                    .into_any()
            }
        />
    }
}

/// What one section changes of the settings.
type Change = Box<dyn FnOnce(&mut ProjectSettings)>;

/// Saves what one section changes, on top of what the settings are by then: since
/// the page was loaded, somebody may have saved another section.
fn save(
    api: &Api,
    project: &Project,
    submit: Submit,
    said: &'static str,
    description: Option<String>,
    change: Change,
) {
    let (api, path) = (api.clone(), api_path(project));
    let saved = async move {
        let mut settings = api.get::<Project>(&path).await?.settings;
        change(&mut settings);
        let body = UpdateProject { description, settings: Some(settings) };
        api.patch::<_, Project>(&path, &body).await
    };
    submit.send(saved, move |_| submit.say(said));
}

/// The project's path below the API's prefix.
fn api_path(project: &Project) -> String {
    format!("/orgs/{}/projects/{}", project.org, project.slug)
}
