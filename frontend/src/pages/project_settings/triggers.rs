//! Which pushes make a run, and which refs are protected.

use devenv_cloud_api::orgs::{Project, ProjectSettings};
use leptos::prelude::*;

use super::save;
use crate::{
    components::form::{ApiForm, Check, Lines, Submit, entries},
    context::use_api,
};

/// This section of the settings.
#[component]
pub fn Triggers(project: Project) -> impl IntoView {
    let api = use_api();
    let settings = &project.settings;
    let branches = RwSignal::new(settings.trigger_branches.join("\n"));
    let tags = RwSignal::new(settings.trigger_tags.join("\n"));
    let protected = RwSignal::new(settings.protected_refs.join("\n"));
    let supersede = RwSignal::new(settings.cancel_superseded);
    let submit = Submit::new();
    let send = move || {
        let (branches, tags) = (entries(&branches.get_untracked()), entries(&tags.get_untracked()));
        let protected = entries(&protected.get_untracked());
        let supersede = supersede.get_untracked();
        let change = move |settings: &mut ProjectSettings| {
            settings.trigger_branches = branches;
            settings.trigger_tags = tags;
            settings.protected_refs = protected;
            settings.cancel_superseded = supersede;
        };
        save(&api, &project, submit, "Saved. The next push follows it.", None, Box::new(change));
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
