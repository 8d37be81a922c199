//! What jobs may reach.

use devenv_cloud_api::orgs::{NetworkPolicy, Project, ProjectSettings, UpdateProject};
use leptos::prelude::*;

use super::api_path;
use crate::{
    components::form::{ApiForm, Choice, Lines, Submit, entries},
    context::use_api,
};

/// This section of the settings.
#[component]
pub fn Network(project: Project) -> impl IntoView {
    let api = use_api();
    let settings = project.settings.clone();
    let policy = RwSignal::new(settings.network.to_string());
    let hosts = RwSignal::new(settings.network_hosts.join("\n"));
    let submit = Submit::new();
    let path = api_path(&project);
    let send = move || {
        let body = UpdateProject {
            description: None,
            settings: Some(ProjectSettings {
                network: policy.with_untracked(|word| word.parse().unwrap_or(NetworkPolicy::Off)),
                network_hosts: entries(&hosts.get_untracked()),
                ..settings.clone()
            }),
        };
        let (api, path) = (api.clone(), path.clone());
        submit.send(async move { api.patch::<_, Project>(&path, &body).await }, move |_| {
            submit.say("Saved. New jobs follow it.");
        });
    };
    view! {
        <section>
            <h2>"Network"</h2>
            <p class="muted">
                "A job’s machine has no network card. What it may reach, it reaches through a proxy, which its "
                "commands find in their environment. Each job’s trace says what was reached, and what was refused."
            </p>
            <ApiForm submit button="Save" on_submit=send>
                <Choice
                    label="Jobs may reach"
                    name="network"
                    value=policy
                    options=vec![
                        ("internet", "the internet: public addresses"),
                        ("allow_list", "the hosts below"),
                        ("off", "nothing"),
                    ]
                />
                <Lines
                    label="Hosts"
                    name="network_hosts"
                    value=hosts
                    hint="One a line: example.org, *.example.org for all names below it, or example.org:8443. Without a port: 80 and 443."
                    error=submit.field("network_hosts")
                />
            </ApiForm>
        </section>
    }
}
