//! One's own e-mail address: whether it is confirmed, and changing it.

use devenv_cloud_api::people::{ChangeEmail, EmailAddress};
use leptos::prelude::*;

use crate::{
    asked::ask,
    components::{
        form::{ApiForm, Field, Outcome, Submit},
        load::Load,
    },
    context::{use_alive, use_api},
};

/// The section of the profile.
#[component]
pub fn Email() -> impl IntoView {
    let api = use_api();
    let asked = ask::<EmailAddress, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/account/email").await?) }
    });
    view! { <Load asked what="your address" view=|address: EmailAddress| view! { <Address address /> }.into_any() /> }
}

#[component]
fn Address(address: EmailAddress) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let new = RwSignal::new(String::new());
    let (submit, verify) = (Submit::new(), Submit::new());
    let confirmed = address.verified_at.is_some();
    let ask_again = {
        let api = api.clone();
        move |_| {
            let api = api.clone();
            verify.send(
                async move { api.post::<_, ()>("/account/email/verification", &serde_json::json!({})).await },
                move |()| verify.say("A link is on its way. It works once, within a day."),
            );
        }
    };
    let send = move || {
        let body = ChangeEmail { email: new.get_untracked() };
        let to = body.email.clone();
        let api = api.clone();
        submit.send(async move { api.post::<_, ()>("/account/email", &body).await }, move |()| {
            new.set(String::new());
            submit.say(format!("A link is on its way to {to}. The address changes when you follow it."));
        });
    };
    view! {
        <p>{address.email} {if confirmed { ", confirmed" } else { ", not confirmed yet" }}</p>
        {(!confirmed)
            .then(|| {
                view! {
                    <p>
                        <button
                            type="button"
                            class="button"
                            disabled=move || !alive.get() || verify.pending().get()
                            on:click=ask_again.clone()
                        >
                            "Send a link to confirm it"
                        </button>
                    </p>
                    <Outcome of=verify />
                }
            })}
        <ApiForm submit button="Change the address" on_submit=send>
            <Field
                label="New e-mail address"
                name="email"
                kind="email"
                value=new
                autocomplete="email"
                error=submit.field("email")
                hint="You get a link there. Until you follow it nothing changes."
            />
        </ApiForm>
    }
}
