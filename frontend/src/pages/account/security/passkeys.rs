//! The passkeys there are, and adding one.

use devenv_cloud_api::factors::{Passkey, RenamePasskey};
use leptos::prelude::*;

use crate::{
    components::{
        form::{ApiForm, Field, Outcome, Submit},
        time::Ago,
    },
    context::{use_alive, use_api},
    passkeys::{self, Ask},
};

/// The list and the form.
#[component]
pub fn Passkeys(passkeys: Vec<Passkey>, reload: Callback<()>) -> impl IntoView {
    let none = passkeys.is_empty();
    view! {
        {none.then(|| view! { <p>"You have none yet."</p> })}
        {(!none)
            .then(|| {
                view! {
                    <ul class="rows" aria-label="Passkeys">
                        {passkeys.into_iter().map(|passkey| view! { <Row passkey reload /> }).collect_view()}
                    </ul>
                }
            })}
        <Add reload />
    }
}

#[component]
fn Row(passkey: Passkey, reload: Callback<()>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let (submit, rename) = (Submit::new(), Submit::new());
    let name = RwSignal::new(passkey.name.clone());
    let path = format!("/account/passkeys/{}", passkey.id);
    let remove = {
        let (api, path) = (api.clone(), path.clone());
        move |_| {
            let (api, path) = (api.clone(), path.clone());
            submit.send(async move { api.delete(&path).await }, move |()| reload.run(()));
        }
    };
    let send = move || {
        let (api, path) = (api.clone(), path.clone());
        let body = RenamePasskey { name: name.get_untracked().trim().to_owned() };
        rename.send(async move { api.patch::<_, ()>(&path, &body).await }, move |()| reload.run(()));
    };
    let id = format!("passkey-{}", passkey.id);
    view! {
        <li class="row factor-row">
            <span class="factor-row-words">
                <span class="row-title clip">{passkey.name.clone()}</span>
                <span class="muted">
                    "added " <Ago time=passkey.created_at /> ", "
                    {match passkey.last_used_at {
                        Some(time) => view! { "used " <Ago time /> }.into_any(),
                        None => "never used".into_any(),
                    }}
                    {passkey.synced.then_some(", on several devices")}
                </span>
                <details class="rename">
                    <summary>"Rename"</summary>
                    <ApiForm submit=rename button="Rename" on_submit=send>
                        <Field label="Name" name="name" id value=name error=rename.field("name") />
                    </ApiForm>
                </details>
            </span>
            <button
                type="button"
                class="button small"
                aria-label=format!("Remove {}", passkey.name)
                disabled=move || !alive.get() || submit.pending().get()
                on:click=remove
            >
                "Remove"
            </button>
            <Outcome of=submit />
        </li>
    }
}

#[component]
fn Add(reload: Callback<()>) -> impl IntoView {
    let api = use_api();
    let name = RwSignal::new(String::new());
    let submit = Submit::new();
    let send = move || {
        let api = api.clone();
        let name = name.get_untracked().trim().to_owned();
        let ceremony =
            async move { passkeys::ceremony(&api, "/account/passkeys", Ask::Create, Some(name)).await };
        submit.send(ceremony, move |_| reload.run(()));
    };
    view! {
        <ApiForm submit button="Add a passkey" on_submit=send>
            <Field
                label="Name of the new passkey"
                name="name"
                id="passkey-name"
                value=name
                hint="Where it is kept, for example “laptop” or “blue key”."
                error=submit.field("name")
            />
        </ApiForm>
    }
}
