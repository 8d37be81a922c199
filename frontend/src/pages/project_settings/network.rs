//! What jobs may reach.

use devenv_cloud_api::orgs::{NetworkPolicy, Project, ProjectSettings};
use leptos::prelude::*;

use super::save;
use crate::{
    components::form::{ApiForm, Choice, Lines, Submit, entries},
    context::use_api,
};

/// This section of the settings.
#[component]
pub fn Network(project: Project) -> impl IntoView {
    let api = use_api();
    let settings = &project.settings;
    let policy = RwSignal::new(settings.network.to_string());
    let hosts = RwSignal::new(settings.network_hosts.join("\n"));
    let submit = Submit::new();
    let send = move || {
        let network = policy.with_untracked(|word| word.parse().unwrap_or(NetworkPolicy::Off));
        let network_hosts = entries(&hosts.get_untracked());
        let change = move |settings: &mut ProjectSettings| {
            settings.network = network;
            settings.network_hosts = network_hosts;
        };
        save(&api, &project, submit, "Saved. New jobs follow it.", None, Box::new(change));
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
