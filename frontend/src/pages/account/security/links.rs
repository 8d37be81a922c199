//! Accounts elsewhere with which one signs in here.

use devenv_cloud_api::sign_in::{LinkedAccount, Provider};
use leptos::prelude::*;

use crate::{
    components::{
        form::{Outcome, Submit},
        time::Ago,
    },
    context::{use_alive, use_api},
};

/// Those that are linked, and those that could be.
#[component]
pub fn Links(links: Vec<LinkedAccount>, providers: Vec<Provider>, reload: Callback<()>) -> impl IntoView {
    view! {
        {(!links.is_empty())
            .then(|| {
                view! {
                    <ul class="rows" aria-label="Linked accounts">
                        {links.into_iter().map(|link| view! { <Row link reload /> }).collect_view()}
                    </ul>
                }
            })}
        <div class="form-actions">
            {providers
                .into_iter()
                .map(|provider| {
                    view! {
                        <form method="post" action=format!("/sign-in/provider/{}", provider.name)>
                            <input type="hidden" name="link" value="yes" />
                            <input type="hidden" name="return_to" value="/account/security" />
                            <button class="button">"Link an account at " {provider.label}</button>
                        </form>
                    }
                })
                .collect_view()}
        </div>
    }
}

#[component]
fn Row(link: LinkedAccount, reload: Callback<()>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let path = format!("/account/links/{}", link.id);
    let remove = move |_| {
        let (api, path) = (api.clone(), path.clone());
        submit.send(async move { api.delete(&path).await }, move |()| reload.run(()));
    };
    view! {
        <li class="row factor-row">
            <span class="factor-row-words">
                <span class="row-title clip">{link.provider_label} " (" {link.label.clone()} ")"</span>
                <span class="muted">
                    "linked " <Ago time=link.created_at /> ", "
                    {match link.last_used_at {
                        Some(time) => view! { "used " <Ago time /> }.into_any(),
                        None => "never used".into_any(),
                    }}
                </span>
            </span>
            <button
                type="button"
                class="button small"
                aria-label=format!("Remove the link to {}", link.label)
                disabled=move || !alive.get() || submit.pending().get()
                on:click=remove
            >
                "Remove"
            </button>
            <Outcome of=submit />
        </li>
    }
}
