//! Which pushes make a run, and which refs are protected.

use devenv_cloud_api::orgs::{Project, ProjectSettings, UpdateProject};
use leptos::prelude::*;

use super::api_path;
use crate::{
    components::form::{ApiForm, Check, Lines, Submit, entries},
    context::use_api,
};

/// This section of the settings.
#[component]
pub fn Triggers(project: Project) -> impl IntoView {
    let api = use_api();
    let settings = project.settings.clone();
    let branches = RwSignal::new(settings.trigger_branches.join("\n"));
    let tags = RwSignal::new(settings.trigger_tags.join("\n"));
    let protected = RwSignal::new(settings.protected_refs.join("\n"));
    let supersede = RwSignal::new(settings.cancel_superseded);
    let submit = Submit::new();
    let path = api_path(&project);
    let send = move || {
        let body = UpdateProject {
            description: None,
            settings: Some(ProjectSettings {
                trigger_branches: entries(&branches.get_untracked()),
                trigger_tags: entries(&tags.get_untracked()),
                protected_refs: entries(&protected.get_untracked()),
                cancel_superseded: supersede.get_untracked(),
                ..settings.clone()
            }),
        };
        let (api, path) = (api.clone(), path.clone());
        submit.send(async move { api.patch::<_, Project>(&path, &body).await }, move |_| {
            submit.say("Saved. The next push follows it.");
        });
    };
    view! {
        <section>
            <h2>"Triggers"</h2>
            <p class="muted">"Patterns, one a line. " <code>"*"</code> " stands for any text, slashes included."</p>
            <ApiForm submit button="Save" on_submit=send>
                <Lines
                    label="Branches whose pushes make a run"
                    name="trigger_branches"
                    value=branches
                    hint="For example * for all, or main and release/*. Empty: none."
                    error=submit.field("trigger_branches")
                />
                <Lines
                    label="Tags whose pushes make a run"
                    name="trigger_tags"
                    value=tags
                    hint="For example v*. Empty: none."
                    error=submit.field("trigger_tags")
                />
                <Check
                    label="A push cancels what waits"
                    name="cancel_superseded"
                    value=supersede
                    hint="Queued runs of older commits of the same branch are cancelled. What runs already goes on."
                />
                <Lines
                    label="Protected refs"
                    name="protected_refs"
                    value=protected
                    hint="Full names, for example refs/heads/main. They accept neither force pushes nor deletion."
                    error=submit.field("protected_refs")
                />
            </ApiForm>
        </section>
    }
}
