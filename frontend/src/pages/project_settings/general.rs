//! Description, default branch, and what a machine gets.

use devenv_cloud_api::orgs::{Project, ProjectSettings};
use leptos::prelude::*;

use super::save;
use crate::{
    components::{
        code::Code,
        form::{ApiForm, Field, Submit},
    },
    context::use_api,
    pages::home::invalid,
};

/// This section of the settings.
#[component]
pub fn General(project: Project) -> impl IntoView {
    let api = use_api();
    let settings = &project.settings;
    let description = RwSignal::new(project.description.clone());
    let branch = RwSignal::new(settings.default_branch.clone());
    let [timeout, memory, cpus, disk] =
        [settings.timeout_minutes, settings.memory_mib, settings.cpus, settings.disk_mib]
            .map(|n| RwSignal::new(n.to_string()));
    let label = RwSignal::new(settings.runner_label.clone());
    let submit = Submit::new();
    let saved = project.clone();
    let send = move || {
        let number = |field: &'static str, value: RwSignal<String>| {
            value
                .get_untracked()
                .trim()
                .parse::<u32>()
                .map_err(|_| submit.refuse(invalid(field, &"write a whole number")))
        };
        let (Ok(timeout_minutes), Ok(memory_mib), Ok(cpus), Ok(disk_mib)) = (
            number("timeout_minutes", timeout),
            number("memory_mib", memory),
            number("cpus", cpus),
            number("disk_mib", disk),
        ) else {
            return;
        };
        let default_branch = branch.get_untracked().trim().to_owned();
        let runner_label = label.get_untracked().trim().to_owned();
        let change = move |settings: &mut ProjectSettings| {
            *settings = ProjectSettings {
                default_branch,
                timeout_minutes,
                memory_mib,
                cpus,
                disk_mib,
                runner_label,
                ..settings.clone()
            };
        };
        let description = description.get_untracked().trim().to_owned();
        save(&api, &saved, submit, "Saved. New runs use it.", Some(description), Box::new(change));
    };
    view! {
        <section>
            <h2>"Clone address"</h2>
            <Code text=project.clone_url.clone() what="the address" />
        </section>
        <section>
            <h2>"General"</h2>
            <ApiForm submit button="Save" on_submit=send>
                <Field
                    label="Description"
                    name="description"
                    value=description
                    required=false
                    hint="One line about the project."
                    error=submit.field("description")
                />
                <Field
                    label="Default branch"
                    name="default_branch"
                    value=branch
                    mono=true
                    hint="What a clone checks out."
                    error=submit.field("default_branch")
                />
                <Field
                    label="Runner label"
                    name="runner_label"
                    value=label
                    required=false
                    mono=true
                    hint="Jobs go only to runners with this label. Empty: to any runner, and to the server itself."
                    error=submit.field("runner_label")
                />
                <fieldset class="field-group">
                    <legend>"A job’s machine"</legend>
                    <Field
                        label="Time limit, minutes"
                        name="timeout_minutes"
                        kind="number"
                        value=timeout
                        hint="1 to 1440"
                        error=submit.field("timeout_minutes")
                    />
                    <Field label="Processors" name="cpus" kind="number" value=cpus hint="1 to 64" error=submit.field("cpus") />
                    <Field
                        label="Memory, MiB"
                        name="memory_mib"
                        kind="number"
                        value=memory
                        hint="256 to 65536"
                        error=submit.field("memory_mib")
                    />
                    <Field
                        label="Disk, MiB"
                        name="disk_mib"
                        kind="number"
                        value=disk
                        hint="256 to 1048576"
                        error=submit.field("disk_mib")
                    />
                </fieldset>
            </ApiForm>
        </section>
    }
}
