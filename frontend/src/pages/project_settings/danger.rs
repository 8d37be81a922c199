//! What cannot be undone.

use devenv_cloud_api::{orgs::Project, permissions::Action};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use super::api_path;
use crate::{
    components::form::{ApiForm, Field, Submit},
    context::use_api,
};

/// This section of the settings.
#[component]
pub fn Danger(project: Project) -> impl IntoView {
    if !project.allowed.contains(&Action::DeleteProject) {
        return view! {
            <section>
                <h2>"Danger zone"</h2>
                <p>"Deleting a project takes a role that you do not have here. Ask an owner of the organisation."</p>
            </section>
        }
        .into_any();
    }
    let api = use_api();
    let navigate = use_navigate();
    let typed = RwSignal::new(String::new());
    let submit = Submit::new();
    let name = project.slug.to_string();
    let expected = name.clone();
    let blocked = Signal::derive(move || typed.get().trim() != expected);
    let (path, org) = (api_path(&project), project.org.to_string());
    let send = move || {
        let (api, path, navigate, org) = (api.clone(), path.clone(), navigate.clone(), org.clone());
        submit.send(async move { api.delete(&path).await }, move |()| {
            navigate(&format!("/{org}"), Default::default())
        });
    };
    view! {
        <section class="danger-zone">
            <h2>"Delete this project"</h2>
            <p>
                "Its repository, runs, traces, logs and tokens are gone at once and for good. Nobody can bring them back, we neither."
            </p>
            <ApiForm submit button="Delete the project" danger=true blocked on_submit=send>
                <Field
                    label="Type the project’s name to go on"
                    name="confirm"
                    value=typed
                    mono=true
                    hint=format!("It is {name}.")
                />
            </ApiForm>
        </section>
    }
    .into_any()
}
